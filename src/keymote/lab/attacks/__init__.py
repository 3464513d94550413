"""Attacks on the published schemes and on Triad-1, each a pair of programs; see `catalogue` for what one is."""

from keymote.lab.attacks import (
    challenges,
    ciphers,
    codes,
    curves,
    encodings,
    floods,
    keyuse,
    leaks,
    members,
    mixing,
    observation,
    points,
    randomness,
    recordings,
    revocation,
    ring_gateways,
    ring_hierarchy,
    ring_insiders,
    ring_keys,
    ring_masks,
    ring_outsiders,
    ring_payload,
    shares,
    signatures,
    topic_brokers,
    topic_ciphers,
    topic_generator,
    topic_keys,
    topic_readings,
)
from keymote.lab.attacks.catalogue import Attack, Catalogue, Effort, Fails, Outcome, Succeeds, Verdict, judge

CATALOGUE = Catalogue.of(
    group.ATTACKS
    for group in (
        shares,
        challenges,
        curves,
        codes,
        members,
        mixing,
        revocation,
        floods,
        leaks,
        recordings,
        points,
        signatures,
        encodings,
        keyuse,
        randomness,
        observation,
        ciphers,
        ring_keys,
        ring_outsiders,
        ring_insiders,
        ring_gateways,
        ring_payload,
        ring_masks,
        ring_hierarchy,
        topic_ciphers,
        topic_generator,
        topic_readings,
        topic_keys,
        topic_brokers,
    )
)
"""Every attack of this version."""

__all__ = ["CATALOGUE", "Attack", "Catalogue", "Effort", "Fails", "Outcome", "Succeeds", "Verdict", "judge"]
