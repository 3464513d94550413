"""What a coordinator's store keeps, as plain values: managers, devices, credentials, revocations, events, heads."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from keymote.errors import ErrorCode, PeerFault


class ManagerState(StrEnum):
    """A manager is `pending` until it has enrolled with its code."""

    PENDING = "pending"
    ACTIVE = "active"
    REVOKED = "revoked"


class DeviceState(StrEnum):
    """`revoked` ends by a rejoin only, which the device's own manager asks for; `retired` frees the dev_id."""

    PENDING = "pending"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REVOKED = "revoked"
    RETIRED = "retired"


class CredentialState(StrEnum):
    """At most one credential of a subject is `active`."""

    ACTIVE = "active"
    RENEWED = "renewed"
    """Another one for the same keys is in force; this one is good until it ends, for who has not heard of that."""
    SUPERSEDED = "superseded"
    REVOKED = "revoked"
    RETIRED = "retired"


class RevocationKind(StrEnum):
    """What was revoked; its subject is dev_id, nm_id, serial or psid."""

    DEVICE = "device"
    MANAGER = "manager"
    CREDENTIAL = "credential"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Manager:
    """A manager of this coordinator. `serial` and `kid` (8 bytes) name its credential, None until it has enrolled.

    `hybrid_key`: what it has published for the post-quantum profile (key and signed word), empty where it has not.
    """

    nm_id: bytes
    name: str
    state: ManagerState = ManagerState.PENDING
    serial: bytes | None = None
    kid: bytes | None = None
    endpoint: str | None = None
    acknowledged: int = 0
    hybrid_key: bytes = b""


@dataclass(frozen=True, slots=True)
class Device:
    """A device, the manager that vouches for it and the serial of its newest credential."""

    dev_id: bytes
    nm_id: bytes
    state: DeviceState
    serial: bytes


@dataclass(frozen=True, slots=True)
class Registered:
    """A credential in the register: number, date (UTC seconds) and the receipt that was given for it."""

    serial: bytes
    sub: bytes
    iss: bytes
    raw: bytes
    reg_no: int
    ts: int
    receipt: bytes
    state: CredentialState = CredentialState.ACTIVE


@dataclass(frozen=True, slots=True)
class Revocation:
    """A line of the revocation list; `status_epoch` is the coordinator's counter after it, `event` carries it out."""

    id: int
    kind: RevocationKind
    subject: bytes
    reason: int
    ts: int
    by: str
    status_epoch: int
    event: int
    evidence: bytes = b""


@dataclass(frozen=True, slots=True)
class Event:
    """A change that managers must act on. `at_ms` is UTC milliseconds; ids grow by one and are never reused."""

    id: int
    at_ms: int
    kind: str
    subject: bytes
    data: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A manager had acted on every event up to `upto` at `at_ms`."""

    nm_id: bytes
    upto: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Head:
    """A signed head of the audit log (type 14) over entry `seq` with hash `h`."""

    seq: int
    h: bytes
    ts: int
    signed: bytes


class Taken(PeerFault):
    """An id, serial or name belongs to another (HTTP 409): a clone, or a manager that lost its memory."""

    def __init__(self, what: str, *, do: str = "") -> None:
        super().__init__(ErrorCode.E_CRED, what, do=do)
