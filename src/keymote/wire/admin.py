"""Bodies of the coordinator's REST interface under `/api/v1`.

Ids, serials and kids (8 bytes) are lower-case hex; signed objects are base64url without padding, and what is signed is
always their CBOR. Storage has records of its own. A code or key travels in one direction only, into a service: no
answer carries one.
"""

import base64
import binascii
from typing import Annotated, Final, TypeVar

from msgspec import DecodeError, Meta, Struct, ValidationError, field, json

from keymote.errors import ErrorCode, PeerFault

API: Final = "/api/v1"
ENROLMENT: Final = f"{API}/k"
"""One datagram of Triad-1 each way, `application/octet-stream`; 204 when there is nothing to answer."""
INTRODUCTION: Final = "/.well-known/keymote"
PROBLEM_TYPE: Final = "application/problem+json"
MAX_PAGE: Final = 500

HexId = Annotated[str, Meta(pattern="^[0-9a-f]{16}$", description="8 bytes in lower-case hex")]
Base64Url = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]*$", max_length=4096, description="base64url, no padding")]
Name = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Seconds = Annotated[int, Meta(ge=0, lt=1 << 32, description="UTC seconds since 1970")]


def to_base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    """Return the bytes of `text`; PeerFault E_FORMAT unless it is the one base64url form of them."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise PeerFault(ErrorCode.E_FORMAT, "not base64url") from error
    if to_base64url(raw) != text:
        raise PeerFault(ErrorCode.E_FORMAT, "not the one base64url form of its bytes")
    return raw


def id_of(text: str) -> bytes:
    """Return the 8 bytes of a hex id; PeerFault E_FORMAT for any other text."""
    if len(text) != 16 or not set(text) <= set("0123456789abcdef"):
        raise PeerFault(ErrorCode.E_FORMAT, "an id is 16 lower-case hex digits")
    return bytes.fromhex(text)


class Body(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of what is sent to us: unknown members are refused."""


class View(Struct, frozen=True):
    """Base of what we answer; clients ignore members that they do not know."""


# ------------------------------------------------------------------ requests


class AddManager(Body, frozen=True):
    """A manager that may enrol: `code` is its registration code, 16 bytes or more, and is never given out again."""

    nm_id: HexId
    name: Name
    code: Annotated[Base64Url, Meta(min_length=22)]

    def __repr__(self) -> str:
        return f"AddManager(nm_id={self.nm_id!r}, name={self.name!r})"


class RegisterDevice(Body, frozen=True):
    """A manager vouches for a device; `replaces` names the serial that a rejoin supersedes."""

    credential: Base64Url
    replaces: HexId | None = None


class IssueCertificate(Body, frozen=True):
    """A PKCS #10 request (DER); the manager's signed object over it (type 241) is the call's authorization."""

    request: Base64Url


class Endpoint(Body, frozen=True):
    """Where other managers reach this one, for example `coap://192.0.2.7:5683`, and its key for the hybrid channel.

    `hybrid_key`: 1216 bytes of key, then the signed object (type 244) over it; empty: no post-quantum profile.
    """

    endpoint: Annotated[str, Meta(pattern="^coaps?(\\+tcp)?://[^/?#]+$", max_length=255)]
    hybrid_key: Base64Url = ""


class ChangeState(Body, frozen=True):
    """An operator's wish for a device; revocation has its own resource because it is final."""

    state: Annotated[str, Meta(pattern="^(active|suspended|retired)$")]


class Revoke(Body, frozen=True):
    """An operator names what dies (`device`, `manager` or `credential` and its id); a manager hands in a REVNOTE."""

    kind: Annotated[str, Meta(pattern="^(device|manager|credential|session)$")]
    id: HexId | None = None
    reason: Annotated[int, Meta(ge=0, le=4)] = 0
    revnote: Base64Url | None = None


class Acknowledge(Body, frozen=True):
    """A manager has acted on every event up to and including this one."""

    upto: Annotated[int, Meta(ge=0)]


# ------------------------------------------------------------------ answers


class Problem(View, frozen=True, omit_defaults=True):
    """An error as RFC 9457 has it; `code` is the name of a Triad-1 error where one applies."""

    title: str
    status: int
    type: str = "about:blank"
    detail: str = ""
    do: str = ""
    code: str = ""


class Introduction(View, frozen=True):
    """What a stranger needs to trust this coordinator through the authority; all of it public, each part signed."""

    credential: Base64Url
    certificate_authority: str
    binding: Base64Url


class Registration(View, frozen=True):
    """The receipt is a signed object of type 12."""

    reg_no: int
    receipt: Base64Url


class Certificate(View, frozen=True):
    """PEM texts."""

    certificate: str
    certificate_authority: str


class ManagerView(View, frozen=True):
    """`acknowledged` is the last event that the manager has acted on."""

    nm_id: HexId
    name: str
    state: str
    credential: Base64Url | None
    endpoint: str | None
    acknowledged: int


class DeviceView(View, frozen=True):
    """`serial` and `credential` are those in force, or the last ones of a device that has none."""

    dev_id: HexId
    nm_id: HexId
    state: str
    serial: HexId
    reg_no: int
    registered_at: Seconds
    credential: Base64Url
    receipt: Base64Url


class StatusView(View, frozen=True):
    """`status` is active, suspended, superseded, revoked or retired."""

    serial: HexId
    status: str
    status_epoch: int


class GroupGap(View, frozen=True):
    """A device that was taken away from a group at `ts_ms` (UTC milliseconds).

    `cause`: revoked, retired, suspended, superseded, evicted, blamed or left. `safe_after_ms` until everybody on a roster
    without it had confirmed an epoch; null while not. `waiting` are members that still hold an epoch which the device knows.
    """

    gid: HexId
    group: str
    dev_id: HexId
    cause: str
    ts_ms: int
    safe_after_ms: int | None
    waiting: list[HexId]


class TopicGap(View, frozen=True):
    """Something was taken from a client of a topic's rule at `ts_ms` (UTC milliseconds).

    `cause`: revoked, retired, suspended, superseded, withdrawn or compromised. `topics`: of which it had a key.
    `safe_after_ms` until every other client of them had acknowledged one that it cannot know; null while not. `waiting` have not.
    """

    tid: HexId
    filter: str
    client: HexId
    cause: str
    ts_ms: int
    safe_after_ms: int | None
    topics: list[str]
    waiting: list[HexId]


class RevocationView(View, frozen=True):
    """`waiting` are managers that have not acknowledged; `safe_after_ms` is null while there are any.

    `groups` and `topics` say how far a device's revocation has come in each of its groups and rules of topics.
    """

    id: int
    kind: str
    subject: HexId
    reason: int
    ts: Seconds
    by: str
    status_epoch: int
    waiting: list[str] = field(default_factory=list)
    safe_after_ms: int | None = None
    groups: list[GroupGap] = field(default_factory=list)
    topics: list[TopicGap] = field(default_factory=list)


class EventView(View, frozen=True):
    """A change that managers act on; `subject` is the id of the device, manager, credential (serial) or session."""

    id: int
    ts: Seconds
    kind: str
    subject: HexId
    data: dict[str, str | int]


class AuditView(View, frozen=True):
    """`entry` is the CBOR that is chained, `h` its hash; `text` the same for people."""

    seq: int
    entry: Base64Url
    h: str
    text: str


class HeadView(View, frozen=True):
    """The newest signed head (type 14) and the entry and hash that it covers."""

    seq: int
    h: str
    ts: Seconds
    signed: Base64Url


class FoundView(View, frozen=True):
    """All that a manager needs to set up a session with a device of another one; `hybrid_key` as it was announced."""

    credential: Base64Url
    cred_nm: Base64Url
    cred_nc: Base64Url
    manager: str
    hybrid_key: Base64Url = ""


class FoundManagerView(View, frozen=True):
    """Who a manager is; `manager` is where it listens, empty while it has not said; `hybrid_key` as it was announced."""

    cred_nm: Base64Url
    cred_nc: Base64Url
    manager: str
    hybrid_key: Base64Url = ""


class ManagerPage(View, frozen=True):
    """`next` is the value of `after` for the following page, null on the last."""

    items: list[ManagerView]
    next: str | None


class DevicePage(View, frozen=True):
    """`next` is the value of `after` for the following page, null on the last."""

    items: list[DeviceView]
    next: str | None


class RevocationPage(View, frozen=True):
    """`next` is the value of `after` for the following page, null on the last."""

    items: list[RevocationView]
    next: int | None
    status_epoch: int


class EventPage(View, frozen=True):
    """`cursor` is the value of `after` for the following call."""

    items: list[EventView]
    cursor: int


class AuditPage(View, frozen=True):
    """`next` is the value of `after` for the following page, null on the last."""

    items: list[AuditView]
    next: int | None


T = TypeVar("T")


def encode(value: Struct) -> bytes:
    """Return the JSON of a body."""
    return json.encode(value)


def decode(data: bytes, kind: type[T]) -> T:
    """Return the value in JSON `data` that came over a network; PeerFault E_FORMAT for any other form."""
    try:
        return json.decode(data, type=kind)
    except (DecodeError, ValidationError, UnicodeDecodeError) as error:
        raise PeerFault(ErrorCode.E_FORMAT, f"not a {kind.__name__}: {error}") from error
