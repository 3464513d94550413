"""A manager's directory: what `init` lays down, `enrol` completes and `run` opens.

`manager.json` says who it is, where its coordinators are and whom it pins (nothing secret); `key` holds the
key-encryption key unless another one is named; `own.cells` (sealed) holds what the manager is at its coordinator: its
signature key, its label's code until it is used, its enrolment, the cursor of its events and notes not handed in yet;
`cells.db` (rows sealed) holds what it knows of its devices; `ca.pem`, `tls.pem`, `tls.key` are for HTTPS.
"""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from keymote.crypto.entropy import Entropy
from keymote.crypto.suite import Suite
from keymote.crypto.suites import SUITES, suite_by_id
from keymote.engine.chain import Pin, Trust
from keymote.errors import CallerFault, PeerFault
from keymote.storage.private_files import read_file, read_private, write_private
from keymote.storage.rotation import Place, Rewrap, StoreKey, refuse_unfinished
from keymote.storage.seal import KeyEncryptionKey, located, open_key
from keymote.storage.sealed_file import SealedFile
from keymote.storage.sql import open_database
from keymote.storage.sql_key import SqlKey
from keymote.wire import admin, admin_files
from keymote.wire.credential import Role

FORMAT: Final = "keymote-manager/1"
OWN_FILE: Final = "manager.json"
OWN_CELLS: Final = "own.cells"
DATABASE: Final = "cells.db"
_ID: Final = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Identity:
    """The public part of a manager.

    `key_uri` is empty when the key-encryption key is the file `key` beside, `file:NAME` for another one beside, so that the
    directory can be moved.
    `generation` counts how often the manager was restored from a backup.
    """

    name: str
    nm_id: str
    nc_id: str
    suite: int
    coordinators: tuple[str, ...]
    root_id: str
    root_suite: int
    root_sig_pk: str
    key_uri: str
    generation: int = 0

    def key_place(self, folder: Path) -> str:
        """Return the URI of the key-encryption key of a manager that lives in `folder`."""
        return located(self.key_uri, folder)

    def encode(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes, name: str) -> Self:
        """Return what a manager.json says; CallerFault that names the file for anything else."""
        try:
            fields: dict[str, Any] = json.loads(data)
            if fields.pop("format") != FORMAT:
                raise ValueError
            made = cls(**{**fields, "coordinators": tuple(fields["coordinators"])})
            if not (_ID.fullmatch(made.nm_id) and _ID.fullmatch(made.nc_id) and made.suite in SUITES):
                raise ValueError
        except (ValueError, TypeError, KeyError) as error:
            raise CallerFault(f"{name} is not a manager's file", do="make one with `keymote manager init`") from error
        return made


@dataclass(frozen=True, slots=True)
class Directory:
    """An initialised manager."""

    folder: Path
    identity: Identity
    kek: KeyEncryptionKey

    @classmethod
    def create(cls, folder: Path, label: admin_files.ManagerLabel, suite: int, key_uri: str, entropy: Entropy) -> Self:
        """Lay down a manager of this label in `folder`, which exists.

        Raises:
            CallerFault: a manager is there already, a suite that we do not run, or `key_uri` names no fit key.
            Unavailable: the token of `key_uri` does not answer.
        """
        path = folder / OWN_FILE
        if path.exists():
            raise CallerFault(f"{folder} holds a manager already", do="choose another directory by --data")
        if suite not in SUITES:
            raise CallerFault(f"suite {suite} is not run here", do=f"choose one of {sorted(SUITES)}")
        root = label.root
        identity = Identity(
            label.name,
            label.nm_id,
            label.nc_id,
            suite,
            tuple(label.coordinators),
            root.id,
            root.suite,
            root.sig_pk,
            key_uri,
        )
        kek = open_key(identity.key_place(folder), entropy, create=True)
        write_private(folder / "label", admin_files.write_file(label))
        write_private(path, identity.encode())
        return cls(folder, identity, kek)

    @classmethod
    def open(cls, folder: Path, entropy: Entropy) -> Self:
        """Return the manager of `folder`; CallerFault that names the file which is missing, open or unfit."""
        identity = _identity(folder)
        refuse_unfinished(folder)
        return cls(folder, identity, open_key(identity.key_place(folder), entropy))

    @property
    def nm_id(self) -> bytes:
        return bytes.fromhex(self.identity.nm_id)

    @property
    def nc_id(self) -> bytes:
        return bytes.fromhex(self.identity.nc_id)

    @property
    def suite(self) -> Suite:
        return suite_by_id(self.identity.suite)

    @property
    def trust(self) -> Trust:
        """Whom this manager believes: the authority of its label."""
        held = self.identity
        try:
            sig_pk = admin.from_base64url(held.root_sig_pk)
        except PeerFault as fault:
            raise CallerFault(f"{self.folder / 'manager.json'}: root_sig_pk is not base64url") from fault
        return Trust((Pin(bytes.fromhex(held.root_id), held.root_suite, sig_pk, Role.AUTHORITY),), SUITES)

    @property
    def control(self) -> Path:
        return self.folder / "control.sock"

    def label(self) -> admin_files.ManagerLabel:
        """Return the label, which is kept until the enrolment is done."""
        path = self.folder / "label"
        return admin_files.read_file(read_private(path, "label"), admin_files.ManagerLabel, str(path))

    def forget_label(self) -> None:
        """Remove the label: its code is used."""
        (self.folder / "label").unlink(missing_ok=True)


def place(folder: Path) -> Place:
    """Return what hangs on the key-encryption key of the manager of `folder`."""

    def point(uri: str, _rewrap: Rewrap) -> None:
        write_private(folder / OWN_FILE, replace(_identity(folder), key_uri=uri).encode())

    known: dict[str, Callable[[], StoreKey]] = {
        OWN_CELLS: lambda: SealedFile(folder / OWN_CELLS),
        DATABASE: lambda: SqlKey(open_database(folder / DATABASE, history="cells")),
    }
    stores = [open_store for name, open_store in known.items() if (folder / name).exists()]
    return Place(folder, _identity(folder).key_uri, stores, point)


def _identity(folder: Path) -> Identity:
    path = folder / OWN_FILE
    data = read_file(path, "manager", do="make one with `keymote manager init --label FILE`")
    return Identity.decode(data, str(path))


def read_label(path: Path) -> admin_files.ManagerLabel:
    """Return the label in a file; CallerFault when others can read it or it is none."""
    return admin_files.read_file(read_private(path, "label"), admin_files.ManagerLabel, str(path))
