"""IEEE 802.15.4 with 6LoWPAN: how many bytes a UDP payload puts on the air, both ways.

Nobody is lost, nobody waits and nobody listens in vain: what a real radio spends on top (idle listening, CSMA, repetition)
is left out for every scheme alike, so the result is a floor.
"""

from typing import Final, NamedTuple

PHY: Final = 6
"""Preamble 4, start of frame 1, length 1 (IEEE 802.15.4-2020 12.1.1)."""
MAC: Final = 23
"""Frame control 2, number 1, PAN 2, two 64-bit addresses 16, FCS 2 (IEEE 802.15.4-2020 7.3.1)."""
MAC_PAYLOAD: Final = 127 - MAC
HEADERS: Final = 9
"""IPHC with both addresses elided 2 (RFC 6282 3.1.1), UDP by NHC with ports in full 7 (RFC 6282 4.3)."""
UNCOMPRESSED: Final = 48
"""IPv6 and UDP, which the offsets of fragments count (RFC 4944 5.3)."""
FRAG1: Final = 4
FRAGN: Final = 5
ACK: Final = PHY + 5
"""Each frame is acknowledged (IEEE 802.15.4-2020 7.3.3)."""


class Air(NamedTuple):
    """Bytes on the air for one datagram: of its frames, of their acknowledgements, and the number of frames."""

    frames: int
    octets: int
    acks: int


def air(payload: int) -> Air:
    """Return what a UDP payload of so many bytes takes on the air, in 802.15.4 frames of at most 127 bytes."""
    if HEADERS + payload <= MAC_PAYLOAD:
        return Air(1, PHY + MAC + HEADERS + payload, ACK)
    first = _whole(MAC_PAYLOAD - FRAG1 - HEADERS + UNCOMPRESSED) - UNCOMPRESSED
    each = _whole(MAC_PAYLOAD - FRAGN)
    frames = 1 + -(-(payload - first) // each)
    octets = frames * (PHY + MAC) + HEADERS + FRAG1 + (frames - 1) * FRAGN + payload
    return Air(frames, octets, frames * ACK)


def _whole(octets: int) -> int:
    """Return the most that a fragment may hold: all but the last end on a multiple of 8 bytes (RFC 4944 5.3)."""
    return octets // 8 * 8
