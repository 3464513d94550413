"""`keymote up`: everything that an operator runs, in one process."""

import asyncio
import json
from typing import Annotated

import typer

from keymote.cli.output import Output, OutputOption, note
from keymote.cli.settings import DataOption, LogLevelOption, made_directory, state_directory


def up(
    operators: Annotated[int, typer.Option(min=1, max=4, help="Coordinators with a manager each.")] = 1,
    log_level: LogLevelOption = "warning",
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run coordinators and managers in one process until stopped; the first start makes them.

    Prints one JSON line with the endpoints when ready. State stays in --data, and so do the ports.

    \b
    Examples:
      keymote up --data world
      keymote up --operators 2 -o json
    """
    from keymote.host.hardening import harden
    from keymote.host.logs import configure
    from keymote.stories.up import up as serve

    harden()
    configure(log_level)
    folder = made_directory(state_directory("up", data))
    note(f"state in {folder}")

    def ready(said: object) -> None:
        print(json.dumps(said), flush=True)
        if output is Output.TABLE:
            note("ready; stop with Ctrl-C")

    asyncio.run(serve(folder, operators, ready))
