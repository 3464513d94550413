"""SREC: application data in an open session (Triad-1 2.8)."""

from typing import Final

from keymote import cbor
from keymote.engine.base import Peer, Refused, Step, replace
from keymote.engine.faces import Opened, Protected, SessionClosed
from keymote.engine.pairwise.states import Open
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.pairwise import MAX_RECORD, Srec

MOST_RECORDS: Final = 1 << 20
MOST_FAILURES: Final = {8: 1 << 16, 16: 1 << 20}
"""Bytes of the tag -> verification failures after which the key is given up (Triad-1 1.8)."""


def protect(cell: Open, plaintext: bytes) -> Step:
    """Seal up to 1024 bytes as the next record."""
    if len(plaintext) > MAX_RECORD:
        raise PeerFault(ErrorCode.E_LIMIT, f"{len(plaintext)} bytes, a record takes at most {MAX_RECORD}")
    if cell.tx_next >= MOST_RECORDS:
        return None, [SessionClosed(cell.psid, ErrorCode.E_LIMIT, why="2^20 records sent; open a new session")]
    seq = cell.tx_next
    ct = cell.suite.seal_payload(cell.send, seq, _aad(cell, outgoing=True, seq=seq), plaintext)
    return replace(cell, tx_next=seq + 1), [Protected(cell.psid, Srec(cell.psid, seq, ct).encode())]


def unprotect(cell: Open, peer: Peer, record: Srec) -> Step:
    """Open a record once; a forged one only counts (PW-35), a repeated one is E_REPLAY."""
    if not cell.window.accepts(record.seq):
        raise PeerFault(ErrorCode.E_REPLAY, f"record {record.seq} was opened before or is too old")
    if record.seq >= MOST_RECORDS:
        raise PeerFault(ErrorCode.E_LIMIT, "record number beyond 2^20")
    try:
        plaintext = cell.suite.open_payload(
            cell.receive, record.seq, _aad(cell, outgoing=False, seq=record.seq), record.ct
        )
    except PeerFault as fault:
        failures = cell.failures + 1
        if failures >= MOST_FAILURES[cell.suite.payload.tag_size]:
            return None, [SessionClosed(cell.psid, ErrorCode.E_LIMIT, why="too many forged records")]
        return replace(cell, failures=failures), [Refused(peer, fault.code, fault.what)]
    opened = replace(cell, window=cell.window.with_seq(record.seq), peer=peer)
    return opened, [Opened(cell.psid, record.seq, plaintext)]


def _aad(cell: Open, *, outgoing: bool, seq: int) -> bytes:
    direction = 0 if cell.initiator is outgoing else 1
    return cbor.encode_array("TRIAD1", 31, cell.suite.id, cell.psid, direction, seq)
