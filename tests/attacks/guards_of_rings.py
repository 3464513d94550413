"""Guards of groups: signatures over the run, proofs, sums, confirmations, epochs, rosters."""
# ruff: noqa: SLF001  # a guard is private by its nature

from collections.abc import Sequence
from typing import Any

import pytest

from keymote.crypto.kdf import lexp, sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, Suite
from keymote.engine.base import replace
from keymote.engine.group import (
    aggregation,
    belonging,
    entering,
    gateway,
    leading,
    member,
    participation,
    repairing,
    ring,
    root,
    root_key,
    rounds,
    traffic,
    wrapping,
)
from keymote.engine.group.charter import Charter, next_roster, spoken_by
from keymote.engine.group.epoch import GroupEpoch, SenderMaterial
from keymote.engine.group.masks import MaskScalar
from keymote.engine.group.payload import ResourcePolicy
from keymote.engine.group.ring_states import Patience
from keymote.engine.group.root_faces import RatchetRoot, root_gateway_of
from keymote.engine.group.timing import Asking
from keymote.lab.attacks import ring_hierarchy
from keymote.lab.city import City
from keymote.wire.group_signed import Claimed
from keymote.wire.gsec import binding, external_aad


def no_signatures(patch: pytest.MonkeyPatch) -> None:
    """Take signatures of rounds for good, whoever made them, and over whatever."""
    patch.setattr(Claimed, "verified_by", lambda self, _verifier, _ctx=b"": self.claims)


def no_proofs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(leading, "prove2", lambda *_: None)
    patch.setattr(participation, "prove2", lambda *_: None)


def no_signatures_no_proofs(patch: pytest.MonkeyPatch) -> None:
    no_signatures(patch)
    no_proofs(patch)


# ------------------------------------------------------------------ epochs and rosters


def any_epoch(patch: pytest.MonkeyPatch) -> None:
    """Take every START that the gateway has ever signed."""

    def authentic(cell: Any, claimed: Any, party: Any, _now: Any) -> Any:
        charter = cell.lasting.charter
        return spoken_by(claimed, charter.gw_kid, party.keys(charter.suite, charter.gw_pk))

    patch.setattr(entering, "authentic_start", authentic)


def any_roster_version(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        belonging,
        "next_roster",
        lambda charter, _held, data, keys, wall: next_roster(charter, None, data, keys, wall),
    )


def first_come(patch: pytest.MonkeyPatch) -> None:
    """Believe the first R1 that names a position, and look at no other one."""
    hear1 = rounds.hear1

    def hear(run: Any, hall: Any, data: bytes, *rest: Any) -> Any:
        claims, _, _ = rounds._read1(run, data)
        return hear1(run, hall, data, *rest) if hall[claims.idx] is None else None

    for module in (participation, leading):
        patch.setattr(module, "hear1", hear)


# ------------------------------------------------------------------ sums, confirmations, patience


def no_confirmation(patch: pytest.MonkeyPatch) -> None:
    """Believe every COMMIT that the gateway signed."""
    patch.setattr(participation, "equal", lambda _a, _b: True)


def no_sum_no_confirmation(patch: pytest.MonkeyPatch) -> None:
    """Walk round the ring without looking whether it closes."""

    def walk(suite: Suite, idx: int, x: Secret, X: Sequence[Point], Y: Sequence[Any]) -> Sequence[Point]:
        edge = suite.mul(x, X[idx - 1])
        return [edge, *suite.partial_sums(edge, [*Y[idx:], *Y[:idx]][:-1])]

    patch.setattr(ring, "_walk", walk)
    no_confirmation(patch)


def copies_allowed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ring, "distinct", lambda _points: True)


def endless_patience(patch: pytest.MonkeyPatch) -> None:
    """Wait for the silent for ever, as "once all keys are available" reads."""

    def wait(cell: Any, stage: Any, _missing: Any, _party: Any, now: Any, _entropy: Any) -> Any:
        later = Patience(now.mono + 1e6, Asking(now.mono + 1e6))
        return replace(cell, stage=replace(stage, patience=later)), ()

    patch.setattr(gateway, "given_up", wait)


def no_repair(patch: pytest.MonkeyPatch) -> None:
    """Never ask for what was missed."""
    for module in (member, repairing):
        patch.setattr(module, "to_gateway", lambda _cell, _data: [])


# ------------------------------------------------------------------ what a key is made of


def own_edges_only(patch: pytest.MonkeyPatch) -> None:
    """Hash the two values that a member knows by itself, as the walkthrough does."""

    def own(suite: Suite, idx: int, x: Secret, X: Sequence[Point], _Y: Sequence[Any]) -> Secret:
        n = len(X)
        return Secret(sha256(b"".join(suite.mul(x, X[other % n]) for other in sorted({(idx - 1) % n, (idx + 1) % n}))))

    patch.setattr(ring, "group_secret", own)


def certified_x(patch: pytest.MonkeyPatch) -> None:
    """Take the scalar of the certified signature key for x."""
    begin = entering.begin

    def static(cell: Any, part: Any, party: Any, now: Any, entropy: Any) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(type(part.run.suite), "random_scalar", lambda _self, _entropy: party.signing.seed)
            return begin(cell, part, party, now, entropy)

    patch.setattr(entering, "begin", static)


def nulls_anywhere(patch: pytest.MonkeyPatch) -> None:
    """Read a null as some point, and a point where none belongs as null."""

    def sound(run: Any, claimed: Any) -> Any:
        Y = None if run.n == 2 else Point(claimed.claims.Y or run.suite.generator)
        return rounds.Heard2(claimed.payload, Y, claimed.claims.dleq)

    for module in (leading, participation):
        patch.setattr(module, "sound2", sound)
    no_proofs(patch)


# ------------------------------------------------------------------ gateways


def any_gateway_enlists(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Charter, "may_enlist", lambda *_: True)


def any_mode(patch: pytest.MonkeyPatch) -> None:
    """Let a relay stand on its own roster."""
    for module in (entering, gateway):
        patch.setattr(module, "check_mode", lambda *_: None)


def no_signatures_no_confirmation(patch: pytest.MonkeyPatch) -> None:
    no_signatures_no_proofs(patch)
    no_confirmation(patch)


# ------------------------------------------------------------------ payload


def unsigned_commands(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ResourcePolicy, "must_sign", lambda *_: False)


def any_countersignature(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(traffic, "check_countersignature", lambda *_: None)


def numbers_from_zero(patch: pytest.MonkeyPatch) -> None:
    """Go on with the numbers of a fresh epoch after a restart."""
    patch.setattr(traffic.Traffic, "resume", classmethod(lambda cls, epoch, _reserved, _floors: cls.begin(epoch)))


def nothing_bound(patch: pytest.MonkeyPatch) -> None:
    """Leave the resource, and whether a record is signed, out of what its tag covers."""

    def aad(bound: bytes, seq: int, _resource: str, **_signed: bool) -> bytes:
        return external_aad(bound, seq, "", signed=True)

    patch.setattr(traffic, "external_aad", aad)


def one_sender_key(patch: pytest.MonkeyPatch) -> None:
    """Derive a sender's key from its kid, whatever the epoch and the group."""

    def material(self: GroupEpoch, place: int) -> SenderMaterial:
        kid = self.senders[place][0]
        made = lexp(Secret(bytes(32)), "B/snd", kid, 48).expose()
        iv = made[32 : 32 + self.suite.payload.nonce_size]
        return SenderMaterial(Secret(made[:32]), Secret(iv), binding(self.suite.id, bytes(8), 0, kid))

    patch.setattr(GroupEpoch, "material", material)


# ------------------------------------------------------------------ masks


def ring_scalars_for_masks(patch: pytest.MonkeyPatch) -> None:
    """Save a multiplication: use x_i for m_i, so that seeds between neighbours are ring edges."""
    drawn = iter(range(1000))

    def draw(_cls: Any, suite: Any, entropy: Any) -> MaskScalar:
        x = Secret(suite.witness.scalars[next(drawn)])
        return MaskScalar(x, suite.base_mul(x), Secret(entropy.draw(32)))

    patch.setattr(MaskScalar, "draw", classmethod(draw))


def every_bitmap(patch: pytest.MonkeyPatch) -> None:
    """Answer a further bitmap of a period like the first one."""
    hear_present = aggregation.hear_present

    def hear(state: Any, signing: Any, data: bytes) -> Any:
        answered = isinstance(state, aggregation.Agreeing | aggregation.Revealed)
        return hear_present(aggregation.Reported(state.ready, state.t, b"") if answered else state, signing, data)

    patch.setattr(aggregation, "hear_present", hear)


def revealed_at_once(patch: pytest.MonkeyPatch) -> None:
    """Believe the gateway's bitmap and reveal at once, as the words of Triad-1 8 alone would have it."""
    hear_present = aggregation.hear_present

    def hear(state: Any, signing: Any, data: bytes) -> Any:
        outcome = hear_present(state, signing, data)
        agreeing = outcome.state
        return outcome._replace(sends=(aggregation._reveal(agreeing, signing),))

    patch.setattr(aggregation, "hear_present", hear)


# ------------------------------------------------------------------ hierarchy


def wraps_under_no_key(patch: pytest.MonkeyPatch) -> None:
    """Wrap for whoever knows the run, not for whoever has its ring's key."""
    wrap_key = root_key._wrap_key
    patch.setattr(root_key, "_wrap_key", lambda _mk, *names: wrap_key(Secret(bytes(32)), *names))


def steps_instead_of_fresh_keys(patch: pytest.MonkeyPatch) -> None:
    """Answer an eviction as a join is answered: by one step of the root key."""

    def refresh(made: City, _reason: int) -> None:
        made.sim.command(made.top.gateway.name, root_gateway_of(made.gid_root), RatchetRoot())
        made.await_root()

    patch.setattr(City, "refresh", refresh)


def steps_that_go_nowhere(patch: pytest.MonkeyPatch) -> None:
    for module in (root, ring_hierarchy):
        patch.setattr(module, "ratcheted", lambda rk, _gid_root, _e: rk)


def any_root_key(patch: pytest.MonkeyPatch) -> None:
    """Take what a WRAP holds without comparing it with ROOT."""
    patch.setattr(wrapping, "equal", lambda _a, _b: True)


def idle_deputies(patch: pytest.MonkeyPatch) -> None:
    for name in ("DEPUTY_WAITS_S", "DEPUTY_ANSWERS_S"):
        patch.setattr(root, name, 1e9)
