"""CBOR that decodes to the same value from other bytes (I-03)."""

from collections.abc import Callable, Mapping

import cbor2

from keymote import cbor
from keymote.errors import PeerFault
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, refused
from keymote.wire.enrolment import Join
from keymote.wire.fields import sizes_of


def _indefinite(join: bytes) -> bytes:
    return b"\x9f" + join[1:] + b"\xff"


def _longer_integer(join: bytes) -> bytes:
    return join[:1] + b"\x18\x02" + join[2:]


def _trailing(join: bytes) -> bytes:
    return join + b"\x00"


_VARIANTS: Mapping[str, Callable[[bytes], bytes]] = {
    "an indefinite length": _indefinite,
    "a longer integer": _longer_integer,
    "trailing bytes": _trailing,
}


def _join(effort: Effort) -> tuple[Join, bytes]:
    entropy = effort.entropy("I-03")
    join = Join(1, entropy.draw(8), entropy.draw(8), entropy.draw(32))
    return join, join.encode()


def _bare_decoder(effort: Effort) -> Outcome:
    """Decode with the library alone: every variant is the same message, so its hash can differ between two sides."""
    _, wire = _join(effort)
    same = [name for name, vary in _VARIANTS.items() if cbor2.loads(vary(wire)) == cbor2.loads(wire)]
    twice = cbor2.loads(bytes.fromhex("a2000000f5"))
    if len(same) != len(_VARIANTS) or twice != {0: True}:
        return Fails("library", "the decoder refuses some variants")
    return Succeeds(f"the same value from {', '.join(same)}; of a key that stands twice the last value wins")


def _variant(name: str) -> Attempt:
    """Return the attempt to pass a JOIN in other bytes: both sides agree on its meaning, not on the transcript."""

    def run(effort: Effort) -> Outcome:
        join, wire = _join(effort)
        changed = _VARIANTS[name](wire)
        try:
            read = Join.decode(changed, sizes_of(1))
        except PeerFault as fault:
            return refused(fault.code, fault.what)
        if read == join and changed != wire:
            return Succeeds("read as the same JOIN; the transcripts of the two sides differ")
        return Fails("nothing", "read as another JOIN")

    return Attempt(name, "E_FORMAT", run)


def _repeated_key(_effort: Effort) -> Outcome:
    """Send a map in which a key stands twice: one reader takes the first value, another the last."""
    try:
        value = cbor.decode(bytes.fromhex("a2000000f5"))
    except PeerFault as fault:
        return refused(fault.code, fault.what)
    return Succeeds(f"read as {value!r}")


ATTACKS = (
    Attack(
        "I-03",
        "One CBOR value, many encodings",
        "M",
        _bare_decoder,
        (*map(_variant, _VARIANTS), Attempt("a key that stands twice", "E_FORMAT", _repeated_key)),
    ),
)
