"""Telling devices of a group: INVITE and UNINVITE are said until they are answered, in growing pauses, and at each contact."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from keymote.engine.base import CellKey, Command, Refused, Report
from keymote.engine.enrolment.registrar_cell import RegistrarCell
from keymote.engine.faces import enrolment_of
from keymote.engine.group.invitation import InviteDevice, UninviteDevice
from keymote.engine.member import ACTIVE, Member
from keymote.errors import KeymoteError
from keymote.manager.group_hedge import PSK_ID
from keymote.manager.group_record import GroupRecord, Said
from keymote.manager.group_rules import digest_of
from keymote.wire.credential import kid_of
from keymote.wire.invitation import Invite

FIRST_S: Final = 5
LONGEST_S: Final = 3600
"""First and longest pause before a device that has not answered is told again."""


class Cells(Protocol):
    """The manager's cells; `command` returns when what it changed is durable."""

    async def command(self, key: CellKey, command: Command) -> Sequence[Report]: ...

    def peek(self, key: CellKey) -> object: ...


def member_of(cells: Cells, dev_id: bytes) -> Member | None:
    """Return what this manager knows of a device that is enrolled here; None for any other."""
    cell = cells.peek(enrolment_of(dev_id))
    return cell.member if isinstance(cell, RegistrarCell) else None


class Invitations:
    """Who is to be told what of one group. `now` in UTC seconds."""

    def __init__(self, gid: bytes, cells: Cells, now: Callable[[], int]) -> None:
        self._gid = gid
        self._cells = cells
        self._now = now
        self._wanted: dict[bytes, Invite | None] = {}
        self._again: dict[bytes, tuple[int, int]] = {}
        """dev_id -> (when to tell it again, after which pause)."""

    def want(self, record: GroupRecord, invited: Mapping[bytes, Invite]) -> GroupRecord:
        """Return the record after it was decided that these, and nobody else, are to be told this (None: forget the group)."""
        gone = dict.fromkeys(record.said.keys() - invited.keys())
        self._wanted = {**gone, **invited}
        for dev_id, invite in self._wanted.items():
            digest = self._digest(dev_id, invite)
            said = record.said.get(dev_id, Said(b""))
            if dev_id not in record.said or said.digest != digest:
                record = record.told(dev_id, said.again(digest))
                self._again[dev_id] = self._now(), FIRST_S
            elif not said.answered and dev_id not in self._again:
                self._again[dev_id] = self._now(), FIRST_S
        return record

    def ready(self, record: GroupRecord, dev_id: bytes) -> bool:
        """Return whether the device has taken what it is to be told now."""
        said, invite = record.said.get(dev_id), self._wanted.get(dev_id)
        return said is not None and invite is not None and said.answered and said.digest == self._digest(dev_id, invite)

    def answered(self, record: GroupRecord, dev_id: bytes, kid: bytes, psk_id: bytes, *, taken: bool) -> GroupRecord:
        """Return the record after an answer; a refusal leaves the device to be told again, later and later.

        So does the answer to an invitation with another hedge, from before (GH-02).
        """
        said, invite = record.said.get(dev_id), self._wanted.get(dev_id)
        member = member_of(self._cells, dev_id)
        if said is None or not taken:
            return record
        if not said.digest:
            self._again.pop(dev_id, None)
            self._wanted.pop(dev_id, None)
            return record.told(dev_id, None)
        if member is None or kid_of(member.credential) != kid:
            return record  # it goes by another credential than the one that we know it by; that will be cleared up
        if invite is not None and psk_id != invite.psk[:PSK_ID]:
            return record
        self._again.pop(dev_id, None)
        return record.told(dev_id, said.by(kid, psk_id))

    def drop(self) -> None:
        """Tell nobody anything more; what was told last stands."""
        self._wanted.clear()
        self._again.clear()

    def met(self, dev_id: bytes) -> None:
        """Tell this device at once, if it has not answered yet: it is there now."""
        if dev_id in self._again:
            self._again[dev_id] = self._now(), FIRST_S

    def due_at(self) -> int | None:
        """Return when somebody is to be told again."""
        return min((at for at, _ in self._again.values()), default=None)

    async def say(self) -> None:
        """Tell whoever is due."""
        now = self._now()
        for dev_id, (at, pause) in tuple(self._again.items()):
            if at > now:
                continue
            self._again[dev_id] = now + pause, min(2 * pause, LONGEST_S)
            invite = self._wanted.get(dev_id)
            command = UninviteDevice(self._gid) if invite is None else InviteDevice(invite)
            try:
                reports = await self._cells.command(enrolment_of(dev_id), command)
            except KeymoteError:
                continue  # the store is away, or the device is not ours any more: later
            if invite is None and any(isinstance(report, Refused) for report in reports):
                self._again.pop(dev_id, None)  # it has no link to us any more

    def _digest(self, dev_id: bytes, invite: Invite | None) -> bytes:
        if invite is None:
            return b""
        member = member_of(self._cells, dev_id)
        return digest_of(invite, b"" if member is None else kid_of(member.credential))


def active_member(cells: Cells, dev_id: bytes) -> Member | None:
    """Return what this manager knows of a device that is enrolled here and neither suspended nor revoked."""
    member = member_of(cells, dev_id)
    return member if member is not None and member.status == ACTIVE else None
