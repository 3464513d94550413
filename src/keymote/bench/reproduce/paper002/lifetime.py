"""How long two batteries last: what readings cost, and what the mote spends between them, with and without duty cycling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from keymote.bench.reproduce.paper002.schemes import Device, Scheme, Session
from keymote.lab.energy import Figure

HOUR_S: Final = 3600.0
DAY_H: Final = 24.0
RATES: Final[Sequence[int]] = (1, 2, 5, 10, 20, 40, 60, 120, 240)
"""Readings an hour."""


class Between(StrEnum):
    """What the radio does between readings."""

    OFF = "radio off"
    """The mote sleeps and cannot be reached, as a sleeping client of MQTT-SN."""
    CYCLED = "duty cycled"
    """It samples the channel eight times a second, as ContikiMAC does."""
    ON = "always listening"
    """No duty cycling."""


@dataclass(frozen=True, slots=True)
class Supply:
    """Batteries, and what is drawn while nothing is sent: `sleep_a` amperes, `listening` the radio's share of the time."""

    charge_ah: Figure
    sleep_a: Figure
    listening: Figure

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> "Supply":
        return cls(*(Figure.read(name, table[name]) for name in ("charge_ah", "sleep_a", "listening")))

    def energy_j(self, device: Device) -> float:
        return self.charge_ah.value * HOUR_S * device.profile.voltage_v.value

    def idle_w(self, device: Device, between: Between) -> float:
        """Return watts between readings."""
        share = {Between.OFF: 0.0, Between.CYCLED: self.listening.value, Between.ON: 1.0}[between]
        return device.profile.voltage_v.value * (self.sleep_a.value + share * device.profile.rx_a.value)

    def hours(self, device: Device, scheme: Scheme, session: Session, between: Between, rate: float) -> float:
        """Return how long the batteries last at `rate` readings an hour; their own losses are left out."""
        idle = self.idle_w(device, between) * HOUR_S
        hourly = idle + rate * scheme.energy_j(device, session) + scheme.daily_j(device, session) / DAY_H
        return self.energy_j(device) / hourly

    def as_json(self) -> dict[str, object]:
        return {
            "charge_ah": self.charge_ah.as_json(),
            "sleep_a": self.sleep_a.as_json(),
            "listening": self.listening.as_json(),
        }
