"""The wrapper of aiomqtt through the embedded broker: what people write with aiomqtt, and only ciphertext between."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace

import aiomqtt
import pytest

from keymote.device.topic_keys import TopicKeys
from keymote.engine.base import Now
from keymote.engine.topic.readings import NeedsKey
from keymote.errors import CallerFault, ErrorCode
from keymote.transports.broker_amqtt import EmbeddedBroker
from keymote.transports.mqtt.face import GivenKeys
from keymote.transports.mqtt.with_aiomqtt import ProtectedClient, ReadingMessage
from keymote.wire.topic import PUBLISH, SUBSCRIBE, KeyGrant

TOPIC = "ward/7/hr"
GRANT = KeyGrant(b"sess0001", 1, 1, 2, bytes(range(32)), 0, 100_000, 86_400)


def keys(*roles: int, grant: KeyGrant = GRANT, topic: str = TOPIC) -> TopicKeys:
    made = TopicKeys(lambda: Now(0.0, 0))
    for role in roles:
        made.take(topic, role, grant, [(grant.snd, b"")])
    return made


class Asking(GivenKeys):
    """Somebody who brings the key when it is asked for, in another thread, once it may."""

    def __init__(self) -> None:
        self.held = keys()
        super().__init__(self.held)
        self.needs: list[NeedsKey] = []
        self.third = asyncio.Event()

    async def ready_to_publish(self, topic: str) -> None:
        self.held.take(topic, PUBLISH, GRANT)

    def ask(self, need: NeedsKey) -> None:
        self.needs.append(need)
        if len(self.needs) == 3:
            self.third.set()

    async def bring(self) -> None:
        thread = threading.Thread(target=self.held.take, args=(TOPIC, SUBSCRIBE, GRANT, [(1, b"")]))
        thread.start()
        await asyncio.to_thread(thread.join)


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    started = await EmbeddedBroker.start(lambda *_: True, lambda *_: True)
    yield started
    await started.close()


def protected(broker: EmbeddedBroker, topics: GivenKeys | TopicKeys, name: str, **options: object) -> ProtectedClient:
    given = GivenKeys(topics) if isinstance(topics, TopicKeys) else topics
    return ProtectedClient("127.0.0.1", broker.port, topics=given, identifier=name, **options)  # type: ignore[arg-type]


def bare(broker: EmbeddedBroker, name: str) -> aiomqtt.Client:
    return aiomqtt.Client("127.0.0.1", broker.port, identifier=name)


async def received(client: aiomqtt.Client, count: int) -> list[bytes]:
    messages = client.messages
    return [bytes((await anext(messages)).payload) for _ in range(count)]


async def test_TQ11_readings_cross_a_broker_that_sees_ciphertext(broker: EmbeddedBroker) -> None:
    async with (
        protected(broker, keys(SUBSCRIBE), "nurse") as nurse,
        bare(broker, "spy") as spy,
        protected(broker, keys(PUBLISH), "mote") as mote,
    ):
        for client, wanted in ((nurse, "ward/+/hr"), (spy, "#")):
            await client.subscribe(wanted, qos=2)
        for number, payload in enumerate((b"0", "1", bytearray(b"2"), 3)):
            await mote.publish(TOPIC, payload, qos=min(number, 2))
        found = [await anext(nurse.messages) for _ in range(4)]
        assert {(m.payload, m.reading.n) for m in found if isinstance(m, ReadingMessage)} == {
            (b"%d" % number, number) for number in range(4)
        }
        assert all(data.startswith(b"\x82\x184\x83") for data in await received(spy, 4))


async def test_TQ12_garbage_is_counted_and_the_subscriber_lives(broker: EmbeddedBroker) -> None:
    held = keys(SUBSCRIBE)
    async with protected(broker, held, "nurse") as nurse, bare(broker, "spy") as spy:
        await nurse.subscribe("ward/#", qos=1)
        mote = keys(PUBLISH)
        sealed = mote.protect(TOPIC, b"72")
        for data in (b"garbage", sealed[:-1] + b"\0", sealed, sealed, mote.protect(TOPIC, b"73")):
            await spy.publish(TOPIC, data, qos=1)
        assert await received(nurse, 2) == [b"72", b"73"]
    assert held.counts() == {"E_FORMAT": 1, "E_AUTH": 1, "duplicate": 1}


async def test_TQ13_what_comes_before_its_key_is_handed_on_in_order_when_the_key_has_come(
    broker: EmbeddedBroker,
) -> None:
    asking = Asking()
    async with protected(broker, asking, "nurse") as nurse, protected(broker, Asking(), "mote") as mote:
        await nurse.subscribe(TOPIC, qos=1)
        for number in range(3):
            await mote.publish(TOPIC, b"%d" % number, qos=1)
        await asking.third.wait()
        assert [need.topic for need in asking.needs] == [TOPIC] * 3 and len(nurse.messages) == 0
        await asking.bring()
        await mote.publish(TOPIC, b"3", qos=1)
        assert await received(nurse, 4) == [b"0", b"1", b"2", b"3"]


async def test_TQ14_a_will_is_sealed_with_the_next_number_at_each_connect(broker: EmbeddedBroker) -> None:
    will = aiomqtt.Will(TOPIC, "gone", qos=1)
    mote = protected(broker, keys(PUBLISH), "mote", will=will)
    async with protected(broker, keys(SUBSCRIBE), "nurse") as nurse:
        await nurse.subscribe(TOPIC, qos=1)
        for _ in range(2):
            with pytest.raises(aiomqtt.MqttError):  # noqa: PT012  # the connection ends inside
                async with mote:
                    await mote.publish(TOPIC, "here", qos=1)
                    broker.kick("mote")
                    await anext(mote.messages)
        assert await received(nurse, 4) == [b"here", b"gone"] * 2


def test_TQ14_a_will_opens_after_any_number_of_readings_and_not_after_256_lost_ones() -> None:
    for lost, opens in ((0, True), (255, True), (256, False)):
        mote, nurse = keys(PUBLISH), keys(SUBSCRIBE)
        will = mote.protect(TOPIC, b"gone")
        for number in range(1000):
            data = mote.protect(TOPIC, b"here")
            if number >= 2 * lost or number % 2:
                nurse.unprotect(TOPIC, data)
        assert nurse.unprotect(TOPIC, will).duplicate is not opens


async def test_TQ15_retained_readings_of_the_present_epoch_open_and_older_ones_are_refused_with_the_reason(
    broker: EmbeddedBroker,
) -> None:
    second = replace(GRANT, epoch=2, snd=2, SK=bytes(32))
    async with protected(broker, keys(PUBLISH), "mote") as mote:
        await mote.publish(TOPIC, b"72", qos=1, retain=True)
        async with protected(broker, keys(SUBSCRIBE), "early") as early:
            await early.subscribe(TOPIC)
            assert await received(early, 1) == [b"72"]
        held = keys(SUBSCRIBE, grant=second)
        async with protected(broker, held, "late") as late:
            await late.subscribe(TOPIC, qos=1)
            await bare_publish(broker, keys(PUBLISH, grant=second).protect(TOPIC, b"73"))
            assert await received(late, 1) == [b"73"]
            for epoch in range(3, 12):
                held.take(TOPIC, SUBSCRIBE, replace(second, epoch=epoch, snd=epoch), [(epoch, b"")])
            assert {reject.code for reject in held.rejects()} == {ErrorCode.E_UNKNOWN_ID}
            assert "older epoch" in held.rejects()[0].why
        await mote.publish(TOPIC, retain=True)
    async with bare(broker, "spy") as spy:
        await spy.subscribe("#", qos=1)
        await bare_publish(broker, b"end")
        assert await received(spy, 1) == [b"end"]


async def bare_publish(broker: EmbeddedBroker, data: bytes) -> None:
    async with bare(broker, "other") as other:
        await other.publish(TOPIC, data, qos=1)


async def test_TQ16_what_cannot_be_protected_is_refused_before_it_is_sent(broker: EmbeddedBroker) -> None:
    async with protected(broker, keys(PUBLISH), "mote") as mote:
        for shared in ("$share/g/ward/#", [("ward/#", 1), ("$share/g/ward/#", 1)], ("$share/g/#", 0)):
            with pytest.raises(CallerFault, match="shared subscription"):
                await mote.subscribe(shared)
        with pytest.raises(CallerFault, match="topic alias"):
            await mote.publish("", b"72")
        with pytest.raises(NeedsKey):
            await mote.publish("ward/8/hr", b"72")


async def test_TQ17_what_the_library_would_drop_uses_up_no_number(broker: EmbeddedBroker) -> None:
    held = keys(PUBLISH)
    mote = protected(broker, held, "mote")
    for _ in range(300):
        with pytest.raises(aiomqtt.MqttCodeError):
            await mote.publish(TOPIC, b"72")
    assert held.standings()[0].n == 0
    async with mote:
        await mote.publish(TOPIC, b"72")
    assert held.standings()[0].n == 1


class Stack(asyncio.LifoQueue[aiomqtt.Message]):
    """A caller's own queue, which says when it holds three."""

    full_enough = asyncio.Event()

    def put_nowait(self, item: aiomqtt.Message) -> None:
        super().put_nowait(item)
        if self.qsize() == 3:
            self.full_enough.set()


async def test_TQ18_a_queue_of_the_callers_kind_holds_what_opens(broker: EmbeddedBroker) -> None:
    async with (
        protected(broker, keys(SUBSCRIBE), "nurse", queue_type=Stack) as nurse,
        protected(broker, keys(PUBLISH), "mote") as mote,
    ):
        await nurse.subscribe(TOPIC, qos=1)
        for number in range(3):
            await mote.publish(TOPIC, b"%d" % number, qos=1)
        await Stack.full_enough.wait()
        assert len(nurse.messages) == 3
        assert await received(nurse, 3) == [b"2", b"1", b"0"]


async def test_TQ19_a_publish_that_nobody_acknowledges_ends_as_the_librarys_does() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"\x20\x02\0\0")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    held = keys(PUBLISH)
    topics = GivenKeys(held)
    async with ProtectedClient("127.0.0.1", port, topics=topics, max_concurrent_outgoing_calls=1) as mote:
        for _ in range(2):
            with pytest.raises(aiomqtt.MqttError, match="timed out"):
                await mote.publish(TOPIC, b"72", qos=1, timeout=0.01)
    assert held.standings()[0].n == 2
    server.close()
