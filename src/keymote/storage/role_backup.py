"""A role's directory in a backup: which files are in it, and where its key-encryption key is when it is laid down elsewhere.

A key-encryption key in a file is in the backup. One in a token is not: such a backup opens with the passphrase *and* the
token, or another token with a copy of the key, made by the token's own means.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, Unavailable
from keymote.storage.backup import read_backup
from keymote.storage.private_files import read_file, read_private
from keymote.storage.rotation import refuse_unfinished
from keymote.storage.seal import file_of, is_wrapped_by, located, open_key
from keymote.storage.sealed_file import parsed

KEY_FILE: Final = "key"
Files = list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Kept:
    """What of a role is in its backup. `own` names the role and its `key_uri`, and is written last; `sealed` is a sealed file."""

    what: str
    """With its article."""
    own: str
    sealed: str
    public: tuple[str, ...] = ()
    private: tuple[str, ...] = ()


def collect(kept: Kept, folder: Path, key_uri: str, more: Callable[[], Files] = list) -> Files:
    """Return the files of a role whose key-encryption key is at `key_uri`; it may be running.

    Raises:
        CallerFault: a file is missing or open to others, or a change of the key-encryption key is not finished.
        Unavailable: that key was changed meanwhile.
    """
    refuse_unfinished(folder)
    open_to_all = (kept.own, *kept.public)
    files = [(name, read_file(folder / name, name, do="enrol it first")) for name in open_to_all]
    files += [(name, read_private(folder / name, name)) for name in (kept.sealed, *kept.private)]
    key = file_of(located(key_uri, folder))
    if key is not None:
        files.append((KEY_FILE, read_private(key, "key-encryption key")))
    files += more()
    refuse_unfinished(folder)
    if json.loads(read_file(folder / kept.own, kept.what))["key_uri"] != key_uri:
        raise Unavailable(f"{kept.what}'s key-encryption key changed meanwhile", do="make the backup again")
    return files


def opened(kept: Kept, path: Path, folder: Path, passphrase: Secret) -> dict[str, bytes]:
    """Return the files of a role's backup, for a `folder` that holds none.

    Raises:
        CallerFault: a role is there already, the passphrase is wrong, or the backup is another role's.
    """
    if (folder / kept.own).exists():
        raise CallerFault(f"{folder} holds {kept.what} already", do="choose an empty directory by --data")
    files = read_backup(path, passphrase)
    missing = {kept.own, kept.sealed, *kept.public, *kept.private} - set(files)
    if missing:
        raise CallerFault(f"{path} is no backup of {kept.what}: it lacks {', '.join(sorted(missing))}")
    return files


def key_place(kept: Kept, files: dict[str, bytes], key_uri: str, path: Path, entropy: Entropy) -> str:
    """Return the `key_uri` of a role that is laid down: empty for the key in the backup, else `key_uri` after a look at it.

    Raises:
        CallerFault: the token lacks the key, or has another one than the backup's.
        Unavailable: the token does not answer.
    """
    if KEY_FILE in files:
        return ""
    kek = open_key(key_uri, entropy)
    wrapped, _ = parsed(files[kept.sealed], path)
    if not is_wrapped_by(kek, wrapped):
        raise CallerFault(f"{kek.uri} is another key than the backup's", do="name the token that has it by --key-uri")
    return key_uri
