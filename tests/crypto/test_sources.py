"""Rules about the crypto room that only its text can show."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import keymote

SOURCE = Path(keymote.__file__).parent
CONSTANT_TIME = {"compare_digest", "bytes_eq"}


def test_IM07_tags_are_compared_through_one_constant_time_door() -> None:
    doors = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute | ast.Name)
        and (node.attr if isinstance(node, ast.Attribute) else node.id) in CONSTANT_TIME
    }
    assert doors == {"crypto/secret.py"}


def test_IM07_no_tag_is_compared_with_an_operator() -> None:
    """An expression that computes a tag or opens a secret never stands beside == or !=."""
    tags = {"mac16", "mac8", "expose", "digest"}
    compared = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        if "lab" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Call)
        and (name := side.func.attr if isinstance(side.func, ast.Attribute) else getattr(side.func, "id", ""))
        and name in tags
    ]
    assert compared == []


def test_importing_the_table_of_suites_loads_no_group_library() -> None:
    code = (
        "import sys, keymote.crypto.suites, keymote.crypto.dleq, keymote.crypto.seal;"
        "print(sorted({'rbcl', 'Crypto', 'nacl'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=50, check=True
    )
    assert told.stdout.strip() == "[]"
