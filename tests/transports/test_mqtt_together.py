"""What a client of paho writes, and when: the library's own packets, together (TQ-20), and in the order of its readings (TQ-28)."""

import re
import socket
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from keymote.device.topic_keys import TopicKeys
from keymote.engine.base import Now
from keymote.transports.mqtt.face import GivenKeys
from keymote.transports.mqtt.paho_reading import MOST_TOGETHER, BufferedClient
from keymote.transports.mqtt.with_paho import ProtectedClient
from keymote.wire.topic import PUBLISH, KeyGrant

TOPIC = "ward/7/hr"
CONNACK = bytes.fromhex("20020000")


class Narrow(Client):
    """Its socket takes as many bytes at a time as `taken` says, 0 for none, and all that it is given when that is used up."""

    taken: Iterator[int]
    calls: int

    def _sock_send(self, buf: bytes | bytearray) -> int:
        self.calls += 1
        most = next(self.taken, len(buf))
        if not most:
            raise BlockingIOError
        return super()._sock_send(buf[:most])


class Together(BufferedClient, Narrow):
    """What is tested, on that socket."""


class Line:
    """A connected client, and the other end of its line."""

    def __init__(self, kind: type[Narrow]) -> None:
        self.client = kind(CallbackAPIVersion.VERSION2, "x")
        self.client.on_socket_register_write = lambda *_: None  # what is said waits for `write`
        self.client.taken, self.client.calls = iter(()), 0
        self.connect()

    def connect(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.client.connect(*server.getsockname())
            self.end, _ = server.accept()
        self.client.loop_write()
        self.end.sendall(CONNACK)
        while not self.client.is_connected():
            self.client.loop_read()

    def write(self, taken: Sequence[int] = ()) -> None:
        """Let the client write until nothing waits."""
        self.client.taken, self.client.calls = iter(taken), 0
        while self.client.want_write() and self.client.socket() is not None:
            assert self.client.loop_write() is MQTTErrorCode.MQTT_ERR_SUCCESS

    def heard(self) -> bytes:
        """Close, and return all that has come."""
        self.close()
        with self.end, self.end.makefile("rb") as stream:
            return stream.read()

    def close(self) -> None:
        self.client._reset_sockets()  # noqa: SLF001  as it does when it is gone


def said(kind: type[Narrow], readings: Sequence[tuple[int, int]], after: int, taken: Sequence[int]) -> bytes:
    """Return what a client sends that publishes these (QoS, size), disconnects, and would publish `after` more."""
    line = Line(kind)
    for qos, size in readings:
        line.client.publish("ward/7/hr", bytes(size), qos)
    line.write(taken[: len(taken) // 2])
    line.client.publish("ward/7/hr", b"the last")
    line.client.disconnect()
    for _ in range(after):
        line.client._send_publish(7, b"late", b"")  # noqa: SLF001  another thread's, that came between
    line.write(taken[len(taken) // 2 :])
    return line.heard()


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 300)), max_size=12),
    st.integers(0, 1),
    st.lists(st.integers(0, 700), max_size=20),
)
def test_TQ20_the_bytes_are_the_librarys_own_and_none_follows_a_disconnect(
    readings: list[tuple[int, int]], after: int, taken: list[int]
) -> None:
    assert said(Together, readings, after, taken) == said(Narrow, readings, 0, ())


def test_TQ20_what_waits_leaves_with_one_call_of_the_system() -> None:
    line = Line(Together)
    for _ in range(MOST_TOGETHER + 1):
        line.client.publish("ward/7/hr", b"72", 1)
    line.write()
    assert line.client.calls == 1
    line.heard()


def test_TQ20_a_new_connection_begins_with_nothing_of_the_former_one() -> None:
    line = Line(Together)
    for _ in range(3):
        line.client.publish("ward/7/hr", b"72", 0)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    line.client.on_publish = fail
    with pytest.raises(ZeroDivisionError):
        line.write()  # all three are on the wire, two are in the queue still
    line.heard()
    line.client.on_publish = None
    line.connect()
    line.client.publish("ward/7/hr", b"73", 0)
    line.write()
    assert line.heard().endswith(b"\x30\x0d\x00\x09ward/7/hr73")


@pytest.mark.parametrize("when", ["before the answer", "as it comes"])
def test_TQ28_what_is_published_while_a_connection_begins_stands_behind_what_waited(when: str) -> None:
    keys = TopicKeys(lambda: Now(0.0, 0))
    keys.take(TOPIC, PUBLISH, KeyGrant(b"sess0001", 1, 1, 2, bytes(range(32)), 0, 100_000, 86_400), [(1, b"")])
    mote = ProtectedClient(CallbackAPIVersion.VERSION2, "mote", clean_session=False, topics=GivenKeys(keys))
    mote.on_socket_register_write = lambda *_: None
    for number in range(40):
        assert mote.publish(TOPIC, b"%d" % number, 1).rc is MQTTErrorCode.MQTT_ERR_NO_CONN
    results = []
    if when == "as it comes":
        mote.on_connect = lambda *_: results.append(mote.publish(TOPIC, b"40", 1).rc)
    with socket.create_server(("127.0.0.1", 0)) as server:
        mote.connect(*server.getsockname())
        end, _ = server.accept()
    if when == "before the answer":
        results.append(mote.publish(TOPIC, b"40", 1).rc)
    mote.loop_write()
    end.sendall(CONNACK)
    while not mote.is_connected():
        mote.loop_read()
    results.append(mote.publish(TOPIC, b"41", 1).rc)
    mote.loop_write()
    mote._reset_sockets()  # noqa: SLF001  as it does when it is gone
    with end, end.makefile("rb") as stream:
        sent = stream.read()
    assert results == [MQTTErrorCode.MQTT_ERR_SUCCESS] * 2
    mids = [int.from_bytes(found[1]) for found in re.finditer(rb"ward/7/hr(..)\x82\x18\x34", sent, re.DOTALL)]
    assert mids == list(range(1, 42)), "the last waits for an acknowledgement"
