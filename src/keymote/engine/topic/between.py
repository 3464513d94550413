"""What the cells of a trusted system say to each other: a client's chain and the sessions that the client takes part in.

A session knows what is owed to whom, and is on disk; a client's cell knows how to bring it there, one message at a time. So
a session only says that something is owed, and hands a grant out when the chain is free for it.
"""

from typing import NamedTuple

from keymote.engine.policy.topic_charter import TopicRule
from keymote.errors import ErrorCode
from keymote.wire.topic import KeyGrant

# ------------------------------------------------------------------ from a client's cell to a session


class Join(NamedTuple):
    """The client asks for the key in this role, under this rule; answered by `Give`, `Turned` or `Dropped` with `ref`."""

    ref: int
    client: bytes
    topic: str
    role: int
    rule: TopicRule


class Fetch(NamedTuple):
    """The chain is free: what does the session (16 bytes of its key) owe the client?

    Answered by `Give` with ref 0, or `Settled`.
    """

    session: bytes
    client: bytes
    role: int


class Held(NamedTuple):
    """The client has acknowledged a grant of this epoch; answered by `Owe` or `Settled`."""

    client: bytes
    role: int
    epoch: int


class Unreachable(NamedTuple):
    """The client does not answer, or is not known."""

    client: bytes
    role: int


# ------------------------------------------------------------------ from a session to a client's cell


class Owe(NamedTuple):
    """The session (16 bytes of its key) owes the client an epoch. `urgent`: bring it now, whatever else is under way."""

    session: bytes
    client: bytes
    role: int
    urgent: bool = False


class Give(NamedTuple):
    """Bring this grant: in answer to request `ref`, or with 0 as a push."""

    ref: int
    session: bytes
    role: int
    grant: KeyGrant


class Settled(NamedTuple):
    """Nothing of this session is owed to the client in this role now."""

    session: bytes
    role: int


class Turned(NamedTuple):
    """Request `ref` is refused."""

    ref: int
    topic: str
    code: ErrorCode


class Dropped(NamedTuple):
    """Request `ref` was judged by an outdated rule: forget it, it will come again."""

    ref: int


class Withdraw(NamedTuple):
    """No grant of this session with an epoch below this one may be sent any more."""

    sess: bytes
    below: int
