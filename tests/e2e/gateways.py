"""Groups of real processes: what an operator asks of the coordinator, and what gateway and devices say of themselves."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from coordinators import Coordinator
from operators import DeviceRole, Operator, until

from keymote.device.config import read_config
from keymote.transports.control import ControlClient

RUN_S = 90.0
"""Deadline of a run on a busy machine; one takes about a second."""


class Group:
    """A group of an operator, by its name."""

    def __init__(self, operator: Operator, gid: str, *, edge: bool = False) -> None:
        self.operator = operator
        self.gid = gid
        self.edge = edge

    @classmethod
    def create(cls, operator: Operator, name: str, members: Sequence[DeviceRole], **settings: object) -> "Group":
        body = {
            "name": name,
            "gateway": operator.manager.ready["nm_id"],
            "members": [d.id for d in members],
            **settings,
        }
        status, answer = operator.coordinator.post("/api/v1/groups", body)
        assert status == 201, answer
        return cls(operator, str(answer["gid"]), edge=settings.get("mode") == "edge")

    # ------------------------------------------------------------------ the coordinator

    @property
    def coordinator(self) -> Coordinator:
        return self.operator.coordinator

    def view(self) -> dict[str, Any]:
        status, body = self.coordinator.curl(f"/api/v1/groups/{self.gid}")
        assert status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found

    def epochs(self) -> list[int]:
        """Return the epochs that the coordinator has heard of, oldest first."""
        status, body = self.coordinator.curl(f"/api/v1/groups/{self.gid}/epochs?limit=100")
        assert status == 200, body
        return sorted(line["epoch"] for line in json.loads(body)["items"])

    def order(self, verb: str, body: Mapping[str, object]) -> dict[str, Any]:
        status, answer = self.coordinator.post(f"/api/v1/groups/{self.gid}/{verb}", body)
        assert status == 200, answer
        return answer

    # ------------------------------------------------------------------ the gateway and the members

    def here(self, verb: str = "show", **arguments: object) -> dict[str, Any]:
        """Ask the gateway itself."""
        data = Path(self.operator.manager.arguments[self.operator.manager.arguments.index("--data") + 1])
        with ControlClient(data / "control.sock") as control:
            answer: dict[str, Any] = control.ask(f"group.{verb}", group=self.gid, **arguments)
        return answer

    def led(self) -> list[dict[str, Any]]:
        """Return the groups that the operator's manager knows of."""
        found: list[dict[str, Any]] = self.here("list")  # type: ignore[assignment]
        return found

    def at(self, device: DeviceRole) -> dict[str, Any] | None:
        """Return how a device stands in the group; None when it was never invited."""
        with ControlClient(read_config(device.config).socket) as control:
            return next((each for each in control.ask("group.list") if each["gid"] == self.gid), None)

    def ask(self, device: DeviceRole, verb: str, **arguments: object) -> Any:
        """Ask a device's own process something about the group."""
        with ControlClient(read_config(device.config).socket) as control:
            return control.ask(f"group.{verb}", group=self.gid, **arguments)

    def epoch(self, *devices: DeviceRole) -> int:
        """Return the epoch in which all of these are active with one key; 0 when they do not agree."""
        stands = [self.at(device) for device in devices]
        n = len(devices) + self.edge
        if not all(stand and stand["state"] == "active" and stand["n"] == n for stand in stands):
            return 0
        agreed = {(stand["epoch"], stand["key_id"]) for stand in stands if stand}
        return next(iter(agreed))[0] if len(agreed) == 1 else 0

    def agreed(self, *devices: DeviceRole, above: int = 0, within_s: float = RUN_S) -> int:
        """Wait until these, and nobody else, agree on a key of an epoch above; return the epoch."""
        until(lambda: self.epoch(*devices) > above, within_s)
        return self.epoch(*devices)


def found_in_memory(pid: int, needles: Mapping[str, bytes]) -> set[str]:
    """Return the names of the needles that stand anywhere in the writable memory of a process; root only."""
    found: set[str] = set()
    spans = [line.split()[:2] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for span, rights in spans:
            if not rights.startswith("rw"):
                continue
            start, end = (int(place, 16) for place in span.split("-"))
            try:
                memory.seek(start)
                content = memory.read(end - start)
            except (OSError, ValueError):
                continue  # it was given back meanwhile
            found |= {name for name, needle in needles.items() if needle in content}
    return found
