"""Diffie-Hellman on both curves of EDHOC, and its suites."""

import ctypes
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymote.crypto.dh import Curve
from keymote.crypto.edhoc_suites import EDHOC_SUITES, edhoc_suite
from keymote.crypto.entropy import Entropy, SeededEntropy
from keymote.crypto.libcrypto import Libcrypto, open_door
from keymote.crypto.p256 import P256, Es256, Esp256
from keymote.crypto.p256_ecdh import ByCryptography, P256Ecdh
from keymote.crypto.secret import Secret
from keymote.crypto.x25519 import X25519
from keymote.errors import CallerFault, ErrorCode, PeerFault

BY_LIBCRYPTO = P256Ecdh(open_door())
BY_CRYPTOGRAPHY = P256Ecdh(ByCryptography())
CURVES = [X25519(), BY_LIBCRYPTO, BY_CRYPTOGRAPHY]
every_curve = pytest.mark.parametrize("curve", CURVES, ids=["X25519", "P-256 by libcrypto", "P-256 by cryptography"])
both_doors = pytest.mark.parametrize("curve", CURVES[1:], ids=["libcrypto", "cryptography"])
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
LOW_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
]


@every_curve
@given(seed=st.binary(min_size=4, max_size=4))
def test_both_sides_agree(curve: Curve, seed: bytes) -> None:
    entropy = SeededEntropy(seed)
    one, other = curve.key_pair(entropy), curve.key_pair(entropy)
    assert one.agree(curve.check(other.public)) == other.agree(curve.check(one.public))
    assert len(one.public) == 32


def test_x25519_is_that_of_rfc_7748() -> None:
    """RFC 7748 6.1."""
    curve = X25519()
    alice = curve.private(Secret(bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")))
    bob = curve.private(Secret(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")))
    assert alice.public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert bob.public.hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    shared = alice.agree(curve.check(bob.public))
    assert shared.hex() == "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"


@every_curve
@pytest.mark.parametrize("size", [0, 31, 33, 65])
def test_ED05_a_public_key_of_another_length_is_refused(curve: Curve, size: int) -> None:
    with pytest.raises(PeerFault) as refused:
        curve.check(bytes([2] * size))
    assert refused.value.code is ErrorCode.E_POINT


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:8])
def test_ED05_points_of_low_order_show_at_the_product(point: bytes) -> None:
    curve = X25519()
    for encoding in (point, point[:-1] + bytes([point[-1] | 0x80])):
        with pytest.raises(PeerFault) as refused:
            curve.private(Secret(bytes(range(32)))).agree(curve.check(encoding))
        assert refused.value.code is ErrorCode.E_POINT


@both_doors
def test_ED05_an_x_that_is_not_on_the_curve_or_not_reduced_is_refused(curve: Curve) -> None:
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    for x in (prime, prime + 5, 2**256 - 1, 1):
        with pytest.raises(PeerFault):
            curve.check(x.to_bytes(32, "big"))
    curve.check((5).to_bytes(32, "big"))


@given(one=st.integers(1, ORDER - 1), other=st.integers(1, ORDER - 1))
def test_both_doors_to_openssl_compute_the_same(one: int, other: int) -> None:
    """As does PyCryptodome's group, whose points have a y."""
    d, e = (Secret(value.to_bytes(32, "big")) for value in (one, other))
    fast, slow = BY_LIBCRYPTO.private(d), BY_CRYPTOGRAPHY.private(d)
    peer = BY_LIBCRYPTO.private(e).public
    assert fast.public == slow.public
    shared = fast.agree(BY_LIBCRYPTO.check(peer))
    assert shared == slow.agree(BY_CRYPTOGRAPHY.check(peer))
    group = P256()
    assert shared == group.mul(d, group.base_mul(e))[1:]


def test_the_interpreters_libcrypto_is_reached_here_and_elsewhere_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_door() is not None
    monkeypatch.setattr(sys.modules["_hashlib"], "__file__", "/nowhere")
    assert open_door() is None


def test_a_library_that_computes_something_else_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Libcrypto, "base", lambda _self, _k: bytes(32))
    assert open_door() is None


def test_refused_points_leave_nothing_in_the_error_queue_of_the_library() -> None:
    """A later TLS call of this thread would stumble over it."""
    door = open_door()
    assert door is not None
    with pytest.raises(ValueError):
        door.point((1).to_bytes(32, "big"))
    peek = ctypes.PyDLL(sys.modules["_hashlib"].__file__).ERR_peek_error
    peek.restype = ctypes.c_ulong
    assert peek() == 0


def test_keys_may_be_used_by_threads_at_the_same_time() -> None:
    keys = [BY_LIBCRYPTO.private(Secret(bytes([7, n] * 16))) for n in range(8)]
    peer = BY_LIBCRYPTO.check(keys[0].public)
    alone = [key.agree(peer) for key in keys]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            assert list(pool.map(lambda key: key.agree(peer), keys)) == alone


class Draws:
    """Entropy that gives what a test wrote down."""

    def __init__(self, *values: bytes) -> None:
        self.left = list(values)

    def draw(self, n: int) -> bytes:
        return self.left.pop(0)

    def fork(self, label: str) -> Entropy:
        return self


@both_doors
def test_drawn_bytes_that_are_no_scalar_are_drawn_again(curve: Curve) -> None:
    good = (7).to_bytes(32, "big")
    draws = Draws(bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32, good, b"unused")
    assert curve.key_pair(draws).public == curve.private(Secret(good)).public
    assert draws.left == [b"unused"]


@every_curve
def test_stored_bytes_that_are_no_key_are_the_callers_fault(curve: Curve) -> None:
    for raw in (b"", bytes(31), bytes(33), *((bytes(32), b"\xff" * 32) if curve.name == "P-256" else ())):
        with pytest.raises(CallerFault):
            curve.private(Secret(raw))


@every_curve
def test_private_keys_hide(curve: Curve) -> None:
    assert repr(curve.private(Secret(bytes([7] * 32)))) in ("X25519Key()", "P256Key()")


@pytest.mark.parametrize("number", EDHOC_SUITES)
def test_suites_sign_and_verify(number: int) -> None:
    suite = edhoc_suite(number)
    key = suite.signing_key(Secret(bytes([9] * 32)))
    verifier = suite.verify_key(key.public)
    verifier.verify(b"message", key.sign(b"message"))
    with pytest.raises(PeerFault):
        verifier.verify(b"another", key.sign(b"message"))


def test_es256_takes_either_s_where_esp256_takes_the_lower() -> None:
    public, sign = Es256().signer(Secret(bytes([9] * 32)))
    signature = sign(b"message")
    higher = signature[:32] + (ORDER - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
    assert Es256().verifier(public)(b"message", signature)
    assert Es256().verifier(public)(b"message", higher)
    assert not Es256().verifier(public)(b"another", higher)
    assert not Esp256().verifier(public)(b"message", higher)
