"""What our engines really compute for a reading, a grant or a hand-over: blocks of SHA-256, and each call of a cipher."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final, cast

from keymote.crypto import kdf
from keymote.crypto.aead import Aead
from keymote.engine.topic.ratchet import Sending

_BLOCK: Final = 64
_PADDING: Final = 8
"""Bytes that end a message of SHA-256 besides the one bit."""
AES_BLOCK: Final = 16
ASCON_RATE: Final = 16
LONG, SHORT = 12, 8
"""Rounds of Ascon's permutation at both ends, and between blocks (SP 800-232 4.1)."""


@dataclass(slots=True)
class Work:
    """Operations by the names of a device's profile, and rounds of Ascon's permutation."""

    operations: Counter[str] = field(default_factory=Counter)
    ascon_rounds: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.operations + other.operations, self.ascon_rounds + other.ascon_rounds)

    def as_json(self) -> dict[str, int]:
        rounds = {"ascon_round": self.ascon_rounds} if self.ascon_rounds else {}
        return {**dict(sorted(self.operations.items())), **rounds}


@contextmanager
def hashes() -> Iterator[Work]:
    """Count the blocks that SHA-256 compresses meanwhile, in this process; undone on leaving."""
    work = Work()

    def counted(data: bytes) -> Any:
        work.operations["sha256_block"] += (len(data) + _PADDING) // _BLOCK + 1
        return hashlib.sha256(data)

    names = vars(kdf)
    genuine = {name: names[name] for name in ("_sha256", "hashlib")}
    names.update(_sha256=counted, hashlib=SimpleNamespace(sha256=counted))
    try:
        yield work
    finally:
        names.update(genuine)


def ccm_blocks(aad: int, octets: int) -> int:
    """Return AES calls of CCM: counter and CBC-MAC over B_0, associated data with their length, and the text (RFC 3610)."""
    text = -(-octets // AES_BLOCK)
    return 1 + -(-(aad + 2) // AES_BLOCK) + text + text + 1


def ascon_rounds(aad: int, octets: int) -> int:
    """Return rounds of Ascon-AEAD128: twelve at both ends, eight after each block of associated data and between blocks of text."""
    return 2 * LONG + SHORT * (aad // ASCON_RATE + 1 + octets // ASCON_RATE)


def ccm(aad: int, octets: int) -> Work:
    return Work(Counter(aes_block=ccm_blocks(aad, octets)))


def ascon(aad: int, octets: int) -> Work:
    return Work(Counter(), ascon_rounds(aad, octets))


@dataclass(slots=True)
class _Seen:
    """A cipher that notes the lengths of what it seals."""

    aead: Aead
    price: Callable[[int, int], Work]
    work: Work = field(default_factory=Work)

    def seal_derived(self, material: bytes, aad: bytes, plaintext: bytes) -> bytes:
        self.work += self.price(len(aad), len(plaintext))
        return self.aead.seal_derived(material, aad, plaintext)


def protected(state: Sending, plaintext: bytes, price: Callable[[int, int], Work]) -> tuple[Sending, bytes, Work]:
    """Return the state after a reading, the reading as it is sent, and what it took."""
    seen = _Seen(state.chain.cipher, price)
    watched = state._replace(chain=state.chain._replace(cipher=cast("Aead", seen)))
    with hashes() as work:
        after, data = watched.protect(plaintext)
    signed = Work(Counter(sign=1)) if state.signing is not None else Work()
    return after._replace(chain=state.chain), data, work + seen.work + signed
