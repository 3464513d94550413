"""Algorithms: suites, group arithmetic, proofs, sealing, signatures; knows nothing of our messages."""
