"""P-256 against the group law computed apart, ESP256 against RFC 6979, and the libraries' gaps."""

import hashlib
from types import SimpleNamespace

import pytest
from Crypto.PublicKey.ECC import EccPoint  # type: ignore[attr-defined]
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from keymote.crypto import p256
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.group import Point
from keymote.crypto.p256 import P256, Esp256
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, ErrorCode, PeerFault

GROUP = P256()
FIELD = 2**256 - 2**224 + 2**192 + 2**96 - 1
Affine = tuple[int, int] | None


def affine_add(P: Affine, Q: Affine) -> Affine:
    """The textbook law, with None for the identity: a referee that shares no code with either library."""
    if P is None or Q is None:
        return P or Q
    if P[0] == Q[0] and (P[1] + Q[1]) % FIELD == 0:
        return None
    rise, run = (3 * P[0] * P[0] - 3, 2 * P[1]) if P == Q else (Q[1] - P[1], Q[0] - P[0])
    slope = rise * pow(run, -1, FIELD)
    x = (slope * slope - P[0] - Q[0]) % FIELD
    return x, (slope * (P[0] - x) - P[1]) % FIELD


def affine_mul(k: int, P: Affine) -> Affine:
    result: Affine = None
    while k:
        if k & 1:
            result = affine_add(result, P)
        P = affine_add(P, P)
        k >>= 1
    return result


def decode(P: bytes) -> Affine:
    numbers = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), P).public_numbers()
    return numbers.x, numbers.y


def encode(P: Affine) -> bytes:
    assert P is not None
    return bytes([2 + (P[1] & 1)]) + P[0].to_bytes(32, "big")


def scalar(value: int) -> Secret:
    return Secret(value.to_bytes(32, "big"))


G = decode(GROUP.generator)
scalars = st.integers(1, GROUP.order - 1) | st.sampled_from([1, 2, 3, GROUP.order - 2, GROUP.order - 1])


@given(k=scalars, m=scalars)
def test_IM12_arithmetic_agrees_with_the_group_law(k: int, m: int) -> None:
    P, Q = GROUP.base_mul(scalar(k)), GROUP.base_mul(scalar(m))
    assert encode(affine_mul(k, G)) == P
    assert GROUP.mul(scalar(m), P) == encode(affine_mul(m, decode(P))) == GROUP.mul(scalar(k), Q)
    negative_Q = encode((decode(Q)[0], FIELD - decode(Q)[1]))  # type: ignore[index]
    for operation, other in ((GROUP.add, Q), (GROUP.sub, negative_Q)):
        expected = affine_add(decode(P), decode(other))
        if expected is None:
            with pytest.raises(PeerFault, match="E_POINT"):
                operation(P, Q)
        else:
            assert operation(P, Q) == encode(expected)


def test_IM12_the_library_builds_and_reaches_infinity_silently_and_ours_refuses() -> None:
    assert EccPoint(0, 0, "P-256").is_point_at_infinity()
    P = GROUP.base_mul(scalar(7))
    x, y = decode(P)  # type: ignore[misc]
    bare = EccPoint(x, y, "P-256")
    assert (bare + -bare).xy == (0, 0) == (bare * 0).xy
    for refused in (
        lambda: GROUP.sub(P, P),
        lambda: GROUP.add(P, GROUP.mul(scalar(GROUP.order - 1), P)),
        lambda: GROUP.mul(scalar(0), P),
        lambda: GROUP.mul(scalar(GROUP.order), P),
        lambda: GROUP.base_mul(scalar(0)),
        lambda: GROUP.base_mul(scalar(GROUP.order)),
    ):
        with pytest.raises(PeerFault, match="E_POINT"):
            refused()


def test_IM12_doubling() -> None:
    P = GROUP.base_mul(scalar(7))
    assert GROUP.add(P, P) == GROUP.base_mul(scalar(14))


@pytest.mark.parametrize(
    "encoding",
    [
        b"",
        b"\0",
        bytes(33),
        b"\2" + FIELD.to_bytes(32, "big"),
        b"\2" + (FIELD + 5).to_bytes(32, "big"),
        b"\3" + b"\xff" * 32,
        b"\2" + (1).to_bytes(32, "big"),
        b"\4" + GROUP.generator[1:],
        b"\5" + GROUP.generator[1:],
        GROUP.generator[1:],
        GROUP.generator + b"\0",
    ],
    ids=["empty", "infinity", "zeros", "x=p", "x=p+5", "x>p", "off curve", "04", "05", "short", "long"],
)
def test_CM06_encodings_that_are_no_point(encoding: bytes) -> None:
    with pytest.raises(PeerFault) as fault:
        GROUP.check(encoding)
    assert fault.value.code is ErrorCode.E_POINT


def test_CM06_the_uncompressed_and_hybrid_forms_of_a_good_point_are_refused() -> None:
    x, y = G  # type: ignore[misc]
    coordinates = x.to_bytes(32, "big") + y.to_bytes(32, "big")
    for form in (b"\4", b"\6", b"\7"):
        with pytest.raises(PeerFault, match="E_POINT"):
            GROUP.check(form + coordinates)
        with pytest.raises(PeerFault, match="E_POINT"):
            Esp256().verifier(form + coordinates)


def test_a_checked_point_is_its_encoding_and_keeps_its_coordinates(monkeypatch: pytest.MonkeyPatch) -> None:
    import cbor2

    raw = bytes(GROUP.base_mul(scalar(9)))
    checked = GROUP.check(raw)
    assert checked == raw
    assert hash(checked) == hash(raw)
    assert cbor2.dumps([checked], canonical=True) == cbor2.dumps([raw], canonical=True)
    twice, k = GROUP.add(checked, checked), scalar(2)
    assert GROUP.mul(k, checked) == twice
    monkeypatch.setattr(p256, "ec", None)  # nothing can be decoded from here on
    assert GROUP.check(checked) is checked
    assert GROUP.mul(k, checked) == twice == GROUP.add(checked, checked)
    with pytest.raises(AttributeError):
        GROUP.mul(k, Point(raw))


@pytest.mark.parametrize("value", [1, 2, GROUP.order - 2, GROUP.order - 1])
def test_IM12_products_at_the_ends_of_the_scalars(value: int) -> None:
    """1 and q - 1 have no neighbouring product to take y from; 2 and q - 2 are the outermost that have."""
    P = GROUP.base_mul(scalar(7))
    assert GROUP.mul(scalar(value), P) == encode(affine_mul(value, decode(P)))


def test_IM12_products_that_contradict_each_other_are_not_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    curve = ec.SECP256R1()

    class Contradictory:
        def __init__(self, raw: bytes) -> None:
            self.value, self.has_neighbour = int.from_bytes(raw, "big"), True
            self.key = ec.derive_private_key(self.value, curve)
            self.next_key = ec.derive_private_key(self.value + 2, curve)

    P = GROUP.base_mul(scalar(7))
    monkeypatch.setattr(p256, "_Multiplier", Contradictory)
    with pytest.raises(ArithmeticError, match="contradict"):
        GROUP.mul(scalar(1000), P)


def test_CM23_hash_to_scalar_is_big_endian() -> None:
    expected = int.from_bytes(hashlib.sha512(b"data").digest(), "big") % GROUP.order
    assert GROUP.hash_to_scalar(b"data") == scalar(expected)


def test_IM06_a_hash_to_scalar_of_zero_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    multiple = SimpleNamespace(digest=lambda: (5 * GROUP.order).to_bytes(64, "big"))
    monkeypatch.setattr(p256, "hashlib", SimpleNamespace(sha512=lambda _: multiple))
    with pytest.raises(PeerFault, match="E_FORMAT"):
        GROUP.hash_to_scalar(b"")


# RFC 6979 A.2.5, the answers for SHA-256; the first s there is the higher of the two, so ours is q - s

SEED = Secret(bytes.fromhex("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721"))
PUBLIC = bytes.fromhex("0360FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6")
ANSWERS = {
    b"sample": (
        0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716,
        0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8,
    ),
    b"test": (
        0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367,
        0x019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083,
    ),
}


@pytest.mark.parametrize("message", ANSWERS)
def test_CM10_signatures_are_rfc6979_with_the_lower_s(message: bytes) -> None:
    public, sign = Esp256().signer(SEED)
    r, s = ANSWERS[message]
    assert public == PUBLIC
    assert sign(message) == r.to_bytes(32, "big") + min(s, GROUP.order - s).to_bytes(32, "big")
    assert Esp256().verifier(PUBLIC)(message, sign(message))


def test_IM04_the_library_accepts_the_higher_s_and_ours_refuses_it() -> None:
    _, sign = Esp256().signer(SEED)
    signature = sign(b"sample")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    bare = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), PUBLIC)
    bare.verify(encode_dss_signature(r, GROUP.order - s), b"sample", ec.ECDSA(SHA256()))
    assert not Esp256().verifier(PUBLIC)(b"sample", signature[:32] + (GROUP.order - s).to_bytes(32, "big"))


@pytest.mark.parametrize("signature", [bytes(64), bytes(63) + b"\1", b"\xff" * 64, bytes(32) + b"\1" * 32])
def test_CM10_degenerate_signatures_are_refused(signature: bytes) -> None:
    assert not Esp256().verifier(PUBLIC)(b"sample", signature)


@pytest.mark.parametrize("seed", [bytes(32), GROUP.order.to_bytes(32, "big"), b"\xff" * 32, b"\1" * 31])
def test_a_stored_key_that_is_no_scalar_is_the_caller_s_fault(seed: bytes) -> None:
    with pytest.raises(CallerFault):
        Esp256().signer(Secret(seed))


def test_keys_come_from_drawn_bytes() -> None:
    assert Esp256().draw_seed(SeededEntropy(b"s")) == Esp256().draw_seed(SeededEntropy(b"s"))
