"""`keymote group`: keys that a street of devices shares.

What is done at the coordinator stands in `group_coordinator` and `group_looks`, at a manager in `group_here`, at a device in
`group_device`.
"""

from pathlib import Path
from typing import Annotated

import typer

from keymote.cli import group_coordinator, group_device, group_here, group_log, group_looks
from keymote.cli.group_asking import DEFAULT_URL, CoordinatorOption, UrlOption
from keymote.cli.group_here import HereOption
from keymote.cli.output import Output, OutputOption
from keymote.cli.settings import DataOption

app = typer.Typer(help="Keys that many devices share: who belongs, who may send, and when it was safe again.")
app.command()(group_coordinator.create)
app.command()(group_coordinator.add)
app.command()(group_coordinator.evict)
app.command()(group_coordinator.allow)
app.command()(group_coordinator.rekey)
app.command("show")(group_looks.show_group)
app.command()(group_coordinator.move)
app.command()(group_coordinator.close)
app.command()(group_looks.conflicts)
app.command()(group_log.log)
app.command()(group_device.join)
app.command()(group_device.leave)
app.command()(group_device.send)
app.command()(group_device.tail)


@app.command("list")
def list_groups(
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Those of a running device, by its TOML file.")
    ] = None,
    here: HereOption = False,
    data: DataOption = None,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """List groups: who leads them, how many belong to them, which epoch they are in and who waits for it.

    \b
    Example:
      keymote group list --coordinator north
      keymote group list --here --data gw-7
      keymote group list --config meter.toml
    """
    if config is not None:
        group_device.list_here(config, output)
    elif here:
        group_here.list_here(data, output)
    else:
        group_looks.list_all(coordinator, url, output)
