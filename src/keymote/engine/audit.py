"""The hash chain of an audit log: h_i = SHA256(CBOR["TRIAD1/D/audit", h_{i-1}, entry]) (Triad-1 5).

An entry is the byte string CBOR[ts, actor, action, subject, {detail: value}]; h_0 is 32 zero bytes. The chain shows that
nothing was changed, left out or moved behind a head that somebody keeps; it cannot show what was never entered.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from keymote import cbor
from keymote.crypto.kdf import HASH_SIZE, Transcript
from keymote.crypto.secret import equal
from keymote.errors import ErrorCode, PeerFault

GENESIS: Final = bytes(HASH_SIZE)
"""h_0."""

Detail = int | bytes | str | bool | None


@dataclass(frozen=True, slots=True)
class Entry:
    """Who did what to whom, when (UTC seconds). Names are words, ids are bytes; never a secret."""

    ts: int
    actor: str
    action: str
    subject: bytes
    details: Mapping[str, Detail] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the bytes that are chained and stored."""
        return cbor.encode_array(self.ts, self.actor, self.action, self.subject, dict(self.details))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the entry in `data`; PeerFault E_FORMAT for what `encode` never wrote."""
        match cbor.decode(data):
            case [int(ts), str(actor), str(action), bytes(subject), dict(details)]:
                return cls(ts, actor, action, subject, details)  # type: ignore[arg-type]  # only encode writes details
        raise PeerFault(ErrorCode.E_FORMAT, "not an audit entry")


def following(h: bytes, entry: bytes) -> bytes:
    """Return h_i of the encoded `entry` after h_{i-1} = `h`."""
    return Transcript.begin("D/audit", h, entry).value


@dataclass(frozen=True, slots=True)
class Link:
    """One stored row: number from 1, encoded entry and its h_i."""

    seq: int
    entry: bytes
    h: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a re-computation found: entries that hold, the last h, and the first bad entry with its reason (0: none)."""

    entries: int
    h: bytes
    first_bad: int = 0
    why: str = ""


def recompute(links: Iterable[Link], heads: Mapping[int, bytes]) -> Verdict:
    """Return the verdict over a whole log; `heads` maps numbers of entries to the h that somebody has signed."""
    seq, h = 0, GENESIS
    reached = {0: GENESIS}
    for link in links:
        if link.seq != seq + 1:
            return Verdict(seq, h, seq + 1, f"entry {seq + 1} is missing, {link.seq} follows {seq}")
        expected = following(h, link.entry)
        if not equal(expected, link.h):
            return Verdict(seq, h, link.seq, f"hash of entry {link.seq} is not that of its content after entry {seq}")
        seq, h = link.seq, expected
        if seq in heads and not equal(heads[seq], h):
            return Verdict(seq - 1, reached[seq - 1], seq, f"entry {seq} differs from the head signed over it")
        reached = {seq: h}
    beyond = [signed for signed in heads if signed > seq]
    if beyond:
        return Verdict(seq, h, seq + 1, f"log ends at entry {seq}, a head was signed over {max(beyond)}")
    return Verdict(seq, h)
