"""The one projection from what the coordinator knows of groups to what its REST interface shows."""

from collections.abc import Sequence

from keymote.coordinator.group_pictures import Gap, Named, Outline, Picture
from keymote.coordinator.group_records import Logged
from keymote.coordinator.groups import Charter
from keymote.coordinator.groups_rules import Seat
from keymote.host.group_register import EpochLine, RosterLine, Settings
from keymote.wire.admin import GroupGap, to_base64url
from keymote.wire.admin_groups import (
    CharterView,
    ConflictView,
    EpochView,
    GoneEntry,
    GroupLine,
    GroupPolicy,
    GroupView,
    MemberEntry,
    MemberView,
    RosterView,
)
from keymote.wire.admin_records import RecordView


def settings_of(
    mode: str,
    level: int,
    *,
    multicast: bool,
    compact: bool,
    central: bool,
    hedge: bool,
    telemetry: Sequence[str],
    policy: GroupPolicy,
) -> Settings:
    """Return the settings that a body asks for."""
    return Settings(
        mode=mode,
        level=level,
        multicast=multicast,
        compact=compact,
        central=central,
        telemetry=tuple(telemetry),
        period_s=policy.period_s,
        least=policy.least,
        batch_s=policy.batch_s,
        misses=policy.misses,
        records=policy.records,
        wake=tuple(policy.wake),
        hedge=hedge,
        keep_records=policy.keep_records,
    )


def policy_view(settings: Settings) -> GroupPolicy:
    return GroupPolicy(
        settings.period_s,
        settings.least,
        settings.batch_s,
        settings.misses,
        settings.records,
        list(settings.wake),
        settings.keep_records,
    )


def charter_view(charter: Charter, authority: bytes) -> CharterView:
    """Return a charter; `authority` is the coordinator's credential in force."""
    group, settings = charter.group, charter.group.settings
    return CharterView(
        gid=group.gid.hex(),
        name=group.name,
        rev=group.rev,
        state=group.state.value,
        nm_id=group.nm_id.hex(),
        suite=group.suite,
        mode=settings.mode,
        level=settings.level,
        multicast=settings.multicast,
        compact=settings.compact,
        central=settings.central,
        telemetry=list(settings.telemetry),
        policy=policy_view(settings),
        credential=to_base64url(authority),
        delegation=to_base64url(group.delegation),
        roster=to_base64url(group.roster),
        roster_ver=group.roster_ver,
        members=[_entry(seat) for seat in charter.members],
        allowed=[_entry(seat) for seat in charter.allowed],
        gone=[GoneEntry(each.dev_id.hex(), [kid.hex() for kid in each.kids], each.reason) for each in charter.gone],
        rekey=group.rekey,
        rekey_reason=group.rekey_reason,
        reported=charter.reported,
        epoch=group.epoch,
        hedge=settings.hedge,
    )


def group_view(picture: Picture) -> GroupView:
    group, settings = picture.group, picture.group.settings
    return GroupView(
        gid=group.gid.hex(),
        name=group.name,
        state=group.state.value,
        rev=group.rev,
        nm_id=group.nm_id.hex(),
        gateway=picture.gateway.name,
        gateway_state=picture.gateway.state.value,
        suite=group.suite,
        mode=settings.mode,
        level=settings.level,
        multicast=settings.multicast,
        compact=settings.compact,
        central=settings.central,
        telemetry=list(settings.telemetry),
        policy=policy_view(settings),
        epoch=group.epoch,
        key_id=group.key_id.hex() or None,
        confirmed_ms=group.confirmed_ms or None,
        reported_ms=group.reported_ms or None,
        roster_ver=group.ver,
        acted=picture.acted,
        n=picture.n,
        members=[
            MemberView(each.dev_id.hex(), each.kid.hex() or None, each.word, each.epoch, each.lag)
            for each in picture.members
        ],
        allowed=[dev_id.hex() for dev_id in picture.allowed],
        waiting=[dev_id.hex() for dev_id in picture.waiting],
        removals=[gap_view(gap) for gap in picture.gaps],
        conflicts=[conflict_view(each) for each in picture.conflicts],
        hedge=settings.hedge,
    )


def group_line(outline: Outline) -> GroupLine:
    group = outline.group
    return GroupLine(
        group.gid.hex(),
        group.name,
        group.state.value,
        group.nm_id.hex(),
        outline.gateway,
        outline.n,
        group.epoch,
        group.confirmed_ms or None,
        outline.waiting,
        outline.conflicts,
    )


def gap_view(gap: Gap) -> GroupGap:
    removal = gap.removal
    return GroupGap(
        removal.gid.hex(),
        gap.group.name,
        removal.dev_id.hex(),
        removal.cause.value,
        removal.at_ms,
        gap.safe_after_ms,
        [dev_id.hex() for dev_id in gap.waiting],
    )


def conflict_view(named: Named) -> ConflictView:
    conflict = named.conflict
    return ConflictView(
        conflict.id,
        conflict.kind.value,
        conflict.gid.hex() or None,
        named.group,
        conflict.subject.hex() or None,
        conflict.number,
        list(named.managers),
        conflict.ts_ms,
        conflict.settled_ms,
        conflict.text,
    )


def roster_view(line: RosterLine, by: str) -> RosterView:
    return RosterView(line.ver, by, line.n, line.digest.hex(), line.ts_ms, to_base64url(line.raw))


def record_view(logged: Logged) -> RecordView:
    line = logged.line
    return RecordView(
        line.id,
        line.nm_id.hex(),
        line.seq,
        line.ts_ms,
        line.epoch,
        line.kid.hex(),
        logged.dev_id.hex() or None,
        line.number,
        line.resource,
        to_base64url(line.record),
    )


def epoch_view(line: EpochLine, members: Sequence[bytes]) -> EpochView:
    return EpochView(
        line.epoch,
        line.attempt,
        line.nm_id.hex(),
        line.ver,
        line.key_id.hex(),
        line.reason,
        line.began_ms,
        line.confirmed_ms,
        [member.hex() for member in members],
    )


def _entry(seat: Seat) -> MemberEntry:
    names = (seat.dev_id.hex(), seat.nm_id.hex(), seat.kid.hex())
    return MemberEntry(*names, to_base64url(seat.sig_pk), to_base64url(seat.raw))
