"""`keymote bench`: measurements beside the bare primitives and the peers, in one run."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from keymote.cli.output import Output, OutputOption, note, show
from keymote.errors import CallerFault, Unavailable

app = typer.Typer(help="Measure beside the bare primitives and the peers.")


@app.callback()
def bench() -> None:
    """Figures depend on the machine; ratios are taken within one run."""


@app.command()
def pairwise(
    suite: Annotated[int, typer.Option(help="1, 2, 3 or 17; goals are those of suite 1.")] = 1,
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


@app.command()
def edhoc(
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Everything is measured once a round.")] = 21,
    output: OutputOption = Output.TABLE,
) -> None:
    """What one side of an EDHOC handshake costs, against lakers (Rust) in the same run.

    Ends with 1 if a goal does not hold.

    \b
    Example:
      keymote bench edhoc -o json
      keymote bench edhoc --rounds 5
    """
    try:
        from keymote.bench.edhoc import run
        from keymote.bench.report import machine
    except ImportError as error:
        raise Unavailable(f"{error.name} is not installed", do="make bench sets it up") from error

    def progress(done: int, of: int) -> None:
        note(f"round {done} of {of}")

    metrics = list(run(rounds, progress))
    show({"machine": machine(), "metrics": [figure.as_json() for figure in metrics]}, output)
    if any(figure.holds is False for figure in metrics):
        raise typer.Exit(1)


@app.command()
def group(
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Everything is measured once a round.")] = 5,
    largest: Annotated[int, typer.Option(min=3, max=32, help="Rings of 3 to this many members.")] = 32,
    street: Annotated[int, typer.Option(min=3, max=32, help="Members of the ring on real sockets.")] = 25,
    suite: Annotated[list[int] | None, typer.Option(help="1 or 17, or both; goals are those of suite 1.")] = None,
    meters: Annotated[int, typer.Option(min=8, max=20_000, help="Meters of the city of clusters.")] = 10_000,
    part: Annotated[list[str] | None, typer.Option(help="Measure this part alone; may be repeated.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """What a group's key costs: a member against the specification's operations, a street on real sockets, other schemes.

    Ends with 1 if a goal does not hold.

    \b
    Example:
      keymote bench group -o json
      keymote bench group --part member --suite 1 --rounds 3
    """
    try:
        from keymote.bench.group import Size, run
        from keymote.bench.report import machine
    except ImportError as error:
        raise Unavailable(f"{error.name} is not installed", do="make bench sets it up") from error

    with _bar() as progress:
        metrics = list(run(Size(rounds, largest, street, tuple(suite or (1, 17)), meters), progress, part or ()))
    show({"machine": machine(), "metrics": [figure.as_json() for figure in metrics]}, output)
    if any(figure.holds is False for figure in metrics):
        raise typer.Exit(1)


@app.command()
def topic(
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Everything is measured once a round.")] = 5,
    output: OutputOption = Output.TABLE,
) -> None:
    """What protecting and opening a reading of 64 bytes costs, in every cipher, against one bare AES-CCM call, and how many
    readings a second go through Mosquitto with protection and without.

    Ends with 1 if a goal does not hold. Our own ciphers are measured compiled too where the extra `fast` is installed.

    \b
    Example:
      keymote bench topic -o json
      keymote bench topic --rounds 3
    """
    from keymote.bench import topic as ciphers
    from keymote.bench import topic_mqtt
    from keymote.bench.report import machine

    with _bar() as progress:
        metrics = [*ciphers.run(rounds, progress), *topic_mqtt.run(rounds, progress)]
    show({"machine": machine(), "metrics": [figure.as_json() for figure in metrics]}, output)
    if any(figure.holds is False for figure in metrics):
        raise typer.Exit(1)


@app.command()
def handover(
    motes: Annotated[int, typer.Option(min=1, max=100, help="Powered on, and handed over, once each.")] = 9,
    patients: Annotated[int, typer.Option(min=1, max=50, help="They walk to and fro, and measure all the time.")] = 4,
    moves: Annotated[int, typer.Option(min=1, max=10_000, help="Walks of all patients together.")] = 40,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the roles' files and logs there; must not exist.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """What a move to the next broker costs a patient, against powering a mote on; readings lost and opened twice on the way.

    All on real sockets of loopback, with embedded brokers: 50 ms there and back on the radio and 5 ms between brokers are
    imposed in both. Ends with 1 if a goal does not hold.

    \b
    Example:
      keymote bench handover -o json
      keymote bench handover --motes 3 --moves 200
    """
    from keymote.bench.report import machine

    try:
        from keymote.bench.handover import Size, metrics, run
    except ImportError as error:
        raise Unavailable(f"{error.name} is not installed", do="install keymote[broker]") from error
    with _folder(keep) as folder, _bar() as progress:
        figures = list(metrics(asyncio.run(run(folder, Size(motes, patients, moves), progress))))
    show({"machine": machine(), "metrics": [figure.as_json() for figure in figures]}, output)
    if any(figure.holds is False for figure in figures):
        raise typer.Exit(1)


@app.command()
def fleet(
    devices: Annotated[int, typer.Option(help="Devices of both operators together.")] = 1000,
    sessions: Annotated[int, typer.Option(min=1, help="Sessions to open between them.")] = 1000,
    loss: Annotated[
        float, typer.Option(help="Part of all datagrams dropped; as much is duplicated, and held back.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(help="Who meets whom, and what the network does to them.")] = 1,
    at_once: Annotated[
        int, typer.Option(min=1, help="Enrolments, then sessions, under way in one operator's street.")
    ] = 12,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the roles' files and logs there; must not exist.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """A thousand devices of two operators on a bad network: all enrolled, all sessions open at both ends, in five minutes.

    Every role is a process of its own; a relay drops, duplicates and holds back datagrams each way between all of them.
    Ends with 1 if a goal does not hold.

    \b
    Example:
      keymote bench fleet -o json
      keymote bench fleet --devices 40 --sessions 100 --loss 0.2 --keep /tmp/fleet
    """
    from keymote.bench.fleet.measure import metrics, run
    from keymote.bench.fleet.plan import Terms
    from keymote.bench.report import machine

    terms = Terms(devices, sessions, loss, seed, at_once)
    with _folder(keep) as folder, _bar() as progress:
        figures = metrics(asyncio.run(run(folder, terms, progress)))
    show({"machine": machine(), "metrics": [figure.as_json() for figure in figures]}, output)
    if any(figure.holds is False for figure in figures):
        raise typer.Exit(1)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Yield a directory that is gone afterwards, or the one that is to be kept."""
    if keep is not None:
        try:
            keep.mkdir(mode=0o700)
        except OSError as error:
            raise CallerFault(
                f"cannot create {keep}: {error.strerror}", do="name a directory that is not there"
            ) from error
        yield keep.absolute()
        return
    folder = Path(tempfile.mkdtemp(prefix="keymote-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """Yield what shows how far the work has come, as a bar on stderr when somebody watches."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("starting", total=1)
        yield lambda what, done, of: bar.update(task, description=what, completed=done, total=of)
