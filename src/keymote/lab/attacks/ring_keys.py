"""Attacks on what a group key is made of: a formula that nobody can compute, keys that last, rings of two (B-01, B-06, B-07)."""

from dataclasses import replace
from itertools import combinations
from typing import Final

from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.engine.group import ring
from keymote.engine.group.faces import MemberBlamed, Rekey
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Outcome, Succeeds, held, refused
from keymote.lab.attacks.ring_stage import (
    R1,
    R2,
    SIZES,
    in_ring_order,
    run_of,
    signing,
    type_of,
    unformed,
)
from keymote.lab.attacks.stage import secrets_in
from keymote.lab.published.group import formula, hashed, meters
from keymote.lab.simulator import Datagram
from keymote.lab.street import GW, Street, street
from keymote.wire.fields import sizes_of
from keymote.wire.group import Round1Claims, Round2Claims
from keymote.wire.group_signed import read, write

NOW: Final = 1_000_000

# ------------------------------------------------------------------ B-01


def _walkthrough(effort: Effort) -> Outcome:
    """Do what the walkthrough of section 3 says, as A, as B and as C."""
    all_, gateway = meters(effort.entropy("B-01"), "A", "B", "C")
    keys = gateway.collect([meter.announce(NOW) for meter in all_], NOW)
    found = {meter.walkthrough_key(keys) for meter in all_}
    if len(found) == 1 or formula([meter.x for meter in all_]) in found:
        return held("somebody has the key of the formula")
    return Succeeds(
        "A, B and C hold three different keys, none of them that of the formula, which wants everybody's secrets"
    )


def _formula_at_three(effort: Effort) -> Outcome:
    """Look for members who cannot compute H(K_AB ‖ K_AC ‖ K_BC), or who come to different keys."""
    made = unformed(effort, 3)
    made.form()
    made.sim.run_for(20.0)
    order = in_ring_order(made)
    epochs = [epoch for name in order if (epoch := made.active(name)) is not None]
    keys = {epoch.group.key.expose() for epoch in epochs}
    if len(epochs) != len(order) or len(keys) != 1:
        return Succeeds(f"three members, {len(keys)} keys")
    X = [read(_said(made, R1, name), Round1Claims, SIZES).claims.X for name in order]
    x = {made.suite.base_mul(secret): secret for secret in map(Secret, made.witness.scalars)}
    pairs = [made.suite.mul(x[made.suite.check(a)], made.suite.check(b)) for a, b in combinations(X, 2)]
    th2 = ring.th2_of(epochs[0].th1, [read(_said(made, R2, name), Round2Claims, SIZES).payload for name in order])
    if ring.master_key(Secret(sha256(b"".join(pairs))), th2).expose() not in keys:
        return Succeeds("the key is not that of the formula")
    return held("all three hold the key made of H(K_AB ‖ K_AC ‖ K_BC), byte for byte")


def _said(made: Street, mt: int, name: str) -> bytes:
    return next(d.data for d in made.sim.air if d.source == name and type_of(d) == mt)


# ------------------------------------------------------------------ B-06


def _certified_keys(effort: Effort) -> Outcome:
    """Record two runs with certified keys in ECDH, and read one meter's key later."""
    all_, gateway = meters(effort.entropy("B-06"), "A", "B", "C", certified=True)
    runs = []
    for ts in (NOW, NOW + 86400):
        keys = gateway.collect([meter.announce(ts) for meter in all_], ts)
        Y = {meter.name: meter.contribution(keys) for meter in all_}
        runs.append((keys, Y, all_[1].ring_key(keys, Y)))
    thief = all_[0]  # the stolen meter's certified key is all that she needs, and it is still there
    opened = sum(thief.ring_key(keys, Y) == key for keys, Y, key in runs)
    if opened != len(runs):
        return held("old keys stay closed")
    return Succeeds(f"one stolen meter opens {opened} of {len(runs)} recorded runs")


def _everything_later(effort: Effort) -> Outcome:
    """Record an epoch; when the next one has replaced it, steal every node with all that is in its memory and on its disk."""
    made = street(3, suite=17, seed=effort.seed)
    made.run(30.0)
    first = made.active("m0")
    assert first is not None
    recorded = list(made.sim.air)
    made.sim.run_for(15.0)
    made.ring(Rekey())
    made.run(30.0)
    made.sim.run_for(61.0)
    found = set(_loot(made))
    if first.group.key.expose() in found:
        return Succeeds("the key of the epoch before is still in a memory")
    sizes = sizes_of(17)
    X = [read(d.data, Round1Claims, sizes).claims.X for d in recorded if type_of(d) == R1]
    opened = [point for point in X for secret in found if _is_secret_of(made, secret, point)]
    if opened:
        return Succeeds(f"what was stolen is the x of {len(opened)} recorded contributions, and so the old key")
    return held(f"{len(found)} stolen secrets, all signature keys among them, and no x of the {len(X)} recorded R1")


def _loot(made: Street) -> list[bytes]:
    """Return every secret that is anywhere now: cells, stored records (by their cells), signature keys."""
    cells = [cell for host in made.sim.hosts.values() for cell in host.cells.values()]
    return [secret for cell in cells for secret in secrets_in(cell)] + [
        person.signing.seed.expose() for person in (*made.people.values(), made.ra)
    ]


def _is_secret_of(made: Street, secret: bytes, point: bytes) -> bool:
    in_range = len(secret) == 32 and 0 < int.from_bytes(secret, "big") < made.suite.order
    return in_range and made.suite.base_mul(Secret(secret)) == point


# ------------------------------------------------------------------ B-07


def _two_and_one(effort: Effort) -> Outcome:
    """Run the formula and the ring with two meters, and with one."""
    two, gateway = meters(effort.entropy("B-07"), "A", "B")
    keys = gateway.collect([meter.announce(NOW) for meter in two], NOW)
    (alone, *_), nobody = two, hashed(())
    only = {alone.name: keys[alone.name]}
    Y = [meter.contribution(keys) for meter in two]
    if Y != [None, None] or alone.walkthrough_key(only) != nobody:
        return held("nothing degenerates")
    return Succeeds(
        f"with two meters both Y are O; with one the key is H() = {nobody.hex()[:8]}.., which everybody knows"
    )


def _nulls(n: int, name: str) -> Attempt:
    """Sign an R2 with nulls in a ring of three, or with a Y in a ring of two."""

    def run(effort: Effort) -> Outcome:
        made = unformed(effort, n, delegated=False)
        cheat, victim = "m0", "m1"
        point = made.suite.base_mul(made.suite.random_scalar(made.entropy.fork("Y")))

        def lie(sent: Datagram) -> list[Datagram]:
            if type_of(sent) != R2 or sent.source != cheat:
                return [sent]
            claims, phase = read(sent.data, Round2Claims, SIZES).claims, run_of(made, cheat)
            nothing, something = (None, None), (bytes(point), b"\x01" + bytes(63))
            Y, dleq = nothing if n > 2 else something
            lied = Round2Claims(claims.sid8, claims.idx, Y, dleq)
            return [replace(sent, data=write(signing(made, cheat), lied, phase.th1))]

        made.sim.adversary = lie
        made.form()
        made.sim.run_for(2.0)
        blamed = made.sim.heard(GW, MemberBlamed)
        if blamed:
            return refused(blamed[0].code, f"the gateway blames {cheat} for it")
        return Succeeds(f"the gateway hands it on as the contribution of {cheat}, and {victim} reckons with it")

    return Attempt(name, "E_FORMAT", run)


ATTACKS = (
    Attack(
        "B-01",
        "A key that nobody can compute",
        "-",
        _walkthrough,
        (Attempt("formula at n = 3", "property", _formula_at_three),),
    ),
    Attack(
        "B-06",
        "Certified keys in the key exchange",
        "L",
        _certified_keys,
        (Attempt("every secret of the next epoch", "property", _everything_later),),
    ),
    Attack(
        "B-07",
        "Rings of two and of one",
        "-",
        _two_and_one,
        (_nulls(3, "nulls in a ring of three"), _nulls(2, "a Y in a ring of two")),
    ),
)
