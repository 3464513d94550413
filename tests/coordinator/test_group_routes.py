"""Groups through the coordinator's whole HTTP application, by an operator, by gateways and by others."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from group_world import GW, OTHER, Street, meter
from office import NOW, Office

from keymote.coordinator.api import Services, build
from keymote.coordinator.api.services import Counted, TopicServices
from keymote.coordinator.auditing import Auditing
from keymote.coordinator.federation import Federation
from keymote.crypto.secret import Secret
from keymote.transports import tls
from keymote.transports.http_server import Application, Receive, Scope, Send
from keymote.wire import admin, admin_groups

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:litestar")

TOKEN = b"fV3nUq0Zt7Lk"
API = "/api/v1"


class Enrolment:
    """Nobody enrols in these tests."""


@dataclass
class Shown:
    """An ASGI application that sees this client certificate (DER; empty: none)."""

    application: Application
    certificate: bytes = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        extensions = {**scope.get("extensions", {}), "tls": {"client_cert": self.certificate or None}}
        await self.application({**scope, "extensions": extensions}, receive, send)


@dataclass
class House:
    """A coordinator's application on a street's office, and who calls it."""

    street: Any
    application: Application
    authority: tls.Authority

    def caller(self, certificate: bytes = b"", **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(Shown(self.application, certificate))
        return httpx.AsyncClient(transport=transport, base_url="https://nc", headers=headers)

    @property
    def operator(self) -> httpx.AsyncClient:
        return self.caller(authorization=f"Bearer {TOKEN.decode()}")

    def manager(self, nm_id: bytes, kid: bytes) -> httpx.AsyncClient:
        request = tls.new_request(Secret(bytes(32)))
        pem = self.authority.issue_client(request.der, tls.ManagerName(nm_id, kid), NOW)
        return self.caller(tls.certificate_der(pem))

    @property
    def gateway(self) -> httpx.AsyncClient:
        assert self.street.gateway.credential is not None
        return self.manager(GW, self.street.gateway.credential.kid)


def house_of(office: Office, street: Street | None = None) -> House:
    """Return an office's application, with nobody who enrols."""
    authority = tls.Authority.create("nc-a", NOW)
    services = Services(
        office.desk,
        office.registry,
        office.revocations,
        office.managers,
        office.outbox,
        Auditing(office.desk),
        Federation(office.desk, office.registry, []),
        office.groups,
        office.reports,
        office.pictures,
        office.records,
        TopicServices(office.topics, office.topic_reports, office.topic_pictures),
        Enrolment(),  # type: ignore[arg-type]
        authority,
        b"",
        Secret(TOKEN),
        "0",
        Counted(),
    )
    return House(street, build(services), authority)


@pytest.fixture
async def house(office: Office) -> AsyncIterator[House]:
    return house_of(office, await Street.built(office))


def body(**changes: object) -> dict[str, Any]:
    members = [meter(number).hex() for number in (0, 1, 2)]
    return {"name": "street-7", "gateway": GW.hex(), "members": members, **changes}


async def created(house: House, **changes: object) -> dict[str, Any]:
    answer = await house.operator.post(f"{API}/groups", json=body(**changes))
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_CG20_a_group_from_wish_to_epoch(house: House) -> None:
    street, operator, gateway = house.street, house.operator, house.gateway
    made = await created(house, policy={"period_s": 3600, "wake": [21600]}, allowed=[meter(3).hex()])
    gid = made["gid"]
    assert (made["state"], made["epoch"], made["n"], made["acted"]) == ("active", 0, 3, False)
    charter = admin.decode((await gateway.get(f"{API}/groups/{gid}/charter")).content, admin_groups.CharterView)
    assert (charter.policy.period_s, charter.policy.wake, charter.rev) == (3600, [21600], 1)
    group = (await street.office.pictures.one(bytes.fromhex(gid))).group
    reports = admin_groups.GroupReports([street.roster(group, 2, [0, 1, 2]), street.epoch(1, [0, 1, 2], ver=2)])
    answer = await gateway.post(f"{API}/groups/{gid}/reports", content=admin.encode(reports))
    assert (answer.status_code, answer.json()) == (200, {"upto": 2, "refused": []})
    last = (await gateway.get(f"{API}/events")).json()["cursor"]
    assert (await gateway.post(f"{API}/acks", json={"upto": last})).status_code == 204
    shown = (await operator.get(f"{API}/groups/{gid}")).json()
    assert (shown["epoch"], shown["waiting"], shown["acted"], shown["gateway"]) == (1, [], True, "gateway1")
    assert [line["name"] for line in (await operator.get(f"{API}/groups?name=street-7")).json()["items"]] == [
        "street-7"
    ]
    assert (await operator.get(f"{API}/groups?name=street-8")).json()["items"] == []
    assert len((await operator.get(f"{API}/groups?limit=1")).json()["items"]) == 1
    assert [line["ver"] for line in (await operator.get(f"{API}/groups/{gid}/rosters")).json()["items"]] == [2]
    assert [line["epoch"] for line in (await operator.get(f"{API}/groups/{gid}/epochs")).json()["items"]] == [1]
    assert (await operator.post(f"{API}/groups/{gid}/rekey", json={})).json()["rev"] == 2
    assert (await operator.post(f"{API}/groups/{gid}/allowed", json={"remove": [meter(3).hex()]})).json()["rev"] == 3
    assert (await operator.post(f"{API}/groups/{gid}/members", json={"add": [meter(3).hex()]})).json()["n"] == 4
    assert (await operator.delete(f"{API}/groups/{gid}")).json()["state"] == "closed"
    metrics = (await operator.get("/metrics")).text
    assert 'keymote_groups{state="closed"} 1.0' in metrics
    assert 'keymote_groups_reports_total{result="taken"} 2.0' in metrics
    assert 'keymote_groups_conflicts{kind="two-rosters"} 0.0' in metrics
    assert "keymote_groups_removals_unsafe 0.0" in metrics


async def test_CG15_a_revocation_says_how_far_it_has_come_in_each_group(house: House) -> None:
    street = house.street
    gid = (await created(house))["gid"]
    group = (await street.office.pictures.one(bytes.fromhex(gid))).group
    await street.report(group, street.roster(group, 2, [0, 1, 2]), street.epoch(1, [0, 1, 2], ver=2))
    wish = {"kind": "device", "id": meter(0).hex(), "reason": 2}
    line = (await house.operator.post(f"{API}/revocations", json=wish)).json()
    (told,) = line["groups"]
    assert (told["group"], told["safe_after_ms"], told["waiting"]) == (
        "street-7",
        None,
        [meter(1).hex(), meter(2).hex()],
    )
    street.office.clock.ms += 250
    await street.report(group, street.epoch(2, [1, 2], ver=3))
    (told,) = (await house.operator.get(f"{API}/revocations")).json()["items"][0]["groups"]
    assert (told["safe_after_ms"], told["waiting"]) == (250, [])


async def test_CG20_operators_alone_change_groups(house: House) -> None:
    gid = (await created(house))["gid"]
    calls: list[tuple[str, str, object]] = [
        ("POST", "/groups", body(name="street-8")),
        ("POST", f"/groups/{gid}/members", {"remove": [meter(0).hex()]}),
        ("POST", f"/groups/{gid}/allowed", {"add": [meter(3).hex()]}),
        ("POST", f"/groups/{gid}/rekey", {}),
        ("POST", f"/groups/{gid}/gateway", {"gateway": GW.hex()}),
        ("DELETE", f"/groups/{gid}", None),
    ]
    for method, path, sent in calls:
        for client, status in ((house.gateway, 403), (house.caller(), 401)):
            answer = await client.request(method, API + path, json=sent)
            assert answer.status_code == status, (path, answer.text)
    assert (await house.operator.get(f"{API}/groups/{gid}")).json()["rev"] == 1


async def test_CG20_gateways_alone_read_charters_and_report(house: House) -> None:
    gid = (await created(house))["gid"]
    other = await house.street.office.manager(OTHER)
    assert other.credential is not None
    stranger = house.manager(OTHER, other.credential.kid)
    item = {"kind": "left", "seq": 1, "ts_ms": 1, "dev_id": meter(0).hex()}
    for client in (house.operator, stranger):
        assert (await client.get(f"{API}/groups/{gid}/charter")).status_code == 403
        assert (await client.post(f"{API}/groups/{gid}/reports", json={"items": [item]})).status_code == 403
    assert (await stranger.get(f"{API}/groups/{gid}")).status_code == 200
    assert (await house.caller().get(f"{API}/groups/{gid}")).status_code == 401


async def test_CG20_a_group_that_cannot_be_is_refused_with_what_to_do(house: House) -> None:
    cases: list[tuple[dict[str, object], int, str]] = [
        ({"members": [meter(0).hex()]}, 403, "add somebody"),
        ({"members": [meter(0).hex(), "00" * 8]}, 404, ""),
        ({"gateway": "00" * 8}, 404, ""),
        ({"name": "a b"}, 400, ""),
        ({"mode": "star"}, 400, ""),
        ({"level": 3}, 400, ""),
        ({"members": [meter(0).hex()] * 33}, 400, ""),
        ({"policy": {"least": 0}}, 400, ""),
        ({"telemetry": ["a b"]}, 400, ""),
        ({"key": "00" * 32}, 400, ""),
    ]
    for changes, status, word in cases:
        answer = await house.operator.post(f"{API}/groups", json=body(**changes))
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), changes
        assert word in answer.json().get("do", "")
    assert (await house.operator.get(f"{API}/groups")).json()["items"] == []


async def test_CG19_a_report_with_a_key_in_it_is_refused(house: House) -> None:
    gid = (await created(house))["gid"]
    report = admin.encode(admin_groups.GroupReports([house.street.epoch(1, [0, 1, 2])]))
    for more in (b',"key":"00"}]}', b',"MK":"00"}]}'):
        answer = await house.gateway.post(f"{API}/groups/{gid}/reports", content=report[:-3] + more)
        assert (answer.status_code, "unknown field" in answer.text) == (400, True)
    assert (await house.gateway.post(f"{API}/groups/{gid}/reports", json={"items": []})).status_code == 400
    kinds = [getattr(admin_groups, name) for name in dir(admin_groups)]
    fields = {name for kind in kinds for name in getattr(kind, "__struct_fields__", ())}
    assert {name for name in fields if "key" in name or "secret" in name} == {"key_id", "rekey", "rekey_reason"}


async def test_conflicts_are_listed_by_name(house: House) -> None:
    street = house.street
    other = await street.office.manager(OTHER)
    card = street.office.device(other, meter(0))
    refused = await house.manager(OTHER, replace(other).credential.kid).post(  # type: ignore[union-attr]
        f"{API}/devices", json={"credential": admin.to_base64url(card.raw)}
    )
    assert refused.status_code == 409
    (conflict,) = (await house.operator.get(f"{API}/conflicts?live=true")).json()["items"]
    assert (conflict["kind"], conflict["managers"], conflict["gid"]) == (
        "taken-device",
        ["gateway1", "gateway2"],
        None,
    )
    assert meter(0).hex() in conflict["text"]


async def test_the_description_names_every_kind_of_report(house: House) -> None:
    described = (await house.operator.get(f"{API}/openapi.json")).json()
    assert f"{API}/groups/{{gid}}/reports" in described["paths"]
    text = str(described["components"]["schemas"])
    assert all(kind in text for kind in ("RosterReport", "EpochReport", "JoinedReport", "BlameReport"))
