"""Whole runs of EDHOC between our own two sides: what must come out, and what must end them."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import Pair, Party, pair, party

from keymote.crypto.entropy import SeededEntropy
from keymote.engine.edhoc import initiator, responder
from keymote.engine.edhoc.credentials import KnownPeers
from keymote.engine.edhoc.faults import Aborted, SuitesRefused
from keymote.engine.edhoc.profile import Profile
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.edhoc import Ead, ErrorMessage, Message1

every_method = pytest.mark.parametrize("method", [0, 1, 2, 3])
both_suites = pytest.mark.parametrize("suite", [0, 2])
REFUSED_2 = ErrorMessage(1, "message_2 refused").encode()


def entropy() -> SeededEntropy:
    return SeededEntropy(b"a run")


# ------------------------------------------------------------------ what comes out


@every_method
@both_suites
@pytest.mark.parametrize("by_value", [False, True])
def test_ED12_both_sides_hold_the_same_keys(method: int, suite: int, by_value: bool) -> None:
    one, other, _ = pair(method, suite, by_value=by_value).run()
    assert one.PRK_out == other.PRK_out
    assert one.exporter(40000, b"context", 100) == other.exporter(40000, b"context", 100)
    assert one.updated(b"news").PRK_out == other.updated(b"news").PRK_out
    assert one.updated(b"news").PRK_out != other.updated(b"other news").PRK_out != one.PRK_out
    mine, theirs = one.oscore(), other.oscore()
    assert (mine.master_secret, mine.master_salt) == (theirs.master_secret, theirs.master_salt)
    assert (mine.sender_id, mine.recipient_id) == (theirs.recipient_id, theirs.sender_id)


@pytest.mark.parametrize(
    ("method", "sizes"), [(0, [37, 102, 77, 9]), (3, [37, 45, 19, 9])], ids=["signatures", "static keys"]
)
def test_ED14_messages_are_as_short_as_the_standard_allows(method: int, sizes: list[int]) -> None:
    for suite in (0, 2):
        assert [len(message) for message in pair(method, suite).run()[2]] == sizes


def test_ED12_labels_and_lengths_out_of_range_are_refused() -> None:
    session, _, _ = pair(3, 0).run()
    for label, length in ((-1, 16), (0, 0), (0, 8161)):
        with pytest.raises(CallerFault):
            session.exporter(label, b"", length)


@given(C_I=st.binary(max_size=8), C_R=st.binary(max_size=8))
def test_ED02_any_two_connection_identifiers_are_carried(C_I: bytes, C_R: bytes) -> None:
    both = pair(3, 0)
    if C_I == C_R:
        with pytest.raises(CallerFault):
            both.run(C_I=C_I, C_R=C_R)
        return
    one, other, _ = both.run(C_I=C_I, C_R=C_R)
    assert (one.C_I, one.C_R) == (other.C_I, other.C_R) == (C_I, C_R)


def test_ED10_an_initiator_refuses_its_own_identifier_from_the_responder() -> None:
    both = pair(3, 0)
    awaiting, message_1 = initiator.begin(both.I, b"\x01", entropy())
    called = replace(responder.read_message_1(both.R, message_1), C_I=b"\x09")
    _, message_2 = responder.write_message_2(called, b"\x01", entropy())
    with pytest.raises(Aborted, match="identifiers"):
        initiator.read_message_2(awaiting, message_2)


# ------------------------------------------------------------------ external authorization data


def test_ED09_ead_reaches_the_other_side_and_is_bound_to_the_run() -> None:
    both = pair(0, 0, understands=frozenset({40000, 40001}))
    awaiting, message_1 = initiator.begin(both.I, b"\x01", entropy(), eads=(Ead(-40000, b"in clear"), Ead(0, bytes(9))))
    called = responder.read_message_1(both.R, message_1)
    assert called.eads == (Ead(40000, b"in clear"),)
    waiting, message_2 = responder.write_message_2(called, b"\x02", entropy(), (Ead(40001),))
    answering = initiator.read_message_2(awaiting, message_2)
    assert answering.eads == (Ead(40001, None),)
    last, message_3 = initiator.write_message_3(answering, (Ead(-40001, b"sealed"),))
    finished = responder.read_message_3(waiting, message_3)
    assert finished.eads == (Ead(40001, b"sealed"),)
    _, eads = initiator.read_message_4(last, responder.write_message_4(finished, (Ead(40000, b"x"), Ead(7, b"y"))))
    assert eads == (Ead(40000, b"x"),)


@pytest.mark.parametrize("message", [1, 2, 3, 4])
def test_ED09_a_critical_ead_that_is_unknown_ends_the_run(message: int) -> None:
    both = pair(3, 0)
    critical = tuple((Ead(-99, b"must be heard"),) if number == message else () for number in (1, 2, 3, 4))
    with pytest.raises(Aborted, match="99"):
        both.run(critical)
    harmless = tuple((Ead(99, b"may be heard"),) if number == message else () for number in (1, 2, 3, 4))
    both.run(harmless)


def test_ED09_a_changed_ead_of_message_1_shows_at_the_initiator() -> None:
    both = pair(3, 0)
    awaiting, message_1 = initiator.begin(both.I, b"\x01", entropy(), eads=(Ead(9, b"true"),))
    call = Message1.decode(message_1)
    forged = call._replace(eads=(Ead(9, b"false"),)).encode()
    _, message_2 = responder.write_message_2(responder.read_message_1(both.R, forged), b"\x02", entropy())
    with pytest.raises(Aborted):
        initiator.read_message_2(awaiting, message_2)


# ------------------------------------------------------------------ negotiation


def two_suites(method: int) -> tuple[Profile, Profile]:
    """An initiator that prefers suite 0 and has a key of suite 2 for it, and a responder that runs suite 2 alone."""
    one, other = party(2, signs=False, name="initiator"), party(2, signs=False, name="responder")
    return (
        Profile(method, one.own, KnownPeers([other.seen]), (0, 2)),
        Profile(method, other.own, KnownPeers([one.seen]), (2,)),
    )


def test_ED03_ED04_the_initiator_begins_anew_with_the_first_suite_in_common() -> None:
    I, R = two_suites(3)  # noqa: E741
    awaiting, message_1 = initiator.begin(I, b"\x01", entropy())
    with pytest.raises(SuitesRefused) as at_responder:
        responder.read_message_1(R, message_1)
    with pytest.raises(SuitesRefused) as at_initiator:
        initiator.read_message_2(awaiting, at_responder.value.reply)
    assert at_initiator.value.suites == (2,)
    assert at_initiator.value.reply == b""
    suites = initiator.suites_after(awaiting, at_initiator.value)
    assert suites == (0, 2)
    again, message_1 = initiator.begin(I, b"\x01", entropy(), suites=suites)
    waiting, message_2 = responder.write_message_2(responder.read_message_1(R, message_1), b"\x02", entropy())
    last, message_3 = initiator.write_message_3(initiator.read_message_2(again, message_2))
    assert responder.read_message_3(waiting, message_3).session.PRK_out == last.session.PRK_out


@pytest.mark.parametrize("suites", [(5,), (0,), (24, 0)], ids=["none in common", "the refused one", "both"])
def test_ED04_the_initiator_gives_up_when_nothing_is_left_to_offer(suites: tuple[int, ...]) -> None:
    I, _ = two_suites(3)  # noqa: E741
    awaiting, _ = initiator.begin(I, b"\x01", entropy())
    with pytest.raises(PeerFault) as refused:
        initiator.suites_after(awaiting, SuitesRefused("", b"", suites))
    assert refused.value.code is ErrorCode.E_SUITE


def test_ED03_the_responder_refuses_a_suite_when_it_runs_one_that_was_preferred() -> None:
    both = pair(3, 2)
    R = replace(both.R, suites=(0, 2))
    _, message_1 = initiator.begin(replace(both.I, suites=(0, 2)), b"\x01", entropy(), suites=(0, 2))
    with pytest.raises(SuitesRefused) as refused:
        responder.read_message_1(R, message_1)
    assert ErrorMessage.decode(refused.value.reply) == ErrorMessage(2, (0, 2))


def test_ED03_an_error_that_somebody_made_up_shows_in_the_transcript() -> None:
    """A forger strips the preferred suite from SUITES_I so that R answers: I computes another TH_2."""
    I, R = two_suites(3)  # noqa: E741
    awaiting, message_1 = initiator.begin(I, b"\x01", entropy(), suites=(0, 2))
    stripped = Message1.decode(message_1)._replace(suites=(2,)).encode()
    _, message_2 = responder.write_message_2(responder.read_message_1(R, stripped), b"\x02", entropy())
    with pytest.raises(Aborted):
        initiator.read_message_2(awaiting, message_2)


def test_ED03_another_method_is_refused() -> None:
    _, message_1 = initiator.begin(pair(0, 0).I, b"\x01", entropy())
    with pytest.raises(Aborted) as refused:
        responder.read_message_1(pair(3, 0).R, message_1)
    assert refused.value.code is ErrorCode.E_SUITE


def test_profiles_of_suites_that_we_do_not_run_are_refused() -> None:
    own = party(0, signs=False, name="x").own
    with pytest.raises(CallerFault):
        Profile(3, own, KnownPeers([]), (6,))
    with pytest.raises(CallerFault):
        initiator.begin(Profile(4, own, KnownPeers([]), (0,)), b"", entropy())


# ------------------------------------------------------------------ credentials and proofs


def states(both: Pair) -> tuple[initiator.AwaitMessage2, responder.AwaitMessage3, bytes]:
    awaiting, message_1 = initiator.begin(both.I, b"\x01", entropy())
    waiting, message_2 = responder.write_message_2(responder.read_message_1(both.R, message_1), b"\x02", entropy())
    return awaiting, waiting, message_2


def test_ED08_an_unknown_credential_is_error_3_at_either_side() -> None:
    both = pair(3, 0)
    awaiting, waiting, message_2 = states(both)
    with pytest.raises(Aborted) as refused:
        initiator.read_message_2(replace(awaiting, profile=replace(both.I, peers=KnownPeers([]))), message_2)
    assert refused.value.reply == bytes.fromhex("03f5")
    _, message_3 = initiator.write_message_3(initiator.read_message_2(awaiting, message_2))
    with pytest.raises(Aborted) as refused:
        responder.read_message_3(replace(waiting, profile=replace(both.R, peers=KnownPeers([]))), message_3)
    assert (refused.value.code, refused.value.reply) == (ErrorCode.E_CRED, bytes.fromhex("03f5"))


def test_ED08_a_credential_by_value_is_accepted_by_policy_alone() -> None:
    both = pair(3, 2, by_value=True)
    awaiting, _, message_2 = states(both)
    initiator.read_message_2(awaiting, message_2)
    with pytest.raises(Aborted, match="neither known nor accepted"):
        initiator.read_message_2(replace(awaiting, profile=replace(both.I, peers=KnownPeers([]))), message_2)


def test_ED08_our_own_credential_reflected_is_refused() -> None:
    one = party(0, signs=False, name="same")
    alone = Profile(3, one.own, KnownPeers([one.seen]), (0,))
    awaiting, _, message_2 = states(Pair(alone, alone))
    with pytest.raises(Aborted, match="our own"):
        initiator.read_message_2(awaiting, message_2)


@every_method
@both_suites
def test_ED07_another_key_behind_the_same_reference_is_refused(method: int, suite: int) -> None:
    both = pair(method, suite)

    def other(name: str, *, signs: bool) -> Party:
        return party(suite, signs=signs, name=name)

    awaiting, waiting, message_2 = states(both)
    R_signs, I_signs = method in (0, 2), method in (0, 1)
    true_R, false_R = other("responder", signs=R_signs).seen, other("rresponder", signs=R_signs).seen
    for wrong in (replace(true_R, key=false_R.key), replace(true_R, cred=false_R.cred)):
        with pytest.raises(Aborted):
            initiator.read_message_2(
                replace(awaiting, profile=replace(both.I, peers=KnownPeers([replace(wrong, id_cred=true_R.id_cred)]))),
                message_2,
            )
    _, message_3 = initiator.write_message_3(initiator.read_message_2(awaiting, message_2))
    true_I, false_I = other("initiator", signs=I_signs).seen, other("iinitiator", signs=I_signs).seen
    for wrong in (replace(true_I, key=false_I.key), replace(true_I, cred=false_I.cred)):
        with pytest.raises(Aborted) as refused:
            responder.read_message_3(replace(waiting, profile=replace(both.R, peers=KnownPeers([wrong]))), message_3)
        assert refused.value.code is ErrorCode.E_AUTH


@pytest.mark.parametrize("method", [0, 3])
def test_ED07_a_credential_of_the_other_kind_is_refused(method: int) -> None:
    both = pair(method, 0)
    awaiting, _, message_2 = states(both)
    wrong = replace(party(0, signs=method == 3, name="responder").seen, id_cred=both.R.own.id_cred)
    with pytest.raises(Aborted) as refused:
        initiator.read_message_2(replace(awaiting, profile=replace(both.I, peers=KnownPeers([wrong]))), message_2)
    assert refused.value.code is ErrorCode.E_CRED


def test_a_method_that_our_credential_does_not_fit_is_the_callers_fault() -> None:
    signing, static = pair(0, 0), pair(3, 0)
    awaiting, message_1 = initiator.begin(static.I, b"\x01", entropy())
    called = responder.read_message_1(replace(static.R, own=signing.R.own), message_1)
    with pytest.raises(CallerFault):
        responder.write_message_2(called, b"\x02", entropy())
    answering = initiator.read_message_2(*states_of(static, awaiting, message_1))
    with pytest.raises(CallerFault):
        initiator.write_message_3(replace(answering, profile=replace(static.I, own=signing.I.own)))


def states_of(both: Pair, awaiting: initiator.AwaitMessage2, message_1: bytes) -> tuple[initiator.AwaitMessage2, bytes]:
    _, message_2 = responder.write_message_2(responder.read_message_1(both.R, message_1), b"\x02", entropy())
    return awaiting, message_2


# ------------------------------------------------------------------ ends


@pytest.mark.parametrize("method", [0, 3])
@pytest.mark.parametrize("suite", [0, 2])
@given(data=st.data())
def test_ED11_one_changed_byte_ends_the_run_and_leaves_the_state(method: int, suite: int, data: st.DataObject) -> None:
    both = pair(method, suite)
    awaiting, waiting, message_2 = states(both)
    last, message_3 = initiator.write_message_3(initiator.read_message_2(awaiting, message_2))
    finished = responder.read_message_3(waiting, message_3)
    message_4 = responder.write_message_4(finished)
    receivers: dict[bytes, Callable[[bytes], object]] = {
        message_2: lambda bad: initiator.read_message_2(awaiting, bad),
        message_3: lambda bad: responder.read_message_3(waiting, bad),
        message_4: lambda bad: initiator.read_message_4(last, bad),
    }
    message = data.draw(st.sampled_from(list(receivers)))
    at, bit = data.draw(st.integers(0, len(message) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(message)
    changed[at] ^= 1 << bit
    with pytest.raises(Aborted):
        receivers[message](bytes(changed))
    receivers[message](message)


@given(junk=st.binary(max_size=200))
def test_ED11_nothing_but_aborted_comes_out_of_junk(junk: bytes) -> None:
    both = pair(3, 0)
    awaiting, waiting, message_2 = states(both)
    last, _ = initiator.write_message_3(initiator.read_message_2(awaiting, message_2))
    for read in (
        lambda: responder.read_message_1(both.R, junk),
        lambda: initiator.read_message_2(awaiting, junk),
        lambda: responder.read_message_3(waiting, junk),
        lambda: initiator.read_message_4(last, junk),
    ):
        with pytest.raises(Aborted):
            read()


def test_ED11_the_peer_learns_which_message_was_refused_and_no_reason() -> None:
    both = pair(3, 0)
    awaiting, _, message_2 = states(both)
    replies = set()
    for bad in (message_2[:-1] + b"\x00", message_2[:30], b"\x40", b"\x58\x20" + bytes(32)):
        with pytest.raises(Aborted) as refused:
            initiator.read_message_2(awaiting, bad)
        replies.add(refused.value.reply)
    assert replies == {REFUSED_2}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ErrorMessage(1, "sorry"), ErrorCode.E_STATE),
        (ErrorMessage(3, True), ErrorCode.E_CRED),
        (ErrorMessage(77, [1, 2]), ErrorCode.E_STATE),
        (ErrorMessage(2, (5,)), ErrorCode.E_SUITE),
    ],
    ids=lambda case: str(case)[:30],
)
def test_ED11_an_error_message_ends_the_run_and_is_not_answered(error: ErrorMessage, code: ErrorCode) -> None:
    both = pair(3, 0)
    awaiting, waiting, message_2 = states(both)
    last, _ = initiator.write_message_3(initiator.read_message_2(awaiting, message_2))
    for read, state in (
        (initiator.read_message_2, awaiting),
        (responder.read_message_3, waiting),
        (initiator.read_message_4, last),
    ):
        with pytest.raises(Aborted) as ended:
            read(state, error.encode())  # type: ignore[arg-type]
        assert (ended.value.code, ended.value.reply) == (code, b"")


def test_ED13_message_4_of_another_run_confirms_nothing() -> None:
    both = pair(3, 0)
    awaiting, _, message_2 = states(both)
    last, _ = initiator.write_message_3(initiator.read_message_2(awaiting, message_2))
    *_, message_4 = both.run()[2]
    with pytest.raises(Aborted) as refused:
        initiator.read_message_4(last, message_4)
    assert refused.value.code is ErrorCode.E_AUTH


def test_secrets_hide_in_every_state() -> None:
    both = pair(3, 2)
    awaiting, waiting, message_2 = states(both)
    answering = initiator.read_message_2(awaiting, message_2)
    last, message_3 = initiator.write_message_3(answering)
    finished = responder.read_message_3(waiting, message_3)
    shown = repr((awaiting, waiting, answering, last, finished))
    for secret in (waiting.PRK_3e2m, last.PRK_4e3m, last.session.PRK_out, last.session.PRK_exporter):
        assert secret.expose().hex() not in shown
        assert repr(secret.expose()) not in shown
