"""`keymote manager broker`: the brokers of this manager's clients, and the list that it signs for their agents."""

from pathlib import Path
from typing import Annotated, Any

import typer

from keymote.cli.output import Output, OutputOption, show
from keymote.cli.settings import DataOption, state_directory

app = typer.Typer(help="Brokers that this manager's clients connect to.")

BrokerArgument = Annotated[str, typer.Argument(metavar="BROKER", help="Its id, 16 hex digits.")]


@app.command()
def add(
    card: Annotated[Path, typer.Argument(metavar="CARD", help="The file `card` of the agent's directory.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="For the agent; mode 0600, must not exist.")],
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a broker into the list and write what its agent needs: a key that both share, and the signed list.

    \b
    Example:
      keymote manager broker add ward-7/card --out ward-7.given --data street-7
    """
    show(_ask(data, "broker.add", card=str(card.absolute()), out=str(out.absolute())), output)


@app.command("list")
def list_brokers(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also write the signed list, for `agent update`.")
    ] = None,
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the brokers, in the order in which they were added; the first is the home of clients without another."""
    from keymote.storage.private_files import write_private

    said = _ask(data, "broker.list")
    if out is not None:
        write_private(out, str(_ask(data, "broker.federation")["file"]).encode(), mode=0o644)
    show(said, output)


@app.command()
def remove(broker: BrokerArgument, data: DataOption = None, output: OutputOption = Output.TABLE) -> None:
    """Put a broker out of the list. Agents hear of it with the next list: write it by `list --out`."""
    show(_ask(data, "broker.remove", broker=broker), output)


@app.command()
def assign(
    client: Annotated[str, typer.Argument(metavar="CLIENT", help="Its id, 16 hex digits.")],
    broker: BrokerArgument,
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a broker the home of a client, from its next ticket on."""
    show(_ask(data, "broker.assign", client=client, broker=broker), output)


@app.command()
def moves(
    client: Annotated[str, typer.Option(metavar="CLIENT", help="Only of this one; 16 hex digits.")] = "",
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List where clients went, newest first, as the agents of their home brokers tell.

    \b
    Example:
      keymote manager broker moves --client 70617469656e7437 --data street-7
    """
    show(_ask(data, "broker.moves", client=client), output)


def _ask(data: Path | None, do: str, **arguments: object) -> Any:
    from keymote.transports.control import ControlClient

    with ControlClient(state_directory("manager", data) / "control.sock") as manager:
        return manager.ask(do, **arguments)
