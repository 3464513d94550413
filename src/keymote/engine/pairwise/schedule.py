"""What the parties of a session compute alike (Triad-1 2.5, 2.6, 2.8); no state, no network."""

from dataclasses import dataclass, field
from typing import Protocol, Self

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import Transcript, expand, extract, lexp, mac16
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, Suite
from keymote.engine.faces import SessionKeys
from keymote.wire.pairwise import Auth2, NmAuth2


@dataclass(frozen=True, slots=True)
class Challenge:
    """A random point N under somebody's (E1, E2): only the holder of d recovers it."""

    N: Point = field(repr=False)
    C1: Point
    C2: Point


def challenge(suite: Suite, E1: Point, E2: Point, entropy: Entropy) -> Challenge:
    """Return a fresh challenge: C1 = r E1 (5), C2 = N + r E2 (6)."""
    r = suite.random_scalar(entropy)
    N = suite.random_point(entropy)
    return Challenge(N, suite.mul(r, E1), suite.add(N, suite.mul(r, E2)))


def recover(suite: Suite, d: Secret, C1: Point, C2: Point) -> Point:
    """Return N = C2 - d C1 (7); never sent to anybody."""
    return suite.sub(C2, suite.mul(d, C1))


def share_scalar(suite: Suite, k_nm: Secret, psid: bytes, kid_I: bytes, kid_R: bytes) -> Secret:
    """Return b_NM: the same for both devices and for retransmissions, without state at the manager."""
    return suite.hash_to_scalar(cbor.encode_array("TRIAD1/A/nmshare", k_nm.expose(), psid, kid_I, kid_R))


def share_context(psid: bytes, kid_I: bytes, kid_R: bytes, kid_target: bytes, kid_NM: bytes) -> bytes:
    """Return the context to which a manager's sealed share is bound."""
    return cbor.encode_array("TRIAD1/A/share", psid, kid_I, kid_R, kid_target, kid_NM)


@dataclass(frozen=True, slots=True)
class Handshake:
    """T over both credentials, A1 and A2 without its tag; the common part of a session and of NMAUTH."""

    suite: Suite
    T: Transcript

    @classmethod
    def start(cls, suite: Suite, label: str, psid: bytes, digest_I: bytes, digest_R: bytes, a1: bytes) -> Self:
        """`label` is A/auth between devices, A/nmauth between managers; digests are SHA-256 of the credentials."""
        return cls(suite, Transcript.begin(label, suite.id, psid, digest_I, digest_R).add(a1))

    def answered(self, a2: Auth2 | NmAuth2) -> Self:
        """Return the handshake after A2; its tag, the last field, is not part of T."""
        return type(self)(self.suite, self.T.add(a2.encode(without=1)))

    def tag(self, N_I: Point, DH: Point) -> bytes:
        """Return tagR, which only somebody who recovered N_I can make."""
        T = self.T.value
        return mac16(lexp(extract(T, cbor.encode_array(N_I, DH)), "A/tagR", T), T)

    def key(self, N_I: Point, N_R: Point, DH: Point) -> Secret:
        """Return PRK = extract(T, CBOR[N_I, N_R, DH])."""
        return extract(self.T.value, cbor.encode_array(N_I, N_R, DH))


@dataclass(frozen=True, slots=True)
class Channel:
    """PRK and the transcript after A2: carries A3 and A4."""

    suite: Suite
    PRK: Secret
    T: Transcript

    def seal(self, label: str, plaintext: bytes) -> bytes:
        """Encrypt under lexp(PRK, label, T): A/k3 for A3, A/k4 for A4."""
        return self.suite.seal_once(lexp(self.PRK, label, self.T.value), self.T.value, plaintext)

    def open(self, label: str, ciphertext: bytes) -> bytes:
        return self.suite.open_once(lexp(self.PRK, label, self.T.value), self.T.value, ciphertext)

    def add(self, wire: bytes) -> Self:
        return type(self)(self.suite, self.PRK, self.T.add(wire))

    def manager_key(self, kappa_a: bytes, kappa_b: bytes) -> Secret:
        """Return K_nn, which keys LINK between two managers; T ends with A3."""
        return lexp(extract(self.T.value, cbor.encode_array(self.PRK.expose(), kappa_a, kappa_b)), "A/nn", self.T.value)

    def agree(self, S: Point, kappa1: bytes, kappa2: bytes) -> "Agreement":
        """Return KS = extract(T*, CBOR[S, PRK, kappa1, kappa2]); T* ends with A4."""
        KS = extract(self.T.value, cbor.encode_array(S, self.PRK.expose(), kappa1, kappa2))
        return Agreement(self.suite, KS, self.T.value)


class Agreeing(Protocol):
    """What both devices hold when they know each other and have exchanged their shares, by whichever handshake."""

    def agree(self, S: Point, kappa1: bytes, kappa2: bytes) -> "Agreement":
        """Return the session's key, with what the managers have contributed."""
        ...


@dataclass(frozen=True, slots=True)
class Agreement:
    """KS under T*: everything that a session uses is derived here (Triad-1 2.8)."""

    suite: Suite
    KS: Secret
    T: bytes

    def fin(self, initiator: bool) -> bytes:
        """Return the tag of FIN1 (initiator) or FIN2."""
        return mac16(lexp(self.KS, "A/finI" if initiator else "A/finR", self.T), self.T)

    def closing(self, psid: bytes, initiator: bool) -> bytes:
        """Return the tag of CLOSE by this side."""
        return mac16(lexp(self.KS, "A/close-I" if initiator else "A/close-R", self.T), psid)

    def key_id(self) -> bytes:
        """Return the 8 bytes by which both ends and both managers name the key."""
        return expand(self.KS, "A/kid", self.T, 8)

    def export(self) -> SessionKeys:
        """Return the keys for DTLS-PSK and OSCORE."""
        return SessionKeys(
            self.key_id(),
            lexp(self.KS, "A/dtls-psk", self.T),
            lexp(self.KS, "A/oscore-ms", self.T, 16),
            expand(self.KS, "A/oscore-salt", self.T, 8),
        )

    def record_key(self, initiator: bool) -> Secret:
        """Return the SREC key of the sender with this role."""
        return lexp(self.KS, "A/rec-I" if initiator else "A/rec-R", self.T)
