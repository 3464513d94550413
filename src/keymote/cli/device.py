"""`keymote device`: labels and devices as an operator sees them, and the device's own process.

Labels, rejoins and emergencies go to the manager of --data over its control socket; the register, revocation and
suspension go to the coordinator, which tells every manager and keeps the audit log.
"""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keymote.cli.device_init import init
from keymote.cli.device_labels import import_labels, labels
from keymote.cli.output import Output, OutputOption, note, show
from keymote.cli.settings import DataOption, LogLevelOption, state_directory
from keymote.errors import CallerFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keymote.transports.http_operator import OperatorClient

app = typer.Typer(help="Labels, devices and their revocation; run a device.")
app.command("labels")(labels)
app.command("import")(import_labels)
app.command("init")(init)

DeviceArgument = Annotated[str, typer.Argument(metavar="DEV_ID", help="16 hex digits.")]
CodeOption = Annotated[
    Path, typer.Option("--code-file", metavar="FILE", help="File that holds the label's code; mode 0600.")
]
UrlOption = Annotated[
    str, typer.Option("--url", envvar="KEYMOTE_COORDINATOR_URL", help="Where the coordinator serves.", metavar="URL")
]
CoordinatorOption = Annotated[
    Path | None,
    typer.Option(
        "--coordinator",
        metavar="DIR",
        envvar="KEYMOTE_COORDINATOR_DATA",
        help="The coordinator's directory, or one that holds its ca.pem and token.",
        show_default="user data",
    ),
]
ReasonOption = Annotated[
    int, typer.Option(min=0, max=4, help="0 unspecified, 1 key lost, 2 compromise, 3 superseded, 4 retired.")
]
DEFAULT_URL = "https://localhost:8443"


# ------------------------------------------------------------------ at the manager


@app.command()
def enrol(
    device: DeviceArgument, code_file: CodeOption, data: DataOption = None, output: OutputOption = Output.TABLE
) -> None:
    """Tell the manager of --data to expect one device; many at once: `device import`.

    \b
    Example:
      keymote device enrol 00000000000000a1 --code-file a1.code --data street-7
    """
    (why,) = _manager(data, "labels.add", rows=[[device, _code(code_file)]])
    if why is not None:
        raise CallerFault(why)
    show({"dev_id": device, "state": "pending"}, output)


@app.command()
def rejoin(
    device: DeviceArgument, code_file: CodeOption, data: DataOption = None, output: OutputOption = Output.TABLE
) -> None:
    """Give an enrolled device a new label; its old credential is superseded when the new code is used.

    \b
    Example:
      keymote device rejoin 00000000000000a1 --code-file new.code --data street-7
    """
    show(_manager(data, "device.rejoin", dev_id=device, code=_code(code_file)), output)


# ------------------------------------------------------------------ at the coordinator


@app.command("list")
def list_devices(
    coordinator: CoordinatorOption = None, url: UrlOption = DEFAULT_URL, output: OutputOption = Output.TABLE
) -> None:
    """List the registered devices, their manager and state."""
    from keymote.wire import admin

    found = _at_coordinator(coordinator, url, lambda client: client.whole("/devices", admin.DevicePage))
    columns = ("dev_id", "nm_id", "state", "serial", "registered_at")
    show({"devices": [{column: getattr(view, column) for column in columns} for view in found]}, output)


@app.command("show")
def show_device(
    device: DeviceArgument,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show one device with its credential and the register's receipt."""
    from keymote.wire import admin

    view = _at_coordinator(coordinator, url, lambda client: client.get(f"/devices/{device}", admin.DeviceView))
    columns = ("dev_id", "nm_id", "state", "serial", "reg_no", "registered_at", "credential", "receipt")
    show({column: getattr(view, column) for column in columns}, output)


@app.command()
def revoke(
    device: DeviceArgument,
    reason: ReasonOption = 0,
    here: Annotated[
        bool, typer.Option("--here", help="Only at the manager of --data, when the coordinator cannot be reached.")
    ] = False,
    data: DataOption = None,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Revoke a device for good: its sessions end at once, no manager gives it a key any more.

    \b
    Example:
      keymote device revoke 00000000000000a1 --reason 2 --coordinator north
    """
    if here:
        show(_manager(data, "device.revoke", dev_id=device, reason=reason), output)
        return
    from keymote.wire import admin

    body = admin.Revoke("device", device, reason)
    view = _at_coordinator(
        coordinator, url, lambda client: client.send("POST", "/revocations", body, admin.RevocationView)
    )
    columns = ("id", "subject", "reason", "status_epoch", "waiting", "safe_after_ms")
    touched = {"groups": [each.group for each in view.groups], "topics": [each.filter for each in view.topics]}
    show({"state": "revoked", **{column: getattr(view, column) for column in columns}, **touched}, output)


@app.command()
def suspend(
    device: DeviceArgument,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a device no new sessions until `resume`."""
    _change(device, "suspended", coordinator, url, output)


@app.command()
def resume(
    device: DeviceArgument,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a suspended device back."""
    _change(device, "active", coordinator, url, output)


@app.command()
def retire(
    device: DeviceArgument,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a device out of service for good; its id is free for any manager to enrol again.

    \b
    Example:
      keymote device retire 00000000000000a1 --coordinator north
    """
    _change(device, "retired", coordinator, url, output)


# ------------------------------------------------------------------ the device itself


@app.command()
def run(
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="The device's TOML file.")],
    rejoin_: Annotated[
        bool, typer.Option("--rejoin", help="Forget the enrolment and begin anew with the code of the file.")
    ] = False,
    log_level: LogLevelOption = "info",
) -> None:
    """Run a device until stopped: it enrols when it is not, then serves `keymote pair`. Prints one JSON line when ready.

    \b
    Example:
      keymote device run --config meter.toml
    """
    from keymote.device.app.process import serve
    from keymote.device.config import read_config
    from keymote.host.hardening import harden
    from keymote.host.logs import configure

    harden()
    configure(log_level)
    read = read_config(config)
    asyncio.run(serve(read, lambda said: print(json.dumps(said), flush=True), rejoin=rejoin_))


@app.command()
def status(
    config: Annotated[Path, typer.Option("--config", metavar="FILE", help="The device's TOML file.")],
    wait: Annotated[float, typer.Option(min=0, max=120, help="Wait that many seconds until it is enrolled.")] = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say how a running device is."""
    from keymote.device.config import read_config
    from keymote.transports.control import ControlClient

    with ControlClient(read_config(config).socket) as device:
        if wait:
            device.ask("enrolled", timeout_s=wait)
        show(device.ask("status"), output)


def _change(device: str, state: str, coordinator: Path | None, url: str, output: Output) -> None:
    from keymote.wire import admin

    body = admin.ChangeState(state)
    view = _at_coordinator(
        coordinator, url, lambda client: client.send("PUT", f"/devices/{device}/state", body, admin.DeviceView)
    )
    show({"dev_id": view.dev_id, "state": view.state}, output)


def _at_coordinator(folder: Path | None, url: str, work: "Callable[[OperatorClient], Awaitable[Any]]") -> Any:
    """Return what `work` does as the operator of a coordinator."""
    from keymote.cli.coordinator import call

    return call(state_directory("coordinator", folder), url, work)


def _manager(data: Path | None, do: str, **arguments: object) -> Any:
    from keymote.transports.control import ControlClient

    with ControlClient(state_directory("manager", data) / "control.sock") as manager:
        return manager.ask(do, **arguments)


def _code(path: Path) -> str:
    """Return the code in a file of its own; it never stands in an argument."""
    from keymote.device.config import read_secret_text
    from keymote.engine.label import parse_code

    text = read_secret_text(path).strip()
    if parse_code(text).weak:
        note("this code has less than 128 bits: it can only enrol devices of the suites 1 to 3")
    return text
