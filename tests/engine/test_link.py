"""LINK, cell against cell: two ends of one link, their records on a disk, and what happens between them."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from keymote import cbor
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.kdf import expand, lexp
from keymote.crypto.secret import Secret
from keymote.crypto.suites import suite_by_id
from keymote.engine.base import CellKey, Due, Kind, Now, Received, Refused, Send, Tell, Told
from keymote.engine.faces import Announce
from keymote.engine.link import MAX_AGE_S, MAX_RECORDS, link_kind
from keymote.engine.link_cell import ANNOUNCED_AGAIN_S, ANNOUNCED_DAILY_S, BLOCK, LONGEST_PAUSE_S, LinkCell
from keymote.engine.link_epochs import JUMP, OLD_KEY_S
from keymote.engine.link_faces import Install, LinkBody, SealBody, StepEpoch, link_to_manager
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.enrolment import Error
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Link, Shreq

DEV, NM = b"device 1", b"manager1"
KEY = Secret(bytes(range(32)))
BODY = Shreq(b"session1", b"kid of I", b"kid of R").encode()
ENTROPY = SeededEntropy(b"link")


def dispatch(_link: bytes, peer_id: bytes, _mt: int, _body: bytes) -> CellKey:
    return CellKey("session", peer_id)


@dataclass
class End:
    """One end: its cell, its disk, and what it did last."""

    kind: Kind
    id: bytes
    cell: LinkCell | None = None
    disk: bytes | None = None
    writes: int = 0
    told: list[LinkBody] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def step(self, item: Any, at: float = 0.0) -> list[bytes]:
        """Step the cell, save its record when it changed, and return the datagrams that leave."""
        self.cell, outputs = self.kind.step(self.cell, item, Now(at, 0), ENTROPY)
        record = None if self.cell is None else self.kind.record(self.cell)
        if record != self.disk:
            self.disk, self.writes = record, self.writes + 1
        self.told += [o.command for o in outputs if isinstance(o, Tell)]
        self.refused += [o for o in outputs if isinstance(o, Refused)]
        return [o.data for o in outputs if isinstance(o, Send)]

    def send(self, body: bytes = BODY, at: float = 0.0) -> bytes:
        (record,) = self.step(Told(SealBody(body)), at)
        return record

    def hear(self, record: bytes, at: float = 0.0, peer: str = "far") -> list[bytes]:
        return self.step(Received(peer, record), at)

    def reboot(self, generation: int = 0) -> None:
        assert self.disk is not None
        self.kind = link_kind(suite_by_id, dispatch, generation)
        assert self.kind.load is not None
        self.cell = self.kind.load(self.id, self.disk)


def ends(suite: int = 1) -> tuple[End, End]:
    """Return the device's end and the manager's end of one link."""
    device, manager = End(link_kind(suite_by_id, dispatch), b""), End(link_kind(suite_by_id, dispatch), DEV)
    device.step(Told(Install(b"", NM, DEV, 0, suite, KEY, "far")))
    manager.step(Told(Install(DEV, DEV, DEV, 1, suite, KEY, "far")))
    return device, manager


def ends_of_managers() -> tuple[End, End]:
    """Return both ends of a link between two managers, the one that began it first."""
    one, other = link_to_manager(NM, started_here=True).id, link_to_manager(DEV, started_here=False).id
    first, second = End(link_kind(suite_by_id, dispatch), one), End(link_kind(suite_by_id, dispatch), other)
    first.step(Told(Install(one, NM, DEV, 0, 1, KEY, "far")))
    second.step(Told(Install(other, DEV, DEV, 1, 1, KEY, "far")))
    return first, second


def code(end: End, record: bytes, at: float = 0.0) -> ErrorCode:
    """Return why `end` refuses a record, and check that it changed nothing."""
    before = end.cell
    with pytest.raises(PeerFault) as refusal:
        end.hear(record, at)
    assert end.cell is before
    return refusal.value.code


@pytest.mark.parametrize("suite", [1, 2, 3, 17])
def test_LK01_LK02_LK11_a_record_is_what_the_text_says(suite: int) -> None:
    device, manager = ends(suite)
    record = Link.decode(device.send(), sizes_of(suite))
    assert record.lid == expand(KEY, "A/lid", cbor.encode([0]), 8)
    key = lexp(KEY, "A/lnk-D", cbor.encode([DEV, 0]), 32)
    aad = cbor.encode(["TRIAD1", 18, suite, DEV, 0, 0, 0])
    assert suite_by_id(suite).open_record(key, 0, aad, record.ct) == BODY
    assert 30 <= len(record.encode()) - len(BODY) <= 32
    assert DEV not in record.encode()
    back = Link.decode(manager.send(), sizes_of(suite))
    key = lexp(KEY, "A/lnk-N", cbor.encode([DEV, 0]), 32)
    aad = cbor.encode(["TRIAD1", 18, suite, DEV, 0, 1, 0])
    assert suite_by_id(suite).open_record(key, 0, aad, back.ct) == BODY


def test_LK04_each_seq_is_accepted_once_within_a_window_of_32() -> None:
    device, manager = ends()
    records = [device.send() for _ in range(40)]
    manager.hear(records[39])
    assert code(manager, records[6]) is ErrorCode.E_REPLAY
    for record in records[7:39]:
        manager.hear(record)
    for record in records[7:]:
        assert code(manager, record) is ErrorCode.E_REPLAY
    assert len(manager.told) == 33


def test_LK14_between_managers_each_seq_is_accepted_once_within_1024() -> None:
    """A hundred records a second overtake one that was lost for the seconds until it is repeated."""
    first, second = ends_of_managers()
    records = [first.send() for _ in range(1030)]
    second.hear(records[1029])
    assert code(second, records[4]) is ErrorCode.E_REPLAY
    for record in (records[5], records[500], records[1028]):
        second.hear(record)
        assert code(second, record) is ErrorCode.E_REPLAY
    assert len(second.told) == 4


def test_LK12_a_changed_or_foreign_record_changes_nothing() -> None:
    device, manager = ends()
    record = device.send()
    for position in range(len(record)):
        for mask in (0x01, 0x80):
            altered = record[:position] + bytes([record[position] ^ mask]) + record[position + 1 :]
            assert code(manager, altered) in (
                ErrorCode.E_AUTH,
                ErrorCode.E_FORMAT,
                ErrorCode.E_EPOCH,
                ErrorCode.E_UNKNOWN_ID,
            )
    assert code(device, record) is ErrorCode.E_AUTH  # its own record, reflected
    other = End(link_kind(suite_by_id, dispatch), b"device 2")
    other.step(Told(Install(b"device 2", b"device 2", b"device 2", 1, 1, KEY, "far")))
    assert code(other, record) is ErrorCode.E_AUTH
    manager.hear(record)
    assert manager.told[0].body == BODY


def test_LK05_no_key_and_seq_is_used_twice_over_a_thousand_reboots() -> None:
    device, _ = ends()
    seen: set[tuple[int, int]] = set()
    for _ in range(1000):
        for _ in range(3):
            record = Link.decode(device.send(), sizes_of(1))
            assert (record.le, record.seq) not in seen
            seen.add((record.le, record.seq))
        device.reboot()


def test_LK05_a_number_is_reserved_on_disk_before_it_is_used() -> None:
    device, _ = ends()
    before = device.writes
    for sent in range(3 * BLOCK):
        record = Link.decode(device.send(), sizes_of(1))
        row: Any = cbor.decode(device.disk or b"", max_size=2048)
        assert record.seq == sent < row[8]
    assert device.writes - before == 2


def test_LK06_a_record_accepted_before_a_reboot_is_refused_after_it() -> None:
    device, manager = ends()
    old = [device.send() for _ in range(5)]
    for record in old:
        manager.hear(record)
    manager.reboot()
    heard = len(manager.told)
    for record in old:
        manager.hear(record)
    assert len(manager.told) == heard
    assert {refusal.code for refusal in manager.refused} == {ErrorCode.E_REPLAY}


def test_LK06_LK09_the_link_works_on_after_a_reboot_of_either_end() -> None:
    device, manager = ends()
    manager.hear(device.send())
    for rebooted, other in ((manager, device), (device, manager)):
        rebooted.reboot()
        heard = len(rebooted.told)
        (called_forward,) = rebooted.hear(other.send())
        assert len(rebooted.told) == heard
        for again in other.hear(called_forward):
            rebooted.hear(again)
        assert [entry.body for entry in rebooted.told[heard:]] == [BODY] * (len(rebooted.told) - heard)
        assert len(rebooted.told) > heard
        other.hear(rebooted.send())


def test_LK06_a_lost_answer_after_a_reboot_is_given_again() -> None:
    device, manager = ends()
    manager.hear(device.send())
    manager.reboot()
    manager.hear(device.send())  # the answer under the next epoch is lost
    manager.reboot()
    (called_forward,) = manager.hear(device.send())
    again = device.hear(called_forward)
    heard = len(manager.told)
    for record in again:
        with suppress(PeerFault):  # those that an answer has overtaken were sealed anew
            for answer in manager.hear(record):
                for once_more in device.hear(answer):
                    manager.hear(once_more)
    assert len(manager.told) > heard


@pytest.mark.parametrize("why", ["records", "age"])
def test_LK03_LK07_the_epoch_steps_when_the_limits_of_a_key_are_reached(why: str) -> None:
    device, manager = ends()
    manager.hear(device.send())
    at = 0.0
    assert device.cell is not None
    if why == "age":
        at = MAX_AGE_S + 1.0
    else:
        device.cell = replace(device.cell, tx_next=MAX_RECORDS, tx_reserved=MAX_RECORDS)
    record = Link.decode(device.send(at=at), sizes_of(1))
    assert (record.le, record.seq) == (1, 0)
    stepped = lexp(KEY, "A/link-ratchet", cbor.encode([1]), 32)
    following = lexp(stepped, "A/link-ratchet", cbor.encode([2]), 32)
    assert device.cell.keys.following == following
    assert record.lid == expand(stepped, "A/lid", cbor.encode([1]), 8)
    manager.hear(record.encode(), at)
    assert manager.cell is not None
    assert manager.cell.keys.following == following
    assert manager.cell.window.highest == 0
    assert KEY.expose() not in (manager.disk or b"")
    device.hear(manager.send(at=at), at)
    assert KEY.expose() not in (device.disk or b"")


def test_LK15_no_record_and_no_state_of_a_link_holds_the_key_that_it_was_installed_with() -> None:
    for end in ends():
        assert end.cell is not None
        assert end.disk is not None
        assert KEY.expose() not in end.disk
        held = (end.cell.standing.keys, end.cell.standing.ahead)
        assert all(key != KEY for keys in held for key in (keys.send, keys.receive, keys.following))


def test_LK15_a_row_that_still_holds_it_is_read_and_written_again_without() -> None:
    device, manager = ends()
    manager.hear(device.send())
    row = cbor.decode(device.disk or b"")
    assert isinstance(row, list)
    device.disk = cbor.encode([1, *row[1:6], KEY.expose(), *row[7:]])
    device.reboot()
    assert manager.hear(device.send()) == []
    assert manager.told[-1].body == BODY
    assert KEY.expose() not in device.disk


def test_LK08_the_old_receive_key_lives_for_60_seconds() -> None:
    device, manager = ends()
    manager.hear(device.send())
    late, later = manager.send(), manager.send()
    at = MAX_AGE_S + 1.0
    record = device.send(at=at)
    manager.hear(record, at)
    device.hear(late, at + OLD_KEY_S - 1.0)
    assert len(device.told) == 1
    assert code(device, late, at + 1.0) is ErrorCode.E_REPLAY
    answered = device.hear(manager.send(at=at), at)
    assert answered == []
    assert code(device, later, at + OLD_KEY_S + 1.0) in (ErrorCode.E_EPOCH, ErrorCode.E_UNKNOWN_ID)


def test_LK10_a_restored_manager_leaves_out_every_epoch_that_may_have_been_used() -> None:
    device, manager = ends()
    manager.hear(device.send())
    backup = manager.disk
    used: set[tuple[int, int]] = set()
    at = 0.0
    for _ in range(3):  # epochs that the backup does not know
        at += MAX_AGE_S + 1.0
        record = manager.send(at=at)
        link = Link.decode(record, sizes_of(1))
        used.add((link.le, link.seq))
        device.hear(record, at)
        manager.hear(device.send(at=at), at)
    manager.disk = backup
    manager.reboot(generation=1)
    first = Link.decode(manager.send(at=at), sizes_of(1))
    assert first.le == JUMP
    assert (first.le, first.seq) not in used
    heard = len(device.told)
    device.hear(first.encode(), at)
    assert len(device.told) == heard + 1
    manager.hear(device.send(at=at), at)
    assert manager.told[-1].body == BODY


def test_LK10_a_restored_manager_calls_a_device_forward_that_speaks_first() -> None:
    device, manager = ends()
    manager.hear(device.send())
    manager.reboot(generation=1)
    heard = len(manager.told)
    (called_forward,) = manager.hear(device.send())
    assert len(manager.told) == heard
    assert Link.decode(called_forward, sizes_of(1)).le == JUMP + 1
    for record in device.hear(called_forward):
        manager.hear(record)
    assert len(manager.told) > heard


def test_LK10_records_from_before_the_backup_are_not_believed() -> None:
    device, manager = ends()
    old = device.send()
    manager.hear(old)
    heard = len(manager.told)
    manager.reboot(generation=1)
    manager.hear(old)
    assert len(manager.told) == heard


def test_an_error_about_the_link_itself_reaches_no_other_cell() -> None:
    device, manager = ends()
    assert device.hear(manager.send(Error(18, ErrorCode.E_REPLAY).encode())) == []
    assert device.told == []


def test_LK05_LK10_two_lives_of_one_backup_share_no_number() -> None:
    def life(began: int) -> set[tuple[int, int]]:
        """Put the backup back at wall time `began`; say a little in each of three epochs, restarts in between."""
        manager = End(link_kind(suite_by_id, dispatch, 1), DEV, disk=backup)
        manager.reboot(generation=1)
        used = set()
        for epoch in range(3):
            for number in range(4):
                now = Now(float(number), began + epoch)
                manager.cell, outputs = manager.kind.step(manager.cell, Told(SealBody(BODY)), now, ENTROPY)
                (record,) = (Link.decode(out.data, sizes_of(1)) for out in outputs if isinstance(out, Send))
                used.add((record.le, record.seq))
            manager.step(Told(StepEpoch()))
            manager.reboot(generation=1)
        assert len(used) == 12
        return used

    device, manager = ends()
    manager.hear(device.send())
    backup = manager.disk
    lives = [life(began) for began in (1_800_000_000, 1_800_000_400, 1_800_090_000)]
    assert not set.intersection(lives[0], lives[1])
    assert not set.intersection(lives[0] | lives[1], lives[2])


def announced_at(device: End) -> float:
    """Return when the device announces itself next."""
    assert device.kind.deadline is not None
    at = device.kind.deadline(device.cell)
    assert at is not None
    return at


def test_LK13_a_device_that_starts_again_is_spoken_to_where_it_is_now() -> None:
    device, manager = ends()
    manager.hear(device.send(), peer="there")
    device.reboot()
    (announcement,) = device.step(Announce())
    (answer,) = manager.hear(announcement, peer="elsewhere")
    assert manager.cell is not None
    assert manager.cell.peer == "elsewhere"
    assert device.hear(answer) == []
    assert device.told == [] == manager.told[1:]
    device.hear(manager.send())
    assert device.told[-1].body == BODY


def test_LK13_it_is_said_again_more_and_more_rarely_until_it_is_answered_and_then_daily() -> None:
    device, manager = ends()
    device.reboot()
    (lost,) = device.step(Announce(), 0.0)
    at, pauses, said = 0.0, [], {lost}
    for _ in range(10):
        pauses.append(announced_at(device) - at)
        at = announced_at(device)
        assert device.step(Due(), at - 0.5) == []
        (lost,) = device.step(Due(), at)
        said.add(lost)
    assert pauses == [min(ANNOUNCED_AGAIN_S * 2**n, LONGEST_PAUSE_S) for n in range(10)]
    assert len(said) == 11
    (answer,) = manager.hear(lost, at)
    device.hear(answer, at)
    assert announced_at(device) == at + ANNOUNCED_DAILY_S
    (daily,) = device.step(Due(), announced_at(device))
    assert manager.hear(daily, at + ANNOUNCED_DAILY_S) != []
    assert announced_at(device) == at + ANNOUNCED_DAILY_S + ANNOUNCED_AGAIN_S


def test_LK13_whatever_a_device_hears_of_its_registrar_is_an_answer_and_a_repetition_is_none() -> None:
    device, manager = ends()
    old = manager.send()
    device.hear(old)
    device.reboot()
    (announcement,) = device.step(Announce())
    device.hear(old)  # may have been recorded by anybody
    device.hear(manager.send())  # of a block of which the device does not know how much it has heard
    assert announced_at(device) == ANNOUNCED_AGAIN_S
    manager.hear(announcement)
    device.hear(manager.send())
    assert announced_at(device) == ANNOUNCED_DAILY_S


def test_LK13_reboots_with_no_answer_between_them_lead_the_link_one_epoch_on_not_many() -> None:
    device, manager = ends()
    device.hear(manager.send())
    for _ in range(5):
        device.reboot()
        (announcement,) = device.step(Announce())
        assert Link.decode(announcement, sizes_of(1)).le == 1
    for record in manager.hear(announcement):
        device.hear(record)
    assert announced_at(device) == ANNOUNCED_DAILY_S


def test_LK09_LK13_what_was_said_to_the_old_address_is_said_again_to_the_new_one() -> None:
    device, manager = ends()
    device.reboot()
    manager.send()  # nobody is there any more
    (announcement,) = device.step(Announce())
    manager.cell, outputs = manager.kind.step(manager.cell, Received("elsewhere", announcement), Now(1.0, 0), ENTROPY)
    sends = [output for output in outputs if isinstance(output, Send)]
    assert {send.peer for send in sends} == {"elsewhere"}
    for send in sends:
        device.hear(send.data, 1.0)
    assert [entry.body for entry in device.told] == [BODY]


def test_LK13_an_announcement_costs_no_write_within_a_block_and_a_node_without_link_says_nothing() -> None:
    device, manager = ends()
    device.reboot()
    manager.hear(device.step(Announce())[0], peer="far")
    before = device.writes, manager.writes
    for _ in range(9):
        manager.hear(device.step(Due(), announced_at(device))[0], peer="far")
    assert (device.writes, manager.writes) == before
    nobody = End(device.kind, DEV)
    assert nobody.step(Announce()) == []
    assert nobody.cell is None
