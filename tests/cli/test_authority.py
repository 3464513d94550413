"""`keymote authority` and `keymote coordinator init` by their commands, in one process."""

import json
import sys
from pathlib import Path

import pytest

from keymote import cli
from keymote.host import hardening


@pytest.fixture(autouse=True)
def soft(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own process stays as it is."""
    monkeypatch.setattr(hardening, "harden", lambda: None)
    monkeypatch.setattr("keymote.cli.authority.harden", lambda: None)
    monkeypatch.delenv("COMP_WORDS", raising=False)


@pytest.fixture
def keymote(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["keymote", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return call


def test_a_root_certifies_a_coordinator_and_keeps_a_register(keymote, tmp_path: Path) -> None:
    root, nc = tmp_path / "root", tmp_path / "nc"
    code, out, err = keymote("authority", "init", "--data", str(root), "-o", "json")
    assert (code, json.loads(out)["suite"], "off line" in err) == (0, 1, True)
    assert keymote("coordinator", "init", "--name", "north", "--data", str(nc))[0] == 0
    code, out, _ = keymote("authority", "show", "--request", str(nc / "nc.req"), "-o", "json")
    assert (code, json.loads(out)["name"]) == (0, "north")
    code, out, _ = keymote(
        "authority", "certify", "--data", str(root), "--request", str(nc / "nc.req"), "--out", str(nc / "nc.cred"),
        "-o", "json",
    )  # fmt: skip
    issued = json.loads(out)
    assert (code, issued["name"]) == (0, "north")
    register = [json.loads(line) for line in (root / "issued.jsonl").read_text().splitlines()]
    assert [line["serial"] for line in register] == [issued["serial"]]
    assert json.loads((nc / "nc.cred").read_text())["root"]["id"] == json.loads((root / "root.pin").read_text())["id"]


def test_a_second_root_in_a_directory_is_refused(keymote, tmp_path: Path) -> None:
    assert keymote("authority", "init", "--data", str(tmp_path))[0] == 0
    before = (tmp_path / "authority.json").read_bytes()
    code, _, err = keymote("authority", "init", "--data", str(tmp_path))
    assert (code, "already" in err) == (2, True)
    assert (tmp_path / "authority.json").read_bytes() == before


def test_without_a_root_nothing_is_certified(keymote, tmp_path: Path) -> None:
    code, _, err = keymote(
        "authority", "certify", "--data", str(tmp_path / "none"), "--request", "x", "--out", str(tmp_path / "y")
    )
    assert (code, "authority init" in err) == (2, True)
    assert not (tmp_path / "y").exists()


def test_a_request_that_was_changed_is_refused(keymote, tmp_path: Path) -> None:
    root, nc = tmp_path / "root", tmp_path / "nc"
    keymote("authority", "init", "--data", str(root))
    keymote("coordinator", "init", "--data", str(nc))
    request = json.loads((nc / "nc.req").read_text())
    body = request["request"]
    request["request"] = body[:-2] + ("AA" if body[-2:] != "AA" else "BA")
    (nc / "nc.req").write_text(json.dumps(request))
    code, _, err = keymote(
        "authority", "certify", "--data", str(root), "--request", str(nc / "nc.req"), "--out", str(nc / "nc.cred")
    )
    assert code == 1
    assert "E_" in err
    assert not (nc / "nc.cred").exists()


def test_an_unreachable_coordinator_is_exit_code_3(keymote, tmp_path: Path) -> None:
    keymote("coordinator", "init", "--data", str(tmp_path))
    code, _, err = keymote("coordinator", "manager", "list", "--data", str(tmp_path), "--url", "https://localhost:1")
    assert (code, "is the coordinator running?" in err) == (3, True)
