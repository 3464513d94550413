"""Our own runs of a ring, in the format of the given vectors' parts `B_n<k>`; `make_vectors.py` writes them."""

from collections.abc import Sequence
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, SigningKey, Suite
from keymote.engine.group import ring
from keymote.wire import group as wire
from keymote.wire import group_signed
from keymote.wire.group_fields import Cause, Entry

RUNS: Final = {2: wire.RELAY, 4: wire.EDGE}
"""Size -> mode. The given files hold relays of 2, 3 and 5: these add a gateway that is a member, and larger numbers."""
TS: Final = 1_700_000_000


def parts(suite: Suite, entropy: Entropy) -> dict[str, object]:
    """Return the parts of a file of this suite."""
    return {f"B_n{n}": _run(suite, entropy, n, mode) for n, mode in RUNS.items()}


def _run(suite: Suite, entropy: Entropy, n: int, mode: int) -> dict[str, object]:
    """Play all members and the gateway of one run (Triad-1 3.6); the gateway is the ring's first member in edge mode."""
    keys = sorted((suite.generate_signing_key(entropy) for _ in range(n)), key=_kid)
    gw = keys[0] if mode == wire.EDGE else suite.generate_signing_key(entropy)
    kids = [_kid(key) for key in keys]
    gid = entropy.draw(8)
    roster = ring.roster_hash(gid, [Entry(kid, key.public) for kid, key in zip(kids, keys, strict=True)])
    claims = wire.StartClaims(gid, 70_000, 2, mode, n, roster, entropy.draw(16), TS, 86_400, Cause(3))
    sid = ring.sid_of(claims.encode())
    sid8 = sid[: ring.SID8]

    x = [suite.random_scalar(entropy) for _ in keys]
    X = [suite.base_mul(scalar) for scalar in x]
    said1 = [wire.Round1Claims(sid8, idx, X[idx], entropy.draw(8), TS + 1) for idx in range(n)]
    th1 = ring.th1_of(sid, [said.encode() for said in said1])
    contributions = [ring.contribute(suite, idx, x[idx], X, th1, entropy) for idx in range(n)]
    said2 = [wire.Round2Claims(sid8, idx, *contribution) for idx, contribution in enumerate(contributions)]
    th2 = ring.th2_of(th1, [said.encode() for said in said2])

    Y: list[Point | None] = [None if said.Y is None else suite.check(said.Y) for said in said2]
    gk_pub = ring.group_secret(suite, 0, x[0], X, Y)
    mk = ring.master_key(gk_pub, th2)
    tags = ring.tags(mk, sid, th2, kids)
    edges = [suite.mul(x[j], X[(j + 1) % n]) for j in range(1 if n == wire.FEWEST else n)]
    return {
        "x": _hexes(x),
        "X": _hexes(X),
        "R1": _hexes([group_signed.write(key, said, sid) for key, said in zip(keys, said1, strict=True)]),
        "sid": sid.hex(),
        "R2": _hexes([group_signed.write(key, said, th1) for key, said in zip(keys, said2, strict=True)]),
        "Y": [None if said.Y is None else said.Y.hex() for said in said2],
        "th1": th1.hex(),
        "gid": gid.hex(),
        "member_kid": _hexes(kids),
        "START": group_signed.write(gw, claims, kid=_kid(gw)).hex(),
        "th2": th2.hex(),
        "R3": _hexes([wire.Round3(sid8, idx, tag).encode() for idx, tag in enumerate(tags)]),
        "COMMIT": group_signed.write(gw, wire.CommitClaims(sid8, th2, ring.xor(tags)), sid, kid=_kid(gw)).hex(),
        "gw_pub": gw.public.hex(),
        "member_pub": _hexes([key.public for key in keys]),
        "edges": _hexes(edges),
        "GK_pub": gk_pub.expose().hex(),
        "MK": mk.expose().hex(),
    }


def _kid(key: SigningKey) -> bytes:
    """Return kid as the given files have it: no credential stands behind these keys."""
    return sha256(key.public)[:8]


def _hexes(values: Sequence[bytes | Secret]) -> list[str]:
    return [(value.expose() if isinstance(value, Secret) else value).hex() for value in values]
