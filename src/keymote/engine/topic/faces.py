"""What applications say to the cells of topic keys and what they hear from them: the closed lists of both directions.

Cells of a client: `topic-chain` (one, OWN_CHAIN). Cells of a trusted system (a manager): `topic-client` (one for each client,
client_of), and `topic-session` (one for each concrete topic that a client has asked for, topic_of). What a trusted system
reports of its sessions are the events of `engine/policy/topic_events`: never a key.

The host's part at a trusted system: it answers `Ask(ref, WhoMay(...))` and `Ask(ref, TicketFor(...))`; it says `ResumeTopic` to
every session that it knows and `ResumeClient` to every client after each start; it hands every new version of a rule to the
sessions that the rule covers (`LayDown`).
"""

from dataclasses import dataclass, field
from typing import Final

from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.engine.base import CellKey, Command, Peer, Report
from keymote.engine.policy.topic_charter import TopicRule
from keymote.engine.policy.topic_events import Cause
from keymote.errors import ErrorCode
from keymote.wire.topic import KeyGrant, Publisher, Right

CHAIN: Final = "topic-chain"
CLIENT: Final = "topic-client"
SESSION: Final = "topic-session"

OWN_CHAIN: Final = CellKey(CHAIN, b"")
"""A client's chain with its trusted system."""
BY_LINK: Final[Peer] = ""
"""The address of a trusted system that is also this device's registrar: where its link's peer was last seen."""


def client_of(client_id: bytes) -> CellKey:
    """Return the key of a trusted system's cell for the chain of one client (8 bytes)."""
    return CellKey(CLIENT, client_id)


def topic_of(topic: str) -> CellKey:
    """Return the key of a trusted system's cell for the session of one concrete topic, no filter."""
    return CellKey(SESSION, sha256(topic.encode())[:16])


# ------------------------------------------------------------------ to a client


@dataclass(frozen=True, slots=True)
class Provision(Command):
    """To OWN_CHAIN: begin, or begin anew, at CK_0 of this chain (`KeyChain.begin(client_id, pss).ck`).

    `suite` is the one fixed at registration, `at` where the trusted system listens. Forgets an older chain.
    """

    client_id: bytes
    chain_key: Secret
    suite: int
    at: Peer = BY_LINK


@dataclass(frozen=True, slots=True)
class Relocate(Command):
    """To OWN_CHAIN: the trusted system listens here now."""

    at: Peer


@dataclass(frozen=True, slots=True)
class AskForKey(Command):
    """To OWN_CHAIN: ask for the key of a concrete topic, or in role CONNECT, with no topic, for a ticket.

    Answered by `KeyTaken`, `TicketTaken` or `KeyDenied`. One request is under way at a time; at most 64 others wait, the
    next one is E_LIMIT. What waits already is not asked twice.
    """

    topic: str
    role: int


@dataclass(frozen=True, slots=True)
class ForgetChain(Command):
    """To OWN_CHAIN: erase it. The client must be provisioned again."""


# ------------------------------------------------------------------ from a client


@dataclass(frozen=True, slots=True)
class KeyTaken(Report):
    """The key of an epoch of this topic is here, and nowhere else: it is in no record, so keep what is needed of it.

    It was asked for, or pushed, for a new epoch. Epochs may come out of order: who slept gets those that it missed, oldest
    first, and who asked anew meanwhile gets the newest before them. `publishers`: whose readings a subscriber will meet;
    empty for a publisher, which never uses one grant twice. After a restart a client asks again: what is
    pushed for a topic that it has not asked for since is reported when it does, up to 8 epochs, and only to subscribers.
    """

    topic: str
    role: int
    grant: KeyGrant
    publishers: tuple[Publisher, ...] = ()


@dataclass(frozen=True, slots=True)
class TicketTaken(Report):
    """CONNAUTH is possible now: `ticket` holds the bytes of the TICKET for the home broker, `life_s` how long it is good."""

    K_home: Secret
    ticket: bytes = field(repr=False)
    life_s: int


@dataclass(frozen=True, slots=True)
class KeyDenied(Report):
    """There is no key: E_CRED (no right to it), E_TIMEOUT (no answer), E_STATE (no chain), E_LIMIT (the topic has no room for
    another client, or too many wishes wait).

    A trusted system is silent to whom it does not know, so E_TIMEOUT may mean that it has forgotten this client.
    """

    topic: str
    role: int
    code: ErrorCode


# ------------------------------------------------------------------ to a trusted system


@dataclass(frozen=True, slots=True)
class RegisterClient(Command):
    """To client_of(client_id): begin, or begin anew, at CK_0 of this client's chain.

    `at`: where it listens, if that is known; it is learnt from each authentic request.
    """

    client_id: bytes
    chain_key: Secret
    suite: int
    at: Peer = ""


@dataclass(frozen=True, slots=True)
class ForgetClient(Command):
    """To client_of(client_id): erase its chain. Its topics are taken from it by the next version of their rules."""


@dataclass(frozen=True, slots=True)
class ResumeClient(Command):
    """To client_of(client_id): it was just heard of, or this node has just started: offer what waits for it again.

    `at`: where it listens now, "" leaves what is known.
    """

    at: Peer = ""


@dataclass(frozen=True, slots=True)
class LayDown(Command):
    """To topic_of(topic) of a session: the rule that covers it now; None: none does, the session ends.

    An older or equal version of the same filter changes nothing; a rule of another filter counts as it stands, for it rules
    where the former one went. Who is no longer granted is put out by a new epoch, for compromise if `gone` says
    so of anybody who takes part. Ignored where there is no session.
    """

    rule: TopicRule | None


@dataclass(frozen=True, slots=True)
class RotateTopic(Command):
    """To topic_of(topic): a new epoch. `compromise`, or that cause, which it is then: no older one is given to anybody any more."""

    cause: Cause = Cause.OPERATOR
    compromise: bool = False


@dataclass(frozen=True, slots=True)
class ResumeTopic(Command):
    """To topic_of(topic), after each start of the node: go on handing out what the record says is owed. `SessionHeld` answers."""


@dataclass(frozen=True, slots=True)
class EndTopic(Command):
    """To topic_of(topic): erase the session and its keys."""


# ------------------------------------------------------------------ questions of a trusted system to its host


@dataclass(frozen=True, slots=True)
class WhoMay:
    """Which rule covers this topic, and how does it treat this client? To be answered by `Terms`."""

    client_id: bytes
    topic: str
    role: int


@dataclass(frozen=True, slots=True)
class Terms:
    """The answer to `WhoMay`: the rule of the most specific filter that covers the topic; None if there is none.

    Whether the client may is read from the rule. `full`: the rule has as many topics as the host keeps, and this is none of them.
    """

    rule: TopicRule | None
    full: bool = False


@dataclass(frozen=True, slots=True)
class TicketFor:
    """Which broker is this client's home, and what may it do there? To be answered by `TicketTerms`, or None: no ticket."""

    client_id: bytes


@dataclass(frozen=True, slots=True)
class TicketTerms:
    """The answer to `TicketFor`: the key that the broker shares with this trusted system (32 bytes), and the client's rights."""

    broker_id: bytes
    K_ts_broker: Secret
    rights: tuple[Right, ...]
    life_s: int


# ------------------------------------------------------------------ from a trusted system


@dataclass(frozen=True, slots=True)
class Holder:
    """Who takes part in a session: the newest epoch that it has acknowledged (0: none), and whether it is out of reach."""

    client_id: bytes
    role: int
    epoch: int
    parked: bool


@dataclass(frozen=True, slots=True)
class SessionHeld(Report):
    """How a session stands: the answer to `ResumeTopic`.

    `safe`: everybody who takes part has acknowledged the present epoch, which began at `begun_at` (UTC seconds).
    """

    topic: str
    filter: str
    version: int
    epoch: int
    begun_at: int
    safe: bool
    holders: tuple[Holder, ...]
