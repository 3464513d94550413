"""What paper 000 claims, and the verdict that follows from the numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from keymote.bench.reproduce.paper000.scheme import AUTHENTICATION, SESSION_KEY, Phase, Scheme
from keymote.lab.energy import Figure, Kind, Profile, cost

TOLERANCE: Final = 1.25
"""A claim holds when the model of its own platform stays within a quarter above it."""
MARGIN: Final = 4.0
"""A claim cannot be when a floor is more than four times above it: a curve of 160 bits in place of 256, which the paper does
not rule out, makes a multiplication (256/160)^3 = 4.1 times cheaper."""
FASTEST_MUL: Final = Figure(
    548_873,
    Kind.PUBLISHED,
    "X25519 in assembly on Cortex-M4, Emill/X25519-Cortex-M4 README: the fastest multiplication at this level of security "
    "that we found for a microcontroller, and a faster core than the CC2538's",
)
LEAST_CODE: Final = Figure(
    2900, Kind.PUBLISHED, "p256-m README, Cortex-M4, -Os: P-256 written to be small, bytes of code"
)


class Ruling(StrEnum):
    """What the numbers say of a claim."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    """What is known says more, but a better implementation or a smaller curve might get there."""
    CANNOT_BE = "cannot be"
    """Even a floor that leaves out nearly everything lies far above the claim."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A number of the paper."""

    name: str
    value: float
    unit: str
    source: str


ENERGY: Final[Mapping[str, Claim]] = {
    AUTHENTICATION: Claim("authentication", 32.0, "uJ", "paper 000, table 1"),
    SESSION_KEY: Claim("key generation", 23.0, "uJ", "paper 000, table 1"),
}
MEMORY: Final = Claim("total memory overhead", 1537.0, "B", "paper 000, section 5.1: 24 globals, 48 static, 1465 code")
GLOBALS, STATIC, CODE = 24, 48, 1465
LIBRARY: Final = Claim("tinyDTLS", 21592.0, "B", "paper 000, section 5.1: 19368 code, 140 constants, 2084 globals")
DATA_OF_A_SESSION: Final[Mapping[str, int]] = {
    "d_D": 32,
    "V": 33,
    "E1 and E2 of the peer": 66,
    "r": 32,
    "Nonce": 33,
    "a_D": 32,
    "sum of shares": 33,
}
"""What the equations (1) to (9) need at once or from phase to phase, 128-bit security, compressed points, in bytes."""
KEPT_FOR_GOOD: Final = ("d_D", "V")


@dataclass(frozen=True, slots=True)
class Verdict:
    """A ruling with the numbers that it follows from: the model on each profile of the paper's platform, and the floor."""

    claim: Claim
    ruling: Ruling
    modelled: Mapping[str, float]
    floor: float
    why: str
    floor_source: str

    @property
    def factor(self) -> float:
        """How many times the claim the cheapest model of the paper's platform is."""
        return min(self.modelled.values()) / self.claim.value

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.claim.name,
            "claimed": self.claim.value,
            "unit": self.claim.unit,
            "source": self.claim.source,
            "verdict": str(self.ruling),
            "factor": _short(self.factor),
            "modelled": {name: _short(value) for name, value in self.modelled.items()},
            "floor": _short(self.floor),
            "floor_factor": _short(self.floor / self.claim.value),
            "floor_source": self.floor_source,
            "why": self.why,
        }


def rule(claimed: float, modelled: float, floor: float) -> Ruling:
    """Return the ruling on a claim of cost: what the model says, and what nobody can go below."""
    if floor > claimed * MARGIN:
        return Ruling.CANNOT_BE
    return Ruling.HOLDS if modelled <= claimed * TOLERANCE else Ruling.DOES_NOT_HOLD


def energy_verdicts(published: Scheme, platform: Sequence[Profile], fastest: Figure = FASTEST_MUL) -> list[Verdict]:
    """Return a verdict for each figure of the paper's table 1; `platform` are the profiles of its own hardware."""
    return [_energy(claim, published.phase(name), platform, fastest) for name, claim in ENERGY.items()]


def _energy(claim: Claim, phase: Phase, platform: Sequence[Profile], fastest: Figure) -> Verdict:
    paper = platform[0]
    modelled = {each.name: cost(each, phase.operations, phase.traffic).total_j * 1e6 for each in platform}
    mul = phase.operations["mul"]
    floor = mul * fastest.value / paper.clock_hz.value * paper.cpu_w * 1e6
    claimed_s = claim.value * 1e-6 / paper.cpu_w
    air_octets = claim.value * 1e-6 / (8 / paper.bit_rate.value * paper.voltage_v.value * paper.tx_a.value)
    why = (
        f"{claim.value:g} uJ at {paper.voltage_v.value:g} V x {paper.cpu_a.value * 1e3:g} mA last {claimed_s * 1e3:.3g} ms, "
        f"{claimed_s * paper.clock_hz.value:,.0f} cycles; {phase.operations_source} need {mul} "
        f"multiplication{'s' if mul > 1 else ''}, {mul * fastest.value:,.0f} cycles at the fastest published rate that we found, "
        f"{floor:,.0f} uJ before anything else is computed or sent; as radio the claim pays for {air_octets:.1f} bytes sent"
    )
    source = f"{mul} x {fastest.value:,.0f} cycles ({fastest.source}) at the paper's clock, voltage and current"
    ruling = rule(claim.value, min(modelled.values()), floor)
    return Verdict(claim, ruling, modelled, floor, why, source)


def memory_verdicts(code: Figure = LEAST_CODE, needed: Mapping[str, int] = DATA_OF_A_SESSION) -> list[Verdict]:
    """Return verdicts on the paper's memory: its 1465 bytes of code, its 72 bytes of data and their sum.

    They are about the whole scheme, which is what the paper's sentence says. As what was added to tinyDTLS the bytes of
    code are plausible, and nothing here contradicts them.
    """
    data, need = GLOBALS + STATIC, sum(needed.values())
    glue = (
        f"the smallest published P-256 takes {code.value:,.0f} bytes of code: {CODE} can be what was added to tinyDTLS, "
        f"whose {LIBRARY.value:,.0f} bytes are needed too and not counted"
    )
    kept = (
        f"one session needs {need} bytes ({', '.join(f'{name} {size}' for name, size in needed.items())}); "
        f"arm-none-eabi-size sees {data}: the rest is on the stack, which it does not see, or in tinyDTLS"
    )
    equations = "paper 000, equations (1) to (9), points of 33 and scalars of 32 bytes"
    return [
        _memory("code of the whole scheme", CODE, code.value, glue, code.source),
        _memory("data of a session", data, need, kept, equations),
        _memory("memory in all", MEMORY.value, code.value + need, f"{glue}; {kept}", f"{code.source}; {equations}"),
    ]


def _memory(name: str, claimed: float, needed: float, why: str, source: str) -> Verdict:
    claim = Claim(name, claimed, "B", MEMORY.source)
    return Verdict(claim, rule(claimed, needed, needed), {"least known": needed}, needed, why, source)


def _short(value: float) -> float:
    return float(f"{value:.4g}")
