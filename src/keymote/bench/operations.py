"""What the specification prescribes, operation by operation and role by role (operations.toml), and how it is shown."""

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

ENROLMENT: Final = ("device", "manager")
SESSION: Final = ("I", "R", "NM1", "NM2")
GROUP: Final = ("member", "gateway")

Counts = Counter[str]
"""Operation -> how often."""


@cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads(files(__package__).joinpath("operations.toml").read_text("utf-8"))


def operations() -> Mapping[str, str]:
    """Return what there is to count: name -> what it stands for."""
    named: Mapping[str, str] = _table()["operations"]
    return named


def enrolment() -> Mapping[str, Counts]:
    """Return the counts of an enrolment: role -> operation -> number."""
    return {role: Counter(_table()["enrolment"][role]) for role in ENROLMENT}


def session(*, fast: bool, compact: bool) -> Mapping[str, Counts]:
    """Return the counts of a session on one path in one form: role -> operation -> number."""
    counts = {role: Counter[str](_table()["session"][role]) for role in SESSION}
    for flag in (["fast"] if fast else []) + (["compact"] if compact else []):
        for role, change in _table()["change"][flag].items():
            for operation, by in change.items():
                counts[role][operation] += by
    return counts


def group(n: int) -> Mapping[str, Counts]:
    """Return the counts of a run of a ring of `n` >= 3 at level V1 in relay mode: role -> operation -> number."""
    return {
        role: Counter({operation: a + b * n for operation, (a, b) in _table()["group"][role].items()}) for role in GROUP
    }


def total(roles: Mapping[str, Counts]) -> Counts:
    """Return the sum over all roles."""
    return sum(roles.values(), Counter())


def as_metered(counts: Counts, *, has_map: bool) -> Counts:
    """Return the counts under the names of `crypto.metered`; `has_map` False: a random point is r G (P-256)."""
    counted = Counter[str]()
    names = {
        "map": "map" if has_map else "base_mul",
        "generator": "map",
        "key_check": "verify_key",
        "aead": "aead",
        "record": "aead",
    }
    for operation, number in counts.items():
        if operation != "generator" or has_map:
            counted[names.get(operation, operation)] += number
    return counted


def render() -> str:
    """Return the tables as Markdown: what docs/operations.md holds."""
    return "\n".join(_page())


def _page() -> Iterator[str]:
    yield from (
        "# Operation counts",
        "",
        "<!-- written by tools/operations_doc.py from src/keymote/bench/operations.toml; a test compares -->",
        "",
        "What Triad-1 prescribes for each role, derived from its text (2.4, 2.6, 2.8, 3.1 to 3.6, with 1.2, 1.3, 1.7, 1.9,",
        "1.10). The bench multiplies these counts with the fastest vetted call of each operation, measured in the same run:",
        "that product is the floor of `pairwise.session.cpu_ratio`, `pairwise.enrolment.cpu_ratio` and",
        "`group.member.cpu_ratio`. A test lets the engines run on a suite that counts and fails when one of them calls more",
        "than stands here; fewer calls (an issuer's key is examined once, not at every session) are welcome and do not change",
        "the floor.",
        "",
        "| operation | stands for |",
        "|---|---|",
    )
    yield from (f"| `{name}` | {meaning} |" for name, meaning in operations().items())
    yield from (
        "",
        "## Enrolment",
        "",
        "The registrar's coordinator is below the pinned root, so CRED carries three credentials.",
        "",
    )
    yield from _rows(enrolment())
    yield from (
        "",
        "## Session",
        "",
        "From SESSREQ to OPEN on both sides, exports included; the managers have met before (NMAUTH is once a link).",
        "",
    )
    for fast in (False, True):
        for compact in (False, True):
            yield from (f"### {'Fast' if fast else 'Normal'} path, {'compact' if compact else 'full'} PEERCRED", "")
            yield from _rows(session(fast=fast, compact=compact))
            yield ""
    yield from (
        "## Run of a ring",
        "",
        "From START to COMMIT (3.1, 3.4 to 3.6) for n >= 3 at level V1 under a relay gateway, with a roster that is held: one",
        "member, and the gateway. The additions are those of 3.5, which closes the ring by a sum of its own.",
        "",
        "| operation | member | gateway | member, n = 25 | gateway, n = 25 |",
        "|---|---|---|---|---|",
    )
    roles = _table()["group"]
    for name in operations():
        if any(name in roles[role] for role in GROUP):
            terms = [roles[role].get(name, (0, 0)) for role in GROUP]
            cells = [*(_term(a, b) for a, b in terms), *(str(a + 25 * b) for a, b in terms)]
            yield f"| `{name}` | {' | '.join(cells)} |"


def _term(a: int, b: int) -> str:
    """Return a + b n as people write it."""
    if not b:
        return str(a)
    n = "n" if b == 1 else f"{b} n"
    return n if not a else f"{n} {'+' if a > 0 else '-'} {abs(a)}"


def _rows(roles: Mapping[str, Counts]) -> Iterator[str]:
    def line(cells: Sequence[object]) -> str:
        return f"| {' | '.join(map(str, cells))} |"

    yield line(["operation", *roles, "all"])
    yield line(["---"] * (len(roles) + 2))
    everybody = total(roles)
    for name in operations():
        if everybody[name]:
            yield line([f"`{name}`", *(counts[name] for counts in roles.values()), everybody[name]])
