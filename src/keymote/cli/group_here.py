"""`keymote group ... --here`: at the manager that leads a group, over its control socket, coordinator or not.

What is done here is reported to the coordinator when that can be reached, and holds until then.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from keymote.cli.output import Output, show
from keymote.cli.settings import state_directory

HereOption = Annotated[
    bool, typer.Option("--here", help="At the manager of --data, also when the coordinator cannot be reached.")
]


def list_here(data: Path | None, output: Output) -> None:
    """Show the groups that the manager leads."""
    show({"groups": _manager(data, "group.list")}, output)


def show_here(data: Path | None, group: str, output: Output) -> None:
    """Show a group as its gateway sees it: the run that is under way, members, and reports that wait."""
    show(_manager(data, "group.show", group=group), output)


def add_here(data: Path | None, group: str, devices: Sequence[str], output: Output) -> None:
    """Let devices in that are enrolled at this manager."""
    show({"added": [_manager(data, "group.add", group=group, dev_id=device) for device in devices]}, output)


def evict_here(data: Path | None, group: str, devices: Sequence[str], reason: int, output: Output) -> None:
    """Put devices out."""
    done = [_manager(data, "group.evict", group=group, dev_id=device, reason=reason) for device in devices]
    show({"evicted": done}, output)


def rekey_here(data: Path | None, group: str, reason: int, output: Output) -> None:
    """Have the members agree on a new key."""
    show(_manager(data, "group.rekey", group=group, reason=reason), output)


def _manager(data: Path | None, do: str, **arguments: object) -> Any:
    from keymote.transports.control import ControlClient

    with ControlClient(state_directory("manager", data) / "control.sock") as manager:
        return manager.ask(do, **arguments)
