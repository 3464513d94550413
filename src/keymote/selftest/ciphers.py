"""Files of the format `cipher`: one algorithm each, an AEAD with nonce and associated data or raw blocks without."""

from collections.abc import Mapping
from typing import Final

from keymote.crypto.aead import AES_CCM_16_64_128, AES_CCM_16_128_128, ASCON_AEAD128, CHACHA20_POLY1305, Aead
from keymote.crypto.lightweight.block import BLOCK_CIPHERS
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.errors import CallerFault
from keymote.selftest.checks import Checks
from keymote.selftest.document import Document, hexes, listing, section, text

AEADS: Final[Mapping[str, Aead]] = {
    "ascon-aead128": ASCON_AEAD128,
    "chacha20-poly1305": CHACHA20_POLY1305,
    "aes-ccm-16-128-128": AES_CCM_16_128_128,
    "aes-ccm-16-64-128": AES_CCM_16_64_128,
}
KNOWN: Final = frozenset(AEADS) | frozenset(BLOCK_CIPHERS)
_KEY_SIZES: Final = {"chacha20-poly1305": 32}


def algorithm(document: Document) -> str:
    """Return which algorithm a file of this format is about."""
    return text(document.parts.get("alg"), "alg")


def cipher(document: Document, checks: Checks, _suites: Mapping[int, Suite]) -> None:
    """Compute every case of a file, both ways where there are two."""
    part = section(document.parts, "the file", ("alg", "cases"))
    alg, cases = algorithm(document), listing(part["cases"], "cases")
    checks.holds("the file holds no case", bool(cases))
    for n, case in enumerate(cases, start=1):
        if alg in AEADS:
            _sealed(AEADS[alg], alg, checks, n, hexes(case, f"case {n}", ("key", "nonce", "ad", "pt", "ct")))
        else:
            _block(alg, checks, f"case {n}", hexes(case, f"case {n}", ("key", "pt", "ct")))


def _sealed(aead: Aead, alg: str, checks: Checks, n: int, v: Mapping[str, bytes]) -> None:
    if len(v["key"]) != _KEY_SIZES.get(alg, 16) or len(v["nonce"]) != aead.nonce_size or not v["ct"]:
        raise CallerFault(f"case {n}: a key, nonce or ciphertext of a length that {alg} does not have")
    key = Secret(v["key"])
    checks.equal(f"case {n}: ciphertext", aead.seal_with(key, v["nonce"], v["ad"], v["pt"]), v["ct"])
    with checks.accepted(f"case {n}"):
        checks.equal(f"case {n}: plaintext", aead.open_with(key, v["nonce"], v["ad"], v["ct"]), v["pt"])
    with checks.refused(f"case {n}: a changed tag", "E_AUTH"):
        aead.open_with(key, v["nonce"], v["ad"], v["ct"][:-1] + bytes([v["ct"][-1] ^ 1]))


def _block(alg: str, checks: Checks, case: str, v: Mapping[str, bytes]) -> None:
    try:
        computed = BLOCK_CIPHERS[alg].encrypt(v["key"], v["pt"])
    except ValueError as error:
        raise CallerFault(f"{case}: {error}") from error
    checks.equal(f"{case}: ciphertext", computed, v["ct"])
