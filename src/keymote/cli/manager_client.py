"""`keymote manager client`: clients that hold nothing but symmetric keys, from a provisioning file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keymote.cli.output import Output, OutputOption, show
from keymote.cli.settings import DataOption, state_directory

if TYPE_CHECKING:
    from keymote.transports.control import ControlClient

app = typer.Typer(help="Clients of topics that are no devices: each has a provisioning file.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="For people; or the client's 16 hex digits.")]


@app.command()
def add(
    name: NameArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where its file goes, mode 0600; must not exist.")],
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a client with a random id and a random key, and write its provisioning file.

    The file holds the key until the client has started once. Carry it there on a way that nobody else reads.

    \b
    Example:
      keymote manager client add bed-7 --out bed-7.client --data ward
    """
    with _manager(data) as manager:
        show(manager.ask("client.add", name=name, out=str(out.absolute())), output)


@app.command("list")
def list_clients(data: DataOption = None, output: OutputOption = Output.TABLE) -> None:
    """List the clients of provisioning files of the running manager of --data."""
    with _manager(data) as manager:
        found: Any = manager.ask("client.list")
        show({"clients": found}, output)


@app.command()
def remove(name: NameArgument, data: DataOption = None, output: OutputOption = Output.TABLE) -> None:
    """Forget a client: it gets no key any more, and every topic that it could read has a new one at once.

    \b
    Example:
      keymote manager client remove bed-7 --data ward
    """
    with _manager(data) as manager:
        show(manager.ask("client.remove", name=name), output)


def _manager(data: Path | None) -> "ControlClient":
    from keymote.transports.control import ControlClient

    return ControlClient(state_directory("manager", data) / "control.sock")
