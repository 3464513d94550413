"""Whatever is said to the gateway, in whatever order, it goes on, and its tables stay small (SG-14, SG-15)."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keymote.engine.base import Now, Received
from keymote.engine.mqttsn.faces import (
    Address,
    Arrived,
    Closed,
    Message,
    Opened,
    Published,
    Reply,
    Session,
    Settings,
    Subscribed,
    Tick,
    Unsubscribed,
)
from keymote.engine.mqttsn.gateway import Gateway
from keymote.engine.mqttsn.mote import Mote
from keymote.engine.mqttsn.mote_faces import Attach, Fetch, Hear, Listen, Say, Sleep
from keymote.errors import CallerFault, PeerFault
from keymote.wire import mqttsn
from keymote.wire.mqttsn import Packet
from keymote.wire.mqttsn_fields import Predefined, ReturnCode, ShortTopic, TopicId, TopicName

NAMES = ["a", "b", "c"]
PEERS = st.sampled_from(["p1", "p2"])
IDS = st.integers(0, 4)
TEXTS = st.sampled_from(["a", "b", "c", "a/b", "a/#", "+", "hr", "x" * 300, "é"])
DATA = st.sampled_from([b"", b"x", bytes(1300)])
TOPICS = st.one_of(
    IDS.map(TopicId),
    st.sampled_from([1, 7, 0xFFF0]).map(Predefined),
    st.sampled_from(["hr", "a+", "##"]).map(ShortTopic),
    TEXTS.map(TopicName),
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "client_id": st.sampled_from(NAMES),
    "duration_s": st.sampled_from([0, 1, 10]),
    "topic": TOPICS,
    "name": TEXTS,
    "data": DATA,
    "message": DATA,
    "qos": st.integers(-1, 2),
    "code": st.sampled_from(ReturnCode),
    "address": st.just(b""),
    "node": st.sampled_from([b"", b"n", bytes(40)]),
}
SESSIONS = st.builds(Session, st.sampled_from(["", *NAMES]), st.integers(0, 3))
MESSAGES = st.builds(Message, TEXTS, DATA, st.integers(0, 2), st.booleans())
BROKER = st.one_of(
    st.builds(Opened, SESSIONS),
    st.builds(Closed, SESSIONS),
    st.builds(Subscribed, SESSIONS, IDS, st.sampled_from([None, 0, 1, 2])),
    st.builds(Unsubscribed, SESSIONS, IDS),
    st.builds(Published, SESSIONS, IDS, st.booleans()),
    st.builds(Arrived, SESSIONS, IDS, MESSAGES),
    st.builds(Reply, st.builds(Address, PEERS, st.just(b"")), DATA),
)


def packets() -> st.SearchStrategy[bytes]:
    """Packets of every type with small values, so that they mean something to each other; what cannot be written is b""."""
    return st.one_of([st.fixed_dictionaries(_values(kind)).map(_encoder(kind)) for kind in mqttsn.kinds().values()])


def _values(kind: type[Packet]) -> dict[str, st.SearchStrategy[Any]]:
    found: dict[str, st.SearchStrategy[Any]] = {}
    for name in kind.__dataclass_fields__:  # type: ignore[attr-defined]
        hint = str(kind.__dataclass_fields__[name].type)  # type: ignore[attr-defined]
        if name == "inner":
            found[name] = st.sampled_from([b"\x02\x16", b"\x07\x04\x04\x01\x00\x09b", b"\x02\x18"])
        elif kind in (mqttsn.WillTopic, mqttsn.WillTopicUpd) and name == "topic":
            found[name] = st.sampled_from(["", "w", "w/#"])
        elif name in VALUES:
            found[name] = VALUES[name]
        else:
            found[name] = st.booleans() if "bool" in hint else IDS
    return found


def _encoder(kind: type[Packet]):
    def encode(values: dict[str, Any]) -> bytes:
        try:
            return kind(**values).encode()
        except PeerFault:
            return b""

    return encode


ITEMS = st.one_of(
    st.tuples(st.just("packet"), PEERS, packets()),
    st.tuples(st.just("packet"), PEERS, packets()),
    st.tuples(st.just("bytes"), PEERS, st.binary(max_size=20)),
    st.tuples(st.just("broker"), BROKER, st.none()),
    st.tuples(st.just("time"), st.sampled_from([0.1, 3.0, 10.0, 20.0]), st.none()),
)
SMALL = Settings(
    most_clients=3, most_topics=3, most_waiting=3, most_waiting_bytes=1400, most_upstream=2, predefined={7: "a/b"}
)


def answer_in_turn(gateway: Gateway, outputs: list[Any], now: Now) -> None:
    """Let the broker accept every session at once, so that the fuzz gets further than CONNECT."""
    for output in outputs:
        if type(output).__name__ == "Open":
            gateway.handle(Opened(output.session), now)


@pytest.mark.parametrize("effort", [20, pytest.param(3000, marks=pytest.mark.long)])
def test_SG14_no_packet_in_no_order_ends_the_gateway(effort: int) -> None:
    @settings(max_examples=effort)
    @given(st.lists(ITEMS, min_size=5, max_size=40))
    def run(items: list[tuple[str, Any, Any]]) -> None:
        gateway, now = Gateway(SMALL, keymote=True), 100.0
        for kind, first, second in items:
            clock = Now(now, 0)
            match kind:
                case "packet" | "bytes":
                    answer_in_turn(gateway, gateway.handle(Received(first, second), clock), clock)
                case "broker":
                    gateway.handle(first, clock)
                case _:
                    now += first
                    for _ in range(20):
                        due = gateway.deadline()
                        if due is None or due > now:
                            break
                        gateway.handle(Tick(), Now(now, 0))
                    else:
                        raise AssertionError("a deadline that does not pass")
            assert sum(gateway.states().values()) <= SMALL.most_clients
            assert all(count <= SMALL.most_waiting for count in gateway.waiting().values())

    run()


@pytest.mark.parametrize("effort", [10, pytest.param(2000, marks=pytest.mark.long)])
def test_SG14_no_packet_ends_a_mote(effort: int) -> None:
    wishes = st.sampled_from([Attach(10, True, Message("w", b"x")), Say(1, Message("a/b", b"x", 1)), Say(2, Message("hr", b"x", 2)),
        Listen(3, "a/#"), Sleep(10), Fetch()])  # fmt: skip

    @settings(max_examples=effort)
    @given(st.lists(st.one_of(packets().map(Hear), packets().map(Hear), wishes, st.just(Tick())), max_size=40))
    def run(items: list[Any]) -> None:
        mote, now = Mote("a", predefined={7: "a/b"}), 100.0
        for item in items:
            now += 3.0 if isinstance(item, Tick) else 0.0
            try:
                mote.handle(item, Now(now, 0))
            except CallerFault:
                assert not isinstance(item, Hear)

    run()
