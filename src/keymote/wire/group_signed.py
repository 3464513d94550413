"""Messages of a group that carry claims under a signature (Triad-1 3.3 to 3.9, 8): how they are made, and read.

What `read` returns is a promise until `Claimed.verified_by` has run.
"""

from typing import Any, Final, Generic, NamedTuple, TypeVar

from keymote.errors import CallerFault
from keymote.wire.cose import Sign1, SignedReader, Signer, Verifier, sign1, signed_likewise
from keymote.wire.fields import Sizes
from keymote.wire.group import (
    Blame,
    BlameClaims,
    Commit,
    CommitClaims,
    Delegation,
    DelegationClaims,
    JoinClaims,
    JoinRequest,
    MaskKey,
    MaskKeyClaims,
    Root,
    RootClaims,
    Roster,
    RosterClaims,
    RosterDelta,
    Round1,
    Round1Claims,
    Round2,
    Round2Claims,
    Round3Claims,
    SignedRound3,
    Start,
    StartClaims,
    Wrap,
    WrapClaims,
)
from keymote.wire.masking import (
    MaskAgree,
    MaskAgreeClaims,
    MaskPresent,
    MaskPresentClaims,
    MaskReport,
    MaskReportClaims,
    MaskReveal,
    MaskRevealClaims,
)
from keymote.wire.message import MOST_KNOWN, Body, Message


class Form(NamedTuple):
    """The message that carries these claims, and whether its header names the signer's credential (Triad-1 8)."""

    message: type[Any]
    kid: bool


FORMS: Final[dict[type[Body], Form]] = {
    DelegationClaims: Form(Delegation, kid=True),
    RosterClaims: Form(Roster, kid=True),
    RosterDelta: Form(Roster, kid=True),
    JoinClaims: Form(JoinRequest, kid=True),
    StartClaims: Form(Start, kid=True),
    Round1Claims: Form(Round1, kid=False),
    Round2Claims: Form(Round2, kid=False),
    Round3Claims: Form(SignedRound3, kid=False),
    CommitClaims: Form(Commit, kid=True),
    BlameClaims: Form(Blame, kid=True),
    RootClaims: Form(Root, kid=True),
    WrapClaims: Form(Wrap, kid=True),
    MaskKeyClaims: Form(MaskKey, kid=False),
    MaskReportClaims: Form(MaskReport, kid=False),
    MaskPresentClaims: Form(MaskPresent, kid=True),
    MaskAgreeClaims: Form(MaskAgree, kid=False),
    MaskRevealClaims: Form(MaskReveal, kid=False),
}
"""Claims -> how they travel."""

C = TypeVar("C", bound=Body)
C_co = TypeVar("C_co", bound=Body, covariant=True)


class Claimed(NamedTuple, Generic[C_co]):
    """A signed message as received: its claims are a promise until `verified_by` has run."""

    envelope: Sign1
    claims: C_co

    @property
    def payload(self) -> bytes:
        """The bytes that are signed, and that transcripts hash."""
        return self.envelope.payload

    @property
    def kid(self) -> bytes:
        """The credential that the signer says it signs under; empty where the header names none."""
        return self.envelope.kid or b""

    def verified_by(self, verifier: Verifier, ctx: bytes = b"") -> C_co:
        """Return the claims after checking the signature; E_AUTH when it is not this key's over this type and `ctx`."""
        self.envelope.check(verifier, FORMS[type(self.claims)].message.mt, ctx)
        return self.claims


def read(data: bytes, claims: type[C], sizes: Sizes) -> Claimed[C]:
    """Return the message with these claims in `data`; E_FORMAT unless both have exactly their one form."""
    known = _KNOWN.get((claims, len(data), sizes.point))
    found = None if known is None else known(data)
    if found is not None:
        envelope, values = found
        return Claimed(envelope, claims(*values))
    return _first_read(data, claims, sizes)


def _first_read(data: bytes, claims: type[C], sizes: Sizes) -> Claimed[C]:
    """Read a message that lies as none did before, and remember how."""
    message = FORMS[claims].message
    envelope: Sign1 = message.decode(data, sizes).envelope
    found = claims.decode(envelope.payload, sizes)
    if len(_KNOWN) >= MOST_KNOWN:
        _KNOWN.clear()
    _KNOWN[claims, len(data), sizes.point] = signed_likewise(message.opening(1), envelope, found.laid(sizes))
    return Claimed(envelope, found)


_KNOWN: Final[dict[tuple[type[Body], int, int], SignedReader]] = {}


def read_roster(data: bytes, sizes: Sizes) -> Claimed[RosterClaims | RosterDelta]:
    """Return a ROSTER, whole or delta: the number of elements of its payload tells which."""
    payload = Roster.decode(data, sizes).envelope.payload
    if payload[:1] == _DELTA:
        return read(data, RosterDelta, sizes)
    return read(data, RosterClaims, sizes)


_DELTA: Final = b"\x87"


def write(signer: Signer, claims: Body, ctx: bytes = b"", *, kid: bytes | None = None) -> bytes:
    """Return the message that carries `claims`, signed; `kid` names the signer exactly where the form demands it."""
    form = FORMS[type(claims)]
    if form.kid is not (kid is not None):
        raise CallerFault(f"{form.message.__name__} names {'a' if form.kid else 'no'} kid")
    return write_payload(signer, type(claims), claims.encode(), ctx, kid=kid)


def write_payload(
    signer: Signer, claims: type[Body], payload: bytes, ctx: bytes = b"", *, kid: bytes | None = None
) -> bytes:
    """Return the message that carries claims which are encoded already."""
    message: type[Message] = FORMS[claims].message
    return message.opening(1) + sign1(signer, message.mt, payload, ctx=ctx, kid=kid).encode()
