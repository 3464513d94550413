"""EDHOC against lakers (Rust, RFC 9528): method 3, suite 2, both roles, by reference and by value, exporter and key update."""

from dataclasses import dataclass

import lakers
import pytest

from keymote import cbor
from keymote.crypto.edhoc_suites import edhoc_suite
from keymote.crypto.entropy import Entropy, SystemEntropy
from keymote.crypto.secret import Secret
from keymote.engine.edhoc import initiator, responder
from keymote.engine.edhoc.credentials import KnownPeers, Own, Peer
from keymote.engine.edhoc.faults import Aborted
from keymote.engine.edhoc.profile import Profile
from keymote.engine.edhoc.session import Session
from keymote.wire.edhoc import Ead, id_cred_by_kid, id_cred_by_value

pytestmark = pytest.mark.peers

SUITE = edhoc_suite(2)
EXPORTS = ((0, b"", 16), (1, b"", 8), (23, b"some context", 32))
"""lakers 0.6.2 writes labels from 24 on as one byte, which is not CBOR: those are not compared."""
transfers = pytest.mark.parametrize("by_value", [False, True], ids=["by kid", "by value"])


@pytest.fixture
def entropy() -> Entropy:
    return SystemEntropy()


@dataclass(frozen=True)
class Party:
    """One credential, as lakers and as we want it."""

    private: bytes
    kid: bytes
    cred: bytes

    @classmethod
    def create(cls, kid: bytes) -> "Party":
        private, public = lakers.p256_generate_key_pair()
        key = {1: 2, 2: kid, -1: 1, -2: bytes(public)}
        return cls(bytes(private), kid, cbor.encode({2: "dev", 8: {1: key}}))

    def id_cred(self, by_value: bool) -> bytes:
        return id_cred_by_value(self.cred) if by_value else id_cred_by_kid(self.kid)

    def ours(self, peer: "Party", by_value: bool) -> Profile:
        """Return our profile with this credential and the other one as peer, by both ways of reference."""
        own = Own(self.id_cred(by_value), self.cred, SUITE.curve.private(Secret(self.private)))
        known = Peer(peer.id_cred(False), peer.cred, SUITE.curve.check(peer.cred[-32:]))
        return Profile(3, own, KnownPeers([known], lambda claims: claims.raw == peer.cred), (2,))


@pytest.fixture
def parties() -> tuple[Party, Party]:
    return Party.create(b"\x0a"), Party.create(b"\x0b")


def transfer(by_value: bool) -> lakers.CredentialTransfer:
    return lakers.CredentialTransfer.ByValue if by_value else lakers.CredentialTransfer.ByReference


def check(ours: Session, theirs: lakers.EdhocInitiator | lakers.EdhocResponder) -> None:
    """Compare exports, also after the key update."""
    for label, context, length in EXPORTS:
        assert ours.exporter(label, context, length) == bytes(theirs.edhoc_exporter(label, list(context), length))
    theirs.edhoc_key_update(list(b"a context of sixteen"))
    updated = ours.updated(b"a context of sixteen")
    assert updated.exporter(0, b"", 16) == bytes(theirs.edhoc_exporter(0, [], 16)) != ours.exporter(0, b"", 16)


@transfers
@pytest.mark.parametrize("fourth", [False, True], ids=["three messages", "four messages"])
def test_ED14_lakers_answers_our_call(
    parties: tuple[Party, Party], entropy: Entropy, by_value: bool, fourth: bool
) -> None:
    one, other = parties
    awaiting, message_1 = initiator.begin(one.ours(other, by_value), b"\x01", entropy)
    theirs = lakers.EdhocResponder(other.private, lakers.Credential(other.cred))
    theirs.process_message_1(message_1)
    message_2 = theirs.prepare_message_2(transfer(by_value), [0x02], None)
    last, message_3 = initiator.write_message_3(initiator.read_message_2(awaiting, bytes(message_2)))
    id_cred, _ = theirs.parse_message_3(message_3)
    theirs.verify_message_3(lakers.credential_check_or_fetch(id_cred, one.cred))
    if fourth:
        session, eads = initiator.read_message_4(last, bytes(theirs.prepare_message_4(None)))
        assert eads == ()
        assert session == last.session
    else:
        theirs.completed_without_message_4()
    if not by_value:
        assert [len(message_1), len(message_2), len(message_3)] == [37, 45, 19]
    check(last.session, theirs)


@transfers
@pytest.mark.parametrize("fourth", [False, True], ids=["three messages", "four messages"])
def test_ED14_we_answer_the_call_of_lakers(
    parties: tuple[Party, Party], entropy: Entropy, by_value: bool, fourth: bool
) -> None:
    one, other = parties
    theirs = lakers.EdhocInitiator()
    message_1 = theirs.prepare_message_1(c_i=[0x01])
    called = responder.read_message_1(other.ours(one, by_value), bytes(message_1))
    waiting, message_2 = responder.write_message_2(called, b"\x02", entropy)
    c_r, id_cred, _ = theirs.parse_message_2(message_2)
    assert bytes(c_r) == b"\x02"
    theirs.verify_message_2(
        one.private, lakers.Credential(one.cred), lakers.credential_check_or_fetch(id_cred, other.cred)
    )
    message_3, _ = theirs.prepare_message_3(transfer(by_value), None)
    finished = responder.read_message_3(waiting, bytes(message_3))
    if fourth:
        theirs.process_message_4(responder.write_message_4(finished))
    else:
        theirs.completed_without_message_4()
    check(finished.session, theirs)


def test_ED09_lakers_and_we_exchange_ead(parties: tuple[Party, Party], entropy: Entropy) -> None:
    one, other = parties
    profile = one.ours(other, False)
    ours = Profile(3, profile.own, profile.peers, (2,), frozenset({7}))
    awaiting, message_1 = initiator.begin(ours, b"\x01", entropy, eads=(Ead(5, b"from us"),))
    theirs = lakers.EdhocResponder(other.private, lakers.Credential(other.cred))
    _, said = theirs.process_message_1(message_1)
    assert [(item.label(), bytes(item.value())) for item in said] == [(5, b"from us")]
    message_2 = theirs.prepare_message_2(
        lakers.CredentialTransfer.ByReference, [0x02], [lakers.EADItem(7, True, b"from lakers")]
    )
    answering = initiator.read_message_2(awaiting, bytes(message_2))
    assert answering.eads == (Ead(7, b"from lakers"),)


def test_ED07_lakers_with_another_key_is_refused(parties: tuple[Party, Party], entropy: Entropy) -> None:
    one, other = parties
    impostor = Party.create(b"\x0b")
    awaiting, message_1 = initiator.begin(one.ours(other, False), b"\x01", entropy)
    theirs = lakers.EdhocResponder(impostor.private, lakers.Credential(other.cred))
    theirs.process_message_1(message_1)
    message_2 = theirs.prepare_message_2(lakers.CredentialTransfer.ByReference, [0x02], None)
    with pytest.raises(Aborted):
        initiator.read_message_2(awaiting, bytes(message_2))


def test_ED11_lakers_reads_our_error_as_one(parties: tuple[Party, Party]) -> None:
    one, other = parties
    theirs = lakers.EdhocInitiator()
    message_1 = bytes(theirs.prepare_message_1(c_i=[0x01]))
    with pytest.raises(Aborted) as refused:
        responder.read_message_1(other.ours(one, False), message_1[:-1] + b"\x41\x01")
    with pytest.raises(Exception):  # noqa: B017  what pyo3 makes of an error has no class of its own
        theirs.parse_message_2(refused.value.reply)
