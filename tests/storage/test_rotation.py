"""Another key-encryption key: every data key changes its wrapping, nothing else changes, and no moment is fatal."""

import json
import os
from pathlib import Path

import pytest
from keyed_roles import ENTROPY, RECORD, ROLES, ROW, Role, cells_of, put
from rotation_kills import contents, survives_every_kill, wrappings
from tokens import MemoryToken

from keymote.crypto.secret import Secret
from keymote.device.config import with_key_uri
from keymote.errors import CallerFault, Unavailable
from keymote.manager.app import backup
from keymote.manager.app.directory import Directory
from keymote.storage.rotation import NOTE, rotate
from keymote.storage.seal_pkcs11 import key as token_keys
from keymote.storage.seal_pkcs11.faults import PinRefused
from keymote.storage.sealed_file import SealedFile

TOKEN = "pkcs11:token=km;object=%s?module-path=/usr/lib/m.so"
PASSPHRASE = Secret(b"correct horse battery")


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.long) if name == "agent" else name for name in ROLES])
def role(request: pytest.FixtureRequest) -> Role:
    return ROLES[request.param]


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> MemoryToken:
    made = MemoryToken()
    monkeypatch.setattr(token_keys, "ask_process", made.ask)
    return made


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "role one"  # with a space: URIs quote it
    folder.mkdir()
    return folder


def test_KT08_KT10_every_data_key_is_wrapped_anew_and_the_old_key_is_gone(role: Role, home: Path) -> None:
    role.make(home, "")
    before, old, old_key = role.use(home), wrappings(role, home), (home / role.key).read_bytes().strip()
    assert len(old) == role.stores
    done = rotate(role.place(home), "", ENTROPY)
    assert (len(done.stores), done.old_remains, done.resumed) == (role.stores, False, False)
    assert role.use(home) == before
    assert not (home / role.key).exists()
    assert (home / f"{role.key}-2").exists()
    for gone in (*old, old_key):
        assert gone not in contents(home)
    assert all(wrapped[:8] == done.fingerprint for wrapped in wrappings(role, home))
    rotate(role.place(home), "", ENTROPY)
    assert (home / f"{role.key}-3").exists()
    moved = home.with_name("moved")
    home.rename(moved)
    assert role.use(moved) == before  # its key is in it and moves along


def test_KT13_the_key_encryption_key_seals_data_keys_only(role: Role, home: Path, token: MemoryToken) -> None:
    role.make(home, TOKEN % "kek")
    key = next(iter(token.keys.values()))
    asked = [str(act) for act in token.asked]
    assert asked.count("wrap") == role.stores
    role.use(home)
    assert [str(act) for act in token.asked[len(asked) :]].count("unwrap") == role.stores
    assert all(len(wrapped) == 8 + 40 for wrapped in wrappings(role, home))
    assert key not in contents(home)


def test_KT08_from_a_file_to_a_token_to_another_one_and_back(role: Role, home: Path, token: MemoryToken) -> None:
    role.make(home, "")
    before = role.use(home)
    for target, remains in ((TOKEN % "one", False), (TOKEN % "two", True), (f"file:{home.parent}/k", True)):
        done = rotate(role.place(home), target, ENTROPY)
        assert (done.new, done.old_remains) == (target.replace(" ", "%20"), remains)
        assert role.use(home) == before
    assert not (home / role.key).exists()
    with pytest.raises(CallerFault, match="say by --to where"):
        rotate(role.place(home), "", ENTROPY)
    rotate(role.place(home), "file:key", ENTROPY)
    assert (home.parent / "k").exists(), "a file elsewhere is somebody else's"
    assert role.use(home) == before


def test_KT06_a_store_that_is_open_goes_on_without_its_token(home: Path, token: MemoryToken) -> None:
    ROLES["manager"].make(home, TOKEN % "kek")
    opened = Directory.open(home, ENTROPY)
    cells = cells_of(home, opened.kek)
    token.away = True
    put(cells)
    assert cells.load(ROW) == RECORD
    cells.close()
    for start in (lambda: Directory.open(home, ENTROPY), lambda: cells_of(home, opened.kek)):
        with pytest.raises(Unavailable, match="taken away"):
            start()
    token.away = False
    assert ROLES["manager"].use(home) == (7, RECORD)


def test_KT04_a_refused_pin_is_tried_once_whatever_was_asked(
    role: Role, home: Path, monkeypatch: pytest.MonkeyPatch, token: MemoryToken
) -> None:
    role.make(home, TOKEN % "kek")
    tries: list[object] = []

    def refuse(*question: object) -> object:
        tries.append(question)
        raise PinRefused("a wrong PIN")

    monkeypatch.setattr(token_keys, "ask_process", refuse)
    for number, what in enumerate((role.use, lambda home: rotate(role.place(home), "file:new", ENTROPY)), 1):
        with pytest.raises(PinRefused, match="a wrong PIN"):
            what(home)
        assert len(tries) == number


def test_KT11_a_role_that_runs_is_left_alone(home: Path) -> None:
    ROLES["manager"].make(home, "")
    opened = Directory.open(home, ENTROPY)
    before = (home / "own.cells").read_bytes()
    for running in (cells_of(home, opened.kek), SealedFile(home / "own.cells")):
        with pytest.raises(CallerFault, match=f"in use by process {os.getpid()}; stop"):
            rotate(ROLES["manager"].place(home), "", ENTROPY)
        running.close()
    assert (home / "own.cells").read_bytes() == before
    assert not (home / NOTE).exists()


def test_KT08_the_key_that_is_used_already_is_no_new_one(role: Role, home: Path, token: MemoryToken) -> None:
    role.make(home, TOKEN % "kek")
    token.keys[TOKEN % "copy"] = token.keys[TOKEN % "kek"]
    with pytest.raises(CallerFault, match="is used already"):
        rotate(role.place(home), TOKEN % "copy", ENTROPY)
    assert not list(home.rglob(NOTE))


def test_KT08_a_token_that_goes_away_meanwhile_is_waited_for(home: Path, token: MemoryToken) -> None:
    manager = ROLES["manager"]
    manager.make(home, TOKEN % "one")
    before = manager.use(home)
    token.asked.clear()
    plain, patience = token.ask, 6

    def leaving(*question: object) -> object:
        token.away = len(token.asked) >= patience
        return plain(*question)  # type: ignore[arg-type]

    token_keys.ask_process = leaving  # type: ignore[assignment]  the fixture puts it back
    with pytest.raises(Unavailable, match="taken away"):
        rotate(manager.place(home), TOKEN % "two", ENTROPY)
    with pytest.raises(CallerFault, match="was interrupted; finish it: keymote storage rotate"):
        manager.use(home)
    patience = 10**6
    token.away = False
    with pytest.raises(CallerFault, match=r"object=two.* is not finished"):
        rotate(manager.place(home), TOKEN % "three", ENTROPY)
    done = rotate(manager.place(home), "", ENTROPY)
    assert (done.resumed, done.new) == (True, TOKEN % "two")
    assert manager.use(home) == before


def test_KT09_nothing_starts_on_half_a_rotation(role: Role, home: Path) -> None:
    role.make(home, "")
    before = role.use(home)
    folder = role.place(home).folder
    (folder / NOTE).touch(0o600)
    names = {"from": f"file:{Path(role.key).name}", "to": "file:new"}
    (folder / NOTE).write_text(json.dumps({"format": "keymote-rotation/1", **names}))
    with pytest.raises(CallerFault, match="was interrupted"):
        role.use(home)
    (folder / "new").touch(0o600)
    (folder / "new").write_text("ab" * 32)
    assert rotate(role.place(home), "", ENTROPY).resumed
    assert role.use(home) == before


# ------------------------------------------------------------------ kill -9


@pytest.mark.parametrize("name", ["manager", "coordinator"])
def test_KT08_KT10_a_kill_at_some_moments_is_mended_by_the_same_command(name: str, home: Path) -> None:
    ROLES[name].make(home, "")
    assert survives_every_kill(ROLES[name], home, 41, "") >= 5


@pytest.mark.long
@pytest.mark.timeout(600)
def test_KT08_KT10_a_kill_at_many_moments_is_mended_by_the_same_command(role: Role, home: Path) -> None:
    role.make(home, "")
    assert survives_every_kill(role, home, 4, f"file:{home.parent}/elsewhere") >= 12


# ------------------------------------------------------------------ backups, and a device's own file


@pytest.mark.long
def test_KT08_a_backup_of_before_and_one_of_after_are_restored(home: Path, tmp_path: Path, token: MemoryToken) -> None:
    manager = ROLES["manager"]
    manager.make(home, "")
    before = manager.use(home)
    targets = {"file": "", "other": "file:other", "token": TOKEN % "kek"}
    for name, target in targets.items():
        if target:
            rotate(manager.place(home), target, ENTROPY)
        backup.backup(Directory.open(home, ENTROPY), tmp_path / name, PASSPHRASE, ENTROPY)
    for name in targets:
        folder = tmp_path / f"restored {name}"
        folder.mkdir()
        backup.restore(tmp_path / name, folder, PASSPHRASE, ENTROPY)
        assert manager.use(folder) == before
        assert (folder / "key").exists() == (name != "token")
    assert RECORD not in contents(tmp_path)


def test_KT05_a_backup_without_its_token_is_not_laid_down(home: Path, tmp_path: Path, token: MemoryToken) -> None:
    ROLES["manager"].make(home, TOKEN % "kek")
    backup.backup(Directory.open(home, ENTROPY), tmp_path / "b", PASSPHRASE, ENTROPY)
    folder = tmp_path / "restored"
    folder.mkdir()
    token.keys[TOKEN % "other"] = b"other" * 6 + b"!!"
    token.keys[TOKEN % "moved"] = token.keys.pop(TOKEN % "kek")
    with pytest.raises(CallerFault, match="no such key"):
        backup.restore(tmp_path / "b", folder, PASSPHRASE, ENTROPY)
    with pytest.raises(CallerFault, match="another key than the backup's"):
        backup.restore(tmp_path / "b", folder, PASSPHRASE, ENTROPY, key_uri=TOKEN % "other")
    assert list(folder.iterdir()) == []
    backup.restore(tmp_path / "b", folder, PASSPHRASE, ENTROPY, key_uri=TOKEN % "moved")
    assert ROLES["manager"].use(folder) == (7, RECORD)


def test_KT09_half_a_rotation_is_not_backed_up(home: Path, tmp_path: Path) -> None:
    ROLES["manager"].make(home, "")
    opened = Directory.open(home, ENTROPY)
    (home / NOTE).touch(0o600)
    with pytest.raises(CallerFault, match="was interrupted"):
        backup.backup(opened, tmp_path / "b", PASSPHRASE, ENTROPY)
    (home / NOTE).unlink()
    rotate(ROLES["manager"].place(home), "file:new", ENTROPY)
    (home / "key").touch(0o600)
    with pytest.raises(Unavailable, match="changed meanwhile"):
        backup.backup(opened, tmp_path / "b", PASSPHRASE, ENTROPY)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ('id = "x"\n[serve]\na = "b"\n', 'key_uri = "file:k"\nid = "x"\n[serve]\na = "b"\n'),
        ('id = "x"\n  key_uri="old" # why\nb = 1\n', 'id = "x"\nkey_uri = "file:k"\nb = 1\n'),
        ('#key_uri = "no"\n', 'key_uri = "file:k"\n#key_uri = "no"\n'),
    ],
)
def test_a_devices_file_keeps_everything_but_its_key(text: str, result: str) -> None:
    assert with_key_uri(text, "file:k") == result


@pytest.mark.parametrize("text", ['a = """\nkey_uri = 1\n"""\n', '[serve]\nkey_uri = "x"\n', '"key_uri" = "old"\n'])
def test_a_devices_file_that_a_program_cannot_change_is_left_alone(text: str) -> None:
    with pytest.raises(CallerFault, match="be one line of it"):
        with_key_uri(text, "file:k")
