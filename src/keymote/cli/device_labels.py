"""`keymote device labels` and `keymote device import`: codes are made into files and read from files, nowhere else."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from keymote.cli.output import Output, OutputOption, note, show
from keymote.cli.settings import DataOption, state_directory
from keymote.errors import CallerFault

if TYPE_CHECKING:
    from keymote.manager.labels import BadLine, Label

BATCH = 250
"""Labels a request; each request is one group of commits."""


def labels(
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many.")] = 1,
    suite: Annotated[int, typer.Option(help="Suite that the devices run.")] = 1,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where the labels go; must not exist.")] = Path(
        "labels.csv"
    ),
    qr: Annotated[Path | None, typer.Option(metavar="DIR", help="Also write one QR code a label there.")] = None,
    svg: Annotated[bool, typer.Option("--svg", help="QR codes as SVG instead of PNG.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make labels: random device ids and 128-bit codes, for the label printer and for `device import`.

    Example: keymote device labels --count 100 --to street-7.csv --qr street-7/
    """
    from keymote.crypto.entropy import SystemEntropy
    from keymote.host.hardening import harden
    from keymote.manager.labels import new_labels, write_labels

    harden()
    made = new_labels(count, suite, SystemEntropy())
    try:
        descriptor = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CallerFault(f"cannot create {to}: {error.strerror}", do="name another file by --to") from error
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        write_labels(file, made)
    if qr is not None:
        _draw(made, qr, "svg" if svg else "png")
    show({"labels": count, "file": str(to), "qr_codes": None if qr is None else str(qr)}, output)


def import_labels(
    file: Annotated[Path, typer.Argument(metavar="LABELS.CSV", help="Columns dev_id, code and, if not 1, suite.")],
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Tell the manager of --data which devices to expect. Lines that are known already change nothing.

    Bad lines are listed and left out, the others are taken; the command ends with 1 if there were any.
    """
    from keymote.manager.labels import BadLine, read_labels
    from keymote.transports.control import ControlClient

    try:
        with file.open(encoding="utf-8", newline="") as text:
            lines = list(read_labels(text))
    except OSError as error:
        raise CallerFault(f"cannot read {file}: {error.strerror}") from error
    bad = [entry for _, entry in lines if isinstance(entry, BadLine)]
    good = [(line, entry) for line, entry in lines if not isinstance(entry, BadLine)]
    if good:
        with ControlClient(state_directory("manager", data) / "control.sock") as manager:
            bad += _send(manager, good)
    bad.sort(key=lambda entry: entry.line)
    show(
        {
            "read": len(lines),
            "taken": len(lines) - len(bad),
            "bad_lines": [{"line": entry.line, "why": entry.why} for entry in bad],
        },
        output,
    )
    if bad:
        raise typer.Exit(1)


class _Manager(Protocol):
    def ask(self, do: str, **arguments: object) -> Any: ...


def _send(manager: _Manager, good: "Sequence[tuple[int, Label]]") -> "list[BadLine]":
    from keymote.manager.labels import BadLine

    bad: list[BadLine] = []
    for batch in _with_progress([good[start : start + BATCH] for start in range(0, len(good), BATCH)], len(good)):
        rows = [[label.dev_id.hex(), label.code.printed()] for _, label in batch]
        for (line, _), why in zip(batch, manager.ask("labels.add", rows=rows), strict=True):
            if why is not None:
                bad.append(BadLine(line, why))
    return bad


def _with_progress(batches: "list[Sequence[tuple[int, Label]]]", total: int) -> "Iterable[Sequence[tuple[int, Label]]]":
    """Yield the batches and show a bar on stderr when somebody watches."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not os.isatty(2), transient=True) as progress:
        task = progress.add_task("labels", total=total)
        for batch in batches:
            yield batch
            progress.advance(task, len(batch))


def _draw(made: "Sequence[Label]", directory: Path, kind: str) -> None:
    import segno

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for label in made:
        segno.make_qr(label.qr_text(), error="m").save(str(directory / f"{label.dev_id.hex()}.{kind}"), scale=4)
    note(f"{len(made)} QR codes in {directory}: they hold the codes, remove them after printing")
