"""Attacks on masked sums: seeds that others know, and gateways that ask for one mask too many (B-14, B-24, B-25)."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations
from typing import Final

from keymote.crypto.kdf import extract
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey
from keymote.engine.group import aggregation
from keymote.engine.group.aggregation import AwaitMaskKeys, Masking
from keymote.engine.group.aggregation import Outcome as Answer
from keymote.engine.group.mask_ring import MaskRing
from keymote.engine.group.masks import MODULUS, Masks, sign
from keymote.errors import PeerFault
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held, refused
from keymote.lab.attacks.ring_stage import SIZES, in_ring_order, settled
from keymote.lab.published.group import MaskedMeter, Sender, meters, opened
from keymote.lab.published.weierstrass import P256
from keymote.lab.street import GW, Street
from keymote.wire.group import bitmap
from keymote.wire.group_signed import read, write
from keymote.wire.masking import MASK_SIZE, MaskPresentClaims, MaskReportClaims, MaskReveal, MaskRevealClaims
from keymote.wire.registry import peek

NOW: Final = 1_000_000
T: Final = 7
"""The period that is attacked."""
READINGS: Final = (310, 125, 47, 1200, 88)

# ------------------------------------------------------------------ members who mask, and a gateway that may sign anything


@dataclass(slots=True)
class Maskers:
    """The members of a street's epoch, in ring order, with what they have sent."""

    made: Street
    ring: MaskRing
    keys: list[SigningKey]
    states: list[Masking]

    @property
    def n(self) -> int:
        return self.ring.n

    def seeds(self, idx: int) -> Masks:
        state = self.states[idx]
        assert not isinstance(state, AwaitMaskKeys)
        return state.masks if isinstance(state, aggregation.Ready) else state.ready.masks

    def say(self, idx: int, answer: Answer) -> tuple[bytes, ...]:
        self.states[idx] = answer.state
        return answer.sends

    def reports(self) -> list[int]:
        """Let everybody report; return what the gateway receives."""
        masked = []
        for idx in range(self.n):
            (wire,) = self.say(idx, aggregation.report(self.states[idx], self.keys[idx], T, READINGS[idx]))
            masked.append(int.from_bytes(read(wire, MaskReportClaims, SIZES).claims.masked, "big"))
        return masked

    def told(self, present: Iterable[int], *whom: int) -> dict[int, bytes]:
        """Sign a bitmap and tell it to some members; return their agreements."""
        gw = self.made.people[GW]
        claims = MaskPresentClaims(self.ring.sid8, T, bitmap(present))
        wire = write(gw.signing, claims, self.ring.sid, kid=gw.kid)
        return {
            idx: sent
            for idx in whom
            for sent in self.say(idx, aggregation.hear_present(self.states[idx], self.keys[idx], wire))[:1]
        }

    def agreed(self, answers: dict[int, bytes]) -> dict[int, MaskRevealClaims]:
        """Bring everybody's agreement to everybody; return the reveals that the gateway gets, at once or then."""
        found = {idx: claims for idx, wire in answers.items() if (claims := _reveal_in(wire)) is not None}
        for idx, other in permutations(answers.keys() - found.keys(), 2):
            try:
                answer = aggregation.hear_agreement(self.states[idx], self.keys[idx], answers[other])
            except PeerFault:  # this member has closed the period
                continue
            for wire in self.say(idx, answer):
                if (claims := _reveal_in(wire)) is not None:
                    found[idx] = claims
        return found

    def unmasked(
        self, victim: int, masked: int, own: MaskRevealClaims | None, others: dict[int, MaskRevealClaims]
    ) -> int | None:
        """Return a single reading from b of the victim and everybody's r with it; None where one is missing."""
        if own is None or set(others) != set(range(self.n)) - {victim}:
            return None
        total = masked - int.from_bytes(own.own, "big")
        for j, claims in others.items():
            absent = [idx for idx in range(self.n) if not int.from_bytes(claims.present, "big") >> idx & 1]
            if victim not in absent:
                return None
            at = MASK_SIZE * absent.index(victim)
            total -= sign(victim, j) * int.from_bytes(claims.shared[at : at + MASK_SIZE], "big")
        return total % MODULUS


def _reveal_in(wire: bytes) -> MaskRevealClaims | None:
    """Return what a message takes off the sum, if it is a MASKREVEAL."""
    return read(wire, MaskRevealClaims, SIZES).claims if peek(wire)[0] == MaskReveal.mt else None


def maskers(effort: Effort, n: int) -> Maskers:
    """Return members whose masks are agreed, in the epoch of a street."""
    made = settled(effort, n)
    order = in_ring_order(made)
    epoch = made.active(order[0])
    assert epoch is not None
    keys = [made.people[name].signing for name in order]
    verifiers = tuple(made.suite.verify_key(key.public) for key in keys)
    gw = made.people[GW]
    ring = MaskRing(made.suite, epoch.sid, epoch.th1, verifiers, gw.kid, made.suite.verify_key(gw.signing.public))
    begun = [aggregation.begin(ring, idx, key, effort.entropy(f"masks of {idx}")) for idx, key in enumerate(keys)]
    states: list[Masking] = [answer.state for answer in begun]
    for idx in range(n):
        for answer in begun:
            if isinstance(states[idx], AwaitMaskKeys):
                states[idx] = aggregation.hear_key(states[idx], answer.sends[0])
    return Maskers(made, ring, keys, states)


# ------------------------------------------------------------------ B-14


def _edge_as_pairwise_key(effort: Effort) -> Outcome:
    """Use the ring's edge between A and B as the key of A and B alone, which saves a multiplication."""
    all_, gateway = meters(effort.entropy("B-14"), *"ABCD")
    keys = gateway.collect([meter.announce(NOW) for meter in all_], NOW)
    Y = {meter.name: meter.contribution(keys) for meter in all_}
    secret, edge = all_[0].shared(keys["B"]), all_[3].shared(keys["C"])  # D knows K_CD
    for name in ("D", "A"):
        edge = P256.add(edge, Y[name])
    if edge != secret:
        return held("D does not find it")
    return Succeeds("D adds two public values to its own edge and has the key of A and B")


def _edges_as_seeds(effort: Effort) -> Outcome:
    """Compute every edge as a third member, and try each as the seed of a mask between two others."""
    world = maskers(effort, 3)
    made = world.made
    x = [Secret(scalar) for scalar in made.witness.scalars[:3]]  # two edges are hers, the third follows from Y
    edges = [made.suite.mul(a, made.suite.base_mul(b)) for a, b in permutations(x, 2)]
    tried = {extract(world.ring.sid, bytes(edge)).expose() for edge in edges}
    pairs = [(i, j) for i, j in permutations(range(world.n), 2) if i < j]
    opened_ = [pair for pair in pairs if _seed(world, *pair).expose() in tried]
    if opened_:
        return Succeeds(f"the masks between {', '.join(f'{i} and {j}' for i, j in opened_)} come from ring edges")
    return held(
        f"none of the {len(tried)} edges is the seed of one of {len(pairs)} masks, which have scalars of their own"
    )


def _seed(world: Maskers, i: int, j: int) -> Secret:
    seed = world.seeds(i).shared[j]
    assert seed is not None
    return seed


# ------------------------------------------------------------------ B-24, B-25


def _readings_under_one_key(effort: Effort) -> Outcome:
    """Read single readings where "aggregated reporting" means readings under the group key."""
    all_, gateway = meters(effort.entropy("B-24"), "A", "B", "C")
    keys = gateway.collect([meter.announce(NOW) for meter in all_], NOW)
    Y = {meter.name: meter.contribution(keys) for meter in all_}
    sent = Sender(all_[0].ring_key(keys, Y)).seal(b"310 W")
    if opened(all_[2].ring_key(keys, Y), *sent) != b"310 W":
        return held("C cannot read it")
    return Succeeds("every member, and a gateway that is one, reads the reading of A: 310 W")


def _second_bitmap(effort: Effort) -> Outcome:
    """Take the sum with everybody, then call one member absent in the same period."""
    world = maskers(effort, 5)
    victim, everybody = 2, range(5)
    others = [idx for idx in everybody if idx != victim]
    masked = world.reports()
    own = world.agreed(world.told(everybody, *everybody)).get(victim)
    try:
        again = world.agreed(world.told(others, *others))
    except PeerFault as fault:
        return refused(fault.code, f"{fault.what}; the sum is all that the gateway has")
    return _isolated(world, victim, masked[victim], own, again)


def _two_bitmaps(effort: Effort) -> Outcome:
    """Keep a report back: call its sender present to itself and absent to all others."""
    world = maskers(effort, 5)
    victim, everybody = 2, range(5)
    others = [idx for idx in everybody if idx != victim]
    masked = world.reports()
    of_victim = world.told(everybody, victim)
    of_others = world.told(others, *others)
    reveals = world.agreed(of_others)
    own = world.agreed(of_victim | of_others).get(victim)
    return _isolated(world, victim, masked[victim], own, reveals)


def _isolated(
    world: Maskers, victim: int, masked: int, own: MaskRevealClaims | None, others: dict[int, MaskRevealClaims]
) -> Outcome:
    reading = world.unmasked(victim, masked, own, others)
    if reading == READINGS[victim]:
        return Succeeds(f"the gateway reads {reading} of member {victim} alone")
    missing = "b of the victim" if own is None else "r with the victim"
    if reading is not None:
        return Fails("nothing", f"a wrong reading, {reading}")
    return held(f"{missing} stays hidden: who is present reveals only after all present have signed one bitmap")


def _called_absent(effort: Effort) -> Outcome:
    """Call a member absent whose report has come, where each pair has one mask and a report no other."""
    entropy = effort.entropy("B-25")
    seeds = {frozenset(pair): entropy.draw(32) for pair in permutations(range(4), 2) if pair[0] < pair[1]}
    world = [MaskedMeter(i, {j: seeds[frozenset((i, j))] for j in range(4) if j != i}) for i in range(4)]
    report = world[1].report(T, READINGS[1])
    revealed = sum(sign(1, j) * world[j].mask(1, T) for j in (0, 2, 3))
    if (report - revealed) % MODULUS != READINGS[1]:
        return held("the reading stays hidden")
    return Succeeds(f"three members reveal their masks with the 'absent' one, whose report reads {READINGS[1]}")


ATTACKS = (
    Attack(
        "B-14",
        "Ring edges used again",
        "I",
        _edge_as_pairwise_key,
        (Attempt("edges tried as mask seeds", "property", _edges_as_seeds),),
    ),
    Attack(
        "B-24",
        "Single readings from sums",
        "N",
        _readings_under_one_key,
        (Attempt("a second bitmap for one period", "E_STATE", _second_bitmap),),
    ),
    Attack(
        "B-25",
        "Report kept back",
        "N",
        _called_absent,
        (Attempt("two bitmaps for one period", "property", _two_bitmaps),),
    ),
)
