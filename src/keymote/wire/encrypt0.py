"""What the headers of our two COSE_Encrypt0 share (GSEC and PUB): a shortest Partial IV, and a countersignature or none."""

from typing import Final

from keymote.errors import ErrorCode, PeerFault

PARTIAL_IV: Final = 6
COUNTERSIGNATURE: Final = 12
SIGNATURE_SIZE: Final = 64
PARTIAL_IV_HEADER: Final = b"\x06"
COUNTERSIGNATURE_HEADER: Final = b"\x0c\x58\x40"


def partial_iv(number: int) -> bytes:
    """Return a number as header 6 has it: shortest big endian, 0 as one byte (Triad-1 8)."""
    return number.to_bytes((number.bit_length() + 7) // 8 or 1, "big")


def is_shortest(partial: bytes, most: int) -> bool:
    """Return whether header 6 is what `partial_iv` makes, of at most `most` bytes."""
    return 1 <= len(partial) <= most and (len(partial) == 1 or partial[0] != 0)


def countersignature_in(rest: dict[object, object]) -> bytes | None:
    """Return header 12 where it is all that is left of a header, None where nothing is left; E_FORMAT for anything else."""
    match rest:
        case {12: bytes(countersignature)} if len(rest) == 1 and len(countersignature) == SIGNATURE_SIZE:
            return countersignature
        case {} if not rest:
            return None
    raise PeerFault(ErrorCode.E_FORMAT, "a header besides those of the profile and a countersignature of 64 bytes")


def take_partial_iv(data: bytes, at: int, most: int) -> tuple[bytes, int]:
    """Return header 6, which begins at `at`, and where it ends; empty where it is not in its one form."""
    length = data[at + 1] - 0x40
    partial = data[at + 2 : at + 2 + length] if 1 <= length <= most else b""
    if data[at : at + 1] != PARTIAL_IV_HEADER or not is_shortest(partial, most):
        return b"", at
    return partial, at + 2 + length


def take_countersignature(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Return header 12, which must begin at `at`, and where it ends; None where it does not."""
    if data[at : at + 3] != COUNTERSIGNATURE_HEADER:
        return None, at
    return data[at + 3 : at + 3 + SIGNATURE_SIZE], at + 3 + SIGNATURE_SIZE
