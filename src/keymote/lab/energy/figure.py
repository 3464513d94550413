"""A number that says where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from keymote.errors import CallerFault


class Kind(StrEnum):
    """How a number came about, the most trustworthy first."""

    MEASURED = "measured"
    """By us, in this run."""
    PUBLISHED = "published"
    """A measurement that others have published; the source was read."""
    DATASHEET = "datasheet"
    PAPER = "paper"
    """What the reproduced paper says."""
    RECORDED = "recorded"
    """Measured by us before, when the peer was installed."""
    COMPUTED = "computed"
    """Follows from a specification by counting."""
    ESTIMATE = "estimate"
    """Our judgement; the source says how it was made."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its kind and source; the unit stands in the name under which it is kept."""

    value: float
    kind: Kind
    source: str

    @classmethod
    def read(cls, name: str, table: object) -> Self:
        """Return the figure that a TOML table declares: {value, kind, source}, and nothing else.

        Raises:
            CallerFault: a key is missing or unknown, the value is not a positive number, or no source is named.
        """
        if not isinstance(table, Mapping) or table.keys() != {"value", "kind", "source"}:
            raise CallerFault(f"{name} needs value, kind and source", do="each number of a profile names its source")
        value, source = table["value"], table["source"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise CallerFault(f"{name} is {value!r}, not a positive number")
        if table["kind"] not in set(Kind) or not isinstance(source, str) or not source:
            raise CallerFault(f"{name} has no source, or is of no known kind ({', '.join(Kind)})")
        return cls(float(value), Kind(table["kind"]), source)

    def as_json(self) -> dict[str, object]:
        """Return the shape that `-o json` prints."""
        return {"value": self.value, "kind": str(self.kind), "source": self.source}
