"""A device that is enrolled here, as its manager sees it: who may open sessions, and which ones are alive."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from keymote.engine.base import CellKey, Output, Tell, replace
from keymote.engine.faces import session_of
from keymote.engine.link_faces import LinkBody, SealBody
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.credential import Claims, SignedCredential
from keymote.wire.enrolment import Error
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Revoke, Sessreq, Shreq
from keymote.wire.registry import peek

ACTIVE: Final = 0
SUSPENDED: Final = 1
REVOKED: Final = 2

MOST_SESSIONS: Final = 64
"""Sessions that a revocation reaches; the oldest is ended when one more begins."""


class Renewal(NamedTuple):
    """A newer credential for the same keys. `registered`: the coordinator has it, the device may have it too.

    `at` (UTC seconds): when to ask the coordinator, or tell the device, again.
    """

    credential: bytes
    registered: bool
    at: int


@dataclass(frozen=True, slots=True)
class Member:
    """`W` is (1) of its enrolment; `sessions` psids of its live sessions, oldest first; `revoke_ctr` highest ctr seen.

    `weak`: it enrolled with a code below 128 bits. `renewal` is on its way; `renewed`: there was one before.
    """

    credential: bytes
    W: bytes
    status: int
    sessions: tuple[bytes, ...]
    revoke_ctr: int
    weak: bool = False
    renewal: Renewal | None = None
    renewed: bool = False

    @property
    def claims(self) -> Claims:
        return SignedCredential.decode(self.credential).claims

    def items(self) -> list[object]:
        renewal = self.renewal and list(self.renewal)
        told = [self.credential, self.W, self.status, list(self.sessions), self.revoke_ctr]
        return [*told, self.weak, renewal, self.renewed]

    @classmethod
    def of(cls, items: Any) -> Self:
        credential, W, status, sessions, revoke_ctr, *rest = items
        weak, renewal, renewed = (*rest, False, None, False)[:3] if len(rest) != 1 else (rest[0], None, False)
        waits = renewal and Renewal(*renewal)
        return cls(credential, W, status, tuple(sessions), revoke_ctr, weak, waits, renewed)

    def with_session(self, psid: bytes) -> tuple["Member", list[Output]]:
        """Remember a session; when there are too many, end the oldest."""
        if psid in self.sessions:
            return self, []
        sessions = (*self.sessions, psid)
        outputs: list[Output] = []
        if len(sessions) > MOST_SESSIONS:
            outputs.append(Tell(session_of(sessions[0]), Superseded()))
            sessions = sessions[1:]
        return replace(self, sessions=sessions), outputs


# ------------------------------------------------------------------ between a member's cell and its sessions


class WantMember(NamedTuple):
    """Tell `session` who this member is; answered by `MemberIs` or `NoSuchMember`."""

    psid: bytes
    session: CellKey


class MemberIs(NamedTuple):
    psid: bytes
    member: Member


@dataclass(frozen=True, slots=True)
class NoSuchMember:
    """Whoever was asked for is not enrolled here."""


class RememberSession(NamedTuple):
    """This psid is alive; a revocation of the member must reach it."""

    psid: bytes


@dataclass(frozen=True, slots=True)
class Superseded:
    """The session is the oldest of too many."""


@dataclass(frozen=True, slots=True)
class DeviceGone:
    """The device is revoked or enrolled anew: its session ends."""

    dev_id: bytes
    reason: int


class Asked(NamedTuple):
    """A member's request about a session, from its LINK."""

    member: Member
    dev_id: bytes
    link: CellKey
    request: Sessreq | Shreq | Revoke


def serve_member(member: Member, heard: LinkBody) -> tuple[Member, list[Output]]:
    """Hand a request of this member to its session, or refuse it inside LINK (CM-14, RV-09)."""
    sizes = sizes_of(1)  # none of these three messages has a field whose length depends on the suite
    mt, _ = peek(heard.body)
    request: Sessreq | Shreq | Revoke
    match mt:
        case Sessreq.mt:
            request = Sessreq.decode(heard.body, sizes)
        case Shreq.mt:
            request = Shreq.decode(heard.body, sizes)
        case Revoke.mt:
            request = Revoke.decode(heard.body, sizes)
            if request.ctr <= member.revoke_ctr:
                return member, [refusal(heard.link, mt, ErrorCode.E_REPLAY, request.psid)]
            member = replace(member, revoke_ctr=request.ctr)
        case _:
            raise PeerFault(ErrorCode.E_STATE, f"message {mt} is not for a manager")
    if member.status != ACTIVE and mt != Revoke.mt:
        return member, [refusal(heard.link, mt, ErrorCode.E_NOSHARE, request.psid)]
    return member, [Tell(session_of(request.psid), Asked(member, heard.peer_id, heard.link, request))]


def refusal(link: CellKey, mt: int, code: ErrorCode, psid: bytes) -> Tell:
    """Return ERROR for a request about `psid`, to be said inside LINK."""
    return Tell(link, SealBody(Error(mt, code, psid).encode()))
