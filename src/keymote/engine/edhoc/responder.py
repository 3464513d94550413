"""The responder's steps, one a message (RFC 9528 5.2 to 5.5).

`read_message_1` -> Called -> `write_message_2` -> AwaitMessage3 -> `read_message_3` -> Finished -> (`write_message_4`).
A step returns the next state or raises `Aborted`: then the run is over, and its state must be dropped.
"""

from dataclasses import dataclass, field

from keymote.crypto.dh import DhKey, DhPublic
from keymote.crypto.edhoc_suites import EdhocSuite, edhoc_suite
from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.engine.edhoc import schedule
from keymote.engine.edhoc.faults import aborted, aborted_by_peer, wrong_suite
from keymote.engine.edhoc.profile import Profile
from keymote.engine.edhoc.proof import initiator_signs, prove, responder_signs, verify
from keymote.engine.edhoc.session import Session
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.edhoc import (
    Eads,
    Message1,
    Plaintext2,
    Plaintext3,
    decode_ciphertext,
    encode_ciphertext,
    encode_eads,
    encode_identifier,
    encode_message_2,
    is_error,
)


@dataclass(frozen=True, slots=True)
class Called:
    """Somebody wants to talk in a way that we accept; `eads` are what it said, unprotected. message_2 is due."""

    profile: Profile
    suite: EdhocSuite
    C_I: bytes
    G_X: DhPublic
    eads: Eads
    H_message_1: bytes


@dataclass(frozen=True, slots=True)
class AwaitMessage3:
    """message_2 is out; nothing is known of the caller yet."""

    profile: Profile
    suite: EdhocSuite
    C_I: bytes
    C_R: bytes
    Y: DhKey = field(repr=False)
    PRK_3e2m: Secret
    TH_3: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """I is authentic, and the session is good at both ends once I hears from us. `eads` are those of message_3."""

    suite: EdhocSuite
    PRK_4e3m: Secret
    session: Session
    eads: Eads


def read_message_1(profile: Profile, message_1: bytes) -> Called:
    """Return the first state (5.2.3).

    Raises:
        Aborted: with the error message for I; SuitesRefused when the selected suite is not the first that we both run.
    """
    try:
        return _read_message_1(profile, message_1)
    except PeerFault as fault:
        raise aborted(1, fault) from fault


def _read_message_1(profile: Profile, message_1: bytes) -> Called:
    call = Message1.decode(message_1)
    if call.method != profile.method:
        raise PeerFault(ErrorCode.E_SUITE, f"method {call.method}, this side takes method {profile.method}")
    *preferred, selected = call.suites
    if selected not in profile.suites or not set(preferred).isdisjoint(profile.suites):
        raise wrong_suite(call.suites, profile.suites)
    suite = edhoc_suite(selected)
    G_X = suite.curve.check(call.G_X)
    return Called(profile, suite, call.C_I, G_X, profile.heard(call.eads), schedule.hash_message_1(message_1))


def write_message_2(state: Called, C_R: bytes, entropy: Entropy, eads: Eads = ()) -> tuple[AwaitMessage3, bytes]:
    """Return the next state and message_2; `C_R` must differ from C_I (3.3).

    Raises:
        Aborted: E_POINT when G_X is of low order, which shows only now.
    """
    if state.C_I == C_R:
        raise CallerFault("C_R equals C_I", do="choose another connection identifier")
    try:
        return _write_message_2(state, C_R, entropy, eads)
    except PeerFault as fault:
        raise aborted(1, fault) from fault


def _write_message_2(state: Called, C_R: bytes, entropy: Entropy, eads: Eads) -> tuple[AwaitMessage3, bytes]:
    profile, suite, own = state.profile, state.suite, state.profile.own
    Y = suite.curve.key_pair(entropy)
    G_Y = Y.public
    TH_2 = schedule.transcript_2(G_Y, state.H_message_1)
    PRK_2e = schedule.prk_2e(TH_2, Y.agree(state.G_X))
    signed_by = own.signing_key() if responder_signs(profile.method) else None
    G_RX = own.static_key(suite).agree(state.G_X) if signed_by is None else None
    PRK_3e2m = schedule.prk_3e2m(PRK_2e, TH_2, G_RX)
    proof = prove(schedule.mac_2, PRK_3e2m, own, encode_identifier(C_R), TH_2, eads, signed_by)
    PLAINTEXT_2 = Plaintext2(C_R, own.id_cred, proof, eads).encode()
    message_2 = encode_message_2(G_Y, schedule.xor_keystream_2(PRK_2e, TH_2, PLAINTEXT_2))
    TH_3 = schedule.transcript_3(TH_2, PLAINTEXT_2, own.cred)
    return AwaitMessage3(profile, suite, state.C_I, C_R, Y, PRK_3e2m, TH_3), message_2


def read_message_3(state: AwaitMessage3, message_3: bytes) -> Finished:
    """Return the last state: I has shown that it holds the key of its credential (5.4.3)."""
    try:
        if is_error(message_3):
            raise aborted_by_peer(message_3)
        return _read_message_3(state, message_3)
    except PeerFault as fault:
        raise aborted(3, fault) from fault


def _read_message_3(state: AwaitMessage3, message_3: bytes) -> Finished:
    profile, suite, TH_3 = state.profile, state.suite, state.TH_3
    K_3, IV_3 = schedule.key_3(state.PRK_3e2m, TH_3, suite.aead_key_size, suite.aead.nonce_size)
    PLAINTEXT_3 = suite.aead.open_with(K_3, IV_3, schedule.associated_data(TH_3), decode_ciphertext(message_3))
    said = Plaintext3.decode(PLAINTEXT_3)
    signs = initiator_signs(profile.method)
    peer = profile.not_us(profile.peers.find(said.id_cred, suite, signs=signs))
    G_IY = None if signs else state.Y.agree(peer.static_key(suite))
    PRK_4e3m = schedule.prk_4e3m(state.PRK_3e2m, TH_3, G_IY)
    verify(schedule.mac_3, PRK_4e3m, peer, b"", TH_3, said.eads, said.proof, signs=signs)
    heard = profile.heard(said.eads)
    TH_4 = schedule.transcript_4(TH_3, PLAINTEXT_3, peer.cred)
    session = Session(False, state.C_I, state.C_R, peer, TH_4, schedule.prk_out(PRK_4e3m, TH_4))
    return Finished(suite, PRK_4e3m, session, heard)


def write_message_4(state: Finished, eads: Eads = ()) -> bytes:
    """Return message_4: proof that we share the session, where no other message of ours will give it (5.5)."""
    suite, TH_4 = state.suite, state.session.TH_4
    K_4, IV_4 = schedule.key_4(state.PRK_4e3m, TH_4, suite.aead_key_size, suite.aead.nonce_size)
    return encode_ciphertext(suite.aead.seal_with(K_4, IV_4, schedule.associated_data(TH_4), encode_eads(eads)))
