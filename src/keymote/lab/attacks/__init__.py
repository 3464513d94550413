"""Attacks on the published schemes and on Triad-1, each a pair of programs; see `catalogue` for what one is."""

from keymote.lab.attacks import (
    ciphers,
    codes,
    curves,
    encodings,
    members,
    observation,
    points,
    randomness,
    signatures,
)
from keymote.lab.attacks.catalogue import Attack, Catalogue, Effort, Fails, Outcome, Succeeds, Verdict, judge

CATALOGUE = Catalogue.of(
    group.ATTACKS
    for group in (
        curves,
        codes,
        members,
        points,
        signatures,
        encodings,
        randomness,
        observation,
        ciphers,
    )
)
"""Every attack of this version."""

__all__ = ["CATALOGUE", "Attack", "Catalogue", "Effort", "Fails", "Outcome", "Succeeds", "Verdict", "judge"]
