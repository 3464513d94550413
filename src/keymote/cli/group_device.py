"""What `keymote group` does at a running device: join, leave, send, tail, and list with --config."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, Final

import typer

from keymote.cli.output import Output, OutputOption, show
from keymote.errors import CallerFault

ConfigOption = Annotated[
    Path,
    typer.Option("--config", metavar="FILE", envvar="KEYMOTE_DEVICE_CONFIG", help="TOML file of the running device."),
]
GroupArgument = Annotated[str, typer.Argument(metavar="GROUP", help="Its id, or the first digits (`group list`).")]
WaitOption = Annotated[float, typer.Option("--wait", min=0, max=30, help="Seconds to wait for the outcome.")]
_ROUND_S: Final = 10.0
"""How long one question of `tail` may take; then it asks again."""


def list_here(config: Path, output: Output) -> None:
    """Show the groups that the device was invited to: epoch, key, position, and what was refused."""
    show({"groups": _device(config, "group.list")}, output)


def join(group: GroupArgument, config: ConfigOption, wait: WaitOption = 0, output: OutputOption = Output.TABLE) -> None:
    """Ask the gateway to be let in, until it does.

    \b
    Example:
      keymote group join 67a0 --config meter.toml --wait 20
    """
    show(_device(config, "group.join", group=group, timeout_s=wait), output)


def leave(
    group: GroupArgument, config: ConfigOption, wait: WaitOption = 0, output: OutputOption = Output.TABLE
) -> None:
    """Ask the gateway to be let go; the device erases the group's keys when a roster without it has come.

    \b
    Example:
      keymote group leave 67a0 --config meter.toml --wait 20
    """
    show(_device(config, "group.leave", group=group, timeout_s=wait), output)


def send(
    group: GroupArgument,
    resource: Annotated[str, typer.Argument(metavar="RESOURCE", help="A path, such as telemetry/power or load/shed.")],
    config: ConfigOption,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to send; - reads standard input.")] = "",
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Send this file's bytes instead.")] = None,
    signed: Annotated[bool, typer.Option("--signed", help="Sign telemetry, too; commands are signed anyway.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Send up to 1024 bytes to all other members, under the group's key.

    \b
    Example:
      keymote group send 67a0 telemetry/power "3.2 kW" --config meter.toml
      keymote group send 67a0 load/shed - --config meter.toml < command.cbor
    """
    from keymote.wire.admin import to_base64url

    payload = to_base64url(_payload(text, file))
    show(_device(config, "group.send", group=group, resource=resource, payload=payload, signed=signed), output)


def tail(
    group: GroupArgument,
    config: ConfigOption,
    rejects: Annotated[bool, typer.Option("--rejects", help="Also what was refused, and why.")] = False,
    last: Annotated[int, typer.Option("--last", "-n", min=0, max=256, help="Begin with so many older ones.")] = 10,
    count: Annotated[int, typer.Option("--count", min=0, help="End after so many; 0: never.")] = 0,
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="End after so many seconds; 0: never.")] = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what members send, as it comes; with -o json one object a line.

    \b
    Example:
      keymote group tail 67a0 --config meter.toml
      keymote group tail 67a0 --config meter.toml --rejects -o json
    """
    shown = 0
    try:
        for entry in _entries(config, group, rejects=rejects, last=last, timeout_s=timeout):
            print(json.dumps(entry, ensure_ascii=False) if output is Output.JSON else _line(entry), flush=True)
            shown += 1
            if shown == count:
                return
    except KeyboardInterrupt:
        return


def _entries(config: Path, group: str, *, rejects: bool, last: int, timeout_s: float) -> Iterator[Mapping[str, Any]]:
    """Yield messages and refusals until the time is over, the group is forgotten, or for ever."""
    from keymote.device.config import read_config
    from keymote.transports.control import ControlClient

    until = monotonic() + timeout_s if timeout_s else None
    with ControlClient(read_config(config).socket) as device:
        place: dict[str, int] = {"last": last}
        wait_s = 0.0
        while True:
            answer = device.ask("group.tail", group=group, rejects=rejects, timeout_s=wait_s, **place)
            for kind in ("messages", "rejects"):
                yield from ({"kind": kind.removesuffix("s"), **entry} for entry in answer[kind])
            left = _ROUND_S if until is None else until - monotonic()
            if answer["over"] or left <= 0:
                return
            place = {"after": answer["after"], "after_rejects": answer["after_rejects"]}
            wait_s = min(_ROUND_S, left)


def _line(entry: Mapping[str, Any]) -> str:
    """Return an entry as people read it: nothing in it can steer a terminal."""
    if entry["kind"] == "reject":
        return f"refused  {entry['code']:<12} {_plain(entry['resource'])}  from {_plain(entry['peer'])}: {entry['why']}"
    said = entry["text"] if entry["text"] is not None else f"base64url {entry['payload']}"
    signed = "signed" if entry["signed"] else "mac"
    return f"epoch {entry['epoch']}  {entry['kid']}  {signed:<6} {_plain(entry['resource'])}  {said}"


def _plain(text: str) -> str:
    return text if text.isprintable() else ascii(text)


def _payload(text: str, file: Path | None) -> bytes:
    match text, file:
        case "", None:
            raise CallerFault("nothing to send", do="give a text, -, or --file FILE")
        case "-", None:
            return sys.stdin.buffer.read()
        case _, None:
            return text.encode()
        case "", Path() as path:
            try:
                return path.read_bytes()
            except OSError as error:
                raise CallerFault(f"cannot read {path}: {error.strerror}") from error
    raise CallerFault("a text and a file", do="give one of them")


def _device(config: Path, do: str, **arguments: object) -> Any:
    from keymote.device.config import read_config
    from keymote.transports.control import ControlClient

    with ControlClient(read_config(config).socket) as device:
        return device.ask(do, **arguments)
