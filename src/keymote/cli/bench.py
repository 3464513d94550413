"""`keymote bench`: measurements beside the bare primitives and the peers, in one run."""

from typing import Annotated

import typer

from keymote.cli.output import Output, OutputOption, note, show
from keymote.errors import Unavailable

app = typer.Typer(help="Measure beside the bare primitives and the peers.")


@app.callback()
def bench() -> None:
    """Figures depend on the machine; ratios are taken within one run."""


@app.command()
def pairwise(
    suite: Annotated[int, typer.Option(help="1, 2 or 17; goals are those of suite 1.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Everything is measured once a round.")] = 21,
    output: OutputOption = Output.TABLE,
) -> None:
    """What a session and an enrolment cost, against the specification's operations, DTLS 1.2 and EDHOC.

    Ends with 1 if a goal does not hold. Suite 17 is reported beside suite 1 unless one suite is asked for.

    \b
    Example:
      keymote bench pairwise -o json
      keymote bench pairwise --suite 17 --rounds 5
    """
    try:
        from keymote.bench.pairwise import run
        from keymote.bench.report import machine
    except ImportError as error:
        raise Unavailable(f"{error.name} is not installed", do="make bench sets it up") from error

    def progress(done: int, of: int) -> None:
        note(f"round {done} of {of}")

    metrics = list(run(suite, rounds, progress))
    if suite == 1:
        metrics += run(17, max(1, rounds // 4), progress)
    rows = [figure.as_json() for figure in metrics]
    show({"machine": machine(), "metrics": rows}, output)
    if any(figure.holds is False for figure in metrics):
        raise typer.Exit(1)
