"""The PyPI client mqtt-sn-12 on our gateway, in front of Mosquitto and of the embedded broker.

As a subscriber the peer never sends PUBACK (it compares 1 with 0x20), which first of all shows what our gateway does with
a client that does not acknowledge; `honest` mends that for the rest.
"""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from mqttsn12.client.MqttSnClient import MqttSnClient, MqttSnListener
from mqttsn12.packets import PublishPacket

from keymote.engine.mqttsn.faces import Message, Settings
from keymote.engine.mqttsn.states import State
from keymote.stories.processes import free_port
from keymote.transports.broker_amqtt import EmbeddedBroker
from keymote.transports.mqtt.paho_loop import BrokerPlace, Ears, PahoLoop
from keymote.transports.mqtt.upstream import SharedUpstream, Upstream
from keymote.transports.mqttsn import GatewayOptions, MqttSnGateway

HOST = "127.0.0.1"
PATIENT = Settings(retry_s=5.0, retries=3, predefined={7: "ward/7/hr"})
SOON = replace(PATIENT, retry_s=0.3)
"""Where repetition is the matter; elsewhere a busy machine would make it: the peer takes a reading that is repeated for two."""

in_both_modes = pytest.mark.parametrize("mode", ["transparent", "aggregating"])
in_front_of_both = pytest.mark.parametrize(
    "broker",
    [pytest.param("embedded", marks=pytest.mark.long), pytest.param("mosquitto", marks=pytest.mark.peers)],
    indirect=True,
)


async def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something that real processes bring about."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110  what others do sets no event here
            await asyncio.sleep(0.02)


@pytest.fixture
async def broker(request: pytest.FixtureRequest, program: Callable[[str], str], tmp_path: Path) -> AsyncIterator[int]:
    """Return the port of a broker."""
    if request.param == "embedded":
        embedded = await EmbeddedBroker.start(lambda *_: True, lambda *_: True)
        yield embedded.port
        await embedded.close()
        return
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} {HOST}\nallow_anonymous true\nset_tcp_nodelay true\nuser root\n")
    process = subprocess.Popen([program("mosquitto"), "-c", str(config)], stderr=subprocess.DEVNULL)  # noqa: ASYNC220
    try:
        async with asyncio.timeout(30):
            while not await _listens(port):  # noqa: ASYNC110  nobody tells us
                await asyncio.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(5)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.fixture
def settings() -> Settings:
    return PATIENT


@pytest.fixture
def mode() -> str:
    return "transparent"


@pytest.fixture
async def gateway(broker: int, settings: Settings, mode: str) -> AsyncIterator[MqttSnGateway]:
    upstream = Upstream(BrokerPlace(HOST, broker), "gw")
    sessions = upstream if mode == "transparent" else SharedUpstream(upstream)
    made = MqttSnGateway(GatewayOptions((HOST, 0), settings=settings), sessions)
    await made.start()
    await until(lambda: upstream.connections > 0)  # until then clients hear of congestion, and would ask again
    yield made
    await made.close()


@dataclass
class Other:
    """Somebody else at the broker, by MQTT: what it hears, and `say`."""

    paho: PahoLoop
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    subscribed: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, topic: str, data: bytes, qos: int = 1) -> None:
        self.paho.paho.publish(topic, data, qos)


@pytest.fixture
async def other(broker: int) -> AsyncIterator[Other]:
    made: Other

    def up(_present: bool) -> None:
        made.paho.paho.subscribe("#", 1)

    def message(said: Any) -> None:
        made.heard.append((said.topic, said.payload))
        made.paho.paho.ack(said.mid, said.qos)

    ears = Ears(up, lambda _: None, message, lambda _: None, lambda *_: made.subscribed.set(), lambda _: None)
    made = Other(PahoLoop(BrokerPlace(HOST, broker), "other", ears, clean=True))
    await asyncio.wait_for(made.subscribed.wait(), 30)
    yield made
    idle = asyncio.Event()
    idle.set()
    await made.paho.close(idle)


@pytest.fixture
def honest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the peer acknowledge what it gets."""
    told = PublishPacket.get_qos
    monkeypatch.setattr(PublishPacket, "get_qos", lambda self: told(self) << 5)


class Peer(MqttSnListener):
    """The third party's client; its calls block, so each runs in a thread."""

    def __init__(self, gateway: MqttSnGateway, name: str) -> None:
        self.client = MqttSnClient()
        self.client.set_client_id(name)
        self.client.set_timeout(5)
        self.heard: list[bytes] = []
        host, _, port = gateway.address.rpartition(":")
        self.client.open(host, int(port))

    def message_arrived(self, msg: Any) -> None:
        self.heard.append(msg.get_payload())

    async def do(self, name: str, *arguments: Any) -> Any:
        return await asyncio.to_thread(getattr(self.client, name), *arguments)

    async def poll_until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not true():
                await self.do("polling")
                await asyncio.sleep(0.01)

    def raw(self, data: bytes) -> None:
        """Say what the peer has no call for."""
        self.client.send_packet(data)


@pytest.fixture
def peers(gateway: MqttSnGateway) -> Iterator[Callable[[str], Peer]]:
    made: list[Peer] = []

    def peer(name: str) -> Peer:
        made.append(Peer(gateway, name))
        return made[-1]

    yield peer
    for each in made:
        each.client.close()


@in_both_modes
@in_front_of_both
async def test_SG24_the_peer_publishes_with_every_qos(
    gateway: MqttSnGateway, other: Other, peers: Callable[[str], Peer]
) -> None:
    peer = peers("pub")
    await peer.do("send_connect")
    await peer.do("send_publish", "ward/7/spo2", b"a", 0)
    await peer.do("send_publish", "ward/7/spo2", b"b", 1)
    await peer.do("send_publish", "ward/7/spo2", b"c", 2)
    await peer.do("send_publish", "hr", b"d", 1)
    await peer.do("send_publish_predefined", 7, b"e", 1)
    await peer.do("send_disconnect")
    stranger = peers("nobody")
    await stranger.do("send_publish_predefined", 7, b"f", -1)
    await until(lambda: len(other.heard) >= 6)
    spo2 = [(topic, data) for topic, data in other.heard if data < b"e"]
    assert spo2 == [("ward/7/spo2", b"a"), ("ward/7/spo2", b"b"), ("ward/7/spo2", b"c"), ("hr", b"d")]
    assert {("ward/7/hr", b"e"), ("ward/7/hr", b"f")} == set(other.heard) - set(spo2)
    assert gateway.states() == {State.DISCONNECTED: 1}


@in_front_of_both
@pytest.mark.parametrize("settings", [SOON])
async def test_SG24_a_peer_that_never_acknowledges_is_told_again_and_nothing_is_given_up(
    gateway: MqttSnGateway, other: Other, peers: Callable[[str], Peer]
) -> None:
    peer = peers("sub")
    await peer.do("send_connect")
    await peer.do("send_subscribe", "ward/7/to", 1, peer)
    other.say("ward/7/to", b"once")
    other.say("ward/7/to", b"next")
    await peer.poll_until(lambda: len(peer.heard) == 1 + SOON.retries)
    assert set(peer.heard) == {b"once"}
    assert gateway.waiting() == 2
    peer.raw(b"\x02\x18")


@in_both_modes
@in_front_of_both
@pytest.mark.usefixtures("honest")
async def test_SG24_the_peer_subscribes_by_name_filter_short_and_predefined(
    gateway: MqttSnGateway, other: Other, peers: Callable[[str], Peer]
) -> None:
    peer = peers("sub")
    await peer.do("send_connect")
    await peer.do("send_subscribe", "ward/7/to", 1, peer)
    await peer.do("send_subscribe", "ward/+/all", 1, peer)
    await peer.do("send_subscribe", "hr", 1, peer)
    await peer.do("send_subscribe_predefined", 7, 1, peer)
    expected = []
    for number in range(12):
        topic = ("ward/7/to", "ward/3/all", "hr", "ward/7/hr")[number % 4]
        expected.append(b"%d" % number)
        other.say(topic, expected[-1])
    await peer.poll_until(lambda: len(peer.heard) == 12)
    assert peer.heard == expected
    await until(lambda: gateway.waiting() == 0)


@in_both_modes
@in_front_of_both
@pytest.mark.usefixtures("honest")
async def test_SG24_the_peer_sleeps_three_times_and_gets_what_came_in_order(
    gateway: MqttSnGateway, other: Other, peers: Callable[[str], Peer]
) -> None:
    peer = peers("sub")
    await peer.do("send_connect")
    await peer.do("send_subscribe", "ward/7/to", 1, peer)
    await peer.do("send_disconnect", 60)
    assert gateway.states() == {State.ASLEEP: 1}
    expected: list[bytes] = []
    for cycle in range(3):
        for number in range(4):
            expected.append(b"%d/%d" % (cycle, number))
            other.say("ward/7/to", expected[-1])
        await until(lambda: gateway.waiting() == 4)
        await peer.do("polling")
        assert peer.heard == expected[:-4]
        peer.raw(b"\x05\x16sub")  # its own PINGREQ with a client id raises AttributeError
        await peer.poll_until(lambda: len(peer.heard) == len(expected))
        assert peer.heard == expected
        await until(lambda: gateway.states() == {State.ASLEEP: 1})
    assert gateway.waiting() == 0


@in_both_modes
@in_front_of_both
@pytest.mark.usefixtures("honest")
async def test_SG24_a_silent_peers_will_is_published(
    gateway: MqttSnGateway, other: Other, peers: Callable[[str], Peer]
) -> None:
    peer = peers("will")
    peer.client.set_will("ward/7/gone", "help", 1, False)
    peer.client.set_keep_alive(1)
    await peer.do("send_connect")
    await until(lambda: other.heard == [("ward/7/gone", b"help")])
    assert gateway.states() == {State.LOST: 1}
    await asyncio.sleep(0.2)
    assert len(other.heard) == 1  # the broker does not publish it once more


@in_front_of_both
async def test_SG24_the_peers_commands_find_the_gateway(
    gateway: MqttSnGateway, other: Other, program: Callable[[str], str]
) -> None:
    host, _, port = gateway.address.rpartition(":")
    at = ("-h", host, "-p", port, "-t", "d/x", "-q", "1")
    subscriber = await asyncio.create_subprocess_exec(
        sys.executable, "-u", program("mqtt_sn_sub"), *at, "-i", "sub1", stdout=asyncio.subprocess.PIPE
    )
    assert subscriber.stdout is not None
    try:
        await until(lambda: gateway.states()[State.ACTIVE] == 1)
        line = asyncio.ensure_future(subscriber.stdout.readuntil(b"hello"))
        async with asyncio.timeout(60):
            while not line.done():  # a program that has connected has not subscribed yet, and does not say when
                publisher = await asyncio.create_subprocess_exec(
                    sys.executable, program("mqtt_sn_pub"), *at, "-m", "hello", "-i", "pub1"
                )
                assert await publisher.wait() == 0
                await asyncio.wait([line], timeout=1.0)
        await until(lambda: ("d/x", b"hello") in other.heard)
    finally:
        subscriber.send_signal(signal.SIGINT)
        await asyncio.wait_for(subscriber.communicate(), 30)
    assert b"hello" in line.result()


@in_front_of_both
async def test_SG02_a_gateway_that_dies_leaves_the_wills_to_the_broker(
    gateway: MqttSnGateway, broker: int, other: Other
) -> None:
    upstream = Upstream(BrokerPlace(HOST, broker), "gw2")
    from keymote.engine.mqttsn.faces import FromBroker, Open, Session

    heard: list[FromBroker] = []
    await upstream.start(heard.append)
    upstream.want(Open(Session("dying", 1), True, Message("ward/7/gone", b"help", 1)))
    await until(lambda: bool(heard))
    upstream._links["dying"]._paho.paho.socket().shutdown(2)  # noqa: SLF001  the power goes
    await until(lambda: other.heard == [("ward/7/gone", b"help")])
    await upstream.close()
