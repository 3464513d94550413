"""Hash, MAC, key derivation and transcript (Triad-1 1.3): SHA-256 and HMAC-SHA-256 in every suite."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from keymote import cbor
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault

_LABEL_LIST: Final = """
A/enrol A/cN A/k4 A/k5 A/k6 A/k7 A/k9 A/pop A/dleq A/link A/lid A/lnk-D A/lnk-N A/link-ratchet A/auth A/tagR A/k3
A/share A/nmshare A/finI A/finR A/kid A/dtls-psk A/oscore-ms A/oscore-salt A/rec-I A/rec-R A/close-I A/close-R
A/c-pss A/nmauth A/nn seal B/roster B/sid B/th1 B/th2 B/dleq B/conf B/snd B/wrap B/root B/root-ratchet B/kcv B/mask
B/oscore-ms B/oscore-salt B/ratchet C/pss C/next C/kreq C/kresp C/kack C/kpush C/snd C/mk C/ck C/lw C/conn
C/ho-auth C/ho-key C/ho-fin C/ho D/audit
"""
LABELS: Final[frozenset[str]] = frozenset(_LABEL_LIST.split())
"""The complete list of Triad-1 1.3, without the prefix `TRIAD1/`; one label, one purpose."""

HASH_SIZE: Final = 32
"""Bytes of a transcript hash, of a pseudorandom key and of the longest one-block output."""

_sha256: Final = hashlib.sha256
_MAX_OUTPUT: Final = 255 * HASH_SIZE
_BLOCK_SIZE: Final = 64
_PADS: Final = {
    size: (
        int.from_bytes(b"\x5c" * size, "big"),
        int.from_bytes(b"\x36" * size, "big"),
        b"\x5c" * (_BLOCK_SIZE - size),
        b"\x36" * (_BLOCK_SIZE - size),
    )
    for size in (HASH_SIZE, _BLOCK_SIZE)
}
"""Bytes of a key -> the outer and the inner pad over the key, and behind it."""
_INFO_HEAD: Final = {label: b"\x83" + cbor.encode("TRIAD1/" + label) for label in LABELS}


def sha256(data: bytes) -> bytes:
    """Return the 32-byte hash."""
    return hashlib.sha256(data).digest()


def extract(salt: bytes, ikm: bytes) -> Secret:
    """Return the 32-byte pseudorandom key HMAC-SHA256(salt, ikm) (HKDF-Extract, RFC 5869 2.2)."""
    outer, inner = _pads(salt)
    return Secret(_sha256(outer + _sha256(inner + ikm).digest()).digest())


def lexp(prk: Secret, label: str, ctx: bytes, length: int = HASH_SIZE) -> Secret:
    """Return a key of `length` bytes for the one purpose `label` (of `LABELS`) in the context `ctx`; see `expand`."""
    return Secret(expand(prk, label, ctx, length))


def expand(prk: Secret, label: str, ctx: bytes, length: int) -> bytes:
    """Return `lexp` for an output that is public, such as a link id, a key id or a salt.

    HKDF-Expand-SHA256(prk, CBOR["TRIAD1/" || label, ctx, length], length), 1 to 8160 bytes.

    Raises:
        CallerFault: the label is not in the protocol's list, or the length is out of range.
    """
    head = _INFO_HEAD.get(label)
    if head is None:
        raise CallerFault(f"{label!r} is not a label of the protocol")
    if not 0 < length <= _MAX_OUTPUT:
        raise CallerFault(f"cannot derive {length} bytes, only 1 to {_MAX_OUTPUT}")
    return hkdf_expand(prk, head + cbor.bstr(ctx) + cbor.uint(length), length)


def hkdf_expand(prk: Secret, info: bytes, length: int) -> bytes:
    """Return HKDF-Expand-SHA256(prk, info, length), 1 to 8160 bytes (RFC 5869 2.3), for protocols with their own `info`."""
    outer, inner = prk.parsed(_pads)
    block = _sha256(outer + _sha256(inner + info + b"\x01").digest()).digest()
    if length <= HASH_SIZE:
        return block[:length]
    output = block
    for counter in range(2, -(-length // HASH_SIZE) + 1):
        block = _sha256(outer + _sha256(inner + block + info + bytes((counter,))).digest()).digest()
        output += block
    return output[:length]


_MK_HEAD: Final = _INFO_HEAD["C/mk"]
_CK_HEAD: Final = _INFO_HEAD["C/ck"]


def chain_step(c: Secret, index: bytes) -> tuple[bytes, Secret]:
    """Return mk_n = expand(c, "C/mk", CBOR(n), 48) and c_{n+1} = lexp(c, "C/ck", CBOR(n), 32) (Triad-1 4.5); `index` is CBOR(n).

    Both come from pads that are made once: a chain takes three HMACs for each reading, which is most of what protecting
    a reading costs.
    """
    opad, ipad, outer_rest, inner_rest = _PADS[HASH_SIZE]
    k = int.from_bytes(c.expose(), "big")
    outer = (k ^ opad).to_bytes(HASH_SIZE, "big") + outer_rest
    inner = (k ^ ipad).to_bytes(HASH_SIZE, "big") + inner_rest
    ctx = cbor.BSTR_HEADS[len(index)] + index
    info = _MK_HEAD + ctx + b"\x18\x30"
    first = _sha256(outer + _sha256(inner + info + b"\x01").digest()).digest()
    second = _sha256(outer + _sha256(inner + first + info + b"\x02").digest()).digest()
    following = _sha256(outer + _sha256(inner + _CK_HEAD + ctx + b"\x18\x20\x01").digest()).digest()
    return first + second[:16], Secret(following)


def _pads(key: bytes) -> tuple[bytes, bytes]:
    """Return the key in both of HMAC's pads, the outer and the inner, 64 bytes each: what can be kept of a key.

    By numbers and not by a table, which would be read at secret places.
    """
    if len(key) > _BLOCK_SIZE:
        key = _sha256(key).digest()
    size = (
        HASH_SIZE if len(key) == HASH_SIZE else _BLOCK_SIZE
    )  # nearly every key has 32 bytes: the rest is constant then
    opad, ipad, outer_rest, inner_rest = _PADS[size]
    k = int.from_bytes(key.ljust(size, b"\0"), "big")
    return (k ^ opad).to_bytes(size, "big") + outer_rest, (k ^ ipad).to_bytes(size, "big") + inner_rest


def _hmac(key: Secret, message: bytes) -> bytes:
    """Return HMAC-SHA256 by its definition (RFC 2104): two hashes cost half of a library's call (decision 0070)."""
    outer, inner = key.parsed(_pads)
    return _sha256(outer + _sha256(inner + message).digest()).digest()


def mac16(key: Secret, *parts: bytes) -> bytes:
    """Return the 16-byte tag HMAC-SHA256(key, parts concatenated)[0:16]; compare tags with `secret.equal`."""
    return _hmac(key, b"".join(parts))[:16]


def macs16(key: Secret, messages: Iterable[bytes]) -> list[bytes]:
    """Return `mac16` of each message under one key, whose pads are looked up once."""
    outer, inner = key.parsed(_pads)
    return [_sha256(outer + _sha256(inner + message).digest()).digest()[:16] for message in messages]


def mac8(key: Secret, *parts: bytes) -> bytes:
    """Return the 8-byte tag HMAC-SHA256(key, parts concatenated)[0:8]; compare tags with `secret.equal`."""
    return _hmac(key, b"".join(parts))[:8]


@dataclass(frozen=True, slots=True)
class Transcript:
    """T: the running 32-byte hash over everything that both sides must have seen alike."""

    value: bytes

    @classmethod
    def begin(cls, label: str, *items: object) -> Self:
        """Return T0 = SHA256(CBOR["TRIAD1/" || label, items...]).

        Raises:
            CallerFault: the label is not in the protocol's list.
        """
        if label not in LABELS:
            raise CallerFault(f"{label!r} is not a label of the protocol")
        return cls(sha256(cbor.encode_array("TRIAD1/" + label, *items)))

    def add(self, message: bytes) -> Self:
        """Return the transcript that continues with the exact wire bytes of `message`: SHA256(T || SHA256(m))."""
        return type(self)(hashlib.sha256(self.value + hashlib.sha256(message).digest()).digest())
