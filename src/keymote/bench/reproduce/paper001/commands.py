"""Figure 9's commands: homes of an energy exchange say what they offer, signed, and all others validate it."""

from collections.abc import Mapping, Sequence
from typing import Final

from keymote.bench.reproduce.paper001.streets import SERIES, World, world
from keymote.bench.ring import GID
from keymote.engine.group.faces import membership_of
from keymote.engine.group.payload_faces import GroupOpened, GroupProtected, ProtectForGroup, UnprotectForGroup
from keymote.lab.energy import Profile

EVERY_S: Final = 5
CYCLE_S: Final = 60
"""A session cycle: each home offers every 5 s for a minute. The paper names neither."""
OFFER: Final = b'{"kWh":1.2,"ct":21}'


def delivered(ns: Sequence[int], devices: Mapping[str, Profile], seed: bytes) -> Mapping[int, int]:
    """Return, by number of homes, how many commands of one cycle all others have validated."""
    return {n: _cycle(world(SERIES[0], n, devices, seed + b" commands")) for n in ns}


def _cycle(street: World) -> int:
    validated = 0
    for _ in range(CYCLE_S // EVERY_S):
        for name in street.names:
            record = _sent(street, name)
            others = [other for other in street.names if other != name]
            validated += all(_validates(street, other, name, record) for other in others)
        street.sim.run_for(EVERY_S)
    return validated


def _sent(street: World, name: str) -> bytes:
    reports = street.sim.command(name, membership_of(GID), ProtectForGroup(OFFER, "offers", signed=True))
    (record,) = (report.record for report in reports if isinstance(report, GroupProtected))
    return record


def _validates(street: World, name: str, source: str, record: bytes) -> bool:
    reports = street.sim.command(name, membership_of(GID), UnprotectForGroup(source, record, "offers"))
    return any(isinstance(report, GroupOpened) and report.signed and report.plaintext == OFFER for report in reports)
