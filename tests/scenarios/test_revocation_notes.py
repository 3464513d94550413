"""A revocation reaches who was down when it was made, and leaves a manager that was cut off before it could say it."""

import pytest

from keymote.engine.faces import RevokeDevice, enrolment_of
from keymote.engine.pairwise.register import REPEATED_S
from keymote.lab.scene_founding import two_operators
from keymote.lab.scenes import Scene, identity
from keymote.lab.simulator import Fuse


def revoke(scene: Scene, name: str) -> None:
    scene.sim.command(scene.homes[name], enrolment_of(identity(name)), RevokeDevice(2))


@pytest.mark.parametrize("down_s", [5.0, 300.0, 7200.0])
def test_RV04_RV09_a_manager_that_was_down_hears_the_note_later(down_s: float) -> None:
    scene = two_operators()
    psid = scene.open("d1", "d2")
    scene.sim.reboot("nm2", down_s)
    revoke(scene, "d1")
    scene.sim.run_for(down_s - 1.0)
    assert scene.session("d2", psid) is not None
    again = min(after for after in REPEATED_S if after > down_s)
    scene.sim.run_for(again - down_s + 5.0)
    assert scene.session("d2", psid) is None


def test_RV04_DR01_a_note_that_a_crash_kept_from_leaving_is_said_after_the_restart() -> None:
    scene = two_operators()
    psid = scene.open("d1", "d2")
    scene.sim.hosts["nm1"].fuse = Fuse(1, after=True)
    revoke(scene, "d1")
    assert scene.sim.hosts["nm1"].boots == 2
    assert scene.session("d2", psid) is not None
    scene.sim.run_for(REPEATED_S[0] + 5.0)
    assert scene.session("d2", psid) is None


@pytest.mark.long
def test_RV10_notes_end() -> None:
    scene = two_operators()
    psid = scene.open("d1", "d2")
    revoke(scene, "d1")
    scene.sim.run_for(8 * 86400.0)
    notes = [note for coordinator in scene.federation.coordinators for note in coordinator.notes]
    assert len(notes) == 2 * (1 + len(REPEATED_S))
    assert scene.session("nm1", psid) is scene.session("nm2", psid) is None
