"""The floor plan of a hospital and how patients walk on it: wards as a graph, seeded choices, times of stay."""

import math
from dataclasses import dataclass
from typing import Final

from keymote.lab.simulator.network import Dice

HALL: Final = 0
"""The ward with the examination rooms: one can walk there from everywhere."""
TO_EXAMINATION: Final = 0.25
HOMEWARDS: Final = 0.4
"""How likely somebody who is elsewhere, and next door to the own ward, walks back there."""


@dataclass(frozen=True, slots=True)
class Floor:
    """Wards 0 to `wards` − 1 on a corridor that runs in a ring, with the hall in reach of all. Each has a broker of its own."""

    wards: int

    def neighbours(self, ward: int) -> tuple[int, ...]:
        """Return the wards that can be walked to from here, in order."""
        if ward == HALL:
            return tuple(range(1, self.wards))
        ring = self.wards - 1
        beside = {1 + (ward - 1 + step) % ring for step in (-1, 1)}
        return tuple(sorted({HALL, *beside} - {ward}))


@dataclass(frozen=True, slots=True)
class Habits:
    """How patients walk: at least `least_s` in a ward and `dwell_s` on average, and `walk_s` to twice that out of reach of all."""

    least_s: float = 10.0
    dwell_s: float = 60.0
    walk_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Walk:
    """One walk: after `stay_s` in the present ward, `on_the_way_s` without a radio, then in ward `to`."""

    stay_s: float
    on_the_way_s: float
    to: int


def next_walk(floor: Floor, habits: Habits, home: int, here: int, dice: Dice) -> Walk:
    """Return where a patient of ward `home` who is `here` walks next."""
    beyond = max(0.0, habits.dwell_s - habits.least_s)
    stay = habits.least_s - beyond * math.log(1.0 - dice.uniform())
    way = habits.walk_s * (1.0 + dice.uniform())
    near = floor.neighbours(here)
    chance = dice.uniform()
    if home in near and chance < HOMEWARDS:
        return Walk(stay, way, home)
    if HALL in near and chance > 1.0 - TO_EXAMINATION:
        return Walk(stay, way, HALL)
    return Walk(stay, way, near[int(dice.uniform() * len(near))])
