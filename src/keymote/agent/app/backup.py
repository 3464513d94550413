"""An agent's backup: who it is towards the other brokers, and nothing of its clients.

Counts, nonces and tickets that were used after the backup was made would be good again, and passwords of then open accounts
again, so none of them is in it (decision 0203). What is restored needs a new key from its trusted system before it serves;
clients then come with new tickets.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

from keymote.agent.app.directory import CARD_FILE, OWN_CELLS, Directory
from keymote.agent.app.identity import OWN_FILE, Identity
from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.storage.backup import write_backup
from keymote.storage.private_files import write_private
from keymote.storage.role_backup import Kept, collect, key_place, opened

KEPT: Final = Kept("an agent", OWN_FILE, OWN_CELLS, public=(CARD_FILE, "tls.pem"), private=("tls.key",))


def backup(folder: Path, to: Path, passphrase: Secret, entropy: Entropy) -> tuple[Identity, int]:
    """Write the backup of the agent of `folder`, which may be running; return who it is and the size in bytes.

    Raises:
        CallerFault: there is no agent, a change of its key-encryption key is not finished, or `to` exists.
        Unavailable: that key was changed meanwhile.
    """
    identity = Identity.of(folder)
    return identity, write_backup(to, collect(KEPT, folder, identity.key_uri), passphrase, entropy)


def restore(path: Path, folder: Path, passphrase: Secret, entropy: Entropy, *, key_uri: str = "") -> Directory:
    """Lay down the agent of a backup in `folder`, which exists and holds none; it is to be enrolled anew.

    `key_uri` says where the token with the key-encryption key is now, if not where it was.

    Raises:
        CallerFault: an agent is there already, the passphrase is wrong, the file is not an agent's backup, or its
            key-encryption key is in a token that lacks it.
        Unavailable: the token does not answer.
    """
    files = opened(KEPT, path, folder, passphrase)
    identity = Identity.decode(files.pop(OWN_FILE), str(path))
    place = key_place(KEPT, files, key_uri or identity.key_uri, path, entropy)
    for name, content in files.items():
        write_private(folder / name, content, mode=0o644 if name in KEPT.public else 0o600)
    return Directory.lay_down(folder, replace(identity, key_uri=place), entropy)
