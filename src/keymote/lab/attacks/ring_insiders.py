"""Attacks by members of a ring: false, cancelling, copied and missing contributions, confirmations for others
(B-03, B-04, B-11, B-15, B-20).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point
from keymote.engine.group import ring
from keymote.engine.group.faces import MemberBlamed, MembersAbsent, RunFailed
from keymote.engine.group.states import AwaitCommit
from keymote.errors import ErrorCode
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held, refused
from keymote.lab.attacks.ring_stage import (
    BUNDLE,
    COMMIT,
    R1,
    R2,
    R3,
    SIZES,
    Meddling,
    Part,
    Puppeteer,
    different_keys,
    in_ring_order,
    rekeyed,
    run_of,
    settled,
    signing,
    stopped,
    type_of,
    unformed,
)
from keymote.lab.published.group import G, hashed, meters
from keymote.lab.published.weierstrass import ORDER, P256
from keymote.lab.simulator import Datagram
from keymote.lab.street import GW, Street
from keymote.wire.group import CommitClaims, Round1Claims, Round2Claims, Round3
from keymote.wire.group_signed import read, write

NOW: Final = 1_000_000

# ------------------------------------------------------------------ B-03, B-04


def _split(effort: Effort, shifts: dict[str, int], label: str) -> Outcome:
    """Let some meters of five add a point to their Y, and see who ends with which key."""
    all_, gateway = meters(effort.entropy(label), *"ABCDE")
    keys = gateway.collect([meter.announce(NOW) for meter in all_], NOW)
    Y = {meter.name: meter.contribution(keys) for meter in all_}
    for name, k in shifts.items():
        Y[name] = P256.add(Y[name], P256.mul(k, G))
    total = P256.sum(*Y.values())
    groups = {meter.ring_key(keys, Y) for meter in all_}
    if len(groups) == 1:
        return held("all have one key")
    shown = "the sum of all Y is O, and yet" if total is None else "nobody notices that"
    return Succeeds(f"{shown} five meters hold {len(groups)} different keys")


def _shift(made: Street) -> Point:
    return made.suite.base_mul(made.suite.random_scalar(made.entropy.fork("shift")))


def _shifted(made: Street, cheats: dict[str, bool], *, to: Sequence[str] = ()) -> Meddling:
    """Return the insiders who add a point to their Y (True) or take it away, signed; towards `to` alone, if any."""
    shift = _shift(made)

    def cheat(sent: Datagram) -> list[Datagram]:
        if type_of(sent) != R2 or sent.source not in cheats:
            return [sent]
        said = read(sent.data, Round2Claims, SIZES).claims
        assert said.Y is not None
        move = made.suite.add if cheats[sent.source] else made.suite.sub
        Y = move(made.suite.check(said.Y), shift)
        phase = run_of(made, sent.source)
        false = replace(sent, data=write(signing(made, sent.source), replace(said, Y=Y), phase.th1))
        if not to:
            return [false]
        honest = [replace(sent, target=name) for name in (GW, *made.names) if name not in (sent.source, *to)]
        return honest + [replace(false, target=name) for name in to]

    return cheat


def _false_y_to_members(effort: Effort) -> Outcome:
    """Send the right Y to the gateway and a false one to all others."""
    made = settled(effort, 5, delegated=False)
    order = in_ring_order(made)
    others = [name for name in order if name != order[1]]
    rekeyed(made, _shifted(made, {order[1]: True}, to=others), 8.0)
    if different_keys(made) > 1:
        return Succeeds(f"{different_keys(made)} keys in one epoch")
    return Fails(*_given_up(made, others))


def _given_up(made: Street, names: Sequence[str]) -> tuple[str, str]:
    """Return by which error these gave their newest run up."""
    failures = [(name, report) for name in names for report in made.sim.heard(name, RunFailed)]
    if not failures:
        return "nothing", "nobody gave a run up"
    codes = {report.code for _, report in failures}
    code = failures[0][1].code if len(codes) > 1 else codes.pop()
    return code.name, f"{len({name for name, _ in failures})} members gave the run up and stay in their old epoch"


def _cheats(places: dict[int, bool]) -> Attempt:
    """Send false Y to everybody, from one place or from two that cancel out."""

    def run(effort: Effort) -> Outcome:
        made = unformed(effort, 5)
        order = in_ring_order(made)
        cheats = {order[at]: plus for at, plus in places.items()}
        made.sim.adversary = _shifted(made, cheats)
        made.form()
        made.sim.run_for(40.0)
        honest = [name for name in order if name not in cheats]
        if different_keys(made) > 1 or not made.agreed(*honest):
            return Succeeds(f"{', '.join(cheats)} keep {', '.join(honest)} from a common key, and nobody is named")
        blamed = {report.kid: report.code for report in made.sim.heard(GW, MemberBlamed)}
        named = [name for name in order if made.people[name].kid in blamed]
        if set(named) != set(cheats) or len(set(blamed.values())) != 1:
            return Fails("nothing", f"blamed: {', '.join(named) or 'nobody'}")
        (code,) = set(blamed.values())
        return refused(code, f"the gateway names {', '.join(named)} and nobody else; the others agree without them")

    name = "one false Y" if len(places) == 1 else "two that cancel out"
    return Attempt(name, "E_DLEQ", run)


def _cancelling_under_a_lying_gateway(effort: Effort) -> Outcome:
    """Let two insiders cancel out, and the gateway look away and commit to what the victims heard."""
    made = settled(effort, 5, delegated=False)
    order = in_ring_order(made)
    cheats = {order[1]: True, order[3]: False}
    victims = [order[at] for at in (0, 2, 4)]
    insiders = _shifted(made, cheats, to=victims)
    gw = made.people[GW]

    def meddle(sent: Datagram) -> list[Datagram]:
        if type_of(sent) != COMMIT or sent.source != GW:
            return insiders(sent)
        phase = run_of(made, victims[0])
        assert isinstance(phase, AwaitCommit)
        claims = replace(read(sent.data, CommitClaims, SIZES).claims, th2=phase.th2)
        return [replace(sent, data=write(gw.signing, claims, phase.part.run.sid, kid=gw.kid))]

    rekeyed(made, meddle, 8.0)
    if different_keys(made) > 1:
        return Succeeds(f"{different_keys(made)} keys in one epoch, which the gateway has committed")
    return Fails(*_given_up(made, victims))


# ------------------------------------------------------------------ B-11


def _negated_published(effort: Effort) -> Outcome:
    """Announce -X of the member before the last: the edge between them is then half of a public value."""
    all_, gateway = meters(effort.entropy("B-11"), *"ABCD")
    first = {meter.name: meter.announce(NOW) for meter in all_}
    keys = gateway.collect(first.values(), NOW) | {"D": P256.neg(first["B"].public)}
    a, b, c, _ = all_
    Y = {meter.name: meter.contribution(keys) for meter in (a, b, c)}
    Y["D"] = P256.neg(P256.sum(*Y.values()))
    half = pow(2, -1, ORDER)
    edge = P256.mul(half, P256.neg(Y["C"]))  # Y_C = K_CD - K_BC = -2 K_BC
    edges = {1: edge, 2: P256.add(edge, Y["C"])}
    edges[3] = P256.add(edges[2], Y["D"])
    edges[0] = P256.add(edges[3], Y["A"])
    found = hashed(edges[j] for j in sorted(edges, key=lambda j: sorted((j, (j + 1) % 4))))
    if found != a.ring_key(keys, Y) or found != c.ring_key(keys, Y):
        return held("the key does not follow from what is public")
    return Succeeds("D announced -X of B: all agree on a key that follows from public values alone")


def _copied_x(effort: Effort) -> Outcome:
    """Announce another member's X as one's own, signed."""
    made = unformed(effort, 5, delegated=False)
    order = in_ring_order(made)
    copier, copied = order[1], order[2]

    def copy(sent: Datagram) -> list[Datagram]:
        if type_of(sent) == R1 and sent.source == copier:
            return []
        if type_of(sent) != R1 or sent.source != copied:
            return [sent]
        said = read(sent.data, Round1Claims, SIZES).claims
        run = made.lead().run
        held_ = made.lead().lasting.held
        idx = held_.position(made.people[copier].kid)
        assert run is not None and idx is not None
        data = write(signing(made, copier), replace(said, idx=idx), run.sid)
        return [sent, replace(sent, source=copier, data=data)]

    made.sim.adversary = copy
    made.form()
    made.sim.run_for(5.0)
    honest = [name for name in order if name != copier]
    if any(made.sim.messages[name, R2] for name in honest):
        return Succeeds(f"{honest[0]} goes on to round 2 with a copied X in the ring")
    return Fails(*_given_up(made, honest))


class _Negator(Puppeteer):
    """Announces -X of the member two places before, and knows the ring's secret without any x."""

    def _speak1(self, sent: Datagram) -> list[Datagram]:
        name, idx = next(iter(self.places.items()))
        model = Round1Claims.decode(self.round1[(idx - 2) % self.n], SIZES).X if len(self.round1) == self.n - 1 else b""
        if model:
            minus = self.made.suite.mul(_scalar(self.made, self.made.suite.order - 1), self.made.suite.check(model))
            key = signing(self.made, name)
            self.parts = {name: Part(minus, lambda claims, ctx: write(key, claims, ctx), Y=_closing)}
        return super()._speak1(sent)

    def _derive(self) -> Secret | None:
        (idx,) = self.places.values()
        suite, Y, n = self.made.suite, self.others_Y(), self.n
        before = (idx - 1) % n
        # Y_{i-1} = K_{i-1,i} - K_{i-2,i-1} = -2 K_{i-2,i-1}
        minus_half = suite.order - pow(2, -1, suite.order)
        edge = suite.mul(_scalar(self.made, minus_half), Y[before])
        edges = {(before - 1) % n: edge}
        for step in range(n - 1):
            edge = suite.add(edge, Y[(before + step) % n])
            edges[(before + step) % n] = edge
        ordered = sorted(edges, key=lambda j: sorted((j, (j + 1) % n)))
        th2 = ring.th2_of(self.th1, [self.round2[at] for at in range(n)])
        return ring.master_key(Secret(sha256(b"".join(edges[j] for j in ordered))), th2)


def _scalar(made: Street, value: int) -> Secret:
    return Secret(value.to_bytes(32, "little" if made.suite.point_size == 32 else "big"))


def _closing(puppets: Puppeteer) -> tuple[bytes, bytes]:
    """Return the Y that closes the ring, with a proof of nothing."""
    Y = list(puppets.others_Y().values())
    total = puppets.made.suite.sum(*Y)
    return puppets.made.suite.mul(_scalar(puppets.made, puppets.made.suite.order - 1), total), b"\x01" + bytes(63)


def _negated_x(effort: Effort) -> Outcome:
    """Announce the negated X of another, and the one Y that closes the ring."""
    made = unformed(effort, 5, delegated=False)
    order = in_ring_order(made)
    name = order[3]
    nothing = Part(made.suite.generator, lambda claims, ctx: write(signing(made, name), claims, ctx), Y=_closing)
    mallory = _Negator(made, {name: nothing})
    made.sim.adversary = mallory
    made.form()
    made.sim.run_for(5.0)
    honest = [each for each in order if each != name]
    if mallory.knows_key_of(*honest):
        return Succeeds(f"{honest[0]} is active under a key that follows from public values, without any x")
    blamed = made.sim.heard(GW, MemberBlamed)
    if blamed:
        return refused(blamed[0].code, f"the gateway names {name}, which cannot prove its Y")
    return Fails(*stopped(made, *honest))


# ------------------------------------------------------------------ B-15


def _waiting(effort: Effort) -> Outcome:
    """Never announce: the computation begins "once all authenticated public keys are available"."""
    all_, gateway = meters(effort.entropy("B-15"), "A", "B", "C")
    keys = gateway.collect([meter.announce(NOW) for meter in all_[:2]], NOW)
    if len(keys) == len(all_):
        return held("all have announced")
    return Succeeds("C says nothing and no rule ends the wait: A and B hold two keys of three for ever")


def _silent(effort: Effort) -> Outcome:
    """Take part in round 1 and never answer in round 2."""
    made = unformed(effort, 5)
    quiet = in_ring_order(made)[2]
    made.sim.adversary = lambda sent: [] if sent.source == quiet and type_of(sent) in (R2, R3) else [sent]
    made.form()
    made.sim.run_for(60.0)
    others = [name for name in made.names if name != quiet]
    if not made.agreed(*others):
        return Succeeds(f"one silent member keeps {', '.join(others)} from a key for a minute")
    absent = made.sim.heard(GW, MembersAbsent)
    if not absent:
        return Fails("nothing", "nobody was called absent")
    return refused(ErrorCode.E_TIMEOUT, f"the gateway gave {quiet} up after its time and went on without it")


def _two_rounds(effort: Effort) -> Outcome:
    """Send two valid R2 with different proofs to two halves of the ring."""
    made = settled(effort, 5, delegated=False)
    order = in_ring_order(made)
    insider, half = order[0], order[3:]

    def double(sent: Datagram) -> list[Datagram]:
        if type_of(sent) == BUNDLE:
            return []
        if type_of(sent) != R2 or sent.source != insider:
            return [sent]
        phase = run_of(made, insider)
        entropy = SeededEntropy(b"the second proof")
        Y, dleq = ring.contribute(made.suite, phase.part.idx, phase.x, phase.X, phase.th1, entropy)
        second = write(signing(made, insider), Round2Claims(phase.part.run.sid8, phase.part.idx, Y, dleq), phase.th1)
        rest = [name for name in (GW, *made.names) if name not in (insider, *half)]
        return [replace(sent, target=name) for name in rest] + [replace(sent, target=n, data=second) for n in half]

    rekeyed(made, double, 8.0)
    if different_keys(made) > 1:
        return Succeeds(f"{different_keys(made)} keys in one epoch")
    return Fails(*_given_up(made, half))


# ------------------------------------------------------------------ B-20


def _confirmed_for_another(effort: Effort) -> Outcome:
    """Acknowledge in the name of a meter that has no key."""
    all_, gateway = meters(effort.entropy("B-20"), "A", "B", "C")
    for name in ("A", "B", "C"):  # A speaks for C as well; nothing in phase 3 is bound to a key
        gateway.acknowledge(name)
    if gateway.confirmed != {meter.name for meter in all_}:
        return held("C is missing")
    return Succeeds("the gateway writes down that C has the key, which C has not, and C is never asked")


def _fake_r3(effort: Effort) -> Outcome:
    """Jam R2 at m2 and confirm in its name, from its address, with the tag that every member can compute."""
    made = settled(effort, 4)
    victim, insider = "m2", "m0"
    jammed = True

    def meddle(sent: Datagram) -> list[Datagram]:
        if type_of(sent) == R3 and sent.source == insider:
            phase = run_of(made, insider)
            tags = ring.tags(phase.mk, phase.part.run.sid, phase.th2, phase.part.run.held.kids)
            idx = phase.part.run.held.position(made.people[victim].kid)
            return [sent, replace(sent, source=victim, data=Round3(phase.part.run.sid8, idx, tags[idx]).encode())]
        if not jammed or type_of(sent) not in (R2, BUNDLE, COMMIT):
            return [sent]
        return [replace(sent, target=name) for name in (GW, *made.names) if name not in (sent.source, victim)]

    rekeyed(made, meddle, 3.0)
    epoch = made.active(victim)
    fooled = bool(made.lead().lasting.commit) and (epoch is None or epoch.number < made.newest())
    jammed = False
    made.sim.run_for(60.0)
    if not fooled:
        return Fails("nothing", "the gateway was not fooled")
    after = made.active(victim)
    if after is None or after.number < made.newest() or different_keys(made) > 1:
        return Succeeds(f"{victim} counts as confirmed and has no key a minute after the jamming ended")
    return held(
        f"COMMIT came too early; {victim} had no key for some seconds, nobody else got one, and then it caught up"
    )


ATTACKS = (
    Attack(
        "B-03",
        "One false contribution",
        "I",
        lambda effort: _split(effort, {"B": 7}, "B-03"),
        (Attempt("false Y towards members", "E_SUMY", _false_y_to_members), _cheats({1: True})),
    ),
    Attack(
        "B-04",
        "Two false contributions that cancel out",
        "I",
        lambda effort: _split(effort, {"B": 7, "D": -7}, "B-04"),
        (
            _cheats({1: True, 3: False}),
            Attempt("two that cancel out, gateway in league", "E_CONFIRM", _cancelling_under_a_lying_gateway),
        ),
    ),
    Attack(
        "B-11",
        "Key controlled by an insider",
        "I",
        _negated_published,
        (Attempt("X copied", "E_DUPX", _copied_x), Attempt("X negated", "E_DLEQ", _negated_x)),
    ),
    Attack(
        "B-15",
        "Silence and two stories",
        "I",
        _waiting,
        (Attempt("no R2", "E_TIMEOUT", _silent), Attempt("two R2", "E_CONFIRM", _two_rounds)),
    ),
    Attack(
        "B-20", "Confirmation for another", "I", _confirmed_for_another, (Attempt("R3 of m2", "property", _fake_r3),)
    ),
)
