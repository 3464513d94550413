"""Who listens on every line of a real hand-over, and then takes the agents' logs and disks, has no key of the client."""

import logging
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hospital import CLIENT, RIGHTS, Hospital, received

from keymote.agent.app.identity import OWN_FILE, Identity, address_of
from keymote.crypto.secret import Secret
from keymote.device.broker_access import BrokerAccess
from keymote.engine.handover.faces import visit_of
from keymote.stories.processes import free_port
from keymote.stories.relays import TcpRelay, UdpRelay
from keymote.stories.searching import files_hold
from keymote.transports.mqtt.session import MqttSession
from keymote.wire.topic import TicketBody

TICKET_ID = b"\x91\xd4ticket"
QUEUED = b"what waits for the client"


class Overheard(Hospital):
    """Its agents are reached by relays alone: by clients on CoAP and MQTT, by each other on HTTPS."""

    async def open(self, *names: str) -> None:
        self.prepare(*names)
        self.radio: dict[str, UdpRelay] = {}
        self.wires: dict[str, TcpRelay] = {}
        self.between: list[TcpRelay] = []
        for name in names:
            behind = free_port()
            path = self.folder / name / OWN_FILE
            identity = Identity.decode(path.read_bytes(), name)
            path.write_bytes(replace(identity, agent=f"127.0.0.1:{behind}").encode())
            self.between.append(await self._wire(behind, address_of(identity.agent)[1]))
        await self.start(*names)
        for name in names:
            held = self.agents[name].directory.identity
            self.radio[name] = relay = await UdpRelay.open("127.0.0.1", address_of(held.coap)[1])
            self.stack.push_async_callback(relay.close)
            self.wires[name] = await self._wire(address_of(held.mqtt)[1], 0)

    async def _wire(self, to: int, listen: int) -> TcpRelay:
        relay = await TcpRelay.open("127.0.0.1", to, listen=listen)
        self.stack.push_async_callback(relay.close)
        return relay

    def coap(self, name: str) -> str:
        return f"coap://127.0.0.1:{self.radio[name].port}"

    async def mqtt_at(self, name: str, access: BrokerAccess) -> MqttSession:
        return await self.mqtt(replace(access, host="127.0.0.1", port=self.wires[name].port))


def forms(secrets: Iterable[bytes]) -> list[bytes]:
    """Return how a secret may stand in a text: as it is, in hex, in base64."""
    found: list[bytes] = []
    for secret in secrets:
        hexed = secret.hex()
        found += [secret, hexed.encode(), hexed.upper().encode(), repr(secret)[2:-1].encode()]
        found += [each.rstrip(b"=") for each in (b64encode(secret), urlsafe_b64encode(secret))]
    return found


@pytest.fixture
async def hospital(tmp_path: Path) -> AsyncIterator[Overheard]:
    made = Overheard(tmp_path)
    async with made.stack:
        await made.open("A", "B")
        yield made


@pytest.mark.long
async def test_BA20_no_line_log_or_file_of_a_hand_over_shows_a_key(
    hospital: Overheard, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    passwords = []
    access = await hospital.connect("A", TICKET_ID)
    passwords.append(access.password)
    first = await hospital.mqtt_at("A", access)
    await first.subscribe(["w/#"], 1)
    await first.close()
    await hospital.publish("A", QUEUED)
    access = await hospital.move("A", "B")
    passwords.append(access.password)
    await hospital.quiet()
    visiting = await hospital.mqtt_at("B", access)
    assert await received(visiting, 1) == [QUEUED]
    K_v: Secret = hospital.agents["B"].peek(visit_of(CLIENT)).stay.K_v
    await visiting.close()
    passwords.append((await hospital.connect("A", TICKET_ID)).password)  # and home again: HO_RELEASE
    await hospital.quiet()
    assert hospital.agents["B"].peek(visit_of(CLIENT)) is None

    body = TicketBody(CLIENT, hospital.K_home.expose(), RIGHTS, 3600, TICKET_ID).encode()
    keys = forms(key.expose() for key in (hospital.K_home, K_v, *hospital.shared.values()))
    contents = forms(
        [body, body[-40:], TICKET_ID, *(right.filter.encode() for right in RIGHTS if len(right.filter) > 4)]
    )  # fewer occur by chance
    shown = forms(form for each in passwords for form in (each.encode(), urlsafe_b64decode(f"{each}==")))
    radio = b"".join(bytes(relay.heard) for relay in hospital.radio.values())
    between = b"".join(bytes(relay.heard) for relay in hospital.between)
    mqtt = b"".join(bytes(relay.heard) for relay in hospital.wires.values())
    said = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records).encode()

    assert [text for text in keys if text in radio + between + mqtt + said] == []
    assert [text for text in (*contents, *shown) if text in radio + between + said] == []
    assert TICKET_ID not in mqtt
    assert files_hold(hospital.folder, [*keys, *forms([body, body[-40:], TICKET_ID]), *shown, QUEUED]) == []
    # what should be there is found: the search looks in the right places
    assert CLIENT in radio and b"POST" not in between and len(between) > 4000
    assert QUEUED in mqtt and QUEUED not in radio + between + said
    assert passwords[0].encode() in mqtt and CLIENT.hex().encode() in said
    assert files_hold(hospital.folder, [hospital.broker_id("A").hex().encode()])
