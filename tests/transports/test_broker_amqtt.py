"""The embedded broker's door, and that what it lets in works; the client is aiomqtt, the stranger a bare socket."""

import asyncio
import sys
from collections.abc import AsyncIterator
from time import monotonic

import aiomqtt
import pytest
from aiomqtt import ProtocolVersion

from keymote.errors import Unavailable
from keymote.transports import broker_amqtt
from keymote.transports.broker_amqtt import CONNECT_S, EmbeddedBroker
from keymote.transports.mqtt.connect import BadConnect, Connect, parse

ASKED: list[tuple[str, str, bytes]] = []


def known(client_id: str, user: str, password: bytes) -> bool:
    ASKED.append((client_id, user, password))
    return client_id == user and password == b"pass of " + user.encode()


def may(client_id: str, topic: str, action: str) -> bool:
    return topic.startswith("ward/7") or (action == "publish" and client_id == "mote")


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    ASKED.clear()
    started = await EmbeddedBroker.start(known, may)
    yield started
    await started.close()


def client(broker: EmbeddedBroker, name: str, **more: object) -> aiomqtt.Client:
    options = {"username": name, "password": f"pass of {name}", "identifier": name, **more}
    return aiomqtt.Client("127.0.0.1", broker.port, **options)  # type: ignore[arg-type]


async def said_to(broker: EmbeddedBroker, data: bytes) -> bytes:
    """What a bare connection gets for `data` until it is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    writer.write(data)
    answer = await reader.read()
    writer.close()
    return answer


async def test_TQ21_who_is_admitted_publishes_and_receives(broker: EmbeddedBroker) -> None:
    async with client(broker, "nurse") as nurse, client(broker, "mote") as mote:
        await nurse.subscribe("ward/7/#", qos=1)
        for number in range(20):
            await mote.publish("ward/7/hr", b"%d" % number, qos=number % 3)
        got = [(await anext(nurse.messages)).payload for _ in range(20)]
    assert sorted(got) == sorted(b"%d" % number for number in range(20))
    assert ASKED[0] == ("nurse", "nurse", b"pass of nurse")


async def test_TQ22_version_5_and_wrong_credentials_are_refused_at_once(broker: EmbeddedBroker) -> None:
    started = monotonic()
    for options in ({"protocol": ProtocolVersion.V5}, {"password": "wrong"}, {"identifier": "other"}):
        with pytest.raises(aiomqtt.MqttError):
            async with client(broker, "mote", **options):
                pass
    assert await said_to(broker, bytes.fromhex("101000064d514973647003020000") + b"\0\2ab") == bytes.fromhex("20020001")
    assert monotonic() - started < CONNECT_S


async def test_TQ22_who_was_refused_has_not_touched_the_session_of_that_name(broker: EmbeddedBroker) -> None:
    async with client(broker, "nurse", clean_session=False) as nurse:
        await nurse.subscribe("ward/7/#", qos=1)
    with pytest.raises(aiomqtt.MqttError):
        async with client(broker, "nurse", password="wrong", clean_session=True):
            pass
    async with client(broker, "mote") as mote:
        await mote.publish("ward/7/hr", b"72", qos=1)
    async with client(broker, "nurse", clean_session=False) as nurse:
        assert (await anext(nurse.messages)).payload == b"72"


async def test_TQ23_topics_are_asked_about(broker: EmbeddedBroker) -> None:
    async with client(broker, "nurse") as nurse, client(broker, "mote") as mote:
        granted = await nurse.subscribe([("ward/8/#", 1), ("ward/7/#", 1)])
        assert [getattr(code, "value", code) for code in granted] == [0x80, 1]
        await mote.publish("ward/8/hr", b"no", qos=1)
        await nurse.publish("ward/8/hr", b"no", qos=1)
        await mote.publish("ward/7/hr", b"yes", qos=1)
        assert (await anext(nurse.messages)).payload == b"yes"


async def test_TQ24_who_says_nothing_is_not_waited_for(broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_amqtt, "CONNECT_S", 0.01)
    assert await said_to(broker, b"\x10") == b""


async def test_TQ24_garbage_ends_its_own_connection_alone(broker: EmbeddedBroker) -> None:
    async with client(broker, "nurse") as nurse, client(broker, "mote") as mote:
        await nurse.subscribe("ward/7/#", qos=1)
        hello = b"\x10\x1e\x00\x04MQTT\x04\xc2\x00\x3c\x00\x01m\x00\x01m\x00\x09pass of m"
        for garbage in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\x10\xff\xff\xff\xff\x01",
            b"\x10\x02\0\4",
            hello + b"\xff\xff\x00",
        ):
            await said_to(broker, garbage)
        await mote.publish("ward/7/hr", b"72", qos=1)
        assert (await anext(nurse.messages)).payload == b"72"


async def test_TQ25_a_client_can_be_put_out(broker: EmbeddedBroker) -> None:
    async with client(broker, "mote") as mote:
        assert broker.clients == {"mote"}
        assert broker.kick("mote") and not broker.kick("nobody")
        with pytest.raises(aiomqtt.MqttError):
            await anext(mote.messages)


async def test_TQ26_a_taken_port_and_a_missing_package_are_told(
    broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unavailable, match="choose another port"):
        await EmbeddedBroker.start(known, may, port=broker.port)
    monkeypatch.delitem(sys.modules, "keymote.transports.broker_amqtt")
    monkeypatch.setitem(sys.modules, "amqtt.adapters", None)
    with pytest.raises(Unavailable, match=r"keymote\[broker\]"):
        __import__("keymote.transports.broker_amqtt")


def test_TQ22_a_connect_is_read_whole_and_written_again_without_its_credentials() -> None:
    with_will = b"\0\4MQTT\4\xee\0\x3c\0\2ab\0\1w\0\3\0\1\2\0\4user\0\2\xff\0"
    connect = parse(with_will)
    assert connect[:4] == (4, "ab", "user", b"\xff\0")
    bare = connect.without_credentials()
    assert bare == b"\x10\x16\0\4MQTT\4\x2e\0\x3c\0\2ab\0\1w\0\3\0\1\2"
    assert parse(bare[2:]) == Connect(4, "ab", "", b"", bare[2:12], bare[12:])
    for size in range(len(with_will)):
        with pytest.raises(BadConnect):
            parse(with_will[:size])
    for bad in (with_will + b"\0", b"\0\4MQTX\4\2\0\0\0\0", b"\0\4MQTT\4\2\0\0\0\1\xff"):
        with pytest.raises(BadConnect):
            parse(bad)
