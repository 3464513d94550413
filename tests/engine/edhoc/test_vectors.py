"""Every value of the traces of RFC 9529, computed step by step and by whole runs, and its invalid messages."""

import json
from pathlib import Path
from typing import Any

import pytest

from keymote.crypto.edhoc_suites import EdhocSuite, edhoc_suite
from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.engine.edhoc import initiator, responder, schedule
from keymote.engine.edhoc.credentials import KnownPeers, Own, Peer, peer_of
from keymote.engine.edhoc.faults import Aborted, SuitesRefused
from keymote.engine.edhoc.profile import Profile
from keymote.engine.edhoc.session import Session
from keymote.errors import PeerFault
from keymote.wire.edhoc import (
    Ccs,
    ErrorMessage,
    Message1,
    Plaintext2,
    Plaintext3,
    decode_ciphertext,
    decode_message_2,
    encode_identifier,
)

DOCUMENT = json.loads((Path(__file__).parents[2] / "vectors" / "edhoc-rfc9529.json").read_text())


class Trace:
    """One chapter of RFC 9529: its values as bytes, and both parties made of them."""

    def __init__(self, name: str) -> None:
        document: dict[str, Any] = DOCUMENT[name]
        self.method, self.number = int(document["method"]), int(document["suite"])
        self.suite: EdhocSuite = edhoc_suite(self.number)
        self._values = {key: bytes.fromhex(value) for key, value in document.items() if isinstance(value, str)}

    def __getitem__(self, name: str) -> bytes:
        return self._values[name]

    def secret(self, name: str) -> Secret:
        return Secret(self[name])

    @property
    def signs(self) -> bool:
        return self.method == 0

    def own(self, side: str) -> Own:
        key = (self.suite.signing_key if self.signs else self.suite.curve.private)(self.secret(f"SK_{side}"))
        return Own(self[f"ID_CRED_{side}"], self[f"CRED_{side}"], key)

    def peer(self, side: str) -> Peer:
        key = (self.suite.verify_key if self.signs else self.suite.curve.check)(self[f"PK_{side}"])
        return Peer(self[f"ID_CRED_{side}"], self[f"CRED_{side}"], key)

    def profile(self, side: str) -> Profile:
        return Profile(self.method, self.own(side), KnownPeers([self.peer("IR".replace(side, ""))]), (self.number,))


class Given:
    """The one draw of a trace: an ephemeral private key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def draw(self, n: int) -> bytes:
        assert n == len(self._key)
        return self._key

    def fork(self, label: str) -> Entropy:
        raise AssertionError("nothing forks in a trace")


@pytest.fixture(params=["signatures", "static"])
def trace(request: pytest.FixtureRequest) -> Trace:
    return Trace(request.param)


# ------------------------------------------------------------------ step by step


def test_ED06_transcript_hashes_are_those_of_the_traces(trace: Trace) -> None:
    assert schedule.hash_message_1(trace["message_1"]) == trace["H_message_1"]
    assert schedule.transcript_2(trace["G_Y"], trace["H_message_1"]) == trace["TH_2"]
    assert schedule.transcript_3(trace["TH_2"], trace["PLAINTEXT_2"], trace["CRED_R"]) == trace["TH_3"]
    assert schedule.transcript_4(trace["TH_3"], trace["PLAINTEXT_3"], trace["CRED_I"]) == trace["TH_4"]


def test_ED06_key_pairs_and_products_are_those_of_the_traces(trace: Trace) -> None:
    curve = trace.suite.curve
    X, Y = curve.key_pair(Given(trace["X"])), curve.key_pair(Given(trace["Y"]))
    assert (X.public, Y.public) == (trace["G_X"], trace["G_Y"])
    assert X.agree(curve.check(trace["G_Y"])) == Y.agree(curve.check(trace["G_X"])) == trace["G_XY"]
    if trace.signs:
        for side in "IR":
            assert trace.suite.signing_key(trace.secret(f"SK_{side}")).public == trace[f"PK_{side}"]
        return
    R, I = curve.private(trace.secret("SK_R")), curve.private(trace.secret("SK_I"))  # noqa: E741
    assert (R.public, I.public) == (trace["PK_R"], trace["PK_I"])
    assert R.agree(curve.check(trace["G_X"])) == X.agree(curve.check(trace["PK_R"])) == trace["G_RX"]
    assert I.agree(curve.check(trace["G_Y"])) == Y.agree(curve.check(trace["PK_I"])) == trace["G_IY"]


def test_ED06_pseudorandom_keys_are_those_of_the_traces(trace: Trace) -> None:
    G_RX, G_IY = (None, None) if trace.signs else (trace["G_RX"], trace["G_IY"])
    PRK_2e = schedule.prk_2e(trace["TH_2"], trace["G_XY"])
    PRK_3e2m = schedule.prk_3e2m(PRK_2e, trace["TH_2"], G_RX)
    PRK_4e3m = schedule.prk_4e3m(PRK_3e2m, trace["TH_3"], G_IY)
    PRK_out = schedule.prk_out(PRK_4e3m, trace["TH_4"])
    for name, key in (("2e", PRK_2e), ("3e2m", PRK_3e2m), ("4e3m", PRK_4e3m), ("out", PRK_out)):
        assert key.expose() == trace[f"PRK_{name}"], name
    assert schedule.prk_exporter(PRK_out).expose() == trace["PRK_exporter"]
    if not trace.signs:
        assert schedule.salt_3e2m(PRK_2e, trace["TH_2"]) == trace["SALT_3e2m"]
        assert schedule.salt_4e3m(PRK_3e2m, trace["TH_3"]) == trace["SALT_4e3m"]


def test_ED06_macs_and_signatures_are_those_of_the_traces(trace: Trace) -> None:
    size = len(trace["MAC_2"])
    context_2 = encode_identifier(trace["C_R"]) + schedule.context(
        trace["ID_CRED_R"], trace["TH_2"], trace["CRED_R"], ()
    )
    context_3 = schedule.context(trace["ID_CRED_I"], trace["TH_3"], trace["CRED_I"], ())
    assert schedule.mac_2(trace.secret("PRK_3e2m"), context_2, size) == trace["MAC_2"]
    assert schedule.mac_3(trace.secret("PRK_4e3m"), context_3, size) == trace["MAC_3"]
    if not trace.signs:
        assert (trace["MAC_2"], trace["MAC_3"]) == (trace["Signature_or_MAC_2"], trace["Signature_or_MAC_3"])
        return
    signed_2 = schedule.to_be_signed(trace["ID_CRED_R"], trace["TH_2"], trace["CRED_R"], (), trace["MAC_2"])
    signed_3 = schedule.to_be_signed(trace["ID_CRED_I"], trace["TH_3"], trace["CRED_I"], (), trace["MAC_3"])
    assert signed_2 == trace["to_be_signed_2"]
    assert trace.suite.signing_key(trace.secret("SK_R")).sign(signed_2) == trace["Signature_or_MAC_2"]
    assert trace.suite.signing_key(trace.secret("SK_I")).sign(signed_3) == trace["Signature_or_MAC_3"]


def test_ED06_keys_nonces_and_ciphertexts_are_those_of_the_traces(trace: Trace) -> None:
    aead, size = trace.suite.aead, trace.suite.aead_key_size
    zeros = bytes(len(trace["PLAINTEXT_2"]))
    assert schedule.xor_keystream_2(trace.secret("PRK_2e"), trace["TH_2"], zeros) == trace["KEYSTREAM_2"]
    K_3, IV_3 = schedule.key_3(trace.secret("PRK_3e2m"), trace["TH_3"], size, aead.nonce_size)
    K_4, IV_4 = schedule.key_4(trace.secret("PRK_4e3m"), trace["TH_4"], size, aead.nonce_size)
    assert (K_3.expose(), IV_3) == (trace["K_3"], trace["IV_3"])
    assert (K_4.expose(), IV_4) == (trace["K_4"], trace["IV_4"])
    assert schedule.associated_data(trace["TH_3"]) == trace["A_3"]
    assert schedule.associated_data(trace["TH_4"]) == trace["A_4"]
    opened = aead.open_with(K_3, IV_3, trace["A_3"], decode_ciphertext(trace["message_3"]))
    assert opened == trace["PLAINTEXT_3"]
    assert aead.open_with(K_4, IV_4, trace["A_4"], decode_ciphertext(trace["message_4"])) == b""


def test_ED01_messages_and_plaintexts_encode_and_decode_as_in_the_traces(trace: Trace) -> None:
    suites = (trace.number,) if trace.signs else (6, 2)
    message_1 = Message1(trace.method, suites, trace["G_X"], trace["C_I"])
    assert (message_1.encode(), Message1.decode(trace["message_1"])) == (trace["message_1"], message_1)
    assert decode_message_2(trace["message_2"])[0] == trace["G_Y"]
    plaintext_2 = Plaintext2(trace["C_R"], trace["ID_CRED_R"], trace["Signature_or_MAC_2"])
    plaintext_3 = Plaintext3(trace["ID_CRED_I"], trace["Signature_or_MAC_3"])
    assert (plaintext_2.encode(), Plaintext2.decode(trace["PLAINTEXT_2"])) == (trace["PLAINTEXT_2"], plaintext_2)
    assert (plaintext_3.encode(), Plaintext3.decode(trace["PLAINTEXT_3"])) == (trace["PLAINTEXT_3"], plaintext_3)


# ------------------------------------------------------------------ whole runs


def check_session(trace: Trace, session: Session) -> None:
    assert trace["TH_4"] == session.TH_4
    assert session.PRK_out.expose() == trace["PRK_out"]
    oscore = session.oscore()
    assert (oscore.master_secret.expose(), oscore.master_salt) == (trace["oscore_secret"], trace["oscore_salt"])
    ids = (trace["client_sender_id"], trace["server_sender_id"])
    assert (oscore.sender_id, oscore.recipient_id) == (ids if session.initiator else ids[::-1])
    updated = session.updated(trace["update_context"])
    assert updated.PRK_out.expose() == trace["updated_PRK_out"]
    assert updated.PRK_exporter.expose() == trace["updated_PRK_exporter"]
    assert updated.exporter(0, b"", 16) == trace["updated_oscore_secret"]
    assert updated.exporter(1, b"", 8) == trace["updated_oscore_salt"]


def test_ED06_both_sides_say_what_the_traces_say(trace: Trace) -> None:
    suites = (trace.number,) if trace.signs else (6, 2)
    awaiting, message_1 = initiator.begin(trace.profile("I"), trace["C_I"], Given(trace["X"]), suites=suites)
    assert message_1 == trace["message_1"]
    called = responder.read_message_1(trace.profile("R"), message_1)
    waiting, message_2 = responder.write_message_2(called, trace["C_R"], Given(trace["Y"]))
    assert message_2 == trace["message_2"]
    answering = initiator.read_message_2(awaiting, message_2)
    last, message_3 = initiator.write_message_3(answering)
    assert message_3 == trace["message_3"]
    finished = responder.read_message_3(waiting, message_3)
    assert responder.write_message_4(finished) == trace["message_4"]
    session, eads = initiator.read_message_4(last, trace["message_4"])
    assert eads == ()
    check_session(trace, session)
    check_session(trace, finished.session)


def test_ED03_the_first_call_of_the_trace_is_refused_as_there() -> None:
    trace = Trace("static")
    with pytest.raises(SuitesRefused) as refused:
        responder.read_message_1(trace.profile("R"), trace["first_message_1"])
    assert refused.value.reply == trace["error"]
    assert ErrorMessage.decode(trace["error"]) == ErrorMessage(2, (2,))


def test_ED08_the_credentials_of_the_trace_hold_the_keys_of_the_trace() -> None:
    trace = Trace("static")
    for side in "IR":
        claims = Ccs.decode(trace[f"CRED_{side}"])
        assert claims.kid == trace[f"ID_CRED_{side}"][3:]
        assert peer_of(claims, trace[f"ID_CRED_{side}"], trace.suite, signs=False) == trace.peer(side)


# ------------------------------------------------------------------ what must be refused


@pytest.mark.parametrize("case", DOCUMENT["invalid"], ids=lambda case: case["section"])
def test_ED01_ED05_the_invalid_messages_of_the_traces_are_refused(case: dict[str, str]) -> None:
    data = bytes.fromhex(case["bytes"])
    static = Trace("static")
    match case["what"]:
        case "PLAINTEXT_2":
            with pytest.raises(PeerFault):
                Plaintext2.decode(data)
        case "message_2":
            awaiting, _ = initiator.begin(static.profile("I"), static["C_I"], Given(static["X"]))
            with pytest.raises(Aborted):
                initiator.read_message_2(awaiting, data)
        case _:
            profile = static.profile("R")
            if data[1] == 0:  # the one trace over X25519
                own = Own(b"\xa1\x04\x41\x07", b"\xa0", edhoc_suite(0).curve.private(Secret(bytes(range(32)))))
                profile = Profile(3, own, KnownPeers([]), (0,))
            with pytest.raises(Aborted):
                responder.write_message_2(responder.read_message_1(profile, data), b"\x02", Given(bytes([7] * 32)))
