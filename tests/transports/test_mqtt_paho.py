"""The wrapper of paho through the embedded broker, both driven from the same thread as an application would drive them."""

import asyncio
import queue
import socket
import threading
from collections.abc import Iterator

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from keymote.device.topic_keys import TopicKeys
from keymote.engine.base import Now
from keymote.engine.topic.readings import NeedsKey
from keymote.errors import CallerFault
from keymote.transports.broker_amqtt import EmbeddedBroker
from keymote.transports.mqtt.face import GivenKeys
from keymote.transports.mqtt.with_paho import ProtectedClient, ReadingMessage
from keymote.wire.topic import PUBLISH, SUBSCRIBE, KeyGrant

TOPIC = "ward/7/hr"
GRANT = KeyGrant(b"sess0001", 1, 1, 2, bytes(range(32)), 0, 100_000, 86_400)
SECOND_S = 5.0


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A broker in a thread of its own."""
    ready: queue.Queue[int] = queue.Queue()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def serve() -> None:
        broker = await EmbeddedBroker.start(lambda *_: True, lambda *_: True)
        ready.put(broker.port)
        await over.wait()
        await broker.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    yield ready.get(timeout=SECOND_S)
    loop.call_soon_threadsafe(over.set)
    thread.join()
    loop.close()


def keys(*roles: int) -> TopicKeys:
    made = TopicKeys(lambda: Now(0.0, 0))
    for role in roles:
        made.take(TOPIC, role, GRANT, [(1, b"")])
    return made


class Heard:
    """What a client's callbacks got, and the threads that they came from."""

    def __init__(self) -> None:
        self.messages: queue.Queue[MQTTMessage] = queue.Queue()
        self.threads: set[str] = set()

    def __call__(self, client: Client, userdata: object, message: MQTTMessage) -> None:
        self.threads.add(threading.current_thread().name)
        self.messages.put(message)

    def payloads(self, count: int) -> list[bytes]:
        return [bytes(self.messages.get(timeout=SECOND_S).payload) for _ in range(count)]


def started(client: Client, port: int, subscribe: str = "") -> Client:
    subscribed = threading.Event()
    client.on_connect = lambda *_: client.subscribe(subscribe, qos=1) if subscribe else subscribed.set()
    client.on_subscribe = lambda *_: subscribed.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert subscribed.wait(SECOND_S)
    return client


def cut(client: Client) -> None:
    """End a connection as a network does; the client notices."""
    sock = client.socket()
    assert sock is not None
    sock.shutdown(socket.SHUT_RDWR)
    while client.socket() is not None:
        client.loop()


def stop(*clients: Client) -> None:
    for client in clients:
        client.disconnect()
        client.loop_stop()


def protected(topics: TopicKeys | GivenKeys, name: str) -> ProtectedClient:
    given = GivenKeys(topics) if isinstance(topics, TopicKeys) else topics
    return ProtectedClient(CallbackAPIVersion.VERSION2, name, topics=given)


def test_TQ11_readings_cross_a_broker_that_sees_ciphertext_with_paho(port: int) -> None:
    heard, filtered, seen = Heard(), Heard(), Heard()
    nurse, mote = protected(keys(SUBSCRIBE), "nurse"), protected(keys(PUBLISH), "mote")
    spy = Client(CallbackAPIVersion.VERSION2, "spy")
    nurse.on_message, spy.on_message = heard, seen
    nurse.message_callback_add("ward/+/hr", filtered)
    for client, wanted in ((nurse, "ward/#"), (spy, "#"), (mote, "")):
        started(client, port, wanted)
    for number, payload in enumerate((b"0", "1", bytearray(b"2"), 3)):
        assert mote.publish(TOPIC, payload, qos=min(number, 2)).rc is MQTTErrorCode.MQTT_ERR_SUCCESS
    found = [filtered.messages.get(timeout=SECOND_S) for _ in range(4)]
    assert {(m.payload, m.reading.n) for m in found if isinstance(m, ReadingMessage)} == {
        (b"%d" % number, number) for number in range(4)
    }
    assert all(data.startswith(b"\x82\x184\x83") for data in seen.payloads(4)) and heard.messages.empty()
    stop(nurse, spy, mote)


def test_TQ12_garbage_is_counted_and_the_subscriber_lives_with_paho(port: int) -> None:
    held, heard = keys(SUBSCRIBE), Heard()
    nurse, spy = protected(held, "nurse"), Client(CallbackAPIVersion.VERSION2, "spy")
    nurse.on_message = heard
    started(nurse, port, "ward/#")
    started(spy, port)
    sealed = keys(PUBLISH).protect(TOPIC, b"72")
    for data in (b"garbage", sealed[:-1] + b"\0", sealed, sealed):
        spy.publish(TOPIC, data, qos=1)
    spy.publish(TOPIC, b"", qos=1)
    mote = keys(PUBLISH)
    mote.protect(TOPIC, b"")
    spy.publish(TOPIC, mote.protect(TOPIC, b"73"), qos=1)
    assert heard.payloads(2) == [b"72", b"73"]
    assert held.counts() == {"E_FORMAT": 2, "E_AUTH": 1, "duplicate": 1}
    stop(nurse, spy)


def test_TQ13_late_readings_come_in_order_and_from_the_network_thread(port: int) -> None:
    held, heard, asked = keys(), Heard(), threading.Semaphore(0)

    class Asking(GivenKeys):
        def ask(self, need: NeedsKey) -> None:
            asked.release()

    nurse, mote = protected(Asking(held), "nurse"), protected(keys(PUBLISH), "mote")
    nurse.on_message = heard
    started(nurse, port, TOPIC)
    started(mote, port)
    for number in range(3):
        mote.publish(TOPIC, b"%d" % number, qos=1)
    for _ in range(3):
        assert asked.acquire(timeout=SECOND_S)
    held.take(TOPIC, SUBSCRIBE, GRANT, [(1, b"")])
    mote.publish(TOPIC, b"3", qos=1)
    assert heard.payloads(4) == [b"0", b"1", b"2", b"3"]
    assert len(heard.threads) == 1 and threading.current_thread().name not in heard.threads
    stop(nurse, mote)


def test_TQ14_a_will_needs_a_key_at_connect_with_paho(port: int) -> None:
    held, heard = keys(), Heard()
    nurse, mote = protected(keys(SUBSCRIBE), "nurse"), protected(held, "mote")
    nurse.on_message = heard
    started(nurse, port, TOPIC)
    mote.will_set(TOPIC, "gone", qos=1)
    with pytest.raises(ConnectionError, match="no key for the will"):
        mote.connect("127.0.0.1", port)
    held.take(TOPIC, PUBLISH, GRANT)
    for _ in range(2):
        mote.connect("127.0.0.1", port)
        info = mote.publish(TOPIC, "here", qos=1)
        while not info.is_published():
            mote.loop()
        cut(mote)
    assert heard.payloads(4) == [b"here", b"gone"] * 2
    stop(nurse)


def test_TQ16_what_cannot_be_protected_is_refused_with_paho(port: int) -> None:
    mote = protected(keys(PUBLISH), "mote")
    for shared in ("$share/g/ward/#", ("$share/g/ward/#", 1), [("ward/#", 1), ("$share/g/ward/#", 1)]):
        with pytest.raises(CallerFault, match="shared subscription"):
            mote.subscribe(shared)
    with pytest.raises(NeedsKey):
        mote.publish("ward/8/hr", b"72", qos=1)
    with pytest.raises(TypeError):
        mote.publish(TOPIC, object(), qos=1)  # type: ignore[arg-type]


def test_TQ17_what_the_library_would_drop_uses_up_no_number_with_paho(port: int) -> None:
    held = keys(PUBLISH)
    mote = protected(held, "mote")
    mote.max_queued_messages_set(2)
    codes = [mote.publish(TOPIC, b"72", qos=qos).rc for qos in (0, 1, 2, 1, 0)]
    no, full = MQTTErrorCode.MQTT_ERR_NO_CONN, MQTTErrorCode.MQTT_ERR_QUEUE_SIZE
    assert codes == [no, no, no, full, no]
    assert held.standings()[0].n == 2  # the two that the library keeps for the connection


def test_TQ19_a_repetition_sends_the_same_bytes(port: int) -> None:
    """The connection ends before the acknowledgement; paho sends again at the next one, and nothing is sealed twice."""
    held, seen = keys(PUBLISH), Heard()
    mote, spy = protected(held, "mote"), Client(CallbackAPIVersion.VERSION2, "spy")
    spy.on_message = seen
    started(spy, port, "#")
    mote.connect("127.0.0.1", port)
    while not mote.is_connected():
        mote.loop()
    info = mote.publish(TOPIC, b"72", qos=1)
    first = seen.messages.get(timeout=SECOND_S).payload
    sock = mote.socket()
    assert sock is not None
    sock.close()  # before the acknowledgement is read
    mote.reconnect()
    while not info.is_published():
        mote.loop()
    assert seen.messages.get(timeout=SECOND_S).payload == first
    assert held.standings()[0].n == 1
    mote.disconnect()
    stop(spy)
