"""A script: the messages of a scheme, their bytes, what must be heard before each, and what they cost to make and to take."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from keymote.engine.base import MULTICAST, Peer
from keymote.errors import CallerFault

SERVER: Final[Peer] = "server"
FEWEST_OCTETS: Final = 2
"""A message carries at least its own number."""
Operations = Mapping[str, int]
"""Operations by the names of `bench/operations.toml`."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One message of `octets` UDP payload. It leaves when its source has heard all flows of `after` (by their names)."""

    name: str
    source: Peer
    target: Peer
    octets: int
    after: frozenset[str] = frozenset()
    making: Operations = field(default_factory=dict)
    taking: Operations = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Script:
    """A scheme's run among `meters` and a server. The key is everywhere when every meter has heard what is for it."""

    name: str
    meters: Sequence[Peer]
    flows: Sequence[Flow]

    def __post_init__(self) -> None:
        names = {flow.name for flow in self.flows}
        if len(names) < len(self.flows) or any(not flow.after <= names for flow in self.flows):
            raise CallerFault(f"script {self.name}: a flow stands twice, or waits for one that there is not")
        if any(flow.octets < FEWEST_OCTETS for flow in self.flows):
            raise CallerFault(f"script {self.name}: a message of fewer than {FEWEST_OCTETS} bytes")

    @property
    def everybody(self) -> Sequence[Peer]:
        return (SERVER, *self.meters)

    @property
    def octets(self) -> int:
        """Bytes of all messages, each counted once."""
        return sum(flow.octets for flow in self.flows)

    def heard_by(self, name: Peer) -> Sequence[Flow]:
        """Return what reaches somebody: what is for it, and what is for all."""
        return [
            flow for flow in self.flows if flow.target == name or (flow.target == MULTICAST and flow.source != name)
        ]

    def operations_of(self, name: Peer) -> Counter[str]:
        """Return what somebody computes."""
        found: Counter[str] = Counter()
        for flow in self.flows:
            found.update(flow.making if flow.source == name else {})
        for flow in self.heard_by(name):
            found.update(flow.taking)
        return found
