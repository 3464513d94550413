"""Rings in trouble: silence, reboots, cheaters, forgers, replays, people who come and go."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.engine.base import Received
from keymote.engine.group import ring as arithmetic
from keymote.engine.group.faces import (
    Amend,
    AskToJoin,
    AskToLeave,
    Blamed,
    FormRing,
    InstallRoster,
    JoinAsked,
    LeaveAsked,
    Level,
    Locate,
    MemberBlamed,
    MembersAbsent,
    Rekey,
    RingHeld,
    RosterAccepted,
    RunFailed,
    RunStarted,
    TakeDelegation,
    ring_of,
)
from keymote.engine.group.payload_faces import GroupOpened, GroupProtected, ProtectForGroup, UnprotectForGroup
from keymote.errors import CallerFault, ErrorCode
from keymote.lab.simulator import EPOCH, Channel, Datagram
from keymote.lab.street import GW, Street, street
from keymote.wire.fields import sizes_of
from keymote.wire.group import (
    EDGE,
    BlameClaims,
    Bundle,
    CommitClaims,
    JoinClaims,
    Need,
    RosterClaims,
    RosterDelta,
    Round1Claims,
    Round1Compact,
    Round2Claims,
    StartClaims,
    What,
    bitmap,
)
from keymote.wire.group_fields import Cause
from keymote.wire.group_signed import read, write
from keymote.wire.registry import peek

START, R1, R1C, R2, R3, COMMIT, BLAME, ROSTER, JOINREQ, NEED, BUNDLE = 32, 33, 34, 35, 36, 37, 38, 39, 40, 43, 46
Adversary = Callable[[Datagram], list[Datagram]]


def refused(made: Street, name: str, kind: str = "membership") -> set[ErrorCode]:
    return {code for (cell, code), count in made.sim.hosts[name].refused.items() if cell == kind and count}


def numbers(made: Street) -> set[int]:
    """Return the epochs in which meters are active."""
    return {epoch.number if (epoch := made.active(name)) is not None else 0 for name in made.names}


def assert_no_two_keys(made: Street) -> None:
    assert all(len(keys) == 1 for keys in made.keys().values())


def last(made: Street, mt: int, source: str = GW) -> bytes:
    """Return the newest message of a type that somebody sent."""
    return [d.data for d in made.sim.air if d.source == source and peek(d.data)[0] == mt][-1]


def inject(made: Street, data: bytes, *names: str, source: str = GW) -> None:
    for name in names or made.names:
        made.sim.inject(source, name, data)
    made.sim.run_for(0.1)


def running(n: int = 3, **options: object) -> Street:
    """Return a street that has agreed on its first epoch, and rested."""
    made = street(n, **options)  # type: ignore[arg-type]  # as the caller of street would
    assert made.run(30.0)
    made.sim.run_for(15.0)
    return made


def swapped(mt: int, source: str, change: Callable[[bytes], bytes], *targets: str) -> Adversary:
    """Return the adversary who changes what one node sends of a type, towards some or all."""

    def meddle(sent: Datagram) -> list[Datagram]:
        if peek(sent.data)[0] == mt and sent.source == source and (not targets or sent.target in targets):
            return [replace(sent, data=change(sent.data))]
        return [sent]

    return meddle


# ------------------------------------------------------------------ who may speak


def test_GR13_nobody_but_the_authority_and_the_gateway_speaks_for_the_group() -> None:
    made = running()
    mallory = made.suite.generate_signing_key(SeededEntropy(b"mallory"))
    ra, gw = made.ra.kid, made.people[GW].kid
    entries = made.lead().lasting.held.entries
    start = StartClaims(made.gid, 9, 0, 0, 3, made.lead().lasting.held.digest, bytes(16), EPOCH, 0, Cause(0))
    forged = [
        write(mallory, RosterClaims(made.gid, 9, entries, None, None), kid=ra),
        write(mallory, RosterClaims(made.gid, 9, entries, None, None), kid=b"somebody"),
        write(made.people["m0"].signing, RosterClaims(made.gid, 9, entries, None, None), kid=made.people["m0"].kid),
        write(mallory, start, kid=gw),
        write(made.people["m1"].signing, start, kid=made.people["m1"].kid),
    ]
    before = [made.cell(name).lasting for name in made.names]  # type: ignore[union-attr]
    for data in forged:
        inject(made, data, source="mallory")
    assert [made.cell(name).lasting for name in made.names] == before  # type: ignore[union-attr]
    assert all(ErrorCode.E_ROSTER in refused(made, name) for name in made.names)
    made.sim.adversary = swapped(COMMIT, GW, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    made.ring(Rekey())
    made.sim.run_for(8.0)
    assert numbers(made) == {1}


def test_GR14_an_older_delegation_does_not_bring_a_replaced_gateway_back() -> None:
    made = running()
    old = made.delegation()
    newer = made.delegation(not_after=EPOCH + 20 * 365 * 86400, max_n=8)
    made.ring(TakeDelegation(newer))
    made.sim.run_for(1.0)
    charters = {made.cell(name).lasting.charter.max_n for name in made.names}  # type: ignore[union-attr]
    assert charters == {8}
    inject(made, old)
    assert {made.cell(name).lasting.charter.max_n for name in made.names} == {8}  # type: ignore[union-attr]
    assert all(ErrorCode.E_ROSTER in refused(made, name) for name in made.names)
    inject(made, newer)  # the very same changes nothing
    made.sim.reboot("m0")
    inject(made, old, "m0")
    assert made.cell("m0").lasting.charter.max_n == 8  # type: ignore[union-attr]
    made.sim.run_for(20.0)
    made.ring(Rekey())
    assert made.run(10.0)


@pytest.mark.parametrize("multicast", [True, False])
def test_GR14_GR30_another_gateway_goes_on_where_the_old_one_left_off(multicast: bool) -> None:
    made = running(multicast=multicast)
    made.ring(Rekey())
    assert made.run(30.0) and made.newest() == 2
    made.hand_over("gw2", after_epoch=2)
    assert made.run(60.0)
    assert (made.newest(), made.lead().lasting.held.ver) == (3, 1001)
    assert {epoch.number for name in made.names if (epoch := made.active(name))} == {3}
    made.sim.command(GW, ring_of(made.gid), Rekey())  # the old one does not know yet
    made.sim.run_for(60.0)
    assert made.agreed() and made.newest() == 3
    made.sim.reboot("gw2")
    made.ring(Rekey())
    assert made.run(60.0) and made.newest() == 4


def test_GR40_a_gateway_says_after_a_restart_what_it_holds() -> None:
    made = running(4)
    made.sim.hosts["m3"].lose_power()
    made.ring(Rekey())
    assert made.run(60.0)
    made.sim.reboot(GW)
    (held,) = made.sim.heard(GW, RingHeld)
    kids = tuple(sorted(made.people[name].kid for name in ("m0", "m1", "m2")))
    assert held == RingHeld(made.gid, 2, kids, (made.people["m3"].kid,), 2, confirmed=True)


def test_GR15_an_old_signed_roster_brings_nobody_back() -> None:
    made = running(4)
    old = made.lead().lasting.roster
    made.ring(InstallRoster(made.roster(["m0", "m1", "m2"]), reason=3))
    assert made.run(10.0)
    assert made.active("m3") is None
    made.sim.reboot("m0")
    inject(made, old)
    for name in ("m0", "m1", "m2"):
        assert made.cell(name).lasting.held.ver == 2  # type: ignore[union-attr]
        assert ErrorCode.E_ROSTER in refused(made, name)
    other = made.roster(["m0", "m1"], ver=2)
    inject(made, other)
    assert {len(made.cell(name).lasting.held.entries) for name in ("m0", "m1")} == {3}  # type: ignore[union-attr]


def test_GR16_a_gateway_signs_rosters_within_its_delegation_alone() -> None:
    made = street(4, formed=False)
    small = made.delegation(max_n=3)
    made.ring(FormRing(made.charter(), made.roster(made.names), made.plan, small))
    assert made.run(10.0)
    with pytest.raises(CallerFault, match="may not sign"):
        made.ring(Amend(reason=2))
    made.ring(Amend(remove=(made.people["m3"].kid,), reason=3))
    assert made.run(10.0) and made.members() == ["m0", "m1", "m2"]
    gw = made.people[GW]
    entries = tuple(sorted(made.people[name].entry for name in made.names))
    inject(made, write(gw.signing, RosterClaims(made.gid, 9, entries, None, None), kid=gw.kid), "m0")
    assert made.cell("m0").lasting.held.ver == 2  # type: ignore[union-attr]
    by_hand = running(3, delegated=False)
    with pytest.raises(CallerFault, match="may not sign"):
        by_hand.ring(Amend(remove=(by_hand.people["m2"].kid,)))


def test_GR16_a_delta_on_another_base_makes_a_member_ask_for_the_whole() -> None:
    made = running(4)
    kids = [made.people[name].kid for name in made.names]
    made.sim.adversary = lambda sent: [] if peek(sent.data)[0] == ROSTER and sent.target == "multicast" else [sent]
    made.ring(Amend(remove=(kids[3],), reason=3))
    assert made.run(20.0), "nobody heard the delta, everybody got the whole roster"
    lost = write(
        made.people[GW].signing, RosterDelta(made.gid, 9, 8, (), (kids[2],), None, None), kid=made.people[GW].kid
    )
    made.sim.adversary = lambda sent: [sent]
    inject(made, lost, "m0")
    assert made.sim.messages["m0", NEED] >= 1
    assert made.cell("m0").lasting.held.ver == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", [0, EDGE])
def test_GR17_the_gateway_is_a_member_in_edge_mode_and_nowhere_else(mode: int) -> None:
    made = street(3, mode=mode, formed=False)
    names = [*made.names, *([] if mode == EDGE else [GW])]
    with pytest.raises(CallerFault, match="edge mode"):
        made.ring(FormRing(made.charter(), made.roster(names), made.plan, made.delegation()))
    gw = made.people[GW]
    inject(made, made.delegation())
    inject(made, made.roster(names))
    held = made.cell("m0").lasting.held  # type: ignore[union-attr]
    claims = StartClaims(made.gid, 1, 0, mode, len(names), held.digest, bytes(16), EPOCH, 0, Cause(0))
    inject(made, write(gw.signing, claims, kid=gw.kid))
    assert made.sim.messages["m0", R1] == 0
    assert ErrorCode.E_ROSTER in refused(made, "m0")


def test_GR18_GR19_who_is_not_on_the_newest_roster_keeps_nothing() -> None:
    made = running(4)
    (record,) = made.tell("m0", ProtectForGroup(b"before", "telemetry"))
    assert isinstance(record, GroupProtected)
    before = made.active("m3")
    made.ring(Amend(remove=(made.people["m3"].kid,), reason=4))
    assert made.run(10.0)
    gone = made.cell("m3")
    assert gone is not None and gone.lasting.active is None and gone.payload.current is None
    assert made.sim.heard("m3", RosterAccepted)[-1].member is False
    assert before is not None
    stored = b"".join(row.record for row in made.sim.hosts["m3"].disk.values())
    assert before.group.key.expose() not in stored
    (said,) = made.tell("m0", ProtectForGroup(b"after", "telemetry"))
    assert isinstance(said, GroupProtected)
    for old in (record, said):
        assert not any(
            isinstance(r, GroupOpened) for r in made.tell("m3", UnprotectForGroup("m0", old.record, "telemetry"))
        )
    held = made.lead().lasting.held
    gw = made.people[GW]
    stale = StartClaims(
        made.gid,
        9,
        0,
        0,
        4,
        arithmetic.roster_hash(made.gid, tuple(sorted(p.entry for n, p in made.people.items() if n != GW))),
        bytes(16),
        EPOCH,
        0,
        Cause(0),
    )
    inject(made, write(gw.signing, stale, kid=gw.kid), "m0")
    assert made.cell("m0").lasting.seen[0] < 9  # type: ignore[union-attr]
    assert held.ver == 2


# ------------------------------------------------------------------ rounds under attack


def test_GR21_GR24_a_substituted_x_is_seen_and_nobody_becomes_active() -> None:
    """B-02: Mallory in the middle swaps X of one member towards everybody, or towards one."""
    for level, code in ((Level.V1, ErrorCode.E_R2SIG), (Level.V2, ErrorCode.E_R1SIG)):
        made = street(3, level=level, formed=False)
        mallory = made.suite.generate_signing_key(SeededEntropy(b"mallory"))
        x = made.suite.random_scalar(SeededEntropy(b"x"))

        def forged(data: bytes, made: Street = made, mallory: object = mallory, x: Secret = x) -> bytes:
            claims = read(data, Round1Claims, sizes_of(1)).claims
            sid = made.lead().run.sid  # type: ignore[union-attr]
            return write(mallory, replace(claims, X=made.suite.base_mul(x)), sid)  # type: ignore[arg-type]

        made.sim.adversary = swapped(R1, "m0", forged)
        made.form()
        made.sim.run_for(60.0)
        assert ErrorCode.E_R1SIG in refused(made, GW, "ring")
        assert made.active("m0") is None, "the gateway takes it for silent, and the others go on without it"
        assert all(made.active(name) is not None for name in ("m1", "m2"))
        assert made.lead().lasting.held.ver > 1
        assert_no_two_keys(made)
        if level is Level.V2:
            assert code in refused(made, "m1")


def test_GR24_a_gateway_that_shows_members_different_rounds_gets_no_key() -> None:
    """B-16: by unicast one member is shown another R1 than the others; all R2 that it hears, and its own, then fail."""
    made = street(3, multicast=False, formed=False)
    x = made.suite.random_scalar(SeededEntropy(b"x"))

    def other_bundle(data: bytes) -> bytes:
        bundle = Bundle.decode(data, sizes_of(1))
        if peek(bundle.datagrams[0])[0] != R1:
            return data
        said = list(bundle.datagrams)
        claims = read(said[0], Round1Claims, sizes_of(1)).claims
        said[0] = Round1Compact(claims.sid8, claims.idx, made.suite.base_mul(x), claims.nonce, claims.ts).encode()
        return Bundle(bundle.of, tuple(said)).encode()

    victim = next(name for name in made.names if made.people[name].kid == max(made.people[n].kid for n in made.names))
    made.sim.adversary = swapped(BUNDLE, GW, other_bundle, victim)
    made.form()
    made.sim.run_for(60.0)
    assert made.active(victim) is None
    assert ErrorCode.E_R2SIG in refused(made, GW, "ring")
    assert_no_two_keys(made)


def test_GR20_forged_compact_r1_does_not_stop_a_run() -> None:
    """B-23: an outsider is faster than the member it speaks for."""
    made = street(4, compact=True, formed=False)
    point = made.suite.base_mul(made.suite.random_scalar(SeededEntropy(b"x")))

    def race(sent: Datagram) -> list[Datagram]:
        if peek(sent.data)[0] == R1C and sent.source == "m0":
            claims = Round1Compact.decode(sent.data, sizes_of(1))
            fake = replace(claims, X=point).encode()
            return [replace(sent, data=fake), sent]
        return [sent]

    made.sim.adversary = race
    made.form()
    assert made.run(30.0)
    assert_no_two_keys(made)
    assert made.sim.messages["m0", R1] >= 1, "it was asked for the signed form"


def test_GR22_timestamps_are_judged_by_who_has_a_clock() -> None:
    made = running()
    held = made.lead().lasting.held
    run = made.lead().run
    assert run is not None
    entries = {entry.kid: idx for idx, entry in enumerate(held.entries)}
    made.ring(Rekey())
    made.sim.adversary = lambda sent: [] if peek(sent.data)[0] == R1 else [sent]
    made.sim.run_for(0.01)
    run = made.lead().run
    assert run is not None
    person = made.people["m0"]
    X = made.suite.base_mul(made.suite.random_scalar(SeededEntropy(b"x")))
    for ts, accepted in ((EPOCH - 9999, False), (EPOCH + 9999, False), (0, True)):
        claims = Round1Claims(run.sid8, entries[person.kid], X, bytes(8), ts)
        made.sim.inject("m0", GW, write(person.signing, claims, run.sid))
        made.sim.run_for(0.01)
        assert (made.lead().stage.hall[entries[person.kid]] is not None) is accepted  # type: ignore[union-attr]
    assert ErrorCode.E_REPLAY in refused(made, GW, "ring")


@pytest.mark.parametrize("n", [2, 3])
def test_GR23_GR42_signed_nulls_where_they_do_not_belong_are_their_signers_fault(n: int) -> None:
    made = street(n, formed=False)

    def wrong(data: bytes) -> bytes:
        claims = read(data, Round2Claims, sizes_of(1)).claims
        run = made.lead().run
        assert run is not None
        changed = replace(claims, Y=None, dleq=None) if n > 2 else replace(claims, Y=X, dleq=bytes(64))
        return write(made.people["m0"].signing, changed, made.lead().stage.th1)  # type: ignore[union-attr]

    X = made.suite.base_mul(made.suite.random_scalar(SeededEntropy(b"x")))
    made.sim.adversary = swapped(R2, "m0", wrong)
    made.form()
    made.sim.run_for(3.0)
    blamed = made.sim.heard(GW, MemberBlamed)
    assert [(each.kid, each.code) for each in blamed][:1] == [(made.people["m0"].kid, ErrorCode.E_FORMAT)]
    assert blamed[0].evicted is (n == 3)


def test_GR42_an_insider_with_a_false_y_is_blamed_evicted_and_the_rest_go_on() -> None:
    """B-03 and B-04: one false Y, and two that cancel out."""
    for cheats in (["m1"], ["m1", "m3"]):
        made = street(5, formed=False)
        shift = made.suite.base_mul(made.suite.random_scalar(SeededEntropy(b"shift")))
        plus = {"m1": made.suite.add, "m3": made.suite.sub}

        def cheat(
            sent: Datagram, made: Street = made, plus: dict = plus, shift: object = shift, cheats: list = cheats
        ) -> list[Datagram]:
            if peek(sent.data)[0] == R2 and sent.source in cheats and made.newest() == 1:
                said = read(sent.data, Round2Claims, sizes_of(1)).claims
                th1 = made.lead().stage.th1  # type: ignore[union-attr]
                Y = plus[sent.source](made.suite.check(said.Y), shift)
                return [replace(sent, data=write(made.people[sent.source].signing, replace(said, Y=Y), th1))]
            return [sent]

        made.sim.adversary = cheat
        made.form()
        assert made.run(60.0)
        assert_no_two_keys(made)
        blamed = made.sim.heard(GW, MemberBlamed)
        assert blamed[0].code is ErrorCode.E_DLEQ and blamed[0].evicted
        assert blamed[0].kid in {made.people[name].kid for name in cheats}
        evicted = next(name for name in cheats if made.people[name].kid == blamed[0].kid)
        assert evicted not in made.members() and made.active(evicted) is None
        assert made.newest() >= 2
        honest = [name for name in made.members() if name not in cheats]
        assert any(report.code is ErrorCode.E_DLEQ for name in honest for report in made.sim.heard(name, Blamed))


def test_GR42_without_the_right_to_sign_rosters_the_gateway_waits_for_the_authority() -> None:
    made = street(4, delegated=False, formed=False)
    shift = made.suite.base_mul(made.suite.random_scalar(SeededEntropy(b"shift")))

    def cheat(data: bytes) -> bytes:
        said = read(data, Round2Claims, sizes_of(1)).claims
        Y = made.suite.add(made.suite.check(said.Y), shift)  # type: ignore[arg-type]
        return write(made.people["m1"].signing, replace(said, Y=Y), made.lead().stage.th1)  # type: ignore[union-attr]

    made.sim.adversary = swapped(R2, "m1", cheat)
    made.form()
    made.sim.run_for(5.0)
    (blamed,) = made.sim.heard(GW, MemberBlamed)
    assert not blamed.evicted and blamed.code is ErrorCode.E_DLEQ
    evidence = read(blamed.evidence, Round2Claims, sizes_of(1))
    assert evidence.claims.idx == made.lead().lasting.held.position(made.people["m1"].kid)
    made.sim.run_for(100.0)
    assert numbers(made) == {0}
    made.ring(InstallRoster(made.roster(["m0", "m2", "m3"]), reason=4))
    assert made.run(20.0)
    assert made.members() == ["m0", "m2", "m3"]


def test_GR37_an_authentic_commit_that_differs_ends_the_run_on_the_old_epoch() -> None:
    made = running()
    gw = made.people[GW]

    def other(data: bytes) -> bytes:
        claims = read(data, CommitClaims, sizes_of(1)).claims
        return write(gw.signing, replace(claims, xor_tag=bytes(16)), made.lead().run.sid, kid=gw.kid)  # type: ignore[union-attr]

    made.sim.adversary = swapped(COMMIT, GW, other)
    made.ring(Rekey())
    made.sim.run_for(2.0)
    assert numbers(made) == {1}
    for name in made.names:
        assert made.sim.heard(name, RunFailed)[-1].code is ErrorCode.E_CONFIRM
        assert made.cell(name).phase is None  # type: ignore[union-attr]
        assert isinstance(made.tell(name, ProtectForGroup(b"1", "telemetry"))[0], GroupProtected)
    made.sim.adversary = lambda sent: [sent]
    assert made.run(60.0) and numbers(made) == {made.newest()}


def test_blame_is_the_gateways_word_about_this_run() -> None:
    made = running()
    made.ring(Rekey())
    made.sim.adversary = lambda sent: [] if peek(sent.data)[0] == COMMIT else [sent]
    made.sim.run_for(0.5)
    run = made.lead().run
    assert run is not None
    gw, mallory = made.people[GW], made.people["m2"]
    claims = BlameClaims(run.sid8, 0, 8)
    inject(made, write(mallory.signing, claims, run.sid, kid=gw.kid), "m0")
    assert made.cell("m0").phase is not None  # type: ignore[union-attr]
    inject(made, write(gw.signing, claims, run.sid, kid=gw.kid), "m0")
    assert made.cell("m0").phase is None  # type: ignore[union-attr]
    assert made.sim.heard("m0", Blamed)[-1].idx == 0


# ------------------------------------------------------------------ epochs


def test_GR30_old_starts_and_replays_of_a_whole_epoch_are_refused_also_after_a_reboot() -> None:
    made = running()
    recorded = [d for d in made.sim.air if d.source != "m0"]
    made.ring(Rekey())
    assert made.run(10.0)
    made.sim.run_for(70.0)
    for reboot in (False, True):
        if reboot:
            made.sim.reboot("m0")
            made.sim.run_for(3.0)
        before = made.active("m0")
        said = made.sim.messages["m0", R1]
        for datagram in recorded:
            made.sim.inject(datagram.source, "m0", datagram.data)
        made.sim.run_for(5.0)
        assert made.active("m0") == before and made.sim.messages["m0", R1] == said
        assert ErrorCode.E_EPOCH in refused(made, "m0")


def test_GR30_two_starts_of_one_number_make_one_run() -> None:
    """B-16: the gateway's key signs two STARTs with the same (epoch, attempt)."""
    made = running()
    gw = made.people[GW]
    digest = made.lead().lasting.held.digest
    two = [
        write(gw.signing, StartClaims(made.gid, 2, 0, 0, 3, digest, bytes([at] * 16), EPOCH, 0, Cause(1)), kid=gw.kid)
        for at in (1, 2)
    ]
    for first, second, name in ((0, 1, "m0"), (1, 0, "m1")):
        inject(made, two[first], name)
        inject(made, two[second], name)
        assert ErrorCode.E_EPOCH in refused(made, name)
        assert made.cell(name).run.sid == arithmetic.sid_of(read(two[first], StartClaims, sizes_of(1)).payload)  # type: ignore[union-attr]
    made.sim.run_for(60.0)
    assert_no_two_keys(made)


def test_GR30_the_active_epoch_is_not_started_again() -> None:
    made = running()
    gw, claims = made.people[GW], made.lead().lasting.started()
    assert claims is not None
    inject(made, write(gw.signing, replace(claims, attempt=5), kid=gw.kid))
    assert all(ErrorCode.E_EPOCH in refused(made, name) for name in made.names)
    assert all(made.cell(name).phase is None for name in made.names)  # type: ignore[union-attr]


def test_GR31_every_start_gets_a_fresh_x() -> None:
    made = street(3, formed=False)
    made.sim.adversary = lambda sent: [] if peek(sent.data)[0] == R2 else [sent]
    made.form()
    made.sim.run_for(60.0)
    sent = [read(d.data, Round1Claims, sizes_of(1)).claims for d in made.sim.air if peek(d.data)[0] == R1]
    by_run = {(claims.sid8, claims.idx): claims.X for claims in sent}
    assert len(by_run) >= 6 and len(set(by_run.values())) == len(by_run)
    for name in made.names:
        for other in (r for r in made.sim.air if r.source == name and peek(r.data)[0] == R2):
            assert other is not None


# ------------------------------------------------------------------ silence, reboots, coming and going


def test_GR43_the_silent_are_left_out_and_come_back_when_they_ask() -> None:
    made = running(5)
    made.sim.hosts["m4"].lose_power()
    made.ring(Rekey())
    assert made.run(60.0)
    assert made.members() == ["m0", "m1", "m2", "m3"]
    (absent,) = made.sim.heard(GW, MembersAbsent)
    assert absent.kids == (made.people["m4"].kid,) and absent.excluded
    assert [entry.kid for entry in made.lead().lasting.absent] == [made.people["m4"].kid]
    epoch = made.newest()
    made.sim.reboot("m4")
    assert made.sim.run_until(lambda: made.agreed(*made.names), 60.0)
    assert made.newest() > epoch and made.members() == made.names
    assert made.lead().lasting.absent == ()
    assert_no_two_keys(made)


@pytest.mark.parametrize("by", ["the gateway", "the authority"])
def test_GR53_who_is_removed_while_absent_does_not_come_back(by: str) -> None:
    made = running(4)
    made.sim.hosts["m3"].lose_power()
    made.ring(Rekey())
    assert made.run(60.0) and made.members() == ["m0", "m1", "m2"]
    gone, stay = made.people["m3"].kid, ["m0", "m1", "m2"]
    if by == "the gateway":
        made.ring(Amend(remove=(gone,), reason=4))
    else:
        made.ring(InstallRoster(made.roster(stay, ver=1000), reason=4))
    made.sim.reboot("m3")
    made.sim.run_for(60.0)
    assert made.members() == stay and made.agreed(*stay)
    assert made.active("m3") is None or made.active("m3").number < made.newest()  # type: ignore[union-attr]
    assert {asked.kid for asked in made.sim.heard(GW, JoinAsked)} == {gone}


def test_GR43_without_delegation_the_full_roster_is_tried_until_all_are_back() -> None:
    made = running(3, delegated=False)
    made.sim.hosts["m2"].lose_power()
    made.ring(Rekey())
    made.sim.run_for(90.0)
    assert numbers(made) == {1, 0} and not made.sim.heard(GW, MembersAbsent)[0].excluded
    assert len({(r.epoch, r.attempt) for r in made.sim.heard(GW, RunStarted)}) >= 3
    made.sim.reboot("m2")
    assert made.run(60.0)


def test_GR44_lost_messages_are_asked_for_once_a_second_at_most_twenty_times() -> None:
    made = running(3)
    made.sim.adversary = lambda sent: [] if peek(sent.data)[0] in (R2, BUNDLE) else [sent]
    before = made.sim.messages["m0", NEED]
    made.ring(Rekey())
    at = made.sim.now
    made.sim.run_for(11.0)
    asked = [d.at - at for d in made.sim.air if d.source == "m0" and peek(d.data)[0] == NEED and d.at >= at]
    assert len(asked) <= 20 and made.sim.messages["m0", NEED] - before == len(asked)
    assert 1.0 <= asked[0] <= 1.1 and all(0.99 <= b - a <= 1.02 for a, b in pairwise(asked))


def test_GR45_a_gateway_answers_slowly_and_strangers_hardly() -> None:
    made = running(3)
    sid8 = made.lead().lasting.sid8
    answers = made.sim.messages[GW, BUNDLE]
    for _ in range(50):
        made.sim.inject("m0", GW, Need(sid8, What.R1, bitmap(range(3))).encode())
        made.sim.inject("stranger", GW, Need(sid8, What.R1, bitmap(range(3))).encode())
    made.sim.run_for(0.5)
    assert made.sim.messages[GW, BUNDLE] == answers + 1
    for at in range(50):
        made.sim.inject(f"stranger {at}", GW, Need(made.gid, What.START, 0).encode())
    starts = made.sim.messages[GW, START]
    made.sim.run_for(0.5)
    assert made.sim.messages[GW, START] - starts <= 8


@pytest.mark.parametrize("what", list(What))
def test_GR44_what_is_asked_for_is_answered_with_the_very_messages(what: What) -> None:
    made = running(3)
    made.sim.run_for(5.0)
    of = made.gid if what in (What.ROSTER, What.START) else made.lead().lasting.sid8
    at = len(made.sim.air)
    made.sim.inject("m0", GW, Need(of, what, 1).encode())
    made.sim.run_for(0.01)
    answers = [peek(d.data)[0] for d in made.sim.air[at:] if d.source == GW]
    expected = {
        What.R1: [R1], What.R2: [R2], What.R3: [R3], What.EVIDENCE: [], What.ROSTER: [BUNDLE], What.WRAP: [],
        What.COMMIT: [COMMIT], What.START: [START],
    }  # fmt: skip
    assert answers == expected[what]


def test_GR47_a_recorded_request_is_worth_nothing_after_the_next_start() -> None:
    made = running(4)
    made.tell("m3", AskToLeave())
    made.sim.run_for(0.2)
    assert made.run(20.0) and "m3" not in made.members()
    assert made.sim.heard(GW, LeaveAsked)[-1].granted
    leave = last(made, JOINREQ, "m3")
    made.ring(Amend(add=(made.people["m3"].entry,), reason=2))
    assert made.sim.run_until(lambda: made.agreed(*made.names), 60.0)
    made.sim.run_for(20.0)
    for _ in range(3):
        made.sim.inject("m3", GW, leave)
        made.sim.run_for(15.0)
    assert made.members() == made.names and made.agreed()


def test_GR48_a_stranger_is_shown_to_the_application_and_joins_when_it_is_enlisted() -> None:
    made = running(3)
    made.add("m9")
    made.provision("m9")
    made.tell("m9", AskToJoin())
    made.sim.run_for(5.0)
    asked = made.sim.heard(GW, JoinAsked)
    assert [each.kid for each in asked] == [made.people["m9"].kid]
    assert made.newest() == 1 and made.members() == ["m0", "m1", "m2"]
    claimed = read(asked[0].request, JoinClaims, sizes_of(1))
    assert (
        claimed.verified_by(
            made.people["m9"].signing_key if False else made.suite.verify_key(made.people["m9"].signing.public)
        ).wish
        == 1
    )
    made.ring(Amend(add=(made.people["m9"].entry,), reason=2))
    assert made.sim.run_until(lambda: made.agreed("m0", "m1", "m2", "m9"), 60.0)
    assert_no_two_keys(made)


def test_GR54_who_is_refused_asks_less_and_less() -> None:
    made = running(4)
    made.ring(Amend(remove=(made.people["m3"].kid,), reason=3))
    assert made.run(30.0)
    for _ in range(2):
        before = made.sim.messages["m3", JOINREQ]
        made.sim.run_for(86400.0)
        asked = made.sim.messages["m3", JOINREQ] - before
        assert 86400 / 900 <= asked <= 86400 / 900 + 50
    made.ring(Rekey())
    before = made.sim.messages["m3", JOINREQ]
    made.sim.run_for(30.0)
    assert made.sim.messages["m3", JOINREQ] - before >= 20


def test_GR54_GR51_who_was_not_heard_for_an_hour_is_back_within_a_minute() -> None:
    made = running(4)
    mute = {"m3"}
    made.sim.adversary = lambda sent: [] if sent.source in mute else [sent]
    made.ring(Rekey())
    assert made.run(60.0) and made.members() == ["m0", "m1", "m2"]
    made.sim.run_for(3600.0)
    mute.clear()
    assert made.sim.run_until(lambda: made.agreed(*made.names), 60.0)


def test_GR54_a_start_that_is_repeated_nudges_less_and_less() -> None:
    made = running(4)
    made.ring(Amend(remove=(made.people["m3"].kid,), reason=3))
    assert made.run(30.0)
    made.sim.run_for(3600.0)
    start, before = last(made, START), made.sim.messages["m3", JOINREQ]
    for _ in range(100):
        made.sim.inject(GW, "m3", start)
        made.sim.run_for(5.0)
    quick, slow = 32, (500 - 32 * 5) // 30
    assert quick + slow - 2 <= made.sim.messages["m3", JOINREQ] - before <= quick + slow + 2


def test_GR49_who_lost_its_state_in_a_run_is_in_the_next_attempt() -> None:
    made = street(3, formed=False)
    made.form()
    made.sim.run_for(0.012)
    made.sim.reboot("m0")
    assert made.run(60.0)
    assert made.members() == made.names
    assert made.lead().lasting.started().attempt >= 1 or made.newest() > 1  # type: ignore[union-attr]


@pytest.mark.parametrize("who", ["m0", GW])
@pytest.mark.parametrize("after_s", [0.002, 0.007, 0.012, 0.017, 0.022, 0.03])
@pytest.mark.parametrize("multicast", [True, False], ids=["multicast", "unicast"])
def test_GR40_a_reboot_at_any_moment_costs_time_and_nothing_else(who: str, after_s: float, multicast: bool) -> None:
    made = running(4, multicast=multicast)
    made.ring(Rekey())
    made.sim.run_for(after_s)
    made.sim.reboot(who, down_s=1.0)
    made.sim.run_for(2.0)
    if who == GW and not multicast:
        made.ring(Locate(made.peers()))
    assert made.run(60.0)
    assert made.members() == made.names
    assert made.newest() >= 2
    assert_no_two_keys(made)


def test_GR40_a_gateway_that_is_killed_behind_the_commit_sends_the_one_it_wrote() -> None:
    made = running(3)
    made.sim.adversary = lambda sent: [] if peek(sent.data)[0] == COMMIT else [sent]
    made.ring(Rekey())
    made.sim.run_for(0.5)
    assert made.lead().lasting.commit and numbers(made) == {1}
    made.sim.reboot(GW)
    made.sim.adversary = lambda sent: [sent]
    assert made.run(10.0)
    assert numbers(made) == {2} and {r.attempt for r in made.sim.heard(GW, RunStarted)} == {0}


def test_GR51_a_ring_of_25_agrees_on_a_bad_radio() -> None:
    made = street(25, channel=Channel(0.005, 0.05, 0.3, 0.1))
    assert made.run(60.0)
    assert len(made.members()) == 25
    assert_no_two_keys(made)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("multicast", [True, False], ids=["multicast", "unicast"])
def test_GR51_99_of_100_rings_of_25_agree_with_everybody_at_30_percent_loss(multicast: bool) -> None:
    done = 0
    for at in range(100):
        channel = Channel(0.005, 0.05, 0.3, 0.05)
        made = street(25, seed=b"run %d" % at, multicast=multicast, channel=channel)
        done += made.run(60.0) and len(made.members()) == 25
        assert_no_two_keys(made)
    assert done >= 99


def test_GR51_200_joins_and_leaves_leave_nothing_stuck() -> None:
    made = running(4)
    entry = made.people["m3"].entry
    for at in range(20):
        made.ring(Amend(remove=(entry.kid,), reason=3) if at % 2 == 0 else Amend(add=(entry,), reason=2))
        assert made.run(60.0), at
        assert ("m3" in made.members()) is (at % 2 == 1)
        made.sim.run_for(12.0)
    assert made.newest() == 21
    assert_no_two_keys(made)


def test_a_member_that_was_cut_off_hears_of_it_and_comes_back() -> None:
    made = running(4)
    made.sim.channels = {(a, b): Channel(loss=1.0) for a, b in ((GW, "m3"), ("m3", GW))}
    hears = made.sim.reach.segments.pop("m3")
    made.sim.reach.segments["m3"] = "elsewhere"
    made.ring(Rekey())
    assert made.run(60.0)
    assert made.members() == ["m0", "m1", "m2"] and made.active("m3").number == 1  # type: ignore[union-attr]
    made.sim.run_for(600.0)
    made.sim.channels, made.sim.reach.segments["m3"] = {}, hears
    assert made.sim.run_until(lambda: made.agreed(*made.names), 60.0)


def test_received_items_for_unknown_groups_touch_nothing() -> None:
    made = running(3)
    for mt_data in (last(made, START), last(made, R1, "m0"), Need(b"another0", 8, 0).encode()):
        changed = mt_data.replace(made.gid, b"another0")
        before = dict(made.sim.hosts["m0"].cells)
        made.sim.inject("x", "m0", changed)
        made.sim.run_for(0.1)
        assert dict(made.sim.hosts["m0"].cells) == before
    assert Received("x", b"").peer == "x"
