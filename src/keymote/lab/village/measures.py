"""What can be read off a village afterwards: how its keys were agreed on, and what its sealed log is worth to whom."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from keymote.engine.base import Now
from keymote.engine.group.epoch import GroupEpoch
from keymote.engine.group.faces import GroupReady, RingCommitted, RunStarted
from keymote.engine.group.payload import Payload, step
from keymote.engine.group.payload_faces import GroupOpened, UnprotectForGroup
from keymote.engine.group.traffic import Traffic
from keymote.engine.policy.group_faces import DAY_S
from keymote.errors import PeerFault
from keymote.lab.energy.radio import air
from keymote.lab.street import GW, Street
from keymote.lab.village.office import SealedRecord
from keymote.wire.group import (
    Blame,
    Bundle,
    Commit,
    JoinRequest,
    Need,
    Roster,
    Round1,
    Round1Compact,
    Round2,
    Round3,
    Start,
)
from keymote.wire.gsec import read as read_record
from keymote.wire.registry import peek

RATE: Final = 250_000
"""Bits per second of IEEE 802.15.4 in the 2.4 GHz band."""
COAP: Final = 9
"""Bytes of a CoAP NON without token around a datagram: header 4, Uri-Path "k" 2, Content-Format 2, marker 1 (RFC 7252 3)."""
OF_A_RUN: Final = frozenset(
    kind.mt for kind in (Start, Round1, Round1Compact, Round2, Round3, Commit, Blame, Roster, JoinRequest, Need, Bundle)
)


class Negotiation(NamedTuple):
    """How one epoch was agreed on. `at`: virtual time of its first START; `reason`: START's.

    `ready_ms`: from there until the last of the members (`kids`) was active, in virtual time, in which computing takes none and
    datagrams do not wait for each other. `air_ms`: what the datagrams meanwhile take on one 802.15.4 channel, one by one.
    """

    epoch: int
    at: float
    kids: tuple[bytes, ...]
    attempts: int
    reason: int
    ready_ms: float
    messages: int
    octets: int
    air_ms: float

    @property
    def n(self) -> int:
        return len(self.kids)

    def row(self) -> Mapping[str, object]:
        """Return this as a row of a table, with the day and without the kids."""
        row = {name: value for name, value in self._asdict().items() if name != "kids"}
        return {**row, "at": round(self.at, 3), "n": self.n, "day": round(self.at / DAY_S, 3)}


def negotiations(made: Street, gateway: str = GW) -> list[Negotiation]:
    """Return how each epoch that was committed came about, in order."""
    begun: dict[int, tuple[float, int]] = {}
    committed: dict[int, RingCommitted] = {}
    for at, _, report in made.sim.hosts[gateway].reports:
        match report:
            case RunStarted(_, epoch, _, _, cause):
                begun.setdefault(epoch, (at, cause.reason))
            case RingCommitted():
                committed[report.epoch] = report
    names = {person.kid: name for name, person in made.people.items()}
    ready = {
        (name, report.epoch): at
        for name in names.values()
        if name in made.sim.hosts
        for at, _, report in made.sim.hosts[name].reports
        if isinstance(report, GroupReady)
    }
    found = []
    for epoch, report in sorted(committed.items()):
        at, reason = begun[epoch]
        last = max(ready.get((names[kid], epoch), at) for kid in report.kids)
        said = [d.data for d in made.sim.air if at <= d.at <= last and peek(d.data)[0] in OF_A_RUN]
        on_air = sum(air(len(data) + COAP).octets for data in said)
        found.append(
            Negotiation(
                epoch,
                at,
                report.kids,
                report.attempt + 1,
                reason,
                round((last - at) * 1e3, 3),
                len(said),
                sum(map(len, said)),
                round(on_air * 8 / RATE * 1e3, 3),
            )
        )
    return found


def opened_outside(made: Street, name: str, first: int, last: int) -> int:
    """Return how many records of epochs outside first..last a member has opened."""
    return sum(not first <= report.epoch <= last for report in made.sim.heard(name, GroupOpened))


def readable(records: Iterable[SealedRecord], epochs: Mapping[int, GroupEpoch], made: Street) -> int:
    """Return how many records of a log somebody could read who holds the keys of all these epochs: each once.

    That is the laboratory; no member of a village has the keys of epochs before it joined, and no gateway has any.
    """
    by16 = {epoch.epoch16: epoch for epoch in epochs.values()}
    readers: dict[int, Payload] = {}
    count = 0
    signing = made.people[GW].signing
    for _, resource, record in records:
        epoch16 = read_record(record).epoch16
        if epoch16 not in by16:
            continue
        reader = readers.setdefault(epoch16, Payload(made.gid, current=Traffic.begin(by16[epoch16])))
        try:
            readers[epoch16], reports = step(reader, UnprotectForGroup("log", record, resource), signing, Now(0.0, 0))
        except PeerFault:
            continue
        count += any(isinstance(report, GroupOpened) for report in reports)
    return count
