"""`keymote device init`: from a label to the directory that `keymote device run` needs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keymote.cli.output import Output, OutputOption, show
from keymote.cli.settings import made_directory
from keymote.errors import CallerFault

if TYPE_CHECKING:
    from keymote.manager.labels import Label


def init(
    labels: Annotated[Path, typer.Argument(metavar="LABELS.CSV", help="From `keymote device labels`.")],
    directory: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where device.toml and device.code go.")],
    root: Annotated[Path, typer.Option(metavar="FILE", help="root.pin of the authority: whom the device trusts.")],
    manager: Annotated[
        str, typer.Option(metavar="URI|DIR", help="coap://ADDRESS:PORT, or the directory of a manager on this machine.")
    ] = "",
    dev_id: Annotated[str, typer.Option(metavar="DEV_ID", help="Which label; the first if not said.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Every label, in a directory below --dir by its id.")] = False,
    serve: Annotated[
        list[str] | None, typer.Option(metavar="PATH=FILE", help="A file that peers may read under a session's key.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Lay down the files of one device. Without --manager it asks the multicast group for one.

    \b
    Example:
      keymote device init street-7.csv --dir meter --root root.pin --manager coap://192.0.2.1:5683
      keymote device run --config meter/device.toml
      keymote device init street-7.csv --all --dir meters --root root.pin --manager street-7
    """
    from keymote.host.hardening import harden
    from keymote.manager.labels import BadLine, read_labels

    harden()
    try:
        with labels.open(encoding="utf-8", newline="") as text:
            read = [entry for _, entry in read_labels(text) if not isinstance(entry, BadLine)]
    except OSError as error:
        raise CallerFault(f"cannot read {labels}: {error.strerror}") from error
    chosen = read if every else [entry for entry in read if dev_id in ("", entry.dev_id.hex())][:1]
    if not chosen or (every and dev_id):
        raise CallerFault(
            f"{labels} has no label {dev_id or 'at all'}", do="see its first column; --all takes them all"
        )
    address, folder = _address(manager), directory.absolute()
    rows = [
        _lay_down(label, folder / label.dev_id.hex() if every else folder, root, address, serve or [])
        for label in chosen
    ]
    show({"devices": rows} if every else rows[0], output)


def _lay_down(label: "Label", directory: Path, root: Path, address: str, serve: Sequence[str]) -> dict[str, object]:
    from keymote.storage.private_files import write_private

    folder = made_directory(directory)
    path = folder / "device.toml"
    if path.exists():
        raise CallerFault(f"{path} is there already", do="choose another directory by --dir")
    write_private(folder / "device.code", label.code.printed().encode() + b"\n")
    lines = [
        f'id = "{label.dev_id.hex()}"',
        f"suite = {label.suite}",
        f'root = "{root.absolute()}"',
        'code_file = "device.code"',
        f'manager = "{address}"',
        "[serve]",
        *(f'"{name}" = "{Path(file).absolute()}"' for name, _, file in (entry.partition("=") for entry in serve)),
    ]
    write_private(path, ("\n".join(lines) + "\n").encode())
    return {"id": label.dev_id.hex(), "config": str(path)}


def _address(manager: str) -> str:
    """Return a manager's address; one on this machine is asked over its control socket."""
    if not manager or manager.startswith("coap://"):
        return manager
    from keymote.transports.control import ControlClient

    with ControlClient(Path(manager) / "control.sock") as running:
        return str(running.ask("status")["address"])
