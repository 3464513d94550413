"""The whole public face of a device.

    async with Device.open("meter.toml") as device:
        session = await device.pair("00000000000000a2")
        record = session.protect(b"21.5 C")

`SyncDevice` is the same for programs without an event loop.
"""

import asyncio
import contextlib
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from keymote.device.config import DeviceConfig, read_config
from keymote.device.faults import Expired, Exported, NotReady, Replayed, Revoked
from keymote.device.group import READY_S, Group, Sent, SyncGroup
from keymote.device.session import Session, State
from keymote.errors import CallerFault

if TYPE_CHECKING:
    from keymote.device.node import DeviceNode  # loads the protocols: when a device opens, not when it is imported
    from keymote.device.topics import SyncTopics, Topics
    from keymote.engine.faces import Enrolled
    from keymote.host.resources import Answered, Handler

__all__ = [
    "Device", "Expired", "Exported", "Group", "NotReady", "Replayed", "Revoked", "Sent", "Session", "State", "SyncDevice",
    "SyncGroup", "SyncSession",
]  # fmt: skip

PAIR_S: Final = 30.0
ENROL_S: Final = 60.0
_FIRST_SEARCH_S: Final = 1.0
_LONGEST_SEARCH_S: Final = 30.0

_Result = TypeVar("_Result")


class Device:
    """A device: enrols by itself when it has a code and hears its manager, then opens and accepts sessions."""

    def __init__(self, config: DeviceConfig) -> None:
        self.config: Final = config
        self.id: Final = config.id.hex()
        self._node: DeviceNode | None = None
        self._searching: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, config: str | Path | DeviceConfig) -> Self:
        """Return the device of a TOML file (or a `DeviceConfig`), for `async with`.

        Raises:
            CallerFault: the file cannot be read or says something wrong.
        """
        return cls(config if isinstance(config, DeviceConfig) else read_config(Path(config)))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def start(self, *, rejoin: bool = False) -> None:
        """Start; with `rejoin` the enrolment is forgotten and begun anew with the code of the configuration."""
        from keymote.device.app.launch import launch

        self._node = await launch(self.config, rejoin=rejoin)
        if not self._node.enrolled.is_set():
            self._searching = asyncio.get_running_loop().create_task(self._search(), name="search for a manager")

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop. Sessions end without a word to their peers: their keys were in this memory alone."""
        if self._searching is not None:
            self._searching.cancel()
        if self._node is not None:
            node, self._node = self._node, None
            await node.close()

    @property
    def node(self) -> "DeviceNode":
        """What stands behind this face, for the agent of `keymote device run`."""
        if self._node is None:
            raise NotReady("the device is not open", do="use it inside `async with`")
        return self._node

    # ------------------------------------------------------------------ the face

    @property
    def address(self) -> str:
        """Where peers reach this device: `coap://ADDRESS:PORT`."""
        return self.node.runtime.address

    @property
    def is_enrolled(self) -> bool:
        return self.node.enrolled.is_set()

    async def enrolled(self, timeout_s: float = ENROL_S) -> "Enrolled":
        """Return the device's membership as soon as there is one.

        Raises:
            NotReady: no manager was found or agreed in this time; says what the last attempt met.
        """
        node = self.node
        try:
            async with asyncio.timeout(timeout_s):
                await node.enrolled.wait()
        except TimeoutError as error:
            why = node.last_failure.code.name if node.last_failure is not None else "no manager was heard"
            raise NotReady(
                f"not enrolled after {timeout_s:g} s: {why}", do="check the label, and that the manager knows it"
            ) from error
        assert node.membership is not None  # set together with the event
        return node.membership

    async def pair(
        self,
        peer: str,
        *,
        manager: str = "",
        at: str = "",
        fast: bool = False,
        compact: bool = False,
        timeout_s: float = PAIR_S,
    ) -> Session:
        """Agree on a key with the device of id `peer` (16 hex digits), which may be in another operator's network.

        `manager`: id of the manager whose device the peer is. Without it any manager below the pinned authority may vouch for
        the peer's keys, also a rogue one of ours; `Session.manager` tells afterwards which one did.
        `at`: the peer's address, else the managers carry the handshake. `fast`: two messages fewer, see the protocol's
        rules on revocation. `compact`: take the own manager's word for the peer's key.

        Raises:
            NotReady: not enrolled, or somebody did not answer in time.
            Revoked: a manager refuses, because this device or the peer is suspended or revoked.
            PeerFault: the peer is unknown, or somebody did not prove who he is.
        """
        from keymote.engine.faces import OpenSession

        home = _id(manager, "manager") if manager else b""
        wish = OpenSession(secrets.token_bytes(8), _id(peer, "device"), at, fast, compact, home)
        return await self.node.pair(wish, timeout_s)

    @property
    def dtls_address(self) -> str:
        """Where DTLS clients with a session's pre-shared key connect (`coaps://ADDRESS:PORT`), "" without DTLS."""
        return self.node.runtime.dtls_address

    def sessions(self) -> tuple[Session, ...]:
        """Return the sessions that are open, oldest first."""
        return tuple(self.node.sessions.values())

    async def incoming(self) -> AsyncIterator[Session]:
        """Yield each session that a peer has opened with this device, until `close`."""
        queue = self.node.incoming
        while (session := await queue.get()) is not None:
            yield session
        queue.put_nowait(None)  # for whoever else iterates

    def groups(self) -> tuple[Group, ...]:
        """Return the groups that this device was invited to, in the order of the invitations."""
        return tuple(self.node.group(standing.gid) for standing in self.node.runtime.groups())

    def group(self, gid: str | None = None) -> Group:
        """Return the group of this id (16 hex digits, or as many of the first as are its alone), or the only one.

        Raises:
            NotReady: this device was not invited to it yet.
            CallerFault: several groups are meant.
        """
        found = [group for group in self.groups() if group.id.startswith(gid or "")]
        if not found:
            raise NotReady(f"not invited to {f'the group {gid}' if gid else 'any group'} yet", do="ask the operator")
        if len(found) > 1:
            raise CallerFault(f"{len(found)} groups: {', '.join(each.id for each in found)}", do="name one")
        return found[0]

    async def invited(self, timeout_s: float = READY_S) -> Group:
        """Return the group of this device as soon as it was invited to one; errors as `group`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.node.invited.wait()
        except TimeoutError:
            pass  # what `group` says of it is better
        return self.group()

    @property
    def topics(self) -> "Topics":
        """The topics of this device: `await topics.ready_to_publish(...)`, then `topics.keys.protect(...)`."""
        return self.node.topics

    def serve(self, path: str, handler: "Handler", *, unprotected: bool = False, observable: bool = False) -> None:
        """Answer CoAP requests for `path`: those that a session's key protects, unless declared `unprotected`.

        `handler` takes an `Asked` and returns an `Answered` (`keymote.host.resources`), or a coroutine of one.
        """
        self.node.runtime.resources().serve(path, handler, unprotected=unprotected, observable=observable)

    def changed(self, path: str) -> None:
        """Send what an observable resource is now to those who observe it."""
        self.node.runtime.resources().changed(path)

    async def _search(self) -> None:
        """Ask for a HELLO until the device is enrolled; less and less often."""
        node, pause = self.node, _FIRST_SEARCH_S
        while not node.enrolled.is_set():
            node.runtime.search()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await node.enrolled.wait()
            pause = min(2 * pause, _LONGEST_SEARCH_S)


def _id(text: str, whose: str) -> bytes:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != 8:
        raise CallerFault(f"{text!r} is not a {whose} id", do="give its 16 hex digits")
    return raw


class SyncDevice:
    """`Device` for programs without an event loop: a thread of its own runs one. Every call may come from any thread."""

    def __init__(self, device: Device, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
        self._device = device
        self._loop = loop
        self._thread = thread

    @classmethod
    def open(cls, config: str | Path | DeviceConfig) -> Self:
        """Start the device; close it, or use it by `with`. Errors as `Device.open`."""
        read = config if isinstance(config, DeviceConfig) else read_config(Path(config))
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="keymote device", daemon=True)
        thread.start()

        async def start() -> Device:
            return await Device.open(read).__aenter__()

        try:
            device = asyncio.run_coroutine_threadsafe(start(), loop).result()
        except BaseException:
            _stop(loop, thread)
            raise
        return cls(device, loop, thread)

    def close(self) -> None:
        """Stop the device and its thread."""
        try:
            self._run(self._device.close())
        finally:
            _stop(self._loop, self._thread)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def id(self) -> str:
        return self._device.id

    @property
    def address(self) -> str:
        return self._device.address

    def enrolled(self, timeout_s: float = ENROL_S) -> "Enrolled":
        """As `Device.enrolled`."""
        return self._run(self._device.enrolled(timeout_s))

    def pair(self, peer: str, **options: Any) -> "SyncSession":
        """As `Device.pair`."""
        return SyncSession(self._run(self._device.pair(peer, **options)), self._run)

    def sessions(self) -> tuple["SyncSession", ...]:
        """As `Device.sessions`."""

        async def listed() -> tuple[Session, ...]:
            return self._device.sessions()

        return tuple(SyncSession(session, self._run) for session in self._run(listed()))

    def group(self, gid: str | None = None) -> SyncGroup:
        """As `Device.group`."""

        async def looked() -> Group:
            return self._device.group(gid)

        return SyncGroup(self._run(looked()), self._run)

    def invited(self, timeout_s: float = READY_S) -> SyncGroup:
        """As `Device.invited`."""
        return SyncGroup(self._run(self._device.invited(timeout_s)), self._run)

    def serve(self, path: str, handler: "Handler", *, unprotected: bool = False, observable: bool = False) -> None:
        """As `Device.serve`; the handler runs on the device's own thread."""

        async def served() -> None:
            self._device.serve(path, handler, unprotected=unprotected, observable=observable)

        self._run(served())

    @property
    def topics(self) -> "SyncTopics":
        """As `Device.topics`."""
        from keymote.device.topics import SyncTopics

        return SyncTopics(self._device.topics, self._run)

    def accept(self, timeout_s: float = PAIR_S) -> "SyncSession":
        """Return the next session that a peer opens; NotReady when none comes in this time."""

        async def first() -> Session:
            async with asyncio.timeout(timeout_s):
                async for session in self._device.incoming():
                    return session
            raise NotReady("the device is closed")

        try:
            return SyncSession(self._run(first()), self._run)
        except TimeoutError as error:
            raise NotReady(f"no session in {timeout_s:g} s", do="wait longer") from error

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class SyncSession:
    """`Session` for programs without an event loop; methods and errors are the same."""

    def __init__(self, session: Session, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._session = session
        self._run = run
        self.psid: Final = session.psid
        self.peer: Final = session.peer
        self.key_id: Final = session.key_id
        self.initiator: Final = session.initiator

    @property
    def state(self) -> State:
        return self._session.state

    def protect(self, plaintext: bytes) -> bytes:
        """As `Session.protect`."""
        return self._on_loop(self._session.protect, plaintext)

    def unprotect(self, record: bytes) -> bytes:
        """As `Session.unprotect`."""
        return self._on_loop(self._session.unprotect, record)

    def send(self, plaintext: bytes) -> None:
        """As `Session.send`."""
        self._run(self._session.send(plaintext))

    def request(self, method: str, path: str, payload: bytes = b"", **options: Any) -> "Answered":
        """As `Session.request`."""
        answered: Answered = self._run(self._session.request(method, path, payload, **options))
        return answered

    def close(self) -> None:
        """As `Session.close`."""
        self._run(self._session.close())

    def revoke(self, reason: int = 0) -> None:
        """As `Session.revoke`."""
        self._run(self._session.revoke(reason))

    def _on_loop(self, call: Callable[[bytes], bytes], argument: bytes) -> bytes:
        async def called() -> bytes:
            return call(argument)

        result: bytes = self._run(called())
        return result


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
