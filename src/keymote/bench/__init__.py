"""Measurements: what the protocols cost here, beside the bare primitives and the peers, all in one run.

One file or folder per bench (`pairwise`, `edhoc`, `fleet`); `world` hosts the nodes that `pairwise` measures, `operations` knows
what the specification prescribes.
"""
