"""A device that enrols again: what is superseded, what the operator's word outlives, and that nobody is locked out."""

from keymote.engine.base import Refused
from keymote.engine.enrolment.registrar_cell import AwaitRegistration, RegistrarCell
from keymote.engine.faces import (
    DeviceRevoked,
    Enrolled,
    ExpectAgain,
    ResumeDevice,
    RevokeDevice,
    SessionClosed,
    SuspendDevice,
    enrolment_of,
)
from keymote.engine.member import ACTIVE, REVOKED, SUSPENDED
from keymote.errors import ErrorCode
from keymote.lab.scene_founding import two_operators
from keymote.lab.scenes import Scene, identity

D1 = enrolment_of(identity("d1"))


def registered(scene: Scene) -> RegistrarCell:
    cell = scene.sim.hosts["nm1"].cells[D1]
    assert isinstance(cell, RegistrarCell)
    return cell


def waiting_for_the_coordinator() -> Scene:
    """Return a world in which d1 rejoins and its new credential is entered, but the answer has not come back."""
    scene = two_operators()
    scene.label("d1", again=True)
    scene.greet("d1")
    assert scene.sim.run_until(lambda: isinstance(registered(scene).phase, AwaitRegistration), 5.0)
    return scene


def test_RV09_a_rejoin_supersedes_the_credential_and_ends_its_sessions() -> None:
    scene = two_operators()
    psid = scene.open("d1", "d2")
    before = scene.membership("d1")
    scene.enrol("d1", again=True)
    after = scene.membership("d1")
    assert before is not None
    assert after is not None
    assert before.credential.kid != after.credential.kid
    assert [(closed.psid, closed.revoked) for closed in scene.sim.heard("d2", SessionClosed)] == [(psid, True)]
    scene.open("d1", "d2")
    scene.open("d2", "d1")


def test_EN22_one_label_makes_one_credential() -> None:
    scene = two_operators()
    cell = registered(scene)
    assert cell.code is None
    joins = [sent for sent in scene.sim.air if sent.source == "d1" and sent.data[1] == 2]
    scene.sim.inject("d1", "nm1", joins[0].data)
    scene.sim.run_for(1.0)
    assert registered(scene) == cell
    assert scene.sim.hosts["nm1"].refused["enrolment", ErrorCode.E_OTC_USED] == 1


def test_EN19_a_new_label_waits_until_the_coordinator_has_decided() -> None:
    """Else neither the old nor the new serial would name the credential on the register, and nobody could replace it."""
    scene = waiting_for_the_coordinator()
    (refused,) = scene.sim.command("nm1", D1, ExpectAgain(identity("d1"), scene.codes["d1"]))
    assert isinstance(refused, Refused)
    assert refused.code is ErrorCode.E_BUSY
    scene.sim.run_for(5.0)
    scene.enrol("d1", again=True)
    scene.open("d1", "d2")


def test_RV09_a_device_that_is_revoked_while_it_registers_does_not_slip_in() -> None:
    scene = waiting_for_the_coordinator()
    scene.sim.command("nm1", D1, RevokeDevice(2))
    scene.sim.run_for(60.0)
    cell = registered(scene)
    assert cell.member is not None
    assert (cell.member.status, cell.code, cell.phase) == (REVOKED, None, None)
    assert [heard.dev_id for heard in scene.sim.heard("nm1", DeviceRevoked)] == [identity("d1")] * 2
    assert len(scene.sim.heard("nm1", Enrolled)) == 1
    scene.enrol("d1", again=True)  # the operator may still let it back in
    scene.open("d1", "d2")


def test_RV09_a_second_revocation_takes_back_a_label_that_was_not_used() -> None:
    scene = two_operators()
    scene.sim.command("nm1", D1, RevokeDevice(2))
    scene.label("d1", again=True)
    scene.sim.command("nm1", D1, RevokeDevice(2))
    scene.greet("d1")
    scene.sim.run_for(60.0)
    assert registered(scene).code is None
    assert scene.membership("d1") is None


def test_RV09_a_suspension_outlives_a_rejoin() -> None:
    scene = two_operators()
    scene.label("d1", again=True)
    scene.sim.command("nm1", D1, SuspendDevice())
    scene.greet("d1")
    scene.sim.run_for(5.0)
    member = registered(scene).member
    assert member is not None
    assert member.status == SUSPENDED
    psid = scene.ask("d1", "d2")
    scene.sim.run_for(5.0)
    assert [(closed.psid, closed.code) for closed in scene.sim.heard("d1", SessionClosed)] == [
        (psid, ErrorCode.E_NOSHARE)
    ]
    scene.sim.command("nm1", D1, ResumeDevice())
    member = registered(scene).member
    assert member is not None
    assert member.status == ACTIVE
    scene.open("d1", "d2")
