"""The door to HPKE with ML-KEM-768 and X25519: lengths, binding, refusals (Triad-1 2.5)."""

import pytest

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.hybrid import OVERHEAD, PUBLIC_SIZE, SEED_SIZE, Hpke, HybridKey, draw_seed
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, ErrorCode, PeerFault

KEY = HybridKey.of(draw_seed(SeededEntropy(b"hybrid")))
OTHER = HybridKey.of(draw_seed(SeededEntropy(b"other")))
KAPPA = bytes(range(32))


def test_a_share_of_32_bytes_travels_in_1168_and_opens_for_its_owner_alone() -> None:
    sealed = Hpke().seal(KEY.public, b"info", KAPPA)
    assert len(sealed) == 32 + OVERHEAD == 1168
    assert Hpke().open(KEY.seed, b"info", sealed) == KAPPA
    for seed, info in ((OTHER.seed, b"info"), (KEY.seed, b"another run")):
        with pytest.raises(PeerFault) as refused:
            Hpke().open(seed, info, sealed)
        assert refused.value.code is ErrorCode.E_AUTH


@pytest.mark.parametrize("at", [0, 1087, 1088, 1119, 1120, 1167])
def test_a_changed_byte_in_either_encapsulation_or_in_the_ciphertext_is_refused(at: int) -> None:
    sealed = bytearray(Hpke().seal(KEY.public, b"info", KAPPA))
    sealed[at] ^= 1
    with pytest.raises(PeerFault) as refused:
        Hpke().open(KEY.seed, b"info", bytes(sealed))
    assert refused.value.code is ErrorCode.E_AUTH


@pytest.mark.parametrize("length", [0, 1120, 1167, 1169])
def test_another_length_is_refused(length: int) -> None:
    with pytest.raises(PeerFault) as refused:
        Hpke().open(KEY.seed, b"info", bytes(length))
    assert refused.value.code is ErrorCode.E_AUTH


@pytest.mark.parametrize(
    "public",
    [b"", KEY.public[:-1], KEY.public + b"\0", b"\xff" * 1184 + KEY.public[1184:], KEY.public[:1184] + bytes(32)],
    ids=["empty", "short", "long", "coefficients above q", "X25519 of small order"],
)
def test_what_is_no_hybrid_public_key_is_refused(public: bytes) -> None:
    with pytest.raises(PeerFault) as refused:
        Hpke().seal(public, b"info", KAPPA)
    assert refused.value.code is ErrorCode.E_POINT


def test_a_key_pair_is_made_of_the_96_bytes_that_were_drawn() -> None:
    assert len(KEY.seed) == SEED_SIZE
    assert len(KEY.public) == PUBLIC_SIZE
    assert HybridKey.of(KEY.seed).public == KEY.public != OTHER.public
    assert KEY.seed.expose().hex() not in repr(KEY)
    with pytest.raises(CallerFault):
        HybridKey.of(Secret(bytes(64)))
