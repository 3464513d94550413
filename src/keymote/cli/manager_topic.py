"""`keymote manager topic`: the topics of a manager as it leads them, over its control socket, coordinator or not."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keymote.cli.output import Output, OutputOption, show
from keymote.cli.settings import DataOption, state_directory

if TYPE_CHECKING:
    from keymote.transports.control import ControlClient

app = typer.Typer(help="Topics as the manager leads them, also when the coordinator cannot be reached.")


@app.command("list")
def list_topics(data: DataOption = None, output: OutputOption = Output.TABLE) -> None:
    """List the topics of which somebody has a key: the epoch, whether everybody has it, and who is waited for no more."""
    with _manager(data) as manager:
        found: Any = manager.ask("topic.list")
        show(found, output)


@app.command()
def rotate(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="A concrete topic, no filter.")],
    compromised: Annotated[
        bool, typer.Option("--compromised", help="Publishers at once: nothing of the old key is given to anybody.")
    ] = False,
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Begin a new epoch of one topic now; the coordinator hears of it when it can be reached.

    \b
    Example:
      keymote manager topic rotate ward/7/hr --data ward
    """
    with _manager(data) as manager:
        show(manager.ask("topic.rotate", topic=topic, compromise=compromised), output)


def _manager(data: Path | None) -> "ControlClient":
    from keymote.transports.control import ControlClient

    return ControlClient(state_directory("manager", data) / "control.sock")
