"""The encrypted log of a group at the coordinator: taken once, paged, bounded, and closed to whom it does not concern."""

import pytest
from group_world import GW, OTHER, Street, meter
from office import Office
from test_group_routes import API, House, created, house

from keymote.coordinator.group_records import KEPT_MS
from keymote.errors import CallerFault, ErrorCode, PeerFault, RefusedByPolicy
from keymote.host.group_register import Group
from keymote.wire import admin, admin_records
from keymote.wire.admin import to_base64url
from keymote.wire.admin_records import GroupRecords, LoggedRecord

__all__ = ["house"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:litestar")


@pytest.fixture
async def street(office: Office) -> Street:
    return await Street.built(office)


def logged(seq: int, kid: bytes = b"stranger", ts_ms: int = 5, record: bytes = b"sealed") -> LoggedRecord:
    return LoggedRecord(seq, ts_ms, 1, kid.hex(), seq - 1, "telemetry", to_base64url(record))


async def seqs(street: Street, group: Group) -> list[int]:
    return [each.line.seq for each in await street.office.records.page(group.gid, 0, 500)]


async def test_GL05_records_are_taken_once_however_often_they_come(street: Street) -> None:
    group, records = await street.group(keep_records=100), street.office.records
    items = [logged(1, street.kid(0)), logged(2)]
    for _ in range(2):
        assert await records.take(GW, group.gid, items) == 2
    assert await records.take(GW, group.gid, [*items, logged(5)]) == 5
    first, second, third = await records.page(group.gid, 0, 10)
    assert [each.line.seq for each in (first, second, third)] == [1, 2, 5]
    assert [each.dev_id for each in (first, second)] == [meter(0), b""]
    assert first.line.record == b"sealed"
    assert [each.line.seq for each in await records.page(group.gid, first.line.id, 1)] == [2]


async def test_GL05_only_who_leads_or_led_hands_in_and_only_where_records_are_kept(street: Street) -> None:
    await street.office.manager(OTHER)
    group, records = await street.group(keep_records=100), street.office.records
    with pytest.raises(PeerFault) as refused:
        await records.take(OTHER, group.gid, [logged(1)])
    assert refused.value.code is ErrorCode.E_NOSHARE
    await street.office.groups.move(group.gid, OTHER)
    for manager in (GW, OTHER):  # each counts for itself
        assert await records.take(manager, group.gid, [logged(1)]) == 1
    assert await seqs(street, group) == [1, 1]
    with pytest.raises(CallerFault):
        await records.take(GW, group.gid, [logged(3), logged(2)])


async def test_GL05_a_group_that_keeps_nothing_takes_nothing(street: Street) -> None:
    group = await street.group()
    with pytest.raises(RefusedByPolicy):
        await street.office.records.take(GW, group.gid, [logged(1)])


async def test_GL06_the_newest_are_kept_and_none_for_longer_than_the_epochs(street: Street) -> None:
    group, records = await street.group(keep_records=10), street.office.records
    now = street.office.desk.now_ms()
    old = [logged(seq, ts_ms=now - KEPT_MS - 1) for seq in range(1, 8)]
    await records.take(GW, group.gid, [*old, *(logged(seq, ts_ms=now) for seq in range(8, 16))])
    assert await seqs(street, group) == list(range(6, 16))
    assert await records.prune() == 2
    assert await seqs(street, group) == list(range(8, 16))
    await records.take(GW, group.gid, [logged(15, ts_ms=now)])
    assert await seqs(street, group) == list(range(8, 16))  # what went does not come again


async def test_GL05_GL07_over_http_the_gateway_writes_and_others_read_what_nobody_there_can_open(house: House) -> None:
    gid = (await created(house, policy={"keep_records": 1000}))["gid"]
    path = f"{API}/groups/{gid}/records"
    big = GroupRecords([logged(seq, house.street.kid(0), record=bytes(1135)) for seq in range(1, 36)])
    raw = admin.encode(big)
    assert 48 * 1024 < len(raw) <= admin_records.MOST_BODY
    answer = await house.gateway.post(path, content=raw)
    assert (answer.status_code, answer.json()) == (200, {"upto": 35}), answer.text
    page = (await house.operator.get(path, params={"limit": 30})).json()
    assert (page["gid"], len(page["items"])) == (gid, 30)
    assert page["items"][0]["dev_id"] == meter(0).hex()
    rest = (await house.operator.get(path, params={"after": page["next"], "limit": 30})).json()
    assert ([each["seq"] for each in rest["items"]], rest["next"]) == ([31, 32, 33, 34, 35], None)
    assert (await house.operator.post(path, content=raw)).status_code == 403
    assert (await house.caller().get(path)).status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"items": []},
        {"items": [{"seq": 0, "ts_ms": 1, "epoch": 1, "kid": "00" * 8, "number": 0, "resource": "", "record": "AA"}]},
        {"items": [{"seq": 1, "ts_ms": 1, "epoch": 1, "kid": "00" * 8, "number": 0, "resource": "", "record": ""}]},
        {"items": [{"seq": 1, "ts_ms": 1, "epoch": 1, "kid": "0", "number": 0, "resource": "", "record": "AA"}]},
        {
            "items": [
                {"seq": 1, "ts_ms": 1, "epoch": 1, "kid": "00" * 8, "number": 0, "resource": "", "record": "A" * 1515}
            ]
        },
        {"items": [], "key": "00"},
    ],
)
async def test_GL07_a_body_of_another_form_is_refused(house: House, wrong: dict[str, object]) -> None:
    gid = (await created(house, policy={"keep_records": 1000}))["gid"]
    assert (await house.gateway.post(f"{API}/groups/{gid}/records", json=wrong)).status_code == 400


async def test_GL03_no_group_keeps_more_than_it_may(house: House) -> None:
    wish = {"name": "street-7", "gateway": GW.hex(), "members": [meter(0).hex(), meter(1).hex()]}
    answer = await house.operator.post(f"{API}/groups", json={**wish, "policy": {"keep_records": 100_001}})
    assert answer.status_code == 400
