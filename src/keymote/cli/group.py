"""`keymote group`: keys that a street of devices shares.

What is done at a running device stands in `group_device`.
"""

import typer

from keymote.cli import group_device
from keymote.cli.group_device import ConfigOption
from keymote.cli.output import Output, OutputOption

app = typer.Typer(help="Keys that many devices share: who belongs, who may send, and when it was safe again.")
app.command()(group_device.join)
app.command()(group_device.leave)
app.command()(group_device.send)
app.command()(group_device.tail)


@app.command("list")
def list_groups(config: ConfigOption, output: OutputOption = Output.TABLE) -> None:
    """List groups: of a device (--config).

    \b
    Example:
      keymote group list --config meter.toml
    """
    group_device.list_here(config, output)
