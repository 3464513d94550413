"""Scripts over the simulated network: nodes that say so many bytes when they have heard enough, and compute for so long."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.engine.base import (
    CellKey,
    Command,
    Durability,
    Item,
    Kind,
    Node,
    Now,
    Output,
    Peer,
    Received,
    Report,
    Send,
    Step,
)
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.lab.baselines.script import FEWEST_OCTETS, Flow, Script
from keymote.lab.energy import Profile
from keymote.lab.energy.radio import air
from keymote.lab.simulator import Channel, Pace, Simulator

PLAYER: Final = CellKey("player", b"")
MOST_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Begin(Command):
    """Say what needs nothing heard before."""


@dataclass(frozen=True, slots=True)
class Complete(Report):
    """This node has heard everything that is for it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A node's place in the script: the numbers of the flows that it has heard and said."""

    heard: frozenset[int] = frozenset()
    said: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Played:
    """Seconds from the first word until the last meter has the key."""

    seconds: float
    trace: str


@dataclass(slots=True)
class _Ledger:
    """What each node has computed since it was asked last."""

    devices: Callable[[Peer], Profile]
    due: dict[str, Counter[str]] = field(default_factory=dict)

    def charge(self, name: str, operations: Mapping[str, int]) -> None:
        self.due.setdefault(name, Counter()).update(operations)

    def __call__(self, name: str) -> float:
        return self.devices(name).seconds(self.due.pop(name, Counter()))


def play(script: Script, devices: Callable[[Peer], Profile], channel: Channel, seed: bytes) -> Played:
    """Let a script run once on these devices; a radio with 250 kbit/s carries one datagram at a time.

    Raises:
        CallerFault: somebody never hears what is for it: the channel loses, and scripts repeat nothing.
    """
    ledger = _Ledger(devices)
    sim = Simulator(seed, channel=channel)
    sim.pace = Pace(ledger, lambda octets: air(octets).octets * 8 / 250_000)
    done: dict[str, float] = {}

    def hear(name: str, report: Report) -> None:
        assert sim.pace is not None
        if isinstance(report, Complete):
            done.setdefault(name, sim.pace.done_at(name, sim.now))

    sim.hear = hear
    for name in script.everybody:
        sim.add(name, partial(_node, script, name, ledger), segment="street")
    for name in script.everybody:
        sim.command(name, PLAYER, Begin())
    if not sim.run_until(lambda: all(name in done for name in script.meters), MOST_S):
        keyed = sum(name in done for name in script.meters)
        raise CallerFault(f"{script.name}: {keyed} of {len(script.meters)} have the key after {MOST_S:g} s")
    return Played(max(done[name] for name in script.meters), sim.trace)


def _node(script: Script, name: Peer, ledger: _Ledger) -> Node:
    kind = Kind("player", Durability.VOLATILE, partial(_step, script, name, ledger))
    return Node({"player": kind}, lambda _peer, _data: (PLAYER,))


def _step(
    script: Script, name: Peer, ledger: _Ledger, cell: Part | None, item: Item, _now: Now, _entropy: Entropy
) -> Step:
    part = cell or Part()
    match item:
        case Begin():
            heard = part.heard
        case Received(_, data):
            number = int.from_bytes(data[:FEWEST_OCTETS], "big")
            if number in part.heard:
                return part, ()
            ledger.charge(name, script.flows[number].taking)
            heard = part.heard | {number}
        case _:
            raise PeerFault(ErrorCode.E_STATE, "not in the script")
    known = {script.flows[number].name for number in heard}
    outputs: list[Output] = []
    said = set(part.said)
    for number, flow in enumerate(script.flows):
        if flow.source == name and number not in said and flow.after <= known:
            said.add(number)
            ledger.charge(name, flow.making)
            outputs.append(Send(flow.target, _wire(number, flow)))
    if {flow.name for flow in script.heard_by(name)} <= known:
        outputs.append(Complete())
    return Part(heard, frozenset(said)), outputs


def _wire(number: int, flow: Flow) -> bytes:
    return number.to_bytes(FEWEST_OCTETS, "big") + bytes(flow.octets - FEWEST_OCTETS)
