"""Energy and time of a phase on a device: operations times cycles, bytes on the air times the radio's power."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keymote.lab.energy.profile import Profile
from keymote.lab.energy.radio import Air, air


@dataclass(frozen=True, slots=True)
class Traffic:
    """UDP payloads of one device in the order in which they went, in bytes each, without UDP and IP."""

    sent: Sequence[int] = ()
    received: Sequence[int] = ()

    @property
    def octets(self) -> int:
        return sum(self.sent) + sum(self.received)

    @property
    def datagrams(self) -> int:
        return len(self.sent) + len(self.received)

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic((*self.sent, *other.sent), (*self.received, *other.received))


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds and joules of one phase, and frames on the air."""

    cpu_s: float
    radio_s: float
    cpu_j: float
    tx_j: float
    rx_j: float
    frames: int

    @property
    def total_j(self) -> float:
        return self.cpu_j + self.tx_j + self.rx_j

    @property
    def total_s(self) -> float:
        return self.cpu_s + self.radio_s

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.cpu_s + other.cpu_s,
            self.radio_s + other.radio_s,
            self.cpu_j + other.cpu_j,
            self.tx_j + other.tx_j,
            self.rx_j + other.rx_j,
            self.frames + other.frames,
        )


def cost(profile: Profile, operations: Mapping[str, int], traffic: Traffic) -> Cost:
    """Return what a device of this profile spends on these operations and datagrams, and nothing for waiting."""
    out, back = [air(size) for size in traffic.sent], [air(size) for size in traffic.received]
    second_per_octet = 8 / profile.bit_rate.value
    tx_s = (_octets(out) + _acks(back)) * second_per_octet
    rx_s = (_octets(back) + _acks(out)) * second_per_octet
    cpu_s = profile.seconds(operations)
    volts = profile.voltage_v.value
    return Cost(
        cpu_s,
        tx_s + rx_s,
        cpu_s * profile.cpu_w,
        tx_s * volts * profile.tx_a.value,
        rx_s * volts * profile.rx_a.value,
        sum(each.frames for each in (*out, *back)),
    )


def _octets(datagrams: Sequence[Air]) -> int:
    return sum(each.octets for each in datagrams)


def _acks(datagrams: Sequence[Air]) -> int:
    return sum(each.acks for each in datagrams)
