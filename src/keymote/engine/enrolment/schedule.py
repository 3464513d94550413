"""What both sides of an enrolment compute alike (Triad-1 2.4); no state, no network."""

from dataclasses import dataclass
from typing import Self

from keymote import cbor
from keymote.crypto.kdf import Transcript, extract, lexp, mac16
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, Suite
from keymote.engine.base import replace
from keymote.engine.topic.key_chain import KeyChain
from keymote.wire.enrolment import Hello, Join, OfferPoints


def generator(suite: Suite, prs: Secret, dev_id: bytes, hello: Hello) -> Point:
    """Return B, the CPace generator of this run (P-256: G)."""
    ci = cbor.encode_array("TRIAD1/A/enrol", suite.id, dev_id, hello.nm_id, hello.nc_id)
    return suite.pake_start(prs.expose(), ci, hello.hello_n)


def first_chain_key(client_id: bytes, K_link: Secret) -> Secret:
    """Return CK_0 of a device's topic keys, of the K_link that its enrolment has made: PSS = lexp(K_link, "A/c-pss", client_id).

    Neither PSS nor K_link is kept by either side from here on (4.3, TM-01).
    """
    return KeyChain.begin(client_id, lexp(K_link, "A/c-pss", client_id)).ck


def opening(suite: Suite, hello: Hello, hello_wire: bytes, join: Join) -> Transcript:
    """Return T over HELLO as it was heard and JOIN without its cookie."""
    bare = replace(join, cookie=None)
    return Transcript.begin("A/enrol", suite.id, join.dev_id, hello.nm_id).add(hello_wire).add(bare.encode())


@dataclass(frozen=True, slots=True)
class Run:
    """The channel that the code opened: P and the transcript so far. Every key depends on all messages before it."""

    suite: Suite
    P: Secret
    T: Transcript

    @classmethod
    def start(
        cls, suite: Suite, T: Transcript, prs: Secret, join: Join, hello: Hello, K: Point, Y_N: Point, e_NM: Point
    ) -> Self:
        """Return the run after OFFER's points: ISK from K = y_N Y_D = y_D Y_N, P = extract(T, CBOR[ISK, PRS])."""
        isk = suite.pake_isk(hello.hello_n, K, Point(join.Y_D), join.dev_id, Y_N, hello.nm_id)
        T = T.add(OfferPoints(3, Y_N, e_NM).encode())
        return cls(suite, extract(T.value, cbor.encode_array(isk.expose(), prs.expose())), T)

    def offer_tag(self) -> bytes:
        """Return OFFER's tag: MAC16(lexp(P, "A/cN", T), T)."""
        return mac16(lexp(self.P, "A/cN", self.T.value), self.T.value)

    def seal(self, label: str, plaintext: bytes) -> bytes:
        """Encrypt the one plaintext of the key `label` (A/k4 to A/k9) at this point of the transcript."""
        return self.suite.seal_once(lexp(self.P, label, self.T.value), self.T.value, plaintext)

    def open(self, label: str, ciphertext: bytes) -> bytes:
        """Decrypt what `seal` made; E_AUTH for anything else."""
        return self.suite.open_once(lexp(self.P, label, self.T.value), self.T.value, ciphertext)

    def add(self, wire: bytes) -> Self:
        """Return the run after the message with these exact wire bytes."""
        return type(self)(self.suite, self.P, self.T.add(wire))

    def to_be_possessed(self) -> bytes:
        """Return what the device signs to prove that it holds its signature key: CBOR["TRIAD1/A/pop", T]."""
        return cbor.encode_array("TRIAD1/A/pop", self.T.value)

    def link_key(self) -> Secret:
        """Return K_link; defined when CRED is in the transcript."""
        return lexp(self.P, "A/link", self.T.value)
