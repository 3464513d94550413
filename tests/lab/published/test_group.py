"""Paper 001's scheme as printed: what each meter can compute, what the gateway looks at, and what nobody checks."""

import hashlib

import pytest

from keymote.crypto.entropy import SeededEntropy
from keymote.errors import PeerFault
from keymote.lab.published.group import (
    FRESH_S,
    MODULUS,
    Announcement,
    G,
    Gateway,
    MaskedMeter,
    Meter,
    Sender,
    encoded,
    formula,
    hashed,
    meters,
    opened,
)
from keymote.lab.published.weierstrass import ORDER, P256

NOW = 1_000_000
Run = tuple[list[Meter], Gateway, dict[str, tuple[int, int] | None]]


def announced(*names: str) -> Run:
    all_, gateway = meters(SeededEntropy(b"published"), *names)
    return all_, gateway, gateway.collect([meter.announce(NOW) for meter in all_], NOW)


def test_the_generator_is_that_of_the_standard() -> None:
    assert P256.holds(G) and P256.mul(ORDER, G) is None
    assert encoded(G).hex() == "036b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"


def test_the_ring_at_three_is_the_formula_byte_for_byte() -> None:
    all_, _, keys = announced(*"ABC")
    Y = {meter.name: meter.contribution(keys) for meter in all_}
    assert {meter.ring_key(keys, Y) for meter in all_} == {formula([meter.x for meter in all_])}


def test_two_meters_contribute_the_identity() -> None:
    all_, _, keys = announced(*"AB")
    assert [meter.contribution(keys) for meter in all_] == [None, None]


def test_the_ring_of_five_agrees_on_another_hash_than_the_formula() -> None:
    all_, _, keys = announced(*"ABCDE")
    Y = {meter.name: meter.contribution(keys) for meter in all_}
    (found,) = {meter.ring_key(keys, Y) for meter in all_}
    assert found != formula([meter.x for meter in all_]), "ten pairs in the formula, five edges in the ring"
    assert P256.sum(*Y.values()) is None


def test_a_meter_of_the_walkthrough_hashes_what_it_knows() -> None:
    all_, _, keys = announced(*"ABC")
    a, b, c = all_
    by_hand = hashlib.sha256(encoded(P256.mul(a.x * b.x, G)) + encoded(P256.mul(a.x * c.x, G))).digest()
    assert a.walkthrough_key(keys) == by_hand
    assert hashed(()) == hashlib.sha256().digest()


def test_the_gateway_looks_at_signature_and_time_and_at_nothing_else() -> None:
    all_, gateway, _ = announced(*"AB")
    good = all_[0].announce(NOW)
    forged = Announcement("B", good.public, good.nonce, good.ts, good.signature)
    assert set(gateway.collect([good, forged], NOW)) == {"A"}
    assert set(gateway.collect([good], NOW + FRESH_S)) == {"A"}
    assert gateway.collect([good], NOW + FRESH_S + 1) == {}


def test_a_record_opens_under_its_key_and_number() -> None:
    sender = Sender(bytes(32))
    first, second = sender.seal(b"one"), sender.seal(b"two")
    assert (first[0], second[0]) == (0, 1)
    assert opened(bytes(32), *second) == b"two"
    with pytest.raises(PeerFault):
        opened(bytes(32), 0, second[1])


def test_one_mask_a_pair_cancels_out_in_the_sum() -> None:
    seeds = {frozenset(pair): bytes([sum(pair)] * 32) for pair in ((0, 1), (0, 2), (1, 2))}
    world = [MaskedMeter(i, {j: seeds[frozenset((i, j))] for j in range(3) if j != i}) for i in range(3)]
    assert sum(meter.report(5, 100 + meter.idx) for meter in world) % MODULUS == 303
