"""List the numbered rules that no test names, and the ids in tests' names that are no rule; with --check, fail then.

Rules stand in docs/protocols/*.md as `- **XX-nn** statement`. A test names a rule by carrying its id without the hyphen
in its function name (`test_EN07_refuses_identity_share`); one name may carry several (`test_EN13_EN16_...`).
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
RULE_LINE = re.compile(r"^- \*\*(?P<id>[A-Z]{2}-\d{2})\*\* (?P<text>.+)$", re.MULTILINE)
WAIVER = re.compile(r"\(no test: (?P<reason>[^()]{8,})\)")
ID_IN_NAME = re.compile(r"(?<![A-Za-z0-9])(?P<family>[A-Z]{2})(?P<number>\d{2})(?![A-Za-z0-9])")


@dataclass(frozen=True, slots=True)
class Rule:
    """One numbered statement; `waiver` says why no test can reach it (empty: a test is due)."""

    id: str
    text: str
    waiver: str


def rules_in(text: str) -> list[Rule]:
    """Return the rules of a document, in its order."""
    return [
        Rule(line["id"], line["text"], waiver["reason"] if (waiver := WAIVER.search(line["text"])) else "")
        for line in RULE_LINE.finditer(text)
    ]


def ids_in(function_name: str) -> frozenset[str]:
    """Return the rule ids that a test's name carries; `test_EN07_x` carries EN-07."""
    parts = function_name.split("_")
    return frozenset(f"{found['family']}-{found['number']}" for part in parts if (found := ID_IN_NAME.fullmatch(part)))


def tests_in(source: str) -> Iterator[str]:
    """Yield the names of the test functions and test methods of a file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.name


def all_rules(root: Path = ROOT) -> list[Rule]:
    """Return the rules of every document under docs/protocols."""
    return [rule for path in sorted((root / "docs" / "protocols").glob("*.md")) for rule in rules_in(path.read_text())]


def named_by_tests(root: Path = ROOT) -> dict[str, list[str]]:
    """Return rule id -> the tests (`file::name`) that carry it."""
    named: dict[str, list[str]] = {}
    for path in sorted((root / "tests").rglob("test_*.py")):
        for test in tests_in(path.read_text()):
            for rule_id in ids_in(test):
                named.setdefault(rule_id, []).append(f"{path.relative_to(root).as_posix()}::{test}")
    return named


def untested(rules: Iterable[Rule], named: Iterable[str]) -> list[Rule]:
    """Return the rules that are due a test and have none."""
    tested = frozenset(named)
    return [rule for rule in rules if not rule.waiver and rule.id not in tested]


def main() -> int:
    """Print the lists; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="exit 1 if anything is listed")
    check = parser.parse_args().check
    rules, named = all_rules(), named_by_tests()
    missing = untested(rules, named)
    unknown = sorted(named.keys() - {rule.id for rule in rules})
    for rule in missing:
        print(f"{rule.id}  {rule.text}")
    for rule_id in unknown:
        print(f"{rule_id}  is no rule, but stands in {', '.join(named[rule_id])}")
    print(f"{len(rules)} rules, {len(missing)} without a test, {len(unknown)} unknown ids", file=sys.stderr)
    return int(check and bool(missing or unknown))


if __name__ == "__main__":
    sys.exit(main())
