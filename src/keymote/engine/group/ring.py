"""The arithmetic and the transcripts of a run: Burmester-Desmedt on the ring 0, 1, ..., n - 1 (Triad-1 3.1, 3.4).

Pure functions of public values and of one secret x_i. A ring edge K_{j,j+1} never leaves this file, not even to its
callers: the differences Y are public, so one edge gives all of them, and whoever used one as a key would give the key away
(attack B-14).
"""

import operator
from collections.abc import Sequence
from functools import reduce
from typing import Final, NamedTuple

from keymote import cbor
from keymote.crypto import dleq
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import Transcript, extract, lexp, macs16, sha256
from keymote.crypto.secret import Secret, equal
from keymote.crypto.suite import Point, Suite
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.group_fields import Entry

SID8: Final = 8
"""Bytes of sid by which messages name a run."""
_DLEQ_LABEL: Final = "B/dleq"


# ------------------------------------------------------------------ transcripts


def roster_hash(gid: bytes, entries: Sequence[Entry]) -> bytes:
    """Return the 32-byte hash by which START names a roster, over its entries in the order of their kids."""
    return Transcript.begin("B/roster", gid, [list(entry) for entry in entries]).value


def sid_of(start: bytes) -> bytes:
    """Return the 16 bytes that name a run: the hash of what its START claims."""
    return Transcript.begin("B/sid", start).value[:16]


def th1_of(sid: bytes, round1: Sequence[bytes]) -> bytes:
    """Return th1 over the payloads of R1 of all members in ring order: not over signatures, nor over R1c's own form."""
    return Transcript.begin("B/th1", sid, list(round1)).value


def th2_of(th1: bytes, round2: Sequence[bytes]) -> bytes:
    """Return th2 over the payloads of R2 of all members in ring order."""
    return Transcript.begin("B/th2", th1, list(round2)).value


# ------------------------------------------------------------------ the rounds


class Contribution(NamedTuple):
    """What a member says in R2: Y_i and the 64 bytes c, s of its proof; both None in a ring of two."""

    Y: Point | None
    dleq: bytes | None


def neighbours(idx: int, n: int) -> tuple[int, int]:
    """Return the positions before and after `idx` in the ring."""
    return (idx - 1) % n, (idx + 1) % n


def distinct(points: Sequence[bytes]) -> bool:
    """Return whether no two members sent the same X; with three or more, neighbours of anybody then differ, too."""
    return len(set(points)) == len(points)


def first_repeated(points: Sequence[bytes]) -> frozenset[int]:
    """Return the positions of all members whose X another one sent as well."""
    return frozenset(idx for idx, point in enumerate(points) if points.count(point) > 1)


def contribute(suite: Suite, idx: int, x: Secret, X: Sequence[Point], th1: bytes, entropy: Entropy) -> Contribution:
    """Return Y_i = x_i (X_{i+1} - X_{i-1}) with the proof that it and X_i hide the same x_i (Triad-1 3.4).

    Three scalar multiplications. Never call this twice with one x: for a foreign X in place of a neighbour's, Y gives an
    edge away.
    """
    if len(X) == 2:
        return Contribution(None, None)
    before, after = neighbours(idx, len(X))
    span = suite.sub(X[after], X[before])
    Y = suite.mul(x, span)
    c, s = dleq.prove(suite, x, suite.generator, X[idx], span, Y, _DLEQ_LABEL, _proof_ctx(th1, idx), entropy)
    return Contribution(Y, c + s)


def check_contribution(suite: Suite, idx: int, X: Sequence[Point], Y: bytes, proof: bytes, th1: bytes) -> None:
    """Return if the member at `idx` knows its x and computed the received Y with it; E_DLEQ (or E_POINT, E_FORMAT) otherwise.

    Four scalar multiplications, on public values only: a gateway without the key names a cheater by it.
    """
    checked = suite.check(Y)
    before, after = neighbours(idx, len(X))
    span = suite.sub(X[after], X[before])
    c, s = proof[:32], proof[32:]
    ctx = _proof_ctx(th1, idx)
    dleq.verify_checked(suite, c, s, suite.generator, X[idx], span, checked, label=_DLEQ_LABEL, ctx=ctx)


def _proof_ctx(th1: bytes, idx: int) -> bytes:
    return th1 + bytes((idx,))


# ------------------------------------------------------------------ the key


def group_secret(suite: Suite, idx: int, x: Secret, X: Sequence[Point], Y: Sequence[bytes | None]) -> Secret:
    """Return GK_pub, the 32-byte hash of all ring edges in canonical order; never a key by itself (see `master_key`).

    One scalar multiplication and n additions, which check each received Y: the walk round the ring starts at this
    member's edge and must end there, so that all Y sum up to the identity.

    Raises:
        PeerFault: E_SUMY when they do not, or when one of them is no point.
    """
    return Secret(sha256(b"".join(_canonical(_walk(suite, idx, x, X, Y), idx))))


def _walk(suite: Suite, idx: int, x: Secret, X: Sequence[Point], Y: Sequence[bytes | None]) -> Sequence[Point]:
    """Return the edges from that between the member before `idx` and `idx` on, each once; E_SUMY for a ring that stays open."""
    own = suite.mul(x, X[idx - 1])
    if len(X) == 2:
        return [own]
    mine, *others = [Y_j for Y_j in (*Y[idx:], *Y[:idx]) if Y_j is not None]
    try:
        following = suite.add(own, Point(mine))  # our own Y is none that was received
        *edges, last = suite.partial_sums(following, others)
    except PeerFault:  # no point, or an identity on the way: some Y is not what it should be
        raise _open_ring() from None
    if len(edges) < len(X) - 2 or not equal(last, own):
        raise _open_ring()
    return [own, following, *edges]


def _open_ring() -> PeerFault:
    return PeerFault(ErrorCode.E_SUMY, "the contributions do not sum up to the identity")


def _canonical(edges: Sequence[Point], idx: int) -> Sequence[Point]:
    """Return the edges sorted by (min index, max index) of their ends; `edges[0]` is the one before `idx` (Triad-1 0 row 7).

    That order is (0, 1), (0, n - 1), (1, 2), (2, 3)...
    """
    n = len(edges)
    if n < 3:
        return edges
    ring = [edges[(j + 1 - idx) % n] for j in range(n)]  # ring[j] lies between j and j + 1
    return [ring[0], ring[n - 1], *ring[1 : n - 1]]


def master_key(gk_pub: Secret, th2: bytes, psk: Secret | None = None) -> Secret:
    """Return MK = extract(th2, GK_pub), or extract(th2, CBOR[GK_pub, psk_g]) with the post-quantum hedge (Triad-1 3.6)."""
    raw = gk_pub.expose()
    return extract(th2, raw if psk is None else cbor.encode_array(raw, psk.expose()))


# ------------------------------------------------------------------ confirmation


def tags(mk: Secret, sid: bytes, th2: bytes, kids: Sequence[bytes]) -> Sequence[bytes]:
    """Return the 16-byte tags of all members: who has MK can compute everybody's."""
    key = lexp(mk, "B/conf", sid)
    return macs16(key, [cbor.encode_array(idx, kid) + th2 for idx, kid in enumerate(kids)])


def xor(parts: Sequence[bytes]) -> bytes:
    """Return the XOR of tags of 16 bytes each."""
    return reduce(operator.xor, (int.from_bytes(part, "big") for part in parts), 0).to_bytes(16, "big")
