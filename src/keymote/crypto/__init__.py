"""Algorithms: suites, group arithmetic, proofs, sealing, signatures; knows nothing of our messages.

For outsiders: `suites` (suite_by_id, SUITES) and `suite` (Suite, Point) for every algorithm, `secret` (Secret, equal),
`entropy` (Entropy, SystemEntropy, SeededEntropy), `kdf` (extract, lexp, expand, mac16, mac8, sha256, Transcript), `sign`
(SigningKey, VerifyKey), `dleq`, `seal` and `metered` (MeteredSuite). The other modules are what suites are made of.
"""
