"""Credentials: what ID_CRED_x refers to, and the keys in them (RFC 9528 3.5)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from keymote.crypto.dh import DhKey, DhPublic
from keymote.crypto.edhoc_suites import EdhocSuite
from keymote.crypto.sign import SigningKey, VerifyKey
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.edhoc import Ccs


@dataclass(frozen=True, slots=True)
class Own:
    """Our own credential. `id_cred` is ID_CRED_x, a CBOR map; `cred` is CRED_x, one CBOR item that holds the public key."""

    id_cred: bytes
    cred: bytes
    key: DhKey | SigningKey

    def static_key(self, suite: EdhocSuite) -> DhKey:
        """Return the key for static Diffie-Hellman; CallerFault when this credential has none of the suite's curve."""
        if isinstance(self.key, SigningKey) or self.key.curve != suite.curve.name:
            raise CallerFault(f"our credential holds no {suite.curve.name} key", do="choose a method in which we sign")
        return self.key

    def signing_key(self) -> SigningKey:
        """Return the key that signs; CallerFault when this credential has none."""
        if not isinstance(self.key, SigningKey):
            raise CallerFault("our credential holds no signature key", do="choose a method with our static key")
        return self.key


@dataclass(frozen=True, slots=True)
class Peer:
    """A credential that the application vouches for, by having stored it or by its policy."""

    id_cred: bytes
    cred: bytes
    key: DhPublic | VerifyKey

    def static_key(self, suite: EdhocSuite) -> DhPublic:
        """Return the static key; PeerFault E_CRED when the credential has none of the suite's curve."""
        if isinstance(self.key, VerifyKey) or self.key.curve != suite.curve.name:
            raise PeerFault(ErrorCode.E_CRED, f"the peer's credential holds no {suite.curve.name} key")
        return self.key

    def verify_key(self) -> VerifyKey:
        """Return the signature key; PeerFault E_CRED when the credential has none."""
        if not isinstance(self.key, VerifyKey):
            raise PeerFault(ErrorCode.E_CRED, "the peer's credential holds no signature key")
        return self.key


class Peers(Protocol):
    """Where a session finds the credential of its peer."""

    def find(self, id_cred: bytes, suite: EdhocSuite, *, signs: bool) -> Peer | None:
        """Return the credential that ID_CRED_x refers to or carries, None when there is none that we accept."""
        ...


def nobody(_claims: Ccs) -> bool:
    """Accept no credential on sight."""
    return False


class KnownPeers:
    """Credentials stored beforehand, and a policy for those that a peer sends by value."""

    def __init__(self, known: Iterable[Peer], accepts: Callable[[Ccs], bool] = nobody) -> None:
        self._known = {peer.id_cred: peer for peer in known}
        self._accepts = accepts

    def find(self, id_cred: bytes, suite: EdhocSuite, *, signs: bool) -> Peer | None:
        """Return a known credential, or one by value that the policy accepts."""
        known = self._known.get(id_cred)
        if known is not None:
            return known
        claims = Ccs.of_id_cred(id_cred)
        return None if claims is None or not self._accepts(claims) else peer_of(claims, id_cred, suite, signs=signs)


def peer_of(claims: Ccs, id_cred: bytes, suite: EdhocSuite, *, signs: bool) -> Peer:
    """Return the credential that a CWT claims set is, its key checked; E_CRED for a key of another curve, E_POINT for none."""
    if claims.crv != (suite.cose_crv_of_signatures if signs else suite.curve.cose_crv):
        raise PeerFault(ErrorCode.E_CRED, f"a key of curve {claims.crv}, which suite {suite.id} does not use so")
    key: DhPublic | VerifyKey
    if not signs:
        key = suite.curve.check(claims.x)
    elif claims.y is None:
        key = suite.verify_key(claims.x)
    else:
        key = suite.verify_key((b"\x03" if claims.y[-1] & 1 else b"\x02") + claims.x)
    return Peer(id_cred, claims.raw, key)
