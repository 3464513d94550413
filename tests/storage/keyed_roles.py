"""Directories of roles as their `init` lays them down, with rows in every store, for tests of what hangs on the key."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from keymote.agent.app import directory as agent
from keymote.agent.app.identity import Identity
from keymote.cli import authority
from keymote.cli.output import Output
from keymote.coordinator.app import directory as coordinator
from keymote.crypto.entropy import SystemEntropy
from keymote.device.app import directory as device
from keymote.device.config import read_config
from keymote.engine.base import CellKey
from keymote.host.ports import Write
from keymote.manager.app import directory as manager
from keymote.manager.app.own import OwnStore
from keymote.storage.file import FileStore
from keymote.storage.rotation import Place, refuse_unfinished
from keymote.storage.seal import open_key
from keymote.storage.sql import open_database
from keymote.storage.sql_store import SqlStore
from keymote.wire import admin, admin_files

ENTROPY = SystemEntropy()
ROW = CellKey("link", b"12345678")
RECORD = b"what must survive"
PASSWORD_BYTES = 32


@dataclass(frozen=True)
class Role:
    """`make(folder, key_uri)` lays it down; `use(folder)` starts it as far as keys matter, and returns what it read."""

    make: Callable[[Path, str], None]
    use: Callable[[Path], object]
    place: Callable[[Path], Place]
    key: str
    stores: int


def put(store: FileStore | SqlStore) -> None:
    ends: list[Exception | None] = []
    store.commit([Write(ROW, RECORD)], ends.append)
    assert ends == [None]


def cells_of(folder: Path, kek: object) -> SqlStore:
    return SqlStore(open_database(folder / "cells.db", history="cells"), kek, ENTROPY)  # type: ignore[arg-type]


def make_manager(folder: Path, key_uri: str) -> None:
    root = admin_files.RootPin(1, "11" * 8, admin.to_base64url(bytes(32)))
    label = admin_files.ManagerLabel("22" * 8, "nm", "code", "33" * 8, ["https://localhost:1"], root)
    made = manager.Directory.create(folder, label, 1, key_uri, ENTROPY)
    with closing(OwnStore(folder / "own.cells", made.kek, ENTROPY)) as own:
        own.advance(7)
    with closing(cells_of(folder, made.kek)) as cells:
        put(cells)
    for name in ("ca.pem", "tls.pem", "tls.key"):
        (folder / name).touch(0o600)


def use_manager(folder: Path) -> object:
    opened = manager.Directory.open(folder, ENTROPY)
    with (
        closing(OwnStore(folder / "own.cells", opened.kek, ENTROPY)) as own,
        closing(cells_of(folder, opened.kek)) as db,
    ):
        return own.cursor, db.load(ROW)


def make_coordinator(folder: Path, key_uri: str) -> None:
    hosts = ["localhost"]
    made = coordinator.Directory.create(folder, "nc", 1, hosts, ENTROPY, int(time.time()), key_uri=key_uri)
    with closing(cells_of(folder, made.kek)) as cells:
        put(cells)


def use_coordinator(folder: Path) -> object:
    opened = coordinator.Directory.open(folder, ENTROPY)
    opened.authority()
    with closing(cells_of(folder, opened.kek)) as cells:
        return admin.to_base64url(opened.key.public) == opened.held.sig_pk, cells.load(ROW)


def make_authority(folder: Path, key_uri: str) -> None:
    authority.init(1, key_uri, folder, Output.JSON)


def use_authority(folder: Path) -> object:
    root = authority.load_root(folder)
    return authority.pin_file(root).id == admin_files.read_file(
        (folder / "root.pin").read_bytes(), admin_files.RootPin, "root.pin"
    ).id  # fmt: skip


def make_agent(folder: Path, key_uri: str) -> None:
    at = "127.0.0.1:1"
    made = agent.Directory.create(folder, Identity("ward", "", at, at, at, key_uri=key_uri), ENTROPY, 1)
    with closing(made), closing(cells_of(folder, made.kek)) as cells:
        put(cells)


def use_agent(folder: Path) -> object:
    with closing(agent.Directory(folder, ENTROPY)) as opened, closing(cells_of(folder, opened.kek)) as cells:
        return opened.desk().sealing.public, opened.tls[2].expose(), cells.load(ROW)


def make_device(folder: Path, key_uri: str) -> None:
    line = f'key_uri = "{key_uri}"\n' if key_uri else ""
    (folder / "d.toml").write_text(f'# a meter\nid = "{"44" * 8}"\nroot = "root.pin"\n{line}\n[serve]\na = "b" # c\n')
    config = read_config(folder / "d.toml")
    config.state.mkdir(mode=0o700)
    kek = open_key(config.key_uri, ENTROPY, create=True)
    with closing(FileStore(config.state / "cells", kek, ENTROPY)) as store:
        put(store)


def use_device(folder: Path) -> object:
    config = read_config(folder / "d.toml")
    refuse_unfinished(config.state)
    with closing(FileStore(config.state / "cells", open_key(config.key_uri, ENTROPY), ENTROPY)) as store:
        return store.load(ROW)


ROLES = {
    "manager": Role(make_manager, use_manager, manager.place, "key", 2),
    "coordinator": Role(make_coordinator, use_coordinator, coordinator.place, "key", 2),
    "authority": Role(make_authority, use_authority, authority.place, "key", 1),
    "agent": Role(make_agent, use_agent, agent.place, "key", 2),
    "device": Role(make_device, use_device, lambda folder: device.place(folder / "d.toml"), "d.state/kek", 1),
}
