"""Two parties of EDHOC with keys of a seed, and whole runs of the protocol."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from keymote import cbor
from keymote.crypto.edhoc_suites import edhoc_suite
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.engine.edhoc import initiator, responder
from keymote.engine.edhoc.credentials import KnownPeers, Own, Peer, Peers
from keymote.engine.edhoc.profile import Profile
from keymote.engine.edhoc.session import Session
from keymote.wire.edhoc import Eads, id_cred_by_kid, id_cred_by_value


@dataclass(frozen=True)
class Party:
    own: Own
    seen: Peer
    """The same credential as others know it."""


def party(suite_id: int, *, signs: bool, name: str, by_value: bool = False) -> Party:
    suite, seed = edhoc_suite(suite_id), Secret(SeededEntropy(name.encode()).draw(32))
    kid = {"i": b"\x0a", "r": b"\x0b"}.get(name[0], b"\x0c")
    key: dict[int, object]
    if signs:
        signer = suite.signing_key(seed)
        public = suite.verify_key(signer.public)
        key = {1: 1, -1: 6, -2: signer.public}
        if suite_id == 2:
            point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), signer.public).public_numbers()
            key = {1: 2, -1: 1, -2: signer.public[1:], -3: point.y.to_bytes(32, "big")}
        mine: object = signer
    else:
        static = suite.curve.private(seed)
        public = suite.curve.check(static.public)
        key = {1: 2 if suite_id == 2 else 1, -1: suite.curve.cose_crv, -2: static.public}
        mine = static
    cred = cbor.encode({2: name, 8: {1: {2: kid, **key}}})
    id_cred = id_cred_by_value(cred) if by_value else id_cred_by_kid(kid)
    return Party(Own(id_cred, cred, mine), Peer(id_cred, cred, public))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Pair:
    """Profiles of both sides."""

    I: Profile  # noqa: E741
    R: Profile

    def run(
        self, eads: tuple[Eads, Eads, Eads, Eads] = ((), (), (), ()), C_I: bytes = b"\x01", C_R: bytes = b"\x02"
    ) -> tuple[Session, Session, list[bytes]]:
        """Run all four messages; return both sessions and the messages."""
        entropy = SeededEntropy(b"run")
        awaiting, message_1 = initiator.begin(self.I, C_I, entropy, eads=eads[0])
        called = responder.read_message_1(self.R, message_1)
        waiting, message_2 = responder.write_message_2(called, C_R, entropy, eads[1])
        answering = initiator.read_message_2(awaiting, message_2)
        last, message_3 = initiator.write_message_3(answering, eads[2])
        finished = responder.read_message_3(waiting, message_3)
        message_4 = responder.write_message_4(finished, eads[3])
        session, _ = initiator.read_message_4(last, message_4)
        return session, finished.session, [message_1, message_2, message_3, message_4]


def pair(method: int, suite: int, *, by_value: bool = False, understands: frozenset[int] = frozenset()) -> Pair:
    one = party(suite, signs=method in (0, 1), name="initiator", by_value=by_value)
    other = party(suite, signs=method in (0, 2), name="responder", by_value=by_value)

    def knows(peer: Peer) -> Peers:
        return KnownPeers([], lambda claims: claims.raw == peer.cred) if by_value else KnownPeers([peer])

    return Pair(
        Profile(method, one.own, knows(other.seen), (suite,), understands),
        Profile(method, other.own, knows(one.seen), (suite,), understands),
    )
