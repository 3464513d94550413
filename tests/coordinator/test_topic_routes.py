"""Topics through the coordinator's whole HTTP application: by an operator, by managers, by their client, and by others."""

import asyncio
from typing import Any

import httpx
import pytest
from office import Office
from test_group_routes import API, House, house_of
from topic_world import BOTH, OTHER, PULSE, SUBSCRIBE, TS, Ward, mote, v

from keymote.engine.policy.topic_events import Acknowledged, Cause, ClientMade, EpochBegun, Safe, TopicReport
from keymote.errors import ErrorCode, PeerFault, RefusedByPolicy, Unavailable
from keymote.storage.sql_topic_tables import metadata
from keymote.transports import http_topics
from keymote.transports.http_caller import HttpCaller, refusal
from keymote.transports.tls import unverified_context
from keymote.wire import admin, admin_topics

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:litestar")


@pytest.fixture
async def ward(office: Office) -> Ward:
    return await Ward.built(office)


@pytest.fixture
def house(ward: Ward) -> House:
    return house_of(ward.office)


def manager(house: House, ward: Ward, nm_id: bytes = TS) -> httpx.AsyncClient:
    assert ward.manager.credential is not None
    return house.manager(nm_id, ward.manager.credential.kid)


class Caller(HttpCaller):
    """A manager's calls, into the application instead of a socket."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        super().__init__("https://nc", unverified_context())
        self._through = client

    async def request(self, method: str, path: str, *, body: bytes | None = None, **more: Any) -> bytes:  # type: ignore[override]
        headers = {"Content-Type": "application/json"} if body is not None else {}
        answer = await self._through.request(method, path, content=body, headers=headers, **more)
        if not answer.is_success:
            raise refusal("https://nc", answer.status_code, answer.content)
        return answer.content


def body(**changes: object) -> dict[str, Any]:
    grants = [{"client": mote(0).hex(), "roles": 3}, {"client": mote(1).hex(), "roles": 2}]
    return {"filter": "ward/7/#", "manager": TS.hex(), "grants": grants, **changes}


async def created(house: House, **changes: object) -> dict[str, Any]:
    answer = await house.operator.post(f"{API}/topics", json=body(**changes))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_CT17_a_topic_from_wish_to_time_to_safe(house: House, ward: Ward) -> None:
    operator = house.operator
    made = await created(house, policy="signed", emergency=True, life_s=3600, cs=2)
    tid = made["tid"]
    assert (made["manager"], made["acted"], made["topics"], len(made["clients"])) == ("manager1", False, 0, 2)
    caller = Caller(manager(house, ward))
    charter = await http_topics.topic_charter(caller)
    (rule,) = charter.rules
    assert (rule.filter, rule.version, rule.emergency, rule.cs, charter.reported) == ("ward/7/#", v(1), True, 2, 0)
    assert charter.rule_of(PULSE) is rule
    said = [
        EpochBegun(PULSE, 1, Cause.FIRST, charter.version),
        Acknowledged(PULSE, 1, mote(0), 1),
        Acknowledged(PULSE, 1, mote(1), 2),
        Safe(PULSE, 1),
        EpochBegun("bay/1", 1, Cause.FIRST, charter.version),
    ]
    now = ward.office.clock.ms
    reports = [TopicReport(seq, now, event) for seq, event in enumerate(said, start=1)]
    taken = await http_topics.report_topics(caller, reports)
    assert (taken.upto, [each.seq for each in taken.refused]) == (5, [5])
    line = await operator.post(f"{API}/revocations", json={"kind": "device", "id": mote(0).hex(), "reason": 2})
    (told,) = line.json()["topics"]
    assert (told["filter"], told["topics"], told["cause"]) == ("ward/7/#", [PULSE], "revoked")
    assert (told["safe_after_ms"], told["waiting"]) == (None, [mote(1).hex()])
    charter = await http_topics.topic_charter(caller)
    assert [(each.client, each.compromised, each.since) for each in charter.rules[0].gone] == [(mote(0), True, v(2))]
    ward.office.clock.ms += 700
    last = (await manager(house, ward).get(f"{API}/events")).json()["cursor"]
    assert (await manager(house, ward).post(f"{API}/acks", json={"upto": last})).status_code == 204
    said = [EpochBegun(PULSE, 2, Cause.COMPROMISE, v(2)), Acknowledged(PULSE, 2, mote(1), 2), Safe(PULSE, 2)]
    now = ward.office.clock.ms
    await http_topics.report_topics(caller, [TopicReport(seq, now, event) for seq, event in enumerate(said, start=6)])
    (told,) = (await operator.get(f"{API}/revocations")).json()["items"][0]["topics"]
    assert (told["safe_after_ms"], told["waiting"]) == (700, [])
    shown = (await operator.get(f"{API}/topics/{tid}")).json()
    assert (shown["acted"], shown["topics"], shown["removals"][0]["safe_after_ms"]) == (True, 1, 700)
    (session,) = shown["sessions"]
    assert (session["epoch"], session["safe_after_ms"], session["waiting"]) == (2, 0, [])
    assert (await operator.get(f"{API}/topics/{tid}/sessions")).json()["items"] == [session]
    assert [each["epoch"] for each in (await operator.get(f"{API}/topics/{tid}/epochs")).json()["items"]] == [1, 2]
    metrics = (await operator.get("/metrics")).text
    assert 'keymote_topics_reports_total{result="taken"} 7.0' in metrics
    assert "keymote_topics_rules 1.0" in metrics
    assert "keymote_topics_takings_unsafe 0.0" in metrics


async def test_CT17_grants_rotations_and_an_end(house: House, ward: Ward) -> None:
    operator = house.operator
    tid = (await created(house))["tid"]
    grant = {"grants": [{"client": mote(2).hex(), "roles": 2}]}
    assert len((await operator.post(f"{API}/topics/{tid}/grants", json=grant)).json()["clients"]) == 3
    revoke = {"clients": [mote(2).hex()], "compromised": True}
    shown = (await operator.post(f"{API}/topics/{tid}/revoked", json=revoke)).json()
    assert (len(shown["clients"]), shown["removals"][0]["cause"]) == (2, "compromised")
    assert (await operator.post(f"{API}/topics/{tid}/rotation")).json()["rotations"] == 1
    (line,) = (await operator.get(f"{API}/topics", params={"filter": "ward/7/#"})).json()["items"]
    assert (line["tid"], line["clients"]) == (tid, 2)
    assert (await operator.get(f"{API}/topics", params={"filter": "ward/8/#"})).json()["items"] == []
    assert (await operator.get(f"{API}/topics", params={"limit": 1})).json()["next"] == "ward/7/#"
    await ward.report(ClientMade(b"pump\0\0\0\4", "pump 4"))
    (client,) = (await operator.get(f"{API}/topics/clients")).json()["items"]
    assert (client["name"], client["nm_id"]) == ("pump 4", TS.hex())
    assert (await operator.delete(f"{API}/topics/{tid}")).json()["filter"] == "ward/7/#"
    assert (await operator.get(f"{API}/topics/{tid}")).status_code == 404


async def test_CT18_a_manager_sees_and_reports_only_what_is_its_own(house: House, ward: Ward) -> None:
    await created(house)
    other = await ward.office.manager(OTHER)
    assert other.credential is not None
    elsewhere = Caller(house.manager(OTHER, other.credential.kid))
    charter = await http_topics.topic_charter(elsewhere)
    assert (charter.version, charter.rules) == (0, ())
    report = TopicReport(1, ward.office.clock.ms, EpochBegun(PULSE, 1, Cause.FIRST, 1))
    assert len((await http_topics.report_topics(elsewhere, [report])).refused) == 1
    assert len((await http_topics.topic_charter(Caller(manager(house, ward)))).rules) == 1
    with pytest.raises(RefusedByPolicy):
        await http_topics.topic_charter(Caller(house.operator))
    with pytest.raises(PeerFault) as caught:
        await http_topics.report_topics(Caller(house.caller()), [report])
    assert caught.value.code is ErrorCode.E_AUTH


async def test_CT18_operators_alone_change_topics(house: House, ward: Ward) -> None:
    tid = (await created(house))["tid"]
    calls: list[tuple[str, str, object]] = [
        ("POST", "/topics", body(filter="bay/#")),
        ("POST", f"/topics/{tid}/grants", {"grants": [{"client": mote(2).hex(), "roles": 2}]}),
        ("POST", f"/topics/{tid}/revoked", {"clients": [mote(0).hex()]}),
        ("POST", f"/topics/{tid}/rotation", None),
        ("DELETE", f"/topics/{tid}", None),
    ]
    for method, path, sent in calls:
        for client, status in ((manager(house, ward), 403), (house.caller(), 401)):
            answer = await client.request(method, API + path, json=sent)
            assert answer.status_code == status, (path, answer.text)
    for path in ("", "/clients", f"/{tid}", f"/{tid}/sessions", f"/{tid}/epochs"):
        assert (await house.caller().get(f"{API}/topics{path}")).status_code == 401
        assert (await manager(house, ward).get(f"{API}/topics{path}")).status_code == 200
    assert (await house.operator.get(f"{API}/topics/{tid}")).json()["version"] == v(1)


async def test_CT17_a_topic_that_cannot_be_is_refused_with_what_to_do(house: House) -> None:
    twice = [{"client": mote(0).hex(), "roles": 1}] * 2
    cases: list[tuple[dict[str, object], int, str]] = [
        ({"filter": "a/#/b"}, 400, "put # last"),
        ({"filter": "$SYS/#"}, 400, "write it like"),
        ({"filter": "ä" * 128}, 400, ""),
        ({"manager": "00" * 8}, 404, ""),
        ({"policy": "loud"}, 400, ""),
        ({"cs": 9}, 400, "choose among"),
        ({"cs": 16, "max_msgs": 1 << 21}, 400, ""),
        ({"grants": twice}, 400, "roles 3 for both"),
        ({"grants": [{"client": mote(0).hex(), "roles": 4}]}, 400, ""),
        ({"grants": [{"client": "00" * 8, "roles": 1}]}, 404, "enrol it"),
        ({"key": "00" * 32}, 400, ""),
    ]
    for changes, status, word in cases:
        answer = await house.operator.post(f"{API}/topics", json=body(**changes))
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), changes
        assert word in answer.json().get("do", "")
    assert (await house.operator.get(f"{API}/topics")).json()["items"] == []


async def test_CT17_a_long_charter_is_read_page_by_page(house: House, ward: Ward) -> None:
    names = [f"ward/{number:03}" for number in range(admin_topics.MOST_RULES + 3)]
    await asyncio.gather(*(ward.topic(name, m0=SUBSCRIBE) for name in names))  # one commit
    caller = Caller(manager(house, ward))
    charter = await http_topics.topic_charter(caller)
    assert [rule.filter for rule in charter.rules] == names

    class Restless(Caller):
        """Each page is followed by a change."""

        async def request(self, method: str, path: str, *, body: bytes | None = None, **more: Any) -> bytes:  # type: ignore[override]
            answer = await super().request(method, path, body=body, **more)
            topic = await ward.office.desk.ledger.read(lambda tx: tx.topics.filtered(names[0]))
            assert topic is not None
            await ward.office.topics.rotate(topic.tid)
            return answer

    with pytest.raises(Unavailable, match="changes all the time"):
        await http_topics.topic_charter(Restless(manager(house, ward)))


async def test_CT19_nothing_about_topics_could_hold_a_key(house: House, ward: Ward) -> None:
    await created(house, grants=[{"client": mote(0).hex(), "roles": BOTH}])
    client = manager(house, ward)
    item = {"kind": "epoch", "seq": 1, "ts_ms": 1, "topic": PULSE, "epoch": 1, "cause": 0, "version": 1}
    for name in ("key", "SK", "sess"):
        answer = await client.post(f"{API}/topics/reports", json={"items": [{**item, name: "00"}]})
        assert (answer.status_code, "unknown field" in answer.text) == (400, True)
    kinds = [getattr(admin_topics, name) for name in dir(admin_topics)]
    fields = {name for kind in kinds for name in getattr(kind, "__struct_fields__", ())}
    assert {name for name in fields if any(word in name.lower() for word in ("key", "secret", "sk", "chain"))} == set()
    tables = [table for name, table in metadata.tables.items() if name.startswith("topic_")]
    columns = {column.name for table in tables for column in table.c}
    assert len(tables) == 9
    assert {name for name in columns if any(word in name for word in ("key", "secret", "sk", "chain", "sess"))} == set()


async def test_CT17_the_description_names_every_kind_of_report(house: House) -> None:
    described = (await house.operator.get(f"{API}/openapi.json")).json()
    assert f"{API}/topics/reports" in described["paths"]
    assert f"{API}/topics/{{tid}}" in described["paths"]
    text = str(described["components"]["schemas"])
    assert all(kind in text for kind in ("EpochReport", "AcknowledgedReport", "ParkedReport", "ClientMadeReport"))
    assert admin.API == API
