"""Cells: the one contract between the protocols and whatever hosts them.

A node is a set of cells under keys `(kind, id)`. `Kind.step` is the only thing that changes a cell; it is pure: clock and
randomness are arguments, everything that should happen is an output. `run_unit` follows one item through the cells it
touches (`Tell`) and returns what changed and what must leave, so that the product's driver and the lab's simulator differ
only in how they store, send and wait.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from operator import attrgetter
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from keymote.crypto.entropy import Entropy
from keymote.errors import ErrorCode, PeerFault

Peer = str
"""Opaque handle of a remote endpoint, made and understood by the link alone."""

MAX_RECORD: Final = 2048
"""Longest record of a durable cell, in bytes, unless its kind says otherwise (rule DR-10)."""
MAX_TELLS: Final = 16
"""Longest chain of `Tell` in one unit of work."""


class CellKey(NamedTuple):
    kind: str
    id: bytes


class Now(NamedTuple):
    """Both clocks at the moment of a step: `mono` never jumps, `wall` is UTC and may be wrong."""

    mono: float
    wall: int


# ------------------------------------------------------------------ items: what a cell can be handed


class Received(NamedTuple):
    """A datagram from `peer`."""

    peer: Peer
    data: bytes


class Answer(NamedTuple):
    """The host's result for the `Ask` with this `ref`; an exception object when it failed."""

    ref: int
    result: object


class Failed(NamedTuple):
    """The reliable link gave up on the `Send` with this `ref`."""

    peer: Peer
    ref: int


class Told(NamedTuple):
    """A command from another cell of the same node."""

    command: object


@dataclass(frozen=True, slots=True)
class Due:
    """The cell's deadline has passed."""


@dataclass(frozen=True, slots=True)
class Command:
    """Base of what the application asks of a cell."""


Item = Received | Answer | Failed | Told | Due | Command


# ------------------------------------------------------------------ outputs: what a step can want


class Send(NamedTuple):
    """Hand `data` to the link; `ref` not 0 asks for `Failed(peer, ref)` when a reliable link gives up."""

    peer: Peer
    data: bytes
    ref: int = 0


class Ask(NamedTuple):
    """Ask the host's services; the result returns to this cell as `Answer(ref, result)`."""

    ref: int
    query: object


class Tell(NamedTuple):
    """Hand `command` to another cell of this node, in the same unit of work."""

    key: CellKey
    command: object


@dataclass(frozen=True, slots=True)
class Report:
    """Base of what the application is told."""


@dataclass(frozen=True, slots=True)
class Refused(Report):
    """An input was refused; nothing changed but counters. `peer` is empty when no datagram was involved."""

    peer: Peer
    code: ErrorCode
    what: str


Output = Send | Ask | Tell | Report
MULTICAST: Final[Peer] = "multicast"
"""The peer that stands for everybody in radio range."""


# ------------------------------------------------------------------ states of cells

C = TypeVar("C")
_FIELDS: Final[dict[type, tuple[Callable[[Any], tuple[Any, ...]], Mapping[str, int]]]] = {}


def replace(state: C, **changes: Any) -> C:
    """Return `state` with some fields changed: `dataclasses.replace`, three times faster, which every step asks for.

    KeyError for a field that its constructor does not take.
    """
    kind = type(state)
    values_of, places = _FIELDS.get(kind) or _fields(kind)
    values = list(values_of(state))
    for name, value in changes.items():
        values[places[name]] = value
    return kind(*values)


def _fields(kind: Any) -> tuple[Callable[[Any], tuple[Any, ...]], Mapping[str, int]]:
    """Return what reads the fields that the constructor of a dataclass takes, and where each of them stands."""
    taken = [field.name for field in fields(kind) if field.init]
    read = attrgetter(*taken) if len(taken) > 1 else lambda state: tuple(getattr(state, name) for name in taken)
    made = _FIELDS[kind] = read, {name: place for place, name in enumerate(taken)}
    return made


# ------------------------------------------------------------------ kinds of cells


class Durability(Enum):
    VOLATILE = "volatile"
    """Memory only, lost at reboot by specification; must never reach a disk."""
    DURABLE = "durable"
    """Its record is on disk before anything that depends on it leaves."""


Step = tuple[Any, Sequence[Output]]
StepFunction = Callable[[Any, Item, Now, Entropy], Step]
"""`(cell or None, item, now, entropy) -> (cell or None, outputs)`; raises PeerFault to refuse the item."""


def _nothing(_cell: Any) -> None:
    return None


def _never_surely(_old: Any, _new: Any) -> bool:
    return False


def _no_aliases(_cell: Any) -> tuple[bytes, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Kind:
    """What the hosts must know of one kind of cell.

    `record` returns the durable part of a cell (at most `most_record` bytes; None: nothing to keep) and `load` makes a cell
    of it again after a restart; a step after which the record is equal is volatile and its outputs leave at once. `aliases`
    are further ids under which datagrams may name the cell (rotating pseudonyms, endpoints); `stored_aliases` are those that
    a record keeps, all of them unless said otherwise. `deadline` is on the monotonic clock and forgotten at restart, `wake_at`
    on the wall clock and stored. `same_record` tells of two states, cheaply, that everything stored of them is surely equal;
    False when in doubt.
    """

    name: str
    durability: Durability
    step: StepFunction
    record: Callable[[Any], bytes | None] = _nothing
    load: Callable[[bytes, bytes], Any] | None = None
    aliases: Callable[[Any], tuple[bytes, ...]] = _no_aliases
    stored_aliases: Callable[[Any], tuple[bytes, ...]] | None = None
    deadline: Callable[[Any], float | None] = _nothing
    wake_at: Callable[[Any], int | None] = _nothing
    same_record: Callable[[Any, Any], bool] = _never_surely
    most_record: int = MAX_RECORD


class Cells(Protocol):
    """How `run_unit` reads cells: the newest state in memory or on disk."""

    def get(self, key: CellKey) -> Any | None:
        """Return the cell under `key`, None when there is none."""
        ...

    def resolve(self, key: CellKey) -> CellKey | None:
        """Return the key of the existing cell that `key` names by its id or by an alias."""
        ...


Route = Callable[[Peer, bytes], Sequence[CellKey]]
"""Pure table over the clear header: candidate keys for a datagram, best first; PeerFault refuses it unread."""


@dataclass(frozen=True, slots=True)
class Node:
    """A role's cells and its table of routes."""

    kinds: Mapping[str, Kind]
    route: Route

    def key_for(self, item: Received, cells: Cells) -> CellKey:
        """Return the key of the cell that must see this datagram: the first candidate that exists, else the first."""
        candidates = self.route(item.peer, item.data)
        for candidate in candidates:
            found = cells.resolve(candidate)
            if found is not None:
                return found
        return candidates[0]


class Unit:
    """What one unit of work did: new cells (None: gone), cells looked at, and outputs in order with the cell they came from."""

    __slots__ = ("changes", "effects", "touched")

    def __init__(self) -> None:
        self.changes: dict[CellKey, Any] = {}
        self.touched: list[CellKey] = []
        self.effects: list[tuple[CellKey, Send | Ask | Report]] = []

    def sends(self) -> Iterator[Send]:
        return (effect for _, effect in self.effects if isinstance(effect, Send))


def run_unit(node: Node, cells: Cells, key: CellKey, item: Item, now: Now, entropy: Entropy) -> Unit:
    """Step the cell under `key` and every cell that is told something; nothing is stored or sent here.

    A step that raises PeerFault leaves its own cell as it was and becomes a `Refused` report; cells stepped before it in
    the unit keep their new state, so that a LINK record whose body is refused still counts as received.
    """
    unit = Unit()
    changes, touched, effects = unit.changes, unit.touched, unit.effects
    queue: list[tuple[int, CellKey, Item]] = [(0, key, item)]
    for depth, target, current in queue:  # grows while it is walked
        if depth > MAX_TELLS:
            raise AssertionError(f"a chain of more than {MAX_TELLS} tells, last to {target.kind}")
        resolved = target if target in changes else (cells.resolve(target) or target)
        cell = changes[resolved] if resolved in changes else cells.get(resolved)
        touched.append(resolved)
        try:
            new, outputs = node.kinds[resolved.kind].step(cell, current, now, entropy)
        except PeerFault as fault:
            peer = item.peer if isinstance(item, Received) else ""
            effects.append((resolved, Refused(peer, fault.code, fault.what)))
            continue
        if new is not cell:
            changes[resolved] = new
        for output in outputs:
            if isinstance(output, Tell):
                queue.append((depth + 1, output.key, Told(output.command)))
            else:
                effects.append((resolved, output))
    return unit
