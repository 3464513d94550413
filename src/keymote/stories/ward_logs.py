"""What patients' processes have logged against what a caregiver's process has opened, reading by reading."""

import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple


class Tally(NamedTuple):
    """`due` readings in the logs; what came of them. `strange` were opened and never logged."""

    due: int
    opened: int
    lost: int
    twice: int
    out_of_order: int
    strange: int


class Log:
    """One line a reading, on disk before anything else is done with it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def write(self, topic: str, text: str) -> None:
        self._file.write(json.dumps([topic, text]) + "\n")

    def close(self) -> None:
        self._file.close()


def logged(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Return topic -> readings in order, of one or more logs; a line that is being written is left out."""
    found: dict[str, list[str]] = {}
    for path in paths:
        for line in path.read_text("utf-8").splitlines(keepends=True) if path.exists() else ():
            if line.endswith("\n"):
                topic, text = json.loads(line)
                found.setdefault(topic, []).append(text)
    return found


def compare(said: dict[str, list[str]], opened: dict[str, list[str]]) -> Tally:
    """Compare what was logged with what was opened; all texts of a topic differ."""
    lost = twice = disordered = strange = 0
    for topic, texts in said.items():
        place = {text: at for at, text in enumerate(texts)}
        known = [place[text] for text in opened.get(topic, ()) if text in place]
        lost += len(place.keys() - {texts[at] for at in known})
        twice += len(known) - len(set(known))
        disordered += sum(later < before for before, later in pairwise(known))
        strange += len(opened.get(topic, ())) - len(known)
    strange += sum(len(texts) for topic, texts in opened.items() if topic not in said)
    due, came = (sum(map(len, each.values())) for each in (said, opened))
    return Tally(due, came, lost, twice, disordered, strange)
