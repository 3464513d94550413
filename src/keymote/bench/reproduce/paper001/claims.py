"""What paper 001 claims, and the verdict that follows from the numbers: its own, those of the model, those of our engines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from keymote.bench.reproduce.paper000.claims import TOLERANCE, Ruling
from keymote.bench.reproduce.paper001.comparison import METER, Compared
from keymote.bench.reproduce.paper001.streets import Street
from keymote.lab.baselines import Event
from keymote.lab.energy import Profile, cost
from keymote.lab.energy.radio import air

ECDH_MS, KEYGEN_MS = 26.0, 35.0
"""Paper 001, 5.1: an ECDH and a key pair, "on all tested platforms"."""
ECDH_MJ, KEYGEN_MJ = 2.4, 1.6
"""Paper 001, 5.2, figure 5: each execution."""
LIGHT_MJ: Final = 1.5
"""Paper 001, 5.2: hashing and signature verification stay below this each."""
LORAWAN: Final[Mapping[str, int]] = {"DR0": 51, "DR3": 115, "DR4": 222}
"""Largest application payload in the EU868 band (LoRaWAN RP002-1.0.4, table of maximum payload sizes)."""
POINTS: Final[Mapping[int, float]] = {5: 124.0, 25: 450.0}
"""Figure 4 by the text of 5.1: milliseconds of a whole negotiation."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence of the paper with a number in it; `value` in `unit`, an upper bound unless `least`."""

    name: str
    value: float
    unit: str
    source: str
    least: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """A ruling. `own` is what the paper's other numbers make of it, None where they say nothing; `found` what we found."""

    claim: Claim
    ruling: Ruling
    own: float | None
    found: Mapping[str, float]
    why: str

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.claim.name,
            "claimed": self.claim.value,
            "unit": self.claim.unit,
            "source": self.claim.source,
            "verdict": str(self.ruling),
            "by_the_papers_own_numbers": None if self.own is None else round(self.own, 3),
            "found": {name: round(value, 3) for name, value in self.found.items()},
            "why": self.why,
        }


def own_latency_ms(n: int) -> float:
    """Return what the paper's parts add up to, radio not counted: one key pair and n - 1 ECDHs."""
    return KEYGEN_MS + ECDH_MS * (n - 1)


def own_energy_mj(n: int) -> float:
    """Return what the paper's functions add up to at one meter: one key pair and n - 1 ECDHs, nothing else."""
    return KEYGEN_MJ + ECDH_MJ * (n - 1)


def rule(claimed: float, own: float | None, found: float) -> Ruling:
    """Return the ruling on an upper bound: it cannot be where the paper's own numbers exceed it by more than a quarter."""
    if own is not None and own > claimed * TOLERANCE:
        return Ruling.CANNOT_BE
    return Ruling.HOLDS if found <= claimed * TOLERANCE else Ruling.DOES_NOT_HOLD


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the verdicts follow from. `streets` by (series, n), `others` by (scheme, event, n)."""

    streets: Mapping[tuple[str, int], Street]
    others: Mapping[tuple[str, Event, int], Compared]
    devices: Mapping[str, Profile]
    delivered: Mapping[int, int]

    @property
    def sizes(self) -> Sequence[int]:
        """Return how many members the measured streets have."""
        return sorted({n for _, n in self.streets})

    def most(self, n: int) -> int:
        """Return the largest measured size up to `n`."""
        return max(size for size in self.sizes if size <= n)


def verdicts(evidence: Evidence) -> list[Verdict]:
    """Return all verdicts in the order of the paper; a claim about a size that was not measured gets none."""
    makers: Sequence[Callable[[Evidence], list[Verdict]]] = (
        _keys,
        _latency,
        _messages,
        _memory,
        _energy,
        _others,
        _use,
    )
    return [verdict for make in makers for verdict in make(evidence)]


def _keys(_evidence: Evidence) -> list[Verdict]:
    return [
        Verdict(
            Claim("every device computes GK", 3, "meters", "section 3, walkthrough"),
            Ruling.CANNOT_BE,
            2,
            {"values of 3 that a meter knows": 2},
            "the formula wants K_AB, K_AC and K_BC; a meter knows the two with itself in them, and the third is a "
            "Diffie-Hellman problem (attack B-01). With one more round (Burmester-Desmedt) all three get this very key",
        ),
        Verdict(
            Claim("compromised subset cannot derive the key", 1, "members", "section 3"),
            Ruling.CANNOT_BE,
            1,
            {"members who must be compromised": 1},
            "every member holds the key: one is enough. What holds is that none of them can choose it (attack B-11)",
        ),
    ]


def _latency(evidence: Evidence) -> list[Verdict]:
    claims = (
        (5, Claim("negotiation, 5 meters", 124, "ms", "5.1, figure 4")),
        (25, Claim("negotiation, 25 meters", 450, "ms", "abstract, 5.1, figure 4")),
        (10, Claim("rekeying, 10 meters", 200, "ms", "5.3")),
        (25, Claim("rekeying, 25 meters", 500, "ms", "5.3")),
        (15, Claim("negotiation, 15 meters of a microgrid", 310, "ms", "6.2, figure 8")),
        (15, Claim("rekeying, 15 homes", 400, "ms", "6.3, figure 9")),
    )
    found = []
    for n, claim in claims:
        if n not in evidence.sizes:
            continue
        streets = {series: evidence.streets[series, n] for series in ("suite1-v1", "suite1-v0", "cortex-m4-v1")}
        shown = {street.series.title: street.latency.mean_ms for street in streets.values()}
        theirs = min(streets[series].latency.mean_ms for series in ("suite1-v1", "suite1-v0"))
        own = own_latency_ms(n)
        why = (
            f"{KEYGEN_MS:g} ms for the key pair and {n - 1} x {ECDH_MS:g} ms are {own:g} ms before anything is sent; ours, "
            f"which computes 5 multiplications whatever n, spends most on signatures (V1) and on the radio"
        )
        found.append(Verdict(claim, rule(claim.value, own, theirs), own, shown, why))
    rounds = Claim("broadcast rounds", 3, "rounds", "5.3, table 1")
    why = "START, then R1, R2 and R3 by all, then COMMIT"
    found.append(Verdict(rounds, Ruling.HOLDS, None, {"rounds by all members": 3}, why))
    return found


def _messages(evidence: Evidence) -> list[Verdict]:
    sizes = evidence.streets["suite17-v1", evidence.sizes[-1]].sizes
    of_rounds = {"R1": sizes[33], "R2 with its proof": sizes[35], "R3": sizes[36]}
    largest = max(of_rounds.values())
    bound = Claim("message of a member", 220, "B", "abstract, 5.1: 180 to 212 B")
    frames = air(180).frames
    unfragmented = Claim("fits IEEE 802.15.4 without fragments", 1, "frames", "5.1")
    lora = Claim("fits LoRa without fragments", 212, "B", "5.1")
    return [
        Verdict(bound, rule(220, None, largest), None, of_rounds, "constant in n, signatures and a proof included"),
        Verdict(
            unfragmented,
            Ruling.CANNOT_BE if frames > 1 else Ruling.HOLDS,
            float(frames),
            {"frames of the smallest message, 180 B": float(frames), "frames of our R1": float(air(sizes[33]).frames)},
            "a frame has 127 bytes with its headers (IEEE 802.15.4); 180 bytes need more than one, ours as well. R1c, which is "
            "unsigned, fits into one",
        ),
        Verdict(
            lora,
            Ruling.DOES_NOT_HOLD,
            None,
            {name: float(octets) for name, octets in LORAWAN.items()},
            "from data rate 4 on, whose payload is 222 bytes; slower ones, which reach far, take 51 to 115",
        ),
    ]


def _memory(evidence: Evidence) -> list[Verdict]:
    n = evidence.sizes[-1]
    largest = evidence.streets["suite1-v1", n].state
    found = [
        Verdict(
            Claim("persistent metadata of a session", 1536, "B", "5.2"),
            rule(1536, None, largest["record"]),
            None,
            {f"our record, {n} members": largest["record"]},
            "most of it is the roster with everybody's key",
        ),
        Verdict(
            Claim("working memory", 8192, "B", "5.2"),
            rule(8192, None, largest["peak"]),
            None,
            {f"fields of our cell at its largest, {n} members": largest["peak"]},
            "data of one group; the stack of the curve is not in it, and code is not compared: ours is Python",
        ),
    ]
    if 15 in evidence.sizes:
        peak = evidence.streets["suite1-v1", 15].state["peak"]
        why = "everybody's R1 and R2 are kept, as they came, until the key is there"
        claim = Claim("temporary memory, 15 meters", 4096, "B", "6.2")
        found.append(Verdict(claim, rule(4096, None, peak), None, {"fields of our cell at its largest": peak}, why))
    return found


def _energy(evidence: Evidence) -> list[Verdict]:
    device, n = evidence.devices["paper-001-curve25519"], evidence.sizes[0]
    streets = [evidence.streets[series, n] for series in ("suite1-v1", "suite1-v0")]
    found = {
        f"{each.series.title}, n = {n}": cost(device, each.operations, each.carried).total_j * 1e3 for each in streets
    }
    watts = {"key pair": KEYGEN_MJ / KEYGEN_MS, "ECDH": ECDH_MJ / ECDH_MS}
    return [
        Verdict(
            Claim("energy of a node", 4.2, "mJ", "table 1"),
            rule(4.2, own_energy_mj(3), min(found.values())),
            own_energy_mj(3),
            found,
            f"one key pair ({KEYGEN_MJ} mJ) and two ECDHs ({ECDH_MJ} mJ each), what three meters need at least, are "
            f"{own_energy_mj(3):.1f} mJ by figure 5; 25 meters need {own_energy_mj(25):.1f} mJ",
        ),
        Verdict(
            Claim("one processor, two powers", 1, "times", "5.1 with figure 5"),
            rule(1, watts["ECDH"] / watts["key pair"], 1),
            watts["ECDH"] / watts["key pair"],
            {name: value * 1e3 for name, value in watts.items()},
            "1.6 mJ in 35 ms are 46 mW, 2.4 mJ in 26 ms are 92 mW: the same multiplication on the same core draws twice the power",
        ),
    ]


def _others(evidence: Evidence) -> list[Verdict]:
    n, few = evidence.most(25), evidence.most(15)
    lkh, central = (evidence.others[name, Event.LEAVE, n] for name in ("lkh", "central-dh"))
    rekeyed, formed = (evidence.others["mqtt-tls", event, n] for event in (Event.LEAVE, Event.FORM))
    printed = own_latency_ms(n)
    latency = {
        f"the paper's scheme, computing alone, n = {n}": printed,
        "ours, V1": evidence.streets["suite17-v1", n].latency.mean_ms,
        "ours, V0": evidence.streets["suite17-v0", n].latency.mean_ms,
        "LKH": lkh.latency.mean_ms,
        "centralised DH": central.latency.mean_ms,
    }
    air_octets = evidence.streets["suite17-v1", n].on_air
    device = evidence.devices[METER]
    sleeping = evidence.others["tls-each", Event.FORM, few].energy(device).total_j * 1e3
    street = evidence.streets["suite17-v1", few]
    own = cost(device, street.operations, street.carried).total_j * 1e3
    mornings = {
        f"TLS each morning, n = {few}, mJ": sleeping,
        "ours each morning, mJ": own,
        "the paper's ECDHs, mJ": own_energy_mj(few),
    }
    return [
        Verdict(
            Claim("latency below that of LKH and centralised DH", 0.7, "times", "abstract: 30 to 40 % less"),
            rule(0.7, None, printed / max(lkh.latency.mean_ms, central.latency.mean_ms)),
            None,
            latency,
            "a server that hands out wraps computes less at each meter than n - 1 ECDHs, and says it in one message. What a "
            "contributory key buys is not speed but that nobody has to be trusted with it",
        ),
        Verdict(
            Claim("bytes below those of MQTT over TLS", 0.6, "times", "section 7: about 40 % less"),
            rule(0.6, None, air_octets / formed.octets),
            None,
            {"ours": air_octets, "MQTT/TLS, connecting": formed.octets, "MQTT/TLS, connected": rekeyed.octets},
            "against meters that connect anew, as those that sleep must; a broker with open connections needs less than we do",
        ),
        Verdict(
            Claim("energy of a day against TLS", 0.82, "times", "6.2, figure 8: 18 % less battery"),
            rule(0.82, own_energy_mj(few) / sleeping, own / sleeping),
            own_energy_mj(few) / sleeping,
            mornings,
            f"{few - 1} ECDHs cost more than a TLS handshake, which needs one, two verifications and a signature; the radio does "
            "not make up for it",
        ),
    ]


def _use(evidence: Evidence) -> list[Verdict]:
    sizes = sorted(evidence.delivered)
    first, last = sizes[0], sizes[-1]
    growth = (evidence.delivered[last] / evidence.delivered[first]) / (last / first)
    return [
        Verdict(
            Claim("authenticated commands grow with n", 1, "times n", "6.3, figure 9"),
            rule(1, None, growth),
            None,
            {f"{n} homes": float(number) for n, number in evidence.delivered.items()},
            "each home has its own to send, and each is validated by all others; the key has no part in it",
        )
    ]
