"""HPKE to an X25519 key: opens for its owner and this purpose alone."""

import pytest

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.hpke import OVERHEAD, SealingKey
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, ErrorCode, PeerFault

KEY = SealingKey.draw(SeededEntropy(b"hpke"))


def test_HO07_what_is_sealed_opens_for_one_key_and_one_purpose() -> None:
    sealed = KEY.door.seal(KEY.public, b"purpose", b"context")
    assert len(sealed) == len(b"context") + OVERHEAD
    assert KEY.door.open(KEY.seed, b"purpose", sealed) == b"context"
    changed = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
    for seed, info, data in (
        (Secret(bytes(32)), b"purpose", sealed),
        (KEY.seed, b"another", sealed),
        *((KEY.seed, b"purpose", each) for each in (*changed, sealed[:-1], b"")),
    ):
        with pytest.raises(PeerFault) as fault:
            KEY.door.open(seed, info, data)
        assert fault.value.code is ErrorCode.E_AUTH


def test_HO07_nothing_is_sealed_to_what_is_no_key() -> None:
    for public in (b"", bytes(31), bytes(32)):
        with pytest.raises(PeerFault) as fault:
            KEY.door.seal(public, b"", b"")
        assert fault.value.code is ErrorCode.E_POINT
    with pytest.raises(CallerFault, match="32 bytes"):
        SealingKey.of(Secret(bytes(31)))
    assert repr(KEY.seed.expose())[2:-1] not in repr(KEY)
