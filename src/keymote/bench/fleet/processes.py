"""Everything that runs in the bench, started by the product's own commands: offices, the relay, the streets."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keymote.bench.fleet.plan import (
    OPERATORS,
    Place,
    RelayPlan,
    StreetPlan,
    Terms,
    labels_in,
    manager_number,
    share_of,
    write_plan,
)
from keymote.bench.fleet.role import resident_kib
from keymote.errors import CallerFault, Unavailable
from keymote.stories.offices import Office, appoint, authority_of, open_offices
from keymote.stories.processes import Cast, Role, free_port, together
from keymote.transports.control import ControlClient

RELAY: Final = "keymote.bench.fleet.relay"
STREET: Final = "keymote.bench.fleet.street"


@dataclass(frozen=True, slots=True)
class Fleet:
    """The running fleet. `dev_ids`: of each operator's devices, in the order of their numbers."""

    cast: Cast
    port: int
    relay: Role
    managers: Sequence[Role]
    streets: Sequence[Role]
    dev_ids: Sequence[Sequence[str]]

    async def ask(self, role: Role, do: str, **arguments: object) -> Any:
        """Ask the relay or a street; Unavailable when any role has ended."""
        for other in self.cast.roles:
            if other.process.returncode is not None:
                raise Unavailable(f"{other.name} has ended", do=f"see {other.log}")
        return await asyncio.to_thread(_asked, Path(role.address), do, arguments)

    async def ask_streets(self, do: str) -> list[Any]:
        """Return what both streets answer."""
        return await together(*(self.ask(street, do) for street in self.streets))

    def resident_kib(self, roles: Sequence[Role]) -> int:
        """Return the memory that these roles hold together now."""
        return sum(resident_kib(role.pid) for role in roles)


def _asked(path: Path, do: str, arguments: Mapping[str, object]) -> Any:
    with ControlClient(path) as control:
        return control.ask(do, **arguments)


async def start(cast: Cast, terms: Terms) -> Fleet:
    """Start authority, coordinators, relay, managers and streets; the devices are known to their managers, and still off."""
    offices = [Office(name, cast.folder / name, free_port()) for name in OPERATORS]
    port = _free_udp_port()
    await open_offices(cast, offices)
    relay = await _relay(cast, terms, port)
    await together(*(_manager(cast, office, number, port) for number, office in enumerate(offices)))
    await together(*(_expect(cast, office, number, terms) for number, office in enumerate(offices)))
    streets = await together(*(_street(cast, office, number, terms, port) for number, office in enumerate(offices)))
    managers = [office.manager for office in offices if office.manager is not None]
    return Fleet(cast, port, relay, managers, streets, [_dev_ids(office) for office in offices])


async def _relay(cast: Cast, terms: Terms, port: int) -> Role:
    plan = RelayPlan(len(OPERATORS) + terms.devices, port, terms.loss, terms.seed, str(cast.folder / "relay.sock"))
    path = cast.folder / "relay.json"
    write_plan(path, plan)
    return await cast.start("relay", str(path), address="address", module=RELAY)


async def _manager(cast: Cast, office: Office, operator: int, port: int) -> None:
    place = Place(manager_number(operator), port)
    await appoint(cast, office, "--listen", place.home, "--port", str(port), "--announce", place.address)


async def _expect(cast: Cast, office: Office, operator: int, terms: Terms) -> None:
    labels = str(_labels(office))
    await cast.run("device", "labels", "--count", str(share_of(terms.devices, operator)), "--to", labels)
    await cast.run("device", "import", labels, "--data", str(office.folder / "manager"))


async def _street(cast: Cast, office: Office, operator: int, terms: Terms, port: int) -> Role:
    plan = StreetPlan(
        operator,
        port,
        labels=str(_labels(office)),
        folder=str(office.folder / "street"),
        root=str(authority_of(cast) / "root.pin"),
        at_once=terms.at_once,
        seed=terms.seed,
        socket=str(office.folder / "street.sock"),
    )
    path = office.folder / "street.json"
    write_plan(path, plan)
    return await cast.start(f"street-{office.name}", str(path), address="address", module=STREET)


def _labels(office: Office) -> Path:
    return office.folder / "labels.csv"


def _dev_ids(office: Office) -> list[str]:
    return [label.dev_id.hex() for label in labels_in(_labels(office))]


def _free_udp_port() -> int:
    """Return a port that is free at the addresses of the first node, and so most likely at all of them."""
    first = Place(1, 0)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as home,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door,
    ):
        try:
            home.bind((first.home, 0))
            port: int = home.getsockname()[1]
            door.bind((first.door, port))
        except OSError as error:
            raise CallerFault(
                f"no addresses for a fleet: {error.strerror}", do="it needs all of 127.0.0.0/8, as Linux has it"
            ) from error
        return port
