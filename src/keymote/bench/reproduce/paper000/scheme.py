"""What is compared: schemes, their phases and what a device must remember for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Final

from keymote.bench.operations import Counts
from keymote.lab.energy import Cost, Kind, Profile, Traffic, cost

ENROLMENT: Final = "enrolment"
AUTHENTICATION: Final = "authentication"
SESSION_KEY: Final = "session key"
HANDSHAKE: Final = "handshake"
"""Authentication and key in one, for schemes that do not divide."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase at one device: what it computes, and the UDP payloads that it sends and receives.

    `messages` are the protocol's own bytes, `traffic` those in their carrier (CoAP where there is one).
    """

    name: str
    operations: Counts
    operations_source: str
    messages: Traffic
    traffic: Traffic
    traffic_kind: Kind
    traffic_source: str

    def as_json(self, costs: Mapping[str, Cost]) -> dict[str, object]:
        """Return everything about the phase with what it costs on each profile."""
        return {
            "phase": self.name,
            "operations": dict(sorted(self.operations.items())),
            "operations_source": self.operations_source,
            "sent": list(self.messages.sent),
            "received": list(self.messages.received),
            "bytes": self.messages.octets,
            "carried_bytes": self.traffic.octets,
            "datagrams": self.messages.datagrams,
            "traffic_kind": str(self.traffic_kind),
            "traffic_source": self.traffic_source,
            "costs": {name: as_json(spent) for name, spent in costs.items()},
        }


@dataclass(frozen=True, slots=True)
class State:
    """Bytes that a device keeps: over reboots, and for one session while it is open."""

    durable: Mapping[str, int]
    session: Mapping[str, int]
    kind: Kind
    source: str

    def as_json(self) -> dict[str, object]:
        return {
            "durable": dict(self.durable),
            "durable_bytes": sum(self.durable.values()),
            "session": dict(self.session),
            "session_bytes": sum(self.session.values()),
            "kind": str(self.kind),
            "source": self.source,
        }


@dataclass(frozen=True, slots=True)
class Scheme:
    """One row of the comparison. `suite` None: priced on every profile, whatever its group."""

    name: str
    title: str
    about: str
    suite: int | None
    phases: Sequence[Phase]
    state: State | None
    forward_secrecy: bool

    def fits(self, profile: Profile) -> bool:
        """Whether this scheme can be priced on that profile: a suite of ours needs a profile of its group."""
        return self.suite in (None, profile.suite)

    def phase(self, name: str) -> Phase:
        return next(phase for phase in self.phases if phase.name == name)

    def phase_cost(self, name: str, profile: Profile) -> Cost:
        phase = self.phase(name)
        return cost(profile, phase.operations, phase.traffic)

    def session_cost(self, profile: Profile) -> Cost:
        """Return what one session costs: everything but enrolment, which happens once in a device's life."""
        return reduce(add, (self.phase_cost(each.name, profile) for each in self.phases if each.name != ENROLMENT))

    @property
    def session_messages(self) -> Traffic:
        return reduce(add, (each.messages for each in self.phases if each.name != ENROLMENT), Traffic())

    def as_json(self, profiles: Sequence[Profile]) -> dict[str, object]:
        """Return the scheme with the costs of its phases and of a session on every profile that fits."""
        fitting = [profile for profile in profiles if self.fits(profile)]
        return {
            "name": self.name,
            "title": self.title,
            "about": self.about,
            "suite": self.suite,
            "forward_secrecy": self.forward_secrecy,
            "phases": [
                each.as_json({profile.name: self.phase_cost(each.name, profile) for profile in fitting})
                for each in self.phases
            ],
            "session": {profile.name: as_json(self.session_cost(profile)) for profile in fitting},
            "state": None if self.state is None else self.state.as_json(),
        }


def as_json(spent: Cost) -> dict[str, object]:
    """Return a cost in milliseconds and microjoules, to five digits."""
    figures = {
        "cpu_ms": spent.cpu_s * 1e3,
        "radio_ms": spent.radio_s * 1e3,
        "cpu_uj": spent.cpu_j * 1e6,
        "tx_uj": spent.tx_j * 1e6,
        "rx_uj": spent.rx_j * 1e6,
        "total_uj": spent.total_j * 1e6,
    }
    return {**{name: float(f"{value:.5g}") for name, value in figures.items()}, "frames": spent.frames}
