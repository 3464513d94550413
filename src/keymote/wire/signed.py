"""Signed objects without a message of their own: what a coordinator or a manager states, and others keep as evidence.

Types 12 (receipt) and 14 (audit head) are Triad-1 section 8; 240 to 246 are ours, outside the registry's 1 to 60
(docs/decisions/0030, 0120, 0196). Each is a COSE_Sign1 (Triad-1 1.4) over the CBOR array of its claims, with an empty ctx.
"""

from dataclasses import dataclass
from typing import Annotated, Final, Generic, NamedTuple, TypeVar

from keymote.errors import CallerFault
from keymote.wire.cose import Sign1, Signer, Verifier, sign1
from keymote.wire.federation import CARD, FEDERATION, BrokerCard, FederationClaims
from keymote.wire.fields import HASH, ID, SIZES, OneOf, Uint
from keymote.wire.message import Body, body

S = TypeVar("S", bound=Body)


@body
class Receipt(Body):
    """Coordinator: the credential with this SHA-256 is number `reg_no` of my register since `ts` (UTC seconds)."""

    digest: Annotated[bytes, HASH]
    reg_no: Annotated[int, Uint()]
    ts: Annotated[int, Uint()]


@body
class AuditHead(Body):
    """Coordinator: at `ts` my audit log had `seq` entries and the hash `h` (Triad-1 5, D/audit)."""

    nc_id: Annotated[bytes, ID]
    seq: Annotated[int, Uint()]
    h: Annotated[bytes, HASH]
    ts: Annotated[int, Uint()]


@body
class CertificateAuthority(Body):
    """Coordinator: the X.509 certificate with this SHA-256 (of its DER) is my authority for TLS until `not_after`."""

    nc_id: Annotated[bytes, ID]
    digest: Annotated[bytes, HASH]
    not_after: Annotated[int, Uint()]


@body
class CertificateRequest(Body):
    """Manager: the PKCS #10 request with this SHA-256 (of its DER) is mine, meant for this coordinator."""

    nc_id: Annotated[bytes, ID]
    nm_id: Annotated[bytes, ID]
    digest: Annotated[bytes, HASH]


@body
class Lookup(Body):
    """Coordinator `nc_id` asks coordinator `to` at `ts` (UTC seconds): do you manage this device?"""

    nc_id: Annotated[bytes, ID]
    to: Annotated[bytes, ID]
    dev_id: Annotated[bytes, ID]
    ts: Annotated[int, Uint()]


@body
class CoordinatorRequest(Body):
    """Coordinator, under its own key and before it has a credential: certify this key for me (`ts` UTC seconds)."""

    nc_id: Annotated[bytes, ID]
    suite: Annotated[int, Uint(8)]
    sig_pk: Annotated[bytes, OneOf((32, 33))]
    ts: Annotated[int, Uint()]


@body
class HybridPublic(Body):
    """Manager: the hybrid public key (1216 bytes, Triad-1 2.5) with this SHA-256 is mine."""

    nm_id: Annotated[bytes, ID]
    digest: Annotated[bytes, HASH]


class Form(NamedTuple):
    """The external message type of a signed object, and whether its header names the signer's credential."""

    mt: int
    kid: bool


FORMS: Final[dict[type[Body], Form]] = {
    Receipt: Form(12, kid=False),
    AuditHead: Form(14, kid=False),
    CertificateAuthority: Form(240, kid=True),
    CertificateRequest: Form(241, kid=True),
    Lookup: Form(242, kid=True),
    CoordinatorRequest: Form(243, kid=False),
    HybridPublic: Form(244, kid=False),
    FederationClaims: Form(FEDERATION, kid=False),
    BrokerCard: Form(CARD, kid=False),
}


@dataclass(frozen=True, slots=True)
class Signed(Generic[S]):
    """A signed object as received: its claims are a promise until `verified_by` has run."""

    envelope: Sign1
    claims: S

    @property
    def kid(self) -> bytes | None:
        """The credential that the signer says it signs under."""
        return self.envelope.kid

    def verified_by(self, verifier: Verifier) -> S:
        """Return the claims after checking the signature; E_AUTH when it is not this key's over this type."""
        self.envelope.check(verifier, FORMS[type(self.claims)].mt)
        return self.claims


def read(raw: bytes, kind: type[S]) -> Signed[S]:
    """Return the signed object of this kind in `raw`; E_FORMAT unless it has exactly its one form."""
    envelope = Sign1.decode(raw, kid=FORMS[kind].kid)
    return Signed(envelope, kind.decode(envelope.payload, SIZES[1]))  # no field of these depends on the suite


def write(signer: Signer, claims: Body, *, kid: bytes | None = None) -> bytes:
    """Return `claims` signed; `kid` names the signer's credential exactly where the form demands it."""
    form = FORMS[type(claims)]
    if form.kid is not (kid is not None):
        raise CallerFault(f"a signed object of type {form.mt} names {'a' if form.kid else 'no'} kid")
    return sign1(signer, form.mt, claims.encode(), kid=kid).encode()
