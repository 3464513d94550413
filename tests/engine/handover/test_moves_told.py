"""Moves that a home broker's agent tells the trusted system, for the audit (HO-18)."""

from dataclasses import replace

import pytest
from handover_stage import CLIENT, TRUSTED, Ward
from test_handover import A, B, C, hand_over

from keymote.crypto.secret import Secret
from keymote.engine.base import Received, Refused
from keymote.engine.handover.faces import HandedOver, home_of
from keymote.engine.handover.home_states import (
    MOST_CONNECTS,
    MOST_NOTICES,
    MOST_OVER,
    Away,
    Held,
    HomeCell,
    Notice,
)
from keymote.engine.handover.moves_cell import MOST_MOVES, ClientMoved, ForgetMoves, moves_of
from keymote.engine.handover.node import agent_node
from keymote.engine.handover.reporting import MOST_UNTOLD, UNTOLD_S, note, open_move, with_move
from keymote.errors import ErrorCode
from keymote.wire.fields import sizes_of
from keymote.wire.handover import HoMoved, HoNoted, MoveBody
from keymote.wire.registry import peek
from keymote.wire.topic import SUBSCRIBE, Right, TicketBody


@pytest.fixture
def ward() -> Ward:
    made = Ward()
    made.tell_trusted()
    made.connect()
    return made


def told(ward: Ward) -> list[bytes]:
    return [data for data in ward.carried if peek(data)[0] == HoMoved.mt]


def kept(ward: Ward) -> list[tuple[bytes, bytes, int]]:
    cell = ward.trusted.get(moves_of(A))
    return [] if cell is None else [(move.origin, move.to, move.ho_ctr) for move in cell.moves]


def test_HO18_each_move_is_told_and_noted_once(ward: Ward) -> None:
    hand_over(ward, "B", 1)
    hand_over(ward, "B", 2)  # it has asked the same broker again: no move
    hand_over(ward, "C", 3)
    ward.connect()
    assert kept(ward) == [(A, B, 1), (B, C, 3), (C, A, 3)]
    assert [report.move.client_id for report in ward.trusted.reports if isinstance(report, ClientMoved)] == [CLIENT] * 3
    assert ward.home().untold == ()
    ward.pass_time(31)
    assert len(told(ward)) == len(ward["A"].reported(HandedOver)) == 3


def test_HO18_what_was_not_noted_is_said_again_in_the_same_bytes_also_after_reboots(ward: Ward) -> None:
    ward.lost.add(TRUSTED)
    hand_over(ward, "B", 1)
    ward["A"].reboot()
    ward.lost.clear()
    ward.pass_time(31)
    first, *again = told(ward)
    assert again and set(again) == {first}
    assert kept(ward) == [(A, B, 1)] and ward.home().untold == ()
    ward.trusted.reboot()
    ward.carry("A", [])
    ward.trusted.take(Received("A", first))
    assert kept(ward) == [(A, B, 1)], "noted again, kept once"


def test_HO18_a_trusted_system_that_is_away_costs_little_and_not_for_ever(ward: Ward) -> None:
    ward.lost.add(TRUSTED)
    for number in range(1, MOST_UNTOLD + 3):
        hand_over(ward, "BC"[number % 2], number)
    assert [each.ho_ctr for each in ward.home().untold] == list(range(3, MOST_UNTOLD + 3))
    ward.pass_time(UNTOLD_S)
    assert ward.home().untold == ()


def test_HO18_nobody_else_reads_or_notes_a_move(ward: Ward) -> None:
    ward.lost.add(TRUSTED)
    hand_over(ward, "B", 1)
    (data,) = told(ward)
    assert CLIENT not in data and B not in data
    (untold,) = ward.home().untold
    for answer in (
        HoNoted(CLIENT, 1, bytes(16)).encode(),
        note(ward.shared["B"], data, open_move(ward.shared["A"], data)),
        note(ward.shared["A"], data, open_move(ward.shared["A"], data))[:-1] + b"x",
    ):
        ward["A"].take(Received("stranger", answer))
        assert ward.home().untold == (untold,)
    assert ward["A"].refusals()[-3:] == [ErrorCode.E_AUTH] * 3
    ward["A"].take(Received("stranger", HoNoted(b"nobody--", 1, bytes(16)).encode()))
    assert ward["A"].refusals()[-1] is ErrorCode.E_STATE
    assert home_of(b"nobody--") not in ward["A"].cells


def test_HO18_a_trusted_system_believes_its_own_brokers_alone(ward: Ward) -> None:
    move = MoveBody(CLIENT, A, B, 1, 1_800_000_000)
    (forged,) = with_move((), Secret(bytes(32)), A, move, ward.entropy)
    (stranger,) = with_move((), Secret(bytes(32)), b"stranger", move, ward.entropy)
    (own,) = with_move((), ward.shared["B"], B, move, ward.entropy)
    message = HoMoved.decode(own.data, sizes_of(1))
    spliced = replace(message, broker_id=A).encode()
    for data in (forged.data, stranger.data, spliced, own.data[:-1] + b"x"):
        assert ward.trusted.take(Received("A", data)) == []
    codes = [report.code for report in ward.trusted.reports if isinstance(report, Refused)]
    assert codes == [ErrorCode.E_AUTH, ErrorCode.E_UNKNOWN_ID, ErrorCode.E_AUTH, ErrorCode.E_AUTH]
    assert ward.trusted.cells == {}, "a stranger leaves nothing behind"


def test_HO18_the_last_moves_are_kept_and_fit_on_the_disk(ward: Ward) -> None:
    for number in range(1, MOST_MOVES + 10):
        hand_over(ward, "BC"[number % 2], number)
    assert [ho_ctr for _, _, ho_ctr in kept(ward)] == list(range(10, MOST_MOVES + 10))
    record = ward.trusted.node.kinds["moves"].record(ward.trusted.get(moves_of(A)))
    assert record is not None and len(record) <= ward.trusted.node.kinds["moves"].most_record
    before = kept(ward)
    ward.trusted.reboot()
    assert kept(ward) == before
    ward.trusted.take(ForgetMoves(), moves_of(A))  # the broker was removed
    ward.trusted.reboot()
    assert kept(ward) == []


def test_HO18_an_agent_that_knows_no_address_tells_nobody() -> None:
    ward = Ward()
    ward.connect()
    hand_over(ward, "B", 1)
    assert told(ward) == [] and ward.home().untold == ()


def test_HO18_a_client_of_which_all_is_kept_fits_on_the_disk(ward: Ward) -> None:
    rights = tuple(Right(f"{number:02}/" + "x" * 51, SUBSCRIBE) for number in range(16))
    body = TicketBody(CLIENT, bytes(32), rights, 2**32 - 1, bytes(8))
    assert 950 < len(body.encode()) <= 1024 - 16
    nonces = tuple(number.to_bytes(8) for number in range(MOST_CONNECTS))
    away = Away(B, 2**32 - 1, Secret(bytes(32)), True)
    held = Held(CLIENT, bytes(8), Secret(bytes(32)), rights, 2**33, nonces, bytes(16), 2**32 - 1, away)
    notice = Notice(B, 2**32 - 1, Secret(bytes(32)), bytes(64), 2**33)
    move, untold = MoveBody(CLIENT, A, B, 2**32 - 1, 2**33), ()
    for _ in range(MOST_UNTOLD):
        untold = with_move(untold, ward.shared["A"], A, move, ward.entropy)
    cell = HomeCell((bytes(8),) * MOST_OVER, held, (notice,) * MOST_NOTICES, untold)
    kind = agent_node(ward["A"].context).kinds["home"]
    data = kind.record(cell)
    assert data is not None and 2048 < len(data) <= kind.most_record
    assert kind.load is not None and kind.load(CLIENT, data) == cell
