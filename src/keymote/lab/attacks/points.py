"""What a group library does with encodings and scalars that are none (I-01, I-06)."""

from collections.abc import Sequence

from keymote import cbor
from keymote.crypto import dleq, libsodium
from keymote.crypto.kdf import Transcript
from keymote.crypto.suite import Point, Suite
from keymote.crypto.suites import suite_by_id
from keymote.errors import PeerFault
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, refused

Statement = tuple[Point, Point, Point, Point]
"""B1, P1 = d B1, B2, P2 = d B2."""

IDENTITY = bytes(32)
INVALID = b"\xff" * 32
"""No canonical encoding of ristretto255: above the field's prime."""


def _bare_sum(points: Sequence[bytes]) -> bytes:
    total = points[0]
    for point in points[1:]:
        total = libsodium.add(total, point)
    return total


def _bare_library(effort: Effort) -> Outcome:
    """Sum three honest shares and one that the adversary sends, as a program does that calls the library directly."""
    entropy = effort.entropy("I-01")
    honest = [libsodium.from_hash(entropy.draw(64)) for _ in range(3)]
    vanished = _bare_sum([*honest, IDENTITY]) == _bare_sum(honest) and libsodium.is_valid_point(IDENTITY)
    emptied = _bare_sum([*honest, INVALID]) == IDENTITY
    if not (vanished and emptied):
        return Fails("library", "the library refuses both")
    return Succeeds(
        "an invalid share makes the sum the identity, without an error; the identity is called a valid point"
    )


def _guarded_sum(suite: Suite, received: Sequence[bytes]) -> bytes:
    """Sum shares as a session does (PW-21, PW-22): each is checked, then all are added."""
    return suite.sum(*[suite.check(encoding) for encoding in received])


def _share_of(encoding: bytes, effort: Effort) -> Outcome:
    suite = suite_by_id(1)
    entropy = effort.entropy("I-01")
    honest = [suite.random_point(entropy) for _ in range(3)]
    try:
        total = _guarded_sum(suite, [*honest, encoding])
    except PeerFault as fault:
        return refused(fault.code, f"{fault.what}")
    if total == IDENTITY:
        return Succeeds("the sum of four shares is the identity, whatever the other three are")
    if total == suite.sum(*honest):
        return Succeeds("the fourth share has vanished from the sum")
    return Fails("nothing", "the share was added like any other")


def _invalid_share(effort: Effort) -> Outcome:
    return _share_of(INVALID, effort)


def _identity_share(effort: Effort) -> Outcome:
    return _share_of(IDENTITY, effort)


# ------------------------------------------------------------------ I-06


def _bare_verify(c: bytes, s: bytes, suite: Suite, statement: Statement, ctx: bytes) -> bool:
    """Verify a proof with the library alone: it reduces scalars silently."""
    B1, P1, B2, P2 = statement
    commitments = (
        libsodium.sub(libsodium.scalarmult(s, B1), libsodium.scalarmult(c, P1)),
        libsodium.sub(libsodium.scalarmult(s, B2), libsodium.scalarmult(c, P2)),
    )
    return suite.hash_to_scalar(cbor.encode_array("TRIAD1/A/dleq", ctx, *statement, *commitments)).expose() == c


def _proof(effort: Effort) -> tuple[Suite, Statement, bytes, bytes, bytes, bytes]:
    """Return an honest proof (c, s), its statement and context, and s + q: other bytes, the same residue."""
    suite = suite_by_id(1)
    entropy = effort.entropy("I-06")
    d = suite.random_scalar(entropy)
    B1, B2 = suite.random_point(entropy), suite.random_point(entropy)
    statement = (B1, suite.mul(d, B1), B2, suite.mul(d, B2))
    ctx = Transcript.begin("A/enrol", suite.id).value
    c, s = dleq.prove(suite, d, *statement, "A/dleq", ctx, entropy)
    raised = (int.from_bytes(s, "little") + suite.order).to_bytes(32, "little")
    return suite, statement, ctx, c, s, raised


def _unreduced_scalar_in_the_library(effort: Effort) -> Outcome:
    suite, statement, ctx, c, s, raised = _proof(effort)
    if raised != s and _bare_verify(c, raised, suite, statement, ctx):
        return Succeeds("s + q verifies as s does: one proof, two encodings, two transcripts")
    return Fails("library", "s + q does not verify")


def _unreduced_scalar(effort: Effort) -> Outcome:
    suite, statement, ctx, c, _, raised = _proof(effort)
    try:
        dleq.verify(suite, c, raised, *statement, "A/dleq", ctx)
    except PeerFault as fault:
        return refused(fault.code, f"s + q: {fault.what}")
    return Succeeds("a proof with s + q in place of s verifies")


_LIBRARY_POINTS = (
    Attempt("invalid encoding as a share", "E_POINT", _invalid_share),
    Attempt("identity as a share", "E_POINT", _identity_share),
)

ATTACKS = (
    Attack("A-13", "Invalid encodings become the identity (is I-01)", "M", _bare_library, _LIBRARY_POINTS),
    Attack("I-01", "rbcl adds an invalid encoding as the identity", "M", _bare_library, _LIBRARY_POINTS),
    Attack(
        "I-06",
        "Scalars that are not reduced",
        "M",
        _unreduced_scalar_in_the_library,
        (Attempt("s + q in a proof", "E_FORMAT", _unreduced_scalar),),
    ),
)
