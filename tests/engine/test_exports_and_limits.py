"""What a session's key becomes elsewhere, and where a key must not be used any more."""

from dataclasses import replace

import pytest

from keymote.crypto.kdf import expand, lexp
from keymote.engine.exports import PskForm, oscore_parameters, psk, psk_identity
from keymote.engine.faces import Protect, Protected, SessionClosed, session_of
from keymote.engine.pairwise.states import AwaitFin, Open
from keymote.errors import ErrorCode
from keymote.lab.scene_founding import two_operators


@pytest.mark.parametrize("suite", [1, 17])
def test_PW32_exports_are_expanded_from_KS_under_the_whole_transcript(suite: int) -> None:
    scene = two_operators(suite=suite)
    scene.sim.adversary = lambda sent: [] if sent.data[:3] == b"\x83\x18\x1b" else [sent]  # FIN2 is lost
    psid = scene.ask("d1", "d2")
    assert scene.sim.run_until(lambda: scene.ready("d2", psid) is not None, 10.0)
    state = scene.session("d1", psid)
    assert isinstance(state, AwaitFin)
    KS, T = state.agreement.KS, state.agreement.T
    ready = scene.ready("d2", psid)
    assert ready is not None
    assert ready.keys.key_id == expand(KS, "A/kid", T, 8)
    assert ready.keys.dtls_psk == lexp(KS, "A/dtls-psk", T, 32)
    assert ready.keys.oscore_ms == lexp(KS, "A/oscore-ms", T, 16)
    assert ready.keys.oscore_salt == expand(KS, "A/oscore-salt", T, 8)
    one, other = (oscore_parameters(psid, ready.keys, initiator=side) for side in (True, False))
    assert (one.sender_id, one.recipient_id) == (b"\x00", b"\x01")
    assert (other.sender_id, other.recipient_id) == (b"\x01", b"\x00")
    assert one.psid == other.psid == psid  # the ID Context
    assert one.secret == other.secret == ready.keys.oscore_ms


def test_PW33_identity_and_both_forms_of_the_psk() -> None:
    scene = two_operators()
    psid = scene.open("d1", "d2")
    ready = scene.ready("d1", psid)
    assert ready is not None
    assert psk_identity(psid, ready.keys) == psid.hex() + ready.keys.key_id.hex()
    assert len(psk_identity(psid, ready.keys)) == 32
    first = ready.keys.dtls_psk.expose()[:16]
    assert psk(ready.keys, PskForm.BINARY16).expose() == first
    assert psk(ready.keys, PskForm.TEXT32).expose() == first.hex().encode()


def test_CM33_a_key_takes_a_million_records_and_no_more() -> None:
    scene = two_operators()
    psid = scene.open("d1", "d2")
    cells = scene.sim.hosts["d1"].cells
    state = cells[session_of(psid)]
    assert isinstance(state, Open)
    cells[session_of(psid)] = replace(state, tx_next=(1 << 20) - 1)
    (last,) = scene.sim.command("d1", session_of(psid), Protect(b"last"))
    assert isinstance(last, Protected)
    (end,) = scene.sim.command("d1", session_of(psid), Protect(b"one too many"))
    assert isinstance(end, SessionClosed)
    assert end.code is ErrorCode.E_LIMIT


@pytest.mark.parametrize(("suite", "most"), [(2, 1 << 16), (1, 1 << 20)])
def test_CM33_forgeries_end_a_key_after_2_16_with_an_8_byte_tag_and_2_20_with_16(suite: int, most: int) -> None:
    scene = two_operators(suite=suite)
    psid = scene.open("d1", "d2")
    record = scene.protect("d1", psid, b"genuine")
    assert record is not None
    cells = scene.sim.hosts["d2"].cells
    forged = record[:-1] + bytes([record[-1] ^ 1])
    cells[session_of(psid)] = replace(cells[session_of(psid)], failures=most - 2)
    scene.sim.inject("d1", "d2", forged)
    scene.sim.run_for(0.1)
    assert isinstance(scene.session("d2", psid), Open)
    scene.sim.inject("d1", "d2", forged)
    scene.sim.run_for(0.1)
    assert scene.session("d2", psid) is None
    assert scene.sim.heard("d2", SessionClosed)[-1].code is ErrorCode.E_LIMIT
