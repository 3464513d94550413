"""Counter mode, then HMAC (Triad-1 4.5): written out once more, from the text."""

import hmac

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from keymote import cbor
from keymote.crypto.aead import Aead
from keymote.crypto.lightweight.block import HIGHT, MOST_BLOCKS, RECTANGLE_128, TWINE_128, BlockCipher
from keymote.crypto.lightweight.etm import HIGHT_ETM, RECTANGLE_128_ETM, TWINE_128_ETM
from keymote.crypto.secret import Secret
from keymote.errors import PeerFault

PAIRS = {
    "hight": (HIGHT_ETM, HIGHT),
    "twine": (TWINE_128_ETM, TWINE_128),
    "rectangle": (RECTANGLE_128_ETM, RECTANGLE_128),
}
every = pytest.mark.parametrize(("aead", "cipher"), PAIRS.values(), ids=PAIRS)
KEY, NONCE = bytes(range(32)), b"\xff\xfe\xfd\xfc"


def derived(context: bytes, length: int) -> bytes:
    info = cbor.encode_array("TRIAD1/C/lw", context, length)
    return HKDFExpand(SHA256(), length, info).derive(KEY)


@every
@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 64, 100])
def test_TK04_a_message_is_counter_mode_and_a_tag_over_what_was_encrypted(
    aead: Aead, cipher: BlockCipher, size: int
) -> None:
    plaintext, aad = bytes(range(size)), b"associated data"
    stream = b"".join(cipher.encrypt(derived(b"\1", 16), NONCE + n.to_bytes(4, "big")) for n in range(size // 8 + 1))
    ciphertext = bytes(a ^ b for a, b in zip(plaintext, stream, strict=False))
    tag = hmac.digest(derived(b"\2", 32), len(aad).to_bytes(8, "big") + aad + ciphertext, "sha256")[:16]
    assert aead.seal_with(Secret(KEY), NONCE, aad, plaintext) == ciphertext + tag
    assert aead.open_with(Secret(KEY), NONCE, aad, ciphertext + tag) == plaintext


@every
def test_TK04_every_changed_bit_is_refused(aead: Aead, cipher: BlockCipher) -> None:
    key = Secret(KEY)
    sealed = aead.seal_with(key, NONCE, b"aad", b"pt")
    for n in range(8 * len(sealed)):
        with pytest.raises(PeerFault, match="E_AUTH"):
            aead.open_with(
                key, NONCE, b"aad", sealed[: n // 8] + bytes([sealed[n // 8] ^ 1 << n % 8]) + sealed[n // 8 + 1 :]
            )
    moved = aead.seal_with(key, NONCE, b"aa", b"dpt")
    for wrong_aad, ciphertext in (
        (b"", sealed),
        (b"aadp", sealed),
        (b"aad", sealed[:-1]),
        (b"aad", b""),
        (b"aad", moved),
    ):
        with pytest.raises(PeerFault, match="E_AUTH"):
            aead.open_with(key, NONCE, wrong_aad, ciphertext)


@every
def test_TK04_a_message_has_at_most_8192_blocks(aead: Aead, cipher: BlockCipher) -> None:
    with pytest.raises(ValueError, match="bytes of data"):
        cipher.xor(bytes(16), NONCE, bytes(8 * MOST_BLOCKS + 1))
    with pytest.raises(ValueError, match="before the counter"):
        cipher.xor(bytes(16), NONCE + b"\0", b"")


def test_TK04_the_counter_goes_through_its_four_bytes() -> None:
    data = bytes(8 * 257)
    stream = HIGHT.xor(KEY[:16], NONCE, data)
    assert stream[8 * 255 : 8 * 256] == HIGHT.encrypt(KEY[:16], NONCE + b"\0\0\0\xff")
    assert stream[8 * 256 :] == HIGHT.encrypt(KEY[:16], NONCE + b"\0\0\1\0")


def test_TK04_ciphers_do_not_share_their_output() -> None:
    sealed = {aead.seal_with(Secret(KEY), NONCE, b"", bytes(24)) for aead, _ in PAIRS.values()}
    assert len(sealed) == len(PAIRS)
