"""`keymote lab`: the laboratory. `attack` runs the attack catalogue against the published schemes and against Triad-1,
`reproduce` measures and computes again what the papers claim, `run` lets a whole place live for virtual days.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from keymote.cli.output import Output, OutputOption, note, show
from keymote.cli.settings import made_directory, state_directory
from keymote.errors import CallerFault

if TYPE_CHECKING:
    from keymote.lab.attacks import Attack, Verdict

app = typer.Typer()
MOST_ROWS: Final = 48
"""Rows of a table that people are shown; longer ones stand in the file alone."""


@app.callback()
def lab() -> None:
    """Attacks and experiments in simulated worlds; nothing here touches a network or a key of yours."""


@app.command()
def attack(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Attacks to run, such as A-01 I-05.")
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Run every attack.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Take the long forms: more queries, larger dictionaries.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run attacks: each must succeed against the scheme as published and fail by its name against Triad-1.

    Ends with 1 if any outcome is not what the catalogue says.
    """
    from keymote.lab.attacks import Effort, judge

    chosen = _chosen(ids or [], every=every)
    verdicts = []
    for number, entry in enumerate(chosen, start=1):
        note(f"[{number}/{len(chosen)}] {entry.id} {entry.name}")
        verdicts.append(judge(entry, Effort(full=full)))
    ok = all(verdict.ok for verdict in verdicts)
    rows = [verdict.row() if output is Output.JSON else _line(verdict) for verdict in verdicts]
    show({"ok": ok, "attacks": rows}, output)
    for verdict in verdicts:
        if not verdict.ok:
            note(f"{verdict.id} is not as the catalogue says: {verdict.row()['evidence']}")
    if not ok:
        raise typer.Exit(1)


def _chosen(ids: Sequence[str], *, every: bool) -> "list[Attack]":
    """Return the attacks that the line names.

    Raises:
        CallerFault: it names none, one that this version does not have, or some beside `--all`.
    """
    from keymote.lab.attacks import CATALOGUE

    if every == bool(ids):
        raise CallerFault("name attacks, or give --all", do=f"known are {', '.join(CATALOGUE.attacks)}")
    if every:
        return list(CATALOGUE.attacks.values())
    known = {attack_id.upper(): entry for attack_id, entry in CATALOGUE.attacks.items()}
    unknown = [each for each in ids if each.upper() not in known]
    if unknown:
        raise CallerFault(
            f"no attack {', '.join(unknown)} in this version", do=f"known are {', '.join(CATALOGUE.attacks)}"
        )
    return [known[each.upper()] for each in ids]


def _line(verdict: "Verdict") -> dict[str, object]:
    """Return the row that people read: one line of evidence, that of the attempt that names the attack."""
    row = verdict.row()
    by = ", ".join((verdict.by, *verdict.also))
    return {
        "id": row["id"],
        "name": row["name"],
        "published": row["published"],
        "triad1": row["triad1"],
        "by": by,
        "evidence": verdict.attempts[0][1].evidence,
    }


@app.command()
def reproduce(
    name: Annotated[
        str | None, typer.Argument(help="What to reproduce, such as paper-000; without it, what there is.")
    ] = None,
    *,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Write figures and result there.", show_default="user data"),
    ] = None,
    seed: Annotated[str, typer.Option(help="Of the simulated worlds; it stands in every file.")] = "0",
    profile: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A further device, in TOML; may be repeated.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A fraction of the runs: for a first look.")] = False,
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw PNG and SVG (extra `lab`).")] = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """What a paper claims beside what comes out: numbers with their sources, verdicts and figures.

    A claim that does not hold is a result, not a failure. Ends with 1 if the reproduction itself went wrong.

    \b
    Example:
      keymote lab reproduce
      keymote lab reproduce paper-000
      keymote lab reproduce paper-000 -o json --seed 7 --to figures
      keymote lab reproduce paper-000 --profile my-board.toml
      keymote lab reproduce paper-001 --quick
    """
    from keymote.bench.reproduce import REPRODUCTIONS, reproduction
    from keymote.bench.reproduce.figures import require, save

    if name is None:
        show({"reproductions": [{"name": each, "title": of.title} for each, of in REPRODUCTIONS.items()]}, output)
        return
    chosen = reproduction(name)
    if figures:
        require()
    found = chosen.load()(seed, profile or [], quick=quick, note=note)
    directory = made_directory(to.expanduser().absolute() if to else state_directory("lab", None) / name)
    about = {"reproduction": name, "seed": seed, "configuration": json.dumps(found.result.get("configuration"))}
    paths = [str(path) for path in save(found.drawings, directory, about)] if figures else []
    result = {**found.result, "files": [*paths, str(directory / f"{name}.json")]}
    _write(directory / f"{name}.json", result)
    if output is Output.JSON:
        show(result, output)
    else:
        show({**found.tables, "files": result["files"]}, output)
    if not found.ok:
        note(f"{name} went wrong: our engines compute more than the specification prescribes, see `metered`")
        raise typer.Exit(1)


@app.command()
def run(
    name: Annotated[
        str | None, typer.Argument(help="An experiment, or a TOML file of yours; without it, what there is.")
    ] = None,
    *,
    days: Annotated[float | None, typer.Option(help="Virtual days.", show_default="as the experiment says")] = None,
    meters: Annotated[int | None, typer.Option(help="Meters.", show_default="as the experiment says")] = None,
    moves: Annotated[int | None, typer.Option(help="Moves of patients.", show_default="as the experiment says")] = None,
    seed: Annotated[str, typer.Option(help="Of the virtual world; it stands in every file.")] = "0",
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="DIR", help="Write figures and result there.", show_default="user data"),
    ] = None,
    figures: Annotated[bool, typer.Option("--figures/--no-figures", help="Draw PNG and SVG (extra `lab`).")] = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a place live in virtual time: the product's engines and policies, its radio and its people simulated.

    Ends with 1 if something that must hold does not.

    \b
    Example:
      keymote lab run
      keymote lab run microgrid --days 7 --seed 3
      keymote lab run exchange -o json --to figures
      keymote lab run city --meters 1000 --no-figures
      keymote lab run ward --moves 500
    """
    from dataclasses import asdict

    from keymote.bench.experiments import drawing
    from keymote.bench.reproduce.figures import require, save
    from keymote.lab import files
    from keymote.lab.experiment import read
    from keymote.lab.runs import RUNS

    if name is None:
        titles = {each: files.experiment(each)[1]["title"] for each in files.experiments()}
        show({"experiments": [{"name": each, "title": title} for each, title in titles.items()]}, output)
        return
    experiment = read(*files.experiment(name), meters=meters, days=days, moves=moves)
    if figures:
        require()
    with _bar(experiment.title) as progress:
        found = RUNS[experiment.case](experiment, seed, progress)
    directory = made_directory(to.expanduser().absolute() if to else state_directory("lab", None) / experiment.name)
    configuration = asdict(experiment)
    about = {"experiment": experiment.name, "seed": seed, "configuration": json.dumps(configuration)}
    paths = [str(path) for path in save({experiment.name: drawing(found)}, directory, about)] if figures else []
    written = directory / f"{experiment.name}.json"
    head = {"ok": found.ok, "experiment": experiment.name, "title": experiment.title, "seed": seed}
    facts = {**head, "facts": found.facts, "checks": found.checks, "files": [*paths, str(written)]}
    result = {**facts, "configuration": configuration, **found.tables}
    _write(written, result)
    if output is Output.JSON:
        show(result, output)
    else:
        checks = [{"check": check, "holds": holds} for check, holds in found.checks.items()]
        tables = {title: list(rows) for title, rows in found.tables.items() if len(rows) <= MOST_ROWS}
        show({**head, **found.facts, **tables, "checks": checks, "files": facts["files"]}, output)
    if not found.ok:
        raise typer.Exit(1)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[float], None]]:
    """Yield what shows how far the world has come, as a bar on stderr when somebody watches."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _write(path: Path, result: Mapping[str, object]) -> None:
    try:
        path.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise CallerFault(f"cannot write {path}: {error.strerror}", do="choose another directory by --to") from error
