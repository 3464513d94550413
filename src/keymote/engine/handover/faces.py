"""What hosts say to the cells of a broker's agent and hear from them: `home(client_id)` and `visit(client_id)` (Triad-1 4.4, 4.6).

The pure functions behind the cells: `client.begin`, `client.finish`, `client.denied`; `home.read_pull`, `home.hear_pull`;
`visited.hear_request`, `visited.pull`, `visited.take_context`, `visited.acknowledge`.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from keymote.crypto.secret import Secret
from keymote.engine.base import CellKey, Command, Now, Peer, Report
from keymote.engine.handover.federation import Federation
from keymote.engine.handover.home import Desk
from keymote.wire.topic import Right

MOST_RUNS: Final = 3
"""Requests of one client that wait for their home broker at once; one may be real and others forged."""
MOST_WAITING: Final = 256
"""Requests of all clients that wait."""
MOST_BUFFERED: Final = 8
BUFFER_S: Final = 2.0
"""Readings of one client that wait for HO_CTX, and for how long (Triad-1 4.6)."""
PULL_S: Final = 8.0
"""How long a home broker may take."""
MOST_AT_ONCE: Final = 8
MOST_AT_ONCE_ALL: Final = 64
"""Unverified readings of emergency topics that go out within `BUFFER_S`: of one client, and of all (C-17)."""


def home_of(client_id: bytes) -> CellKey:
    """Return the key of a client whose tickets are for this broker."""
    return CellKey("home", client_id)


def visit_of(client_id: bytes) -> CellKey:
    """Return the key of a client that another broker hands over."""
    return CellKey("visit", client_id)


@dataclass(slots=True)
class AgentTally:
    """Counters beside the cells: in memory only, changed also by inputs that are refused."""

    waiting: int = 0
    window: float = float("-inf")
    unverified: Counter[bytes] = field(default_factory=Counter)

    def may_forward(self, client_id: bytes, now: Now) -> bool:
        """Count one unverified reading; False when this client, or all together, had their share of these 2 s."""
        if now.mono >= self.window + BUFFER_S:
            self.window = now.mono
            self.unverified.clear()
        if self.unverified[client_id] >= MOST_AT_ONCE or self.unverified.total() >= MOST_AT_ONCE_ALL:
            return False
        self.unverified[client_id] += 1
        return True


@dataclass(frozen=True, slots=True)
class AgentContext:
    """Who the agent is, what it shares with the trusted system (`shared`: K_TS-broker), and whom it knows."""

    desk: Desk
    shared: Secret
    federation: Federation
    place: str = ""
    """Where the broker takes MQTT connections, "HOST:PORT"; empty: clients know by other means."""
    trusted: Peer = ""
    """Where the trusted system hears of moves; empty: it does not."""
    tally: AgentTally = field(default_factory=AgentTally)


# ------------------------------------------------------------------ questions to the host


class OpenAccount(NamedTuple):
    """Let this client in at the broker, for these rights, until `expires` (UTC seconds); again: with another password.

    `session`: make a session with its filters first, for what another broker is going to bring.
    The answer is `AccountOpen()`; an exception says that the broker does not take it now.
    """

    client_id: bytes
    password: Secret
    rights: tuple[Right, ...]
    expires: int
    session: bool


class AccountOpen(NamedTuple):
    """The account is there, and so is the session of a visitor."""


# ------------------------------------------------------------------ commands


@dataclass(frozen=True, slots=True)
class Resume(Command):
    """The agent has started: say again what the broker and other agents must know."""


@dataclass(frozen=True, slots=True)
class Revoke(Command):
    """The client's rights are taken back: now, here, and at the broker that it visits."""


@dataclass(frozen=True, slots=True)
class SessionMoved(Command):
    """What waited here for the client, when it left under `ho_ctr`, is at its next broker."""

    ho_ctr: int


# ------------------------------------------------------------------ reports


@dataclass(frozen=True, slots=True)
class Connected(Report):
    """The client has proved its ticket (home), or is served as a visitor of the broker `home`."""

    client_id: bytes
    home: bytes


@dataclass(frozen=True, slots=True)
class HandedOver(Report):
    """A client of this home broker went from broker `origin` to broker `to`; one of them may be this one. For the audit (4.6)."""

    client_id: bytes
    origin: bytes
    to: bytes
    ho_ctr: int


@dataclass(frozen=True, slots=True)
class Moved(Report):
    """The client went to broker `to`: bring there what waits for it here, then say `SessionMoved(ho_ctr)`."""

    client_id: bytes
    to: bytes
    ho_ctr: int


@dataclass(frozen=True, slots=True)
class CloseAccount(Report):
    """The client must not be served here any more: remove its account and its session."""

    client_id: bytes


@dataclass(frozen=True, slots=True)
class Forward(Report):
    """Publish a reading of the client. `verified`: its home broker has spoken for it; else it is marked broker-unverified."""

    client_id: bytes
    topic: str
    data: bytes
    verified: bool
