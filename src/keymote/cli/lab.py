"""`keymote lab`: the laboratory. `attack` runs the attack catalogue against the published schemes and against Triad-1,
`reproduce` measures and computes again what the papers claim.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keymote.cli.output import Output, OutputOption, note, show
from keymote.cli.settings import made_directory, state_directory
from keymote.errors import CallerFault

if TYPE_CHECKING:
    from keymote.lab.attacks import Attack, Verdict

app = typer.Typer()


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
    """
    from keymote.bench.reproduce import REPRODUCTIONS, reproduction
    from keymote.bench.reproduce.figures import require, save

    if name is None:
        show({"reproductions": [{"name": each, "title": of.title} for each, of in REPRODUCTIONS.items()]}, output)
        return
    chosen = reproduction(name)
    if figures:
        require()
    found = chosen.load()(seed, profile or [])
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


def _write(path: Path, result: Mapping[str, object]) -> None:
    try:
        path.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise CallerFault(f"cannot write {path}: {error.strerror}", do="choose another directory by --to") from error
