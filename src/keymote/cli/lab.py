"""`keymote lab`: the laboratory. `attack` runs the attack catalogue against the published schemes and against Triad-1."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from keymote.cli.output import Output, OutputOption, note, show
from keymote.errors import CallerFault

if TYPE_CHECKING:
    from keymote.lab.attacks import Attack, Verdict

app = typer.Typer()


@app.callback()
def lab() -> None:
    """Attacks and experiments in simulated worlds; nothing here touches a network, a key or a disk of yours."""


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
