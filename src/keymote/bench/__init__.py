"""Measurements: what the protocols cost here, beside the bare primitives and the peers, all in one run.

One file per bench (`pairwise`); `world` hosts the nodes that it measures, `operations` knows what the specification prescribes.
"""
