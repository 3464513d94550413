"""What a ring reports, as the coordinator hears it (`wire/admin_groups`): metadata, never a key."""

from collections.abc import Iterable

from keymote.engine.group.faces import MemberBlamed, MembersAbsent, RingCommitted
from keymote.errors import ErrorCode
from keymote.manager.group_log import Make
from keymote.wire import admin_groups as told
from keymote.wire.admin import to_base64url

DEVICE = "device"
OPERATOR = "operator here"
_LONGEST = 200


def hexes(ids: Iterable[bytes]) -> list[str]:
    """Return ids as the coordinator reads them."""
    return [each.hex() for each in ids]


def roster(message: bytes) -> Make:
    return lambda seq, ts: told.RosterReport(seq, ts, to_base64url(message))


def epoch(report: RingCommitted, ver: int, reason: int, began_ms: int) -> Make:
    return lambda seq, ts: told.EpochReport(
        seq, ts, report.epoch, report.attempt, ver, report.key_id.hex(), hexes(report.kids), reason, began_ms
    )


def absent(report: MembersAbsent) -> Make:
    return lambda seq, ts: told.AbsentReport(seq, ts, report.epoch, hexes(report.kids), report.excluded)


def blame(report: MemberBlamed) -> Make:
    code, evidence = ErrorCode(report.code).name, to_base64url(report.evidence)
    return lambda seq, ts: told.BlameReport(seq, ts, report.epoch, report.kid.hex(), code, evidence, report.evicted)


def joined(dev_id: bytes, by: str) -> Make:
    return lambda seq, ts: told.JoinedReport(seq, ts, dev_id.hex(), by)


def left(dev_id: bytes) -> Make:
    return lambda seq, ts: told.LeftReport(seq, ts, dev_id.hex())


def evicted(dev_id: bytes, reason: int) -> Make:
    return lambda seq, ts: told.EvictedReport(seq, ts, dev_id.hex(), reason)


def refused(text: str, dev_id: bytes | None = None) -> Make:
    return lambda seq, ts: told.RefusedReport(seq, ts, text[:_LONGEST], None if dev_id is None else dev_id.hex())
