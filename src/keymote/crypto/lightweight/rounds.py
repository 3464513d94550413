"""What a block cipher of 64 bits is made of: a key schedule, and the rounds on 8 bytes in place."""

from typing import Final, Protocol

BLOCK_SIZE: Final = 8


class Expand(Protocol):
    """Returns the round keys of a key."""

    def __call__(self, key: bytes, /) -> list[int]: ...


class Encrypt(Protocol):
    """Encrypts the 8 bytes in `block` under round keys."""

    def __call__(self, keys: list[int], block: list[int], /) -> None: ...
