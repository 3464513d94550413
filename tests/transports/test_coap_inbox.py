"""What waits for a device that cannot be reached."""

import pytest

from keymote import cbor
from keymote.errors import PeerFault
from keymote.transports.coap.inbox import (
    MAX_AGE_S,
    MAX_INBOXES,
    MAX_RECORDS,
    READER_S,
    Inbox,
    decode_records,
    encode_fetch,
    link_header,
)

LID = bytes(8)


def record(seq: int, size: int = 40, lid: bytes = LID) -> bytes:
    return cbor.encode_array(18, lid, 0, seq, bytes(size))


def test_a_link_record_names_its_inbox_and_place() -> None:
    assert link_header(record(70_000)) == (LID, 70_000)
    assert link_header(cbor.encode_array(9, bytes(16))) is None
    assert link_header(b"\x85\x12" + bytes(20)) is None


def test_reading_returns_what_is_wanted_in_order_and_removes_nothing() -> None:
    inbox = Inbox()
    for seq in (3, 1, 2):
        inbox.keep(LID, seq, record(seq), 0.0)
    for _ in range(2):
        assert decode_records(inbox.fetch(encode_fetch(LID, 2), 1.0)) == [record(2), record(3)]


def test_the_same_record_is_kept_once_and_32_at_most() -> None:
    inbox = Inbox()
    for seq in range(MAX_RECORDS + 5):
        inbox.keep(LID, seq, record(seq, 16), 0.0)
        inbox.keep(LID, seq, record(seq, 16), 0.0)
    kept = decode_records(inbox.fetch(encode_fetch(LID, 0), 1.0))
    assert len(inbox) == MAX_RECORDS
    assert kept[0] == record(5, 16)


def test_a_day_later_the_inbox_is_empty() -> None:
    inbox = Inbox()
    inbox.keep(LID, 0, record(0), 0.0)
    assert decode_records(inbox.fetch(encode_fetch(LID, 0), MAX_AGE_S + 1)) == []


def test_a_full_answer_leaves_the_rest_for_the_next_visit() -> None:
    inbox = Inbox()
    for seq in range(4):
        inbox.keep(LID, seq, record(seq, 500), 0.0)
    first = decode_records(inbox.fetch(encode_fetch(LID, 0), 1.0))
    assert len(first) == 2 - 1 + (2 * len(record(0, 500)) <= 1024)
    assert decode_records(inbox.fetch(encode_fetch(LID, len(first)), 1.0))[0] == record(len(first), 500)


def test_a_record_larger_than_an_answer_is_still_handed_out() -> None:
    inbox = Inbox()
    inbox.keep(LID, 0, record(0, 1040), 0.0)
    assert decode_records(inbox.fetch(encode_fetch(LID, 0), 1.0)) == [record(0, 1040)]


def test_a_reader_is_expected_for_a_day_after_its_visit() -> None:
    inbox = Inbox()
    inbox.keep(LID, 0, record(0), 0.0)
    assert not inbox.expects_reader(LID, 0.0)
    inbox.fetch(encode_fetch(LID, 0), 10.0)
    assert inbox.expects_reader(LID, 10.0 + READER_S - 1)
    assert not inbox.expects_reader(LID, 10.0 + READER_S)


def test_inboxes_are_bounded() -> None:
    inbox = Inbox()
    for number in range(MAX_INBOXES + 1):
        lid = number.to_bytes(8, "big")
        inbox.keep(lid, 0, record(0, lid=lid), 0.0)
    assert len(inbox) == MAX_INBOXES


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x80",
        cbor.encode_array(LID),
        cbor.encode_array(bytes(7), 0),
        cbor.encode_array(LID, -1),
        cbor.encode_array(LID, True),
        cbor.encode_array(LID, 0, 0),
    ],
)
def test_anything_but_lid_and_seq_is_refused(body: bytes) -> None:
    with pytest.raises(PeerFault):
        Inbox().fetch(body, 0.0)


def test_an_answer_that_is_no_array_of_records_is_refused() -> None:
    with pytest.raises(PeerFault):
        decode_records(cbor.encode_array(1, 2))
