"""A village for seven virtual days without its coordinator, and what shows when the link returns (Triad-1 3.3, 3.6; issue)."""

from dataclasses import replace

import pytest

from keymote.engine.group.faces import InstallRoster, Rekey, RingCommitted, ring_of
from keymote.engine.group.payload_faces import GroupOpened
from keymote.engine.policy.conflicts import ConflictKind, Enrolment, EpochSeen, RosterSeen
from keymote.engine.policy.group_faces import DAY_S, Change, GroupPolicy, Reason, Refusal, Refuse, Renew
from keymote.errors import ErrorCode
from keymote.lab.simulator import Channel
from keymote.lab.street import GW
from keymote.lab.village import Office, SealedRecord, Uplink, Village, Window, negotiations, readable, village
from keymote.lab.village.agenda import Agenda
from keymote.lab.village.office import Enrolled
from keymote.lab.village.uplink import BATCH

HOUR = 3600
SIX = 6 * HOUR
NOON = Window(12 * HOUR, 1200, loss=0.2)
READING, LIMIT = "telemetry/energy", "control/limit"


def settled(meters: int = 5, policy: GroupPolicy | None = None, window: Window = NOON, **more: object) -> Village:
    made = village(meters, policy or GroupPolicy(wake_s=(SIX,)), window, seed=b"village", **more)  # type: ignore[arg-type]
    assert made.settle()
    return made


def changes(made: Village) -> list[tuple[int, int, Reason]]:
    decisions = [each.decision for each in made.steward.decided]
    return [(len(each.add), len(each.remove), each.reason) for each in decisions if isinstance(each, Change)]


def refusals(made: Village) -> set[Refusal]:
    return {each.decision.why for each in made.steward.decided if isinstance(each.decision, Refuse)}


def opened(made: Village, name: str, resource: str = LIMIT) -> list[GroupOpened]:
    return [report for report in made.street.sim.heard(name, GroupOpened) if report.resource == resource]


# ------------------------------------------------------------------ seven days


def test_PO06_seven_days_without_the_coordinator_are_seven_new_keys() -> None:
    made = settled()
    made.uplink.cut = True
    made.run(7 * DAY_S)
    assert [type(each.decision) for each in made.steward.decided] == [Renew] * 7
    mornings = negotiations(made.street)[1:]
    assert [round(each.at) % DAY_S for each in mornings] == [mornings[0].at % DAY_S] * 7
    assert made.clock(1, SIX) == mornings[0].at
    assert made.street.newest() == 8 and made.street.agreed()


def test_PO10_who_is_allowed_joins_and_commands_go_on_with_the_coordinator_away() -> None:
    made = settled()
    made.uplink.cut = True
    assert made.send("m0", LIMIT, b"before")
    made.agenda.at(made.clock(1, 10 * HOUR), lambda: made.arrive("m5", allowed=True))
    made.agenda.at(made.clock(2, 10 * HOUR), lambda: made.arrive("stranger", allowed=False))
    made.run(made.clock(3, 0))
    assert (1, 0, Reason.JOIN) in changes(made) and refusals(made) == {Refusal.STRANGER}
    assert made.send("m0", LIMIT, b"after")
    made.run(made.now + 5.0)
    assert [report.plaintext for report in opened(made, "m5")] == [b"after"]
    assert opened(made, "m1")[-1].signed
    assert made.street.active("stranger") is None


def test_PO04_an_evicted_meter_opens_nothing_after_and_is_not_let_in_again() -> None:
    made = settled()
    made.uplink.cut = True
    made.agenda.at(made.clock(1, 10 * HOUR), lambda: made.evict("m4"))
    made.run(made.clock(1, 11 * HOUR))
    assert changes(made) == [(0, 1, Reason.LEAVE)] and made.street.agreed()
    made.ask("m4")
    assert made.send("m0", LIMIT, b"after")
    made.run(made.clock(2, 0))
    assert refusals(made) == {Refusal.EVICTED}
    assert opened(made, "m4") == [] and len(opened(made, "m1")) == 1


def test_a_member_that_leaves_is_not_asked_for_again_and_does_not_ask() -> None:
    made = settled()
    made.agenda.at(made.clock(1, 10 * HOUR), lambda: made.leave("m3"))
    made.run(made.clock(3, 0))
    assert "m3" not in made.street.members() and refusals(made) == set()
    assert made.street.agreed() and made.is_outside("m3")


def test_PO09_a_meter_without_power_in_the_morning_is_back_when_it_has_power() -> None:
    made = settled()
    made.agenda.at(made.clock(1, 5 * HOUR), lambda: made.power("m2", 2 * HOUR))
    made.run(made.clock(1, 6 * HOUR + 1800))
    assert "m2" not in made.street.members() and made.street.agreed()
    made.run(made.clock(1, 7 * HOUR + 60))
    assert "m2" in made.street.members() and made.street.agreed()


def test_PO04_PO10_a_gateway_that_restarts_knows_whom_it_threw_out_and_goes_on() -> None:
    made = settled()
    made.uplink.cut = True
    made.agenda.at(made.clock(1, 10 * HOUR), lambda: made.evict("m4"))
    made.agenda.at(made.clock(1, 12 * HOUR), lambda: made.power(GW, 60.0))
    made.agenda.at(made.clock(1, 13 * HOUR), lambda: made.ask("m4"))
    made.run(made.clock(2, 12 * HOUR))
    assert refusals(made) == {Refusal.EVICTED}
    assert isinstance(made.steward.decided[-1].decision, Renew | Refuse)
    assert made.street.agreed() and made.street.newest() == 4  # formed, morning, evicted, morning


# ------------------------------------------------------------------ the log and the link


def test_sealed_readings_wait_on_disk_and_go_up_in_batches_each_once() -> None:
    made = settled(window=replace(NOON, loss=0.5))
    made.agenda.every(HOUR / 2, 600.0, lambda: [made.read_out(name, READING, b"7 Wh") for name in made.meters] and None)
    made.agenda.at(made.clock(1, 9 * HOUR), lambda: made.power(GW, 30.0))
    made.run(made.clock(1, 11 * HOUR + 3000))
    waiting = len(made.uplink.waiting)
    assert waiting > 3 * BATCH // 2 and made.uplink.longest >= waiting
    made.run(made.clock(1, 12 * HOUR + 1150))
    assert made.uplink.waiting == [] and made.office.repeated > 0
    assert made.office.taken[made.uplink.gateway] == made.uplink.last
    sent = sum(meter.sent for meter in made.meters.values())
    assert sent - 5 <= len(made.office.records) <= sent  # a gateway without power logs nothing
    assert readable(made.office.records, made.epochs, made.street) == len(made.office.records)
    assert readable(made.office.records, {}, made.street) == 0
    first = made.office.records[0]
    spoilt = SealedRecord(first.kid, first.resource, first.record[:-1] + bytes((first.record[-1] ^ 1,)))
    assert readable([spoilt, spoilt], made.epochs, made.street) == 0


def test_readings_without_a_key_wait_at_the_meter() -> None:
    made = settled()
    made.street.sim.hosts[GW].lose_power()
    made.arrive("m5", allowed=True)
    for _ in range(3):
        made.read_out("m5", READING, b"7 Wh")
    assert len(made.meters["m5"].kept) == 3 and made.meters["m5"].sent == 0
    made.street.sim.reboot(GW)
    made.run(made.now + 300.0)
    assert (made.meters["m5"].kept, made.meters["m5"].sent) == ([], 3)


@pytest.mark.parametrize(
    ("at", "up", "next_up"), [(0, False, 14_400), (14_400, True, 14_400), (15_600, False, 100_800)]
)
def test_a_window_is_by_the_day(at: float, up: bool, next_up: float) -> None:
    assert (NOON.is_up(at), NOON.next_up(at)) == (up, next_up)  # virtual time 0 is 08:00 UTC


def test_an_agenda_keeps_order_and_repeats() -> None:
    agenda, did = Agenda(), list[str]()
    agenda.every(10.0, 5.0, lambda: did.append("often"))
    agenda.at(15.0, lambda: did.append("once"))
    agenda.act(4.0)
    assert (did, agenda.next_at) == ([], 5.0)
    for now in (5.0, 15.0):
        agenda.act(now)
    assert (did, agenda.next_at) == (["often", "once", "often"], 25.0)


# ------------------------------------------------------------------ conflicts


def test_PO12_a_meter_revoked_meanwhile_is_named_when_the_link_returns_and_then_goes_at_once() -> None:
    made = settled()
    made.agenda.at(made.clock(0, 20 * HOUR), lambda: made.revoke("m4"))
    made.run(made.clock(1, 12 * HOUR - 60))
    assert made.office.conflicts() == [] and "m4" in made.street.members()
    made.run(made.clock(1, 13 * HOUR))
    (conflict,) = made.office.conflicts()
    assert (conflict.kind, conflict.number) == (ConflictKind.REVOKED_MEMBER, 2)
    assert conflict.members == (made.street.people["m4"].kid,)
    assert changes(made) == [(0, 1, Reason.COMPROMISE)]
    assert "m4" not in made.street.members() and made.street.agreed()
    made.run(made.clock(2, 12 * HOUR + 600))
    assert len(made.office.conflicts()) == 1


def test_PO12_two_rosters_of_one_version_are_named_and_the_second_is_not_taken() -> None:
    made = settled()
    street = made.street
    made.uplink.cut = True
    made.evict("m4")  # the gateway signs version 2
    theirs = street.roster(["m0", "m1", "m2"], ver=2)  # and so does the coordinator
    made.office.rosters.add(RosterSeen(street.gid, b"", 2, b"digest of the coordinator's"))
    made.run(made.now + 60.0)
    made.uplink.cut = False
    made.run(made.clock(1, 13 * HOUR))
    (conflict,) = made.office.conflicts()
    assert (conflict.kind, conflict.number) == (ConflictKind.TWO_ROSTERS, 2)
    assert conflict.parties == (b"", street.people[GW].kid)
    street.ring(InstallRoster(theirs))
    assert street.sim.hosts[GW].refused["ring", ErrorCode.E_ROSTER] == 1
    assert street.members() == ["m0", "m1", "m2", "m3"]


def test_PO12_one_epoch_number_from_two_gateways_is_named() -> None:
    """The coordinator gives up a gateway that is only cut off, and lets another lead the half of the street that it reaches."""
    made = settled(6, window=Window())
    street, far = made.street, ("m3", "m4", "m5")
    made.uplink.cut = True
    for name in far:
        street.sim.reach.segments[name] = "far"
    street.hand_over("gw2", *far, after_epoch=1)
    made.run(made.now + 20.0)
    street.sim.command(GW, ring_of(street.gid), Rekey())  # the old one does not know
    made.run(made.now + 60.0)
    (theirs,) = street.sim.heard("gw2", RingCommitted)
    made.office.epochs.add(
        EpochSeen(street.gid, street.people["gw2"].kid, theirs.epoch, theirs.key_id, frozenset(theirs.kids), 0)
    )
    assert made.office.conflicts() == []
    made.uplink.cut = False
    made.run(made.now + 60.0)
    found = {each.kind: each for each in made.office.conflicts()}
    conflict = found[ConflictKind.TWO_EPOCHS]
    assert conflict.number == theirs.epoch
    assert set(conflict.parties) == {street.people[GW].kid, street.people["gw2"].kid}


def test_PO12_a_device_enrolled_at_two_places_is_named() -> None:
    made = settled()
    made.office.enrolments.add(Enrolment(b"device-1", b"another."))
    made.uplink.keep(made.now, Enrolled(b"device-1"))
    made.run(made.clock(1, 13 * HOUR))
    (conflict,) = made.office.conflicts()
    assert conflict.kind is ConflictKind.TAKEN_DEVICE and conflict.members == (b"device-1",)


def test_what_is_uploaded_twice_counts_once() -> None:
    office = Office()
    made = settled(3, window=Window())
    uplink = Uplink(b"gateway1", Window(loss=1.0), office, made.dice)
    for at in range(3):
        uplink.keep(float(at), SealedRecord(b"kid", READING, bytes((at,))))
    for now in (0.0, 10.0, 20.0):
        uplink.upload(now)
    assert [each.record for each in office.records] == [b"\0", b"\1", b"\2"]
    assert (office.repeated, len(uplink.waiting)) == (6, 3)


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_a_village_on_a_bad_radio_agrees_every_morning(loss: float) -> None:
    made = settled(8, channel=Channel(0.01, 0.05, loss, 0.05), compact=True)
    made.run(2 * DAY_S)
    assert made.street.newest() >= 3 and made.street.agreed()
    assert all(len(keys) == 1 for keys in made.street.keys().values())
