"""The one-way chain between a client and its trusted system (Triad-1 4.3)."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keymote.crypto.secret import Secret
from keymote.engine.topic.key_chain import KeyChain


@given(pss=st.binary(min_size=16, max_size=64))
def test_TK30_the_chain_begins_with_the_pss_under_its_salt(pss: bytes) -> None:
    chain = KeyChain.begin(b"client-1", Secret(pss))
    assert (chain.k, chain.ck.expose()) == (0, hmac.digest(b"TRIAD1/C/pss", pss, "sha256"))


def test_TK30_keys_differ_by_number_purpose_context_and_client() -> None:
    """C-05, C-16: what is known at k = 1 gives nothing of k = 0."""
    first = KeyChain.begin(b"client-1", Secret(bytes(32)))
    second, other = first.step(), KeyChain.begin(b"client-2", Secret(bytes(32)))
    found = [
        chain.sub(label, ctx).expose()
        for chain in (first, second, second.step(), other)
        for label in ("C/kreq", "C/kresp", "C/kack", "C/kpush")
        for ctx in (b"", b"nonce--1", b"nonce--2")
    ]
    assert len(set(found)) == len(found) == 48
    assert second.k == 1
    assert second.ck != first.ck
    assert other.step().ck != second.ck


@pytest.mark.parametrize("label", ["C/pss", "C/snd", "A/k3"])
def test_TK30_a_chain_shows_its_number_and_hides_its_key(label: str) -> None:
    chain = KeyChain.begin(b"client-1", Secret(bytes(32)))
    assert "Secret(32 bytes)" in repr(chain)
    assert len(chain.sub(label, b"", 48)) == 48
