"""The manager's MQTT-SN gateway as its node and its operators meet it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial

import pytest

from keymote.device.mqttsn import MqttSnMote
from keymote.device.topic_keys import TopicKeys
from keymote.engine.base import MULTICAST, Now, Peer
from keymote.engine.mqttsn.faces import Settings
from keymote.manager.app.mqttsn import MqttSnOptions, MqttSnService
from keymote.transports.broker_amqtt import EmbeddedBroker
from keymote.transports.coap.multicast import Group
from keymote.transports.metrics import Metrics
from keymote.transports.udp import UdpSocket
from keymote.wire import mqttsn
from keymote.wire.mqttsn import Advertise, GwInfo, Packet, SearchGw
from keymote.wire.topic import PUBLISH, SUBSCRIBE, KeyGrant

ANYWHERE = ("127.0.0.1", 0)


class Air:
    """The manager's other link."""

    reliable = True

    def __init__(self) -> None:
        self.sent: list[tuple[Peer, bytes]] = []

    def send(self, peer: Peer, data: bytes, _failed: Callable[[], None] | None) -> None:
        self.sent.append((peer, data))


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    broker = await EmbeddedBroker.start(lambda *_: True, lambda *_: True)
    yield broker
    await broker.close()


def options(port: int, group: Group | None = None) -> MqttSnOptions:
    made = MqttSnOptions.of("127.0.0.1:0", f"mqtt://127.0.0.1:{port}")
    settings = Settings(retry_s=5, gw_id=9, advertise_s=60 if group else 0)
    return replace(made, gateway=replace(made.gateway, group=group, settings=settings))


async def mote(name: str, service: MqttSnService) -> MqttSnMote:
    return await MqttSnMote.open(name, partial(UdpSocket.open, ANYWHERE), service.address, retry_s=5)


async def test_SG31_a_node_hears_motes_and_reaches_them_by_its_link(broker: EmbeddedBroker) -> None:
    heard: asyncio.Queue[tuple[Peer, bytes]] = asyncio.Queue()
    service, air = MqttSnService(options(broker.port), lambda peer, data: heard.put_nowait((peer, data))), Air()
    await service.start()
    stray, link = await mote("stray", service), service.beside(air)
    stray.datagram(b"48")
    async with asyncio.timeout(20):
        peer, data = await heard.get()
        assert peer.startswith("mqttsn://127.0.0.1:")
        assert data == b"48"
        link.send(peer, b"49", None)
        assert await anext(stray.datagrams()) == b"49"
    for nowhere in ("mqttsn://", "mqttsn://127.0.0.1:9/xyz", "mqttsn://nobody"):
        link.send(nowhere, b"lost", None)
    link.send("coap://127.0.0.1:5683", b"50", None)
    assert air.sent == [("coap://127.0.0.1:5683", b"50")]
    await service.close()
    stray.close()


async def test_SG31_operators_see_states_and_what_was_refused(broker: EmbeddedBroker) -> None:
    service, metrics = MqttSnService(options(broker.port), lambda *_: None), Metrics()
    await service.start()
    service.add_to(metrics)
    ward = await mote("hr-7", service)
    await ward.connect()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as garbage:
        host, _, port = service.address.rpartition(":")
        garbage.sendto(b"garbage", (host, int(port)))
    await ward.publish("hr", b"1")
    shown = metrics.render().decode()
    assert 'keymote_mqttsn_clients{state="Active"} 1.0' in shown
    assert 'keymote_mqttsn_events{event="malformed"} 1.0' in shown
    assert "hr-7" not in shown  # labels are words, never an id
    await service.close()
    ward.close()


async def test_SG32_protected_readings_pass_the_gateway_as_they_are(broker: EmbeddedBroker) -> None:
    service = MqttSnService(options(broker.port), lambda *_: None)
    await service.start()
    grant = KeyGrant(b"sess0001", 1, 1, 2, bytes(range(32)), 0, 100_000, 86_400)
    ours, theirs = TopicKeys(lambda: Now(0.0, 0)), TopicKeys(lambda: Now(0.0, 0))
    ours.take("ward/7/hr", PUBLISH, grant)
    theirs.take("ward/7/hr", SUBSCRIBE, grant, [(1, b"")])
    ward, nurse = await mote("hr-7", service), await mote("nurse", service)
    await nurse.connect()
    await nurse.subscribe("ward/#")
    await ward.connect()
    readings = [b"72", b"73", b"74"]
    for reading in readings:
        await ward.publish("ward/7/hr", ours.protect("ward/7/hr", reading))
    opened = []
    async with asyncio.timeout(20):
        async for message in nurse.messages():
            assert not any(reading in message.data for reading in readings)
            opened.append(theirs.unprotect(message.topic, message.data).plaintext)
            if len(opened) == 3:
                break
    assert opened == readings
    await service.close()
    ward.close()
    nurse.close()


async def test_SG17_a_gateway_in_a_group_is_found_there(broker: EmbeddedBroker) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(ANYWHERE)
        group = Group("224.0.1.188", free.getsockname()[1], "127.0.0.1")
    heard: asyncio.Queue[Packet] = asyncio.Queue()
    searching = await UdpSocket.open(ANYWHERE, lambda _peer, data: heard.put_nowait(mqttsn.decode(data)), group)
    service = MqttSnService(options(broker.port, group), lambda *_: None)
    await service.start()
    searching.send(MULTICAST, SearchGw(1).encode())
    async with asyncio.timeout(20):
        found = {await heard.get(), await heard.get()}
    assert found == {Advertise(9, 60), GwInfo(9)}
    await service.close()
    searching.close()
