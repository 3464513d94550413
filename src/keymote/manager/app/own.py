"""What a manager keeps of itself, in one sealed file: keys, its enrolment, a cursor, and notes to be handed in."""

import asyncio
from pathlib import Path
from typing import Any, Final

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.hybrid import HybridKey, draw_seed
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey, Suite
from keymote.engine.base import CellKey
from keymote.engine.context import DeviceContext, Membership
from keymote.engine.enrolment.device import newcomer_kind
from keymote.engine.enrolment.device_cell import Registered
from keymote.engine.faces import OWN_ENROLMENT
from keymote.errors import CallerFault
from keymote.host.ports import Write
from keymote.storage.file import FileStore
from keymote.storage.seal import KeyEncryptionKey

_SIGNING: Final = CellKey("identity", b"")
_HYBRID: Final = CellKey("hybrid", b"")
_PASSWORD: Final = CellKey("password", b"")
_CURSOR: Final = CellKey("cursor", b"")
_NOTE: Final = "note"
MAX_NOTES: Final = 10_000
"""Revocation notes that may wait for the coordinator; the engine keeps them too and says them again to its peers."""


class OwnStore:
    """Rows besides the cells of the manager's own enrolment. Every change is on disk when the call returns."""

    def __init__(self, path: Path, kek: KeyEncryptionKey, entropy: Entropy) -> None:
        self._entropy = entropy
        self.store: Final = FileStore(path, kek, entropy)

    def close(self) -> None:
        self.store.close()

    def signing_key(self, suite: Suite) -> SigningKey:
        """Return the manager's signature key, made the first time."""
        saved = self.store.load(_SIGNING)
        if saved is not None:
            return suite.signing_key(Secret(saved))
        key = suite.generate_signing_key(self._entropy)
        self._put(_SIGNING, key.seed.expose())
        return key

    def hybrid_key(self) -> HybridKey:
        """Return the manager's key pair for the post-quantum profile, made the first time."""
        saved = self.store.load(_HYBRID)
        if saved is not None:
            return HybridKey.of(Secret(saved))
        seed = draw_seed(self._entropy)
        self._put(_HYBRID, seed.expose())
        return HybridKey.of(seed)

    def password(self) -> Secret:
        """Return the password of the PEM key, made the first time."""
        saved = self.store.load(_PASSWORD)
        if saved is None:
            saved = self._entropy.draw(32)
            self._put(_PASSWORD, saved)
        return Secret(saved)

    def membership(self, context: DeviceContext) -> Membership:
        """Return what the enrolment left; CallerFault when there was none."""
        record = self.store.load(OWN_ENROLMENT)
        load = newcomer_kind(context).load
        cell = None if record is None or load is None else load(b"", record)
        if not isinstance(cell, Registered):
            raise CallerFault("the manager is not enrolled", do="keymote manager enrol")
        return cell.membership

    @property
    def cursor(self) -> int:
        """The last event that was acted on and acknowledged."""
        saved = self.store.load(_CURSOR)
        cursor: Any = 0 if saved is None else cbor.decode(saved)
        return int(cursor)

    def advance(self, cursor: int) -> None:
        self._put(_CURSOR, cbor.encode(cursor))

    def notes(self) -> list[bytes]:
        """Return the revocation notes that the coordinator has not taken yet."""
        return [row.record for row in self.store.rows if row.key.kind == _NOTE and row.record is not None]

    def add_note(self, revnote: bytes) -> None:
        """Keep a note until the coordinator has it; the same note once."""
        if len(self.notes()) < MAX_NOTES:
            self._put(CellKey(_NOTE, sha256(revnote)), revnote)

    def drop_note(self, revnote: bytes) -> None:
        self._put(CellKey(_NOTE, sha256(revnote)), None)

    def _put(self, key: CellKey, record: bytes | None) -> None:
        failures: list[Exception] = []

        def done(error: Exception | None) -> None:
            if error is not None:
                failures.append(error)

        self.store.commit([Write(key, record)], done)
        if failures:
            raise failures[0]


async def quietly(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait until it is gone."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
