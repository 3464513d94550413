"""`keymote lab`: what its commands print, for programs and for people, and how they end."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keymote.bench.reproduce import figures
from keymote.cli.lab import app
from keymote.errors import CallerFault, Unavailable
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


@pytest.mark.parametrize("words", [["attack"], ["attack", "A-99"], ["attack", "--all", "A-01"]])
def test_wrong_use_names_what_is_known(words: list[str]) -> None:
    done = RUN.invoke(app, words)
    assert isinstance(done.exception, CallerFault)
    assert "A-01" in str(done.exception)


# ------------------------------------------------------------------ reproduce


def test_reproduce_without_a_name_lists_what_there_is() -> None:
    done = RUN.invoke(app, ["reproduce", "-o", "json"])
    assert done.exit_code == 0
    assert "paper-000" in [row["name"] for row in json.loads(done.stdout)["reproductions"]]


def test_reproduce_says_every_number_with_its_source_and_draws(tmp_path: Path) -> None:
    done = RUN.invoke(app, ["reproduce", "paper-000", "-o", "json", "--seed", "7", "--to", str(tmp_path)])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (result["ok"], result["seed"]) == (True, "7")
    claims = {claim["name"]: claim for claim in result["claims"]}
    assert (claims["authentication"]["claimed"], claims["key generation"]["claimed"]) == (32, 23)
    assert claims["authentication"]["verdict"] == "cannot be"
    assert all(claim[key] for claim in claims.values() for key in ("source", "why", "floor_source"))
    for profile in result["profiles"]:
        for figure in (*profile["electrical"].values(), *profile["cycles"].values()):
            assert figure["kind"] and figure["source"]
    schemes = {(scheme["name"], scheme["suite"]): scheme for scheme in result["schemes"]}
    assert {"published", "triad1", "triad1-fast", "dtls-psk", "dtls-cert", "edhoc", "s3k-like"} == {
        name for name, _ in schemes
    }
    phases = {phase["phase"]: phase for phase in schemes["triad1", 17]["phases"]}
    assert list(phases) == ["enrolment", "authentication", "session key"]
    cost = phases["authentication"]["costs"]["cc2538-pka"]
    assert cost["total_uj"] == pytest.approx(cost["cpu_uj"] + cost["tx_uj"] + cost["rx_uj"], rel=1e-3)
    assert all(phase["operations_source"] and phase["traffic_source"] for phase in phases.values())
    assert [Path(file).suffix for file in result["files"]] == [".png", ".svg", ".json"]
    png, svg, kept = (Path(file) for file in result["files"])
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "&quot;seed&quot;: &quot;7&quot;" in svg.read_text("utf-8") or '"seed": "7"' in svg.read_text("utf-8")
    assert json.loads(kept.read_text("utf-8")) == result


def test_reproduce_tells_people_in_tables(tmp_path: Path) -> None:
    done = RUN.invoke(app, ["reproduce", "paper-000", "--no-figures", "--to", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "cannot be" in done.stdout
    assert "EDHOC" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["paper-000.json"]


def test_reproduce_without_matplotlib_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(figures, "find_spec", lambda _name: None)
    done = RUN.invoke(app, ["reproduce", "paper-000", "--to", str(tmp_path)])
    assert isinstance(done.exception, Unavailable)
    assert "keymote[lab]" in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_reproduce_of_an_unknown_paper_is_wrong_use() -> None:
    done = RUN.invoke(app, ["reproduce", "paper-999"])
    assert isinstance(done.exception, CallerFault)
    assert "paper-000" in str(done.exception)


# ------------------------------------------------------------------ run


def test_run_without_a_name_lists_the_experiments() -> None:
    done = RUN.invoke(app, ["run", "-o", "json"])
    assert done.exit_code == 0
    assert {row["name"] for row in json.loads(done.stdout)["experiments"]} >= {"city", "exchange", "microgrid"}


def test_run_writes_result_and_picture_with_seed_and_configuration(tmp_path: Path) -> None:
    words = ["run", "microgrid", "--days", "1", "--meters", "4", "--seed", "9", "-o", "json", "--to", str(tmp_path)]
    done = RUN.invoke(app, words)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (result["ok"], result["seed"]) == (True, "9")
    assert (result["configuration"]["meters"], result["configuration"]["days"]) == (4, 1.0)
    assert result["facts"]["epoch"] == len(result["epochs"]) == 2
    assert all(result["checks"].values())
    assert json.loads((tmp_path / "microgrid.json").read_text("utf-8")) == result
    assert sorted(path.name for path in tmp_path.iterdir()) == ["microgrid.json", "microgrid.png", "microgrid.svg"]
    assert '"seed": "9"' in (tmp_path / "microgrid.svg").read_text("utf-8").replace("&quot;", '"')


def test_run_shows_people_tables_and_takes_their_own_file(tmp_path: Path) -> None:
    text = 'title = "Four homes"\ncase = "exchange"\nmeters = 3\nmost = 4\ndays = 0.05\n[ring]\nmulticast = false\n'
    own = tmp_path / "mine.toml"
    own.write_text(text + "[market]\nsession_s = 1200\nround_s = 300\n", "utf-8")
    done = RUN.invoke(app, ["run", str(own), "--to", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "Four homes" in done.stdout and "kWh" in done.stdout
    assert (tmp_path / "mine.png").exists()


def test_run_of_a_city_counts_what_the_formula_says(tmp_path: Path) -> None:
    done = RUN.invoke(app, ["run", "city", "--meters", "40", "-o", "json", "--no-figures", "--to", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert [row["act"] for row in json.loads(done.stdout)["acts"]] == ["form", "leave", "join", "delegate loss"]


@pytest.mark.parametrize("words", [["atlantis"], ["microgrid", "--meters", "33"], ["city", "--meters", "1"]])
def test_run_of_what_cannot_be_is_wrong_use(words: list[str]) -> None:
    assert isinstance(RUN.invoke(app, ["run", *words]).exception, CallerFault)
