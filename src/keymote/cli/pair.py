"""`keymote pair`: sessions of a running device, asked for over its control socket."""

from pathlib import Path
from typing import Annotated, Any

import typer

from keymote.cli.output import Output, OutputOption, note, show

app = typer.Typer(help="Agree on keys with other devices, and hand them to other programs.")

ConfigOption = Annotated[
    Path,
    typer.Option("--config", metavar="FILE", envvar="KEYMOTE_DEVICE_CONFIG", help="TOML file of the running device."),
]
SessionArgument = Annotated[str, typer.Argument(metavar="PSID", help="From `pair open` or `pair list`.")]


@app.command("open")
def open_session(
    peer: Annotated[str, typer.Argument(metavar="DEV_ID", help="The other device, of whichever operator.")],
    config: ConfigOption,
    manager: Annotated[
        str, typer.Option(metavar="NM_ID", help="Its manager, whose word alone is then taken for its keys.")
    ] = "",
    at: Annotated[str, typer.Option(metavar="URI", help="Its address; without it the managers carry.")] = "",
    fast: Annotated[bool, typer.Option("--fast", help="Two messages fewer.")] = False,
    compact: Annotated[bool, typer.Option("--compact", help="Take the own manager's word for the peer's key.")] = False,
    timeout: Annotated[float, typer.Option(min=1, max=120, help="Seconds.")] = 30,
    output: OutputOption = Output.TABLE,
) -> None:
    """Agree on a key with another device.

    \b
    Example:
      keymote pair open 00000000000000b2 --config meter.toml
      keymote pair open 00000000000000b2 --manager 6e6d320000000000 --config meter.toml
    """
    arguments = {"peer": peer, "manager": manager, "at": at, "fast": fast, "compact": compact, "timeout_s": timeout}
    show(_device(config, "pair.open", **arguments), output)


@app.command("list")
def list_sessions(config: ConfigOption, output: OutputOption = Output.TABLE) -> None:
    """List the open sessions; the same key_id at both devices is the same key."""
    show({"sessions": _device(config, "pair.list")}, output)


@app.command()
def close(psid: SessionArgument, config: ConfigOption, output: OutputOption = Output.TABLE) -> None:
    """End a session on both sides."""
    show(_device(config, "pair.close", psid=psid), output)


@app.command()
def revoke(
    psid: SessionArgument,
    config: ConfigOption,
    reason: Annotated[int, typer.Option(min=0, max=4, help="1 key lost, 2 compromise suspected, 3, 4.")] = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Report a session to the manager and end it on both sides."""
    show(_device(config, "pair.revoke", psid=psid, reason=reason), output)


@app.command()
def export(
    psid: SessionArgument,
    config: ConfigOption,
    to: Annotated[str, typer.Option(help="aiocoap, libcoap or wireshark.")],
    directory: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where the files go; made if absent.")],
    form: Annotated[str, typer.Option(help="Of a PSK: text32 or binary16.")] = "text32",
    peer: Annotated[str, typer.Option(metavar="URI", help="The other device, if not where it was last heard.")] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a session's keys for other software, mode 0600. The session is handed over: the device uses it no more.

    \b
    Example:
      keymote pair export 0f3a... --config meter.toml --to aiocoap --dir keys
      aiocoap-client --credentials keys/credentials.json coap://192.0.2.9:5683/temperature
    """
    arguments = {"psid": psid, "to": to, "directory": str(directory.absolute()), "form": form, "peer": peer}
    result = _device(config, "pair.export", **arguments)
    note("these files hold keys: remove them when the other software has read them")
    show(result, output)


def _device(config: Path, do: str, **arguments: object) -> Any:
    from keymote.device.config import read_config
    from keymote.transports.control import ControlClient

    with ControlClient(read_config(config).socket) as device:
        return device.ask(do, **arguments)
