"""A manager's backup: everything that another machine needs to serve the same fleet.

The keys of its links are in it as they were: after a restore the manager steps every link further than it can have come
before its death (the engine does, by `generation`), so that no record is sealed twice under one number. Devices follow
by themselves. Only one of the two machines may run afterwards.
"""

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.errors import Unavailable
from keymote.manager.app.directory import DATABASE, OWN_CELLS, OWN_FILE, Directory, Identity
from keymote.storage.backup import write_backup
from keymote.storage.private_files import write_private
from keymote.storage.role_backup import Files, Kept, collect, key_place, opened

KEPT: Final = Kept("a manager", OWN_FILE, OWN_CELLS, public=("ca.pem", "tls.pem"), private=("tls.key",))


def backup(directory: Directory, to: Path, passphrase: Secret, entropy: Entropy) -> int:
    """Write the backup of a manager, which may be running; return its size in bytes.

    Raises:
        CallerFault: the manager is not enrolled, a change of its key-encryption key is not finished, or `to` exists.
        Unavailable: that key was changed meanwhile.
    """
    folder = directory.folder

    def database() -> Files:
        return [(DATABASE, _snapshot(folder / DATABASE))] if (folder / DATABASE).exists() else []

    return write_backup(to, collect(KEPT, folder, directory.identity.key_uri, database), passphrase, entropy)


def restore(path: Path, folder: Path, passphrase: Secret, entropy: Entropy, *, key_uri: str = "") -> Directory:
    """Lay down the manager of a backup in `folder`, which exists and holds none, and note that it was restored.

    `key_uri` says where the token with the key-encryption key is now, if not where it was.

    Raises:
        CallerFault: a manager is there already, the passphrase is wrong, the file is not a manager's backup, or its
            key-encryption key is in a token that lacks it.
        Unavailable: the token does not answer.
    """
    files = opened(KEPT, path, folder, passphrase)
    identity = Identity.decode(files.pop(OWN_FILE), str(path))
    place = key_place(KEPT, files, key_uri or identity.key_uri, path, entropy)
    for name, content in files.items():
        write_private(folder / name, content)
    moved = replace(identity, key_uri=place, generation=identity.generation + 1)
    write_private(folder / OWN_FILE, moved.encode())  # last: until then there is no manager here
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
