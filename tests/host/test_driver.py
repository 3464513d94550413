"""The driver case by case; that nothing leaves before it is on disk stands in test_driver_property."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from keymote.crypto.entropy import Entropy, SeededEntropy
from keymote.engine.base import (
    MAX_RECORD,
    MAX_TELLS,
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
    Output,
    Peer,
    Received,
    Refused,
    Report,
    Send,
    Tell,
    Told,
)
from keymote.errors import CallerFault, ErrorCode, PeerFault, Unavailable
from keymote.host.driver import MAX_WAITING, ROUTE, Driver
from keymote.host.ports import Write
from keymote.host.wakes import RETRY_S
from keymote.storage.memory import MemoryStore


@dataclass(frozen=True)
class Cell:
    """A cell that does what it is told: `kept` is its record, `loose` is lost at a reload."""

    kept: bytes = b""
    loose: int = 0
    names: tuple[bytes, ...] = ()
    deadline: float | None = None
    wake_at: int | None = None


@dataclass(frozen=True)
class Become(Command):
    """The new state, and what the step wants."""

    cell: Cell | None
    outputs: tuple[Output, ...] = ()


@dataclass(frozen=True)
class Fail(Command):
    error: Exception


@dataclass(frozen=True)
class Heard(Report):
    item: Item


def step(cell: Cell | None, item: Item, _now: Now, _entropy: Entropy) -> tuple[Cell | None, Sequence[Output]]:
    match item:
        case Become(new, outputs) | Told(Become(new, outputs)):
            return new, outputs
        case Fail(error):
            raise error
        case Received(_, b"!"):
            raise PeerFault(ErrorCode.E_AUTH, "wrong tag")
        case Received(_, b"bug"):
            raise ZeroDivisionError
        case Received(peer, data):
            return cell, [Send(peer, data), Send("elsewhere", data), Heard(item)]
        case Due():
            assert cell is not None
            return replace(cell, deadline=None, wake_at=None, loose=cell.loose + 1), [Heard(item)]
        case _:
            return cell, [Heard(item)]


def load(_id: bytes, record: bytes) -> Cell:
    kept, wake, *names = record.split(b"|")
    return Cell(kept, names=tuple(names), wake_at=int(wake) if wake else None)


def record(cell: Cell) -> bytes | None:
    if not cell.kept:
        return None
    return b"|".join([cell.kept, str(cell.wake_at or "").encode(), *cell.names])


FACE: dict[str, Any] = {
    "step": step,
    "aliases": lambda cell: cell.names,
    "deadline": lambda cell: cell.deadline,
    "wake_at": lambda cell: cell.wake_at,
}
DURABLE = Kind("durable", Durability.DURABLE, record=record, load=load, **FACE)
VOLATILE = Kind("volatile", Durability.VOLATILE, record=record, **FACE)


def route(_peer: Peer, data: bytes) -> Sequence[CellKey]:
    if data.startswith(b"?"):
        raise PeerFault(ErrorCode.E_FORMAT, "unknown header")
    return [D, V] if data != b"route bug" else []


NODE = Node({"durable": DURABLE, "volatile": VOLATILE}, route)
D, V = CellKey("durable", b"d"), CellKey("volatile", b"v")


@dataclass
class Desk:
    """A driver and everything that it said."""

    store: MemoryStore = field(default_factory=MemoryStore)
    cache: int = 4096
    mono: float = 100.0
    wall: int = 1000
    sent: list[tuple[Peer, bytes]] = field(default_factory=list)
    gave_up: list[Callable[[], None]] = field(default_factory=list)
    asked: list[tuple[CellKey, object, Callable[[object], None]]] = field(default_factory=list)
    reports: list[tuple[CellKey, Report]] = field(default_factory=list)
    faults: list[tuple[str, Exception]] = field(default_factory=list)
    reliable: bool = True
    link_error: Exception | None = None

    def __post_init__(self) -> None:
        self.driver = self.started()

    def started(self) -> Driver:
        driver = Driver(
            NODE, self.store, self, self, SeededEntropy(b"x"),
            lambda *asked: self.asked.append(asked), lambda *told: self.reports.append(told),
            cache=self.cache, fault=lambda *fault: self.faults.append(fault),
        )  # fmt: skip
        driver.start()
        return driver

    def now(self) -> Now:
        return Now(self.mono, self.wall)

    def send(self, peer: Peer, data: bytes, failed: Callable[[], None] | None) -> None:
        if self.link_error is not None:
            raise self.link_error
        self.sent.append((peer, data))
        if failed is not None:
            self.gave_up.append(failed)

    def do(self, key: CellKey, command: Command) -> Any:
        ends: list[Any] = []
        self.driver.command(key, command, ends.append)
        return ends[0] if ends else "waiting"

    def heard(self) -> list[Item]:
        return [report.item for _, report in self.reports if isinstance(report, Heard)]


@pytest.fixture
def desk() -> Desk:
    return Desk()


# ------------------------------------------------------------------ datagrams


def test_sends_to_the_asker_ride_on_the_answer_and_the_others_go_by_the_link(desk: Desk) -> None:
    ends: list[Any] = []
    desk.driver.receive("peer", b"hi", ends.append)
    assert ends == [[Send("peer", b"hi")]]
    assert desk.sent == [("elsewhere", b"hi")]
    desk.driver.receive("peer", b"ho")
    assert desk.sent[1:] == [("peer", b"ho"), ("elsewhere", b"ho")]


def test_DR02_a_refused_datagram_leaves_only_a_count(desk: Desk) -> None:
    desk.do(V, Become(Cell(loose=1)))
    ends: list[Any] = []
    desk.driver.receive("peer", b"!", ends.append)
    assert ends == [[]]
    assert desk.driver.tally == {("volatile", ErrorCode.E_AUTH): 1}
    assert desk.reports == [(V, Refused("peer", ErrorCode.E_AUTH, "wrong tag"))]
    assert desk.driver.peek(V) == Cell(loose=1)
    assert desk.store.commits == 0


def test_DR11_an_unknown_header_touches_no_cell(desk: Desk) -> None:
    ends: list[Any] = []
    desk.driver.receive("peer", b"?", ends.append)
    assert ends == [[]]
    assert desk.driver.tally == {(ROUTE.kind, ErrorCode.E_FORMAT): 1}
    assert desk.reports == [(ROUTE, Refused("peer", ErrorCode.E_FORMAT, "unknown header"))]
    assert desk.driver.next_deadline() is None


def test_a_cell_is_found_by_an_alias_in_memory_and_on_disk(desk: Desk) -> None:
    desk.do(CellKey("durable", b"other"), Become(Cell(b"kept", names=(b"d",))))
    desk.driver.receive("peer", b"hi")
    assert desk.reports[-1][0] == CellKey("durable", b"other")
    desk.driver = desk.started()
    desk.driver.receive("peer", b"hi")
    assert desk.reports[-1][0] == CellKey("durable", b"other")
    desk.do(CellKey("durable", b"other"), Become(Cell(b"kept")))
    desk.driver.receive("peer", b"hi")
    assert desk.reports[-1][0] == D


# ------------------------------------------------------------------ faults


@pytest.mark.parametrize("data", [b"bug", b"route bug"])
def test_a_bug_costs_one_unit_and_is_told_to_the_log_only(desk: Desk, data: bytes) -> None:
    ends: list[Any] = []
    desk.driver.receive("peer", data, ends.append)
    assert [type(end) for end in ends] == [Unavailable]
    assert "Zero" not in str(ends[0])
    assert desk.driver.faults == len(desk.faults) == 1
    assert desk.do(D, Become(Cell(b"fine"))) == []


def test_a_caller_fault_in_a_command_goes_to_its_caller(desk: Desk) -> None:
    assert isinstance(desk.do(D, Fail(CallerFault("not like this"))), CallerFault)
    assert desk.driver.faults == 0
    assert isinstance(desk.do(D, Fail(ZeroDivisionError())), Unavailable)
    assert desk.driver.faults == 1
    (refused,) = desk.do(D, Fail(PeerFault(ErrorCode.E_STATE, "not now")))
    assert refused == Refused("", ErrorCode.E_STATE, "not now")


def test_an_unknown_kind_is_a_fault_not_a_crash(desk: Desk) -> None:
    assert isinstance(desk.do(CellKey("no such", b""), Become(None)), Unavailable)
    assert desk.driver.faults == 1


def test_DR10_a_record_that_is_too_long_is_a_fault_and_changes_nothing(desk: Desk) -> None:
    desk.do(D, Become(Cell(b"short")))
    tell = Tell(D, Become(Cell(b"x" * MAX_RECORD)))
    assert isinstance(desk.do(V, Become(Cell(loose=1), (tell,))), Unavailable)
    assert desk.driver.peek(V) is None
    assert desk.driver.peek(D) == Cell(b"short")
    assert "more than 2048" in str(desk.faults[0][1])


def test_DR10_a_kind_may_say_that_its_records_are_longer(desk: Desk) -> None:
    longer = replace(DURABLE, most_record=2 * MAX_RECORD)
    desk.driver.become(replace(NODE, kinds={**NODE.kinds, "durable": longer}))
    assert desk.do(D, Become(Cell(b"x" * (2 * MAX_RECORD - 64)))) == []
    assert isinstance(desk.do(D, Become(Cell(b"x" * 2 * MAX_RECORD))), Unavailable)
    assert "more than 4096" in str(desk.faults[0][1])


def test_DR12_too_many_tells_are_a_fault_and_change_nothing(desk: Desk) -> None:
    def chain(length: int) -> Become:
        become = Become(Cell(loose=length))
        for _ in range(length):
            become = Become(Cell(loose=length), (Tell(V, become),))
        return become

    assert desk.do(V, chain(MAX_TELLS)) == []
    assert isinstance(desk.do(V, chain(MAX_TELLS + 1)), Unavailable)
    assert desk.driver.peek(V) == Cell(loose=MAX_TELLS)


def test_a_broken_link_does_not_stop_the_effects_behind_it(desk: Desk) -> None:
    desk.link_error = OSError("no route")
    desk.driver.receive("peer", b"hi")
    assert len(desk.faults) == 2
    assert [type(item) for item in desk.heard()] == [Received]


def test_a_broken_callback_does_not_stop_the_node(desk: Desk) -> None:
    def broken(_end: object) -> None:
        raise KeyError

    desk.driver.receive("peer", b"hi", broken)
    assert desk.faults[0][0] == "settled"
    assert desk.do(D, Become(Cell(b"fine"))) == []


def test_a_durable_kind_must_be_able_to_load() -> None:
    kind = Kind("durable", Durability.DURABLE, step, record=record)
    with pytest.raises(CallerFault, match="cannot load"):
        Driver(Node({"durable": kind}, route), MemoryStore(), Desk(), Desk(), SeededEntropy(b""), print, print)


# ------------------------------------------------------------------ what waits


def test_calls_from_callbacks_are_queued_in_order(desk: Desk) -> None:
    order: list[str] = []

    def first(_end: object) -> None:
        desk.driver.receive("peer", b"two", lambda _end: order.append("two"))
        order.append("one")

    desk.driver.receive("peer", b"one", first)
    assert order == ["one", "two"]


def test_DR07_one_commit_serves_all_who_came_meanwhile(desk: Desk) -> None:
    desk.store.held = True
    ends: list[Any] = []
    for number in range(10):
        desk.driver.command(CellKey("durable", b"%d" % number), Become(Cell(b"x")), ends.append)
    assert (desk.store.pending, ends) == (1, [])
    desk.store.release()
    assert (desk.store.pending, ends) == (1, [[]])
    desk.store.release()
    assert (desk.store.pending, len(ends), desk.store.commits) == (0, 10, 2)


def test_DR03_a_volatile_kind_is_never_stored_even_if_it_has_a_record(desk: Desk) -> None:
    assert desk.do(V, Become(Cell(b"secret"))) == []
    assert desk.store.commits == 0
    assert desk.started().peek(V) is None


def test_a_store_that_raises_has_not_committed(desk: Desk) -> None:
    def broken(*_arguments: object) -> None:
        raise OSError("gone")

    desk.store.commit = broken  # type: ignore[method-assign]
    assert isinstance(desk.do(D, Become(Cell(b"x"))), Unavailable)
    assert desk.driver.peek(D) is None
    assert desk.driver.idle


def test_DR06_a_volatile_cell_of_a_failed_commit_is_what_it_was(desk: Desk) -> None:
    """Durable cells are loaded again; what only memory holds would be lost."""
    other = CellKey("volatile", b"other")
    desk.do(V, Become(Cell(b"open", 1, (b"name",))))
    desk.store.held = True
    desk.do(V, Become(Cell(b"open", 2, (b"new name",)), (Tell(D, Become(Cell(b"x"))),)))
    desk.do(V, Become(None, (Tell(D, Become(Cell(b"y"))), Tell(other, Become(Cell(b"z"))))))
    desk.store.release(Unavailable("disk full"))
    assert desk.driver.peek(D) is None
    assert desk.driver.peek(other) is None
    assert desk.driver.peek(V) == Cell(b"open", 1, (b"name",))
    desk.driver.receive("peer", b"data")
    assert desk.reports[-1][0] == V


def test_DR06_a_good_commit_is_not_undone_by_the_next_one_that_fails(desk: Desk) -> None:
    desk.store.held = True
    for number in (1, 2):
        desk.do(V, Become(Cell(b"open", number), (Tell(D, Become(Cell(b"%d" % number))),)))
    desk.store.release()
    desk.store.release(Unavailable("disk full"))
    assert desk.driver.peek(V) == Cell(b"open", 1)
    assert desk.driver.peek(D) == Cell(b"1")


def test_DR06_a_deadline_that_is_put_back_does_not_ring_in_circles(desk: Desk) -> None:
    desk.do(V, Become(Cell(b"open", deadline=desk.mono)))
    desk.store.fail_from = 0
    desk.do(V, Become(None, (Tell(D, Become(Cell(b"x"))),)))
    assert desk.driver.next_deadline() == desk.mono + RETRY_S
    desk.driver.tick()
    assert desk.heard() == []
    desk.mono += RETRY_S
    desk.driver.tick()
    assert desk.heard() == [Due()]


def test_a_store_that_ends_a_commit_twice_is_found_out(desk: Desk) -> None:
    ended = []
    works = desk.store.commit

    def twice(writes: Any, done: Any) -> None:
        works(writes, done)
        done(Unavailable("or not"))
        ended.append(writes)

    desk.store.commit = twice  # type: ignore[method-assign]
    assert desk.do(D, Become(Cell(b"x"))) == []
    assert (len(ended), desk.faults[0][0]) == (1, "store")
    assert desk.driver.peek(D) == Cell(b"x")


def test_the_queue_for_the_store_is_bounded(desk: Desk) -> None:
    desk.store.held = True
    ends: list[Any] = []
    for _ in range(MAX_WAITING + 1):
        desk.driver.command(D, Become(Cell(b"x")), ends.append)
    assert [type(end) for end in ends] == [Unavailable]
    assert desk.driver.tally == {(ROUTE.kind, ErrorCode.E_BUSY): 1}
    desk.store.release()
    assert desk.do(V, Become(None)) == []


def test_after_close_nothing_is_taken_in_and_what_was_acknowledged_later_still_leaves(desk: Desk) -> None:
    desk.store.held = True
    ends: list[Any] = []
    desk.driver.command(D, Become(Cell(b"x")), ends.append)
    desk.driver.close()
    assert isinstance(desk.do(D, Become(None)), Unavailable)
    assert not desk.driver.idle
    desk.store.release()
    assert ends == [[]]
    assert desk.driver.idle


def test_DR06_a_store_that_cannot_say_makes_the_node_unavailable_for_that_unit(desk: Desk) -> None:
    def cannot(_key: CellKey) -> bytes:
        raise Unavailable("disk gone")

    works, desk.store.load = desk.store.load, cannot  # type: ignore[method-assign]
    assert isinstance(desk.do(D, Become(Cell(b"x"))), Unavailable)
    assert desk.driver.faults == 0
    desk.store.load = works  # type: ignore[method-assign]
    assert desk.do(D, Become(Cell(b"x"))) == []


# ------------------------------------------------------------------ asks and failures


def test_an_answer_returns_to_the_cell_that_asked(desk: Desk) -> None:
    desk.do(V, Become(Cell(loose=1), (Ask(5, "who"),)))
    ((key, query, answer),) = desk.asked
    assert (key, query) == (V, "who")
    answer("me")
    assert desk.heard() == [Answer(5, "me")]


def test_an_answer_for_a_vanished_cell_is_dropped(desk: Desk) -> None:
    desk.do(V, Become(Cell(loose=1), (Ask(5, "who"),)))
    desk.do(V, Become(None))
    desk.asked[0][2]("me")
    assert desk.heard() == []


def test_an_answer_that_finds_no_store_is_dropped_and_the_node_lives(desk: Desk) -> None:
    desk.do(D, Become(Cell(b"x"), (Ask(5, "who"),)))
    desk.store.fail_at = frozenset({2})
    assert isinstance(desk.do(D, Become(Cell(b"y"))), Unavailable)  # D is not in memory any more

    def cannot(_key: CellKey) -> bytes:
        raise Unavailable("disk gone")

    works, desk.store.load = desk.store.load, cannot  # type: ignore[method-assign]
    desk.asked[0][2]("me")
    assert (desk.heard(), desk.driver.faults) == ([], 0)
    desk.store.load = works  # type: ignore[method-assign]
    desk.asked[0][2]("me again")
    assert desk.heard() == [Answer(5, "me again")]


def test_a_record_that_does_not_decode_is_a_fault_of_the_store(desk: Desk) -> None:
    def refuse(_id: bytes, _record: bytes) -> Cell:
        raise PeerFault(ErrorCode.E_FORMAT, "not CBOR")

    kind = Kind("durable", Durability.DURABLE, record=record, load=refuse, **FACE)
    desk.store.apply([Write(D, b"rubbish")])
    driver = Driver(
        Node({"durable": kind, "volatile": VOLATILE}, route), desk.store, desk, desk, SeededEntropy(b""),
        print, print, fault=lambda *fault: desk.faults.append(fault),
    )  # fmt: skip
    driver.receive("peer", b"hi")
    assert "record of a 'durable' cell does not decode" in str(desk.faults[0][1])
    assert driver.tally == {}


@pytest.mark.parametrize(
    ("error", "kind"), [(CallerFault("no such device"), CallerFault), (KeyError("x"), Unavailable)]
)
def test_a_service_that_raises_still_answers(desk: Desk, error: Exception, kind: type[Exception]) -> None:
    def broken(*_asked: Any) -> None:
        raise error

    driver = Driver(
        NODE, MemoryStore(), desk, desk, SeededEntropy(b""), broken, lambda *told: desk.reports.append(told)
    )
    driver.command(V, Become(Cell(loose=1), (Ask(5, "who"),)))
    (item,) = desk.heard()
    assert isinstance(item, Answer)
    assert isinstance(item.result, kind)


def test_a_link_that_gives_up_tells_the_cell_that_sent(desk: Desk) -> None:
    desk.do(V, Become(Cell(loose=1), (Send("far", b"1", ref=9), Send("far", b"2"))))
    (failed,) = desk.gave_up
    failed()
    assert desk.heard() == [Failed("far", 9)]


# ------------------------------------------------------------------ deadlines


def test_a_deadline_rings_once_and_when_it_was_last_set(desk: Desk) -> None:
    desk.do(V, Become(Cell(deadline=110.0)))
    desk.do(V, Become(Cell(deadline=120.0)))
    desk.mono = 115.0
    desk.driver.tick()
    assert desk.heard() == []
    assert desk.driver.next_deadline() == 120.0
    desk.do(V, Become(Cell(deadline=117.0)))
    assert desk.driver.next_deadline() == 117.0
    desk.mono = 130.0
    desk.driver.tick()
    desk.driver.tick()
    assert desk.heard() == [Due()]
    assert desk.driver.next_deadline() is None


def test_a_cell_that_is_gone_does_not_ring(desk: Desk) -> None:
    desk.do(V, Become(Cell(deadline=110.0)))
    desk.do(V, Become(None))
    assert desk.driver.next_deadline() is None
    desk.mono = 120.0
    desk.driver.tick()
    assert desk.heard() == []


def test_a_deadline_that_moves_often_takes_no_memory(desk: Desk) -> None:
    for number in range(1000):
        desk.do(V, Become(Cell(deadline=200.0 + number)))
    desk.mono = 200.0
    desk.driver.tick()
    assert desk.driver.next_deadline() == 1199.0


def test_DR14_a_wake_up_survives_the_node(desk: Desk) -> None:
    desk.do(D, Become(Cell(b"x", wake_at=1010)))
    assert desk.driver.next_deadline() == 110.0
    desk.wall = 1020
    desk.mono = 3.0
    desk.driver = desk.started()
    assert desk.heard() == [Due()]
    assert desk.driver.peek(D) == Cell(b"x", loose=1)
    assert desk.driver.next_deadline() is None


def test_a_distant_wake_up_is_looked_at_every_minute_because_clocks_are_set(desk: Desk) -> None:
    desk.do(D, Become(Cell(b"x", wake_at=9000)))
    assert desk.driver.next_deadline() == 160.0
    desk.mono, desk.wall = 160.0, 9500
    desk.driver.tick()
    assert desk.heard() == [Due()]


def test_many_wake_ups_are_all_served(desk: Desk) -> None:
    keys = [CellKey("durable", b"%d" % number) for number in range(700)]
    for key in keys:
        desk.do(key, Become(Cell(b"x", wake_at=1010)))
    desk.wall, desk.mono = 1010, 110.0
    for _ in range(5):
        desk.driver.tick()
    assert len(desk.heard()) == 700
    assert desk.driver.next_deadline() is None


def test_cells_that_stay_overdue_neither_spin_nor_hide_the_others(desk: Desk) -> None:
    broken = Kind("stuck", Durability.DURABLE, record=record, load=load, **{**FACE, "step": stuck_step})
    node = Node({"stuck": broken, "durable": DURABLE}, route)
    driver = Driver(node, desk.store, desk, desk, SeededEntropy(b""), print, lambda *told: desk.reports.append(told))
    for number in range(300):
        driver.command(CellKey("stuck", b"%d" % number), Become(Cell(b"x", wake_at=1001)))
    driver.command(D, Become(Cell(b"x", wake_at=1002)))
    driver.start()
    looks = 0
    desk.wall = 1010
    while desk.heard() != [Due()]:
        due = driver.next_deadline()
        assert due is not None
        looks += due > desk.mono
        desk.mono = max(desk.mono, due)
        driver.tick()
        assert looks < 5
    due = driver.next_deadline()
    assert due is not None
    assert due >= desk.mono + RETRY_S


def stuck_step(cell: Cell | None, item: Item, now: Now, entropy: Entropy) -> tuple[Cell | None, Sequence[Output]]:
    if isinstance(item, Due):
        raise PeerFault(ErrorCode.E_STATE, "not now")
    return step(cell, item, now, entropy)


def test_a_bug_in_due_is_tried_again_after_a_pause(desk: Desk) -> None:
    broken = Kind("broken", Durability.VOLATILE, **{**FACE, "step": broken_step})
    driver = Driver(Node({"broken": broken}, route), desk.store, desk, desk, SeededEntropy(b""), print, print)
    driver.command(CellKey("broken", b""), Become(Cell(deadline=101.0)))
    desk.mono = 105.0
    driver.tick()
    assert driver.faults == 1
    assert driver.next_deadline() == 105.0 + RETRY_S


def broken_step(cell: Cell | None, item: Item, now: Now, entropy: Entropy) -> tuple[Cell | None, Sequence[Output]]:
    if isinstance(item, Due):
        raise ZeroDivisionError
    return step(cell, item, now, entropy)


def test_a_store_that_cannot_say_who_is_due_is_asked_again(desk: Desk) -> None:
    desk.do(D, Become(Cell(b"x", wake_at=1010)))

    def cannot(_wall: int, _limit: int) -> Sequence[CellKey]:
        raise Unavailable("disk gone")

    works, desk.store.due = desk.store.due, cannot  # type: ignore[method-assign]
    desk.wall, desk.mono = 1010, 110.0
    desk.driver.tick()
    assert desk.driver.next_deadline() == 110.0 + RETRY_S
    desk.store.due = works  # type: ignore[method-assign]
    desk.mono = 112.0
    desk.driver.tick()
    assert desk.heard() == [Due()]


# ------------------------------------------------------------------ the cache


def test_clean_cells_leave_memory_and_cells_ahead_of_their_record_stay() -> None:
    desk = Desk(cache=1)
    keys = [CellKey("durable", b"%d" % number) for number in range(200)]
    for key in keys:
        desk.do(key, Become(Cell(b"kept")))
    for key in keys[:10]:
        desk.do(key, Become(Cell(b"kept", loose=7)))
    loads: list[CellKey] = []
    works = desk.store.load

    def counted(key: CellKey) -> bytes | None:
        loads.append(key)
        return works(key)

    desk.store.load = counted  # type: ignore[method-assign]
    for key in keys[10:] * 2:
        assert desk.driver.peek(key) == Cell(b"kept")
    assert len(loads) > 300, "the cache holds a few dozen cells only"
    loads.clear()
    assert all(desk.driver.peek(key) == Cell(b"kept", loose=7) for key in keys[:10])
    assert loads == []


# ------------------------------------------------------------------ another node over the same cells


def test_RN07_a_node_is_exchanged_over_the_same_cells(desk: Desk) -> None:
    """As when a manager's own credential was renewed: kept and loose state stays, the next unit steps anew."""
    for key in (D, V):
        desk.do(key, Become(Cell(b"kept", 7)))

    def newer(cell: Cell | None, item: Item, now: Now, entropy: Entropy) -> tuple[Cell | None, Sequence[Output]]:
        return (replace(cell, loose=8), ()) if cell is not None else step(cell, item, now, entropy)

    kinds = {name: replace(kind, step=newer) for name, kind in NODE.kinds.items()}
    desk.driver.become(replace(NODE, kinds=kinds))
    for key in (D, V):
        assert desk.driver.peek(key) == Cell(b"kept", 7)
        desk.do(key, Due())
        assert desk.driver.peek(key) == Cell(b"kept", 8)


def test_RN07_a_node_of_other_kinds_does_not_take_its_place(desk: Desk) -> None:
    with pytest.raises(CallerFault):
        desk.driver.become(replace(NODE, kinds={"durable": DURABLE}))
    desk.do(D, Become(Cell(b"kept")))
    assert desk.driver.peek(D) == Cell(b"kept")
