"""What paper 002 claims, and the verdict that follows from the numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from keymote.bench.reproduce.paper002 import carriers
from keymote.bench.reproduce.paper002.engines import Step
from keymote.bench.reproduce.paper002.lifetime import RATES, Between, Supply
from keymote.bench.reproduce.paper002.schemes import READING, Device, Scheme, Session

RATE: Final = 10
"""Transactions an hour at which the paper states its lifetimes."""
LIFETIME_H, BASELINE_H = 53_664, 9_575
SHARE: Final = 0.1784
TIMES: Final = 5.6
MEMORY, CAPACITY = 5_608, 92 * 1024
YEARS: Final = 1.84e19
KEYS_A_SECOND: Final = 1e12
DAY_S: Final = 86_400


class Ruling(StrEnum):
    """What the numbers say of a claim."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    CANNOT_BE_JUDGED = "cannot be judged"
    """The paper leaves open what decides it; the figures say between what."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim as the paper puts it, what comes out here, and why that decides it."""

    claim: str
    paper: str
    found: str
    ruling: Ruling
    why: str
    source: str

    def as_json(self) -> dict[str, str]:
        return {
            "claim": self.claim,
            "paper": self.paper,
            "found": self.found,
            "verdict": str(self.ruling),
            "why": self.why,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was measured and priced, on the paper's own mote."""

    device: Device
    supply: Supply
    schemes: Mapping[str, Scheme]
    hand_overs: Mapping[str, Step]

    def millijoules(self, name: str, session: Session) -> float:
        """Return what a reading costs, with a day's share of the keys at ten an hour."""
        scheme = self.schemes[name]
        daily = scheme.daily_j(self.device, session) / (24 * RATE)
        return (scheme.energy_j(self.device, session) + daily) * 1e3

    def hours(self, name: str, session: Session, between: Between, rate: float = RATE) -> float:
        return self.supply.hours(self.device, self.schemes[name], session, between, rate)

    def longer(self, session: Session, between: Between, rate: float = RATE) -> float:
        """Return how many times as long as with CB-DTLS the batteries last with the paper's XOR."""
        return self.hours("xor", Session.EACH, between, rate) / self.hours("dtls-cert", session, between, rate)

    def shares(self) -> list[float]:
        """Return energy of the paper's XOR over that of CB-DTLS: by session without and with what lies between readings."""
        return [1 / self.longer(session, between) for session in Session for between in Between] + [
            self.millijoules("xor", Session.EACH) / self.millijoules("dtls-cert", session) for session in Session
        ]


def verdicts(evidence: Evidence) -> list[Verdict]:
    """Return every claim with its verdict."""
    return [*_energy(evidence), *_lifetime(evidence), *_security(), *_mobility(evidence)]


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"


# ------------------------------------------------------------------ energy


def _energy(evidence: Evidence) -> list[Verdict]:
    each, daily = (evidence.millijoules("dtls-cert", session) for session in (Session.EACH, Session.DAILY))
    xor = evidence.millijoules("xor", Session.EACH)
    least, most = min(evidence.shares()), max(evidence.shares())
    battery = evidence.supply.energy_j(evidence.device)
    left_mj = battery / (LIFETIME_H * RATE) * 1e3
    ascon = evidence.millijoules("triad1-ascon", Session.EACH)
    real_share = ascon / each
    return [
        Verdict(
            "energy, share of CB-DTLS's",
            _percent(SHARE),
            f"{least * 100:.2g} % to {most * 100:.3g} %",
            Ruling.CANNOT_BE_JUDGED,
            f"the paper does not say how often CB-DTLS shakes hands nor what is spent between readings: {xor:.2g} mJ against "
            f"{each:.3g} mJ with a handshake for each reading, {daily:.2g} mJ with one a day; {_percent(SHARE)} is the ratio "
            f"of its two lifetimes, {BASELINE_H} / {LIFETIME_H}, so that the two claims are one",
            "paper 002, abstract, 6.3, 7",
        ),
        Verdict(
            "the saving comes from lightweight encryption",
            "XOR",
            f"Ascon {real_share * 100:.2g} % of CB-DTLS",
            Ruling.DOES_NOT_HOLD,
            f"with Ascon in place of XOR, and a key agreed on for each reading too, a reading costs {ascon:.3g} mJ, and with "
            f"CB-DTLS {each:.3g} mJ: what saves is that nobody multiplies points, not that nothing is encrypted",
            "paper 002, 6.1",
        ),
        Verdict(
            "energy of a transaction",
            f"{left_mj:.3g} mJ",
            f"{xor:.2g} mJ",
            Ruling.DOES_NOT_HOLD,
            f"{LIFETIME_H} h at {RATE} an hour leave {left_mj:.3g} mJ a transaction; XOR with its radio takes {xor:.2g} mJ, so "
            f"{_percent(1 - xor / left_mj)} of what was measured is neither encryption nor the frames that carry it",
            "paper 002, 6.3: two AA batteries, 2800 mAh, at 3 V",
        ),
        Verdict(
            "equation (1) gives an energy",
            "mJ",
            "mW",
            Ruling.DOES_NOT_HOLD,
            "ticks x mA x V / (ticks a second x seconds) are milliwatts, an average over the interval",
            "paper 002, 5.2",
        ),
        Verdict(
            "memory fits a Z1",
            f"{MEMORY} B of 92 KB",
            f"{_percent(MEMORY / CAPACITY)}",
            Ruling.HOLDS,
            f"what the bytes hold is not told; topic keys keep {sum(evidence.schemes['triad1-ascon'].state.values())} bytes of "
            "state, and code of ours for a Z1 there is none",
            "paper 002, 6.2",
        ),
    ]


# ------------------------------------------------------------------ lifetime


def _lifetime(evidence: Evidence) -> list[Verdict]:
    hours = {between: evidence.hours("xor", Session.EACH, between) for between in Between}
    cb = evidence.hours("dtls-cert", Session.EACH, Between.CYCLED)
    times = {(session, between): evidence.longer(session, between) for session in Session for between in Between}
    listed = ", ".join(f"{hours[between]:,.0f} h {between}" for between in Between)
    factors = "; ".join(
        f"{session}: " + ", ".join(f"{times[session, between]:.3g} {between}" for between in Between)
        for session in (Session.EACH, Session.DAILY)
    )
    always = all(evidence.longer(s, b, rate) >= 1 for s in Session for b in Between for rate in RATES)
    reached = hours[Between.CYCLED] >= LIFETIME_H
    return [
        Verdict(
            "lifetime at 10 an hour",
            f"{LIFETIME_H:,} h",
            f"{hours[Between.CYCLED]:,.0f} h",
            Ruling.HOLDS if reached else Ruling.DOES_NOT_HOLD,
            f"{listed}: only a mote that cannot be reached between readings lives so long, and the paper's has to be",
            "paper 002, 6.3",
        ),
        Verdict(
            "lifetime of CB-DTLS at 10 an hour",
            f"{BASELINE_H:,} h",
            f"{round(cb, -2):,.0f} h",
            Ruling.CANNOT_BE_JUDGED,
            "duty cycled, a handshake for each reading; "
            f"{evidence.hours('dtls-cert', Session.DAILY, Between.CYCLED):,.0f} h with one a day",
            "paper 002, 6.3",
        ),
        Verdict(
            "lifetime, times CB-DTLS's",
            f"{TIMES:g}",
            f"{1 / max(evidence.shares()):.2g} to {1 / min(evidence.shares()):.2g}",
            Ruling.CANNOT_BE_JUDGED,
            f"{factors}; the most where nothing but transactions counts, which is how the paper divides. It is near the claim "
            "where the radio is off and every reading pays for a handshake",
            "paper 002, abstract, 6.3",
        ),
        Verdict(
            "superior in all usage scenarios",
            "always",
            f"{RATES[0]} to {RATES[-1]} an hour",
            Ruling.HOLDS if always else Ruling.DOES_NOT_HOLD,
            f"from {_overtaken(evidence)} an hour on a mote that is sent a key for each reading, as printed, spends more than "
            "one whose DTLS session lasts a day",
            "paper 002, 6.3",
        ),
    ]


def _overtaken(evidence: Evidence) -> int:
    """Return the rate from which CB-DTLS with a handshake a day costs less than a key for each reading; 0: never."""
    return next((rate for rate in RATES if evidence.longer(Session.DAILY, Between.OFF, rate) < 1), 0)


# ------------------------------------------------------------------ security


def _security() -> list[Verdict]:
    days = 2**64 / KEYS_A_SECOND / DAY_S
    source = "paper 002, 6.4"
    return [
        Verdict(
            "brute force of 64 bits",
            f"{YEARS:.3g} years",
            f"{days:.0f} days",
            Ruling.DOES_NOT_HOLD,
            "1.84e19 is the number of keys; at 10^12 a second they last that long (C-04), and known plaintext needs none (C-01)",
            source,
        ),
        Verdict(
            "end-to-end confidentiality",
            "yes",
            "8 known bytes",
            Ruling.DOES_NOT_HOLD,
            "a guessed beginning of one reading is its key (C-01); longer readings fall without any (C-11)",
            source,
        ),
        Verdict(
            "forward security",
            "yes",
            "1 key, 4 ms",
            Ruling.DOES_NOT_HOLD,
            "one session key tells pcg-rand's state and all keys before and after (C-03); one PSS opens all deliveries (C-05)",
            source,
        ),
        Verdict(
            "a hijacked broker gains nothing",
            "yes",
            "any reading",
            Ruling.DOES_NOT_HOLD,
            "it cannot read without C-01, and it can write: nothing tells its readings from the sensor's (C-02, C-07)",
            source,
        ),
    ]


# ------------------------------------------------------------------ mobility and carriers


def _mobility(evidence: Evidence) -> Sequence[Verdict]:
    spent = {name: evidence.device.spend(step).total_j * 1e3 for name, step in evidence.hand_overs.items()}
    handed, whole = spent["hand-over"], spent["power-on (enrolment)"]
    step = evidence.hand_overs["hand-over"]
    sn, over_tcp = (sum(carried(READING).sent) for carried in (carriers.mqttsn, carriers.mqtt))
    plain = sum(carriers.coap(READING).sent)
    return [
        Verdict(
            "the mote is not reconfigured when it moves",
            "no cost",
            f"{handed:.2g} mJ",
            Ruling.HOLDS,
            f"not as printed, where any broker gets the credential (C-09, C-10), but it can be had: {step.traffic.datagrams} "
            f"messages, no public-key operation, {_percent(handed / whole)} of the {whole:.3g} mJ of power-on",
            "paper 002, 4.2, abstract",
        ),
        Verdict(
            "MQTT is light",
            "light",
            f"{sn} B for {READING}",
            Ruling.HOLDS,
            f"MQTT-SN, which a mote without TCP speaks, wraps {READING} bytes into {sn}, CoAP into {plain}, MQTT over TCP into "
            f"{over_tcp} and two headers more",
            "paper 002, 1",
        ),
    ]
