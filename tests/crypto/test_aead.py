"""The AEADs against published answers, and the rules of nonces and keys."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305

from keymote.crypto.aead import AES_CCM_16_64_128, AES_CCM_16_128_128, ASCON_AEAD128, CHACHA20_POLY1305, Aead
from keymote.crypto.secret import Secret
from keymote.errors import PeerFault

ALL = {
    "ChaCha20-Poly1305": CHACHA20_POLY1305,
    "CCM-128": AES_CCM_16_128_128,
    "CCM-64": AES_CCM_16_64_128,
    "Ascon": ASCON_AEAD128,
}
every = pytest.mark.parametrize("aead", ALL.values(), ids=ALL)


def answer(aead: Aead, key: str, nonce: str, aad: str, plaintext: bytes) -> bytes:
    """Seal with a published nonce: as a number it is a sequence number like any other."""
    return aead.seal_record(
        Secret(bytes.fromhex(key)), int.from_bytes(bytes.fromhex(nonce), "big"), bytes.fromhex(aad), plaintext
    )


def test_rfc8439_section_2_8_2() -> None:
    sealed = answer(
        CHACHA20_POLY1305,
        bytes(range(0x80, 0xA0)).hex(),
        "070000004041424344454647",
        "50515253c0c1c2c3c4c5c6c7",
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
        b"sunscreen would be it.",
    )
    assert sealed[:16].hex() == "d31a8d34648e60db7b86afbc53ef7ec2"
    assert sealed[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691"


def test_rfc3610_packet_vector_1() -> None:
    sealed = answer(
        AES_CCM_16_64_128,
        bytes(range(0xC0, 0xD0)).hex(),
        "00000003020100a0a1a2a3a4a5",
        bytes(range(8)).hex(),
        bytes(range(8, 0x1F)),
    )
    assert sealed.hex() == "588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0"


def test_nist_vadt128_count_0() -> None:
    """NIST CAVP, CCM VADT128, Alen = 0, Count = 0: 13-byte nonce, 16-byte tag."""
    sealed = answer(
        AES_CCM_16_128_128,
        "d24a3d3dde8c84830280cb87abad0bb3",
        "f1100035bb24a8d26004e0e24b",
        "",
        bytes.fromhex("7c86135ed9c2a515aaae0e9a208133897269220f30870006"),
    )
    assert sealed.hex() == "1faeb0ee2ca2cd52f0aa3966578344f24e69b742c4ab37ab1123301219c70599b7c373ad4b3ad67b"


def test_CM20_a_128_bit_cipher_uses_the_first_16_bytes_of_a_derived_key() -> None:
    key = Secret(bytes(range(32)))
    for aead in (AES_CCM_16_128_128, AES_CCM_16_64_128):
        bare = AESCCM(bytes(range(16)), tag_length=aead.tag_size)
        assert aead.seal_once(key, b"aad", b"pt") == bare.encrypt(bytes(13), b"pt", b"aad")
    whole = ChaCha20Poly1305(bytes(range(32)))
    assert CHACHA20_POLY1305.seal_once(key, b"aad", b"pt") == whole.encrypt(bytes(12), b"pt", b"aad")


@every
def test_CM21_once_is_the_zero_nonce(aead: Aead) -> None:
    key = Secret(bytes(range(32)))
    assert aead.seal_once(key, b"aad", b"pt") == aead.seal_record(key, 0, b"aad", b"pt")


@every
def test_the_sequence_number_fills_the_nonce_from_the_right(aead: Aead) -> None:
    key = Secret(bytes(range(32)))
    sealed = {aead.seal_record(key, seq, b"", b"plaintext") for seq in (0, 1, 255, 256, 2**32, 2**64 - 1)}
    assert len(sealed) == 6
    with pytest.raises(OverflowError):
        aead.seal_record(key, -1, b"", b"")


@every
def test_every_changed_bit_is_refused(aead: Aead) -> None:
    key, aad = Secret(bytes(range(32))), b"associated"
    sealed = aead.seal_record(key, 5, aad, b"pt")
    assert len(sealed) == 2 + aead.tag_size
    assert aead.open_record(key, 5, aad, sealed) == b"pt"
    forgeries = [(5, aad, bit_flipped(sealed, n)) for n in range(8 * len(sealed))]
    forgeries += [(5, bit_flipped(aad, n), sealed) for n in range(8 * len(aad))]
    forgeries += [(seq, aad, sealed) for seq in (0, 4, 6, 5 << 8)]
    forgeries += [(5, aad, sealed[:n]) for n in range(len(sealed))] + [(5, aad, sealed + b"\0"), (5, b"", sealed)]
    for seq, other_aad, ciphertext in forgeries:
        with pytest.raises(PeerFault, match="E_AUTH"):
            aead.open_record(key, seq, other_aad, ciphertext)
    with pytest.raises(PeerFault, match="E_AUTH"):
        aead.open_record(Secret(bytes(32)), 5, aad, sealed)


def test_one_secret_serves_two_algorithms_without_mixing_their_ciphers() -> None:
    key = Secret(bytes(range(32)))
    for _ in range(2):
        for aead in ALL.values():
            assert aead.open_record(key, 1, b"", aead.seal_record(key, 1, b"", b"pt")) == b"pt"


def bit_flipped(data: bytes, n: int) -> bytes:
    return data[: n // 8] + bytes([data[n // 8] ^ 1 << n % 8]) + data[n // 8 + 1 :]
