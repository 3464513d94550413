"""Masked sums: exact whoever drops out, and silent about single readings to a gateway that lies."""

import hashlib
import hmac
import itertools
from dataclasses import dataclass, field
from typing import Any

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.metered import MeteredSuite
from keymote.crypto.suite import SigningKey
from keymote.crypto.suites import suite_by_id
from keymote.engine.group import aggregation, collection
from keymote.engine.group.aggregation import (
    Agreeing,
    AwaitMaskKeys,
    Masking,
    Outcome,
    Ready,
    Reported,
    Revealed,
)
from keymote.engine.group.collection import Collecting, Revealing
from keymote.engine.group.mask_ring import FEWEST_PRESENT, MaskRing
from keymote.engine.group.masks import MODULUS, MOST_READING, Masks
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.group import MaskKeyClaims, bitmap
from keymote.wire.group_signed import read, write
from keymote.wire.masking import MaskAgreeClaims, MaskPresentClaims, MaskReportClaims, MaskRevealClaims

SID, TH1, GW_KID = bytes(range(16)), bytes(range(32)), b"gateway!"
SIZES = sizes_of(1)


@dataclass
class Street:
    """Members that aggregate, and a gateway that may be told to lie."""

    ring: MaskRing
    keys: list[SigningKey]
    gw: SigningKey
    states: list[Masking]
    alarms: list[str] = field(default_factory=list)

    def apply(self, idx: int, outcome: Outcome) -> tuple[bytes, ...]:
        self.states[idx] = outcome.state
        self.alarms += [alarm.name for alarm in outcome.alarms]
        return outcome.sends

    def report(self, idx: int, t: int, reading: int) -> bytes:
        (wire,) = self.apply(idx, aggregation.report(self.states[idx], self.keys[idx], t, reading))
        return wire

    def hear_present(self, idx: int, wire: bytes) -> tuple[bytes, ...]:
        return self.apply(idx, aggregation.hear_present(self.states[idx], self.keys[idx], wire))

    def hear_agreement(self, idx: int, wire: bytes) -> tuple[bytes, ...]:
        return self.apply(idx, aggregation.hear_agreement(self.states[idx], self.keys[idx], wire))

    def bitmap(self, t: int, present: set[int]) -> bytes:
        """Return what a gateway can always sign, true or not."""
        return write(self.gw, MaskPresentClaims(SID[:8], t, bitmap(present)), SID, kid=GW_KID)

    def masks(self, idx: int) -> Masks:
        state = self.states[idx]
        assert not isinstance(state, AwaitMaskKeys)
        return (state if isinstance(state, Ready) else state.ready).masks


def keyed(suite_id: int, n: int, *, least: int = 0, seed: bytes = b"masks") -> tuple[Street, list[bytes]]:
    """Return a street whose mask keys are out and not heard yet."""
    suite, entropy = suite_by_id(suite_id), SeededEntropy(seed)
    keys = [suite.generate_signing_key(entropy) for _ in range(n)]
    gw = suite.generate_signing_key(entropy)
    verify = tuple(suite.verify_key(key.public) for key in keys)
    ring = MaskRing(suite, SID, TH1, verify, GW_KID, suite.verify_key(gw.public), least)
    begun = [aggregation.begin(ring, idx, key, entropy.fork(str(idx))) for idx, key in enumerate(keys)]
    return Street(ring, keys, gw, [outcome.state for outcome in begun]), [outcome.sends[0] for outcome in begun]


def street(suite_id: int = 1, n: int = 5, *, least: int = 0, seed: bytes = b"masks") -> Street:
    made, wires = keyed(suite_id, n, least=least, seed=seed)
    for idx in range(n):
        for wire in wires:
            if isinstance(made.states[idx], AwaitMaskKeys):
                made.states[idx] = aggregation.hear_key(made.states[idx], wire)
    assert all(isinstance(state, Ready) for state in made.states)
    return made


def collected(made: Street, t: int, readings: dict[int, int]) -> tuple[Revealing, dict[int, bytes]]:
    """Return the gateway's state after its bitmap, and the agreements of those present."""
    state = Collecting.begin(made.ring, t)
    for idx, reading in readings.items():
        state = collection.hear_report(state, made.report(idx, t, reading))
    closed = collection.close(state, made.gw)
    return closed, {idx: made.hear_present(idx, closed.wire)[0] for idx in readings}


def revealed(made: Street, agreements: dict[int, bytes]) -> list[bytes]:
    sent: list[bytes] = []
    for idx, (other, wire) in itertools.product(agreements, agreements.items()):
        if other != idx and not isinstance(made.states[idx], Revealed):
            sent += made.hear_agreement(idx, wire)
    return sent


def code_of(call: Any) -> ErrorCode:
    with pytest.raises(PeerFault) as fault:
        call()
    return fault.value.code


def unless_refused(call: Any) -> tuple[bytes, ...]:
    """Return what is sent; nothing where the input is refused for the state."""
    try:
        sent: tuple[bytes, ...] = call()
    except PeerFault as fault:
        if fault.code is not ErrorCode.E_STATE:
            raise
        return ()
    return sent


# ------------------------------------------------------------------ the arithmetic


def mask_by_hand(sid: bytes, ikm: bytes, i: int, j: int, t: int) -> int:
    prk = hmac.new(sid, ikm, hashlib.sha256).digest()
    info = cbor2.dumps(["TRIAD1/B/mask", cbor2.dumps([min(i, j), max(i, j), t]), 8])
    return int.from_bytes(hmac.new(prk, info + b"\x01", hashlib.sha256).digest()[:8], "big")


@pytest.mark.parametrize("suite_id", [1, 17])
def test_GP17_masks_and_reports_are_those_of_the_text(suite_id: int) -> None:
    made, wires = keyed(suite_id, 3)
    scalars = [state.scalar for state in made.states if isinstance(state, AwaitMaskKeys)]
    assert len(scalars) == 3
    for idx in range(3):
        for other, wire in enumerate(wires):
            if other != idx:
                made.states[idx] = aggregation.hear_key(made.states[idx], wire)
    suite, t = made.ring.suite, 96

    def r(i: int, j: int) -> int:
        return mask_by_hand(SID, suite.mul(scalars[i].m, scalars[j].M), i, j, t)

    assert r(0, 1) == r(1, 0) == made.masks(0).shared_mask(1, t) == made.masks(1).shared_mask(0, t)
    b = [mask_by_hand(SID, scalar.own.expose(), idx, idx, t) for idx, scalar in enumerate(scalars)]
    by_hand = [
        (1000 + b[0] + r(0, 1) + r(0, 2)) % 2**64,
        (2000 + b[1] - r(0, 1) + r(1, 2)) % 2**64,
        (3000 + b[2] - r(0, 2) - r(1, 2)) % 2**64,
    ]
    for idx, expected in enumerate(by_hand):
        claims = read(made.report(idx, t, 1000 * (idx + 1)), MaskReportClaims, sizes_of(suite_id)).claims
        assert int.from_bytes(claims.masked, "big") == expected
    assert sum(by_hand) % 2**64 == (6000 + sum(b)) % 2**64


def test_GP17_masks_change_with_period_pair_and_run() -> None:
    made, again = street(), street(seed=b"another epoch")
    masks = made.masks(0)
    several = [masks.own_mask(1), masks.own_mask(2), again.masks(0).own_mask(1)]
    several += [masks.shared_mask(j, t) for j in (1, 2) for t in (1, 2)] + [again.masks(0).shared_mask(1, 1)]
    assert len(set(several)) == len(several)
    with pytest.raises(CallerFault):
        masks.shared_mask(0, 1)


def test_GP17_readings_that_could_pass_2_64_together_are_refused() -> None:
    made = street()
    for reading in (-1, MOST_READING + 1, MODULUS):
        with pytest.raises(CallerFault):
            aggregation.report(made.states[0], made.keys[0], 1, reading)
    assert 32 * MOST_READING < MODULUS


def test_GP17_a_member_multiplies_once_for_each_other() -> None:
    made, wires = keyed(1, 8)
    metered = MeteredSuite(made.ring.suite)
    state = made.states[0]
    assert isinstance(state, AwaitMaskKeys)
    ring = MaskRing(metered, SID, TH1, made.ring.members, GW_KID, made.ring.gw)
    state = AwaitMaskKeys(ring, 0, state.scalar, state.wire, state.heard)
    for wire in wires[1:]:
        state = aggregation.hear_key(state, wire)  # type: ignore[assignment]  # Ready at the last
    assert isinstance(state, Ready)
    assert metered.counts["mul"] == 7


# ------------------------------------------------------------------ mask keys


def test_GP18_a_mask_key_is_its_members_for_this_run() -> None:
    made, wires = keyed(1, 3)
    point = read(wires[1], MaskKeyClaims, SIZES).claims.M
    state = made.states[0]
    for claims, ctx, signer, code in (
        (MaskKeyClaims(SID[:8], 1, point), bytes(32), 1, ErrorCode.E_AUTH),
        (MaskKeyClaims(SID[:8], 1, point), TH1, 2, ErrorCode.E_AUTH),
        (MaskKeyClaims(bytes(8), 1, point), TH1, 1, ErrorCode.E_STATE),
        (MaskKeyClaims(SID[:8], 3, point), TH1, 1, ErrorCode.E_UNKNOWN_ID),
        (MaskKeyClaims(SID[:8], 1, bytes(32)), TH1, 1, ErrorCode.E_POINT),
        (MaskKeyClaims(SID[:8], 1, b"\xff" * 32), TH1, 1, ErrorCode.E_POINT),
    ):
        wire = write(made.keys[signer], claims, ctx)
        assert code_of(lambda wire=wire: aggregation.hear_key(state, wire)) is code
    once = aggregation.hear_key(state, wires[1])
    assert aggregation.hear_key(once, wires[1]) == once, "a repetition"
    other = write(made.keys[1], MaskKeyClaims(SID[:8], 1, read(wires[2], MaskKeyClaims, SIZES).claims.M), TH1)
    assert code_of(lambda: aggregation.hear_key(once, other)) is ErrorCode.E_STATE
    assert code_of(lambda: aggregation.report(once, made.keys[0], 1, 5)) is ErrorCode.E_STATE


def test_GP18_the_scalar_is_forgotten_with_the_last_key() -> None:
    made, wires = keyed(1, 3)
    before = made.states[0]
    assert isinstance(before, AwaitMaskKeys)
    after = aggregation.hear_key(aggregation.hear_key(before, wires[1]), wires[2])
    assert isinstance(after, Ready)
    assert before.scalar.m.expose().hex() not in repr(after)
    assert {type(part).__name__ for part in (after.masks.own, *after.masks.shared)} == {"Secret", "NoneType"}
    assert before.scalar.m not in [part for part in (after.masks.own, *after.masks.shared) if part is not None]


# ------------------------------------------------------------------ sums


@settings(max_examples=15)
@given(
    readings=st.dictionaries(st.integers(0, 7), st.integers(0, MOST_READING), min_size=5),
    order=st.randoms(use_true_random=False),
)
def test_GP19_the_sum_is_exact_whoever_drops_out(readings: dict[int, int], order: Any) -> None:
    made = street(n=8)
    for t in (7, 8):
        state, agreements = collected(made, t, readings)
        reveals = revealed(made, agreements)
        order.shuffle(reveals)
        assert len(reveals) == len(readings)
        for reveal in reveals:
            assert state.total() is None
            state = collection.hear_reveal(state, reveal)
        assert state.total() == sum(readings.values())


@pytest.mark.parametrize(("suite_id", "n"), [(1, 3), (17, 3), (17, 4), (1, 32)])
def test_GP19_sums_in_both_suites_and_the_largest_ring(suite_id: int, n: int) -> None:
    made = street(suite_id, n)
    readings = {idx: MOST_READING - idx for idx in range(n) if n < 6 or idx % 4}
    state, agreements = collected(made, 1, readings)
    for reveal in revealed(made, agreements):
        state = collection.hear_reveal(collection.hear_reveal(state, reveal), reveal)
    assert state.total() == sum(readings.values())
    assert state.missing == ()


def test_GP19_a_member_who_falls_silent_leaves_no_sum_and_no_reading() -> None:
    made = street(n=5)
    state, agreements = collected(made, 1, dict.fromkeys(range(5), 100))
    for reveal in revealed(made, agreements)[1:]:
        state = collection.hear_reveal(state, reveal)
    assert state.missing == (0,)
    assert state.total() is None


def test_GP19_reports_and_reveals_are_their_members_once_and_of_this_period() -> None:
    made = street(n=4)
    fresh = Collecting.begin(made.ring, 1)
    wire = made.report(0, 1, 5)
    once = collection.hear_report(fresh, wire)
    assert collection.hear_report(once, wire) == once
    other = write(made.keys[0], MaskReportClaims(SID[:8], 0, 1, bytes(8)), SID)
    forged = write(made.keys[1], MaskReportClaims(SID[:8], 2, 1, bytes(8)), SID)
    late = write(made.keys[2], MaskReportClaims(SID[:8], 2, 2, bytes(8)), SID)
    assert code_of(lambda: collection.hear_report(once, other)) is ErrorCode.E_STATE
    assert code_of(lambda: collection.hear_report(fresh, forged)) is ErrorCode.E_AUTH
    assert code_of(lambda: collection.hear_report(fresh, late)) is ErrorCode.E_STATE
    assert code_of(lambda: collection.close(once, made.gw)) is ErrorCode.E_STATE

    made = street(n=4)
    state, agreements = collected(made, 1, {0: 1, 1: 2, 2: 3})
    first = revealed(made, agreements)[0]
    claims = read(first, MaskRevealClaims, SIZES).claims
    for changed, signer, code in (
        (MaskRevealClaims(SID[:8], 0, 1, claims.present, bytes(8), bytes(8)), 1, ErrorCode.E_AUTH),
        (MaskRevealClaims(SID[:8], 0, 2, claims.present, bytes(8), bytes(8)), 0, ErrorCode.E_STATE),
        (MaskRevealClaims(SID[:8], 0, 1, bytes(4), bytes(8), bytes(8)), 0, ErrorCode.E_STATE),
        (MaskRevealClaims(SID[:8], 3, 1, claims.present, bytes(8), bytes(8)), 3, ErrorCode.E_STATE),
        (MaskRevealClaims(SID[:8], 0, 1, claims.present, bytes(8), bytes(16)), 0, ErrorCode.E_FORMAT),
        (MaskRevealClaims(SID[:8], 0, 1, claims.present, bytes(8), bytes(7)), 0, ErrorCode.E_FORMAT),
    ):
        wire = write(made.keys[signer], changed, SID)
        assert code_of(lambda wire=wire: collection.hear_reveal(state, wire)) is code
    taken = collection.hear_reveal(state, first)
    again = write(made.keys[0], MaskRevealClaims(SID[:8], 0, 1, claims.present, bytes(8), bytes(8)), SID)
    assert code_of(lambda: collection.hear_reveal(taken, again)) is ErrorCode.E_STATE


# ------------------------------------------------------------------ what a member answers, and how often


def test_GP20_one_report_a_period_and_periods_only_go_up() -> None:
    made = street()
    made.report(0, 5, 1)
    for t in (5, 4, 0):
        assert code_of(lambda t=t: made.report(0, t, 2)) is ErrorCode.E_STATE
    made.report(0, 6, 2)
    late = made.bitmap(5, {0, 1, 2})
    assert code_of(lambda: made.hear_present(0, late)) is ErrorCode.E_STATE


def test_GP20_only_this_runs_gateway_names_who_is_present() -> None:
    made = street()
    made.report(0, 1, 9)
    genuine = MaskPresentClaims(SID[:8], 1, bitmap({0, 1, 2}))
    for wire, code in (
        (write(made.keys[1], genuine, SID, kid=GW_KID), ErrorCode.E_AUTH),
        (write(made.gw, genuine, bytes(16), kid=GW_KID), ErrorCode.E_AUTH),
        (write(made.gw, genuine, SID, kid=b"somebody"), ErrorCode.E_STATE),
        (write(made.gw, MaskPresentClaims(bytes(8), 1, bitmap({0, 1, 2})), SID, kid=GW_KID), ErrorCode.E_STATE),
        (made.bitmap(2, {0, 1, 2}), ErrorCode.E_STATE),
        (made.bitmap(1, {0, 1, 5}), ErrorCode.E_FORMAT),
    ):
        assert code_of(lambda wire=wire: made.hear_present(0, wire)) is code
        assert isinstance(made.states[0], Reported)


def test_GP20_repetitions_get_the_same_bytes() -> None:
    made = street()
    state, agreements = collected(made, 1, dict.fromkeys(range(5), 1))
    assert made.hear_present(0, state.wire) == (agreements[0],)
    reveals = revealed(made, agreements)
    assert made.hear_present(0, state.wire) == (agreements[0],)
    assert made.hear_agreement(0, agreements[1]) == (reveals[0],)
    forged = write(made.keys[2], read(agreements[1], MaskAgreeClaims, SIZES).claims, SID)
    assert code_of(lambda: made.hear_agreement(0, forged)) is ErrorCode.E_AUTH, "a stranger gets no repetition"


def test_GP20_agreements_count_only_if_genuine_and_of_this_period() -> None:
    made = street()
    _, agreements = collected(made, 3, dict.fromkeys(range(5), 1))
    present = bitmap(range(5))
    forged = write(made.keys[1], MaskAgreeClaims(SID[:8], 2, 3, present), SID)
    earlier = write(made.keys[1], MaskAgreeClaims(SID[:8], 1, 2, present), SID)
    assert code_of(lambda: made.hear_agreement(0, forged)) is ErrorCode.E_AUTH
    assert code_of(lambda: made.hear_agreement(0, earlier)) is ErrorCode.E_STATE
    for other in (1, 2, 3, 1, 2, 3):
        assert made.hear_agreement(0, agreements[other]) == ()
    assert isinstance(made.states[0], Agreeing), "member 4 has not agreed"
    assert len(made.hear_agreement(0, agreements[4])) == 1


# ------------------------------------------------------------------ gateways that lie


def known_to_gateway(made: Street, sent: list[bytes]) -> dict[tuple[int, int], int]:
    """Return the masks that reveals give away: (i, j) for r, (i, i) for b."""
    known: dict[tuple[int, int], int] = {}
    for wire in sent:
        claims = read(wire, MaskRevealClaims, SIZES).claims
        absent = [j for j in range(made.ring.n) if not int.from_bytes(claims.present, "big") >> j & 1]
        known[claims.idx, claims.idx] = int.from_bytes(claims.own, "big")
        for at, j in enumerate(absent):
            known[min(claims.idx, j), max(claims.idx, j)] = int.from_bytes(claims.shared[8 * at : 8 * at + 8], "big")
    return known


def exposed(made: Street, victim: int, known: dict[tuple[int, int], int]) -> bool:
    """Tell whether every mask of the victim's report is known."""
    return all((min(victim, j), max(victim, j)) in known for j in range(made.ring.n))


def test_GP21_B24_masks_of_a_member_that_is_present_are_not_revealed() -> None:
    made = street()
    state, agreements = collected(made, 1, dict.fromkeys(range(5), 1))
    known = known_to_gateway(made, revealed(made, agreements))
    assert set(known) == {(i, i) for i in range(5)}, "own masks, and no mask that two share"
    for lie in (made.bitmap(1, {0, 1, 2}), made.bitmap(1, {0, 1, 3, 4})):
        assert code_of(lambda lie=lie: made.hear_present(0, lie)) is ErrorCode.E_STATE
    assert made.hear_present(0, state.wire) == (agreements[0],)


def test_GP21_B24_n_minus_2_colluders_and_the_gateway_isolate_a_reading_which_is_inherent() -> None:
    """The bound of the text: with everybody but i and j colluding, j is called absent and the sum over the rest shows i."""
    made = street(n=5)
    state, agreements = collected(made, 1, {0: 4321, 2: 10, 3: 10, 4: 10})
    for reveal in revealed(made, agreements):
        state = collection.hear_reveal(state, reveal)
    total = state.total()
    assert total is not None
    assert total - 30 == 4321


@pytest.mark.parametrize("present", [{0}, {0, 1}, {0, 1, 2}])
def test_GP21_B24_a_sum_of_too_few_is_not_unmasked(present: set[int]) -> None:
    made = street(n=6)
    assert made.ring.least == 4
    made.report(0, 1, 9)
    assert made.hear_present(0, made.bitmap(1, present)) == ()
    assert made.alarms == ["masked report left out"]
    assert code_of(lambda: made.hear_present(0, made.bitmap(1, set(range(6))))) is ErrorCode.E_STATE, "closed"
    assert MaskRing(made.ring.suite, SID, TH1, made.ring.members[:2], GW_KID, made.ring.gw).least == FEWEST_PRESENT


def test_GP22_B25_a_gateway_that_hides_a_report_does_not_learn_its_reading() -> None:
    made = street(n=5)
    victim, others = 0, {1, 2, 3, 4}
    hidden = read(made.report(victim, 1, 4321), MaskReportClaims, SIZES).claims
    state, agreements = collected(made, 1, dict.fromkeys(others, 10))
    sent = revealed(made, agreements)
    assert len(sent) == 4, "for the others the victim is absent"
    assert made.hear_present(victim, state.wire) == ()
    assert made.alarms == ["masked report left out"]
    for demand in (made.bitmap(1, {0, 1, 2, 3, 4}), made.bitmap(1, {0, 1, 2})):
        assert code_of(lambda demand=demand: made.hear_present(victim, demand)) is ErrorCode.E_STATE
    known = known_to_gateway(made, sent)
    assert not exposed(made, victim, known)
    left = int.from_bytes(hidden.masked, "big") - sum(known[0, j] for j in others)
    assert left % MODULUS == (4321 + made.masks(victim).own_mask(1)) % MODULUS, "its own mask is still on"
    assert (victim, victim) not in known


def test_GP22_B25_a_gateway_that_tells_two_stories_gets_one_answer_at_most() -> None:
    made = street(n=5)
    victim, others = 0, {1, 2, 3, 4}
    for idx in range(5):
        made.report(idx, 1, 100 + idx)
    everybody, without = made.bitmap(1, {0, *others}), made.bitmap(1, others)
    (from_victim,) = made.hear_present(victim, everybody)
    agreements = {idx: made.hear_present(idx, without)[0] for idx in others}
    sent = revealed(made, agreements)
    assert len(sent) == 4
    for idx in others:  # each of their agreements shows the victim that it was lied to
        before = made.states[victim]
        if isinstance(before, Agreeing):
            assert made.hear_agreement(victim, agreements[idx]) == ()
    assert isinstance(made.states[victim], Ready)
    assert made.alarms == ["masked report equivocation"]
    assert made.hear_agreement(1, from_victim) == (), "who has answered learns of it, and answers nothing else"
    assert made.alarms == ["masked report equivocation"] * 2
    assert not exposed(made, victim, known_to_gateway(made, sent))


def test_GP22_B25_whoever_sees_two_stories_first_reveals_nothing() -> None:
    made = street(n=5)
    for idx in range(5):
        made.report(idx, 1, 100 + idx)
    (agreement,) = made.hear_present(1, made.bitmap(1, {1, 2, 3, 4}))
    made.hear_present(2, made.bitmap(1, {0, 1, 2, 3, 4}))
    assert made.hear_agreement(2, agreement) == ()
    assert isinstance(made.states[2], Ready)
    made.report(2, 2, 5)
    assert isinstance(made.states[2], Reported), "the next period is open"


@settings(max_examples=40)
@given(
    stories=st.lists(st.sets(st.integers(0, 4)), min_size=1, max_size=4),
    told=st.lists(st.integers(0, 3), min_size=5, max_size=5),
    order=st.randoms(use_true_random=False),
)
def test_GP22_no_stories_of_a_gateway_take_all_masks_off_one_report(
    stories: list[set[int]], told: list[int], order: Any
) -> None:
    """Whatever bitmap reaches whom, in whatever order, with agreements carried everywhere."""
    made = street(n=5)
    for idx in range(5):
        made.report(idx, 1, idx)
    wires = [made.bitmap(1, story) for story in stories]
    queue = [(idx, wires[story % len(wires)]) for idx, story in enumerate(told)]
    queue += [(idx, wire) for idx in range(5) for wire in wires]
    order.shuffle(queue)
    agreements: list[bytes] = []
    for idx, wire in queue:
        agreements += unless_refused(lambda idx=idx, wire=wire: made.hear_present(idx, wire))
    carried = [(idx, wire) for idx in range(5) for wire in agreements]
    order.shuffle(carried)
    sent: list[bytes] = []
    for idx, wire in carried:
        sent += unless_refused(lambda idx=idx, wire=wire: made.hear_agreement(idx, wire))
    presents = {read(wire, MaskRevealClaims, SIZES).claims.present for wire in sent}
    for victim in range(5):
        known = known_to_gateway(made, sent)
        assert not exposed(made, victim, known)
    assert all(int.from_bytes(present, "big").bit_count() >= made.ring.least for present in presents)
