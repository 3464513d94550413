"""Clients that are no devices: a random id and a random PSS, made here, carried to them in a provisioning file.

Decision 0189.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.engine.base import CellKey, Peer
from keymote.engine.policy.topic_events import MOST_NAME, ClientForgotten, ClientMade
from keymote.engine.topic.faces import ForgetClient, RegisterClient, client_of
from keymote.engine.topic.key_chain import KeyChain
from keymote.errors import CallerFault, KeymoteError
from keymote.host.client_file import PSS_SIZE, ClientFile
from keymote.host.ports import Write
from keymote.manager.group_invitations import Cells
from keymote.manager.group_log import Shelf
from keymote.manager.topic_log import TopicLog

CLIENT_NAME: Final = "topic-client-name"
"""Kind of the rows, named by client_id."""
MOST_CLIENTS: Final = 10_000
_ID_SIZE: Final = 8
_VERSION: Final = 1


class FileClient(NamedTuple):
    """A client of a provisioning file; `made_ms` UTC milliseconds."""

    client_id: bytes
    name: str
    made_ms: int


class TopicClients:
    """Not for two tasks at once. `write_new` lays down a file where nothing was, for its owner alone."""

    def __init__(
        self,
        cells: Cells,
        shelf: Shelf,
        log: TopicLog,
        entropy: Entropy,
        now_ms: Callable[[], int],
        address: Peer,
        write_new: Callable[[Path, ClientFile], None],
    ) -> None:
        self._cells = cells
        self._shelf = shelf
        self._log = log
        self._entropy = entropy
        self._now_ms = now_ms
        self._address = address
        self._write_new = write_new
        self._clients = {row.key.id: _opened(row) for row in shelf.of_kind(CLIENT_NAME)}

    def all(self) -> Sequence[FileClient]:
        """Return every client, in the order in which they were made."""
        return sorted(self._clients.values(), key=lambda each: each.made_ms)

    def named(self, name: str) -> FileClient:
        """Return the client with this name or id (16 hex digits); CallerFault when there is none."""
        for client in self._clients.values():
            if name in (client.name, client.client_id.hex()):
                return client
        raise CallerFault(f"no client {name!r} was made here", do="see keymote manager client list")

    async def add(self, name: str, path: Path, suite: int) -> FileClient:
        """Make a client and its file, which is the only place where its PSS stands when this returns.

        Raises:
            CallerFault: the name is taken or not one, or the file exists.
            Unavailable: the store or the disk does not take it; then there is no such client.
        """
        self._check(name, path)
        client_id = self._entropy.draw(_ID_SIZE)
        while self._cells.peek(client_of(client_id)) is not None:
            client_id = self._entropy.draw(_ID_SIZE)
        pss, now_ms = Secret(self._entropy.draw(PSS_SIZE)), self._now_ms()
        made = FileClient(client_id, name, now_ms)
        chain = KeyChain.begin(client_id, pss)
        await self._cells.command(client_of(client_id), RegisterClient(client_id, chain.ck, suite))
        row = Write(CellKey(CLIENT_NAME, client_id), cbor.encode_array(_VERSION, name, now_ms))
        await self._log.add([ClientMade(client_id, name)], now_ms, [row])
        self._clients[client_id] = made
        try:
            self._write_new(path, ClientFile(name, client_id, suite, self._address, pss))
        except KeymoteError:
            await self.forget(made)
            raise
        return made

    async def forget(self, client: FileClient) -> None:
        """Erase a client's chain and its name; the topics are taken from it by who knows them."""
        await self._cells.command(client_of(client.client_id), ForgetClient())
        gone = Write(CellKey(CLIENT_NAME, client.client_id), None)
        await self._log.add([ClientForgotten(client.client_id)], self._now_ms(), [gone])
        self._clients.pop(client.client_id, None)

    def _check(self, name: str, path: Path) -> None:
        if not name or len(name) > MOST_NAME or not name.isprintable() or name != name.strip():
            raise CallerFault(f"{name[:MOST_NAME]!r} is no name of a client", do=f"give 1 to {MOST_NAME} letters")
        if any(name in (client.name, client.client_id.hex()) for client in self._clients.values()):
            raise CallerFault(f"there is a client {name!r} already", do="give another name, or remove that client")
        if len(self._clients) >= MOST_CLIENTS:
            raise CallerFault(f"{MOST_CLIENTS} clients of files are here already", do="remove those that are not used")
        if not path.is_absolute() or not path.parent.is_dir():
            raise CallerFault(f"{path.parent} is no directory", do="name one that is there")
        if path.exists() or path.is_symlink():
            raise CallerFault(f"{path} exists already", do="name a file that does not")


def _opened(row: Write) -> FileClient:
    said: Any = cbor.decode(row.record or b"")
    _, name, made_ms = said
    return FileClient(row.key.id, name, made_ms)
