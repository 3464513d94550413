"""A manager invites its devices to a group: what they take, what they refuse, and what a restart leaves of it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from keymote.crypto.entropy import SeededEntropy
from keymote.engine.base import Refused
from keymote.engine.enrolment.device_cell import Registered
from keymote.engine.faces import OWN_ENROLMENT, enrolment_of
from keymote.engine.group.charter import Charter
from keymote.engine.group.faces import (
    Amend,
    AskToJoin,
    AskToLeave,
    FormRing,
    GroupReady,
    JoinAsked,
    LeaveAsked,
    Resume,
    RingPlan,
    membership_of,
    ring_of,
)
from keymote.engine.group.invitation import (
    MOST_GROUPS,
    GroupInvited,
    Invitation,
    InvitationAnswered,
    InviteDevice,
    UninviteDevice,
    place_of,
)
from keymote.engine.group.states import MembershipCell
from keymote.errors import ErrorCode
from keymote.lab.scene_founding import two_operators
from keymote.lab.scenes import Operator, Scene, identity
from keymote.lab.simulator import EPOCH
from keymote.wire import invitation as wire
from keymote.wire.cose import Signer
from keymote.wire.credential import SignedCredential, issue, kid_of
from keymote.wire.group import RELAY, DelegationClaims, RosterClaims
from keymote.wire.group_fields import Entry
from keymote.wire.group_signed import write
from keymote.wire.invitation import COMPACT, MULTICAST, STANDBY, Invite

GID = b"\x67" * 8
NAMES = ("d1", "d2", "d3")
HOMES = dict.fromkeys(NAMES, "nm1") | {"d9": "nm2"}
PLACE = place_of("224.0.1.187", 5683)


SEED = b"invitations"


def world(suite: int = 1) -> Scene:
    return two_operators(SEED, suite=suite, homes=HOMES)


def invite(scene: Scene, **changed: object) -> Invite:
    """Return an invitation as the manager of d1 passes it on."""
    nc = scene.operators["nc1"]
    whole = Invite(GID, 1, MULTICAST, PLACE, (b"telemetry",), delegation(scene, nc), nc.credential, b"")
    return replace(whole, **changed)


def delegation(
    scene: Scene, by: Operator, *, gid: bytes = GID, days: int = 30, signer: Signer | None = None, manager: str = "nm1"
) -> bytes:
    own = scene.managers[manager].membership
    assert own is not None
    claims = DelegationClaims(gid, own.credential.kid, scene.managers[manager].signing.public, EPOCH + days * 86400, 32)
    return write(signer or by.signing, claims, kid=kid_of(by.credential))


def say(scene: Scene, name: str, invitation: Invite) -> InvitationAnswered:
    """Let the manager of `name` say this, and return what the device answers."""
    home = scene.homes[name]
    before = len(scene.sim.heard(home, InvitationAnswered))
    assert not scene.sim.command(home, enrolment_of(identity(name)), InviteDevice(invitation))
    assert scene.sim.run_until(lambda: len(scene.sim.heard(home, InvitationAnswered)) > before, 10.0)
    return scene.sim.heard(home, InvitationAnswered)[-1]


def groups(scene: Scene, name: str) -> tuple[Invitation, ...]:
    cell = scene.sim.hosts[name].cells[OWN_ENROLMENT]
    assert isinstance(cell, Registered)
    return cell.groups


def member(scene: Scene, name: str) -> MembershipCell | None:
    cell: MembershipCell | None = scene.sim.hosts[name].cells.get(membership_of(GID))
    return cell


def entry(scene: Scene, name: str) -> Entry:
    held = scene.membership(name)
    assert held is not None
    return Entry(held.credential.kid, held.credential.claims.sig_pk)


def form(
    scene: Scene,
    names: Sequence[str],
    plan: RingPlan | None = None,
    ver: int = 1,
    manager: str = "nm1",
    after_epoch: int = 0,
) -> None:
    """Let the coordinator sign a roster of these, and the manager lead them."""
    nc = scene.operators["nc1"]
    claims = RosterClaims(GID, ver, tuple(sorted(entry(scene, name) for name in names)), None, None)
    roster = write(nc.signing, claims, kid=kid_of(nc.credential))
    charter = Charter(GID, scene.suite.id, kid_of(nc.credential), nc.signing.public)
    peers = {entry(scene, name).kid: scene.sim.hosts[name].address for name in names}
    entitled = delegation(scene, nc, days=30 + ver, manager=manager)
    wish = FormRing(charter, roster, plan or RingPlan(RELAY), entitled, peers, after_epoch)
    scene.sim.command(manager, ring_of(GID), wish)


def active(scene: Scene, *names: str, epoch: int) -> bool:
    cells = [member(scene, name) for name in names]
    return all(cell and cell.lasting.active and cell.lasting.active.number == epoch for cell in cells)


@pytest.mark.parametrize("suite", [1, 17])
@pytest.mark.parametrize("multicast", [True, False], ids=["multicast", "unicast"])
def test_GS01_invited_devices_agree_on_a_key(suite: int, multicast: bool) -> None:
    scene = world(suite)
    flags = MULTICAST | COMPACT if multicast else 0
    for name in NAMES:
        answer = say(scene, name, invite(scene, flags=flags, place=PLACE if multicast else b""))
        assert (answer.dev_id, answer.gid, answer.code) == (identity(name), GID, None)
        assert answer.kid == entry(scene, name).kid
    form(scene, NAMES, RingPlan(RELAY, multicast=multicast))
    assert scene.sim.run_until(lambda: active(scene, *NAMES, epoch=1), 30.0)
    assert len({ready.key_id for name in NAMES for ready in scene.sim.heard(name, GroupReady)}) == 1
    assert groups(scene, "d1") == (Invitation(GID, PLACE if multicast else b""),)
    assert groups(scene, "d1")[0].address == (("224.0.1.187", 5683) if multicast else None)


def foreign_coordinator(scene: Scene) -> Invite:
    nc = scene.operators["nc2"]
    return invite(scene, delegation=delegation(scene, nc), cred_RA=nc.credential)


def credential_of_a_manager(scene: Scene) -> Invite:
    return invite(scene, cred_RA=scene.managers["nm1"].chain[0])


def credential_changed(scene: Scene) -> Invite:
    nc = scene.operators["nc1"]
    return invite(scene, cred_RA=nc.credential[:-1] + bytes([nc.credential[-1] ^ 1]))


@pytest.mark.parametrize("wrong", [foreign_coordinator, credential_of_a_manager, credential_changed])
def test_GS01_an_authority_that_is_not_the_own_coordinator_is_refused(wrong: object) -> None:
    scene = world()
    assert callable(wrong)
    assert say(scene, "d1", wrong(scene)).code is ErrorCode.E_CRED
    assert (groups(scene, "d1"), member(scene, "d1")) == ((), None)


def test_GS02_a_delegation_that_the_coordinator_has_not_signed_for_this_group_is_refused() -> None:
    scene = world()
    nc = scene.operators["nc1"]
    by_manager = delegation(scene, nc, signer=scene.managers["nm1"].signing)
    for_another = delegation(scene, nc, gid=bytes(8))
    for wrong in (by_manager, for_another):
        assert say(scene, "d1", invite(scene, delegation=wrong)).code is ErrorCode.E_ROSTER
    assert (groups(scene, "d1"), member(scene, "d1")) == ((), None)


def test_GS02_an_older_delegation_brings_no_replaced_gateway_back() -> None:
    scene = world()
    nc = scene.operators["nc1"]
    say(scene, "d1", invite(scene, delegation=delegation(scene, nc, days=31, manager="nm2")))
    assert say(scene, "d1", invite(scene)).code is None  # settings may change, the gateway does not
    cell, successor = member(scene, "d1"), scene.managers["nm2"].membership
    assert cell is not None
    assert successor is not None
    assert cell.lasting.charter.gw_kid == successor.credential.kid


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"place": place_of("127.0.0.1", 5683)}, ErrorCode.E_FORMAT),
        ({"place": place_of("224.0.1.187", 0)}, ErrorCode.E_FORMAT),
        ({"place": b""}, ErrorCode.E_FORMAT),
        ({"flags": 0}, ErrorCode.E_FORMAT),
        ({"telemetry": (b"\xff",)}, ErrorCode.E_FORMAT),
        ({"telemetry": (b"a" * 30, b"b" * 30)}, ErrorCode.E_LIMIT),
    ],
)
def test_GS03_settings_that_cannot_be_kept_are_refused(changed: dict[str, object], code: ErrorCode) -> None:
    scene = world()
    assert say(scene, "d1", invite(scene, **changed)).code is code
    assert (groups(scene, "d1"), member(scene, "d1")) == ((), None)
    assert scene.sim.heard("d1", Refused)[-1].code is code


def test_GS03_a_device_belongs_to_sixteen_groups_at_most() -> None:
    scene = world()
    nc = scene.operators["nc1"]
    for number in range(MOST_GROUPS + 1):
        gid = number.to_bytes(8, "big")
        answer = say(scene, "d1", invite(scene, gid=gid, delegation=delegation(scene, nc, gid=gid)))
        assert answer.code is (None if number < MOST_GROUPS else ErrorCode.E_LIMIT)
    assert len(groups(scene, "d1")) == MOST_GROUPS
    assert say(scene, "d1", invite(scene, gid=bytes(8), delegation=delegation(scene, nc, gid=bytes(8)))).code is None


def test_GS04_an_invitation_and_its_key_survive_a_restart() -> None:
    scene = world()
    for name in NAMES:
        say(scene, name, invite(scene))
    form(scene, NAMES)
    assert scene.sim.run_until(lambda: active(scene, *NAMES, epoch=1), 30.0)
    scene.sim.reboot("d1")
    assert groups(scene, "d1") == (Invitation(GID, PLACE),)
    scene.sim.command("d1", membership_of(GID), Resume())
    assert active(scene, "d1", epoch=1)
    assert say(scene, "d1", invite(scene)).code is None  # said again: nothing is lost by it
    assert active(scene, *NAMES, epoch=1)
    assert len(scene.sim.heard("d1", GroupInvited)) == 1


def test_GS05_who_may_join_does_so_only_when_told_and_stands_by_again_after_leaving() -> None:
    scene = world()
    for name in NAMES:
        say(scene, name, invite(scene, flags=MULTICAST | (STANDBY if name == "d3" else 0)))
    form(scene, NAMES[:2])
    assert scene.sim.run_until(lambda: active(scene, "d1", "d2", epoch=1), 30.0)
    scene.sim.run_for(60.0)
    assert not scene.sim.heard("nm1", JoinAsked)

    scene.sim.command("d3", membership_of(GID), AskToJoin())
    assert scene.sim.run_until(lambda: bool(scene.sim.heard("nm1", JoinAsked)), 10.0)
    (asked,) = scene.sim.heard("nm1", JoinAsked)
    assert asked.kid == entry(scene, "d3").kid
    scene.sim.command("nm1", ring_of(GID), Amend(add=(entry(scene, "d3"),)))
    assert scene.sim.run_until(lambda: active(scene, *NAMES, epoch=2), 30.0)

    scene.sim.command("d3", membership_of(GID), AskToLeave())
    assert scene.sim.run_until(lambda: active(scene, "d1", "d2", epoch=3), 30.0)
    assert scene.sim.heard("nm1", LeaveAsked)[-1].granted
    for _ in range(2):
        scene.sim.reboot("d3")
        scene.sim.command("d3", membership_of(GID), Resume())
        scene.sim.run_for(60.0)
    assert len(scene.sim.heard("nm1", JoinAsked)) == 1
    cell = member(scene, "d3")
    assert cell is not None
    assert cell.lasting.active is None


def test_GS06_who_is_uninvited_forgets_the_group_and_its_key() -> None:
    scene = world()
    for name in NAMES:
        say(scene, name, invite(scene))
    form(scene, NAMES)
    assert scene.sim.run_until(lambda: active(scene, *NAMES, epoch=1), 30.0)
    before = len(scene.sim.heard("nm1", InvitationAnswered))
    for again in (1, 2):
        scene.sim.command("nm1", enrolment_of(identity("d3")), UninviteDevice(GID))
        assert scene.sim.run_until(lambda: len(scene.sim.heard("nm1", InvitationAnswered)) >= before + again, 10.0)  # noqa: B023
        assert scene.sim.heard("nm1", InvitationAnswered)[-1].code is None
        assert (groups(scene, "d3"), member(scene, "d3")) == ((), None)
    assert active(scene, "d1", "d2", epoch=1)


def test_GS07_an_invitation_counts_inside_the_link_alone() -> None:
    scene = world()
    scene.sim.transmit("nm1", scene.sim.hosts["d1"].address, invite(scene).encode())
    scene.sim.transmit("d1", scene.sim.hosts["nm1"].address, wire.Invited(GID, 0, bytes(8), b"").encode())
    scene.sim.run_for(5.0)
    assert (groups(scene, "d1"), member(scene, "d1")) == ((), None)
    assert not scene.sim.heard("nm1", InvitationAnswered)
    assert scene.sim.heard("d1", Refused)[-1].code is ErrorCode.E_STATE


def test_GS07_a_manager_invites_no_device_that_is_suspended_or_unknown() -> None:
    scene = world()
    stranger = scene.sim.command("nm1", enrolment_of(identity("d9")), InviteDevice(invite(scene)))
    assert [report.code for report in stranger if isinstance(report, Refused)] == [ErrorCode.E_UNKNOWN_ID]


def test_GS08_a_new_credential_of_the_coordinator_is_followed_without_losing_the_epoch() -> None:
    scene = world()
    for name in NAMES:
        say(scene, name, invite(scene))
    form(scene, NAMES)
    assert scene.sim.run_until(lambda: active(scene, *NAMES, epoch=1), 30.0)
    nc = scene.operators["nc1"]
    claims = SignedCredential.decode(nc.credential).claims
    rolled = scene.suite.generate_signing_key(SeededEntropy(b"rolled"))
    root = scene.suite.generate_signing_key(SeededEntropy(SEED).fork("authority"))
    renewed = replace(nc, signing=rolled, credential=issue(root, replace(claims, sig_pk=rolled.public)).raw)
    taken = invite(scene, delegation=delegation(scene, renewed, days=60), cred_RA=renewed.credential)
    assert say(scene, "d1", taken).code is None
    cell = member(scene, "d1")
    assert cell is not None
    assert cell.lasting.charter.ra_pk == rolled.public
    assert active(scene, "d1", epoch=1)
    assert say(scene, "d1", invite(scene, delegation=delegation(scene, renewed, days=20), cred_RA=renewed.credential))
    cell = member(scene, "d1")
    assert cell is not None
    assert cell.lasting.charter.not_after == EPOCH + 60 * 86400


def test_GS02_a_former_key_of_the_coordinator_brings_no_replaced_gateway_back() -> None:
    scene = world()
    former = invite(scene)  # its manager has kept it
    say(scene, "d1", former)
    nc = scene.operators["nc1"]
    claims = SignedCredential.decode(nc.credential).claims
    rolled = scene.suite.generate_signing_key(SeededEntropy(b"rolled"))
    root = scene.suite.generate_signing_key(SeededEntropy(SEED).fork("authority"))
    renewed = replace(nc, signing=rolled, credential=issue(root, replace(claims, sig_pk=rolled.public)).raw)
    papers = delegation(scene, renewed, days=31, manager="nm2")
    say(scene, "d1", invite(scene, delegation=papers, cred_RA=renewed.credential))
    say(scene, "d1", former)
    cell, successor = member(scene, "d1"), scene.managers["nm2"].membership
    assert cell is not None
    assert successor is not None
    assert (cell.lasting.charter.ra_pk, cell.lasting.charter.gw_kid) == (rolled.public, successor.credential.kid)


def test_GS09_a_replacing_gateway_begins_above_the_epochs_of_the_one_before() -> None:
    scene = world()
    for name in NAMES:
        say(scene, name, invite(scene, flags=0, place=b""))
    form(scene, NAMES, RingPlan(RELAY, multicast=False))
    assert scene.sim.run_until(lambda: active(scene, *NAMES, epoch=1), 30.0)
    form(scene, NAMES, RingPlan(RELAY, multicast=False), ver=1001, manager="nm2", after_epoch=1001)
    assert scene.sim.run_until(lambda: active(scene, *NAMES, epoch=1002), 30.0)
