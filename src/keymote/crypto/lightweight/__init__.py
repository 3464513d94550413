"""Lightweight ciphers of our own: Ascon-AEAD128 (NIST SP 800-232), HIGHT, TWINE and RECTANGLE.

For outsiders: `etm` (HIGHT_ETM, TWINE_128_ETM, RECTANGLE_128_ETM: the form of Triad-1 4.5; Ascon stands beside the other
AEADs in `crypto.aead`), `block` (BLOCK_CIPHERS: raw ciphers for known answers) and `compiled` (compile_all, at a start).
Every cipher is one source that runs as it stands and, where numba is installed, compiled.
"""
