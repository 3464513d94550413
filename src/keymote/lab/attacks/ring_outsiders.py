"""Attacks from outside a ring: keys exchanged, rounds and runs replayed, a member carried into another group, R1c forged
(B-02, B-05, B-08, B-10, B-23).
"""

from dataclasses import replace
from typing import Any, Final

from keymote.crypto.secret import Secret
from keymote.engine.base import Refused
from keymote.engine.group.faces import Amend, Level, Rekey
from keymote.errors import ErrorCode
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held
from keymote.lab.attacks.ring_stage import (
    R1,
    R1C,
    R2,
    SIZES,
    Part,
    Puppeteer,
    in_ring_order,
    inject,
    known,
    rekeyed,
    said,
    settled,
    signing,
    stopped,
    type_of,
    unformed,
)
from keymote.lab.published.group import Meter, hashed, meters
from keymote.lab.simulator import Datagram
from keymote.lab.street import Street
from keymote.wire.cose import Sign1
from keymote.wire.group import Round1, Round1Claims, Round1Compact, Round2, Round2Claims
from keymote.wire.group_signed import read
from keymote.wire.message import Body

NOW: Final = 1_000_000

# ------------------------------------------------------------------ B-02


def _list_of_the_gateway(effort: Effort) -> Outcome:
    """Let the gateway hand on another list than it got: nobody can tell, since nobody but the gateway saw signatures."""
    (a, b, c), gateway = meters(effort.entropy("B-02"), "A", "B", "C")
    keys = gateway.collect([meter.announce(NOW) for meter in (a, b, c)], NOW)
    (mallory,), _ = meters(effort.entropy("B-02 mallory"), "M")
    M = mallory.announce(NOW).public
    for_ab, for_c = keys | {"C": M}, keys | {"A": M, "B": M}
    both = mallory.shared(keys["A"]) == a.shared(for_ab["C"]) and mallory.shared(keys["C"]) == c.shared(for_c["A"])
    Y = {meter.name: meter.contribution(for_ab) for meter in (a, b)}
    Y["C"] = Meter("C", effort.entropy("unused"), mallory.identity, x=mallory.x).contribution(for_ab)
    hers = Meter("C", effort.entropy("unused"), mallory.identity, x=mallory.x).ring_key(for_ab, Y)
    if not both or a.ring_key(for_ab, Y) != hers or b.ring_key(for_ab, Y) != hers:
        return held("Mallory shares no key")
    return Succeeds(
        "A and B share their group key with Mallory, who stands in C's place; C shares its pairs with her too"
    )


def _exchanged_x(level: Level, by: str) -> Attempt:
    """Speak for m0 with an x and a signature key of one's own."""

    def run(effort: Effort) -> Outcome:
        made = unformed(effort, 3, level=level, delegated=False)
        entropy = effort.entropy("B-02 mallory")
        key = made.suite.generate_signing_key(entropy)
        return _played(made, {"m0": known(made, made.suite.random_scalar(entropy), key)})

    return Attempt(f"X of m0 exchanged, members at {level.name}", by, run)


def _played(made: Street, parts: dict[str, Part], puppeteer: type[Puppeteer] = Puppeteer) -> Outcome:
    """Let a first run be played with these puppets and say whether an honest member takes part in it."""
    mallory = puppeteer(made, parts)
    honest = [name for name in made.names if name not in parts]
    made.sim.adversary = mallory
    made.form()
    made.sim.run_for(20.0)
    if mallory.knows_key_of(*honest):
        return Succeeds(f"{honest[0]} is active under a key that Mallory derived in the place of {', '.join(parts)}")
    name, what = stopped(made, honest[0])
    return Fails(name, what)


# ------------------------------------------------------------------ B-05


def _old_announcement(effort: Effort) -> Outcome:
    """Show an announcement of the last run, whose x has leaked, in this one: it is signed and fresh, field by field."""
    (a, b, c), gateway = meters(effort.entropy("B-05"), "A", "B", "C")
    old = c.announce(NOW)
    leaked = c.x
    keys = gateway.collect([a.announce(NOW + 60), b.announce(NOW + 60), old], NOW + 60)
    if keys.get("C") != old.public:
        return held("the gateway refuses it")
    c.x = leaked
    Y = {meter.name: meter.contribution(keys) for meter in (a, b, c)}
    if a.ring_key(keys, Y) != c.ring_key(keys, Y):
        return held("the keys differ")
    return Succeeds("an announcement of a minute ago is taken in the next run; whoever knows its x has the new key")


def _recorded(envelope: Sign1) -> Any:
    """Return how to put a recorded signature round other claims."""

    def sign(claims: Body, _ctx: bytes) -> bytes:
        kind: Any = Round1 if isinstance(claims, Round1Claims) else Round2
        sent: bytes = kind(replace(envelope, payload=claims.encode())).encode()
        return sent

    return sign


def _old_round(level: Level, by: str) -> Attempt:
    """Bring R1 and R2 of m0 from an old run into the next one; its x has leaked meanwhile."""

    def run(effort: Effort) -> Outcome:
        made = settled(effort, 3, level=level, delegated=False)
        x = _leaked_x(made, "m0")
        first = read(said(made, R1, "m0"), Round1Claims, SIZES).envelope
        second = read(said(made, R2, "m0"), Round2Claims, SIZES).envelope

        def sign(claims: Body, ctx: bytes) -> bytes:
            return bytes(_recorded(first if isinstance(claims, Round1Claims) else second)(claims, ctx))

        mallory = Puppeteer(made, {"m0": Part(made.suite.base_mul(x), sign, x)})
        rekeyed(made, mallory, 20.0)
        if mallory.knows_key_of("m1", "m2"):
            return Succeeds("the old contribution of m0 makes a new key, which Mallory knows")
        return Fails(*stopped(made, "m1"))

    return Attempt(f"old rounds of m0, members at {level.name}", by, run)


def _leaked_x(made: Street, name: str) -> Secret:
    """Return the x behind a member's newest R1, as if its memory had been read in time."""
    X = read(said(made, R1, name), Round1Claims, SIZES).claims.X
    return next(x for x in map(Secret, made.witness.scalars) if made.suite.base_mul(x) == X)


# ------------------------------------------------------------------ B-08


def _imported_member(effort: Effort) -> Outcome:
    """Carry B's round 1 and 2 from one group into another: its neighbours there are corrupted and repeat their keys."""
    (a, b, c), gateway = meters(effort.entropy("B-08"), "A", "B", "C")
    keys = gateway.collect([meter.announce(NOW) for meter in (a, b, c)], NOW)
    Y_b = b.contribution(keys)
    other = {"A": keys["A"], "B": keys["B"], "C": keys["C"]}
    Y = {"A": a.contribution(other), "B": Y_b, "C": c.contribution(other)}
    if a.ring_key(other, Y) != c.ring_key(other, Y):
        return held("the other group gets no key")
    return Succeeds("a second group holds B as a member by its recorded words; B never heard of it")


def _carried_over(effort: Effort) -> Outcome:
    """Make the member at place 0 of group A belong to group B, with its neighbours corrupted in both."""
    made = settled(effort, 4, delegated=False)
    victim, left, honest, right = (in_ring_order(made)[at] for at in (0, 1, 2, 3))
    recorded = {name: said(made, R1, name) for name in (victim, left, right)}
    old1 = read(recorded[victim], Round1Claims, SIZES)
    old2 = read(said(made, R2, victim), Round2Claims, SIZES)

    def sign(claims: Body, ctx: bytes) -> bytes:
        return bytes(_recorded(old1.envelope if isinstance(claims, Round1Claims) else old2.envelope)(claims, ctx))

    assert old2.claims.Y is not None and old2.claims.dleq is not None
    imported = (old2.claims.Y, old2.claims.dleq)
    parts = {
        left: known(made, _leaked_x(made, left), signing(made, left)),
        right: known(made, _leaked_x(made, right), signing(made, right)),
        victim: Part(made.suite.check(old1.claims.X), sign, None, lambda _: imported),
    }
    other = replace(made, gid=b"\x68" * 8, ver=0, names=list(made.names))
    other.provision(honest)
    mallory = Puppeteer(other, parts)
    other.sim.adversary = mallory
    other.form()
    other.sim.run_for(20.0)
    if mallory.knows_key_of(honest):
        return Succeeds(f"{honest} is active in a second group with {victim}, which never heard of it")
    return Fails(*_refusal_of(other, honest, ErrorCode.E_R2SIG))


def _refusal_of(made: Street, name: str, code: ErrorCode) -> tuple[str, str]:
    """Return this refusal of a node if it has shown it, else the first that it has shown."""
    cell = made.cell(name)
    seen, what = stopped(made, name)
    if made.sim.hosts[name].refused["membership", code] and (cell is None or cell.lasting.active is None):
        return code.name, f"{name} refuses words that were signed for another group"
    return seen, what


# ------------------------------------------------------------------ B-10


def _old_version(effort: Effort) -> Outcome:
    """Play a whole run back after an eviction: "key version identifiers" are numbers in unsigned metadata."""
    (a, b, c), gateway = meters(effort.entropy("B-10"), "A", "B", "C")
    old = [meter.announce(NOW) for meter in (a, b, c)]
    keys = gateway.collect(old, NOW)
    gateway.version = 2  # C is evicted, a new run was made
    again = gateway.collect(old, NOW + 120)
    if hashed(again.values()) != hashed(keys.values()):
        return held("the old run is refused")
    return Succeeds("the gateway takes the list of version 1 again two minutes later, with the evicted meter on it")


def _old_run(*, reboot: bool) -> Attempt:
    """Play START of an older epoch again."""

    def run(effort: Effort) -> Outcome:
        made = settled(effort, 3)
        old = made.lead().lasting.start
        made.ring(Rekey())
        made.run(20.0)
        made.sim.run_for(61.0)
        if reboot:
            made.sim.reboot("m0")
            made.sim.run_for(0.2)
        rounds = made.sim.messages["m0", R1]
        before = made.cell("m0")
        assert before is not None
        inject(made, old, "m0")
        cell = made.cell("m0")
        assert cell is not None
        if made.sim.messages["m0", R1] > rounds and cell.lasting.seen < before.lasting.seen:
            return Succeeds(f"m0 begins run {cell.lasting.seen} again after {before.lasting.seen}")
        return Fails(*_last_refusal(made, "m0"))

    return Attempt("old START after a reboot" if reboot else "old START", "E_EPOCH", run)


def _last_refusal(made: Street, name: str) -> tuple[str, str]:
    refusals = made.sim.heard(name, Refused)
    return (refusals[-1].code.name, f"{name}: {refusals[-1].what}") if refusals else ("nothing", "nothing was refused")


def _old_roster(effort: Effort) -> Outcome:
    """Bring an evicted member back by an old roster that the authority really signed."""
    made = settled(effort, 4)
    old = made.lead().lasting.roster
    gone = made.people["m3"].kid
    made.ring(Amend(remove=(gone,), reason=4))
    made.run(20.0)
    inject(made, old, "m0", "m1", "m2")
    cell = made.cell("m0")
    assert cell is not None and cell.lasting.held is not None
    if cell.lasting.held.position(gone) is not None:
        return Succeeds("m0 holds the old roster again, with the evicted meter on it")
    return Fails(*_last_refusal(made, "m0"))


# ------------------------------------------------------------------ B-23


def _race(made: Street) -> Any:
    """Return the adversary who is faster than m0 with an R1c of her own in its name."""
    point = made.suite.base_mul(made.suite.random_scalar(made.entropy.fork("race")))

    def race(sent: Datagram) -> list[Datagram]:
        if type_of(sent) == R1C and sent.source == "m0":
            fake = replace(Round1Compact.decode(sent.data, SIZES), X=point)
            return [replace(sent, data=fake.encode()), sent]
        return [sent]

    return race


def _forged_compact(effort: Effort) -> Outcome:
    """Say an unsigned R1c in the name of m0 first, in every run."""
    made = unformed(effort, 4, compact=True)
    made.sim.adversary = _race(made)
    made.form()
    made.sim.run_for(60.0)
    missing = [name for name in made.names if made.active(name) is None]
    if missing:
        return Succeeds(f"no key for {', '.join(missing)} after a minute")
    asked = made.sim.messages["m0", R1]
    return held(f"m0 was asked for its signed R1 {asked} times; all four are active")


ATTACKS = (
    Attack(
        "B-02",
        "Keys exchanged by the gateway",
        "M",
        _list_of_the_gateway,
        (_exchanged_x(Level.V2, "E_R1SIG"), _exchanged_x(Level.V1, "E_R2SIG")),
    ),
    Attack(
        "B-05",
        "Round replayed",
        "M",
        _old_announcement,
        (_old_round(Level.V2, "E_R1SIG"), _old_round(Level.V1, "E_R2SIG")),
    ),
    Attack(
        "B-08",
        "Member carried into another group",
        "I",
        _imported_member,
        (Attempt("rounds of group A in group B", "E_R2SIG", _carried_over),),
    ),
    Attack(
        "B-10",
        "Epoch rolled back",
        "M",
        _old_version,
        (_old_run(reboot=False), _old_run(reboot=True), Attempt("old roster", "E_ROSTER", _old_roster)),
    ),
    Attack("B-23", "Flood of unsigned R1", "M", None, (Attempt("R1c of another", "property", _forged_compact),)),
)
