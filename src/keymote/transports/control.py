"""The socket by which an operator's command talks to a process of the same user on the same machine.

JSON lines over a Unix domain socket of mode 0600: `{"do": NAME, ...}` is answered by `{"ok": true, "result": ...}` or
`{"ok": false, "root": ..., "code": ..., "what": ..., "do": ...}`. Codes and exports pass here and nowhere else.
"""

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self, cast

from keymote.errors import (
    CallerFault,
    ErrorCode,
    Incompatible,
    KeymoteError,
    PeerFault,
    RefusedByPolicy,
    Unavailable,
)

MAX_LINE: Final = 1 << 20
"""Bytes of one request or answer."""

Request = Mapping[str, Any]
Handler = Callable[[Request], Awaitable[object]]

_LONGEST_PATH: Final = 100
_ROOTS: Final[Mapping[str, type[KeymoteError]]] = {
    root.__name__: root for root in (CallerFault, RefusedByPolicy, Incompatible, Unavailable)
}


class ControlServer:
    """Serves `handlers` by name at `path` until closed; one process at a time may."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler]) -> None:
        self._path = path
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    @classmethod
    async def open(cls, path: Path, handlers: Mapping[str, Handler]) -> Self:
        """Listen. Unavailable when another process listens there; a socket that a dead process left is taken over."""
        self = cls(path, handlers)
        _claim(path)
        before = os.umask(0o177)
        try:
            with _short(path) as name:
                self._server = await asyncio.start_unix_server(self._serve, name, limit=MAX_LINE)
        finally:
            os.umask(before)
        return self

    async def close(self) -> None:
        """Stop listening, end what is under way and remove the socket."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        _remove(self._path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._clients.add(task)
        try:
            async for line in _lines(reader):
                writer.write(await self._answer(line))
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the command was interrupted, or we are closing
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(self, line: bytes) -> bytes:
        try:
            request = json.loads(line)
            handler = self._handlers.get(request["do"])
            if handler is None:
                raise CallerFault(f"{request['do']!r} is not known here", do="use the same version on both sides")
            reply: dict[str, object] = {"ok": True, "result": await handler(request)}
        except KeymoteError as fault:
            code = fault.code.name if isinstance(fault, PeerFault) else ""
            reply = {"ok": False, "root": _root_of(fault), "code": code, "what": fault.what, "do": fault.do}
        except (KeyError, TypeError, ValueError):
            # arguments may hold a code: neither they nor the exception's text are repeated
            reply = {"ok": False, "root": "CallerFault", "code": "", "what": "request not understood", "do": ""}
        return json.dumps(reply).encode() + b"\n"


class ControlClient:
    """A blocking connection of a command to a running process."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _short(path) as name:
                self._socket.connect(name)
        except OSError as error:
            self._socket.close()
            raise Unavailable(f"nothing listens at {path}", do="start the process, or name its --data") from error
        self._file = self._socket.makefile("rwb")

    def ask(self, do: str, **arguments: object) -> Any:
        """Return the result of a request; raises the error that it met there."""
        try:
            self._file.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self._file.flush()
            line = self._file.readline()
        except OSError as error:
            raise Unavailable(f"the process stopped during {do!r}", do="see its log") from error
        if not line:
            raise Unavailable(f"the process stopped during {do!r}", do="see its log")
        reply = json.loads(line)
        if reply["ok"]:
            return reply["result"]
        raise _raised(reply)

    def close(self) -> None:
        """Hang up; a thread that waits for an answer is told Unavailable."""
        with contextlib.suppress(OSError):  # the other side has hung up
            self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):  # a request is in it that nobody has taken
            self._file.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _root_of(fault: KeymoteError) -> str:
    """Return the name of the nearest class that the other side knows."""
    return next((kind.__name__ for kind in type(fault).__mro__ if kind.__name__ in _ROOTS), PeerFault.__name__)


def _raised(reply: Mapping[str, str]) -> KeymoteError:
    if reply["root"] == PeerFault.__name__:
        return PeerFault(ErrorCode[reply["code"]], reply["what"], do=reply["do"])
    return _ROOTS.get(reply["root"], CallerFault)(reply["what"], do=reply["do"])


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        yield line


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _claim(path: Path) -> None:
    """Make room for a socket at `path`; refuse when a process listens there or something else is in the way."""
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise CallerFault(f"{path} is not a socket", do="name another --data")
    try:
        ControlClient(path).close()
    except Unavailable:
        path.unlink()
        return
    raise Unavailable(f"{path} is served by another process", do="stop it first")


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield a name of `path` that fits the 107 bytes of a socket address, through the directory's descriptor if need be."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
