"""A manager's backup: everything that another machine needs to serve the same fleet.

The keys of its links are in it as they were: after a restore the manager steps every link further than it can have come
before its death (the engine does, by `generation`), so that no record is sealed twice under one number. Devices follow
by themselves. Only one of the two machines may run afterwards.

A key-encryption key in a file is in the backup. One in a token is not: such a backup opens with the passphrase *and* the
token, or another token with a copy of the key, made by the token's own means.
"""

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, Unavailable
from keymote.manager.app.directory import DATABASE, OWN_CELLS, OWN_FILE, Directory, Identity
from keymote.storage.backup import read_backup, write_backup
from keymote.storage.private_files import read_file, read_private, write_private
from keymote.storage.rotation import refuse_unfinished
from keymote.storage.seal import file_of, is_wrapped_by, open_key
from keymote.storage.sealed_file import parsed

_KEY_FILE: Final = "key"
_PUBLIC: Final = (OWN_FILE, "ca.pem", "tls.pem")
_PRIVATE: Final = (OWN_CELLS, "tls.key")


def backup(directory: Directory, to: Path, passphrase: Secret, entropy: Entropy) -> int:
    """Write the backup of a manager, which may be running; return its size in bytes.

    Raises:
        CallerFault: the manager is not enrolled, a change of its key-encryption key is not finished, or `to` exists.
        Unavailable: that key was changed meanwhile.
    """
    folder = directory.folder
    refuse_unfinished(folder)
    files = [(name, read_file(folder / name, name, do="enrol the manager first")) for name in _PUBLIC]
    files += [(name, read_private(folder / name, name)) for name in _PRIVATE]
    key = file_of(directory.identity.key_place(folder))
    if key is not None:
        files.append((_KEY_FILE, read_private(key, "key-encryption key")))
    if (folder / DATABASE).exists():
        files.append((DATABASE, _snapshot(folder / DATABASE)))
    refuse_unfinished(folder)
    if Identity.decode(read_file(folder / OWN_FILE, "manager"), OWN_FILE) != directory.identity:
        raise Unavailable("the manager's key-encryption key changed meanwhile", do="make the backup again")
    return write_backup(to, files, passphrase, entropy)


def restore(path: Path, folder: Path, passphrase: Secret, entropy: Entropy, *, key_uri: str = "") -> Directory:
    """Lay down the manager of a backup in `folder`, which exists and holds none, and note that it was restored.

    `key_uri` says where the token with the key-encryption key is now, if not where it was.

    Raises:
        CallerFault: a manager is there already, the passphrase is wrong, the file is not a manager's backup, or its
            key-encryption key is in a token that lacks it.
        Unavailable: the token does not answer.
    """
    if (folder / OWN_FILE).exists():
        raise CallerFault(f"{folder} holds a manager already", do="choose an empty directory by --data")
    files = read_backup(path, passphrase)
    missing = {*_PUBLIC, *_PRIVATE} - set(files)
    if missing:
        raise CallerFault(f"{path} is not a manager's backup: it lacks {', '.join(sorted(missing))}")
    identity = Identity.decode(files.pop(OWN_FILE), str(path))
    if _KEY_FILE in files:
        place = ""
    else:  # looked at before anything is written
        place = key_uri or identity.key_uri
        kek = open_key(place, entropy)
        wrapped, _ = parsed(files[OWN_CELLS], path)
        if not is_wrapped_by(kek, wrapped):
            raise CallerFault(
                f"{kek.uri} is another key than the backup's", do="name the token that has it by --key-uri"
            )
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
