"""Parts `B_n<k>`: one whole run of a ring of k members, recomputed from their scalars (Triad-1 3.1, 3.4)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, Suite
from keymote.engine.group import ring
from keymote.errors import CallerFault
from keymote.selftest.checks import Checks
from keymote.selftest.document import Document, listing, octets, section
from keymote.selftest.enrolment import suite_of
from keymote.wire import group as wire
from keymote.wire import group_signed
from keymote.wire.fields import Sizes
from keymote.wire.group_fields import Entry, ascend

_OF_EACH: Final = ("member_kid", "member_pub", "x", "X", "R1", "R2", "R3")
_OF_ALL: Final = ("gid", "gw_pub", "START", "sid", "th1", "th2", "GK_pub", "MK", "COMMIT")
_KID: Final = 8


@dataclass(frozen=True, slots=True)
class _Run:
    """The file's values; `each` holds one value a member, in the order of the ring."""

    suite: Suite
    sizes: Sizes
    n: int
    v: Mapping[str, bytes]
    each: Mapping[str, Sequence[bytes]]
    Y: Sequence[bytes | None]
    edges: Sequence[bytes]

    @property
    def entries(self) -> Sequence[Entry]:
        return [Entry(kid, key) for kid, key in zip(self.each["member_kid"], self.each["member_pub"], strict=True)]


def group(part: str, document: Document, checks: Checks, suites: Mapping[int, Suite]) -> None:
    """Recompute sid, transcripts, ring edges, key and tags; verify START, R1, R2, proofs and COMMIT; derive as each member."""
    run = _read(part, document, suites)
    claims = _started(run, checks)
    X, Y = _rounds(run, checks)
    gk_pub = _derived(run, checks, X, Y)
    _confirmed(run, checks, ring.master_key(gk_pub, run.v["th2"]), claims)


def _read(part: str, document: Document, suites: Mapping[int, Suite]) -> _Run:
    suite, sizes = suite_of(document, suites)
    n = int(part.removeprefix("B_n"))
    given = section(document.parts[part], part, (*_OF_EACH, *_OF_ALL, "Y", "edges"))
    Y = [None if item is None else octets(item, "Y") for item in _exactly(given["Y"], "Y", n)]
    if any((point is None) is not (n == wire.FEWEST) for point in Y):
        raise CallerFault("Y is null in a ring of two, and nowhere else")
    return _Run(
        suite,
        sizes,
        n,
        {name: octets(given[name], name) for name in _OF_ALL},
        {name: _octets_of_each(given[name], name, n) for name in _OF_EACH},
        Y,
        _octets_of_each(given["edges"], "edges", 1 if n == wire.FEWEST else n),
    )


def _exactly(item: object, what: str, n: int) -> list[Any]:
    found = listing(item, what)
    if len(found) != n:
        raise CallerFault(f"{what} has {len(found)} entries, not {n}")
    return found


def _octets_of_each(item: object, what: str, n: int) -> Sequence[bytes]:
    return [octets(entry, f"{what}[{at}]") for at, entry in enumerate(_exactly(item, what, n))]


def _started(run: _Run, checks: Checks) -> wire.StartClaims:
    """START: signed by the gateway over this roster; its payload gives sid."""
    kids = list(run.each["member_kid"])
    for idx, (kid, key) in enumerate(run.entries):
        checks.equal(f"member_kid[{idx}]", sha256(key)[:_KID], kid)
    checks.holds("the members do not stand in the order of their kids", ascend(kids))
    start = group_signed.read(run.v["START"], wire.StartClaims, run.sizes)
    claims = start.claims
    with checks.accepted("signature of START"):
        start.verified_by(run.suite.verify_key(run.v["gw_pub"]))
    checks.equal("kid of START", start.kid, sha256(run.v["gw_pub"])[:_KID])
    checks.equal("what START says of the ring", (claims.gid, claims.n), (run.v["gid"], run.n))
    checks.equal("START's mode", claims.mode == wire.EDGE, start.kid in kids)
    checks.equal("START's roster_hash", claims.roster_hash, ring.roster_hash(run.v["gid"], run.entries))
    checks.equal("sid", ring.sid_of(start.payload), run.v["sid"])
    return claims


def _rounds(run: _Run, checks: Checks) -> tuple[Sequence[Point], Sequence[Point | None]]:
    """R1 and R2 of all members: signatures, transcripts, and that each Y hides the x of the same member's X."""
    suite, v = run.suite, run.v
    sid8 = v["sid"][: ring.SID8]
    keys = [suite.verify_key(key) for key in run.each["member_pub"]]
    round1 = [group_signed.read(data, wire.Round1Claims, run.sizes) for data in run.each["R1"]]
    round2 = [group_signed.read(data, wire.Round2Claims, run.sizes) for data in run.each["R2"]]
    checks.equal("th1", ring.th1_of(v["sid"], [said.payload for said in round1]), v["th1"])
    checks.equal("th2", ring.th2_of(v["th1"], [said.payload for said in round2]), v["th2"])
    X = [suite.check(point) for point in run.each["X"]]
    checks.holds("two members have the same X", ring.distinct(X))
    Y = [None if point is None else suite.check(point) for point in run.Y]
    for idx, (one, two) in enumerate(zip(round1, round2, strict=True)):
        with checks.accepted(f"signature of R1[{idx}]"):
            one.verified_by(keys[idx], v["sid"])
        with checks.accepted(f"signature of R2[{idx}]"):
            two.verified_by(keys[idx], v["th1"])
        checks.equal(f"what R1[{idx}] says", (one.claims.sid8, one.claims.idx, one.claims.X), (sid8, idx, X[idx]))
        checks.equal(f"what R2[{idx}] says", (two.claims.sid8, two.claims.idx, two.claims.Y), (sid8, idx, Y[idx]))
        _proven(run, checks, idx, X, two.claims)
    return X, Y


def _proven(run: _Run, checks: Checks, idx: int, X: Sequence[Point], said: wire.Round2Claims) -> None:
    if run.n == wire.FEWEST:
        checks.equal(f"Y and proof of R2[{idx}]", (said.Y, said.dleq), (None, None))
        return
    with checks.accepted(f"proof of R2[{idx}]"):
        ring.check_contribution(run.suite, idx, X, said.Y or b"", said.dleq or b"", run.v["th1"])


def _derived(run: _Run, checks: Checks, X: Sequence[Point], Y: Sequence[Point | None]) -> Secret:
    """X, Y, every edge from both of its ends, and GK_pub as each member walks round the ring to it."""
    suite, n = run.suite, run.n
    x = [Secret(suite.check_scalar(scalar)) for scalar in run.each["x"]]
    for j, edge in enumerate(run.edges):
        after = (j + 1) % n
        checks.equal(f"edges[{j}] = x{j} X{after}", suite.mul(x[j], X[after]), edge)
        checks.equal(f"edges[{j}] = x{after} X{j}", suite.mul(x[after], X[j]), edge)
    for idx in range(n):
        checks.equal(f"X[{idx}] = x G", suite.base_mul(x[idx]), X[idx])
        if n > wire.FEWEST:
            difference = suite.sub(suite.check(run.edges[idx]), suite.check(run.edges[idx - 1]))
            checks.equal(f"Y[{idx}] = K{idx} - K{idx - 1}", difference, Y[idx])
        with checks.accepted(f"derivation by member {idx}"):
            checks.equal(
                f"GK_pub of member {idx}", ring.group_secret(suite, idx, x[idx], X, Y), Secret(run.v["GK_pub"])
            )
    return Secret(run.v["GK_pub"])


def _confirmed(run: _Run, checks: Checks, mk: Secret, claims: wire.StartClaims) -> None:
    """MK, everybody's tag in R3, and COMMIT over all of them."""
    v, sid8 = run.v, run.v["sid"][: ring.SID8]
    checks.equal("MK", mk, Secret(v["MK"]))
    checks.equal("psk_id of a START whose key has no hedge", claims.reason.psk_id, b"")
    tags = ring.tags(mk, v["sid"], v["th2"], run.each["member_kid"])
    for idx, tag in enumerate(tags):
        checks.equal(f"R3[{idx}]", wire.Round3(sid8, idx, tag).encode(), run.each["R3"][idx])
    commit = group_signed.read(v["COMMIT"], wire.CommitClaims, run.sizes)
    with checks.accepted("signature of COMMIT"):
        commit.verified_by(run.suite.verify_key(v["gw_pub"]), v["sid"])
    checks.equal("kid of COMMIT", commit.kid, sha256(v["gw_pub"])[:_KID])
    checks.equal("what COMMIT says", commit.claims, wire.CommitClaims(sid8, v["th2"], ring.xor(tags)))
