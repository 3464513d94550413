"""RECORD: the one message that says in bytes what a carrier's path says."""

import pytest

from keymote import cbor
from keymote.errors import ErrorCode, PeerFault
from keymote.wire import gsec
from keymote.wire.fields import Text, sizes_of
from keymote.wire.group_record import MOST_GSEC, MOST_RESOURCE, GroupRecord, is_group_record, read

GID = b"street-7"
LONGEST = gsec.write(gsec.Encrypt0(bytes(8), (1 << 20) - 1, 7, bytes(64), bytes(1040)))


def test_GF01_the_longest_record_fits_an_ordinary_message() -> None:
    assert len(LONGEST) == MOST_GSEC
    data = GroupRecord(GID, "ä" * 50, LONGEST).encode()
    assert len(data) <= cbor.MAX_SIZE
    assert is_group_record(data)
    assert read(data) == GroupRecord(GID, "ä" * 50, LONGEST)


@pytest.mark.parametrize("resource", ["/", "/a", "a/", "a//b", "x" * (MOST_RESOURCE + 1), "ä" * 51])
def test_GF01_what_is_no_resource_is_refused(resource: str) -> None:
    with pytest.raises(PeerFault) as fault:
        read(GroupRecord(GID, resource, b"\x82").encode())
    assert fault.value.code is ErrorCode.E_FORMAT


def test_CM01_a_text_has_its_shortest_head_and_is_utf8() -> None:
    head = b"\x84\x18\x4d\x48" + GID
    assert read(head + b"\x61a\x41\x00").resource == "a"
    for text in (b"\x78\x01a", b"\x79\x00\x01a", b"\x61\xff", b"\x62\xc3", b"\x41a", b"\x7f\x61a\xff"):
        with pytest.raises(PeerFault):
            read(head + text + b"\x41\x00")


def test_a_lone_surrogate_is_no_text() -> None:
    with pytest.raises(PeerFault):
        Text(100).accept("\ud800", sizes_of(1))
