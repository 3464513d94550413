"""The arithmetic of a run against the given vectors of both suites, against plain exponentiation, and against cheaters."""

import hashlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from keymote import cbor
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.kdf import extract
from keymote.crypto.metered import MeteredSuite
from keymote.crypto.secret import Secret
from keymote.crypto.suites import SUITES
from keymote.engine.group import ring
from keymote.errors import ErrorCode, PeerFault
from keymote.wire import group, group_signed
from keymote.wire.fields import sizes_of
from keymote.wire.group_fields import Entry

VECTORS = {
    suite: json.loads((Path(__file__).parents[2] / "vectors" / name).read_text())
    for suite, name in ((1, "triad1.json"), (17, "triad1-p256.json"))
}
both_suites = pytest.mark.parametrize("suite", [1, 17], ids=["suite 1", "suite 17"])
every_vector = pytest.mark.parametrize("n", [2, 3, 5])
TH1 = bytes(range(32))


def hexes(values: list[Any]) -> list[Any]:
    return [None if value is None else bytes.fromhex(value) for value in values]


class Given:
    """One part B_n<k> of a vector file, parsed."""

    def __init__(self, suite: int, n: int) -> None:
        part = VECTORS[suite][f"B_n{n}"]
        self.suite, self.n, self.sizes = SUITES[suite], n, sizes_of(suite)
        self.gid, self.sid, self.th1, self.th2, self.gk_pub, self.mk = (
            bytes.fromhex(part[name]) for name in ("gid", "sid", "th1", "th2", "GK_pub", "MK")
        )
        self.kids, self.keys, self.x, self.X, self.Y, self.edges = (
            hexes(part[name]) for name in ("member_kid", "member_pub", "x", "X", "Y", "edges")
        )
        self.gw_key = self.suite.verify_key(bytes.fromhex(part["gw_pub"]))
        self.start = group_signed.read(bytes.fromhex(part["START"]), group.StartClaims, self.sizes)
        self.r1 = [group_signed.read(data, group.Round1Claims, self.sizes) for data in hexes(part["R1"])]
        self.r2 = [group_signed.read(data, group.Round2Claims, self.sizes) for data in hexes(part["R2"])]
        self.r3 = [group.Round3.decode(data, self.sizes) for data in hexes(part["R3"])]
        self.commit = group_signed.read(bytes.fromhex(part["COMMIT"]), group.CommitClaims, self.sizes)


@both_suites
@every_vector
def test_GR04_given_transcripts_follow_from_the_payloads(suite: int, n: int) -> None:
    given = Given(suite, n)
    entries = [Entry(kid, key) for kid, key in zip(given.kids, given.keys, strict=True)]
    assert given.kids == [hashlib.sha256(key).digest()[:8] for key in given.keys]
    claims = given.start.verified_by(given.gw_key)
    assert (claims.gid, claims.n, claims.mode) == (given.gid, n, group.RELAY)
    assert ring.roster_hash(given.gid, entries) == claims.roster_hash
    assert ring.sid_of(given.start.payload) == given.sid
    assert ring.th1_of(given.sid, [said.payload for said in given.r1]) == given.th1
    assert ring.th2_of(given.th1, [said.payload for said in given.r2]) == given.th2
    for said in given.r1:
        c = said.claims
        compact = group.Round1Compact.decode(
            group.Round1Compact(c.sid8, c.idx, c.X, c.nonce, c.ts).encode(), given.sizes
        )
        assert (
            group.Round1Claims(compact.sid8, compact.idx, compact.X, compact.nonce, compact.ts).encode() == said.payload
        )


@both_suites
@every_vector
def test_GR05_given_signatures_verify_in_their_context_alone(suite: int, n: int) -> None:
    given = Given(suite, n)
    keys = [given.suite.verify_key(key) for key in given.keys]
    for idx, key in enumerate(keys):
        for said, ctx in ((given.r1[idx], given.sid), (given.r2[idx], given.th1)):
            assert said.verified_by(key, ctx).sid8 == given.sid[:8]
            for other_key, other_ctx in ((key, b""), (key, bytes(len(ctx))), (keys[idx - 1], ctx)):
                with pytest.raises(PeerFault, match="E_AUTH"):
                    said.verified_by(other_key, other_ctx)
    assert given.commit.verified_by(given.gw_key, given.sid).th2 == given.th2
    with pytest.raises(PeerFault, match="E_AUTH"):
        given.commit.verified_by(given.gw_key)


@both_suites
@every_vector
def test_GR06_every_member_of_a_given_run_derives_the_given_key(suite: int, n: int) -> None:
    given = Given(suite, n)
    X = [given.suite.check(point) for point in given.X]
    Y = [None if point is None else given.suite.check(point) for point in given.Y]
    assert [said.claims.X for said in given.r1] == given.X
    assert [said.claims.Y for said in given.r2] == given.Y
    for idx, x in enumerate(map(Secret, given.x)):
        assert given.suite.base_mul(x) == given.X[idx]
        gk_pub = ring.group_secret(given.suite, idx, x, X, Y)
        assert gk_pub == Secret(given.gk_pub)
        assert ring.master_key(gk_pub, given.th2) == Secret(given.mk)


@both_suites
@every_vector
def test_GR07_given_contributions_are_what_each_member_sends_and_prove_it(suite: int, n: int) -> None:
    given = Given(suite, n)
    X = [given.suite.check(point) for point in given.X]
    for idx, x in enumerate(map(Secret, given.x)):
        ours = ring.contribute(given.suite, idx, x, X, given.th1, SeededEntropy(b"hedge"))
        assert given.Y[idx] == ours.Y
        said = given.r2[idx].claims
        if n == 2:
            assert ours == ring.Contribution(None, None) == (said.Y, said.dleq)
            continue
        for proof in (ours.dleq, said.dleq):
            assert proof is not None and said.Y is not None
            ring.check_contribution(given.suite, idx, X, said.Y, proof, given.th1)
            with pytest.raises(PeerFault, match="E_DLEQ"):
                ring.check_contribution(given.suite, idx, X, said.Y, proof, given.th2)
            with pytest.raises(PeerFault, match="E_DLEQ"):
                ring.check_contribution(given.suite, idx, X, given.Y[idx - 1], proof, given.th1)


@both_suites
@every_vector
def test_GR08_given_tags_and_their_xor(suite: int, n: int) -> None:
    given = Given(suite, n)
    tags = ring.tags(Secret(given.mk), given.sid, given.th2, given.kids)
    assert tags == [said.tag for said in given.r3]
    assert ring.xor(tags) == given.commit.claims.xor_tag


@both_suites
def test_GR06_three_members_get_the_papers_key(suite: int) -> None:
    """H(K_AB || K_AC || K_BC), byte for byte."""
    given = Given(suite, 3)
    suite_ = given.suite
    a, b = (Secret(x) for x in given.x[:2])
    B, C = (suite_.check(point) for point in given.X[1:])
    edges = suite_.mul(a, B), suite_.mul(a, C), suite_.mul(b, C)
    assert hashlib.sha256(b"".join(edges)).digest() == given.gk_pub


# ------------------------------------------------------------------ our own runs


class Played:
    """A run of n members without messages."""

    def __init__(self, suite: int, n: int, seed: bytes = b"ring") -> None:
        entropy = SeededEntropy(seed + bytes((n,)))
        self.suite, self.n = SUITES[suite], n
        self.x = [self.suite.random_scalar(entropy) for _ in range(n)]
        self.X = [self.suite.base_mul(x) for x in self.x]
        self.said = [ring.contribute(self.suite, i, x, self.X, TH1, entropy) for i, x in enumerate(self.x)]
        self.Y = [None if said.Y is None else self.suite.check(said.Y) for said in self.said]

    def edge(self, i: int, j: int) -> bytes:
        return self.suite.mul(self.x[i], self.X[j])


@both_suites
@pytest.mark.parametrize("n", [2, 3, 4, 5, 25, 32])
def test_GR06_all_members_hash_the_ring_edges_in_the_order_of_their_index_pairs(suite: int, n: int) -> None:
    played = Played(suite, n)
    pairs = sorted({(min(j, (j + 1) % n), max(j, (j + 1) % n)) for j in range(n)})
    expected = Secret(hashlib.sha256(b"".join(played.edge(i, j) for i, j in pairs)).digest())
    for idx in {0, 1, n // 2, n - 1}:
        assert ring.group_secret(played.suite, idx, played.x[idx], played.X, played.Y) == expected


def test_GR06_the_key_is_bound_to_the_transcript_and_to_the_hedge() -> None:
    gk_pub, psk = Secret(bytes(32)), Secret(b"p" * 32)
    plain, hedged = ring.master_key(gk_pub, TH1), ring.master_key(gk_pub, TH1, psk)
    assert plain == extract(TH1, bytes(32))
    assert hedged == extract(TH1, cbor.encode([bytes(32), psk.expose()]))
    keys = [plain, hedged, ring.master_key(gk_pub, bytes(32)), ring.master_key(gk_pub, TH1, Secret(b"q" * 32))]
    assert len({key.expose() for key in keys}) == len(keys)


@both_suites
def test_GR09_a_ring_that_does_not_close_gives_no_key(suite: int) -> None:
    played = Played(suite, 5)
    suite_ = played.suite
    shift = suite_.base_mul(Secret(hashlib.sha256(b"shift").digest()[:31] + b"\0"))
    for cheat in range(5):
        Y = list(played.Y)
        Y[cheat] = suite_.add(Y[cheat], shift)
        for idx in range(5):
            with pytest.raises(PeerFault) as fault:
                ring.group_secret(suite_, idx, played.x[idx], played.X, Y)
            assert fault.value.code is ErrorCode.E_SUMY


@both_suites
def test_GR09_an_identity_on_the_way_round_is_an_open_ring(suite: int) -> None:
    played = Played(suite, 4)
    suite_, first = played.suite, played.edge(3, 0)
    Y = list(played.Y)
    minus = suite_.sub(suite_.check(Y[0]), suite_.add(Y[0], suite_.check(first)))
    Y[0] = minus  # K_{3,0} + Y_0 = O
    with pytest.raises(PeerFault, match="E_SUMY"):
        ring.group_secret(suite_, 0, played.x[0], played.X, Y)


@both_suites
def test_GR07_two_cheats_that_cancel_out_close_the_ring_and_fail_their_proofs(suite: int) -> None:
    """B-04: the sum cannot see them; keys differ, and the proofs name exactly the two."""
    played = Played(suite, 5)
    suite_ = played.suite
    shift = suite_.base_mul(Secret(hashlib.sha256(b"shift").digest()[:31] + b"\0"))
    Y = list(played.Y)
    Y[1], Y[3] = suite_.add(Y[1], shift), suite_.sub(Y[3], shift)
    secrets = [ring.group_secret(suite_, idx, played.x[idx], played.X, Y) for idx in range(5)]
    assert len({secret.expose() for secret in secrets}) > 1
    caught = set()
    for idx, said in enumerate(played.said):
        assert said.dleq is not None
        try:
            ring.check_contribution(suite_, idx, played.X, Y[idx], said.dleq, TH1)
        except PeerFault as fault:
            caught.add((idx, fault.code))
    assert caught == {(1, ErrorCode.E_DLEQ), (3, ErrorCode.E_DLEQ)}


def test_GR10_repeated_contributions_are_seen() -> None:
    X = Played(1, 4).X
    assert ring.distinct(X)
    assert ring.first_repeated(X) == frozenset()
    assert not ring.distinct([*X[:3], X[0]])
    assert ring.first_repeated([*X[:3], X[0]]) == {0, 3}


def test_GR11_no_function_returns_an_edge() -> None:
    """B-14: a third member can compute every edge, so none may serve as a key; the room has no door for one."""
    played = Played(1, 4)
    edge = played.edge(0, 1)
    for difference in (played.Y[1], played.Y[2], played.Y[3]):  # public
        assert difference is not None
        edge = played.suite.add(edge, difference)
    assert edge == played.edge(0, 3), "one edge and the transcript give all others"
    public = [function for name, function in inspect.getmembers(ring, inspect.isfunction) if not name.startswith("_")]
    annotated = {
        str(function.__annotations__.get("return")) for function in public if function.__module__ == ring.__name__
    }
    assert not any("Point" in kind or "Iterator" in kind for kind in annotated), annotated


@both_suites
def test_GR12_five_multiplications_whatever_n(suite: int) -> None:
    counts = []
    for n in (3, 25):
        played = Played(suite, n)
        metered = MeteredSuite(SUITES[suite])
        metered.base_mul(played.x[0])
        ring.contribute(metered, 0, played.x[0], played.X, TH1, SeededEntropy(b"hedge"))
        ring.group_secret(metered, 0, played.x[0], played.X, played.Y)
        counts.append(metered.counts)
        assert metered.counts["mul"] + metered.counts["base_mul"] == 5
        assert metered.counts["add"] == n + 1
