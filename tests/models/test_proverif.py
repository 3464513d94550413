"""The ProVerif models beside the others, for an unbounded number of sessions: run where there is a `proverif`."""

import re
import shutil
import subprocess

import pytest

from model_search import MODELS

FILES = sorted(MODELS.glob("*.pv"))
REACHABLE = "RESULT not event"
"""The last query of each file asks whether an honest run ends at all: its negation must be false."""


@pytest.mark.peers
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which("proverif") is None, reason="proverif is not on PATH (no distribution packages it)")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_query_is_answered_as_the_file_says(path: object) -> None:
    run = subprocess.run(["proverif", str(path)], capture_output=True, text=True, check=True, timeout=800)
    results = [line for line in run.stdout.splitlines() if line.startswith("RESULT")]
    claims = [line for line in results if not line.startswith(REACHABLE)]
    reachable = [line for line in results if line.startswith(REACHABLE)]
    assert claims and all(line.endswith("is true.") for line in claims), run.stdout[-4000:]
    assert reachable and all(line.endswith("is false.") for line in reachable), run.stdout[-4000:]


def test_every_file_has_claims_and_a_query_that_must_fail() -> None:
    assert {path.stem for path in FILES} == {"pairwise", "nmauth", "kresp"}
    for path in FILES:
        queries = re.findall(r"^query [^.]*\.", path.read_text(), re.MULTILINE)
        assert sum("==>" in query for query in queries) >= 4
        assert sum("==>" not in query for query in queries) == 1
        assert path.read_text().count("(*") == path.read_text().count("*)")
