"""`keymote selftest`: recompute known answers and vector files through the product's own code."""

from pathlib import Path
from typing import Annotated

import typer

from keymote.cli.output import Output, OutputOption, note, show


def selftest(
    vectors: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="A file to recompute instead of the package's own data; may be given many times."
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Recompute known answers: the package's own and the libraries' traps, or the given vector files.

    Ends with 1 if a check failed, or if a file holds a part that this version cannot recompute.
    """
    from keymote.selftest import examine_files, examine_own

    report = examine_files(vectors) if vectors else examine_own()
    show(report.as_json(), output)
    for part in report.parts:
        for failure in part.failures:
            note(f"{part.file}: {part.part}: {failure}")
    if report.unknown and output is Output.TABLE:
        note("a part that is unknown was not recomputed, which counts as a failure")
    if not report.ok:
        raise typer.Exit(1)
