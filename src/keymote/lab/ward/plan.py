"""What a hospital of the laboratory is made of: the section `[ward]` of an experiment."""

from dataclasses import dataclass

from keymote.errors import CallerFault
from keymote.lab.ward.floor import Habits

MOST_PATIENTS = 200
MOST_WARDS = 20


@dataclass(frozen=True, slots=True)
class WardPlan:
    """Times in seconds, chances from 0 to 1. One world is played for each part of datagrams in `losses`.

    `alarms`: chance of an alarm on a walk; `hasty`: that somebody walks on within a round trip of the radio, so that two
    brokers are asked at once. Every `down_every_s` a broker is down for `down_for_s`; every `rotate_every_s` a topic gets
    a new epoch while one caregiver sleeps for `asleep_s`. 0: never.
    """

    patients: int = 50
    wards: int = 3
    caregivers: int = 3
    moves: int = 10_000
    losses: tuple[float, ...] = (0.0, 0.05)
    read_every_s: float = 5.0
    least_s: float = 10.0
    dwell_s: float = 60.0
    walk_s: float = 0.5
    alarms: float = 0.3
    hasty: float = 0.02
    radio_rtt_s: float = 0.05
    radio_jitter_s: float = 0.0
    between_s: float = 0.005
    down_every_s: float = 600.0
    down_for_s: float = 5.0
    rotate_every_s: float = 100.0
    asleep_s: float = 20.0

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("patients", self.patients, 1, MOST_PATIENTS),
            ("wards", self.wards, 2, MOST_WARDS),
            ("caregivers", self.caregivers, 1, 20),
            ("moves", self.moves, 1, 1_000_000),
            ("losses", len(self.losses), 1, 5),
        ):
            if not low <= value <= high:
                raise CallerFault(f"{name} of a ward: {value}", do=f"choose from {low} to {high}")
        if not all(0 <= loss < 0.5 for loss in self.losses):
            raise CallerFault(f"losses of a ward: {list(self.losses)}", do="choose parts from 0.0 to 0.5")
        if not 0 < self.least_s <= self.dwell_s:
            raise CallerFault("a ward's stays are shorter than they may be", do="choose dwell_s of at least least_s")

    @property
    def habits(self) -> Habits:
        return Habits(self.least_s, self.dwell_s, self.walk_s)
