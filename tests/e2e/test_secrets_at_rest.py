"""No ephemeral secret reaches a disk: neither a row before it is sealed nor any byte of a database, journal or backup.

Managers with SQLite and devices with files live through the story of `fleet`, crashes included, while every random scalar
and point and every key that a key schedule derives is recorded.
"""

import base64
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fleet import Fleet

from keymote import cbor
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.engine.enrolment import schedule as enrolment_schedule
from keymote.engine.enrolment.device_cell import Registered
from keymote.engine.faces import OWN_ENROLMENT
from keymote.engine.pairwise import schedule as pairwise_schedule
from keymote.host.ports import Store
from keymote.lab.scene_founding import two_operators
from keymote.manager.app.backup import backup
from keymote.manager.app.directory import Directory, Identity
from keymote.storage.backup import read_backup
from keymote.storage.file import FileStore
from keymote.storage.private_files import write_private
from keymote.storage.seal import FileKey
from keymote.storage.sql import open_database
from keymote.storage.sql_store import SqlStore

ENROLMENT = ("P", "PRS", "key A/link")
"""Durable while an enrolment is under way: a code until it is used, P from BIND to the credential (DESIGN: durability), and
the manager's K_link until the coordinator has answered; after that only what follows from it is kept (LK-15)."""


@dataclass
class Tape:
    """Byte strings that must be forgotten, by what they are."""

    ephemeral: dict[bytes, str] = field(default_factory=dict)

    def note(self, what: str, value: object) -> None:
        if isinstance(value, bytes) and len(value) >= 16:
            self.ephemeral.setdefault(value, what)

    def recording(self, module: Any, monkeypatch: pytest.MonkeyPatch, inputs: dict[int, str], output: str) -> None:
        """Note what goes into `extract` of a key schedule, what comes out of it and of `lexp`."""
        extract, lexp = module.extract, module.lexp

        def extracting(salt: bytes, ikm: bytes) -> Secret:
            for place, part in enumerate(cbor.decode(ikm)):  # type: ignore[arg-type]
                self.note(inputs[place], part)
            made: Secret = extract(salt, ikm)
            self.note(output, made.expose())
            return made

        def expanding(key: Secret, label: str, T: bytes, *size: int) -> Secret:
            made: Secret = lexp(key, label, T, *size)
            self.note(f"key {label}", made.expose())
            return made

        monkeypatch.setattr(module, "extract", extracting)
        monkeypatch.setattr(module, "lexp", expanding)


def forms(secret: bytes) -> Iterator[bytes]:
    """Yield a secret as it may stand in a file."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield base64.b64encode(secret).rstrip(b"=")
    yield base64.urlsafe_b64encode(secret).rstrip(b"=")
    yield base64.b32encode(secret).rstrip(b"=")


def found(secrets: dict[bytes, str], haystack: bytes) -> set[str]:
    return {what for secret, what in secrets.items() if any(form in haystack for form in forms(secret))}


def on_disk(folder: Path) -> bytes:
    """Return every byte of every file: databases, journals, write-ahead logs, what an editor left behind."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


class BackupOfManager:
    """`keymote manager backup` of one manager of the fleet, which goes on working meanwhile."""

    PASSPHRASE = Secret(b"correct horse battery")

    def __init__(self, home: Path, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in (
            "ca.pem",
            "tls.pem",
            "tls.key",
            "own.cells",
        ):  # beside the cells; their content does not matter here
            write_private(home / name, name.encode())
        identity = Identity("nm", "00" * 8, "00" * 8, 1, (), "00" * 8, 1, "", f"file:{home / 'kek'}")
        write_private(home / "manager.json", identity.encode())
        self.directory = Directory.open(home, SeededEntropy(b"backup"))

    def make(self) -> None:
        number = len(list(self.folder.iterdir()))
        entropy = SeededEntropy(b"backup %d" % number)
        backup(self.directory, self.folder / f"{number}.backup", self.PASSPHRASE, entropy)

    def opened(self) -> list[dict[str, bytes]]:
        """Return what the passphrase makes readable of each backup."""
        return [read_backup(path, self.PASSPHRASE) for path in sorted(self.folder.iterdir())]


def rows_in(database: bytes, file: Path) -> int:
    """Return how many cells a database holds, which is laid down in `file`."""
    file.write_bytes(database)
    with closing(sqlite3.connect(file)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM cell").fetchone()
        return int(count)


def opener(folder: Path) -> Callable[[str], Store]:
    def open_store(name: str) -> Store:
        entropy = SeededEntropy(name.encode())
        home = folder / name
        home.mkdir()
        kek = FileKey(home / "kek", entropy, create=True)
        if name.startswith("nm"):
            return SqlStore(open_database(home / "cells.db", history="cells"), kek, entropy)
        return FileStore(home / "cells", kek, entropy)

    return open_store


@pytest.mark.timeout(120)
@pytest.mark.parametrize("suite", [1, pytest.param(17, marks=pytest.mark.long)])
def test_CM34_DR02_no_ephemeral_secret_is_in_a_row_a_database_a_journal_or_a_backup(
    suite: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = two_operators(b"at rest", suite=suite, enrolled=False)
    scene.witness.scalars.clear()
    scene.witness.points.clear()
    tape = Tape()
    tape.recording(enrolment_schedule, monkeypatch, {0: "ISK", 1: "PRS"}, "P")
    session_inputs = {0: "N_I, S or PRK", 1: "N_R, DH or PRK", 2: "DH or kappa", 3: "kappa"}
    tape.recording(pairwise_schedule, monkeypatch, session_inputs, "PRK or KS")
    homes, backups = tmp_path / "homes", tmp_path / "backups"
    homes.mkdir()
    fleet = Fleet(scene, opener(homes))
    ours = BackupOfManager(homes / "nm1", tmp_path / "ours")
    copies: list[int] = []

    def back_up() -> None:
        """Copy every file as a backup that runs beside the nodes would, and once more half a second later."""
        shutil.copytree(homes, backups / str(len(copies)))
        if len(copies) % 2 == 1:
            ours.make()
        copies.append(1)
        if len(copies) < 12:
            fleet.after(0.5 if len(copies) % 2 else 11.0, back_up)

    back_up()
    for node, k in zip(("nm1", "nm2", "d1"), (5, 8, 4), strict=True):
        fleet.nodes[node].store.dies_at = k
        fleet.nodes[node].store.landed = True
        fleet.nodes[node].store.failed = fleet.nodes[node].die
    fleet.story()
    fleet.check()
    files = on_disk(homes)  # the stores are open: journals and write-ahead logs are there
    members = [cell for name in ("d1", "d2") if isinstance(cell := fleet.nodes[name].saved(OWN_ENROLMENT), Registered)]
    left = b"\n".join(row.record or b"" for node in fleet.nodes.values() for row in node.store.inner.rows)
    for node in fleet.nodes.values():
        node.store.close()
    files += on_disk(tmp_path)
    opened = ours.opened()
    assert len(opened) > 1
    assert all(content["cells.db"].startswith(b"SQLite format 3") for content in opened)
    assert all(rows_in(content["cells.db"], tmp_path / str(at)) for at, content in enumerate(opened))
    files += b"\n".join(part for content in opened for part in content.values())
    rows = b"\n".join(record for node in fleet.nodes.values() for record in node.store.written)

    for scalar in scene.witness.scalars:
        tape.note("random scalar", scalar)
    for point in scene.witness.points:
        tape.note("random point", point)
    durable = {member.membership.d.expose() for member in members}
    assert len(tape.ephemeral) > 150, "the recorder missed the story"
    assert len(copies) > 4
    # what is durable is in the rows, so the search finds what is there; it is sealed, so no file shows it
    assert all(secret in rows for secret in durable)
    assert found(dict.fromkeys(durable, "durable"), files) == set()

    assert found(tape.ephemeral, files) == set()

    registered = {
        cell.membership.d.expose()
        for name in ("d1", "d2")
        for record in fleet.nodes[name].store.written
        if isinstance(cell := _enrolment(fleet, name, record), Registered)
    }
    in_rows = {secret: what for secret, what in tape.ephemeral.items() if secret in rows and secret not in registered}
    assert set(in_rows.values()) <= set(ENROLMENT)
    assert [what for secret, what in in_rows.items() if secret in left] == []


def _enrolment(fleet: Fleet, name: str, record: bytes) -> Any:
    """Return the enrolment that a record of a device holds; None when the record is of another kind."""
    try:
        return fleet.nodes[name].kinds["enrolment"].load(b"", record)  # type: ignore[misc]
    except Exception:  # noqa: BLE001  links have records of another form
        return None


def test_the_search_finds_a_secret_in_every_form() -> None:
    secret = bytes(range(100, 132))
    for form in forms(secret):
        assert found({secret: "planted"}, b"a" + form + b"b") == {"planted"}
