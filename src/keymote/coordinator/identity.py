"""Who this coordinator is: its key, its credential, whom it trusts, and what it signs with them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

from keymote.crypto.kdf import sha256
from keymote.crypto.suite import SigningKey, VerifyKey
from keymote.crypto.suites import SUITES
from keymote.engine.audit import GENESIS, Link
from keymote.engine.chain import CLOCK_SKEW_S, Pin, Trust
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire import signed
from keymote.wire.credential import Credential, Role, SignedCredential, issue, kid_of
from keymote.wire.group import DelegationClaims, RosterClaims
from keymote.wire.group_signed import write


class FormerKey(NamedTuple):
    """A key that this coordinator had: the authority's credential for it, and its hand-over to the next (CR-11)."""

    credential: bytes
    handover: bytes


@dataclass(frozen=True, slots=True)
class Identity:
    """A certified coordinator. `trust` pins the authority, and the coordinator itself for its own managers.

    `former` are the keys that it had before, oldest first.
    """

    key: SigningKey
    credential: Credential
    trust: Trust
    former: tuple[FormerKey, ...] = ()

    @classmethod
    def certified(
        cls, key: SigningKey, raw: bytes, root: Pin, now: int | None, former: tuple[FormerKey, ...] = ()
    ) -> Self:
        """Return the identity of `key` under the credential `raw`; `now` None: whenever that is, or was, valid.

        Raises:
            PeerFault: E_CRED when the credential does not lead to `root` or has expired.
            CallerFault: it was issued for another key.
        """
        credential = Trust((root,), SUITES).verify([raw], Role.COORDINATOR, now)
        claims = credential.claims
        if (claims.suite, claims.sig_pk) != (key.suite_id, key.public):
            raise CallerFault(
                "the credential was issued for another key", do="certify the request of this very directory"
            )
        own = Pin(claims.sub, claims.suite, claims.sig_pk)
        return cls(key, credential, Trust((root, own), SUITES), former)

    @property
    def nc_id(self) -> bytes:
        return self.credential.claims.sub

    @property
    def root(self) -> Pin:
        """The authority that certified this coordinator."""
        return self.trust.pins[0]

    @property
    def chain(self) -> tuple[bytes, ...]:
        """What a manager needs above its credential: ours and, for whoever pins the key before, its hand-over."""
        return (self.credential.raw, *(each.handover for each in self.former[-1:]))

    def above(self, raw: bytes) -> bytes:
        """Return our credential under whose key the manager's credential `raw` of our register was signed (CR-12)."""
        signed_one = SignedCredential.decode(raw)
        for ours in (self.credential.raw, *(each.credential for each in reversed(self.former))):
            claims = SignedCredential.decode(ours).claims
            try:
                self.trust.verify_one(signed_one, (claims.sub, claims.suite, claims.sig_pk, claims.role), None)
            except PeerFault:
                continue
            return ours
        return self.credential.raw  # whoever verifies the chain refuses it

    def handed_over(self, following: Credential, now: int, serial: bytes) -> bytes:
        """Return our key's hand-over to the key of the authority's next credential for us, for as long as that lasts (CR-11)."""
        claims = replace(following.claims, iss=self.nc_id, iat=now, serial=serial)
        return issue(self.key, claims).raw

    def receipt(self, raw: bytes, reg_no: int, ts: int) -> bytes:
        """Return the receipt (type 12) for a credential that entered the register."""
        return signed.write(self.key, signed.Receipt(sha256(raw), reg_no, ts))

    def head(self, last: Link | None, ts: int) -> bytes:
        """Return the signed head (type 14) of an audit log that ends with `last`."""
        seq, h = (0, GENESIS) if last is None else (last.seq, last.h)
        return signed.write(self.key, signed.AuditHead(self.nc_id, seq, h, ts))

    def binding(self, authority_der: bytes, not_after: int) -> bytes:
        """Return the object (type 240) that makes an X.509 authority this coordinator's."""
        claims = signed.CertificateAuthority(self.nc_id, sha256(authority_der), not_after)
        return signed.write(self.key, claims, kid=self.credential.kid)

    def lookup(self, to: bytes, dev_id: bytes, ts: int) -> bytes:
        """Return the question (type 242) to coordinator `to`."""
        return signed.write(self.key, signed.Lookup(self.nc_id, to, dev_id, ts), kid=self.credential.kid)

    def group_word(self, claims: DelegationClaims | RosterClaims) -> bytes:
        """Return the delegation (mt 11) or roster (mt 39) that this coordinator, as roster authority, states."""
        return write(self.key, claims, kid=self.credential.kid)

    @property
    def authorities(self) -> Mapping[bytes, VerifyKey]:
        """The keys under which this coordinator signed rosters, now and before, by the kids of their credentials."""
        found: dict[bytes, VerifyKey] = {}
        for raw in (self.credential.raw, *(each.credential for each in self.former)):
            claims = SignedCredential.decode(raw).claims
            found[kid_of(raw)] = self.trust.key(claims.suite, claims.sig_pk)
        return found

    def asked_by(self, request: bytes, credential: bytes, now: int) -> tuple[Credential, bytes]:
        """Return who asks and for which dev_id, after checking the other coordinator's chain, signature and clock.

        Raises:
            PeerFault: E_CRED for a stranger, a question to somebody else or one of another time; E_AUTH for a forgery.
        """
        asking = self.trust.verify([credential], Role.COORDINATOR, now)
        found = signed.read(request, signed.Lookup)
        if found.kid != asking.kid:
            raise PeerFault(ErrorCode.E_CRED, "look-up is signed under another credential")
        suite = self.trust.suite(asking.claims.suite)
        claims = found.verified_by(suite.verify_key(asking.claims.sig_pk))
        if claims.nc_id != asking.claims.sub or claims.to != self.nc_id or abs(claims.ts - now) > CLOCK_SKEW_S:
            raise PeerFault(ErrorCode.E_CRED, "look-up of another coordinator or of another time")
        return asking, claims.dev_id
