"""Parts `kdf` and `transcript`: key derivation and the running hash (Triad-1 1.3)."""

from collections.abc import Mapping

from keymote import cbor
from keymote.crypto.kdf import HASH_SIZE, Transcript, expand
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.selftest.checks import Checks
from keymote.selftest.document import Document, hexes, listing, number, octets, section, text


def kdf(document: Document, checks: Checks, _suites: Mapping[int, Suite]) -> None:
    """Recompute info = CBOR["TRIAD1/" || label, ctx, L] and out = HKDF-Expand(prk, info, L)."""
    part = section(document.parts["kdf"], "kdf", ("prk", "label", "ctx", "L", "info", "out"))
    label, length = text(part["label"], "label"), number(part["L"], "L")
    prk, ctx = octets(part["prk"], "prk"), octets(part["ctx"], "ctx")
    checks.equal("length of prk", len(prk), HASH_SIZE)  # HMAC takes a shorter key for the same one padded with zeros
    out = expand(Secret(prk), label, ctx, length)
    checks.equal("info", cbor.encode_array("TRIAD1/" + label, ctx, length), octets(part["info"], "info"))
    checks.equal("out", out, octets(part["out"], "out"))


def transcript(document: Document, checks: Checks, _suites: Mapping[int, Suite]) -> None:
    """Recompute T0 over the items and T after one message."""
    part = section(document.parts["transcript"], "transcript", ("inputs", "T0", "after_m1"))
    inputs = section(part["inputs"], "inputs", ("label", "suite", "psid", "items", "message"))
    items = [octets(item, "items") for item in listing(inputs["items"], "items")]
    suite, psid = number(inputs["suite"], "suite"), octets(inputs["psid"], "psid")
    begun = Transcript.begin(text(inputs["label"], "label"), suite, psid, *items)
    given = hexes({key: part[key] for key in ("T0", "after_m1")}, "transcript", ("T0", "after_m1"))
    checks.equal("T0", begun.value, given["T0"])
    checks.equal("after_m1", begun.add(octets(inputs["message"], "message")).value, given["after_m1"])
