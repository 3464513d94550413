"""The root key of a city: who gets it, who does not, and what happens when a delegate is silent or lies (Triad-1 3.7)."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keymote import cbor
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.kdf import lexp
from keymote.crypto.secret import Secret
from keymote.engine.base import MULTICAST, Command, Now, Received
from keymote.engine.group.faces import (
    HERE,
    Amend,
    ForgetGroup,
    FormRing,
    Locate,
    Rekey,
    Resync,
    RingPlan,
    membership_of,
    ring_of,
)
from keymote.engine.group.party import Party
from keymote.engine.group.payload import Payload
from keymote.engine.group.payload_faces import GroupOpened, GroupProtected, ProtectForGroup, UnprotectForGroup
from keymote.engine.group.root import root_kind
from keymote.engine.group.root_faces import (
    HandOn,
    JoinRoot,
    RatchetRoot,
    RootAnnounced,
    RootCharter,
    RootDiffers,
    RootErased,
    RootReady,
    RootStuck,
    WrapMissing,
    WrapRefused,
    root_gateway_of,
    root_of,
)
from keymote.engine.group.root_key import kcv_of, ratcheted, root_key, unwrapped, wrapped
from keymote.engine.group.root_states import AwaitWrap, Settled, record
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.lab.city import CONTROL, City
from keymote.lab.city_clusters import Cluster
from keymote.lab.city_founding import city
from keymote.lab.simulator import Channel, Datagram
from keymote.wire.fields import sizes_of
from keymote.wire.group import FRESH, RATCHET, RELAY, RootClaims, RosterClaims, Round3, Round3Claims, WrapClaims
from keymote.wire.group_fields import Cause, Entry
from keymote.wire.group_signed import read, write
from keymote.wire.registry import peek

ROOT, WRAP, NEED, R3 = 41, 42, 43, 36
SIZES = sizes_of(1)


@pytest.fixture(scope="module")
def built() -> City:
    """Twelve meters in three clusters: m0, m4 and m8 are delegates, the top ring; m1, m5 and m9 are deputies."""
    made = city(12, most=4, recording=True)
    assert [len(cluster.names) for cluster in made.clusters] == [4, 4, 4, 3]
    made.form()
    return made


@pytest.fixture
def town(built: City, request: pytest.FixtureRequest) -> City:
    return built.fork(request.node.name)


def air(made: City, mt: int, since: int = 0) -> list[Datagram]:
    return [datagram for datagram in made.sim.air[since:] if peek(datagram.data)[0] == mt]


def drop(made: City, doomed: Callable[[Datagram], bool]) -> None:
    made.sim.adversary = lambda datagram: [] if doomed(datagram) else [datagram]


def wraps_of(made: City, name: str) -> Callable[[Datagram], bool]:
    return lambda datagram: datagram.source == name and peek(datagram.data)[0] == WRAP


def root_message(made: City, **changes: object) -> bytes:
    """Return a ROOT that the root gateway signs, as the newest one but for these fields."""
    (*_, newest) = made.sim.heard(made.top.gateway.name, RootAnnounced)
    claims = replace(read(newest.root, RootClaims, SIZES).claims, **changes)  # type: ignore[arg-type]
    return write(made.top.gateway.signing, claims, kid=made.top.gateway.kid)


def say(made: City, name: str, command: Command) -> None:
    made.sim.command(name, root_of(made.gid_root), command)


def ratchet(made: City) -> None:
    made.sim.command(made.top.gateway.name, root_gateway_of(made.gid_root), RatchetRoot())


def refused(made: City, name: str, code: ErrorCode) -> int:
    return made.sim.hosts[name].refused["root", code]


# ------------------------------------------------------------------ the keys


def test_CL05_root_key_and_wrap_are_what_the_text_says() -> None:
    mk, gid_root, e = Secret(b"m" * 32), b"rootroot", 7
    rk = root_key(mk, gid_root, e)
    ctx = b"\x82\x48" + gid_root + b"\x07"
    assert rk == lexp(mk, "B/root", ctx)
    assert ratcheted(rk, gid_root, 8) == lexp(rk, "B/root-ratchet", b"\x82\x48" + gid_root + b"\x08")
    assert kcv_of(rk) == lexp(rk, "B/kcv", b"", 16).expose()


@pytest.mark.parametrize("suite", [1, 17])
def test_CL07_a_wrap_opens_under_its_own_ring_run_and_kcv_alone(suite: int) -> None:
    ours = city(8, most=4, suite=suite).authority.suite
    mk, sid, gid_root, rk = Secret(b"m" * 32), b"s" * 16, b"rootroot", Secret(b"r" * 32)
    ct = wrapped(ours, mk, sid, gid_root, 3, rk)
    assert len(ct) == 48
    assert unwrapped(ours, mk, sid, gid_root, 3, kcv_of(rk), ct) == rk
    others: list[tuple[Secret, bytes, bytes, int, bytes]] = [
        (Secret(b"n" * 32), sid, gid_root, 3, kcv_of(rk)),
        (mk, b"t" * 16, gid_root, 3, kcv_of(rk)),
        (mk, sid, b"tootroot", 3, kcv_of(rk)),
        (mk, sid, gid_root, 4, kcv_of(rk)),
        (mk, sid, gid_root, 3, bytes(16)),
    ]
    for other in others:
        with pytest.raises(PeerFault) as caught:
            unwrapped(ours, *other, ct)
        assert caught.value.code is ErrorCode.E_AUTH


# ------------------------------------------------------------------ forming


def test_CL05_every_meter_has_the_root_key_of_the_top_rings_key(town: City) -> None:
    assert town.agreed()
    active = town.member_cell("m0", town.top).lasting.active
    assert active is not None
    expected = root_key(active.group.key, town.gid_root, 1)
    for name in town.meters:
        (ready,) = town.sim.heard(name, RootReady)
        assert (ready.e, ready.mode, ready.kcv) == (1, FRESH, kcv_of(expected))
        key = town.root_cell(name).lasting.key
        assert key is not None
        assert key.key == expected
    assert expected.expose() not in b"".join(datagram.data for datagram in town.sim.air)


def test_CL01_r3_of_the_top_ring_is_signed_and_names_the_kcv(town: City) -> None:
    signed = [datagram.data for datagram in air(town, R3) if peek(datagram.data)[1] == 2]
    assert len(signed) == len(town.top.names)
    kcvs = {read(data, Round3Claims, SIZES).claims.kcv for data in signed}
    assert kcvs == {town.sim.heard("m0", RootReady)[0].kcv}
    assert max(map(len, signed)) <= 123


def test_CL01_an_unsigned_r3_does_not_count_in_the_top_ring(town: City) -> None:
    def unsigned(datagram: Datagram) -> list[Datagram]:
        if peek(datagram.data) == (R3, 2) and datagram.source == "m4":
            claims = read(datagram.data, Round3Claims, SIZES).claims
            return [replace(datagram, data=Round3(claims.sid8, claims.idx, claims.tag).encode())]
        return [datagram]

    town.sim.adversary = unsigned
    gateway = town.top.gateway.name
    town.sim.command(gateway, ring_of(town.top.gid), Rekey(Cause(4)))
    town.sim.run_for(5.0)
    assert town.sim.hosts[gateway].refused["ring", ErrorCode.E_FORMAT] >= 1
    assert [root.e for root in town.sim.heard(gateway, RootAnnounced)] == [1]


# ------------------------------------------------------------------ ROOT


def test_CL02_no_root_is_signed_while_kcvs_differ(town: City) -> None:
    """A member of the top ring that believes in another e reports another kcv; shown the newest ROOT, it corrects itself."""
    cell = town.member_cell("m4", town.top)
    town.sim.hosts["m4"].cells[membership_of(town.top.gid)] = replace(cell, root_e=40)
    lost = town.sim.hosts["m4"].cells[root_of(town.gid_root)]
    gateway = town.top.gateway.name
    drop(town, lambda datagram: peek(datagram.data)[0] == NEED)
    town.sim.command(gateway, ring_of(town.top.gid), Rekey(Cause(4)))
    town.sim.run_for(3.0)
    assert [root.e for root in town.sim.heard(gateway, RootAnnounced)] == [1]
    assert town.sim.hosts["m4"].cells[root_of(town.gid_root)].lasting == replace(
        lost.lasting, since=town.root_cell("m4").lasting.since
    )
    drop(town, lambda _: False)
    town.e = 2
    assert town.sim.run_until(town.agreed, 10.0)


def test_CL02_after_twenty_questions_the_gateway_says_that_there_is_no_agreement(town: City) -> None:
    gateway = town.top.gateway.name
    cell = town.member_cell("m4", town.top)
    town.sim.hosts["m4"].cells[membership_of(town.top.gid)] = replace(cell, root_e=40)
    drop(town, lambda datagram: peek(datagram.data)[0] == NEED)
    town.sim.command(gateway, ring_of(town.top.gid), Rekey(Cause(4)))
    town.sim.run_for(40.0)
    (stuck,) = town.sim.heard(gateway, RootStuck)
    assert stuck.e == 2
    assert [root.e for root in town.sim.heard(gateway, RootAnnounced)] == [1]


def test_CL03_a_root_of_an_e_that_is_not_higher_is_refused_also_after_a_reboot(town: City) -> None:
    town.refresh(4)
    first, second = (datagram.data for datagram in air(town, ROOT) if datagram.source == town.top.gateway.name)
    forged = root_message(town, kcv=bytes(16))  # e 2 again, another key
    for boot in range(2):
        for old in (first, forged):
            town.sim.inject("anybody", "m1", old)
            town.sim.run_for(0.1)
        assert refused(town, "m1", ErrorCode.E_EPOCH) == 2 * (boot + 1)
        town.sim.reboot("m1")
        assert town.root_cell("m1").lasting.e == 2
    town.sim.inject("anybody", "m1", second)
    town.sim.run_for(0.1)
    assert refused(town, "m1", ErrorCode.E_EPOCH) == 4
    assert town.agreed()


def test_CL03_the_gateways_e_survives_a_restart(town: City) -> None:
    gateway = town.top.gateway.name
    town.sim.reboot(gateway)
    town.sim.run_for(1.0)
    town.refresh(4)
    assert [root.e for root in town.sim.heard(gateway, RootAnnounced)] == [1, 1, 2]
    assert town.agreed()


def test_CL04_a_root_of_anybody_else_is_refused(town: City) -> None:
    claims = read(root_message(town, e=2), RootClaims, SIZES).claims
    delegate, gateway = town.people["m0"], town.top.gateway
    for data in (
        write(delegate.signing, claims, kid=delegate.kid),
        write(delegate.signing, claims, kid=gateway.kid),
        write(town.levels[0][0].gateway.signing, claims, kid=gateway.kid),
    ):
        town.sim.inject(gateway.name, "m1", data)
    town.sim.run_for(0.1)
    assert refused(town, "m1", ErrorCode.E_ROSTER) == 3
    assert town.root_cell("m1").lasting.e == 1


def test_CL04_a_root_from_the_future_is_refused(town: City) -> None:
    """By a member with a clock; one that was held up on its way is still the newest that this member knows."""
    kind = root_kind(Party(town.people["m1"].signing, town.trust, has_clock=True))
    cell, now = town.root_cell("m1"), Now(1000.0, 1_900_000_000)
    late, early = (Received("anybody", root_message(town, e=2, ts=now.wall + by)) for by in (-90_000, 301))
    with pytest.raises(PeerFault) as caught:
        kind.step(cell, early, now, SeededEntropy(b""))
    assert caught.value.code is ErrorCode.E_REPLAY
    after, _ = kind.step(cell, late, now, SeededEntropy(b""))
    assert after.lasting.e == 2


def test_CL05_a_step_to_another_key_than_the_signed_one_is_not_made(town: City) -> None:
    town.sim.inject("anybody", "m1", root_message(town, e=2, mode=RATCHET, kcv=bytes(16)))
    town.sim.run_for(0.1)
    assert [said.e for said in town.sim.heard("m1", RootDiffers)] == [2]
    assert isinstance(town.root_cell("m1").stage, AwaitWrap)
    assert town.root_cell("m1").lasting.key is None


def test_CL05_a_member_that_missed_steps_catches_up(town: City) -> None:
    drop(
        town, lambda datagram: peek(datagram.data)[0] == ROOT and datagram.target.endswith(town.levels[0][2].gid.hex())
    )
    for e in (2, 3):
        ratchet(town)
        town.sim.run_for(1.0)
        assert town.root_cell("m1").lasting.e == e
    assert town.root_cell("m8").lasting.e == 3  # a delegate hears it in the top ring
    assert {town.root_cell(name).lasting.e for name in town.levels[0][2].names[1:]} == {1}
    drop(town, lambda _: False)
    ratchet(town)
    town.e = 4
    assert town.sim.run_until(town.agreed, 1.0)


# ------------------------------------------------------------------ WRAP


def test_CL06_a_wrap_counts_from_delegate_or_deputy_alone(town: City) -> None:
    leaf = town.levels[0][0]
    drop(town, wraps_of(town, leaf.delegate))
    town.announce()
    heir, member = leaf.names[1], leaf.names[2]
    cell = town.member_cell(member, leaf)
    assert cell.lasting.active is not None
    mk, sid = cell.lasting.active.group.key, cell.lasting.active.sid
    key = town.root_cell(leaf.delegate).lasting.key
    assert key is not None
    claims = WrapClaims(
        sid[:8], town.gid_root, key.e, wrapped(town.authority.suite, mk, sid, town.gid_root, key.e, key.key)
    )
    for signer in (leaf.names[3], CONTROL):
        person = town.people[signer]
        town.sim.inject("anybody", member, write(person.signing, claims, sid, kid=person.kid))
    impostor, delegate = town.people[leaf.names[3]], town.people[leaf.delegate]
    town.sim.inject("anybody", member, write(impostor.signing, claims, sid, kid=delegate.kid))
    town.sim.run_for(0.1)
    assert refused(town, member, ErrorCode.E_ROSTER) == 3
    assert isinstance(town.root_cell(member).stage, AwaitWrap)
    deputy = town.people[heir]
    town.sim.inject("anybody", member, write(deputy.signing, claims, sid, kid=deputy.kid))
    town.sim.run_for(0.1)
    assert town.root_cell(member).lasting.key is not None


@pytest.mark.parametrize("under", ["the kcv of ROOT", "its own kcv"])
def test_CL07_a_rogue_delegates_key_is_refused_and_reported(town: City, under: str) -> None:
    """B-19: the delegate feeds its cluster another root key."""
    leaf = town.levels[0][0]
    delegate, members = town.people[leaf.delegate], leaf.names[1:]
    evil = Secret(b"e" * 32)

    def rogue(datagram: Datagram) -> list[Datagram]:
        if not wraps_of(town, leaf.delegate)(datagram):
            return [datagram]
        claims = read(datagram.data, WrapClaims, SIZES).claims
        active = town.member_cell(leaf.delegate, leaf).lasting.active
        assert active is not None
        mk, sid, e = active.group.key, active.sid, claims.e
        if under == "its own kcv":
            ct = wrapped(town.authority.suite, mk, sid, town.gid_root, e, evil)
        else:
            kcv = town.root_cell(leaf.delegate).lasting.kcv
            key = lexp(mk, "B/wrap", cbor.encode_array(sid, town.gid_root, e, kcv))
            ct = town.authority.suite.seal_once(key, cbor.encode_array(sid[:8], town.gid_root, e), evil.expose())
        return [replace(datagram, data=write(delegate.signing, replace(claims, ct=ct), sid, kid=delegate.kid))]

    town.sim.adversary = rogue
    town.announce()
    code = ErrorCode.E_AUTH if under == "its own kcv" else ErrorCode.E_CONFIRM
    for name in members:
        assert {(said.kid, said.code) for said in town.sim.heard(name, WrapRefused)} == {(delegate.kid, code)}
        assert town.root_cell(name).lasting.key is None
        assert evil.expose() not in record(town.root_cell(name), 0)
    town.sim.run_for(31.0)
    assert [said.deputy for said in town.sim.heard(leaf.deputy, WrapMissing)] == [True]


def test_CL06_a_wrap_that_overtakes_its_root_is_kept(town: City) -> None:
    leaf = town.levels[0][0]
    late = [f"multicast ring {leaf.gid.hex()}"]
    held: list[Datagram] = []

    def slow(datagram: Datagram) -> list[Datagram]:
        if datagram.target in late and peek(datagram.data)[0] == ROOT:
            held.append(datagram)
            return []
        return [datagram]

    town.sim.adversary = slow
    town.announce()
    assert town.root_cell("m1").lasting.e == 1
    assert air(town, WRAP)[-1].source in {cluster.delegate for cluster in town.levels[0]}
    asked = len(air(town, NEED))
    for datagram in held:
        for name in leaf.names[1:]:
            town.sim.inject(datagram.source, name, datagram.data)
    town.sim.run_for(0.1)
    assert town.root_cell("m1").lasting.e == 2
    assert town.root_cell("m1").lasting.key is not None
    assert len(air(town, NEED)) == asked


# ------------------------------------------------------------------ take-over


def test_CL10_the_deputy_makes_the_very_ciphertext_of_a_silent_delegate(town: City) -> None:
    """A step of the root key with a newcomer in the leaf: the delegate's WRAP is lost, the deputy's comes after 30 s."""
    leaf = town.levels[0][2]
    town.move_in("new", leaf)
    town.seat(leaf, "new")
    swallowed: list[bytes] = []

    def silent(datagram: Datagram) -> list[Datagram]:
        if wraps_of(town, leaf.delegate)(datagram):
            swallowed.append(datagram.data)
            return []
        return [datagram]

    town.sim.command(leaf.gateway.name, ring_of(leaf.gid), Amend(add=(town.people["new"].entry,)))
    town.sim.run_for(11.0)
    assert town.member_cell("new", leaf).lasting.active is not None
    town.sim.adversary = silent
    since = len(town.sim.air)
    ratchet(town)
    town.sim.run_for(29.0)
    assert {datagram.source for datagram in air(town, WRAP, since)} == {leaf.delegate}
    town.sim.run_for(2.0)
    made_by_deputy = [d.data for d in air(town, WRAP, since) if d.source == leaf.deputy]
    assert len(made_by_deputy) == 1
    cts = {read(data, WrapClaims, SIZES).claims.ct for data in (*swallowed, *made_by_deputy)}
    assert len(cts) == 1
    assert town.root_cell("new").lasting.key is not None


def test_CL12_who_asks_for_the_root_key_gets_it_from_the_deputy_if_the_delegate_is_silent(town: City) -> None:
    leaf = town.levels[0][0]
    member = leaf.names[3]
    drop(town, lambda datagram: wraps_of(town, leaf.delegate)(datagram) and datagram.at < 3.0)
    before = town.root_cell(member)
    town.sim.hosts[member].lose_power()
    town.off.add(member)
    town.refresh(4)
    town.off.discard(member)
    drop(town, wraps_of(town, leaf.delegate))
    town.sim.reboot(member)
    town.sim.run_for(1.0)
    assert town.root_cell(member).lasting.e == before.lasting.e
    say(town, member, Resync())
    town.sim.run_for(1.0)
    assert town.root_cell(member).lasting.e == 2  # its gateway has shown it the ROOT
    town.sim.run_for(10.0)
    assert town.root_cell(member).lasting.key is not None
    assert air(town, WRAP)[-1].source == leaf.deputy


def test_CL11_a_missing_fresh_key_is_reported_and_the_deputy_promoted_above(town: City) -> None:
    leaf = town.levels[0][1]
    silent = leaf.delegate
    drop(town, wraps_of(town, silent))
    town.announce()
    town.sim.run_for(29.0)
    assert not any(town.sim.heard(name, WrapMissing) for name in leaf.names)
    town.sim.run_for(2.0)
    missing = {
        name: [(said.gid, said.e, said.deputy) for said in town.sim.heard(name, WrapMissing)] for name in leaf.names
    }
    assert missing == {silent: [], **{name: [(leaf.gid, 2, name == leaf.deputy)] for name in leaf.names[1:]}}
    town.evict(silent)
    assert town.agreed()
    assert silent != leaf.delegate in town.top.names


# ------------------------------------------------------------------ who must not have it


def opens(made: City, wrap: bytes, mks: list[tuple[Secret, bytes]], kcvs: list[bytes]) -> bool:
    """Return whether any of these ring keys opens a recorded WRAP."""
    claims = read(wrap, WrapClaims, SIZES).claims
    for mk, sid in mks:
        for kcv in kcvs:
            for bound in (sid, sid[:0] + claims.sid8 + sid[8:]):
                try:
                    unwrapped(made.authority.suite, mk, bound, claims.gid_root, claims.e, kcv, claims.ct)
                except PeerFault:
                    continue
                return True
    return False


def keys_of(made: City, name: str) -> list[tuple[Secret, bytes]]:
    cells = [made.sim.hosts[name].cells.get(membership_of(cluster.gid)) for cluster in made.clusters]
    epochs = [cell.lasting.active for cell in cells if cell is not None and cell.lasting.active is not None]
    return [(epoch.group.key, epoch.sid) for epoch in epochs]


@pytest.mark.parametrize("who", ["m2", "m0"], ids=["an ordinary meter", "a delegate"])
def test_CL14_an_evicted_meter_opens_nothing_after(town: City, who: str) -> None:
    """B-17: it keeps MK and RK and records every WRAP; neither it nor a step from its RK gives the new root key."""
    mks = keys_of(town, who)
    old = town.root_cell(who).lasting.key
    assert old is not None
    since = len(town.sim.air)
    before = [datagram.data for datagram in air(town, WRAP)]
    town.evict(who)
    assert town.agreed()
    new = town.root_cell("m1").lasting.key
    assert new is not None
    kcvs = [kcv_of(new.key)]
    recorded = [datagram.data for datagram in air(town, WRAP, since)]
    assert len(recorded) == len(town.levels[0])
    assert not any(opens(town, wrap, mks, kcvs) for wrap in recorded)
    rk = old.key
    for e in range(old.e + 1, new.e + 3):
        rk = ratcheted(rk, town.gid_root, e)
        assert rk != new.key
        assert root_key(old.key, town.gid_root, e) != new.key
    # the very same check finds what the meter was entitled to
    assert any(opens(town, wrap, mks, [kcv_of(old.key)]) for wrap in before)
    erased = town.sim.heard(who, RootErased)
    assert [said.e for said in erased] == [1]
    assert town.root_cell(who).lasting.rk is None


def test_CL13_a_joiner_opens_nothing_from_before(town: City) -> None:
    """B-18: it has recorded every WRAP and record, and gets a key that nobody can step back from."""
    leaf = town.levels[0][2]
    old = town.root_cell("m1").lasting.key
    assert old is not None
    before = [datagram.data for datagram in air(town, WRAP)]
    town.join(leaf, "new")
    mine = town.root_cell("new").lasting.key
    assert mine is not None
    assert mine.key == ratcheted(old.key, town.gid_root, 2)
    mks = keys_of(town, "new")
    assert not any(opens(town, wrap, mks, [kcv_of(old.key), kcv_of(mine.key)]) for wrap in before)
    (recent,) = [datagram.data for datagram in air(town, WRAP)[len(before) :]]
    assert opens(town, recent, mks, [kcv_of(mine.key)])  # the one that was made for it


def test_CL13_nobody_wraps_a_key_in_use_for_a_newcomer(town: City) -> None:
    """It asks for the root key before the step: neither delegate nor deputy gives it the one from before it came."""
    leaf = town.levels[0][2]
    town.move_in("new", leaf)
    town.seat(leaf, "new")
    town.sim.command(leaf.gateway.name, ring_of(leaf.gid), Amend(add=(town.people["new"].entry,)))
    town.sim.run_for(11.0)
    assert town.member_cell("new", leaf).lasting.active is not None
    since = len(town.sim.air)
    say(town, "new", Resync())
    town.sim.run_for(20.0)
    assert air(town, NEED, since)
    assert air(town, WRAP, since) == []
    for name in (leaf.delegate, leaf.deputy):
        town.sim.reboot(name)  # a delegate that has forgotten who was new does not give it either
    town.sim.run_for(1.0)
    say(town, "new", Resync())
    town.sim.run_for(20.0)
    assert air(town, WRAP, since) == []
    ratchet(town)
    town.sim.run_for(3.0)
    key = town.root_cell("new").lasting.key
    assert key is not None
    assert key.e == 2


def test_CL14_nobody_wraps_under_a_key_whose_ring_has_another_roster(town: City) -> None:
    """The leaf's next run is held up after its roster: a fresh root key meanwhile is not wrapped under the old key."""
    leaf = town.levels[0][0]
    evicted = leaf.names[3]
    rounds = {33, 35}
    drop(town, lambda datagram: datagram.target.endswith(leaf.gid.hex()) and peek(datagram.data)[0] in rounds)
    town.off.add(evicted)
    command = Amend(remove=(town.people[evicted].kid,), reason=4)
    town.sim.command(leaf.gateway.name, ring_of(leaf.gid), command)
    town.sim.run_for(0.1)
    since = len(town.sim.air)
    town.announce()
    assert leaf.delegate not in {datagram.source for datagram in air(town, WRAP, since)}
    assert town.root_cell(leaf.delegate).lasting.e == 2
    drop(town, lambda _: False)
    leaf.names.remove(evicted)
    assert town.sim.run_until(town.agreed, 60.0)
    assert leaf.delegate in {datagram.source for datagram in air(town, WRAP, since)}


def test_CL09_who_leaves_every_ring_erases_the_root_key(town: City) -> None:
    town.leave("m2")
    assert town.agreed()
    cell = town.root_cell("m2")
    assert cell.lasting.rk is None
    assert cell.payload.current is None
    old = town.root_cell("m1").lasting.key
    assert old is not None
    assert all(key.key.expose() not in row.record for row in town.sim.hosts["m2"].disk.values() for key in (old,))


# ------------------------------------------------------------------ offices, steps, records


def test_CL15_a_deputy_takes_the_place_of_a_delegate_who_left(town: City) -> None:
    town.lose_delegate("m0")
    assert town.agreed()
    leaf = town.levels[0][0]
    held = town.ring_cell(leaf).lasting.held
    assert held.delegate_idx is not None
    assert held.deputy_idx is not None
    assert held.entries[held.delegate_idx].kid == town.people["m1"].kid
    assert held.delegate_idx != held.deputy_idx
    assert town.ring_cell(town.top).lasting.held.position(town.people["m1"].kid) is not None
    before = len(air(town, WRAP))
    town.refresh(4)
    assert "m1" in {datagram.source for datagram in air(town, WRAP)[before:]}
    assert town.agreed()


def test_CL16_a_relay_gateway_is_never_a_delegate(town: City) -> None:
    gateway = town.levels[0][0].gateway
    entries = tuple(sorted([gateway.entry, town.people["m0"].entry, town.people["m1"].entry]))
    kids = [entry.kid for entry in entries]
    claims = RosterClaims(b"newgroup", 1, entries, kids.index(gateway.kid), None)
    cluster = Cluster(0, 9, b"newgroup", gateway, [])
    ra = town.authority.person
    signed = write(ra.signing, claims, kid=ra.kid)
    wish = FormRing(town.authority.charter(cluster), signed, RingPlan(RELAY, 0), town.authority.delegation(cluster))
    with pytest.raises(CallerFault, match="edge mode"):
        town.sim.command(gateway.name, ring_of(cluster.gid), wish)


def test_CL17_a_step_needs_two_members_who_report_one_kcv(town: City) -> None:
    gateway = town.top.gateway.name
    drop(town, lambda datagram: peek(datagram.data)[0] == R3 and datagram.source != "m0")
    ratchet(town)
    town.sim.run_for(3.0)
    assert [root.e for root in town.sim.heard(gateway, RootAnnounced)] == [1]
    drop(town, lambda _: False)
    town.sim.run_for(1.5)
    (_, second) = town.sim.heard(gateway, RootAnnounced)
    assert (second.e, second.mode) == (2, RATCHET)


def test_CL17_a_step_before_the_first_root_key_is_the_callers_fault() -> None:
    made = city(8, most=4)
    with pytest.raises(CallerFault, match="no root key"):
        ratchet(made)


def test_CL18_root_key_and_number_survive_a_reboot_and_the_record_is_small(town: City) -> None:
    for name in ("m0", "m2"):
        town.sim.reboot(name)
    town.sim.run_for(1.0)
    assert town.agreed()
    town.refresh(4)
    assert town.agreed()
    signing = [town.authority.suite.generate_signing_key(SeededEntropy(bytes((at,)))) for at in range(33)]
    senders = tuple(sorted(Entry(bytes(7) + bytes((at,)), key.public) for at, key in enumerate(signing)))
    charter = town.root_cell("m2").lasting.charter
    say(town, "m2", JoinRoot(charter, town.people["m2"].kid, senders[:32]))
    town.refresh(4)
    assert 1000 < len(record(town.root_cell("m2"), 0)) <= 2048
    with pytest.raises(CallerFault, match="at most 32"):
        say(town, "m2", JoinRoot(charter, town.people["m2"].kid, senders))
    stranger = RootCharter(charter.gid_root, 1, bytes(8), signing[0].public)
    with pytest.raises(CallerFault, match="another root gateway"):
        say(town, "m2", JoinRoot(stranger, town.people["m2"].kid))
    with pytest.raises(CallerFault, match="of suite 17"):
        say(town, "m2", JoinRoot(replace(charter, suite=17), town.people["m2"].kid))


# ------------------------------------------------------------------ the root group's records


def speaker(made: City) -> str:
    """Let a meter be one of those who may send to the city from the next root key on."""
    charter = made.root_cell("m2").lasting.charter
    for name in made.meters:
        say(made, name, JoinRoot(charter, made.people[name].kid, (made.people["m2"].entry,)))
    made.refresh(4)
    return "m2"


def protect(made: City, name: str, text: bytes) -> bytes:
    reports = made.sim.command(name, root_of(made.gid_root), ProtectForGroup(text, "tariff"))
    (sealed,) = [report for report in reports if isinstance(report, GroupProtected)]
    return sealed.record


def test_CL08_a_record_to_the_city_is_signed_and_everybody_opens_it(town: City) -> None:
    name = speaker(town)
    data = protect(town, name, b"dear")
    for other in town.meters:
        if other != name:
            say(town, other, UnprotectForGroup(name, data, "tariff"))
            (opened,) = town.sim.heard(other, GroupOpened)
            assert (opened.plaintext, opened.signed, opened.kid) == (b"dear", True, town.people[name].kid)
    town.sim.command("m5", root_of(town.gid_root), ProtectForGroup(b"cheap", "tariff"))
    assert refused(town, "m5", ErrorCode.E_STATE) == 1  # it only listens


def test_CL08_nothing_is_sent_while_the_key_of_the_newest_root_is_missing(town: City) -> None:
    name = speaker(town)
    leaf = town.leaf_of(name)
    old = protect(town, name, b"before")
    drop(town, wraps_of(town, leaf.delegate))
    town.announce()
    assert isinstance(town.root_cell(name).stage, AwaitWrap)
    assert town.sim.command(name, root_of(town.gid_root), ProtectForGroup(b"after", "tariff"))
    assert refused(town, name, ErrorCode.E_STATE) == 1
    say(town, leaf.names[3], UnprotectForGroup(name, old, "tariff"))
    assert [said.plaintext for said in town.sim.heard(leaf.names[3], GroupOpened)] == [b"before"]
    drop(town, lambda _: False)
    town.sim.run_for(10.0)  # it asks, and its delegate answers
    assert isinstance(town.root_cell(name).stage, Settled)
    assert protect(town, name, b"after")


def test_CL08_an_old_root_key_is_received_for_a_minute_and_then_erased(town: City) -> None:
    name = speaker(town)
    old = [protect(town, name, text) for text in (b"1", b"2")]
    town.refresh(4)
    say(town, "m5", UnprotectForGroup(name, old[0], "tariff"))
    assert [said.plaintext for said in town.sim.heard("m5", GroupOpened)] == [b"1"]
    town.sim.run_for(61.0)
    say(town, "m5", UnprotectForGroup(name, old[1], "tariff"))
    assert len(town.sim.heard("m5", GroupOpened)) == 1
    assert refused(town, "m5", ErrorCode.E_EPOCH) == 1
    assert RootErased(town.gid_root, 2) in town.sim.heard("m5", RootErased)


def test_CL08_a_meter_that_gets_no_wrap_gives_the_old_root_key_up_after_a_minute(town: City) -> None:
    leaf = town.levels[0][0]
    drop(town, lambda datagram: peek(datagram.data)[0] in (WRAP, NEED) and datagram.target.endswith(leaf.gid.hex()))
    town.announce()
    town.sim.run_for(59.0)
    assert town.root_cell("m2").lasting.rk is not None
    town.sim.run_for(2.0)
    assert town.root_cell("m2").lasting.rk is None
    assert town.root_cell("m2").payload.current is None
    assert town.root_cell("m2").lasting.e == 2


def test_CL12_in_a_ring_by_unicast_the_gateway_hands_wraps_and_questions_on() -> None:
    made = city(8, most=4, recording=True, multicast=False)
    made.form()
    assert made.agreed()
    assert all(MULTICAST not in datagram.target for datagram in made.sim.air)
    drop(made, wraps_of(made, made.levels[0][0].delegate))
    made.announce()
    assert isinstance(made.root_cell("m2").stage, AwaitWrap)
    drop(made, lambda _: False)
    made.sim.run_for(10.0)
    assert made.agreed()


@pytest.mark.parametrize("multicast", [True, False], ids=["multicast", "unicast"])
def test_CL16_a_gateway_in_edge_mode_is_a_delegate_like_any_other(multicast: bool) -> None:
    """It leads its leaf, is a member of it, and sits in the ring above; both talk inside its node."""
    made = city(6, most=3, edge=True, multicast=multicast, recording=True)
    assert [cluster.delegate for cluster in made.levels[0]] == ["gw0.0", "gw0.1"]
    made.form()
    assert made.agreed()
    made.join(made.levels[0][0], "new")
    assert made.agreed()
    made.leave("m1")
    assert made.agreed()
    assert {datagram.source for datagram in air(made, WRAP)} == {"gw0.0", "gw0.1"}
    leaf = made.levels[0][0]
    made.sim.reboot("gw0.0")
    where = {made.people[name].kid: HERE if name == "gw0.0" else name for name in leaf.names}
    made.sim.command("gw0.0", ring_of(leaf.gid), Locate(where))  # as its host does after each start
    made.sim.run_for(1.0)
    made.refresh(4)
    assert made.agreed()


def test_what_is_handed_on_and_is_no_root_is_not_kept(town: City) -> None:
    leaf = town.levels[0][0]
    kept = town.ring_cell(leaf).root
    assert kept
    town.sim.command(leaf.gateway.name, ring_of(leaf.gid), HandOn(b"\x82\x18\x2a\x00"))
    assert town.ring_cell(leaf).root == kept


def test_CL02_a_top_ring_that_has_forgotten_e_heals_with_the_second_root_key(town: City) -> None:
    """All its members lose their root cells: they agree on a kcv for a wrong e, which nobody then takes for the key of ROOT."""
    for name in town.top.names:
        charter = town.root_cell(name).lasting.charter
        say(town, name, ForgetGroup())
        say(town, name, JoinRoot(charter, town.people[name].kid))
        town.sim.reboot(name)
    town.sim.run_for(1.0)
    town.announce()
    assert [town.root_cell(name).lasting.key for name in town.top.names] == [None, None, None]
    town.refresh(4)
    assert town.agreed()


def test_CL12_a_restarted_delegate_still_answers_an_old_member(town: City) -> None:
    """Its record says since when the ring has been as it is, so it may wrap the key of the newest ROOT."""
    leaf = town.levels[0][0]
    member = leaf.names[3]
    town.refresh(4)
    town.sim.reboot(leaf.delegate)
    town.sim.reboot(leaf.deputy)
    town.sim.hosts[leaf.deputy].lose_power()
    cell = town.root_cell(member)
    waiting = AwaitWrap(1, 0.0, 0.0, 0.0)
    lost = replace(cell, lasting=replace(cell.lasting, rk=None), payload=Payload(cell.gid), stage=waiting)
    town.sim.hosts[member].cells[root_of(town.gid_root)] = lost
    since = len(town.sim.air)
    say(town, member, Resync())
    town.sim.run_for(1.0)
    assert [datagram.source for datagram in air(town, WRAP, since)] == [leaf.delegate]
    assert town.root_cell(member).lasting.key is not None


def test_CL10_a_deputy_that_hears_the_delegate_says_nothing(town: City) -> None:
    leaf = town.levels[0][2]
    town.join(leaf, "new")
    since = len(town.sim.air)
    town.sim.run_for(40.0)
    assert air(town, WRAP, since) == []


# ------------------------------------------------------------------ whatever happens

happenings = st.lists(
    st.tuples(
        st.sampled_from(["step", "fresh", "reboot", "leaf"]), st.integers(0, 11), st.sampled_from([0.5, 3.0, 40.0])
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.timeout(300)
@settings(max_examples=12, deadline=None)
@given(happenings, st.integers(0, 3))
def test_CL21_no_two_meters_ever_have_two_keys_of_one_e_and_all_agree_in_the_end(
    built: City, told: list[tuple[str, int, float]], loss: int
) -> None:
    """Steps, fresh keys, runs of leaves and reboots at any moment, with up to 30 % of all datagrams lost."""
    made = built.fork(f"{told} {loss}")
    made.sim.channel = Channel(latency_s=0.002, jitter_s=0.05, loss=loss / 10)
    keys: dict[int, bytes] = {}
    highest = dict.fromkeys(made.meters, 0)
    for what, which, pause_s in told:
        name = made.meters[which]
        leaf = made.leaf_of(name)
        match what:
            case "step":
                ratchet(made)
            case "fresh":
                made.sim.command(made.top.gateway.name, ring_of(made.top.gid), Rekey(Cause(4)))
            case "leaf":
                made.sim.command(leaf.gateway.name, ring_of(leaf.gid), Rekey(Cause(4)))
            case _:
                made.sim.reboot(name)
        for _ in range(10):
            made.sim.run_for(pause_s / 10)
            _look(made, keys, highest)
    made.sim.channel = Channel(latency_s=0.002)
    made.sim.run_for(120.0)  # rings settle
    made.sim.command(made.top.gateway.name, ring_of(made.top.gid), Rekey(Cause(4)))
    made.sim.run_for(40.0)
    _look(made, keys, highest)
    made.e = max(announced.e for announced in made.sim.heard(made.top.gateway.name, RootAnnounced))
    assert made.agreed()


def _look(made: City, keys: dict[int, bytes], highest: dict[str, int]) -> None:
    for name in made.meters:
        lasting = made.root_cell(name).lasting
        assert lasting.e >= highest[name]
        highest[name] = lasting.e
        if lasting.rk is not None:
            assert keys.setdefault(lasting.rk.e, lasting.rk.key.expose()) == lasting.rk.key.expose()
