"""The driver's one promise, for every interleaving: what left and depends on durable state is on disk at that moment."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from keymote.crypto.entropy import Entropy, SeededEntropy
from keymote.engine.base import (
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
    Peer,
    Received,
    Report,
    Send,
    Tell,
    Told,
)
from keymote.errors import CallerFault, ErrorCode, PeerFault, Unavailable
from keymote.host.driver import Driver
from keymote.storage.memory import MemoryStore

# ------------------------------------------------------------------ a toy node: durable counters, volatile notes
#
# Every moment of the clock is used for one event only, so `stamp` (the moment of a unit) orders all states of a cell.


@dataclass(frozen=True)
class Tally:
    """Durable: `count` changes the record at each step, `next` only when a block of 4 numbers is used up."""

    id: bytes
    stamp: int
    count: int
    reserved: int
    next: int
    wake: int | None = None


@dataclass(frozen=True)
class Note:
    """Volatile: remembers which durable state it has seen being made."""

    id: bytes
    bumps: int = 0
    tally: bytes = b""
    told: int = 0
    until: float | None = None


@dataclass(frozen=True)
class Said(Report):
    """Made at `at`, depends on the state of the counter `tally` as of `stamp` (`gone`: on its absence)."""

    tally: bytes
    stamp: int
    at: int
    gone: bool = False


@dataclass(frozen=True)
class Do(Command):
    what: str


BLOCK = 4
ERASED: list[tuple[bytes, int]] = []
"""Erasures that steps made, by counter and stamp; a note of the test, not of the engine."""


def statement(source: str, at: int, tally: bytes, stamp: int, *, gone: bool = False, seq: int = 0) -> bytes:
    return b"%s %d %s %d %d %d" % (source.encode(), at, tally, stamp, gone, seq)


def encode(cell: Tally) -> bytes:
    return f"{cell.stamp} {cell.count} {cell.reserved} {cell.wake or 0}".encode()


def decode(id_: bytes, record: bytes) -> Tally:
    stamp, count, reserved, wake = (int(part) for part in record.split())
    return Tally(id_, stamp, count, reserved, reserved, wake or None)


def tally_step(cell: Tally | None, item: Item, now: Now, _entropy: Entropy) -> tuple[Tally | None, Sequence[Any]]:
    stamp = int(now.mono)
    peer, what, id_ = "", "", b""
    match item:
        case Received(peer, data):
            what, id_ = chr(data[0]), data[1:]
        case Told((what, id_)):
            peer = "teller"
        case Do(what):
            pass
        case Due():
            assert cell is not None
            new = replace(cell, stamp=stamp, count=cell.count + 1, wake=None)
            return new, [Said(cell.id, stamp, stamp), Send("sleeper", statement("tally", stamp, cell.id, stamp))]
        case Answer(ref, result):
            assert cell is not None
            if isinstance(result, Exception):
                return cell, [Send("asker", statement("tally", stamp, cell.id, cell.stamp))]
            return replace(cell, stamp=stamp, count=cell.count + ref), [Said(cell.id, stamp, stamp)]
        case Failed(peer, _):
            assert cell is not None
            return replace(cell, stamp=stamp), [Said(cell.id, stamp, stamp)]
    if what in "isam" and cell is None:
        if not id_:
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, "no such counter")
        cell = Tally(id_, stamp, 0, stamp * 100, stamp * 100)
    if cell is None:
        id_ = id_.removeprefix(b"*")
        return None, [Send(peer, statement("tally", stamp, id_, stamp, gone=True))] if id_ else []
    match what:
        case "i":
            new = replace(cell, stamp=stamp, count=cell.count + 1)
            return new, [Send(peer, statement("tally", stamp, cell.id, stamp), ref=7), Said(cell.id, stamp, stamp)]
        case "s":
            reserved = cell.reserved + BLOCK if cell.next == cell.reserved else cell.reserved
            new = replace(cell, next=cell.next + 1, reserved=reserved)
            if reserved != cell.reserved:
                new = replace(new, stamp=stamp)
            return new, [
                Send(peer, statement("tally", stamp, cell.id, new.stamp, seq=new.next)),
                Said(cell.id, new.stamp, stamp),
            ]
        case "r" | "f":
            return cell, [
                Send(peer, statement("tally", stamp, cell.id, cell.stamp)),
                Send("third", statement("tally", stamp, cell.id, cell.stamp)),
            ]
        case "a":
            return replace(cell, stamp=stamp), [Ask(3, "service"), Said(cell.id, stamp, stamp)]
        case "m":
            return replace(cell, stamp=stamp, wake=now.wall + 2), [Said(cell.id, stamp, stamp)]
        case "e":
            ERASED.append((cell.id, stamp))
            return None, [
                Send(peer, statement("tally", stamp, cell.id, stamp, gone=True)),
                Said(cell.id, stamp, stamp, gone=True),
            ]
        case "b":
            raise ZeroDivisionError("a bug")
        case "c":
            raise CallerFault("no such thing to do")
        case _:
            raise PeerFault(ErrorCode.E_STATE, "unexpected")


def note_step(cell: Note | None, item: Item, now: Now, _entropy: Entropy) -> tuple[Note | None, Sequence[Any]]:
    stamp = int(now.mono)
    match item:
        case Received(peer, data):
            what, id_ = chr(data[0]), data[1:]
            cell = cell or Note(id_)
            said = [Send(peer, statement("note" + id_.decode(), stamp, cell.tally, cell.told))] if cell.tally else []
            match what:
                case "V":
                    return replace(cell, bumps=cell.bumps + 1, until=now.mono + 3), said
                case "T":
                    new = replace(cell, tally=id_, told=stamp, until=now.mono + 5)
                    return new, [*said, Tell(CellKey("tally", id_), ("i", id_))]
                case "B":
                    return replace(cell, bumps=99), [
                        Tell(CellKey("tally", id_), ("i", id_)),
                        Tell(CellKey("tally", id_), ("b", id_)),
                    ]
                case "X":
                    new = replace(cell, tally=id_, told=stamp)
                    return new, [Tell(CellKey("tally", id_), ("i", id_)), Tell(CellKey("tally", id_), ("?", id_))]
                case "Y":
                    return cell, [*said, Tell(CellKey("tally", b"*" + id_), ("r", id_))]
                case "f":
                    return cell, [*said, Send(peer, statement("note" + id_.decode(), stamp, id_, stamp, gone=True))]
                case _:
                    return None, said
        case Due():
            assert cell is not None
            return None, [Said(cell.tally, cell.told, stamp)] if cell.tally else []
        case _:
            raise PeerFault(ErrorCode.E_STATE, "unexpected")


TALLY = Kind(
    "tally",
    Durability.DURABLE,
    tally_step,
    record=encode,
    load=decode,
    aliases=lambda cell: (b"*" + cell.id,),
    wake_at=lambda cell: cell.wake,
)
NOTE = Kind("note", Durability.VOLATILE, note_step, deadline=lambda cell: cell.until)


def toy_route(_peer: Peer, data: bytes) -> Sequence[CellKey]:
    if not data:
        raise PeerFault(ErrorCode.E_FORMAT, "empty")
    match data[:1]:
        case b"f":
            return [CellKey("tally", data[1:]), CellKey("note", data[1:])]
        case what:
            return [CellKey("note" if what.isupper() else "tally", data[1:])]


TOY = Node({"tally": TALLY, "note": NOTE}, toy_route)


class TestClock:
    """One second a look, so that no two units share a stamp."""

    __test__ = False

    def __init__(self) -> None:
        self.mono = 0

    def now(self) -> Now:
        self.mono += 1
        return Now(float(self.mono), 1000 + self.mono)


class Witness:
    """Every port of one driver but the store; judges each effect at the moment it leaves."""

    def __init__(self, store: MemoryStore, clock: TestClock) -> None:
        self.store = store
        self.answers: list[Callable[[object], None]] = []
        self.gave_up: list[Callable[[], None]] = []
        self.latest: dict[bytes, int] = {}
        self.acked: dict[bytes, int] = {}
        self.numbers: set[tuple[bytes, int]] = set()
        self.asked: set[str] = set()
        self.settled: Counter[str] = Counter()
        self.failures = 0
        self.reliable = True
        self.faults: list[Exception] = []
        self.driver = Driver(
            TOY,
            store,
            self,
            clock,
            SeededEntropy(b"driver"),
            lambda _key, _query, answer: self.answers.append(answer),
            self.report,
            cache=1,
            fault=lambda _where, error: self.faults.append(error),
        )

    def send(self, peer: Peer, data: bytes, failed: Callable[[], None] | None) -> None:
        self.judge_bytes(data)
        if failed is not None:
            self.gave_up.append(failed)

    def report(self, key: CellKey, report: Report) -> None:
        if isinstance(report, Said):
            source = b"note" + key.id if key.kind == "note" else b"tally" + report.tally
            self.in_order(source, report.at)
            self.judge(report.tally, report.stamp, gone=report.gone)

    def settle(self, name: str, outcome: Sequence[Any] | Exception) -> None:
        self.settled[name] += 1
        if isinstance(outcome, Exception):
            assert isinstance(outcome, Unavailable | CallerFault)
            return
        for effect in outcome:
            if isinstance(effect, Send):
                self.judge_bytes(effect.data)

    def judge_bytes(self, data: bytes) -> None:
        source, at, tally, stamp, gone, number = data.split(b" ")
        self.in_order(source + tally if source == b"tally" else source, int(at))
        self.judge(tally, int(stamp), gone=gone == b"1")
        if int(number):
            assert (tally, int(number)) not in self.numbers, "a sequence number left twice"
            self.numbers.add((tally, int(number)))

    def judge(self, tally: bytes, stamp: int, *, gone: bool) -> None:
        """The disk holds the state that this statement speaks of, or a later one."""
        record = self.store.load(CellKey("tally", tally))
        on_disk = None if record is None else decode(tally, record).stamp
        if on_disk is None:
            assert gone or any(id_ == tally and erased > stamp for id_, erased in ERASED), "left before it was on disk"
        elif gone:
            assert on_disk > stamp, "left before it was erased"
        else:
            assert on_disk >= stamp, "left before it was on disk"
            self.acked[tally] = max(self.acked.get(tally, 0), stamp)

    def in_order(self, source: bytes, at: int) -> None:
        assert self.latest.get(source, 0) <= at, "a later effect of the same cell left first"
        self.latest[source] = at


IDS = st.sampled_from([b"a", b"b"])


class DriverMachine(RuleBasedStateMachine):
    """Every interleaving of inputs, ticks, answers, commits, failed commits, and kill with restart."""

    def __init__(self) -> None:
        super().__init__()
        ERASED.clear()
        self.clock = TestClock()
        self.calls = 0
        self.witness = Witness(MemoryStore(held=True), self.clock)
        self.witness.driver.start()

    @rule(what=st.sampled_from("iiissrraeemfVTTXYY?"), id_=IDS, alias=st.booleans(), riding=st.booleans())
    def receive(self, what: str, id_: bytes, alias: bool, riding: bool) -> None:
        named = b"*" + id_ if alias and what in "re" else id_
        self.witness.driver.receive("peer", what.encode() + named, self.ask() if riding else None)

    def ask(self) -> Callable[[Sequence[Any] | Exception], None]:
        self.calls += 1
        name, witness = str(self.calls), self.witness
        witness.asked.add(name)
        return lambda outcome: witness.settle(name, outcome)

    @rule(what=st.sampled_from("ise?c"), id_=IDS)
    def command(self, what: str, id_: bytes) -> None:
        self.witness.driver.command(CellKey("tally", id_), Do(what), self.ask())

    @rule(id_=IDS)
    def bug(self, id_: bytes) -> None:
        driver, before = self.witness.driver, len(self.witness.faults)
        state = driver.peek(CellKey("tally", id_)), driver.peek(CellKey("note", id_))
        driver.receive("peer", b"B" + id_)
        assert len(self.witness.faults) == before + 1 == driver.faults
        assert (driver.peek(CellKey("tally", id_)), driver.peek(CellKey("note", id_))) == state

    @rule(seconds=st.integers(0, 4))
    def tick(self, seconds: int) -> None:
        self.clock.mono += seconds
        self.witness.driver.tick()

    @precondition(lambda self: self.witness.answers)
    @rule(result=st.sampled_from(["fine", Unavailable("service down")]))
    def answer(self, result: object) -> None:
        self.witness.answers.pop(0)(result)

    @precondition(lambda self: self.witness.gave_up)
    @rule()
    def link_gives_up(self) -> None:
        self.witness.gave_up.pop(0)()

    @precondition(lambda self: self.witness.store.pending)
    @rule()
    def commit_done(self) -> None:
        """A commit lets effects out and moves no state."""
        before = self.newest()
        self.witness.store.release()
        assert self.newest() == before

    def newest(self) -> list[Any]:
        return [self.witness.driver.peek(CellKey(kind, id_)) for kind in ("tally", "note") for id_ in (b"a", b"b")]

    @precondition(lambda self: self.witness.store.pending)
    @rule()
    def commit_failed(self) -> None:
        """Rule DR-06: afterwards the node is what the disk says."""
        self.witness.store.release(Unavailable("disk full"))
        assert self.witness.driver.idle
        self.state_is_on_disk()
        assert self.witness.driver.peek(CellKey("note", b"unknown")) is None

    @rule(landed=st.integers(0, 1), held=st.booleans())
    def kill_and_restart(self, landed: int, held: bool) -> None:
        old = self.witness
        self.witness = Witness(old.store.after_crash(landed=landed), self.clock)
        self.witness.store.held = held
        self.witness.numbers = old.numbers
        self.witness.acked = old.acked
        self.witness.driver.start()

    def state_is_on_disk(self) -> None:
        for id_ in (b"a", b"b"):
            cell = self.witness.driver.peek(CellKey("tally", id_))
            assert (None if cell is None else encode(cell)) == self.witness.store.load(CellKey("tally", id_))

    @invariant()
    def nothing_acknowledged_is_lost(self) -> None:
        for tally, stamp in self.witness.acked.items():
            record = self.witness.store.load(CellKey("tally", tally))
            if record is None:
                assert any(id_ == tally and erased > stamp for id_, erased in ERASED)
            else:
                assert decode(tally, record).stamp >= stamp

    @invariant()
    def only_the_planted_bugs(self) -> None:
        assert all(isinstance(fault, ZeroDivisionError) for fault in self.witness.faults), self.witness.faults

    @invariant()
    def volatile_cells_are_not_on_disk(self) -> None:
        assert all(row.key.kind == "tally" for row in self.witness.store.rows)

    def teardown(self) -> None:
        store = self.witness.store
        store.held = False
        while store.pending:
            store.release()
        assert self.witness.driver.idle
        assert self.witness.settled == Counter(self.witness.asked), "every caller hears exactly once"
        self.state_is_on_disk()


@pytest.mark.timeout(240)
def test_DR01_DR05_DR06_DR07_what_left_is_on_disk() -> None:
    run_state_machine_as_test(DriverMachine, settings=settings(max_examples=150, stateful_step_count=40))
