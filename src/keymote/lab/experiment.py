"""Experiments of `keymote lab run`: what a TOML file says of one, and what running it gives.

A file says what the world is; `experiments/` holds those that come with the program.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import UnionType
from typing import Any, Final, TypeVar, get_args, get_type_hints

from keymote.engine.policy.group_faces import DAY_S, GroupPolicy
from keymote.errors import CallerFault
from keymote.lab.simulator import Channel
from keymote.lab.village.uplink import Window
from keymote.lab.ward.plan import WardPlan
from keymote.wire.group import MOST

Progress = Callable[[float], None]
"""Told how much is done, from 0 to 1."""
Row = Mapping[str, object]
T = TypeVar("T")
CASES: Final = ("microgrid", "exchange", "city", "ward")
MOST_METERS: Final = 20_000
"""Of a city with engines: more do not fit into a machine's memory and patience."""
WHAT: Final = ("arrive", "stranger", "leave", "evict", "revoke", "off", "restart")


@dataclass(frozen=True, slots=True)
class Ring:
    suite: int = 1
    multicast: bool = True
    compact: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """Something that people do on a day at a second after midnight UTC; `for_s` is how long power is off."""

    day: int
    at_s: int
    what: str
    who: str
    for_s: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """What meters say: readings, and the evenings' limits."""

    reading_every_s: int = 3600
    limit_at_s: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Market:
    """The pace of an exchange, in seconds."""

    session_s: int = 3600
    round_s: int = 300
    limit_every_s: int = 900


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment as it is run: the file with what the command line changes."""

    name: str
    title: str
    case: str
    meters: int = 2
    days: float = 1.0
    most: int = MOST
    ring: Ring = field(default_factory=Ring)
    policy: GroupPolicy = field(default_factory=GroupPolicy)
    radio: Channel = field(default_factory=Channel)
    uplink: Window = field(default_factory=Window)
    load: Load = field(default_factory=Load)
    market: Market = field(default_factory=Market)
    ward: WardPlan = field(default_factory=WardPlan)
    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        if self.case not in CASES:
            raise CallerFault(f"case {self.case!r} of experiment {self.name}", do=f"choose {' or '.join(CASES)}")
        if self.case == "city" and not 2 <= self.meters <= MOST_METERS:
            raise CallerFault(f"{self.meters} meters in a city", do=f"choose from 2 to {MOST_METERS}")
        if self.case in ("microgrid", "exchange") and not 2 <= self.meters <= self.most <= MOST:
            raise CallerFault(f"{self.meters} to {self.most} meters in one ring", do=f"choose from 2 to {MOST}")
        if not 0 < self.days <= 366:
            raise CallerFault(f"{self.days} days", do="choose up to 366")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out. `facts`: single numbers; `tables`: rows; `checks`: what must hold, each True if it does."""

    experiment: Experiment
    seed: str
    facts: Mapping[str, object]
    tables: Mapping[str, Sequence[Row]]
    checks: Mapping[str, bool]

    @property
    def ok(self) -> bool:
        return all(self.checks.values())


def read(
    name: str,
    row: Mapping[str, Any],
    meters: int | None = None,
    days: float | None = None,
    moves: int | None = None,
) -> Experiment:
    """Return the experiment that a file says, with as many meters and days, or moves of patients, as wished.

    Raises:
        CallerFault: an unknown word, a value of another type, or one that is out of bounds.
    """
    known: dict[str, Any] = dict(row)
    policy = _times(name, known.pop("policy", {}), {"wake": "wake_s"})
    uplink = _times(name, known.pop("uplink", {}), {"from": "from_s"})
    load = _times(name, known.pop("load", {}), {"limit_at": "limit_at_s"})
    events = [_times(name, each, {"at": "at_s"}) for each in known.pop("events", [])]
    for event in events:
        if event.get("what") not in WHAT:
            raise CallerFault(f"{name}: event {event.get('what')!r}", do=f"known are {', '.join(WHAT)}")
    known |= {
        "name": name,
        "ring": _made(name, Ring, known.pop("ring", {})),
        "policy": _made(name, GroupPolicy, policy),
        "radio": _made(name, Channel, known.pop("radio", {})),
        "uplink": _made(name, Window, uplink),
        "load": _made(name, Load, load),
        "market": _made(name, Market, known.pop("market", {})),
        "ward": _made(name, WardPlan, _tuples(known.pop("ward", {})) | ({} if moves is None else {"moves": moves})),
        "events": tuple(_made(name, Event, each) for each in events),
    }
    if known.get("case") == "ward" and (meters, days) != (None, None):
        raise CallerFault(f"{name} has neither meters nor days", do="say how many moves")
    if moves is not None and known.get("case") != "ward":
        raise CallerFault(f"nobody moves in {name}", do="say how many meters and days")
    if meters is not None:
        known["meters"] = meters
        if "most" in known:
            known["most"] = max(meters, known["most"])
    if days is not None:
        known["days"] = days
    return _made(name, Experiment, known)


def _made(name: str, kind: type[T], row: Mapping[str, Any]) -> T:
    hints = get_type_hints(kind)
    names = [entry.name for entry in fields(kind)]  # type: ignore[arg-type]
    for word, value in row.items():
        if word not in names:
            raise CallerFault(f"{name}: {word!r} is not known", do=f"known are {', '.join(names)}")
        if not _fits(value, hints[word]):
            raise CallerFault(f"{name}: {word} = {value!r}", do="see the experiments that come with the program")
    return kind(**row)


def _fits(value: object, hint: object) -> bool:
    if isinstance(hint, UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(hint, type):
        return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
    return isinstance(value, tuple)


def _tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table whose lists have become tuples."""
    return {word: tuple(value) if isinstance(value, list) else value for word, value in row.items()}


def _times(name: str, row: Mapping[str, Any], words: Mapping[str, str]) -> dict[str, Any]:
    """Return a table in which times of day ("06:00", or several) have become seconds after midnight."""
    found = dict(row)
    for word, second in words.items():
        if word in found:
            value = found.pop(word)
            many = isinstance(value, list)
            times = [_second(name, each) for each in (value if many else [value])]
            found[second] = tuple(times) if many else times[0]
    return found


def _second(name: str, text: object) -> int:
    hours, _, minutes = text.partition(":") if isinstance(text, str) else ("", "", "")
    if not (hours.isdigit() and minutes.isdigit() and (found := int(hours) * 3600 + int(minutes) * 60) < DAY_S):
        raise CallerFault(f"{name}: {text!r} is no time of day", do='write it as "06:00"')
    return found
