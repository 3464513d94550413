"""Conflicts that show when a gateway's link returns, by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymote.engine.policy.conflicts import (
    Conflict,
    ConflictKind,
    Enrolment,
    EpochSeen,
    Revocation,
    RosterSeen,
    conflicts,
)

GID, OTHER = b"\x01" * 8, b"\x02" * 8
GW1, GW2 = b"gateway1", b"gateway2"
A, B, C = b"meter-a.", b"meter-b.", b"meter-c."


def epoch(number: int, *members: bytes, gateway: bytes = GW1, key: bytes = b"k1", began_ms: int = 1000) -> EpochSeen:
    return EpochSeen(GID, gateway, number, key, frozenset(members), began_ms)


def test_PO12_a_meter_that_was_revoked_meanwhile_is_named() -> None:
    seen = [epoch(4, A, B, C, began_ms=900), epoch(5, A, B, C, began_ms=1000), epoch(6, A, C, began_ms=2000)]
    found = conflicts(epochs=seen, revocations=[Revocation(B, 1000), Revocation(B, 5000)])
    assert found == [Conflict(ConflictKind.REVOKED_MEMBER, GID, 5, (GW1,), (B,))]
    assert str(found[0]) == f"epoch 5 was begun at {GW1.hex()} with {B.hex()}, revoked before"


@pytest.mark.parametrize(
    ("second", "conflict"),
    [
        (RosterSeen(GID, GW2, 7, b"two"), True),
        (RosterSeen(GID, GW1, 7, b"two"), True),
        (RosterSeen(GID, GW2, 7, b"one"), False),
        (RosterSeen(GID, GW1, 8, b"two"), False),
        (RosterSeen(OTHER, GW2, 7, b"two"), False),
    ],
)
def test_PO12_two_rosters_of_one_version(second: RosterSeen, conflict: bool) -> None:
    found = conflicts(rosters=[RosterSeen(GID, GW1, 7, b"one"), second])
    parties = tuple(sorted({GW1, second.gateway}))
    assert found == ([Conflict(ConflictKind.TWO_ROSTERS, GID, 7, parties, ())] if conflict else [])


def test_GL08_a_roster_with_somebody_unknown_names_them() -> None:
    seen = [RosterSeen(GID, GW1, 7, b"one", frozenset({C, B})), RosterSeen(GID, GW1, 8, b"two")]
    (found,) = conflicts(rosters=seen)
    assert found == Conflict(ConflictKind.UNKNOWN_MEMBER, GID, 7, (GW1,), (B, C))
    assert str(found) == f"roster 7 of {GW1.hex()} names {B.hex()}, {C.hex()}, which is nobody's credential"


@pytest.mark.parametrize(
    ("second", "conflict"),
    [
        (epoch(5, A, B, gateway=GW2, key=b"k2"), True),
        (epoch(5, A, B, key=b"k2"), True),
        (epoch(5, A, B), False),
        (epoch(6, A, B, gateway=GW2, key=b"k2"), False),
    ],
)
def test_PO12_one_epoch_number_of_two_gateways_or_of_one_that_was_restored(second: EpochSeen, conflict: bool) -> None:
    found = conflicts(epochs=[epoch(5, A, B), second])
    parties = tuple(sorted({GW1, second.gateway}))
    assert found == ([Conflict(ConflictKind.TWO_EPOCHS, GID, 5, parties, ())] if conflict else [])


def test_PO12_a_device_that_is_known_elsewhere() -> None:
    found = conflicts(enrolments=[Enrolment(A, b"m1"), Enrolment(A, b"m2"), Enrolment(A, b"m1"), Enrolment(B, b"m1")])
    assert found == [Conflict(ConflictKind.TAKEN_DEVICE, b"", 0, (b"m1", b"m2"), (A,))]
    assert A.hex() in str(found[0])


IDS = st.sampled_from([b"a", b"b", b"c"])
FACTS = st.lists(
    st.one_of(
        st.builds(RosterSeen, IDS, IDS, st.integers(1, 3), IDS),
        st.builds(EpochSeen, IDS, IDS, st.integers(1, 3), IDS, st.frozensets(IDS), st.integers(0, 3)),
        st.builds(Revocation, IDS, st.integers(0, 3)),
        st.builds(Enrolment, IDS, IDS),
    ),
    max_size=12,
)
Fact = RosterSeen | EpochSeen | Revocation | Enrolment


def sorted_out(facts: list[Fact]) -> list[Conflict]:
    return list(
        conflicts(
            [fact for fact in facts if isinstance(fact, RosterSeen)],
            [fact for fact in facts if isinstance(fact, EpochSeen)],
            [fact for fact in facts if isinstance(fact, Revocation)],
            [fact for fact in facts if isinstance(fact, Enrolment)],
        )
    )


@given(facts=FACTS, data=st.data())
def test_PO12_order_and_repetition_of_reports_change_nothing_and_more_facts_take_no_conflict_back(
    facts: list[Fact], data: st.DataObject
) -> None:
    found = sorted_out(facts)
    assert found == sorted_out([*data.draw(st.permutations(facts)), *facts])
    about = {(each.kind, each.gid, each.number) for each in found}
    fewer = sorted_out(facts[:-1])
    assert {(each.kind, each.gid, each.number) for each in fewer if each.gid} <= about
