"""What a node is: its identity, whom it trusts and its numbers. Fixed for as long as the node runs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from keymote.crypto.hybrid import HybridKey
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey, Suite
from keymote.engine.chain import Trust
from keymote.wire.credential import Credential, Role


@dataclass(frozen=True, slots=True)
class Membership:
    """What an enrolment leaves behind: the private key of (E1, E2), V, the credential and those above it.

    `issuers` is (cred_NM,) or (cred_NM, cred_NC); a manager's own (cred_NC,) or (cred_NC, hand-over).
    """

    d: Secret
    V: bytes
    credential: Credential
    issuers: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Tally:
    """Counters kept beside the cells: bounded, in memory only, changed also by inputs that are refused."""

    half_open: Counter[bytes] = field(default_factory=Counter)
    """psid -> contexts of a responder that wait for A3."""
    alarms: Counter[str] = field(default_factory=Counter)


class Handshake(StrEnum):
    """How two devices authenticate each other before the managers' shares arrive (Triad-1 2.6, 1.17)."""

    TRIAD = "triad"
    """A1 to A4."""
    EDHOC = "edhoc"
    """RFC 9528 with the enrolled signature keys."""


@dataclass(frozen=True, slots=True)
class DeviceContext:
    """A node that enrols at a registrar: a device, or a manager towards its coordinator (`role` MANAGER).

    `coordinators`: ids of acceptable nc_id in HELLO; empty accepts any whose chain ends at a pin. `accept_compact`: this
    device trusts its manager's word for a peer's key. `has_clock`: expiry of credentials is judged. `post_quantum`: a
    session without the managers' post-quantum shares is refused. `handshake`: the one that this device runs, and no other.
    """

    id: bytes
    suite: Suite
    signing: SigningKey
    trust: Trust
    role: Role = Role.DEVICE
    registrar: bytes = b""
    coordinators: tuple[bytes, ...] = ()
    accept_compact: bool = False
    has_clock: bool = False
    post_quantum: bool = False
    handshake: Handshake = Handshake.TRIAD
    generation: int = 0
    tally: Tally = field(default_factory=Tally)


class PostQuantum(StrEnum):
    """Whether a manager runs the post-quantum profile (Triad-1 2.9)."""

    OFF = "off"
    ON = "on"
    """With every manager that has published a hybrid key, and never without it there."""
    REQUIRED = "required"
    """With everybody; who cannot is refused, and so is a code below 128 bits."""


@dataclass(frozen=True, slots=True)
class RegistrarPolicy:
    """An operator's numbers. Times in seconds."""

    credential_life_s: int = 365 * 86400
    hello_period_s: float = 60.0
    cookie_above_per_s: int = 200
    cookies_always: bool = False
    joins_per_source_per_min: int = 5
    k_nm_life_s: int = 86400
    multicast: bool = True
    sign_hello: bool = False
    allow_compact: bool = True
    post_quantum: PostQuantum = PostQuantum.OFF
    handshakes: frozenset[Handshake] = frozenset({Handshake.TRIAD})
    """What devices may authenticate each other by; a session by another is refused."""


@dataclass(frozen=True, slots=True)
class RegistrarContext:
    """A node that enrols others: a manager for devices, a coordinator for managers.

    `membership` is the manager's own enrolment at its coordinator (a coordinator has none and runs no sessions), `hybrid`
    its key pair for the post-quantum profile, which a manager needs whose policy is not OFF.
    `chain` is what a newcomer needs above its own credential: (cred_NM, cred_NC) or, at a coordinator, (cred_NC,) and
    after a roll of its key (cred_NC, hand-over).
    """

    id: bytes
    nc_id: bytes
    role: Role
    signing: SigningKey
    suites: Mapping[int, Suite]
    chain: tuple[bytes, ...]
    trust: Trust
    membership: Membership | None = None
    policy: RegistrarPolicy = field(default_factory=RegistrarPolicy)
    hybrid: HybridKey | None = None
    generation: int = 0
    tally: Tally = field(default_factory=Tally)

    @property
    def registers(self) -> Role:
        """Return the role of those who enrol here."""
        return Role.MANAGER if self.role is Role.COORDINATOR else Role.DEVICE


SESSION_TIMEOUTS_S: Final = (2.0, 4.0, 8.0)
"""Waiting times before each repetition and before giving up (Triad-1 2.6)."""
AWAIT_A1_S: Final = 60.0
ENROLMENT_TIMEOUT_S: Final = 5.0
ENROLMENT_REPETITIONS: Final = 3
ANSWER_CACHE_S: Final = 60.0
BACKOFF_CAP_S: Final = 3600


def backoff_s(failures: int) -> int:
    """Return the pause after `failures` wrong codes in a row: 1 s doubled each time, at most an hour (DS-06)."""
    return 0 if failures == 0 else min(1 << min(failures - 1, 12), BACKOFF_CAP_S)
