"""Power that fails at every commit, managers restored from backups, weeks of bad air: the fleet goes on by itself."""

import pytest

from keymote.engine.enrolment.registrar_cell import RegistrarCell
from keymote.engine.faces import Opened, Revive, RevokeDevice, RevokeSession, SessionClosed, enrolment_of, session_of
from keymote.engine.link_cell import LONGEST_PAUSE_S, LinkCell
from keymote.engine.link_faces import OWN_LINK, link_to_device
from keymote.engine.member import REVOKED
from keymote.engine.pairwise.states import Open
from keymote.errors import ErrorCode
from keymote.lab.scene_founding import two_operators
from keymote.lab.scenes import Scene, identity
from keymote.lab.simulator import Channel, Fuse, Quartz
from keymote.wire.pairwise import Link

D1 = enrolment_of(identity("d1"))


def registered(scene: Scene, name: str) -> RegistrarCell:
    cell = scene.sim.hosts[scene.homes[name]].cells[enrolment_of(identity(name))]
    assert isinstance(cell, RegistrarCell)
    return cell


def is_member(scene: Scene, name: str) -> bool:
    own, theirs = scene.membership(name), registered(scene, name).member
    return own is not None and theirs is not None and own.credential.raw == theirs.credential


def open_with_patience(scene: Scene, one: str, other: str, within_s: float = 60.0) -> bytes:
    """Ask for a session as an application does: again when it fails."""
    sim = scene.sim
    end = sim.now + within_s
    while sim.now < end:
        psid = scene.ask(one, other)
        sim.run_until(
            lambda psid=psid: (
                any(closed.psid == psid for closed in sim.heard(one, SessionClosed))
                or all(isinstance(scene.session(name, psid), Open) for name in (one, other))
                or (scene.session(one, psid) is None and sim.now > end - within_s + 1.0)
            ),
            end - sim.now,
        )
        if all(isinstance(scene.session(name, psid), Open) for name in (one, other)):
            return psid
    raise AssertionError(f"no session of {one} with {other} within {within_s} s")


def the_story(scene: Scene) -> None:
    """Enrol two devices, give them a session, end it by a revocation, revoke a device: as people who try again would."""
    sim = scene.sim
    for name in ("d1", "d2"):
        if scene.label(name) is None:
            assert scene.label(name, again=True) is not None
        for _ in range(70):  # a code whose use nobody confirmed may be used again after an hour
            if is_member(scene, name):
                break
            if scene.membership(name) is None and sim.hosts[name].cells.get(("enrolment", b"")) is None:
                scene.label(name, again=True)
            scene.greet(name)
            sim.run_for(60.0)
        assert is_member(scene, name)
    psid = open_with_patience(scene, "d1", "d2")
    scene.say("d1", "d2", psid, b"reading 1")
    sim.run_for(1.0)
    sim.command("d2", session_of(psid), RevokeSession(2))
    sim.run_for(30.0)
    while (member := registered(scene, "d1").member) is None or member.status != REVOKED:
        sim.command("nm1", D1, RevokeDevice(1))
        sim.run_for(1.0)
    for one, other in (("d1", "d2"), ("d2", "d1")):
        late = scene.ask(one, other)
        sim.run_for(30.0)
        assert scene.ready(one, late) is scene.ready(other, late) is None


@pytest.mark.parametrize("after", [False, True], ids=["before the disk", "after the disk"])
@pytest.mark.parametrize("name", ["d1", "d2", "nm1", "nm2"])
def test_DR01_DR04_the_story_ends_well_whichever_commit_kills_a_node(name: str, after: bool) -> None:
    plain = two_operators(enrolled=False)
    the_story(plain)
    commits = plain.sim.hosts[name].commits
    assert commits >= 3
    for k in range(1, commits + 1):
        scene = two_operators(enrolled=False)
        scene.sim.hosts[name].fuse = Fuse(k, after)
        the_story(scene)
        assert scene.sim.hosts[name].boots == 2, f"the power did not fail at commit {k}"
        assert scene.witness.reused == []


FLEET = {"d1": "nm1", "d3": "nm1", "d2": "nm2"}


@pytest.mark.parametrize("days", [0, 1, 2, 5])
@pytest.mark.parametrize("first", ["d1", "d2"], ids=["the device speaks first", "the manager speaks first"])
def test_LK10_a_manager_restored_from_an_old_backup_keeps_its_fleet(days: int, first: str) -> None:
    """Link epochs age by the day, so after `days` the fleet stands in epochs that the backup has never seen."""
    scene = two_operators(homes=FLEET)
    open_with_patience(scene, "d1", "d2")
    backup = dict(scene.sim.hosts["nm1"].disk)
    for _ in range(days):
        scene.sim.run_for(86401.0)
        open_with_patience(scene, "d1", "d2")
    scene.sim.run_for(60.0)
    scene.restore("nm1", backup)
    psid = open_with_patience(scene, first, "d2" if first == "d1" else "d1")
    scene.say("d2", "d1", psid, b"after the fire")
    scene.sim.run_for(1.0)
    assert scene.sim.heard("d1", Opened)[-1].plaintext == b"after the fire"
    open_with_patience(scene, "d3", "d1")
    assert scene.witness.reused == []


def test_LK10_a_revived_link_is_found_on_disk_by_the_pseudonyms_of_later_epochs() -> None:
    """A host that loads cells when it needs them finds a link by what its row says, so revival writes them down."""
    scene = two_operators(homes=FLEET)
    backup = dict(scene.sim.hosts["nm1"].disk)
    for _ in range(3):
        scene.sim.run_for(86401.0)
        open_with_patience(scene, "d1", "d2")
    speaks_under = scene.sim.hosts["d1"].cells[OWN_LINK].keys
    scene.restore("nm1", backup)
    link = link_to_device(identity("d1"))
    assert speaks_under.le == 3
    assert speaks_under.lid not in scene.sim.hosts["nm1"].disk[link].aliases
    scene.sim.command("nm1", link, Revive())
    assert speaks_under.lid in scene.sim.hosts["nm1"].disk[link].aliases
    revived = scene.sim.hosts["nm1"].disk[link]
    scene.sim.command("nm1", link, Revive())
    scene.sim.reboot("nm1")
    scene.sim.command("nm1", link, Revive())
    assert scene.sim.hosts["nm1"].disk[link] == revived
    open_with_patience(scene, "d1", "d2")
    assert len(scene.sim.hosts["nm1"].disk[link].aliases) < 8


def test_LK10_a_backup_put_back_again_and_again_uses_no_number_twice() -> None:
    """None of the lives knows of the others; a device that a former life has led on is known again when it speaks."""
    scene = two_operators(homes=FLEET)
    open_with_patience(scene, "d1", "d2")
    backup = dict(scene.sim.hosts["nm1"].disk)
    for _ in range(4):
        scene.sim.run_for(60.0)
        scene.restore("nm1", backup)
        open_with_patience(scene, "d1", "d2")
        open_with_patience(scene, "d3", "d2")
        open_with_patience(scene, "d2", "d1")
        open_with_patience(scene, "d1", "d3")
        scene.sim.reboot("nm1")
        open_with_patience(scene, "d2", "d3")
    assert scene.witness.reused == []


def where(scene: Scene, name: str) -> str:
    """Return the address to which a device's manager speaks."""
    link = scene.sim.hosts[scene.homes[name]].cells[link_to_device(identity(name))]
    assert isinstance(link, LinkCell)
    return link.peer


def test_LK13_a_device_that_comes_back_elsewhere_is_found_by_who_asks_for_it() -> None:
    """It says nothing by itself but where it is; its peer's managers bring the session to its new address."""
    scene = two_operators()
    scene.sim.hosts["d2"].address = "d2 on another port"
    scene.sim.reboot("d2")
    assert where(scene, "d2") == "d2"
    scene.sim.run_for(1.0)
    assert where(scene, "d2") == "d2 on another port"
    open_with_patience(scene, "d1", "d2", within_s=20.0)
    assert scene.witness.reused == []


@pytest.mark.parametrize("seed", range(8))
def test_LK13_an_announcement_comes_through_bad_air(seed: int) -> None:
    scene = two_operators(seed=bytes([seed]), channel=Channel(0.02, loss=0.6))
    scene.sim.hosts["d2"].address = "d2 on another port"
    scene.sim.reboot("d2")
    assert scene.sim.run_until(lambda: where(scene, "d2") != "d2", within_s=1200.0)


def test_LK13_a_manager_that_was_down_meanwhile_learns_the_address_too() -> None:
    scene = two_operators()
    scene.sim.reboot("nm2", down_s=900.0)
    scene.sim.hosts["d2"].address = "d2 on another port"
    scene.sim.reboot("d2")
    scene.sim.run_for(900.0 + LONGEST_PAUSE_S)
    said = scene.sim.messages["d2", Link.mt]
    open_with_patience(scene, "d1", "d2", within_s=20.0)
    assert said < 16


def test_LK10_LK13_after_a_second_life_of_a_backup_a_device_is_reached_again_within_a_day() -> None:
    """The second life speaks in an epoch that the device has left, until the device says where it stands."""
    scene = two_operators(homes=FLEET)
    open_with_patience(scene, "d1", "d2")
    backup = dict(scene.sim.hosts["nm1"].disk)
    scene.restore("nm1", backup)
    open_with_patience(scene, "d1", "d2")
    for _ in range(3):
        scene.sim.run_for(86401.0)
        open_with_patience(scene, "d1", "d2")
    left = scene.sim.hosts["d1"].cells[OWN_LINK].keys.le
    scene.restore("nm1", backup)
    link = link_to_device(identity("d1"))
    scene.sim.command("nm1", link, Revive())
    assert left > scene.sim.hosts["nm1"].cells[link].keys.le
    late = scene.ask("d2", "d1")
    scene.sim.run_for(60.0)
    assert scene.ready("d2", late) is None
    scene.sim.run_for(86400.0)
    open_with_patience(scene, "d2", "d1", within_s=20.0)
    assert scene.witness.reused == []


def test_LK06_old_records_mean_nothing_to_a_restored_manager() -> None:
    scene = two_operators()
    backup = dict(scene.sim.hosts["nm1"].disk)
    open_with_patience(scene, "d1", "d2")
    recorded = [sent for sent in scene.sim.air if sent.target == "nm1" and sent.data[1] == 18]
    assert recorded
    scene.sim.run_for(20.0)  # else d1 itself says again what was not answered in the last 15 s
    scene.restore("nm1", backup)
    sessions = {key for key in scene.sim.hosts["nm1"].cells if key.kind == "session"}
    for sent in recorded:
        scene.sim.inject(sent.source, "nm1", sent.data)
    scene.sim.run_for(30.0)
    assert {key for key in scene.sim.hosts["nm1"].cells if key.kind == "session"} == sessions
    open_with_patience(scene, "d1", "d2")


def test_LK07_PW17_four_days_of_bad_air_ageing_links_and_rotating_share_keys() -> None:
    scene = two_operators(channel=Channel(0.02, jitter_s=0.5, loss=0.1, duplication=0.1))
    scene.sim.set_clock("d1", Quartz(skew_s=-3600.0, drift=2e-4))
    scene.sim.set_clock("nm2", Quartz(skew_s=120.0, drift=-1e-4))
    keys = set()
    for day in range(4):
        scene.sim.run_for(86400.0)
        one, other = ("d1", "d2") if day % 2 else ("d2", "d1")
        psid = open_with_patience(scene, one, other, within_s=300.0)
        ready = scene.ready(one, psid)
        assert ready is not None
        keys.add(ready.keys.key_id)
    assert len(keys) == 4
    own = scene.sim.hosts["nm1"].cells["own", b""]
    assert own.keys[-1].number >= 4
    assert len(own.keys) <= 3
    assert scene.witness.reused == []


def test_EN28_RV09_what_an_operator_says_while_the_coordinator_is_away_is_done_when_it_is_back() -> None:
    scene = two_operators()
    for coordinator in scene.federation.coordinators:
        coordinator.reachable = False
    psid = scene.ask("d1", "d2")
    scene.sim.run_for(30.0)
    assert [closed.code for closed in scene.sim.heard("d1", SessionClosed)] == [ErrorCode.E_BUSY]
    assert scene.session("d1", psid) is None
    scene.label("d1", again=True)
    scene.greet("d1")
    scene.sim.run_for(600.0)
    assert not is_member(scene, "d1")
    for coordinator in scene.federation.coordinators:
        coordinator.reachable = True
    scene.sim.run_for(2 * 3600.0)
    assert is_member(scene, "d1")
    open_with_patience(scene, "d1", "d2")
