"""The initiator's steps, one a message (RFC 9528 5.2 to 5.5).

`begin` -> AwaitMessage2 -> `read_message_2` -> Responding -> `write_message_3` -> AwaitMessage4 -> `read_message_4`.
A step returns the next state or raises `Aborted`: then the run is over, and its state must be dropped.
"""

from dataclasses import dataclass, field

from keymote.crypto.dh import DhKey, DhPublic
from keymote.crypto.edhoc_suites import EDHOC_SUITES, EdhocSuite, edhoc_suite
from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.engine.edhoc import schedule
from keymote.engine.edhoc.credentials import Peer
from keymote.engine.edhoc.faults import SuitesRefused, aborted, aborted_by_peer
from keymote.engine.edhoc.profile import Profile
from keymote.engine.edhoc.proof import METHODS, initiator_signs, prove, responder_signs, verify
from keymote.engine.edhoc.session import Session
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.edhoc import (
    Eads,
    Message1,
    Plaintext2,
    Plaintext3,
    decode_ciphertext,
    decode_message_2,
    decode_plaintext_4,
    encode_ciphertext,
    encode_identifier,
    is_error,
)


@dataclass(frozen=True, slots=True)
class AwaitMessage2:
    """message_1 is out. `suites` is SUITES_I, whose last one is selected."""

    profile: Profile
    suites: tuple[int, ...]
    C_I: bytes
    X: DhKey = field(repr=False)
    H_message_1: bytes


@dataclass(frozen=True, slots=True)
class Responding:
    """R is authentic; `eads` are what it said. message_3 is due."""

    profile: Profile
    suite: EdhocSuite
    C_I: bytes
    C_R: bytes
    peer: Peer
    eads: Eads
    PRK_3e2m: Secret
    TH_3: bytes
    G_Y: DhPublic = field(repr=False)


@dataclass(frozen=True, slots=True)
class AwaitMessage4:
    """message_3 is out. R has not yet shown that it has the same session: use it for sending only, or await message_4."""

    profile: Profile
    suite: EdhocSuite
    PRK_4e3m: Secret
    session: Session


def begin(
    profile: Profile, C_I: bytes, entropy: Entropy, *, suites: tuple[int, ...] = (), eads: Eads = ()
) -> tuple[AwaitMessage2, bytes]:
    """Return the state and message_1. `suites` is SUITES_I, by default the most preferred suite alone."""
    suites = suites or profile.suites[:1]
    if profile.method not in METHODS or suites[-1] not in profile.suites:
        raise CallerFault(f"method {profile.method} with suites {list(suites)}", do="choose what this version runs")
    X = edhoc_suite(suites[-1]).curve.key_pair(entropy)
    message_1 = Message1(profile.method, suites, X.public, C_I, eads).encode()
    return AwaitMessage2(profile, suites, C_I, X, schedule.hash_message_1(message_1)), message_1


def suites_after(state: AwaitMessage2, refused: SuitesRefused) -> tuple[int, ...]:
    """Return SUITES_I for a new run after an error message with SUITES_R (6.3); E_SUITE when nothing is left to offer.

    The first of our suites that R runs is selected, and the array names all that we prefer to it, so that R can tell if
    somebody made up the error message.
    """
    preferred = tuple(suite for suite in state.suites if suite not in EDHOC_SUITES) + state.profile.suites
    for count, suite in enumerate(preferred, 1):
        if suite in refused.suites and suite in EDHOC_SUITES:
            if suite == state.suites[-1]:
                break  # R says that it runs what it has just refused
            return preferred[:count]
    raise PeerFault(ErrorCode.E_SUITE, f"no suite in common with {list(refused.suites)}")


def read_message_2(state: AwaitMessage2, message_2: bytes) -> Responding:
    """Return the next state: R has shown that it holds the key of its credential (5.3.3)."""
    try:
        if is_error(message_2):
            raise aborted_by_peer(message_2)
        return _read_message_2(state, message_2)
    except PeerFault as fault:
        raise aborted(2, fault) from fault


def _read_message_2(state: AwaitMessage2, message_2: bytes) -> Responding:
    profile, suite = state.profile, edhoc_suite(state.suites[-1])
    encoded_G_Y, CIPHERTEXT_2 = decode_message_2(message_2)
    G_Y = suite.curve.check(encoded_G_Y)
    TH_2 = schedule.transcript_2(encoded_G_Y, state.H_message_1)
    PRK_2e = schedule.prk_2e(TH_2, state.X.agree(G_Y))
    PLAINTEXT_2 = schedule.xor_keystream_2(PRK_2e, TH_2, CIPHERTEXT_2)
    said = Plaintext2.decode(PLAINTEXT_2)
    if said.C_R == state.C_I:
        raise PeerFault(ErrorCode.E_FORMAT, "both connection identifiers are the same")
    signs = responder_signs(profile.method)
    peer = profile.not_us(profile.peers.find(said.id_cred, suite, signs=signs))
    PRK_3e2m = schedule.prk_3e2m(PRK_2e, TH_2, None if signs else state.X.agree(peer.static_key(suite)))
    head = encode_identifier(said.C_R)
    verify(schedule.mac_2, PRK_3e2m, peer, head, TH_2, said.eads, said.proof, signs=signs)
    heard = profile.heard(said.eads)
    TH_3 = schedule.transcript_3(TH_2, PLAINTEXT_2, peer.cred)
    return Responding(profile, suite, state.C_I, said.C_R, peer, heard, PRK_3e2m, TH_3, G_Y)


def write_message_3(state: Responding, eads: Eads = ()) -> tuple[AwaitMessage4, bytes]:
    """Return the next state, which holds the session, and message_3."""
    profile, suite, TH_3, own = state.profile, state.suite, state.TH_3, state.profile.own
    signed_by = own.signing_key() if initiator_signs(profile.method) else None
    G_IY = own.static_key(suite).agree(state.G_Y) if signed_by is None else None
    PRK_4e3m = schedule.prk_4e3m(state.PRK_3e2m, TH_3, G_IY)
    proof = prove(schedule.mac_3, PRK_4e3m, own, b"", TH_3, eads, signed_by)
    PLAINTEXT_3 = Plaintext3(own.id_cred, proof, eads).encode()
    K_3, IV_3 = schedule.key_3(state.PRK_3e2m, TH_3, suite.aead_key_size, suite.aead.nonce_size)
    message_3 = encode_ciphertext(suite.aead.seal_with(K_3, IV_3, schedule.associated_data(TH_3), PLAINTEXT_3))
    TH_4 = schedule.transcript_4(TH_3, PLAINTEXT_3, own.cred)
    session = Session(True, state.C_I, state.C_R, state.peer, TH_4, schedule.prk_out(PRK_4e3m, TH_4))
    return AwaitMessage4(profile, suite, PRK_4e3m, session), message_3


def read_message_4(state: AwaitMessage4, message_4: bytes) -> tuple[Session, Eads]:
    """Return the session, which R has now shown to share, and the EADs of message_4 (5.5.3)."""
    suite, TH_4 = state.suite, state.session.TH_4
    try:
        if is_error(message_4):
            raise aborted_by_peer(message_4)
        K_4, IV_4 = schedule.key_4(state.PRK_4e3m, TH_4, suite.aead_key_size, suite.aead.nonce_size)
        plaintext = suite.aead.open_with(K_4, IV_4, schedule.associated_data(TH_4), decode_ciphertext(message_4))
        return state.session, state.profile.heard(decode_plaintext_4(plaintext))
    except PeerFault as fault:
        raise aborted(4, fault) from fault
