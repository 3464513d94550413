"""Credentials are renewed for the same keys: in time, through loss and power cuts, without a session noticing."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest

from keymote.crypto.entropy import SeededEntropy
from keymote.engine.base import Refused, Send, Told
from keymote.engine.context import RegistrarPolicy
from keymote.engine.enrolment.device_cell import Registered
from keymote.engine.enrolment.registrar_cell import RegistrarCell
from keymote.engine.faces import (
    OWN_ENROLMENT,
    CredentialRenewed,
    RenewCredential,
    ResumeDevice,
    RevokeDevice,
    RevokeSession,
    SessionClosed,
    SuspendDevice,
    enrolment_of,
    session_of,
)
from keymote.engine.link_faces import SealBody, link_to_device
from keymote.engine.member import Member
from keymote.engine.renewal import again_s, due_at
from keymote.errors import ErrorCode
from keymote.lab.scene_founding import two_operators
from keymote.lab.scenes import Scene, identity
from keymote.lab.simulator import EPOCH, Channel, Datagram, Fuse
from keymote.wire.credential import Claims, SignedCredential, issue
from keymote.wire.enrolment import Newcred

LIFE = 9 * 3600
"""Of a device's credential here, in seconds: renewed in its last three hours, attempts 1350 s apart."""
POLICY = RegistrarPolicy(credential_life_s=LIFE, joins_per_source_per_min=60, hello_period_s=3600.0)
D1 = enrolment_of(identity("d1"))


def scene_of(*, clock: bool = False, **rest: object) -> Scene:
    scene = two_operators(policy=POLICY, **rest)
    if clock:
        scene.devices["d1"] = replace(scene.devices["d1"], has_clock=True)
        scene.sim.reboot("d1")
    return scene


def held(scene: Scene, name: str = "d1") -> Registered:
    cell = scene.sim.hosts[name].cells[OWN_ENROLMENT]
    assert isinstance(cell, Registered)
    return cell


def member(scene: Scene, name: str = "d1") -> Member:
    cell = scene.sim.hosts[scene.homes[name]].cells[enrolment_of(identity(name))]
    assert isinstance(cell, RegistrarCell)
    assert cell.member is not None
    return cell.member


def claims(scene: Scene, name: str = "d1") -> Claims:
    return held(scene, name).membership.credential.claims


def kid(scene: Scene, name: str = "d1") -> bytes:
    return held(scene, name).membership.credential.kid


def registered(scene: Scene, name: str = "d1") -> bytes:
    return scene.federation.coordinators[0].devices[identity(name)].credential


def settled(scene: Scene, name: str = "d1") -> bool:
    """Tell whether device, manager and coordinator agree on the device's credential."""
    own = held(scene, name).membership.credential.raw
    return own == member(scene, name).credential == registered(scene, name) and member(scene, name).renewal is None


def until_due(scene: Scene, name: str = "d1", plus_s: float = 5.0) -> None:
    scene.sim.run_for(due_at(claims(scene, name)) - EPOCH - scene.sim.now + plus_s)


def in_link_of(
    name: str, also: Callable[[int], bool] = lambda _number: True
) -> Callable[[Datagram], Iterable[Datagram]]:
    """Return an adversary that takes LINK records sent by `name` off the air."""
    count = iter(range(1 << 20))

    def adversary(sent: Datagram) -> Iterable[Datagram]:
        return () if sent.source == name and sent.data[1] == 18 and also(next(count)) else (sent,)

    return adversary


def refusals(scene: Scene, name: str) -> list[Refused]:
    return scene.sim.heard(name, Refused)


# ------------------------------------------------------------------ in time


@pytest.mark.parametrize(
    ("life_s", "lead_s", "pause_s"), [(365 * 86400, 30 * 86400, 86400), (86400, 28800, 3600), (60, 20, 2)]
)
def test_RN01_renewal_is_due_30_days_before_the_end_but_in_the_last_third_of_a_short_life(
    life_s: int, lead_s: int, pause_s: int
) -> None:
    scene = two_operators()
    some = replace(claims(scene), iat=EPOCH, exp=EPOCH + life_s)
    assert due_at(some) == some.exp - lead_s
    assert again_s(some) == pause_s


@pytest.mark.parametrize("suite", [1, 17])
def test_RN02_the_manager_renews_in_time_for_the_same_keys_and_peers_honour_it(suite: int) -> None:
    scene = scene_of(suite=suite, accept_compact=True)
    before = claims(scene)
    until_due(scene, plus_s=-60.0)
    assert claims(scene) == before
    until_due(scene)
    after = claims(scene)
    assert after == replace(before, iat=after.iat, exp=after.iat + LIFE, serial=after.serial)
    assert after.exp > before.exp
    assert settled(scene)
    assert [report.expires for report in scene.sim.heard("d1", CredentialRenewed)] == [after.exp]
    assert len(scene.sim.heard("nm1", CredentialRenewed)) == 1
    for one, other in (("d1", "d2"), ("d2", "d1")):
        for compact in (False, True):
            scene.open(one, other, compact=compact)
    assert scene.witness.reused == []


def test_RN01_a_device_with_a_clock_asks_by_itself() -> None:
    scene = scene_of(clock=True)
    scene.sim.adversary = in_link_of("nm1", lambda number: number == 0)  # NEWCRED that the manager pushes is lost
    until_due(scene, plus_s=2.0)
    scene.sim.run_for(again_s(claims(scene)) + 5)
    assert settled(scene)


def test_RN02_a_device_that_asks_too_early_hears_nothing_and_two_who_agree_fall_silent() -> None:
    scene = scene_of()
    own = held(scene)
    scene.sim.command("d1", OWN_ENROLMENT, RenewCredential())
    scene.sim.run_for(5.0)
    assert held(scene).membership == own.membership
    assert settled(scene)
    tell(scene, own.membership.credential.raw)
    records = scene.sim.messages["d1", 18] + scene.sim.messages["nm1", 18]
    scene.sim.run_for(60.0)
    assert scene.sim.messages["d1", 18] + scene.sim.messages["nm1", 18] == records
    assert scene.sim.heard("d1", CredentialRenewed) == []


def test_RN02_nothing_is_told_before_the_coordinator_has_it() -> None:
    scene = scene_of()
    before = kid(scene)
    scene.federation.coordinators[0].reachable = False
    until_due(scene, plus_s=300.0)
    assert kid(scene) == before
    waits = member(scene).renewal
    assert waits is not None
    assert not waits.registered
    scene.federation.coordinators[0].reachable = True
    scene.sim.run_for(120.0)
    assert settled(scene)
    assert held(scene).membership.credential.raw == waits.credential  # made once, not anew with each attempt


# ------------------------------------------------------------------ what a device takes


def tell(scene: Scene, raw: bytes) -> list[Refused]:
    """Let nm1 say NEWCRED with this credential; return what d1 refused."""
    before = len(refusals(scene, "d1"))
    body = Newcred(raw, *scene.managers["nm1"].chain).encode()
    host = scene.sim.hosts["nm1"]
    for _, effect in host.step(link_to_device(identity("d1")), Told(SealBody(body)), scene.sim.now).effects:
        assert isinstance(effect, Send)
        scene.sim.inject("nm1", "d1", effect.data)
    scene.sim.run_for(1.0)
    return refusals(scene, "d1")[before:]


def test_RN03_a_newer_credential_must_be_for_our_keys_by_our_manager_and_end_later() -> None:
    scene = scene_of()
    scene.sim.run_for(10.0)
    own, signing = held(scene), scene.managers["nm1"].signing
    good = replace(claims(scene), serial=b"newer ok", exp=claims(scene).exp + 1)
    other = scene.suite.random_point(SeededEntropy(b"another point"))
    stranger = scene.suite.generate_signing_key(SeededEntropy(b"stranger"))
    forged = (
        issue(signing, replace(good, E2=other)),
        issue(signing, replace(good, sig_pk=stranger.public)),
        issue(signing, replace(good, sub=identity("d3"))),
        issue(signing, replace(good, exp=good.exp - 2)),
        issue(stranger, good),
    )
    for wrong in forged:
        assert [fault.code for fault in tell(scene, wrong.raw)] == [ErrorCode.E_CRED]
        assert held(scene) == own
    tell(scene, issue(signing, good).raw)
    assert claims(scene) == good


# ------------------------------------------------------------------ loss, repetition, power cuts


@pytest.mark.parametrize("name", ["nm1", "d1"])
def test_RN04_what_is_lost_is_said_again(name: str) -> None:
    scene = scene_of()
    until_due(scene, plus_s=-5.0)
    scene.sim.adversary = in_link_of(name)
    until_due(scene, plus_s=60.0)
    assert not settled(scene)
    scene.sim.adversary = lambda sent: (sent,)
    scene.sim.run_for(again_s(claims(scene)) + 60.0)
    assert settled(scene)


def test_RN04_bad_air_all_the_way() -> None:
    scene = scene_of(clock=True)
    scene.sim.channel = Channel(loss=0.3, duplication=0.3)
    first = claims(scene)
    assert scene.sim.run_until(lambda: claims(scene).exp > first.exp and settled(scene), LIFE)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", ["nm1", "d1"])
def test_RN04_power_that_fails_at_any_commit_of_it_loses_nothing(name: str, after: bool) -> None:
    origin = scene_of()
    until_due(origin, plus_s=-5.0)
    first = claims(origin)
    for left in range(1, 6):
        scene = origin.fork(f"fuse {left}")
        scene.sim.hosts[name].fuse = Fuse(left, after)
        assert scene.sim.run_until(lambda scene=scene: claims(scene).exp > first.exp and settled(scene), LIFE / 3)
        assert {*scene.federation.coordinators[0].serials} >= {claims(scene).serial}
        scene.open("d1", "d2")


def test_RN05_the_old_one_is_good_until_everybody_knows_that_the_device_holds_the_new_one() -> None:
    """NEWCRED has come, RENEW is lost: the device holds both, its manager shows the old one, and sessions open."""
    scene = scene_of()
    until_due(scene, plus_s=-5.0)
    scene.sim.adversary = in_link_of("d1")
    until_due(scene, plus_s=5.0)
    assert held(scene).former == member(scene).credential
    scene.sim.adversary = lambda sent: (sent,)
    for one, other in (("d1", "d2"), ("d2", "d1")):
        scene.open(one, other)
        scene.open(one, other, fast=True)
    assert held(scene).former == member(scene).credential
    scene.sim.run_for(again_s(claims(scene)) + 60.0)
    assert settled(scene)
    scene.open("d2", "d1")


def test_RN05_a_manager_that_names_a_credential_which_the_device_does_not_hold_is_refused() -> None:
    scene = scene_of()
    with pytest.raises(Exception, match="does not hold"):
        held(scene).known_as(b"nobody's")
    assert held(scene).known_as(None) == held(scene).membership


# ------------------------------------------------------------------ who gets none


def test_RN06_a_revoked_device_gets_none_and_a_suspended_one_waits() -> None:
    scene = scene_of()
    until_due(scene, plus_s=-5.0)
    before = kid(scene)
    twin = scene.fork("suspended")
    scene.sim.command("nm1", D1, RevokeDevice(2))
    until_due(scene, plus_s=60.0)
    scene.sim.command("d1", OWN_ENROLMENT, RenewCredential())
    scene.sim.run_for(60.0)
    assert kid(scene) == before
    assert registered(scene) == member(scene).credential
    assert refusals(scene, "nm1")[-1].code is ErrorCode.E_NOSHARE
    twin.sim.command("nm1", D1, SuspendDevice())
    until_due(twin, plus_s=60.0)
    assert kid(twin) == before
    twin.sim.command("nm1", D1, ResumeDevice())
    twin.sim.run_for(60.0)
    assert settled(twin)
    assert kid(twin) != before


def test_RN06_a_renewal_that_the_coordinator_refuses_is_an_alarm_and_changes_nothing() -> None:
    scene = scene_of()
    before = kid(scene)
    scene.federation.bar(identity("d1"), barred=True)
    until_due(scene, plus_s=60.0)
    assert kid(scene) == before
    assert scene.tallies["nm1"].alarms["renewal"] == 1


def test_RN04_a_rejoin_in_the_middle_supersedes_whatever_the_coordinator_has() -> None:
    scene = scene_of()
    until_due(scene, plus_s=-5.0)
    scene.sim.adversary = in_link_of("d1")
    until_due(scene, plus_s=5.0)
    assert registered(scene) != member(scene).credential
    scene.sim.adversary = lambda sent: (sent,)
    scene.enrol("d1", again=True)
    assert settled(scene)
    scene.open("d1", "d2")


# ------------------------------------------------------------------ the managers' own credentials


@pytest.mark.parametrize("known", [False, True], ids=["directory old", "directory new"])
@pytest.mark.parametrize("adopted", [False, True], ids=["manager old", "manager new"])
@pytest.mark.parametrize("who", ["nm1", "nm2"])
def test_RN07_managers_meet_under_the_credential_before_or_after(who: str, adopted: bool, known: bool) -> None:
    scene = scene_of()
    newer = scene.renewed(who)
    if known:
        scene.know(who, newer)
    if adopted:
        scene.adopt(who, newer)
        scene.sim.reboot(who)
    scene.open("d1", "d2")
    scene.open("d2", "d1")


@pytest.mark.parametrize("who", ["nm1", "nm2"])
def test_RN07_a_note_under_the_newer_credential_ends_a_session_of_before(who: str) -> None:
    scene = scene_of()
    psid = scene.open("d1", "d2")
    newer = scene.renewed(who)
    scene.know(who, newer)
    scene.adopt(who, newer)
    scene.sim.reboot(who)
    scene.sim.command("d1", session_of(psid), RevokeSession(1))
    assert scene.sim.run_until(lambda: bool([c for c in scene.sim.heard("d2", SessionClosed) if c.revoked]), 60.0)


def test_RN07_another_managers_credential_does_not_pass_for_a_newer_one() -> None:
    scene = scene_of()
    own = scene.managers["nm2"].membership
    assert own is not None
    point = scene.suite.random_point(SeededEntropy(b"another point"))
    other = issue(scene.operators["nc2"].signing, replace(own.credential.claims, E2=point, serial=b"another!"))
    scene.know("nm2", other.raw)
    psid = scene.ask("d1", "d2")
    assert scene.sim.run_until(lambda: any(c.psid == psid for c in scene.sim.heard("d1", SessionClosed)), 60.0)
    assert ErrorCode.E_CRED in [fault.code for fault in refusals(scene, "nm1")] or scene.ready("d1", psid) is None


# ------------------------------------------------------------------ expired


@pytest.mark.parametrize(("asker", "peer"), [("d1", "d2"), ("d2", "d1")])
def test_RN08_an_expired_credential_is_refused_with_its_date_and_what_mends_it(asker: str, peer: str) -> None:
    scene = scene_of()
    until_due(scene, plus_s=-5.0)
    scene.sim.adversary = in_link_of("nm1")  # whatever the manager says is lost
    expires = claims(scene).exp
    scene.sim.run_for(expires - EPOCH - scene.sim.now + 10.0)
    scene.sim.adversary = lambda sent: (sent,)
    psid = scene.ask(asker, peer)
    assert scene.sim.run_until(lambda: any(c.psid == psid for c in scene.sim.heard(asker, SessionClosed)), 60.0)
    assert next(c.code for c in scene.sim.heard(asker, SessionClosed) if c.psid == psid) is ErrorCode.E_CRED
    told = [fault.what for name in ("nm1", "nm2") for fault in refusals(scene, name) if "expired" in fault.what]
    assert any("expired on 2027-01-" in what and "keymote device rejoin" in what for what in told)
    scene.sim.run_for(3 * again_s(claims(scene)))  # NEWCRED comes again: it renews what has expired, too
    assert settled(scene)
    assert SignedCredential.decode(registered(scene)).claims.exp > expires
    scene.open(asker, peer)
