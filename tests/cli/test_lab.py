"""`keymote lab attack`: what it prints, for programs and for people, and how it ends."""

import json

import pytest
from typer.testing import CliRunner

from keymote.cli.lab import app
from keymote.errors import CallerFault
from keymote.lab import attacks
from keymote.lab.attacks import Attack, Catalogue, Succeeds
from keymote.lab.attacks.catalogue import Attempt

RUN = CliRunner()


def test_json_has_the_shape_that_checks_read() -> None:
    done = RUN.invoke(app, ["attack", "a-05", "I-04", "A-22", "-o", "json"])
    assert done.exit_code == 0
    result = json.loads(done.stdout)
    assert result["ok"] is True
    rows = {row["id"]: row for row in result["attacks"]}
    assert list(rows) == ["A-05", "I-04", "A-22"]
    assert {key: rows["A-05"][key] for key in ("published", "triad1", "by", "also")} == {
        "published": "succeeds",
        "triad1": "fails",
        "by": "E_SUITE",
        "also": ["E_FORMAT"],
    }
    assert rows["A-22"]["published"] == "not applicable"
    assert all(row["evidence"] for row in rows.values())


def test_people_get_a_line_each_and_progress_apart() -> None:
    done = RUN.invoke(app, ["attack", "I-06"])
    assert done.exit_code == 0
    assert "I-06" in done.stdout
    assert "E_FORMAT" in done.stdout
    assert "[1/1]" in done.stderr
    assert "[1/1]" not in done.stdout


def test_a_pair_that_deviates_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    wins = Attempt("any", "E_AUTH", lambda _effort: Succeeds("the guard is gone"))
    broken = Attack("A-99", "always succeeds", "M", None, (wins,))
    monkeypatch.setattr(attacks, "CATALOGUE", Catalogue({"A-99": broken}))
    done = RUN.invoke(app, ["attack", "--all", "-o", "json"])
    assert done.exit_code == 1
    (row,) = json.loads(done.stdout)["attacks"]
    assert (row["triad1"], row["by"], row["ok"]) == ("succeeds", "nothing", False)
    assert "the guard is gone" in done.stderr


@pytest.mark.parametrize("words", [["attack"], ["attack", "A-26"], ["attack", "--all", "A-01"]])
def test_wrong_use_names_what_is_known(words: list[str]) -> None:
    done = RUN.invoke(app, words)
    assert isinstance(done.exception, CallerFault)
    assert "A-01" in str(done.exception)
