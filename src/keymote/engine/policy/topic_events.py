"""What a manager reports of its topics to the coordinator, numbered: metadata only, never a key.

The cells of the trusted system and its host say the events; the host numbers them and notes when it heard them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, Final, NamedTuple

from keymote import cbor
from keymote.engine.base import Report
from keymote.engine.policy.topic_filters import check_topic
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.topic import CONNECT, PUBLISH

CLIENT_ID: Final = 8
MOST_NAME: Final = 64
_UINT: Final = 1 << 53


class Cause(IntEnum):
    """Why an epoch began."""

    FIRST = 0
    GRANT = 1
    REVOKE = 2
    EXPIRY = 3
    COUNT = 4
    OPERATOR = 5
    COMPROMISE = 6


@dataclass(frozen=True, slots=True)
class EpochBegun(Report):
    """A topic has a new epoch; `version` is that of the rule in force, which says who must not know it."""

    topic: str
    epoch: int
    cause: Cause
    version: int


@dataclass(frozen=True, slots=True)
class Acknowledged(Report):
    """A client holds the key of an epoch, for the role of KREQ: 1 publish, 2 subscribe."""

    topic: str
    epoch: int
    client: bytes
    role: int


@dataclass(frozen=True, slots=True)
class Safe(Report):
    """Every client that holds a key of the topic at all has acknowledged this epoch."""

    topic: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Parked(Report):
    """A client did not acknowledge this epoch in time: it is waited for no more, and gets it when it comes back."""

    topic: str
    epoch: int
    client: bytes


@dataclass(frozen=True, slots=True)
class KeyRefused(Report):
    """A client asked for a key that it may not have; topic "": to connect to a broker."""

    client: bytes
    topic: str
    code: ErrorCode


@dataclass(frozen=True, slots=True)
class SessionEnded(Report):
    """Nobody leads this topic any more: no rule is for it."""

    topic: str


@dataclass(frozen=True, slots=True)
class ClientMade(Report):
    """The manager has a client that is no device: one of a provisioning file, with a name for people."""

    client: bytes
    name: str


@dataclass(frozen=True, slots=True)
class ClientForgotten(Report):
    """The manager has forgotten a client that is no device."""

    client: bytes


TopicEvent = EpochBegun | Acknowledged | Safe | Parked | KeyRefused | SessionEnded | ClientMade | ClientForgotten
KINDS: Final[tuple[type[TopicEvent], ...]] = (
    EpochBegun,
    Acknowledged,
    Safe,
    Parked,
    KeyRefused,
    SessionEnded,
    ClientMade,
    ClientForgotten,
)
"""A kind's place is its number in a stored report: new ones go to the end."""


class TopicReport(NamedTuple):
    """One event. `seq` grows by one with each report of a manager; `at_ms`: UTC milliseconds when its host heard of it."""

    seq: int
    at_ms: int
    event: TopicEvent

    def encode(self) -> bytes:
        """Return the one encoding of the report."""
        said = [getattr(self.event, each.name) for each in fields(self.event)]
        values = [int(value) if isinstance(value, IntEnum) else value for value in said]
        return cbor.encode([self.seq, self.at_ms, KINDS.index(type(self.event)), *values])

    @classmethod
    def decode(cls, data: bytes) -> "TopicReport":
        """Return the report that `data` encodes; PeerFault E_FORMAT for anything else."""
        match cbor.decode(data):
            case [int(seq), int(at_ms), int(kind), *values] if 0 <= kind < len(KINDS) and _good(seq, at_ms):
                return cls(seq, at_ms, event_of(KINDS[kind], values))
            case other:
                raise _refused("a report of topics", other)


def event_of(kind: type[TopicEvent], values: list[cbor.Item]) -> TopicEvent:
    """Return the event with these fields, in their order, from outside; PeerFault E_FORMAT unless they are good."""
    names = [each.name for each in fields(kind)]
    if len(values) != len(names):
        raise _refused("an event of topics", values)
    if kind is KeyRefused and values[1] == "":
        return KeyRefused(_client(values[0]), "", _code(values[2]))
    checked: list[Any] = [_CHECKS[name](value) for name, value in zip(names, values, strict=True)]
    return kind(*checked)


def _good(*numbers: object) -> bool:
    return all(type(each) is int and 0 <= each < _UINT for each in numbers)


def _number(value: object) -> int:
    if type(value) is int and 0 <= value < _UINT:
        return value
    raise _refused("a number", value)


def _topic(value: object) -> str:
    if isinstance(value, str):
        check_topic(value)
        return value
    raise _refused("a topic", value)


def _client(value: object) -> bytes:
    if isinstance(value, bytes) and len(value) == CLIENT_ID:
        return value
    raise _refused("a client", value)


def _role(value: object) -> int:
    if type(value) is int and PUBLISH <= value <= CONNECT:
        return value
    raise _refused("a role", value)


def _cause(value: object) -> Cause:
    if type(value) is int and value in set(Cause):
        return Cause(value)
    raise _refused("the cause of an epoch", value)


def _code(value: object) -> ErrorCode:
    if type(value) is int and value in set(ErrorCode):
        return ErrorCode(value)
    raise _refused("a code", value)


def _name(value: object) -> str:
    if isinstance(value, str) and 0 < len(value) <= MOST_NAME and value.isprintable():
        return value
    raise _refused("a name", value)


def _refused(what: str, item: object) -> PeerFault:
    return PeerFault(ErrorCode.E_FORMAT, f"not {what}: {type(item).__name__}")


_CHECKS: Final[Mapping[str, Callable[[object], object]]] = {
    "topic": _topic,
    "epoch": _number,
    "version": _number,
    "client": _client,
    "role": _role,
    "cause": _cause,
    "code": _code,
    "name": _name,
}
