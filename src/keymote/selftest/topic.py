"""Part `C`: the chain of a client with its trusted system, a message key, and one reading in each cipher (Triad-1 4.3, 4.5)."""

from collections.abc import Mapping
from typing import Final

from keymote.cbor import uint
from keymote.crypto.kdf import HASH_SIZE, chain_step
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.engine.topic.ciphers import CIPHERS
from keymote.engine.topic.key_chain import KeyChain
from keymote.engine.topic.ratchet import Opened, Receiving, Sending, first_key
from keymote.errors import CallerFault
from keymote.selftest.checks import Checks
from keymote.selftest.document import Document, listing, mapping, number, octets, section, text
from keymote.wire.fields import sizes_of
from keymote.wire.topic import TOPIC, KeyGrant

_INPUTS: Final = ("client_id", "kresp_ctx", "SK", "topic", "sess", "epoch", "snd", "n", "pt")
_LEAST: Final = frozenset({1, 2, 3})
"""Ciphers of which every file has a reading."""
_SIZES: Final = sizes_of(1)


def topic(document: Document, checks: Checks, _suites: Mapping[int, Suite]) -> None:
    """Recompute the sub-keys of k = 0 and 1, mk_n, and every PUB, which must open again; a changed one must not."""
    part = section(document.parts["C"], "C", ("inputs", "pss", "kresp_k0_k1", "publishes", "mk0"))
    inputs = section(part["inputs"], "inputs", _INPUTS)
    v = {name: octets(inputs[name], name) for name in ("client_id", "kresp_ctx", "SK", "sess", "pt")}
    name, n = text(inputs["topic"], "topic"), number(inputs["n"], "n")
    TOPIC.accept(name, _SIZES)
    checks.equal("length of client_id", len(v["client_id"]), 8)

    given = [octets(item, "kresp_k0_k1") for item in _exactly(part["kresp_k0_k1"], "kresp_k0_k1", 2)]
    chain = KeyChain.begin(v["client_id"], Secret(octets(part["pss"], "pss")))
    for k, key in enumerate(given):
        checks.equal(f"kresp_k0_k1[{k}]", chain.sub("C/kresp", v["kresp_ctx"]), Secret(key))
        chain = chain.step()

    grants = {
        cs: _grant(cs, v["sess"], number(inputs["epoch"], "epoch"), number(inputs["snd"], "snd"), v["SK"], n)
        for cs in _ciphers(part["publishes"])
    }
    index, key_0, iv_0 = _exactly(part["mk0"], "mk0", 3)
    first = grants[min(grants)]
    mk, _ = chain_step(first_key(name, first, first.snd), uint(n))
    checks.equal("mk0's index", number(index, "mk0"), n)
    checks.equal("mk0", Secret(mk), Secret(_long(key_0, HASH_SIZE) + _long(iv_0, 16)))

    for cs, grant in grants.items():
        (item,) = _exactly(mapping(part["publishes"], "publishes")[str(cs)], "publishes", 1)
        published = octets(item, "publishes")
        _, ours = Sending.begin(name, grant, enabled=CIPHERS.keys()).protect(v["pt"])
        checks.equal(f"publishes[{cs}]", ours, published)
        receiving = Receiving.begin(name, grant, grant.snd, enabled=CIPHERS.keys())
        with checks.accepted(f"publishes[{cs}]"):
            checks.equal(f"publishes[{cs}], opened", receiving.unprotect(published)[1], Opened(n, v["pt"]))
        _, fault = receiving.unprotect(ours[:-1] + bytes([ours[-1] ^ 1]))
        checks.holds(f"publishes[{cs}] with another tag opens", not isinstance(fault, Opened))


def _grant(cs: int, sess: bytes, epoch: int, snd: int, SK: bytes, n: int) -> KeyGrant:
    """Return a grant whose first index is n; E_FORMAT for numbers or lengths that no grant has."""
    return KeyGrant.decode(KeyGrant(sess, epoch, snd, cs, SK, n, 1, 0).encode(), _SIZES)


def _ciphers(publishes: object) -> list[int]:
    names = set(mapping(publishes, "publishes"))
    unknown = names - set(map(str, CIPHERS))
    if unknown or not names >= set(map(str, _LEAST)):
        raise CallerFault(
            f"publishes of the ciphers {sorted(names)}: one of each of {sorted(_LEAST)} is due, and no unknown"
        )
    return sorted(map(int, names))


def _exactly(item: object, what: str, count: int) -> list[object]:
    found = listing(item, what)
    if len(found) != count:
        raise CallerFault(f"{what} has {len(found)} entries, {count} are due")
    return found


def _long(item: object, length: int) -> bytes:
    found = octets(item, "mk0")
    if len(found) != length:
        raise CallerFault(f"mk0 has a string of {len(found)} bytes where {length} are due")
    return found
