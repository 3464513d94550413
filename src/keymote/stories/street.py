"""A street of meters at one operator's manager, and its groups, by the faces that people have: REST, control sockets, commands."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from keymote.coordinator.app.directory import token_in
from keymote.errors import KeymoteError, Unavailable
from keymote.stories.offices import Office
from keymote.stories.processes import Cast, together
from keymote.transports.control import ControlClient
from keymote.transports.http_operator import OperatorClient
from keymote.wire import admin, admin_groups

WATCH_S: Final = 60.0
LOOK_EVERY_S: Final = 0.05
METER: Final = "meter-"
"""How the name of each meter's role begins."""


@dataclass(frozen=True, slots=True)
class Meter:
    """One device of the street, a process of its own."""

    name: str
    dev_id: str
    control: Path
    pid: int
    address: str

    def ask(self, do: str, **arguments: object) -> Any:
        """Ask its process, as the commands of its owner do."""
        with ControlClient(self.control) as control:
            return control.ask(do, **arguments)

    def facts(self) -> dict[str, object]:
        return {"role": self.name, "pid": self.pid, "address": self.address}


@dataclass(slots=True)
class Street:
    """The operator and its meters."""

    cast: Cast
    office: Office
    meters: list[Meter] = field(default_factory=list)

    @classmethod
    async def built(cls, cast: Cast, office: Office, root: Path, count: int) -> "Street":
        """Make labels, have the manager expect them, and start a process for each meter."""
        labels, homes, data = office.folder / "street.csv", office.folder / "meters", office.folder / "manager"
        assert office.manager is not None
        await cast.run("device", "labels", "--count", str(count), "--to", str(labels))
        laid, _ = await together(
            cast.run(
                *("device", "init", str(labels), "--all", "--dir", str(homes), "--root", str(root)),
                *("--manager", office.manager.address),
            ),
            cast.run("device", "import", str(labels), "--data", str(data)),
        )
        meters = await together(*(cls._meter(cast, at, row) for at, row in enumerate(laid["devices"], 1)))
        await asyncio.gather(*(asyncio.to_thread(meter.ask, "enrolled", timeout_s=20) for meter in meters))
        return cls(cast, office, meters)

    @staticmethod
    async def _meter(cast: Cast, number: int, laid: Mapping[str, Any]) -> Meter:
        name = f"{METER}{number:02d}"
        role = await cast.start(name, "device", "run", "--config", str(laid["config"]), address="address")
        return Meter(name, str(laid["id"]), Path(role.ready["control"]), role.pid, role.address)

    def traffic(self) -> tuple[int, int]:
        """Return UDP payloads and bytes at all meters so far."""
        stands = [meter.ask("status") for meter in self.meters]
        return sum(stand["messages"] for stand in stands), sum(stand["bytes"] for stand in stands)

    def operator(self) -> OperatorClient:
        """Return a client of the coordinator with the operator's token."""
        data = self.office.folder / "coordinator"
        return OperatorClient(self.office.url, data / "ca.pem", token_in(data / "token"))

    async def create(
        self, name: str, members: Sequence[Meter], allowed: Sequence[Meter], *, multicast: bool
    ) -> "Group":
        """Make a group as `keymote group create` does."""
        assert self.office.manager is not None
        body = admin_groups.CreateGroup(
            name,
            str(self.office.manager.ready["nm_id"]),
            [meter.dev_id for meter in members],
            [meter.dev_id for meter in allowed],
            multicast=multicast,
        )
        client = self.operator()
        try:
            made = await client.send("POST", "/groups", body, admin_groups.GroupView)
        finally:
            await client.close()
        return Group(self, made.gid, list(members))


@dataclass(slots=True)
class Group:
    """A group of the street. `members`: who should be in it now."""

    street: Street
    gid: str
    members: list[Meter]

    # ------------------------------------------------------------------ at the meters

    def stand(self, meter: Meter) -> dict[str, Any] | None:
        """Return how a meter stands in the group; None before it was invited."""
        return next((each for each in meter.ask("group.list") if each["gid"] == self.gid), None)

    async def agreed(self, above: int = 0) -> int:
        """Wait until all members, and nobody else, are active with one key of an epoch above; return the epoch."""
        return int(await until(self.epoch, lambda epoch: epoch > above))

    def epoch(self) -> int:
        """Return the epoch in which all members are active with one key; 0 when they do not agree."""
        stands = [self.stand(meter) for meter in self.members]
        if not all(each and each["state"] == "active" and each["n"] == len(stands) for each in stands):
            return 0
        agreed = {(each["epoch"], each["key_id"]) for each in stands if each}
        return int(next(iter(agreed))[0]) if len(agreed) == 1 else 0

    def key_ids(self) -> list[str]:
        """Return the public name of the key that each member holds."""
        return [str(stand["key_id"]) for meter in self.members if (stand := self.stand(meter))]

    def send(self, meter: Meter, resource: str, text: str, *, signed: bool = True) -> dict[str, Any]:
        """Let a member send, as `keymote group send` does."""
        payload = admin.to_base64url(text.encode())
        said: dict[str, Any] = meter.ask(
            "group.send", group=self.gid, resource=resource, payload=payload, signed=signed
        )
        return said

    def heard(self, meter: Meter, after: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Return what a member has opened since `after`, and where to go on."""
        messages: list[dict[str, Any]] = []
        while True:
            said = meter.ask("group.tail", group=self.gid, after=after)
            messages += said["messages"]
            if not said["messages"]:
                return messages, said["after"]
            after = said["after"]

    async def heard_by_all(self, text: str, meters: Sequence[Meter]) -> int:
        """Wait until these have opened a message; return how many have."""

        def count() -> int:
            return sum(any(each["text"] == text for each in self.heard(meter)[0]) for meter in meters)

        return int(await until(count, lambda found: found == len(meters)))

    # ------------------------------------------------------------------ at the gateway and the coordinator

    def here(self, verb: str, **arguments: object) -> dict[str, Any]:
        """Ask the gateway itself, as `keymote group ... --here` does."""
        with ControlClient(self.street.office.folder / "manager" / "control.sock") as control:
            answer: dict[str, Any] = control.ask(f"group.{verb}", group=self.gid, **arguments)
        return answer

    async def view(self) -> admin_groups.GroupView:
        client = self.street.operator()
        try:
            return await client.get(f"/groups/{self.gid}", admin_groups.GroupView)
        finally:
            await client.close()


def refusal(work: Callable[[], object]) -> str:
    """Return why something is refused, "" when it is not."""
    try:
        work()
    except KeymoteError as error:
        return str(error)
    return ""


async def until(look: Callable[[], Any], seen: Callable[[Any], bool]) -> Any:
    """Look until it is as wanted; Unavailable when it stays otherwise."""
    deadline = time.monotonic() + WATCH_S
    while True:
        found = await asyncio.to_thread(look)
        if seen(found):
            return found
        if time.monotonic() > deadline:
            raise Unavailable(f"what the story waits for did not happen: the last look saw {found!r}")
        await asyncio.sleep(LOOK_EVERY_S)
