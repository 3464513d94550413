"""Provisioning files: all that a client needs which holds nothing but symmetric keys, and that nobody enrolled.

The manager writes one, its owner carries it to the client, and the client takes the secret out of it at its first start:
from then on the file only says who the client is (docs/decisions/0189).
"""

import contextlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from keymote.crypto.secret import Secret
from keymote.engine.base import Peer
from keymote.errors import CallerFault, Incompatible, Unavailable
from keymote.storage.private_files import read_private, write_private

PSS_SIZE: Final = 32
_ID_SIZE: Final = 8
_VERSION: Final = 1
_WHAT: Final = "provisioning file"
_AGAIN: Final = "keymote manager client add NAME --out FILE"


@dataclass(frozen=True, slots=True)
class ClientFile:
    """`manager`: where its trusted system listens. `pss` None: the client has taken it."""

    name: str
    client_id: bytes
    suite: int
    manager: Peer
    pss: Secret | None

    def encode(self) -> bytes:
        """Return the content of the file, for its owner alone."""
        said: dict[str, object] = {
            "keymote": "client",
            "version": _VERSION,
            "name": self.name,
            "client_id": self.client_id.hex(),
            "suite": self.suite,
            "manager": self.manager,
        }
        if self.pss is not None:
            said["pss"] = self.pss.expose().hex()
        return json.dumps(said, indent=1).encode() + b"\n"


def write_new(path: Path, file: ClientFile) -> None:
    """Write a file that was not there, on disk when this returns; nobody but its owner can read it.

    Raises:
        CallerFault: there is something under this name; it is untouched.
        Unavailable: the disk does not take it; nothing is left.
    """
    try:
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError as error:
        raise CallerFault(f"{path} exists already", do="name a file that does not") from error
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error
    try:
        with open(opened, "wb") as written:  # noqa: PTH123  a descriptor
            written.write(file.encode())
            written.flush()
            os.fsync(written.fileno())
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise Unavailable(f"cannot write {path}: {error.strerror}") from error


def is_provisioning(path: Path) -> bool:
    """Tell whether a file says that it is a provisioning file; False for one that cannot be read."""
    try:
        with path.open("rb") as opened:
            return opened.read(64).lstrip().startswith(b"{") and b'"client"' in path.read_bytes()[:64]
    except OSError:
        return False


def read_client(path: Path) -> ClientFile:
    """Return what a provisioning file says.

    Raises:
        CallerFault: it is missing, others can read it, or it is none.
        Incompatible: it is of another version.
    """
    data = read_private(path, _WHAT, do=_AGAIN)
    try:
        said: Any = json.loads(data)
        if said["keymote"] != "client":
            raise ValueError
        if said["version"] != _VERSION:
            raise Incompatible(f"{path} is of version {said['version']!r}, not {_VERSION}", do="update Keymote")
        client_id, pss = bytes.fromhex(said["client_id"]), bytes.fromhex(said.get("pss", ""))
        name, suite, manager = said["name"], said["suite"], said["manager"]
        good = isinstance(name, str) and type(suite) is int and isinstance(manager, str)
        if not good or len(client_id) != _ID_SIZE or len(pss) not in (0, PSS_SIZE):
            raise ValueError
    except (ValueError, KeyError, TypeError) as error:
        raise CallerFault(f"{path} is no {_WHAT}", do=_AGAIN) from error
    return ClientFile(name, client_id, suite, manager, Secret(pss) if pss else None)


def spend(path: Path, file: ClientFile) -> ClientFile:
    """Take the secret out of the file for good, and return what is left; Unavailable when the disk does not take that."""
    left = replace(file, pss=None)
    write_private(path, left.encode())
    return left
