"""The MQTT-SN gateway on a socket, motes on theirs, and a broker in our own process."""

import asyncio
import socket
from collections.abc import AsyncIterator
from functools import partial

import pytest

from keymote.device.mqttsn import MqttSnMote
from keymote.engine.mqttsn.faces import Message, Settings
from keymote.engine.mqttsn.mote_faces import Link
from keymote.engine.mqttsn.states import State
from keymote.errors import CallerFault, ErrorCode, PeerFault, Unavailable
from keymote.transports.broker_amqtt import EmbeddedBroker
from keymote.transports.mqtt.paho_loop import BrokerPlace
from keymote.transports.mqtt.upstream import SharedUpstream, Upstream
from keymote.transports.mqttsn import GatewayOptions, MqttSnGateway
from keymote.transports.udp import UdpSocket

ANYWHERE = ("127.0.0.1", 0)
SOON = Settings(retry_s=2.0, retries=3, predefined={7: "ward/7/hr"})


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    broker = await EmbeddedBroker.start(lambda *_: True, lambda *_: True)
    yield broker
    await broker.close()


@pytest.fixture(params=["transparent"])
async def gateway(request: pytest.FixtureRequest, broker: EmbeddedBroker) -> AsyncIterator[MqttSnGateway]:
    async def answer(client: str, data: bytes) -> list[bytes]:
        if data == b"bad":
            raise PeerFault(ErrorCode.E_FORMAT, "bad")
        return [client.encode(), data]

    upstream = Upstream(BrokerPlace(port=broker.port), "gw")
    shared = upstream if request.param == "transparent" else SharedUpstream(upstream)
    made = MqttSnGateway(GatewayOptions(ANYWHERE, settings=SOON), shared, answer)
    await made.start()
    async with asyncio.timeout(5):
        while not upstream.connections:  # noqa: ASYNC110  the broker sets no event here
            await asyncio.sleep(0.01)
    yield made
    await made.close()


async def mote(name: str, gateway: MqttSnGateway) -> MqttSnMote:
    carrier = partial(UdpSocket.open, ANYWHERE)
    return await MqttSnMote.open(name, carrier, gateway.address, predefined=SOON.predefined, retry_s=0.5)


async def heard(mote: MqttSnMote, count: int) -> list[Message]:
    found: list[Message] = []
    async with asyncio.timeout(5):
        async for message in mote.messages():
            found.append(message)
            if len(found) == count:
                break
    return found


async def test_SG21_two_motes_and_a_real_broker(gateway: MqttSnGateway) -> None:
    ward, caregiver = await mote("hr-7", gateway), await mote("nurse", gateway)
    await caregiver.connect()
    await caregiver.subscribe("ward/#")
    await ward.connect(will=Message("ward/7/gone", b"gone"))
    await ward.publish("ward/7/spo2", b"98", 0)
    await ward.publish("ward/7/spo2", b"97")
    await ward.publish("ward/7/spo2", b"96", 2)
    await ward.publish("ward/7/hr", b"72", predefined=7)
    found = await heard(caregiver, 4)
    assert [message.data for message in found] == [b"98", b"97", b"96", b"72"]
    assert max(message.qos for message in found) == 1  # decision 0194: never more towards a mote
    assert gateway.states() == {State.ACTIVE: 2}
    await ward.sleep(60)
    assert ward.link is Link.ASLEEP
    await ward.fetch()
    await caregiver.disconnect()
    assert gateway.states() == {State.ASLEEP: 1, State.DISCONNECTED: 1}
    ward.close()
    caregiver.close()


async def test_SG21_a_broker_that_restarts_costs_a_mote_nothing(broker: EmbeddedBroker, gateway: MqttSnGateway) -> None:
    ward = await mote("hr-7", gateway)
    await ward.connect()
    await ward.subscribe("ward/7/to")
    assert broker.kick("hr-7")
    await ward.publish("ward/7/to", b"again")  # returns when the connection is back
    assert (await heard(ward, 1))[0].data == b"again"
    ward.close()


async def test_SG21_a_mote_that_restarts_again_and_again_has_one_connection(
    broker: EmbeddedBroker, gateway: MqttSnGateway
) -> None:
    ward = await mote("hr-7", gateway)
    for _ in range(5):
        await ward.connect()
    await ward.subscribe("ward/7/to")
    await ward.publish("ward/7/to", b"once")
    assert [message.data for message in await heard(ward, 1)] == [b"once"]
    assert broker.clients == {"gw", "hr-7"}
    ward.close()


@pytest.mark.parametrize("gateway", ["aggregating"], indirect=True)
async def test_SG26_motes_share_a_connection_to_a_real_broker(broker: EmbeddedBroker, gateway: MqttSnGateway) -> None:
    ward, caregiver, lasting = [await mote(name, gateway) for name in ("hr-7", "nurse", "doctor")]
    await caregiver.connect()
    await caregiver.subscribe("ward/#")
    await lasting.connect(clean=False)
    await lasting.subscribe("ward/7/+")
    await ward.connect()
    for number in range(3):
        await ward.publish("ward/7/spo2", b"%d" % number, number)
    for each in (caregiver, lasting):
        assert [message.data for message in await heard(each, 3)] == [b"0", b"1", b"2"]
    assert broker.clients == {"gw", "doctor"}
    for each in (ward, caregiver, lasting):
        each.close()


async def test_SG19_keymote_datagrams_over_a_socket(gateway: MqttSnGateway) -> None:
    stray = await mote("stray", gateway)
    stray.datagram(b"bad")
    stray.datagram(b"56")
    async with asyncio.timeout(5):
        answers = stray.datagrams()
        assert [await anext(answers), await anext(answers)] == [b"", b"56"]
    assert gateway.tally["keymote-refused"] == 1
    stray.close()


async def test_SG14_garbage_does_not_end_the_gateway(gateway: MqttSnGateway) -> None:
    host, _, port = gateway.address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as garbage:
        for data in (b"", b"\x00", bytes(1400), b"\x03\x04\x00", b"\xff" * 300):
            garbage.sendto(data, (host, int(port)))
    ward = await mote("hr-7", gateway)
    await ward.connect()
    assert gateway.tally["malformed"] == 5
    ward.close()


async def test_a_gateway_that_does_not_answer_is_unavailable() -> None:
    nobody = await UdpSocket.open(ANYWHERE, lambda *_: None)
    carrier = partial(UdpSocket.open, ANYWHERE)
    alone = await MqttSnMote.open("alone", carrier, nobody.address, retry_s=0.01, retries=1)
    with pytest.raises(Unavailable):
        await alone.connect()
    alone.close()
    nobody.close()


async def test_SG01_a_broker_that_is_away_is_congestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keymote.transports.mqtt.upstream.OPENING_S", 0.05)
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(ANYWHERE)
        upstream = Upstream(BrokerPlace(port=taken.getsockname()[1]), "gw")
        gateway = MqttSnGateway(GatewayOptions(ANYWHERE, settings=SOON), upstream)
        await gateway.start()
        ward = await mote("hr-7", gateway)
        with pytest.raises(Unavailable, match="CONGESTION"):
            await ward.connect()
        assert upstream.connections == 0
        await gateway.close()
        ward.close()


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.0.2.1"])  # noqa: S104  to be refused
async def test_a_socket_has_one_address_of_this_machine(host: str) -> None:
    with pytest.raises(CallerFault):
        await UdpSocket.open((host, 0), lambda *_: None)


async def test_a_taken_port_is_unavailable() -> None:
    first = await UdpSocket.open(ANYWHERE, lambda *_: None)
    host, _, port = first.address.rpartition(":")
    with pytest.raises(Unavailable):
        await UdpSocket.open((host, int(port)), lambda *_: None)
    first.close()
