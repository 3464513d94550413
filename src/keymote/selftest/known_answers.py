"""Published answers of the algorithms under our suites, computed through the product's own doors."""

from collections.abc import Mapping
from typing import Any

from keymote.crypto.kdf import expand, extract
from keymote.crypto.lightweight.block import BLOCK_CIPHERS
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, Suite
from keymote.crypto.suites import suite_by_id
from keymote.errors import CallerFault
from keymote.selftest.checks import Checks
from keymote.selftest.ciphers import AEADS
from keymote.selftest.document import Document, hexes, listing, mapping, number, octets, section, text


def aead(document: Document, checks: Checks, _suites: Mapping[int, Suite]) -> None:
    """RFC 8439, RFC 3610, NIST, SP 800-232: a published nonce is, read as a number, a sequence number like any other."""
    for case in _cases(document, "aead", ("alg", "source", "key", "nonce", "aad", "pt", "ct")):
        alg, name = text(case.pop("alg"), "alg"), case.pop("source")
        cipher = AEADS.get(alg)
        if cipher is None:
            raise CallerFault(f"no AEAD is called {alg!r}")
        v = hexes(case, "aead", case)
        key, seq = Secret(v["key"]), int.from_bytes(v["nonce"], "big")
        checks.equal(f"{name}: ciphertext", cipher.seal_record(key, seq, v["aad"], v["pt"]), v["ct"])
        checks.equal(f"{name}: plaintext", cipher.open_record(key, seq, v["aad"], v["ct"]), v["pt"])
        with checks.refused(f"{name}: a changed tag", "E_AUTH"):
            cipher.open_record(key, seq, v["aad"], v["ct"][:-1] + bytes([v["ct"][-1] ^ 1]))


def block(document: Document, checks: Checks, _suites: Mapping[int, Suite]) -> None:
    """What the papers of HIGHT, TWINE and RECTANGLE print."""
    for case in _cases(document, "block", ("alg", "source", "key", "pt", "ct")):
        alg, name = text(case.pop("alg"), "alg"), case.pop("source")
        if alg not in BLOCK_CIPHERS:
            raise CallerFault(f"no block cipher is called {alg!r}")
        v = hexes(case, "block", case)
        checks.equal(f"{name}: ciphertext", BLOCK_CIPHERS[alg].encrypt(v["key"], v["pt"]), v["ct"])


def hkdf(document: Document, checks: Checks, _suites: Mapping[int, Suite]) -> None:
    """RFC 5869's extraction; its expansion has labels of its own, so ours is compared with an independent HKDF."""
    part = _part(document, "hkdf", ("extract", "expand"))
    for case in listing(part["extract"], "extract"):
        v = hexes(case, "extract", ("salt", "ikm", "prk"))
        checks.equal("extract", extract(v["salt"], v["ikm"]), Secret(v["prk"]))
    for item in listing(part["expand"], "expand"):
        found = section(item, "expand", ("prk", "label", "ctx", "L", "out"))
        prk, ctx = octets(found["prk"], "prk"), octets(found["ctx"], "ctx")
        out = expand(Secret(prk), text(found["label"], "label"), ctx, number(found["L"], "L"))
        checks.equal(f"expand to {found['L']} bytes", out, octets(found["out"], "out"))


def ristretto255(document: Document, checks: Checks, suites: Mapping[int, Suite]) -> None:
    """RFC 9496 appendix A."""
    part, suite = _part(document, "ristretto255", ("multiples", "invalid")), _suite(suites, 1)
    multiples = [octets(entry, "multiples") for entry in listing(part["multiples"], "multiples")]
    generator = walk = suite.base_mul(Secret(b"\1" + bytes(31)))
    for k, expected in enumerate(multiples, start=1):
        scalar = Secret(k.to_bytes(32, "little"))
        checks.equal(f"{k} B", suite.base_mul(scalar), expected)
        checks.equal(f"{k} times B", suite.mul(scalar, generator), expected)
        if k > 1:
            walk = suite.add(walk, generator)
            checks.equal(f"B added {k} times", walk, expected)
            checks.equal(f"{k} B - B", suite.sub(walk, generator), multiples[k - 2])
    _refuses(suite, checks, part["invalid"])


def p256(document: Document, checks: Checks, suites: Mapping[int, Suite]) -> None:
    """Multiples of the generator, SEC 1 compressed, and encodings that are no points."""
    part, suite = _part(document, "p256", ("multiples", "invalid")), _suite(suites, 17)
    generator: Point | None = None
    for item in listing(part["multiples"], "multiples"):
        v = hexes(item, "multiples", ("k", "kG"))
        k, expected = Secret(v["k"]), suite.check(v["kG"])
        generator = generator or expected
        checks.equal("k G", suite.base_mul(k), expected)
        checks.equal("k times G", suite.mul(k, generator), expected)
        if expected != generator:
            checks.equal("(k G - G) + G", suite.add(suite.sub(expected, generator), generator), expected)
    _refuses(suite, checks, part["invalid"])


def ed25519(document: Document, checks: Checks, suites: Mapping[int, Suite]) -> None:
    """RFC 8032 section 7.1."""
    _signatures(document, "ed25519", checks, _suite(suites, 1))


def esp256(document: Document, checks: Checks, suites: Mapping[int, Suite]) -> None:
    """RFC 6979 A.2.5 with SHA-256; where its s is the higher one, ours is q - s (Triad-1 1.2.5)."""
    _signatures(document, "esp256", checks, _suite(suites, 17))


def cpace(document: Document, checks: Checks, suites: Mapping[int, Suite]) -> None:
    """draft-irtf-cfrg-cpace-21 appendix B, ristretto255 with SHA-512."""
    names = ("PRS", "CI", "sid", "generator", "ya", "ADa", "Ya", "yb", "ADb", "Yb", "K", "ISK")
    v = hexes(_part(document, "cpace", names), "cpace", names)
    suite = _suite(suites, 1)
    B, ya, yb = suite.pake_start(v["PRS"], v["CI"], v["sid"]), Secret(v["ya"]), Secret(v["yb"])
    Ya, Yb = suite.check(v["Ya"]), suite.check(v["Yb"])
    checks.equal("generator", B, v["generator"])
    checks.equal("Ya", suite.mul(ya, B), Ya)
    checks.equal("Yb", suite.mul(yb, B), Yb)
    K = suite.mul(ya, Yb)
    checks.equal("K", K, v["K"])
    checks.equal("K of the other side", suite.mul(yb, Ya), v["K"])
    checks.equal("ISK", suite.pake_isk(v["sid"], K, Ya, v["ADa"], Yb, v["ADb"]), Secret(v["ISK"]))


def _signatures(document: Document, name: str, checks: Checks, suite: Suite) -> None:
    for n, case in enumerate(_cases(document, name, ("seed", "public", "message", "signature")), start=1):
        v = hexes(case, name, case)
        key = suite.signing_key(Secret(v["seed"]))
        checks.equal(f"public key {n}", key.public, v["public"])
        checks.equal(f"signature {n}", key.sign(v["message"]), v["signature"])
        verifier = suite.verify_key(v["public"])
        with checks.accepted(f"signature {n}"):
            verifier.verify(v["message"], v["signature"])
        with checks.refused(f"signature {n} of another message", "E_AUTH"):
            verifier.verify(v["message"] + b"\0", v["signature"])


def _refuses(suite: Suite, checks: Checks, encodings: object) -> None:
    for entry in listing(encodings, "invalid"):
        with checks.refused(f"invalid encoding {entry}", "E_POINT"):
            suite.check(octets(entry, "invalid"))


def _part(document: Document, name: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the part without its `origin`, which tells people where the answers come from."""
    part = section(document.parts[name], name, ("origin", *names))
    text(part.pop("origin"), "origin")
    return part


def _cases(document: Document, name: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
    cases = listing(_part(document, name, ("cases",))["cases"], "cases")
    return [section(mapping(case, name), name, names) for case in cases]


def _suite(suites: Mapping[int, Suite], suite_id: int) -> Suite:
    return suites[suite_id] if suite_id in suites else suite_by_id(suite_id)
