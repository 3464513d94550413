"""What waits for a device that cannot be reached."""

import pytest

from keymote import cbor
from keymote.errors import PeerFault
from keymote.transports.coap.inbox import (
    MAX_AGE_S,
    MAX_DATAGRAMS,
    MAX_INBOXES,
    READER_S,
    Inbox,
    decode_answer,
    encode_fetch,
    pseudonym,
)

LID = bytes(8)


def record(seq: int, size: int = 40, lid: bytes = LID) -> bytes:
    return cbor.encode_array(18, lid, 0, seq, bytes(size))


def fetched(inbox: Inbox, wanted: int = 0, now: float = 1.0, lid: bytes = LID) -> tuple[int, list[bytes]]:
    return decode_answer(inbox.fetch(encode_fetch(lid, wanted), now))


def test_a_link_record_names_its_inbox_and_nothing_else_does() -> None:
    assert pseudonym(record(70_000)) == LID
    assert pseudonym(cbor.encode_array(20, bytes(8), 1, b"")) is None
    assert pseudonym(b"\x85\x12\x47" + bytes(20)) is None
    assert pseudonym(b"") is None


def test_reading_returns_what_is_wanted_in_order_and_removes_nothing() -> None:
    inbox = Inbox()
    for seq in range(3):
        inbox.keep(LID, record(seq), 0.0)
    for _ in range(2):
        assert fetched(inbox, 1) == (3, [record(1), record(2)])
    assert fetched(inbox, 3) == (3, [])


def test_the_same_datagram_is_kept_once_and_32_at_most() -> None:
    inbox = Inbox()
    for seq in range(MAX_DATAGRAMS + 5):
        inbox.keep(LID, record(seq, 16), 0.0)
        inbox.keep(LID, record(seq, 16), 0.0)
    assert len(inbox) == MAX_DATAGRAMS
    assert fetched(inbox)[1][0] == record(5, 16)


def test_what_was_fetched_and_is_said_again_waits_again() -> None:
    inbox = Inbox()
    inbox.keep(LID, record(0), 0.0)
    following, _ = fetched(inbox)
    inbox.keep(LID, record(0), 2.0)
    assert fetched(inbox, following) == (2, [record(0)])


def test_a_day_later_the_inbox_is_empty() -> None:
    inbox = Inbox()
    inbox.keep(LID, record(0), 0.0)
    assert fetched(inbox, now=MAX_AGE_S + 1) == (1, [])


def test_a_full_answer_leaves_the_rest_for_the_next_visit() -> None:
    inbox = Inbox()
    for seq in range(4):
        inbox.keep(LID, record(seq, 600), 0.0)
    following, first = fetched(inbox)
    assert (following, first) == (1, [record(0, 600)])
    assert fetched(inbox, following) == (2, [record(1, 600)])


def test_a_datagram_larger_than_an_answer_is_still_handed_out() -> None:
    inbox = Inbox()
    inbox.keep(LID, record(0, 1040), 0.0)
    assert fetched(inbox) == (1, [record(0, 1040)])


def test_a_reader_from_before_a_restart_gets_everything() -> None:
    inbox = Inbox()
    inbox.keep(LID, record(9), 0.0)
    assert fetched(inbox, wanted=17) == (1, [record(9)])


def test_a_reader_is_expected_for_a_day_after_its_visit() -> None:
    inbox = Inbox()
    inbox.keep(LID, record(0), 0.0)
    assert not inbox.expects_reader(LID, 0.0)
    fetched(inbox, now=10.0)
    assert inbox.expects_reader(LID, 10.0 + READER_S - 1)
    assert not inbox.expects_reader(LID, 10.0 + READER_S)


def test_inboxes_are_bounded() -> None:
    inbox = Inbox()
    for number in range(MAX_INBOXES + 1):
        lid = number.to_bytes(8, "big")
        inbox.keep(lid, record(0, lid=lid), 0.0)
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
def test_anything_but_lid_and_number_is_refused(body: bytes) -> None:
    with pytest.raises(PeerFault):
        Inbox().fetch(body, 0.0)


@pytest.mark.parametrize(
    "answer", [b"", cbor.encode([]), cbor.encode([b"x"]), cbor.encode([1, [2]]), cbor.encode([True, []])]
)
def test_an_answer_that_is_no_list_of_datagrams_is_refused(answer: bytes) -> None:
    with pytest.raises(PeerFault):
        decode_answer(answer)
