"""The key schedule of EDHOC, formula by formula (RFC 9528 4.1); SHA-256 and HMAC-SHA-256 in every suite that we run."""

import hashlib
from typing import Final

from keymote.cbor import bstr, uint
from keymote.crypto.kdf import HASH_SIZE, extract, hkdf_expand
from keymote.crypto.secret import Secret
from keymote.wire.edhoc import Eads, encode_eads

_HASH_HEAD: Final = b"\x58\x20"
"""What stands before the 32 bytes of a hash in CBOR."""
_KEYSTREAM_2, _SALT_3E2M, _K_3, _IV_3, _SALT_4E3M, _PRK_OUT, _K_4, _IV_4 = (
    bytes((label,)) + _HASH_HEAD for label in (0, 1, 3, 4, 5, 7, 8, 9)
)
"""The label and the head of its context (RFC 9528, table 6)."""
_HASH_SIZE: Final = uint(HASH_SIZE)
_PRK_EXPORTER: Final = b"\x0a\x40" + _HASH_SIZE
_ENCRYPT0: Final = b"\x83\x68Encrypt0\x40" + _HASH_HEAD
_SIGNATURE1: Final = b"\x84\x6aSignature1"


def edhoc_kdf(prk: Secret, label: int, context: bytes, length: int) -> bytes:
    """Return EDHOC_KDF(PRK, label, context, length): HKDF-Expand with info = (label, context, length) (4.1.2)."""
    return hkdf_expand(prk, uint(label) + bstr(context) + uint(length), length)


# ------------------------------------------------------------------ transcript hashes (5.2 to 5.4)


def hash_message_1(message_1: bytes) -> bytes:
    """Return H(message_1), 32 bytes: all that must be kept of it."""
    return hashlib.sha256(message_1).digest()


def transcript_2(G_Y: bytes, H_message_1: bytes) -> bytes:
    """Return TH_2 = H(G_Y, H(message_1))."""
    return hashlib.sha256(_HASH_HEAD + G_Y + _HASH_HEAD + H_message_1).digest()


def transcript_3(TH_2: bytes, PLAINTEXT_2: bytes, CRED_R: bytes) -> bytes:
    """Return TH_3 = H(TH_2, PLAINTEXT_2, CRED_R)."""
    return hashlib.sha256(_HASH_HEAD + TH_2 + PLAINTEXT_2 + CRED_R).digest()


def transcript_4(TH_3: bytes, PLAINTEXT_3: bytes, CRED_I: bytes) -> bytes:
    """Return TH_4 = H(TH_3, PLAINTEXT_3, CRED_I)."""
    return hashlib.sha256(_HASH_HEAD + TH_3 + PLAINTEXT_3 + CRED_I).digest()


# ------------------------------------------------------------------ pseudorandom keys (4.1.1)


def prk_2e(TH_2: bytes, G_XY: bytes) -> Secret:
    """Return PRK_2e = Extract(TH_2, G_XY)."""
    return extract(TH_2, G_XY)


def salt_3e2m(PRK_2e: Secret, TH_2: bytes) -> bytes:
    """Return SALT_3e2m, 32 bytes."""
    return hkdf_expand(PRK_2e, _SALT_3E2M + TH_2 + _HASH_SIZE, HASH_SIZE)


def prk_3e2m(PRK_2e: Secret, TH_2: bytes, G_RX: bytes | None) -> Secret:
    """Return PRK_3e2m = Extract(SALT_3e2m, G_RX) where R has a static key; PRK_2e where R signs (None)."""
    return PRK_2e if G_RX is None else extract(salt_3e2m(PRK_2e, TH_2), G_RX)


def salt_4e3m(PRK_3e2m: Secret, TH_3: bytes) -> bytes:
    """Return SALT_4e3m, 32 bytes."""
    return hkdf_expand(PRK_3e2m, _SALT_4E3M + TH_3 + _HASH_SIZE, HASH_SIZE)


def prk_4e3m(PRK_3e2m: Secret, TH_3: bytes, G_IY: bytes | None) -> Secret:
    """Return PRK_4e3m = Extract(SALT_4e3m, G_IY) where I has a static key; PRK_3e2m where I signs (None)."""
    return PRK_3e2m if G_IY is None else extract(salt_4e3m(PRK_3e2m, TH_3), G_IY)


def prk_out(PRK_4e3m: Secret, TH_4: bytes) -> Secret:
    """Return PRK_out, the one secret of a finished session (4.1.3)."""
    return Secret(hkdf_expand(PRK_4e3m, _PRK_OUT + TH_4 + _HASH_SIZE, HASH_SIZE))


def prk_exporter(PRK_out: Secret) -> Secret:
    """Return PRK_exporter (4.2.1)."""
    return Secret(hkdf_expand(PRK_out, _PRK_EXPORTER, HASH_SIZE))


def key_update(PRK_out: Secret, context: bytes) -> Secret:
    """Return the PRK_out that replaces this one (RFC 9528 appendix H)."""
    return Secret(edhoc_kdf(PRK_out, 11, context, HASH_SIZE))


# ------------------------------------------------------------------ messages (5.3.2, 5.4.2, 5.5.2)


def xor_keystream_2(PRK_2e: Secret, TH_2: bytes, text: bytes) -> bytes:
    """Return PLAINTEXT_2 XOR KEYSTREAM_2, which turns each of plaintext and ciphertext into the other."""
    keystream = hkdf_expand(PRK_2e, _KEYSTREAM_2 + TH_2 + uint(len(text)), len(text))
    return (int.from_bytes(text, "big") ^ int.from_bytes(keystream, "big")).to_bytes(len(text), "big")


def mac_2(PRK_3e2m: Secret, context_2: bytes, size: int) -> bytes:
    """Return MAC_2; `size` is 32 where R signs, else the suite's 8."""
    return edhoc_kdf(PRK_3e2m, 2, context_2, size)


def mac_3(PRK_4e3m: Secret, context_3: bytes, size: int) -> bytes:
    """Return MAC_3; `size` is 32 where I signs, else the suite's 8."""
    return edhoc_kdf(PRK_4e3m, 6, context_3, size)


def context(id_cred: bytes, TH: bytes, cred: bytes, eads: Eads) -> bytes:
    """Return << ID_CRED_x, TH, CRED_x, ? EAD >>; context_2 has C_R before it."""
    return id_cred + _HASH_HEAD + TH + cred + encode_eads(eads)


def to_be_signed(id_cred: bytes, TH: bytes, cred: bytes, eads: Eads, MAC: bytes) -> bytes:
    """Return ["Signature1", << ID_CRED_x >>, << TH, CRED_x, ? EAD >>, MAC] (5.3.2)."""
    return _SIGNATURE1 + bstr(id_cred) + bstr(_HASH_HEAD + TH + cred + encode_eads(eads)) + bstr(MAC)


def key_3(PRK_3e2m: Secret, TH_3: bytes, key_size: int, nonce_size: int) -> tuple[Secret, bytes]:
    """Return (K_3, IV_3)."""
    K_3 = hkdf_expand(PRK_3e2m, _K_3 + TH_3 + uint(key_size), key_size)
    return Secret(K_3), hkdf_expand(PRK_3e2m, _IV_3 + TH_3 + uint(nonce_size), nonce_size)


def key_4(PRK_4e3m: Secret, TH_4: bytes, key_size: int, nonce_size: int) -> tuple[Secret, bytes]:
    """Return (K_4, IV_4)."""
    K_4 = hkdf_expand(PRK_4e3m, _K_4 + TH_4 + uint(key_size), key_size)
    return Secret(K_4), hkdf_expand(PRK_4e3m, _IV_4 + TH_4 + uint(nonce_size), nonce_size)


def associated_data(TH: bytes) -> bytes:
    """Return A_3 or A_4 = ["Encrypt0", h'', TH]."""
    return _ENCRYPT0 + TH
