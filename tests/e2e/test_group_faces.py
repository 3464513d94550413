"""Groups of real processes as devices see them: records by unicast past a kill -9, and the gateway's HTTP face."""

import json
import signal
from collections.abc import Iterator

import httpx
import pytest
from gateways import RUN_S, Group
from operators import DeviceRole, Operator, operators, until

from keymote.wire.admin import from_base64url, to_base64url
from keymote.wire.credential import kid_of

pytestmark = [pytest.mark.timeout(300), pytest.mark.long]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with operators(tmp_path_factory.mktemp("street"), 1) as (operator,):
        operator.manager.stop()
        operator.manager.arguments += ("--groups-http", "127.0.0.1:0")
        operator.manager.start()
        for device in operator.add_devices(3):
            device.enrolled()
        yield operator


@pytest.fixture(scope="module")
def group(street: Operator) -> Group:
    made = Group.create(street, "faces", street.devices, multicast=False)
    made.agreed(*street.devices)
    return made


def say(group: Group, device: DeviceRole, text: str) -> dict[str, int]:
    sent: dict[str, int] = group.ask(device, "send", resource="telemetry", payload=to_base64url(text.encode()))
    return sent


def texts(group: Group, device: DeviceRole) -> list[str]:
    return [message["text"] for message in group.ask(device, "tail", last=64)["messages"]]


def test_GF09_a_killed_device_is_heard_again_from_wherever_it_comes_back(street: Operator, group: Group) -> None:
    a, b, c = street.devices
    before = say(group, a, "before")
    until(lambda: all("before" in texts(group, each) for each in (b, c)))
    a.process.stop(signal.SIGKILL)
    a.process.start()  # on another port
    until(lambda: (group.at(a) or {}).get("state") == "active", RUN_S)
    sent: list[dict[str, int]] = []

    def heard() -> bool:
        sent.append(say(group, a, "after"))  # until the gateway has heard where it is now
        return all("after" in texts(group, each) for each in (b, c))

    until(heard, RUN_S)
    assert {each["epoch"] for each in sent} == {before["epoch"]}
    assert min(each["seq"] for each in sent) > before["seq"]
    assert group.at(b)["rejects"] == {} == group.at(c)["rejects"]  # type: ignore[index]
    say(group, b, "to who came back")
    until(lambda: "to who came back" in texts(group, a))


def test_GF10_the_gateways_http_face_serves_members_in_json(street: Operator, group: Group) -> None:
    _, body = street.coordinator.curl(f"/api/v1/devices/{street.devices[0].id}")
    kid = kid_of(from_base64url(json.loads(body)["credential"]))
    url = f"{street.manager.ready['groups']}/groups/{group.gid}/{kid.hex()}"
    need = {"message": "NEED", "of": to_base64url(bytes.fromhex(group.gid)), "what": 5, "which": 0}
    with httpx.Client() as client:
        answer = client.post(url, json=need)
        assert answer.status_code == 200, answer.text
        bundle = answer.json()
        said = {each["message"]: each for each in bundle["datagrams"]}
        assert {"DELEGATION", "ROSTER", "START"} <= set(said)
        claims = said["ROSTER"]["envelope"]["claims"]
        assert to_base64url(kid) in {entry["kid"] for entry in claims["entries"]}
        assert client.post(url.replace(group.gid, "0" * 16), json=need).json()["code"] == "E_UNKNOWN_ID"
