"""Who there is, where, and who opens a session with whom: everything that the seed decides before the first datagram."""

import json
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from keymote.errors import CallerFault
from keymote.manager.labels import Label, read_labels

OPERATORS: Final = ("north", "south")
MOST_NODES: Final = (1 << 16) - 2
FOREIGN_SHARE: Final = 0.8
"""Part of the sessions whose devices belong to different operators."""
DIRECT_SHARE: Final = 0.5
"""Part of the sessions whose devices speak directly; in the others the managers carry between them."""
_HOMES: Final = int(IPv4Address("127.64.0.0"))
_DOORS: Final = int(IPv4Address("127.65.0.0"))


@dataclass(frozen=True, slots=True)
class Terms:
    """What is asked for. `loss` is the part of all datagrams that is dropped, the part that is duplicated, and the part that
    is held back until others have passed, each on its own and each way. `at_once`: how many enrolments, and then how many
    sessions, one street has under way.
    """

    devices: int = 1000
    sessions: int = 1000
    loss: float = 0.05
    seed: int = 1
    at_once: int = 12

    def __post_init__(self) -> None:
        if not 2 <= self.devices <= MOST_NODES - len(OPERATORS):
            raise CallerFault(f"{self.devices} devices", do=f"take 2 to {MOST_NODES - len(OPERATORS)}")
        if not 0 <= self.loss <= 0.5:
            raise CallerFault(f"a loss of {self.loss:g}", do="give the part of all datagrams, 0 to 0.5")


class Place(NamedTuple):
    """One node of the fleet. It listens at `home`; everybody else knows only its `door`, which is the relay's."""

    number: int
    port: int

    @property
    def home(self) -> str:
        return str(IPv4Address(_HOMES + self.number))

    @property
    def door(self) -> str:
        return str(IPv4Address(_DOORS + self.number))

    @property
    def address(self) -> str:
        """Where others reach it: `coap://DOOR:PORT`."""
        return f"coap://{self.door}:{self.port}"


def manager_number(operator: int) -> int:
    """Return the number of an operator's manager: 1, 2."""
    return 1 + operator


def device_number(operator: int, index: int) -> int:
    """Return the number of the operator's device `index`; operators take turns."""
    return 1 + len(OPERATORS) + index * len(OPERATORS) + operator


def share_of(devices: int, operator: int) -> int:
    """Return how many of `devices` belong to this operator."""
    return (devices + len(OPERATORS) - 1 - operator) // len(OPERATORS)


class Meeting(NamedTuple):
    """A session to open: `(operator, index)` of both devices, and whether they speak directly."""

    initiator: tuple[int, int]
    responder: tuple[int, int]
    direct: bool


def meetings(terms: Terms) -> list[Meeting]:
    """Return the sessions of this seed: initiators by turns, responders by lot."""
    dice = Random(f"meetings {terms.seed}")  # noqa: S311  a plan, no secret
    everybody = [
        (operator, index) for operator in range(len(OPERATORS)) for index in range(share_of(terms.devices, operator))
    ]
    dice.shuffle(everybody)
    return [_meeting(dice, everybody, everybody[number % len(everybody)]) for number in range(terms.sessions)]


def _meeting(dice: Random, everybody: list[tuple[int, int]], initiator: tuple[int, int]) -> Meeting:
    foreign = dice.random() < FOREIGN_SHARE
    candidates = [node for node in everybody if node != initiator and (node[0] != initiator[0]) is foreign]
    if not candidates:  # a street of one house
        candidates = [node for node in everybody if node != initiator]
    return Meeting(initiator, dice.choice(candidates), dice.random() < DIRECT_SHARE)


@dataclass(frozen=True, slots=True)
class RelayPlan:
    """What the relay's process is told: doors 1 to `nodes` on `port`, and where it takes questions."""

    nodes: int
    port: int
    loss: float
    seed: int
    socket: str


@dataclass(frozen=True, slots=True)
class StreetPlan:
    """What a street's process is told: its operator's devices in the order of `labels`, and how many do a thing at once."""

    operator: int
    port: int
    labels: str
    folder: str
    root: str
    at_once: int
    seed: int
    socket: str


def write_plan(path: Path, plan: RelayPlan | StreetPlan) -> None:
    """Write what a process is told; it names files that hold secrets, and holds none."""
    path.write_text(json.dumps(asdict(plan), indent=2) + "\n")


def read_relay_plan(path: Path) -> RelayPlan:
    return RelayPlan(**json.loads(path.read_text()))


def read_street_plan(path: Path) -> StreetPlan:
    return StreetPlan(**json.loads(path.read_text()))


def labels_in(path: Path) -> list[Label]:
    """Return the labels of an operator's devices in the order of their numbers."""
    with path.open(encoding="utf-8", newline="") as file:
        return [label for _, label in read_labels(file) if isinstance(label, Label)]
