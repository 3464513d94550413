"""The audit chain: any change, gap, exchange or shortening is found, and the first bad entry is named."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymote import cbor
from keymote.engine.audit import GENESIS, Entry, Link, following, recompute
from keymote.errors import ErrorCode, PeerFault


def chain(count: int) -> list[Link]:
    links, h = [], GENESIS
    for seq in range(1, count + 1):
        entry = Entry(1_700_000_000 + seq, "operator", "device.revoke", bytes([seq]) * 8, {"reason": seq}).encode()
        h = following(h, entry)
        links.append(Link(seq, entry, h))
    return links


def test_the_hash_is_the_formula_of_the_specification() -> None:
    entry = Entry(1, "operator", "device.revoke", b"d" * 8).encode()
    assert following(GENESIS, entry) == hashlib.sha256(cbor.encode(["TRIAD1/D/audit", bytes(32), entry])).digest()


def test_an_untouched_log_holds() -> None:
    links = chain(5)
    verdict = recompute(links, {5: links[4].h, 2: links[1].h})
    assert (verdict.entries, verdict.h, verdict.first_bad) == (5, links[4].h, 0)
    assert recompute([], {}).first_bad == 0


@given(st.integers(0, 5), st.integers(0, 10_000), st.integers(1, 255))
def test_one_changed_byte_is_named_by_its_entry(position: int, offset: int, mask: int) -> None:
    links = chain(6)
    entry = bytearray(links[position].entry)
    entry[offset % len(entry)] ^= mask
    links[position] = Link(position + 1, bytes(entry), links[position].h)
    assert recompute(links, {}).first_bad == position + 1


@given(st.integers(0, 4))
def test_a_missing_entry_is_named(position: int) -> None:
    links = chain(6)
    del links[position]
    assert recompute(links, {}).first_bad == position + 1


def test_exchanged_entries_are_named() -> None:
    links = chain(4)
    links[1], links[2] = Link(2, links[2].entry, links[2].h), Link(3, links[1].entry, links[1].h)
    assert recompute(links, {}).first_bad == 2


def test_a_shortened_log_is_betrayed_by_a_signed_head_only() -> None:
    links = chain(4)
    assert recompute(links[:3], {}).first_bad == 0
    assert recompute(links[:3], {4: links[3].h}).first_bad == 4


def test_a_log_written_anew_is_betrayed_by_a_signed_head_only() -> None:
    links, other, h = chain(3), [], GENESIS
    for seq in range(1, 4):
        entry = Entry(seq, "operator", "device.suspend", b"x" * 8).encode()
        h = following(h, entry)
        other.append(Link(seq, entry, h))
    assert recompute(other, {}).first_bad == 0
    verdict = recompute(other, {2: links[1].h})
    assert (verdict.entries, verdict.h, verdict.first_bad) == (1, other[0].h, 2)


def test_entries_come_back_as_they_were() -> None:
    entry = Entry(5, "manager:00", "device.register", b"d" * 8, {"serial": b"s" * 8, "reg_no": 1})
    assert Entry.decode(entry.encode()) == entry
    for wrong in (b"", b"\x80", cbor.encode([1, 2, 3, 4, 5])):
        with pytest.raises(PeerFault) as fault:
            Entry.decode(wrong)
        assert fault.value.code is ErrorCode.E_FORMAT
