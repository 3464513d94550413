"""Ed25519 against RFC 8032, and the keys that OpenSSL accepts and we must not."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nacl import bindings

from keymote.crypto.ed25519 import Ed25519
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, ErrorCode, PeerFault

FIELD = 2**255 - 19
IDENTITY = b"\1" + bytes(31)
ORDER_8 = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
SMALL_ORDER = {
    "order 1": IDENTITY,
    "order 2": (FIELD - 1).to_bytes(32, "little"),
    "order 4, y = 0": bytes(32),
    "order 4, y = 0, sign bit": bytes(31) + b"\x80",
    "order 8": ORDER_8,
    "order 8, sign bit": ORDER_8[:31] + b"\xfa",
    "order 8, other": bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    "order 8, other, sign bit": bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
}
SEED = Secret(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")


def test_rfc8032_test_2() -> None:
    public, sign = Ed25519().signer(SEED)
    assert public == PUBLIC
    assert sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert Ed25519().verifier(PUBLIC)(b"\x72", sign(b"\x72"))


def test_IM02_the_library_verifies_one_constant_signature_for_any_message_under_the_identity_key() -> None:
    constant = IDENTITY + bytes(32)
    bare = Ed25519PublicKey.from_public_bytes(IDENTITY)
    for n in range(32):
        bare.verify(constant, b"message %d" % n)
    with pytest.raises(PeerFault) as fault:
        Ed25519().verifier(IDENTITY)
    assert fault.value.code is ErrorCode.E_POINT


def test_IM02_the_library_verifies_some_messages_under_a_key_of_order_8() -> None:
    bare = Ed25519PublicKey.from_public_bytes(ORDER_8)

    def accepted(message: bytes) -> bool:
        try:
            bare.verify(IDENTITY + bytes(32), message)
        except InvalidSignature:
            return False
        return True

    assert 1 <= sum(accepted(b"message %d" % n) for n in range(200)) <= 80
    with pytest.raises(PeerFault, match="E_POINT"):
        Ed25519().verifier(ORDER_8)


@pytest.mark.parametrize("encoding", SMALL_ORDER.values(), ids=SMALL_ORDER)
def test_CM09_keys_of_small_order_are_refused(encoding: bytes) -> None:
    with pytest.raises(PeerFault, match="E_POINT"):
        Ed25519().verifier(encoding)


def test_CM09_a_key_off_the_prime_order_subgroup_is_refused() -> None:
    mixed = bindings.crypto_core_ed25519_add(PUBLIC, ORDER_8)
    Ed25519PublicKey.from_public_bytes(mixed)  # the bare library takes it
    with pytest.raises(PeerFault, match="E_POINT"):
        Ed25519().verifier(mixed)


@pytest.mark.parametrize(
    "encoding",
    [
        (FIELD + 1).to_bytes(32, "little"),
        (FIELD + 3).to_bytes(32, "little"),
        b"\xff" * 32,
        b"\2" + bytes(31),
        b"",
        PUBLIC[:31],
        PUBLIC + b"\0",
    ],
    ids=["y=p+1", "y=p+3", "ones", "off curve", "empty", "short", "long"],
)
def test_CM09_other_bytes_are_refused(encoding: bytes) -> None:
    with pytest.raises(PeerFault, match="E_POINT"):
        Ed25519().verifier(encoding)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_of_another_length_is_the_caller_s_fault(length: int) -> None:
    with pytest.raises(CallerFault, match="32 bytes"):
        Ed25519().signer(Secret(bytes(length)))


def test_a_malleable_s_is_refused() -> None:
    _, sign = Ed25519().signer(SEED)
    signature = sign(b"m")
    order = 2**252 + 27742317777372353535851937790883648493
    other = (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert not Ed25519().verifier(PUBLIC)(b"m", signature[:32] + other)
