"""Whole runs of a ring in the simulator: sizes, suites, modes, orders of arrival, and what a run leaves behind."""

from dataclasses import replace
from itertools import pairwise, permutations
from typing import Any

import pytest

from keymote import cbor
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.engine.base import MULTICAST
from keymote.engine.group.epoch import GroupEpoch
from keymote.engine.group.faces import (
    Above,
    Amend,
    EpochErased,
    GroupReady,
    HoldPsk,
    Level,
    Rekey,
    RingCommitted,
    RunFailed,
    RunStarted,
    membership_of,
    ring_of,
)
from keymote.engine.group.payload_faces import GroupOpened, GroupProtected, ProtectForGroup, UnprotectForGroup
from keymote.engine.group.ring_states import Running
from keymote.engine.group.states import MOST_GONE, Epoch, record
from keymote.engine.group.timing import timeout_s
from keymote.lab.simulator import Channel, Datagram
from keymote.lab.street import GW, Street, street
from keymote.wire.group import EDGE, RELAY, Bundle, Round1, Round2, Start
from keymote.wire.group_fields import Cause
from keymote.wire.registry import peek

START, R1, R2, R3, COMMIT, BUNDLE = 32, 33, 35, 36, 37, 46
both_suites = pytest.mark.parametrize("suite", [1, 17], ids=["suite 1", "suite 17"])
both_modes = pytest.mark.parametrize("mode", [RELAY, EDGE], ids=["relay", "edge"])
deliveries = pytest.mark.parametrize("multicast", [True, False], ids=["multicast", "unicast"])
levels = pytest.mark.parametrize("level", list(Level))


def sent(made: Street, mt: int) -> int:
    return sum(count for (_, kind), count in made.sim.messages.items() if kind == mt)


def assert_one_key(made: Street, *names: str) -> bytes:
    """Every member on the roster (or of `names`) has the same epoch, key, key id and list of senders; return MK."""
    epochs = [made.active(name) for name in (names or made.members())]
    assert all(epoch is not None for epoch in epochs)
    first = epochs[0]
    assert first is not None
    for epoch in epochs:
        assert epoch is not None
        assert (epoch.number, epoch.sid, epoch.key_id) == (first.number, first.sid, first.key_id)
        assert epoch.group.key == first.group.key
        assert epoch.group.senders == first.group.senders
    return first.group.key.expose()


# ------------------------------------------------------------------ it works


@both_suites
@both_modes
@deliveries
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_GR36_every_member_of_a_small_ring_gets_the_key(n: int, multicast: bool, mode: int, suite: int) -> None:
    made = street(n, suite=suite, mode=mode, multicast=multicast)
    assert made.run(5.0)
    mk = assert_one_key(made)
    assert len(made.members()) == n + mode
    (committed,) = made.sim.heard(GW, RingCommitted)
    for name in made.members():
        (ready,) = made.heard(name)
        assert (ready.epoch, ready.n, ready.key_id) == (1, n + mode, committed.key_id)
    assert mk not in b"".join(datagram.data for datagram in made.sim.air)


@pytest.mark.parametrize(("n", "suite"), [(25, 1), (25, 17), (32, 1)])
def test_GR36_every_member_of_a_large_ring_gets_the_key(n: int, suite: int) -> None:
    made = street(n, suite=suite)
    assert made.run(5.0)
    assert_one_key(made)
    assert {mt: sent(made, mt) for mt in (START, R1, R2, R3, COMMIT)} == {START: 1, R1: n, R2: n, R3: n, COMMIT: 1}


@levels
@both_modes
def test_GR25_levels_agree_with_each_other(level: Level, mode: int) -> None:
    made = street(4, level=level, mode=mode)
    assert made.run(5.0)
    assert_one_key(made)


def test_GR20_compact_r1_makes_the_same_ring() -> None:
    made = street(5, compact=True)
    assert made.run(5.0)
    assert_one_key(made)
    assert sent(made, R1) == 0
    mixed = street(5, compact=True, level=Level.V2)  # V2 asks for the signed form of each
    assert mixed.run(30.0)
    assert_one_key(mixed)
    assert sent(mixed, R1) >= 5


def test_members_of_several_groups_have_several_keys() -> None:
    """Two gateways' worth of groups at the same meters: cells of other gids do not meet."""
    energy, diagnostics = street(3, seed=b"energy"), street(3, seed=b"diagnostics")
    for made in (energy, diagnostics):
        assert made.run(5.0)
    assert assert_one_key(energy) != assert_one_key(diagnostics)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_GR06_the_order_of_arrival_changes_nothing(order: tuple[int, ...]) -> None:
    """Each member's messages take another time to each other member."""
    made = street(3, formed=False)
    for at, name in enumerate(made.names):
        for target in (*made.names, GW):
            made.sim.channels[name, target] = Channel(0.01 + 0.05 * order[at])
        made.sim.channels[name, MULTICAST] = Channel(0.01 + 0.05 * order[at])
    made.sim.channel = Channel(0.01, 0.2)
    made.form()
    assert made.run(20.0)
    assert_one_key(made)


def test_GR33_a_hedge_enters_the_key_of_all_who_hold_it() -> None:
    made = street(3)
    assert made.run(5.0)
    psk_id = b"hedge-01"
    for name in made.names[:2]:
        made.tell(name, HoldPsk(psk_id, Secret(b"p" * 32)))
    made.sim.run_for(20.0)
    made.ring(Rekey(Cause(1, psk_id)))
    made.sim.run_for(3.0)
    assert {made.active(name).number for name in made.names} == {1}  # type: ignore[union-attr]
    assert ("membership", 5) in made.sim.hosts[made.names[2]].refused  # E_UNKNOWN_ID
    made.tell(made.names[2], HoldPsk(psk_id, Secret(b"p" * 32)))
    assert made.run(60.0)
    assert_one_key(made)
    assert made.heard(made.names[0])[-1].cause.psk_id == psk_id


def test_GR33_a_wrong_hedge_is_a_wrong_key_and_nobody_becomes_active() -> None:
    made = street(3)
    assert made.run(5.0)
    for at, name in enumerate(made.names):
        made.tell(name, HoldPsk(b"hedge-01", Secret(bytes([at == 0]) * 32)))
    made.sim.run_for(20.0)
    made.ring(Rekey(Cause(1, b"hedge-01")))
    made.sim.run_for(9.0)
    assert {made.active(name).number for name in made.names} == {1}  # type: ignore[union-attr]
    assert ("E_CONFIRM", 2) in {
        (failed.code.name, failed.epoch) for name in made.names for failed in made.sim.heard(name, RunFailed)
    }


# ------------------------------------------------------------------ epochs follow each other


def test_GR38_the_old_epoch_is_opened_for_a_minute_and_then_erased() -> None:
    made = street(3)
    assert made.run(5.0)
    made.sim.run_for(20.0)
    first = made.active("m0")
    (early,) = made.tell("m0", ProtectForGroup(b"21.5", "telemetry"))
    assert isinstance(early, GroupProtected)
    (late,) = made.tell("m0", ProtectForGroup(b"21.6", "telemetry"))
    assert isinstance(late, GroupProtected)
    made.ring(Rekey())
    assert made.run(5.0)
    assert assert_one_key(made) != first.group.key.expose()  # type: ignore[union-attr]
    (opened,) = made.tell("m1", UnprotectForGroup("m0", early.record, "telemetry"))
    assert isinstance(opened, GroupOpened) and opened.plaintext == b"21.5"
    made.sim.run_for(59.0)
    assert made.sim.heard("m1", EpochErased) == []
    made.sim.run_for(2.0)
    assert made.sim.heard("m1", EpochErased) == [EpochErased(made.gid, 1)]
    (refused,) = made.tell("m1", UnprotectForGroup("m0", late.record, "telemetry"))
    assert not isinstance(refused, GroupOpened)


def test_GR38_after_a_compromise_the_old_epoch_is_gone_at_once() -> None:
    made = street(3)
    assert made.run(5.0)
    (record_,) = made.tell("m0", ProtectForGroup(b"21.5", "telemetry"))
    assert isinstance(record_, GroupProtected)
    made.ring(Rekey(Cause(4)))
    assert made.run(5.0)
    assert made.newest() == 2
    assert made.sim.heard("m1", EpochErased) == [EpochErased(made.gid, 1)]
    (refused,) = made.tell("m1", UnprotectForGroup("m0", record_.record, "telemetry"))
    assert not isinstance(refused, GroupOpened)


def test_GR46_starts_are_ten_seconds_apart_but_for_an_eviction() -> None:
    made = street(4)
    assert made.run(5.0)
    made.ring(Rekey())
    made.sim.run_for(5.0)
    assert [report.epoch for report in made.sim.heard(GW, RunStarted)] == [1]
    made.ring(Amend(remove=(made.people["m3"].kid,), reason=3))
    assert made.run(3.0)
    assert made.newest() == 2
    assert made.active("m3") is None
    times = [at for at, _, report in made.sim.hosts[GW].reports if isinstance(report, RunStarted)]
    assert times[1] - times[0] < 10.0
    made.ring(Rekey())
    made.sim.run_for(60.0)
    times = [at for at, _, report in made.sim.hosts[GW].reports if isinstance(report, RunStarted)]
    assert all(later - earlier >= 10.0 for earlier, later in pairwise(times[1:]))
    assert len(times) == 3


def test_a_planned_run_begins_when_the_lifetime_is_over_also_after_a_restart() -> None:
    made = street(3, lifetime_s=3600)
    assert made.run(5.0)
    made.sim.run_for(3590.0)
    assert made.newest() == 1
    made.sim.run_for(20.0)
    assert made.newest() == 2 and made.agreed()
    made.sim.reboot(GW)
    made.sim.run_for(3610.0)
    assert made.newest() == 3 and made.agreed()


# ------------------------------------------------------------------ what is kept


def secrets_of_a_ring(made: Street) -> set[bytes]:
    """Return MK of all epochs, every scalar drawn, and every edge and GK_pub of the runs that were recorded."""
    drawn = set(made.witness.scalars)
    return drawn | {key for keys in made.keys().values() for key in keys}


def exposed(value: Any, seen: set[int] | None = None) -> set[bytes]:
    """Return every byte string below a cell, the raw bytes of secrets included."""
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, str | int | float | type(None)):
        return set()
    seen.add(id(value))
    if isinstance(value, bytes):
        return {value}
    if isinstance(value, Secret):
        return {value.expose()}
    if isinstance(value, dict):
        return {found for pair in value.items() for part in pair for found in exposed(part, seen)}
    if isinstance(value, tuple | list):
        return {found for part in value for found in exposed(part, seen)}
    if type(value).__name__ in {"WitnessedSuite", "SigningKey"}:
        return set()
    names = getattr(type(value), "__dataclass_fields__", {})
    return {found for name in names for found in exposed(getattr(value, name), seen)}


@deliveries
def test_GR41_a_relay_gateway_holds_no_key_at_any_moment(multicast: bool) -> None:
    made = street(4, multicast=multicast, formed=False)
    seen: set[bytes] = set()
    records: list[bytes] = []

    def looking(datagram: Datagram) -> list[Datagram]:
        if ring_of(made.gid) in made.sim.hosts[GW].cells:
            seen.update(exposed(made.lead()))
        return [datagram]

    made.sim.adversary = looking
    made.form()
    for _ in range(10):
        assert made.run(5.0)
        seen.update(exposed(made.lead()))
        made.sim.run_for(20.0)
        made.ring(Rekey())
        made.sim.run_for(0.5)
    records = [data for _, data in made.sim.hosts[GW].journal]
    everything = b"".join(seen) + b"".join(records)
    assert made.newest() >= 10 and len(seen) > 100
    for name in made.names:
        for ready in made.heard(name):
            assert ready.gid == made.gid
        epoch = made.active(name)
        assert epoch is not None
        assert epoch.group.key.expose() not in everything
    for secret in made.witness.scalars:
        assert secret not in everything
    assert membership_of(made.gid) not in made.sim.hosts[GW].cells
    assert any(cell_bytes in everything for cell_bytes in [made.lead().lasting.start]), "the search sees what is there"


def test_GR39_GR35_no_secret_of_a_run_reaches_a_disk() -> None:
    made = street(4)
    assert made.run(5.0)
    for name in (*made.names, GW):
        journal = b"".join(data for _, data in made.sim.hosts[name].journal)
        for scalar in made.witness.scalars:
            assert scalar not in journal


def test_GR35_x_is_erased_with_the_key() -> None:
    made = street(3)
    waiting: set[str] = set()

    def looking(datagram: Datagram) -> list[Datagram]:
        if peek(datagram.data)[0] in (R3, COMMIT):
            for name in made.names:
                cell = made.cell(name)
                assert cell is not None
                if type(cell.phase).__name__ == "AwaitCommit":
                    waiting.add(name)
                    assert exposed(cell).isdisjoint(made.witness.scalars)
        return [datagram]

    made.sim.adversary = looking
    assert made.run(5.0)
    assert waiting == set(made.names)
    for name in made.names:
        assert exposed(made.cell(name)).isdisjoint(made.witness.scalars)


@both_suites
def test_GR52_records_and_running_rings_keep_their_limits(suite: int) -> None:
    """The largest ring with the longest of everything, in its worst moment: another roster is held than the active one."""
    made = street(32, suite=suite, multicast=False)
    largest = 0

    def looking(datagram: Datagram) -> list[Datagram]:
        nonlocal largest
        largest = max(largest, sum(map(len, exposed(made.lead()))))
        return [datagram]

    made.sim.adversary = looking
    for name in made.names:
        for psk_id in (b"hedge-01", b"hedge-02"):
            made.tell(name, HoldPsk(psk_id, Secret(bytes(32))))
    assert made.run(20.0)
    assert largest <= 16 * 1024
    cell = made.cell("m0")
    assert cell is not None and cell.lasting.active is not None and cell.lasting.held is not None
    journal = [data for host in made.sim.hosts.values() for _, data in host.journal]
    assert max(map(len, journal)) <= 2048
    cells = [sum(map(len, exposed(made.cell(name)))) for name in made.names]
    assert max(cells) <= 16 * 1024
    ring_record = max(len(data) for key, data in made.sim.hosts[GW].journal if key == ring_of(made.gid))
    assert ring_record <= 2048 - 40, "room for a hedge, higher numbers, and offices"
    crowded = worst(cell)
    assert len(record(crowded, 2**16)) <= 2048


def worst(cell: Any) -> Any:
    """Return a cell whose present epoch has four senders that the held roster lacks, and the longest addresses."""
    lasting = cell.lasting
    epoch: Epoch = lasting.active
    strangers = [(sha256(bytes([at]))[:8], epoch.group.senders[0][1]) for at in range(MOST_GONE)]
    senders = sorted([*epoch.group.senders[MOST_GONE:], *strangers])
    group = GroupEpoch(epoch.group.suite, epoch.group.gid, 2**32 - 1, epoch.group.key, tuple(senders), 0)
    payload = replace(cell.payload, policy=replace(cell.payload.policy, telemetry=("t" * 24, "u" * 24)))
    place = replace(lasting.place, gateway="g" * 64, above=Above(b"rootroot", top=True))
    held = replace(lasting.held, ver=2**32 - 1, delegate_idx=30, deputy_idx=31)
    lasting = replace(
        lasting,
        active=replace(epoch, group=group),
        place=place,
        seen=(2**32 - 1, 2**32 - 1),
        held=held,
        charter=replace(lasting.charter, not_after=2**32 - 1),
    )
    return replace(cell, lasting=lasting, payload=payload)


def test_states_are_told_apart_by_name() -> None:
    made = street(3)
    assert made.run(5.0)
    assert isinstance(made.lead().stage, Running)
    assert made.lead().lasting.commit
    assert timeout_s(25) == 10.0
    assert isinstance(made.heard("m0")[0], GroupReady)


def test_GR03_in_unicast_a_round_travels_as_one_bundle_of_the_very_messages() -> None:
    made = street(5, multicast=False)
    assert made.run(5.0)
    said = {mt: {d.data for d in made.sim.air if peek(d.data)[0] == mt} for mt in (R1, R2)}
    bundles = {d.data for d in made.sim.air if peek(d.data)[0] == BUNDLE}
    found = [set(cbor.decode(data, max_size=8192)[2]) for data in bundles]
    assert found[0] in (said[R1], said[R2]) and found[1] in (said[R1], said[R2]) and found[0] != found[1]
    assert {Bundle.mt, Start.mt, Round1.mt, Round2.mt} <= {mt for _, mt in made.sim.messages}
