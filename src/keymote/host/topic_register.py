"""What a coordinator's store keeps of topics, as plain values: rules and grants, and what managers reported of sessions.

No key, and nothing that leads to one. Times that end in `_ms` are UTC milliseconds.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from keymote.engine.policy.topic_events import Cause

ENDING: Final = (Cause.REVOKE, Cause.COMPROMISE)
"""Causes of epochs that began because somebody had to go."""


class Why(StrEnum):
    """Why something was taken from a client."""

    REVOKED = "revoked"
    RETIRED = "retired"
    SUSPENDED = "suspended"
    SUPERSEDED = "superseded"
    """It has new keys; what was handed out under those of before ends."""
    WITHDRAWN = "withdrawn"
    COMPROMISED = "compromised"


@dataclass(frozen=True, slots=True)
class Topic:
    """A rule: `version` is that of its manager's charter at its last change, which `event` announced.

    What the other fields mean stands at `topic_charter.TopicRule`.
    """

    tid: bytes
    filter: str
    nm_id: bytes
    policy: str
    emergency: bool
    cs: int
    max_msgs: int
    life_s: int
    rotations: int = 0
    version: int = 0
    event: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """What a client may do under a rule, since when."""

    tid: bytes
    client: bytes
    roles: int
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class Card:
    """A grant with who its client is: an active device's credential (`raw`) in force, or the name of a provisioning file.

    `state` is a device's; a client that its manager has forgotten is `gone`.
    """

    client: bytes
    roles: int
    kind: str
    name: str
    state: str
    nm_id: bytes
    raw: bytes

    @property
    def is_active(self) -> bool:
        return self.state == "active"


@dataclass(frozen=True, slots=True)
class Taking:
    """Something was taken from a client in version `version` of a rule; `event` carries it out.

    `safe_ms`: when every other client had a key that this one has not; None: not yet known.
    """

    tid: bytes
    client: bytes
    why: Why
    compromised: bool
    version: int
    event: int
    at_ms: int
    safe_ms: int | None = None
    id: int = 0


@dataclass(frozen=True, slots=True)
class Session:
    """A concrete topic at its manager, with its newest epoch; `tid` of the rule that is for it, b"" for none."""

    nm_id: bytes
    topic: str
    tid: bytes
    epoch: int = 0
    cause: int = 0
    version: int = 0
    begun_ms: int = 0
    safe_ms: int | None = None
    ended: bool = False


@dataclass(frozen=True, slots=True)
class TopicEpoch:
    """An epoch of a topic in the log: begun under `version`, safe when everybody had acknowledged it or a later one."""

    nm_id: bytes
    topic: str
    epoch: int
    cause: int
    version: int
    begun_ms: int
    safe_ms: int | None = None
    id: int = 0


@dataclass(frozen=True, slots=True)
class Holder:
    """The newest epochs whose key a client acknowledged as publisher and subscriber, and in which it was parked; 0: none."""

    nm_id: bytes
    topic: str
    client: bytes
    published: int = 0
    subscribed: int = 0
    parked: int = 0

    @property
    def epoch(self) -> int:
        """The newest epoch that it can read or write."""
        return max(self.published, self.subscribed)


@dataclass(frozen=True, slots=True)
class FileClient:
    """A client of a provisioning file; `gone`: its manager has forgotten it."""

    client: bytes
    nm_id: bytes
    name: str
    made_ms: int
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """The last key that a client asked for and was refused, and how often it was refused any."""

    nm_id: bytes
    client: bytes
    topic: str
    code: int
    times: int
    last_ms: int
