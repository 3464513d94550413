"""A manager's backup: everything that another machine needs to serve the same fleet.

The keys of its links are in it as they were: after a restore the manager steps every link further than it can have come
before its death (the engine does, by `generation`), so that no record is sealed twice under one number. Devices follow
by themselves. Only one of the two machines may run afterwards.
"""

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, Unavailable
from keymote.manager.app.directory import KEY_FILE, Directory, Identity
from keymote.storage.backup import read_backup, write_backup
from keymote.storage.private_files import read_file, read_private, write_private

DATABASE: Final = "cells.db"
_PUBLIC: Final = ("manager.json", "ca.pem", "tls.pem")
_PRIVATE: Final = ("own.cells", "tls.key")


def backup(directory: Directory, to: Path, passphrase: Secret, entropy: Entropy) -> int:
    """Write the backup of a manager, which may be running; return its size in bytes.

    Raises:
        CallerFault: the manager is not enrolled, its key-encryption key is not a file, or `to` exists.
    """
    folder = directory.folder
    parts = urlsplit(directory.identity.key_place(folder))
    if parts.scheme != "file":
        raise CallerFault("the key-encryption key is not a file", do="back up the token by its own means")
    files = [(name, read_file(folder / name, name, do="enrol the manager first")) for name in _PUBLIC]
    files += [(name, read_private(folder / name, name)) for name in _PRIVATE]
    files.append((KEY_FILE, read_private(Path(unquote(parts.path)), "key-encryption key")))
    if (folder / DATABASE).exists():
        files.append((DATABASE, _snapshot(folder / DATABASE)))
    return write_backup(to, files, passphrase, entropy)


def restore(path: Path, folder: Path, passphrase: Secret, entropy: Entropy) -> Directory:
    """Lay down the manager of a backup in `folder`, which exists and holds none, and note that it was restored.

    Raises:
        CallerFault: a manager is there already, the passphrase is wrong, or the file is not a manager's backup.
    """
    if (folder / "manager.json").exists():
        raise CallerFault(f"{folder} holds a manager already", do="choose an empty directory by --data")
    files = read_backup(path, passphrase)
    missing = {*_PUBLIC, *_PRIVATE, KEY_FILE} - set(files)
    if missing:
        raise CallerFault(f"{path} is not a manager's backup: it lacks {', '.join(sorted(missing))}")
    identity = Identity.decode(files.pop("manager.json"), str(path))
    for name, content in files.items():
        write_private(folder / name, content)
    moved = replace(identity, key_uri="", generation=identity.generation + 1)
    write_private(folder / "manager.json", moved.encode())  # last: until then there is no manager here
    return Directory.open(folder, entropy)


def _snapshot(path: Path) -> bytes:
    """Return the database as one file, consistent while its manager goes on writing."""
    try:
        source, copy = sqlite3.connect(f"file:{path}?mode=ro", uri=True), sqlite3.connect(":memory:")
        try:
            source.backup(copy)
            return copy.serialize()
        finally:
            copy.close()
            source.close()
    except sqlite3.Error as error:
        raise Unavailable(f"cannot read {path}: {error}") from error
