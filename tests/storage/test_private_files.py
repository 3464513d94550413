"""Small secret files: whole or not at all, for their owner only, read only while nobody else can."""

import os
from pathlib import Path

import pytest

from keymote.errors import CallerFault, Unavailable
from keymote.storage import private_files as files


def test_a_file_is_its_owners_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files.write_private(tmp_path / "secret", b"x")
        files.write_private(tmp_path / "public", b"x", mode=0o644)
        os.umask(0o777)
        files.write_private(tmp_path / "strict", b"x", mode=0o644)
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("secret", "public", "strict")]
    assert modes == [0o600, 0o644, 0o644]


def test_a_replacement_leaves_nothing_else_behind(tmp_path: Path) -> None:
    files.write_private(tmp_path / "f", b"one")
    (tmp_path / f".f.{os.getpid()}").write_bytes(b"of a process that died")
    files.write_private(tmp_path / "f", b"two" * 100_000)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"two" * 100_000


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    (tmp_path / f".f.{os.getpid()}").symlink_to(victim)
    files.write_private(tmp_path / "f", b"new")
    assert victim.read_bytes() == b"untouched"


def test_what_cannot_be_written_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_private(tmp_path / "f", b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left"):
        files.write_private(tmp_path / "f", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("f", b"old")]
    with pytest.raises(Unavailable, match="cannot write"):
        files.write_private(tmp_path / "absent" / "f", b"new")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610])
def test_a_secret_that_others_can_reach_is_not_read(tmp_path: Path, mode: int) -> None:
    files.write_private(tmp_path / "f", b"x")
    (tmp_path / "f").chmod(mode)
    with pytest.raises(CallerFault, match=r"chmod 600 .*f"):
        files.read_private(tmp_path / "f", "secret")


def test_a_secret_of_another_user_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_private(tmp_path / "f", b"x")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(CallerFault, match="another user"):
        files.read_private(tmp_path / "f", "secret")


def test_what_is_missing_is_named_with_its_purpose(tmp_path: Path) -> None:
    for read in (files.read_private, files.read_file):
        with pytest.raises(CallerFault, match=r"cannot read root pin .*absent.*; look there"):
            read(tmp_path / "absent", "root pin", do="look there")
