"""What applications say to protocol A's cells and what they hear from them: the closed lists of both directions.

Cells of a device: `enrolment` (one, id b""), `link` (one per registrar), `session` (one per psid).
Cells of a registrar (a manager; a coordinator towards its managers): `gate` and `own` (one each, id b""), `enrolment`
(one per dev_id), `link` (one per device and per other manager), `nmauth` and `session` (one per psid).
"""

from dataclasses import dataclass, field
from typing import Final

from keymote.crypto.secret import Secret
from keymote.engine.base import CellKey, Command, Peer, Report
from keymote.errors import ErrorCode

OWN_ENROLMENT: Final = CellKey("enrolment", b"")
"""A device's enrolment."""
GATE: Final = CellKey("gate", b"")
"""A registrar's door: HELLO, cookies and rate limits."""
OWN: Final = CellKey("own", b"")
"""A registrar's own durable state: share keys, status epoch."""


def enrolment_of(dev_id: bytes) -> CellKey:
    """Return the key of a registrar's cell for the enrolment of `dev_id`."""
    return CellKey("enrolment", dev_id)


def session_of(psid: bytes) -> CellKey:
    return CellKey("session", psid)


def peer_manager(nm_id: bytes) -> CellKey:
    """Return the key of a manager's cell for another manager."""
    return CellKey("peer", nm_id)


# ------------------------------------------------------------------ to a device


@dataclass(frozen=True, slots=True)
class Provision(Command):
    """To OWN_ENROLMENT: `prs` = CBOR[OTC_D, code_NM] of a new label; forgets an older enrolment. The next HELLO starts a run."""

    prs: Secret


@dataclass(frozen=True, slots=True)
class OpenSession(Command):
    """To OWN_ENROLMENT: agree on a key with `peer_id`. `at` is the peer's address, "" lets the managers relay.

    The application chooses the 8 random bytes of `psid`. `manager`: id of the peer's manager, whose word alone is then
    taken for the peer's keys; empty believes any manager below the pin. Answered by `KeyReady` or `SessionClosed` for psid.
    """

    psid: bytes
    peer_id: bytes
    at: Peer = ""
    fast: bool = False
    compact: bool = False
    manager: bytes = b""


@dataclass(frozen=True, slots=True)
class Protect(Command):
    """To a session: seal up to 1024 bytes; answered by `Protected` in the same step."""

    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CloseSession(Command):
    """To a session of a device: erase it and tell the peer (CLOSE)."""


@dataclass(frozen=True, slots=True)
class RevokeSession(Command):
    """To a session of a device: report it to the own manager (REVOKE) and erase it. `reason` 0 to 4 (Triad-1 2.8)."""

    reason: int


@dataclass(frozen=True, slots=True)
class Announce(Command):
    """To the own link of a device, once after start: tell the registrar where the device is now, until it has answered."""


@dataclass(frozen=True, slots=True)
class RenewCredential(Command):
    """To OWN_ENROLMENT: ask the registrar for a newer credential now; answered by `CredentialRenewed` if there is one."""


# ------------------------------------------------------------------ to a registrar


@dataclass(frozen=True, slots=True)
class ExpectDevice(Command):
    """To enrolment_of(dev_id): a label for it exists. Idempotent for the same code. `weak`: the code has less than 128 bits."""

    dev_id: bytes
    prs: Secret
    weak: bool = False


@dataclass(frozen=True, slots=True)
class ExpectAgain(Command):
    """To enrolment_of(dev_id): a new label for an enrolled device (rejoin); its use supersedes the old credential."""

    dev_id: bytes
    prs: Secret
    weak: bool = False


@dataclass(frozen=True, slots=True)
class SuspendDevice(Command):
    """To enrolment_of(dev_id): no new sessions until `ResumeDevice`."""


@dataclass(frozen=True, slots=True)
class ResumeDevice(Command):
    pass


@dataclass(frozen=True, slots=True)
class RevokeDevice(Command):
    """To enrolment_of(dev_id): its credential is revoked; every session of it is reported dead to both sides."""

    reason: int


@dataclass(frozen=True, slots=True)
class DropManager(Command):
    """To peer_manager(nm_id): that manager is revoked; its links are cut, a new one needs the coordinator's word."""


@dataclass(frozen=True, slots=True)
class Revive(Command):
    """To each link, at the start after a backup was put back: leave its epochs, and know the peer by any of them."""


@dataclass(frozen=True, slots=True)
class OpenDoor(Command):
    """To GATE, once after start: begin to announce the network (HELLO by multicast, if the policy says so)."""


@dataclass(frozen=True, slots=True)
class SayHello(Command):
    """To GATE: answered by `HelloIs` in the same step, for unicast discovery."""


# ------------------------------------------------------------------ from a device


@dataclass(frozen=True, slots=True)
class Enrolled(Report):
    """The device holds a verified credential, the registrar has issued one. `cred_NC` empty: its issuer is pinned."""

    dev_id: bytes
    credential: bytes
    cred_NM: bytes
    cred_NC: bytes = b""


@dataclass(frozen=True, slots=True)
class CredentialRenewed(Report):
    """A newer credential for the same keys: the device holds it, or the registrar has heard that the device does."""

    dev_id: bytes
    credential: bytes
    expires: int


@dataclass(frozen=True, slots=True)
class EnrolmentFailed(Report):
    """This attempt is over; the device tries again after `retry_after_s` seconds at the next HELLO."""

    code: ErrorCode
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class SessionKeys:
    """What KS exports (Triad-1 2.8). `key_id` 8 bytes; `dtls_psk` 32; `oscore_ms` 16; `oscore_salt` 8."""

    key_id: bytes
    dtls_psk: Secret
    oscore_ms: Secret
    oscore_salt: bytes


@dataclass(frozen=True, slots=True)
class KeyReady(Report):
    """The session is OPEN: the peer's FIN has verified. `initiator` tells which side we are.

    `manager`: id of the manager that issued the peer's credential; empty where ours vouched for it (compact PEERCRED).
    """

    psid: bytes
    initiator: bool
    peer_id: bytes
    keys: SessionKeys
    manager: bytes = b""


@dataclass(frozen=True, slots=True)
class Protected(Report):
    psid: bytes
    record: bytes


@dataclass(frozen=True, slots=True)
class Opened(Report):
    """A record of the peer, verified and never seen before."""

    psid: bytes
    seq: int
    plaintext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SessionClosed(Report):
    """The session is erased. `code` None: CLOSE by either side; `revoked`: by word of a manager; else why it failed."""

    psid: bytes
    code: ErrorCode | None
    revoked: bool = False
    why: str = ""


# ------------------------------------------------------------------ from a registrar


@dataclass(frozen=True, slots=True)
class HelloIs(Report):
    wire: bytes


@dataclass(frozen=True, slots=True)
class Alarm(Report):
    """Something an operator must look at: clone (409), ten wrong codes, limit of bad tags. Counted by `name`."""

    name: str
    subject: bytes
    what: str


@dataclass(frozen=True, slots=True)
class SessionRegistered(Report):
    """The manager has taken part in a session: metadata for its register and the audit log, never a key.

    `post_quantum`: both managers' post-quantum shares are part of the key.
    """

    psid: bytes
    own_id: bytes
    peer_id: bytes
    peer_manager: bytes
    post_quantum: bool = False


@dataclass(frozen=True, slots=True)
class SessionRevoked(Report):
    """A session is marked dead; `revnote` is the signed note that travels."""

    psid: bytes
    own_id: bytes
    reason: int
    revnote: bytes


@dataclass(frozen=True, slots=True)
class DeviceRevoked(Report):
    """A device's credential is revoked here; `sessions` psids were reported dead."""

    dev_id: bytes
    sessions: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class LinkSeen(Report):
    """A valid LINK record came from this peer (first one, or from a new address)."""

    peer_id: bytes
    peer: Peer
