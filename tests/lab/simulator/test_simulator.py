"""The lab's host by itself, with a node of four tiny kinds: what it keeps, loses, delivers and repeats."""

from dataclasses import dataclass, replace

import pytest

from keymote import cbor
from keymote.engine.base import (
    MULTICAST,
    Answer,
    Ask,
    CellKey,
    Command,
    Due,
    Durability,
    Failed,
    Item,
    Kind,
    Node,
    Now,
    Received,
    Refused,
    Report,
    Send,
)
from keymote.errors import ErrorCode, PeerFault, Unavailable
from keymote.lab.simulator import EPOCH, Channel, Datagram, Fuse, Quartz, Simulator

LEDGER = CellKey("ledger", b"")
LAMP = CellKey("lamp", b"")


@dataclass(frozen=True, slots=True)
class Ledger:
    """Durable: numbers it has acknowledged, and when it wants to be woken."""

    seen: tuple[int, ...] = ()
    wake_at: int | None = None


@dataclass(frozen=True, slots=True)
class Lamp:
    """Volatile: lit until a deadline."""

    until: float


@dataclass(frozen=True, slots=True)
class Post(Command):
    peer: str
    number: int
    ref: int = 0


@dataclass(frozen=True, slots=True)
class WakeAt(Command):
    wall: int


@dataclass(frozen=True, slots=True)
class Light(Command):
    seconds: float


@dataclass(frozen=True, slots=True)
class Consult(Command):
    pass


@dataclass(frozen=True, slots=True)
class Saw(Report):
    what: object
    mono: float
    wall: int


def step_ledger(cell: Ledger | None, item: Item, now: Now, _entropy):
    cell = cell or Ledger()
    match item:
        case Post(peer, number, ref):
            return cell, [Send(peer, bytes([0x82, 1, number]), ref)]
        case WakeAt(wall):
            return replace(cell, wake_at=wall), ()
        case Consult():
            return cell, [Ask(9, "what time is it?")]
        case Received(peer, data) if data[2] == 0:
            raise PeerFault(ErrorCode.E_FORMAT, "zero")
        case Received(peer, data):
            told = Saw((peer, data[2]), now.mono, now.wall)
            if data[2] in cell.seen:
                return cell, [told]
            return replace(cell, seen=(*cell.seen, data[2])), [Send(peer, bytes([0x82, 2, data[2]])), told]
        case Due():
            return replace(cell, wake_at=None), [Saw("woken", now.mono, now.wall)]
        case Answer(9, result):
            return cell, [Saw(result, now.mono, now.wall)]
        case Failed(peer, ref):
            return cell, [Saw((peer, ref), now.mono, now.wall)]
    raise AssertionError(item)


def step_lamp(cell: Lamp | None, item: Item, now: Now, _entropy):
    match item:
        case Light(seconds):
            return Lamp(now.mono + seconds), ()
        case Due():
            return None, [Saw("dark", now.mono, now.wall)]
        case Received(_, data):
            return cell, [Saw(data[2], now.mono, now.wall)]
    raise AssertionError(item)


def step_echo(cell: Ledger | None, item: Item, _now: Now, _entropy):
    assert isinstance(item, Received)
    return cell, [Send(item.peer, item.data)]


def node() -> Node:
    ledger = Kind(
        "ledger",
        Durability.DURABLE,
        step_ledger,
        record=lambda cell: cbor.encode([list(cell.seen), cell.wake_at]),
        load=lambda _, record: Ledger(tuple(cbor.decode(record)[0]), cbor.decode(record)[1]),
        wake_at=lambda cell: cell.wake_at,
    )
    lamp = Kind("lamp", Durability.VOLATILE, step_lamp, deadline=lambda cell: cell.until)

    def route(_peer, data):
        if len(data) != 3:
            raise PeerFault(ErrorCode.E_FORMAT, "not three bytes")
        return [LEDGER if data[1] == 1 else LAMP]

    return Node({"ledger": ledger, "lamp": lamp}, route)


def world(seed: bytes = b"seed", **options) -> Simulator:
    made = Simulator(seed, **options)
    for name in ("a", "b", "c"):
        made.add(name, node, segment="east" if name != "c" else "west")
    return made


def numbers(made: Simulator, name: str) -> list[int]:
    return [saw.what[1] for saw in made.heard(name, Saw) if isinstance(saw.what, tuple)]


def busy_hour(seed: bytes) -> Simulator:
    made = world(seed, channel=Channel(0.01, jitter_s=1.0, loss=0.3, duplication=0.3))
    for number in range(1, 40):
        made.command("a", LEDGER, Post("b", number))
    made.run_for(3600.0)
    return made


def test_DR13_same_seed_same_trace() -> None:
    once, again, other = busy_hour(b"1"), busy_hour(b"1"), busy_hour(b"2")
    assert once.trace == again.trace
    assert once.trace != other.trace


def test_loss_duplication_and_jitter_do_what_they_say() -> None:
    heard = numbers(busy_hour(b"1"), "b")
    assert 0 < len(set(heard)) < 39
    assert len(heard) > len(set(heard))
    assert heard != sorted(heard)


def test_perfect_air_delivers_once_in_order() -> None:
    made = world()
    for number in range(1, 20):
        made.command("a", LEDGER, Post("b", number))
    made.run_for(1.0)
    assert numbers(made, "b") == list(range(1, 20))
    assert made.messages["a", 1] == 19
    assert made.octets["a", 1] == 57
    assert made.messages["b", 2] == 19


def test_DR04_a_reboot_keeps_the_disk_and_forgets_the_rest() -> None:
    made = world()
    made.command("b", LAMP, Light(5.0))
    made.command("a", LEDGER, Post("b", 7))
    made.run_for(1.0)
    made.reboot("b")
    assert made.hosts["b"].cells == {LEDGER: Ledger((7,))}
    made.run_for(10.0)
    assert [saw.what for saw in made.heard("b", Saw)] == [("a", 7)]


def test_DR14_wake_times_survive_a_reboot() -> None:
    made = world()
    made.command("b", LEDGER, WakeAt(EPOCH + 30))
    made.run_for(10.0)
    made.reboot("b", down_s=5.0)
    made.run_for(60.0)
    (woken,) = made.heard("b", Saw)
    assert (woken.what, woken.wall) == ("woken", EPOCH + 30)
    assert woken.mono == pytest.approx(15.0, abs=0.01)


def test_a_node_that_is_down_hears_nothing() -> None:
    made = world()
    made.reboot("b", down_s=5.0)
    made.command("a", LEDGER, Post("b", 1))
    assert made.command("b", LEDGER, Post("a", 1)) == []
    made.run_for(10.0)
    assert numbers(made, "b") == []
    made.command("a", LEDGER, Post("b", 2))
    made.run_for(1.0)
    assert numbers(made, "b") == [2]


@pytest.mark.parametrize("after", [False, True])
def test_DR01_a_burnt_fuse_lets_nothing_leave(after: bool) -> None:
    made = world()
    made.hosts["b"].fuse = Fuse(2, after)
    for number in (1, 2, 3):
        made.command("a", LEDGER, Post("b", number))
        made.run_for(1.0)
    assert made.hosts["b"].boots == 2
    assert made.hosts["b"].cells[LEDGER].seen == ((1, 2, 3) if after else (1, 3))
    assert [datagram.data[2] for datagram in made.air if datagram.source == "b"] == [1, 3]


def test_clocks_are_skewed_and_drift() -> None:
    made = world()
    made.set_clock("b", Quartz(skew_s=3600.0))
    made.command("b", LEDGER, WakeAt(EPOCH + 3610))
    made.set_clock("a", Quartz(drift=0.1))
    made.command("a", LAMP, Light(11.0))
    made.run_for(10.5)
    assert [saw.wall for saw in made.heard("b", Saw)] == [EPOCH + 3610]
    assert [saw.what for saw in made.heard("a", Saw)] == ["dark"]


def test_a_clock_that_is_set_moves_the_wake() -> None:
    made = world()
    made.command("b", LEDGER, WakeAt(EPOCH + 1000))
    made.run_for(1.0)
    made.set_clock("b", Quartz(skew_s=2000.0))
    made.run_for(1.0)
    assert [saw.what for saw in made.heard("b", Saw)] == ["woken"]


def test_multicast_stays_in_its_segment() -> None:
    made = world()
    made.command("a", LEDGER, Post(MULTICAST, 5))
    made.run_for(1.0)
    assert (numbers(made, "a"), numbers(made, "b"), numbers(made, "c")) == ([], [5], [])


def test_the_adversary_sees_drops_changes_and_forges() -> None:
    made = world()
    seen = []

    def adversary(datagram: Datagram):
        if datagram.source != "a":
            return [datagram]
        seen.append(datagram.data)
        if datagram.data[2] == 1:
            return []
        return [datagram, replace(datagram, data=bytes([0x82, 1, 9]))]

    made.adversary = adversary
    made.command("a", LEDGER, Post("b", 1))
    made.command("a", LEDGER, Post("b", 2))
    made.inject("a", "b", bytes([0x82, 1, 8]))
    made.run_for(1.0)
    assert sorted(numbers(made, "b")) == [2, 8, 9]
    assert seen == [bytes([0x82, 1, 1]), bytes([0x82, 1, 2])]


def test_a_reliable_channel_says_failed_and_an_unreliable_one_does_not() -> None:
    made = world()
    made.channels["a", "b"] = Channel(loss=1.0, reliable=True)
    made.channels["a", "c"] = Channel(loss=1.0)
    made.command("a", LEDGER, Post("b", 1, ref=3))
    made.command("a", LEDGER, Post("c", 1, ref=4))
    made.run_for(60.0)
    assert [saw.what for saw in made.heard("a", Saw)] == [("b", 3)]


def test_answers_come_back_and_errors_are_answers() -> None:
    def answer(name: str, query: object) -> object | None:
        if name == "b":
            raise Unavailable("closed")
        return None if name == "c" else query

    made = world(answer=answer)
    for name in ("a", "b", "c"):
        made.command(name, LEDGER, Consult())
    made.run_for(1.0)
    assert [saw.what for saw in made.heard("a", Saw)] == ["what time is it?"]
    assert [type(saw.what) for saw in made.heard("b", Saw)] == [Unavailable]
    assert made.heard("c", Saw) == []


def test_an_answer_does_not_outlive_a_reboot() -> None:
    made = world(answer=lambda _name, query: query)
    made.command("a", LEDGER, Consult())
    made.reboot("a")
    made.run_for(1.0)
    assert made.heard("a", Saw) == []


def test_DR02_refusals_are_counted_where_they_happen() -> None:
    made = world()
    made.inject("x", "a", b"\x82\x01\x00")
    made.inject("x", "a", b"junk")
    made.run_for(1.0)
    assert made.hosts["a"].refused == {("ledger", ErrorCode.E_FORMAT): 1, ("route", ErrorCode.E_FORMAT): 1}
    assert [refused.peer for refused in made.heard("a", Refused)] == ["x", "x"]
    assert made.hosts["a"].commits == 0


def test_a_fork_has_its_own_future() -> None:
    made = world()
    made.command("a", LEDGER, Post("b", 1))
    twin = made.fork("other")
    twin.command("a", LEDGER, Post("b", 2))
    twin.run_for(1.0)
    made.run_for(1.0)
    assert (numbers(made, "b"), numbers(twin, "b")) == ([1], [1, 2])
    assert made.hosts["b"].disk != twin.hosts["b"].disk


def test_nodes_that_talk_in_circles_are_stopped() -> None:
    made = world(channel=Channel(latency_s=0.0))
    made.adversary = lambda datagram: [datagram, replace(datagram, data=b"\x82\x01\x01")]
    made.command("a", LEDGER, Post("b", 1))
    made.most_events = 2000
    made.hosts["b"].node = echo = replace(node(), kinds={"ledger": replace(node().kinds["ledger"], step=step_echo)})
    made.hosts["a"].node = echo
    with pytest.raises(RuntimeError, match="circles"):
        made.run_for(1.0)
