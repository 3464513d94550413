"""What is compared: for each scheme the cost of one reading at its sensor, of what must happen before, and what is kept."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from keymote.bench.reproduce.paper000.baselines import baselines
from keymote.bench.reproduce.paper000.ours import counts
from keymote.bench.reproduce.paper000.scheme import HANDSHAKE, as_json
from keymote.bench.reproduce.paper002 import carriers, engines
from keymote.bench.reproduce.paper002.engines import Step
from keymote.bench.reproduce.paper002.metering import Work, ccm
from keymote.crypto.entropy import Entropy
from keymote.lab.energy import Cost, Figure, Profile, Traffic, cost

READING: Final = 32
"""Bytes of a reading in the clear."""
KEY: Final = 8
"""Bytes of the paper's session key."""


class Session(StrEnum):
    """How often keys are agreed on. The paper does not say how often its CB-DTLS shakes hands."""

    DAILY = "keys once a day"
    EACH = "keys for each reading"


@dataclass(frozen=True, slots=True)
class Device:
    """A profile, and what a round of Ascon costs it."""

    profile: Profile
    ascon_round: Figure

    def spend(self, step: Step) -> Cost:
        """Return what a step costs."""
        spent = cost(self.profile, step.work.operations, step.traffic)
        extra_s = step.work.ascon_rounds * self.ascon_round.value / self.profile.clock_hz.value
        return spent + Cost(extra_s, 0.0, extra_s * self.profile.cpu_w, 0.0, 0.0, 0)


@dataclass(frozen=True, slots=True)
class Scheme:
    """`reading` is one confirmed publication of 32 bytes, `keys` what is done before the first one, `source` of both."""

    name: str
    title: str
    reading: Step
    keys: Step
    state: Mapping[str, int]
    source: str
    sessions: Sequence[Session] = field(default=(Session.DAILY, Session.EACH))

    def energy_j(self, device: Device, session: Session) -> float:
        """Return joules of a reading, with its share of keys where each has its own."""
        each = device.spend(self.reading).total_j
        return each + (device.spend(self.keys).total_j if session is Session.EACH else 0.0)

    def daily_j(self, device: Device, session: Session) -> float:
        """Return joules that a day costs besides its readings."""
        return device.spend(self.keys).total_j if session is Session.DAILY else 0.0

    def as_json(self, devices: Sequence[Device]) -> dict[str, object]:
        return {
            "name": self.name,
            "title": self.title,
            "source": self.source,
            "reading": self.reading.as_json(),
            "keys": self.keys.as_json(),
            "state": dict(self.state),
            "state_bytes": sum(self.state.values()),
            "sessions": list(map(str, self.sessions)),
            "costs": {
                device.profile.name: {
                    "reading": as_json(device.spend(self.reading)),
                    "keys": as_json(device.spend(self.keys)),
                }
                for device in devices
            },
        }


def _nothing() -> Step:
    return Step(Traffic(), Work())


def published() -> list[Scheme]:
    """Return the paper's XOR as printed, with a key for each message, and the bar below it: XOR under a key that is kept."""
    reading = Step(carriers.mqttsn(READING), Work())
    delivery = Step(carriers.mqttsn_delivered(KEY), Work())
    source = "paper 002, 4.1: payload xor a key of 8 bytes, which costs nothing here; the key in a PUBLISH of 8 bytes"
    state = {"PSS": 16, "session key": KEY}
    return [
        Scheme("xor", "XOR, as printed", reading, delivery, state, source, (Session.EACH,)),
        Scheme("bare", "XOR, one key", reading, _nothing(), state, source, (Session.DAILY,)),
    ]


def triad1(entropy: Entropy) -> list[Scheme]:
    """Return topic keys over MQTT-SN and CoAP, in the ciphers that can be priced, and with signed readings."""
    found = []
    agreed = engines.key_exchange(entropy)
    kept = engines.state(entropy)
    keys = Step(in_coap(agreed.traffic), agreed.work)
    for name, title, cs, signed, carried in (
        ("triad1-ascon", "Triad-1, Ascon", 1, False, carriers.mqttsn),
        ("triad1-ccm", "Triad-1, AES-CCM-8", 2, False, carriers.mqttsn),
        ("triad1-coap", "Triad-1, Ascon, CoAP", 1, False, carriers.coap),
        ("triad1-signed", "Triad-1, signed", 1, True, carriers.mqttsn),
    ):
        octets, work = engines.reading(entropy, cs, bytes(READING), signed=signed)
        source = "our engines: bytes encoded, SHA-256 and cipher calls metered; KREQ, KRESP, KACK in CoAP"
        found.append(Scheme(name, title, Step(carried(octets), work), keys, kept, source))
    return found


def in_coap(messages: Traffic) -> Traffic:
    """Return messages to and from the trusted system as `POST k`, confirmed."""
    sent = [carriers.coap(size, path="k") for size in messages.sent]
    return Traffic([size for each in sent for size in each.sent], messages.received)


def peers(table: Mapping[str, Any]) -> list[Scheme]:
    """Return CB-DTLS, DTLS with a pre-shared key, and the HIP-like scheme, all with CoAP inside."""
    known = {scheme.name: scheme for scheme in baselines(counts()["baselines"])}
    found = []
    for name, title in (("dtls-cert", "CB-DTLS"), ("dtls-psk", "DTLS-PSK")):
        phase, state = known[name].phase(HANDSHAKE), known[name].state
        assert state is not None
        keys = Step(phase.traffic, Work(Counter(phase.operations)))
        source = f"{phase.operations_source}; {phase.traffic_source} ({phase.traffic_kind}); {table['records']['dtls']['source']}"
        kept = {**state.durable, **state.session}
        found.append(Scheme(name, title, _in_records(table["records"]["dtls"]), keys, kept, source))
    hip, esp = table["hip"], table["records"]["esp"]
    keys = Step(Traffic(tuple(hip["sent"]), tuple(hip["received"])), Work(Counter(hip["operations"])))
    kept = {**hip["durable"], **hip["session"]}
    found.append(
        Scheme("hip", hip["title"], _in_records(esp), keys, kept, f"{hip['about']}: {hip['source']}; {esp['source']}")
    )
    return found


def _in_records(record: Mapping[str, Any]) -> Step:
    """Return a reading in CoAP, request and answer each in a protected record."""
    plain = carriers.coap(READING)
    overhead, aad = record["octets"], record["aad"]
    work = Work()
    for size in (*plain.sent, *plain.received):
        work += ccm(aad, size)
    return Step(
        Traffic([size + overhead for size in plain.sent], [size + overhead for size in plain.received]),
        work,
    )


def hand_overs(entropy: Entropy, seed: bytes) -> Mapping[str, Step]:
    """Return what a mote does when it is taken over by another ward's broker, and in place of that."""
    agreed, connected, handed = engines.key_exchange(entropy), engines.connect(entropy), engines.hand_over(entropy)
    return {
        "hand-over": Step(in_coap(handed.traffic), handed.work),
        "connect at home": Step(in_coap(connected.traffic), connected.work),
        "new ticket and connect": Step(
            in_coap(agreed.traffic) + in_coap(connected.traffic), agreed.work + connected.work
        ),
        "power-on (enrolment)": engines.power_on(seed),
    }
