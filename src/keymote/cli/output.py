"""What a command says on stdout: a table for people, one JSON object for programs. Everything else goes to stderr."""

import json
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from rich.table import Table

FILE_COLUMNS: Final = 160
"""Width of tables that no terminal shows."""


class Output(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="A table for people or one JSON object.")]


def show(result: Mapping[str, object], output: Output) -> None:
    """Print one result: as JSON, or as a line `name  value` each; lists of mappings become tables of their own."""
    if output is Output.JSON:
        print(json.dumps(result, ensure_ascii=False))
        return
    from rich.console import Console

    width = None if sys.stdout.isatty() else FILE_COLUMNS
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True, width=width)
    for table in tables(result):
        console.print(table)


def tables(result: Mapping[str, object]) -> "Sequence[Table]":
    """Return one result as people read it: its facts, then each list of mappings as a table of its own."""
    from rich.table import Table
    from rich.text import Text

    facts = Table(box=None, show_header=False, pad_edge=False)
    lists: list[tuple[str, Sequence[Mapping[str, object]]]] = []
    for name, value in result.items():
        if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
            lists.append((name, value))
        else:
            facts.add_row(Text(name.replace("_", " "), style="bold"), Text(cell(value)))
    made = [facts] if facts.row_count else []
    for name, rows in lists:
        table = Table(title=Text(name.replace("_", " ")) if len(lists) > 1 else None, box=None, pad_edge=False)
        columns = list(dict.fromkeys(column for row in rows for column in row))
        for place, column in enumerate(columns):
            table.add_column(column.replace("_", " "), overflow="fold", no_wrap=place == 0)
        for row in rows:
            table.add_row(*(Text(cell(row.get(column))) for column in columns))
        made.append(table)
    return made


def cell(value: object) -> str:
    """Return a value as people read it."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(cell, value)) or "none"
        case Mapping():
            return ", ".join(f"{name} {cell(entry)}" for name, entry in value.items())
        case _:
            return str(value)


def note(text: str) -> None:
    """Tell the person at the terminal something that is not the result."""
    print(text, file=sys.stderr)
