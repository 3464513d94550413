"""Attacks by the gateway of a ring: members of its own, reading along, two stories (B-09, B-13, B-16)."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from itertools import chain, combinations
from typing import Final

from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.engine.base import Refused
from keymote.engine.group.faces import Amend, Rekey
from keymote.errors import KeymoteError
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held
from keymote.lab.attacks.ring_stage import (
    BUNDLE,
    R1,
    R3,
    SIZES,
    different_keys,
    in_ring_order,
    inject,
    rekeyed,
    settled,
    signing,
    stopped,
    type_of,
    unformed,
)
from keymote.lab.published.group import Sender, hashed, meters, opened
from keymote.lab.simulator import EPOCH, Datagram
from keymote.lab.street import GW, Street
from keymote.wire.group import RELAY, Bundle, RosterClaims, Round1Claims, Round3, StartClaims
from keymote.wire.group_fields import Cause
from keymote.wire.group_signed import read, write
from keymote.wire.registry import peek

NOW: Final = 1_000_000

# ------------------------------------------------------------------ B-09


def _one_more(effort: Effort) -> Outcome:
    """Put a key of the gateway's own on the "list of authenticated keys"."""
    all_, gateway = meters(effort.entropy("B-09"), "A", "B", "C")
    (rogue,), _ = meters(effort.entropy("B-09 rogue"), "R")
    keys = gateway.collect([meter.announce(NOW) for meter in all_], NOW) | {"R": rogue.announce(NOW).public}
    Y = {meter.name: meter.contribution(keys) for meter in (*all_, rogue)}
    if rogue.ring_key(keys, Y) != all_[0].ring_key(keys, Y):
        return held("the rogue meter has another key")
    return Succeeds("A, B and C agree with a fourth meter that only the gateway knows")


def _stuffed(effort: Effort) -> Outcome:
    """Sign a roster with a rogue meter on it, without the authority's delegation."""
    made = settled(effort, 3, delegated=False)
    made.add("rogue")
    gw = made.people[GW]
    entries = tuple(sorted(made.people[name].entry for name in made.names))
    inject(made, write(gw.signing, RosterClaims(made.gid, 9, entries, None, None), kid=gw.kid), "m0", "m1", "m2")
    cell = made.cell("m0")
    assert cell is not None and cell.lasting.held is not None
    if cell.lasting.held.position(made.people["rogue"].kid) is not None:
        return Succeeds("m0 holds a roster with the rogue meter on it")
    return Fails(*stopped(made, "m0"))


def _hidden(effort: Effort) -> Outcome:
    """Stand on the roster of a ring that is led as a relay."""
    made = settled(effort, 3)
    gw = made.people[GW]
    roster = made.roster([*made.names, GW])  # even the authority was talked into it
    held_by = in_ring_order(made)[0]
    inject(made, roster)
    cell = made.cell(held_by)
    assert cell is not None and cell.lasting.held is not None
    claims = StartClaims(made.gid, 9, 0, RELAY, 4, cell.lasting.held.digest, bytes(16), EPOCH, 0, Cause(0))
    rounds = made.sim.messages[held_by, R1]
    inject(made, write(gw.signing, claims, kid=gw.kid))
    if made.sim.messages[held_by, R1] > rounds:
        return Succeeds(f"{held_by} takes part in a relay's ring in which the relay is a member")
    refusals = made.sim.heard(held_by, Refused)
    return Fails(refusals[-1].code.name, f"{held_by}: {refusals[-1].what}") if refusals else held("nothing happened")


# ------------------------------------------------------------------ B-13


def _edge_coordinated(effort: Effort) -> Outcome:
    """Read along: "the gateway collects signed public keys ... and computes the group key locally" (6.2)."""
    all_, gateway = meters(effort.entropy("B-13"), "A", "B", "C", "gateway")
    keys = gateway.collect([meter.announce(NOW) for meter in all_], NOW)
    Y = {meter.name: meter.contribution(keys) for meter in all_}
    sent = Sender(all_[0].ring_key(keys, Y)).seal(b"load 3.2 kW")
    if opened(all_[3].ring_key(keys, Y), *sent) != b"load 3.2 kW":
        return held("the gateway cannot read")
    return Succeeds("the gateway of the microgrid reads every meter, and nothing tells the meters whether it does")


def _ten_epochs(effort: Effort) -> Outcome:
    """Lead ten epochs as a relay, then put one's own credential on the roster with a meter that runs under it; look into
    the memory and on the disk of both.
    """
    made = settled(effort, 3)
    secrets: set[bytes] = set()
    for _ in range(10):
        made.ring(Rekey())
        made.run(30.0)
        secrets |= _of_the_ring(made)
        made.sim.run_for(11.0)
    made.seat("beside", made.people[GW])
    made.provision("beside")
    try:
        made.ring(Amend(add=(made.people[GW].entry,), reason=2))
        made.sim.run_for(30.0)
        secrets |= _of_the_ring(made)
    except KeymoteError:
        pass  # her own engine does not lead such a ring
    hosts = [made.sim.hosts[name] for name in (GW, "beside")]
    cells = [_octets(tuple(host.cells.values())) for host in hosts]
    memory = b"|".join([*chain(*cells), *(row.record for host in hosts for row in host.disk.values())])
    if found := [secret for secret in secrets if secret in memory]:
        return Succeeds(f"the relay's memory holds {len(found)} secrets of the ring")
    return held(
        f"none of {len(secrets)} keys, ring secrets and edges of eleven epochs is in the relay's memory or on its disk"
    )


def _of_the_ring(made: Street) -> set[bytes]:
    """Return MK, all edges and GK_pub (at n = 3) of the newest epoch, from what only the members know."""
    keys = {epoch.group.key.expose() for name in made.names if (epoch := made.active(name)) is not None}
    run = made.lead().run
    if run is None:
        return keys
    said = [read(d.data, Round1Claims, SIZES).claims for d in made.sim.air if type_of(d) == R1]
    x_of = {made.suite.base_mul(x): x for x in map(Secret, made.witness.scalars)}
    x = {each.idx: x_of[made.suite.check(each.X)] for each in said if each.sid8 == run.sid8}
    pairs = [made.suite.mul(x[i], made.suite.base_mul(x[j])) for i, j in combinations(sorted(x), 2)]
    return keys | set(pairs) | ({sha256(b"".join(pairs))} if run.n == len(x) == 3 else set())


def _octets(value: object) -> Iterator[bytes]:
    """Yield every byte string inside a cell, secrets included."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, Secret):
        yield value.expose()
    elif is_dataclass(value) and not isinstance(value, type):
        for entry in fields(value):
            yield from _octets(getattr(value, entry.name))
    elif isinstance(value, Mapping):
        yield from _octets((*value.keys(), *value.values()))
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _octets(each)


# ------------------------------------------------------------------ B-16


def _two_lists(effort: Effort) -> Outcome:
    """Hand one list to A and B and another to C and D, under one version number."""
    all_, gateway = meters(effort.entropy("B-16"), *"ABCD")
    keys = gateway.collect([meter.announce(NOW) for meter in all_], NOW)
    halves = {"A": keys["A"], "B": keys["B"]}, {"C": keys["C"], "D": keys["D"]}
    if hashed(halves[0].values()) == hashed(halves[1].values()):
        return held("one group")
    gateway.version = 7
    return Succeeds("A and B agree on one key, C and D on another, and both call it version 7")


def _two_rounds(effort: Effort) -> Outcome:
    """Show one member another R1 than the others, by unicast."""
    made = unformed(effort, 5, multicast=False, delegated=False)
    order = in_ring_order(made)
    victim, apart = order[0], 2
    point = made.suite.base_mul(made.suite.random_scalar(made.entropy.fork("other")))

    def other(sent: Datagram) -> list[Datagram]:
        if type_of(sent) != BUNDLE or sent.source != GW or sent.target != victim:
            return [sent]
        bundle = Bundle.decode(sent.data, SIZES)
        if peek(bundle.datagrams[0])[0] != R1:
            return [sent]
        run = made.lead().run
        said = list(bundle.datagrams)
        claims = replace(read(said[apart], Round1Claims, SIZES).claims, X=point)
        assert run is not None
        said[apart] = write(signing(made, GW), claims, run.sid)  # V1 does not look at signatures of R1
        return [replace(sent, data=Bundle(bundle.of, tuple(said)).encode())]

    made.sim.adversary = other
    made.form()
    made.sim.run_for(30.0)
    if different_keys(made) > 1:
        return Succeeds(f"{different_keys(made)} keys in one epoch")
    return Fails(*stopped(made, victim))


def _hasty_commit(effort: Effort) -> Outcome:
    """Commit although one member has confirmed nothing: zeros stand in the place of its R3."""
    made = settled(effort, 3, delegated=False)
    dropped = "m2"

    def hasty(sent: Datagram) -> list[Datagram]:
        if type_of(sent) == R3 and sent.source == dropped:
            idx = made.lead().lasting.held.position(made.people[dropped].kid)
            run = made.lead().run
            assert run is not None and idx is not None
            return [replace(sent, data=Round3(run.sid8, idx, bytes(16)).encode())]
        return [sent]

    before = {name: made.active(name) for name in made.names}
    rekeyed(made, hasty, 8.0)
    if made.active("m0") != before["m0"]:
        return Succeeds(f"m0 is active in an epoch that {dropped} has not confirmed")
    return Fails(*stopped(made, "m0"))


ATTACKS = (
    Attack(
        "B-09",
        "Roster stuffed",
        "N",
        _one_more,
        (
            Attempt("rogue meter on the gateway's roster", "E_ROSTER", _stuffed),
            Attempt("relay on its own roster", "E_ROSTER", _hidden),
        ),
    ),
    Attack(
        "B-13",
        "Gateway reads along",
        "N",
        _edge_coordinated,
        (Attempt("relay looks into its memory", "property", _ten_epochs),),
    ),
    Attack(
        "B-16",
        "Two stories by the gateway",
        "N",
        _two_lists,
        (
            Attempt("another R1 for one member", "E_R2SIG", _two_rounds),
            Attempt("COMMIT without all confirmations", "E_CONFIRM", _hasty_commit),
        ),
    ),
)
