"""One key shared with one peer, as an application holds it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from keymote.device.faults import Exported, NotReady, closed_because
from keymote.errors import CallerFault, ErrorCode, PeerFault

if TYPE_CHECKING:
    from keymote.engine.faces import KeyReady, SessionKeys  # loaded when a device opens, not when it is imported
    from keymote.host.resources import Answered

MAX_PLAINTEXT: Final = 1024
"""Bytes of one record (Triad-1 2.8)."""
MAX_WAITING: Final = 256
"""Records of the peer that wait for `messages`; beyond, the oldest is dropped."""


class State(StrEnum):
    ACTIVE = "active"
    HANDED_OVER = "handed over"
    """Exported to other software: we never use the key again."""
    CLOSED = "closed"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class End:
    """Why a session is over: closed by somebody (`code` None), revoked, or failed."""

    code: ErrorCode | None
    revoked: bool
    why: str

    def error(self) -> Exception:
        """Return what a use of the session raises from now on."""
        return closed_because(self.code, revoked=self.revoked, why=self.why)


class Node(Protocol):
    """What a session needs of the node that it belongs to."""

    def protect(self, psid: bytes, plaintext: bytes) -> bytes | None:
        """Return the next record, None while a change of the session is being saved."""

    def unprotect(self, psid: bytes, record: bytes) -> bytes | None:
        """Return a record's plaintext, None when it is not one of ours; raises as `Session.unprotect`."""

    def carry(self, psid: bytes, record: bytes) -> None:
        """Send a record to the peer by the node's own link."""

    async def request(
        self, psid: bytes, at: str, method: str, path: str, payload: bytes, content_format: int | None
    ) -> "Answered":
        """Ask the peer for a resource; raises as `Session.request`."""

    def shut_doors(self, psid: bytes) -> None:
        """Let nobody use the session's key through this device any more; Exported when we have used its OSCORE context."""

    async def close_session(self, psid: bytes) -> None: ...

    async def revoke_session(self, psid: bytes, reason: int) -> None: ...


class Session:
    """`protect` and `unprotect` turn bytes into records of this session and back; how they travel is yours.

    `send` and `messages` let the device's own link carry them. A session ends by `close`, by `revoke`, by the peer, by
    word of a manager, or with the process: afterwards every use raises `Revoked` or `Expired`.
    """

    def __init__(self, node: Node, ready: "KeyReady") -> None:
        self._node = node
        self._keys: SessionKeys | None = ready.keys
        self._end: End | None = None
        self._ended = asyncio.Event()
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_WAITING)
        self._handed_over = False
        self.psid: Final = ready.psid
        self.peer: Final = ready.peer_id.hex()
        self.manager: Final = ready.manager.hex()
        self.initiator: Final = ready.initiator
        self.key_id: Final = ready.keys.key_id.hex()

    def __repr__(self) -> str:
        return f"<Session {self.psid.hex()} with {self.peer}, key {self.key_id}, {self.state}>"

    @property
    def state(self) -> State:
        if self._end is not None:
            return State.REVOKED if self._end.revoked else State.CLOSED
        return State.HANDED_OVER if self._handed_over else State.ACTIVE

    def protect(self, plaintext: bytes) -> bytes:
        """Return the next record, for up to 1024 bytes of plaintext.

        Raises:
            Revoked, Expired: the session is over.
            NotReady: a change of this session is being saved; try again.
        """
        self._usable()
        if len(plaintext) > MAX_PLAINTEXT:
            raise CallerFault(f"{len(plaintext)} bytes, a record takes at most {MAX_PLAINTEXT}", do="send it in parts")
        sealed = self._node.protect(self.psid, bytes(plaintext))
        if sealed is None:
            self._usable()
            raise NotReady("the device is saving a change of this session", do="try again")
        return sealed

    def unprotect(self, record: bytes) -> bytes:
        """Return the plaintext of a record of the peer, once.

        Raises:
            Replayed: it was opened before, or is too old.
            PeerFault: it is no record of this session, or was changed on its way.
            Revoked, Expired: the session is over.
        """
        self._usable()
        plaintext = self._node.unprotect(self.psid, bytes(record))
        if plaintext is None:
            self._usable()
            raise PeerFault(ErrorCode.E_FORMAT, "not a record of this session")
        return plaintext

    async def send(self, plaintext: bytes) -> None:
        """Protect and send to the peer by CoAP; errors as `protect`."""
        self._node.carry(self.psid, self.protect(plaintext))

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield what the peer sends, verified and each once, until the session is over."""
        while (message := await self._waiting.get()) is not None:
            yield message
        self._waiting.put_nowait(None)  # for whoever else iterates

    async def request(
        self, method: str, path: str, payload: bytes = b"", *, content_format: int | None = None, at: str = ""
    ) -> "Answered":
        """Ask the peer's device for one of its resources (`Device.serve`), protected by OSCORE under this session's key.

        `at` is its address (`coap://ADDRESS:PORT`), if the session was not paired with it: managers carry no requests.

        Raises:
            NotReady: the peer's address is not known.
            Unavailable: it does not answer, or not under this key.
            Revoked, Expired: the session is over.
        """
        self._usable()
        return await self._node.request(self.psid, at, method, path, payload, content_format)

    async def close(self) -> None:
        """End the session on both sides; nothing happens when it is over already."""
        if self._end is None:
            await self._node.close_session(self.psid)

    async def revoke(self, reason: int = 0) -> None:
        """Report the session to the own manager and end it.

        `reason`: 0 unspecified, 1 key lost, 2 compromise suspected, 3 superseded, 4 retired.
        """
        if not 0 <= reason <= 4:
            raise CallerFault(f"reason {reason}", do="give 0 to 4")
        if self._end is not None:
            raise self._end.error()
        await self._node.revoke_session(self.psid, reason)

    async def ended(self) -> None:
        """Return when the session is over."""
        await self._ended.wait()

    def keys(self) -> "SessionKeys":
        """Return the exports of the session's key, for one who reads along (`pair export --to wireshark`)."""
        self._usable()
        assert self._keys is not None  # gone only with the session, or with `hand_over`
        return self._keys

    def hand_over(self) -> "SessionKeys":
        """Return the exports and never use the session's key again, nor hand it out a second time.

        Two users of one OSCORE context would use one nonce twice. The session can still be closed and revoked.

        Raises:
            Exported: it was handed over before, or its OSCORE context is in use here.
            Revoked, Expired: the session is over.
        """
        keys = self.keys()
        self._node.shut_doors(self.psid)
        self._handed_over = True
        self._keys = None
        return keys

    # ------------------------------------------------------------------ for the node

    def heard(self, plaintext: bytes) -> None:
        """Queue a record that the link brought."""
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait(plaintext)

    def over(self, end: End) -> None:
        """Forget the key; from now on every use says why."""
        self._end = end
        self._keys = None
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait(None)
        self._ended.set()

    def _usable(self) -> None:
        if self._end is not None:
            raise self._end.error()
        if self._handed_over:
            raise Exported("the session was handed over to other software", do="pair again for another key")
