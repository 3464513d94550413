"""Processes born of one that has loaded everything: a role then starts in 30 ms instead of a second or two.

A demonstration starts some forty processes, each of which would spend a second on importing what the others import, too.
The nursery imports the roles' modules once and forks; a child takes its command line and runs the same program as ever.
It is for demonstrations only: the command line that `ps` shows is the nursery's.
"""

import asyncio
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn, Self

from keymote.errors import Unavailable

LOADED: Final = (
    "keymote.agent.app.service",
    "keymote.cli.agent",
    "keymote.cli.authority",
    "keymote.cli.coordinator",
    "keymote.cli.device",
    "keymote.cli.manager",
    "keymote.coordinator.app.service",
    "keymote.coordinator.app.enrolment",
    "keymote.manager.app.service",
    "keymote.device.app.launch",
    "keymote.device.app.process",
    "keymote.device.agent",
    "keymote.device.topic_client.app",
    "keymote.stories.station",
    "keymote.stories.walkers",
    "keymote.transports.coap.application",
    "keymote.transports.http_operator",
    "keymote.transports.mqtt.embedded_face",
)
"""What the roles import when they start; who lacks one of them imports it later, as it would alone."""
_LONGEST: Final = 1 << 16
_STREAMS: Final = 2
"""A child gets its standard output and standard error from whoever asked for it."""


class Child:
    """A process born in the nursery, as `asyncio.subprocess.Process` shows one."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader, out: asyncio.BaseTransport) -> None:
        self.pid: Final = pid
        self.stdout: Final = stdout
        self._out = out
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @property
    def returncode(self) -> int | None:
        return self._ended.result() if self._ended.done() else None

    def ended(self, code: int) -> None:
        """Hear from the nursery how it ended."""
        if not self._ended.done():
            self._ended.set_result(code)

    def send_signal(self, number: int) -> None:
        """Raise ProcessLookupError for a process that is gone."""
        if self.returncode is not None:
            raise ProcessLookupError(self.pid)
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    async def communicate(self) -> tuple[bytes, None]:
        """Return what it still says until it ends."""
        said = await self.stdout.read()
        await self.wait()
        self._out.close()
        return said, None


class Nursery:
    """The nursery as its user sees it; leaving the context ends it and whoever still lives there."""

    def __init__(self, line: socket.socket, process: asyncio.subprocess.Process) -> None:
        self._line = line
        self._process = process
        self._children: dict[int, Child] = {}
        self._born: asyncio.Queue[int] = asyncio.Queue()
        self._one_at_a_time = asyncio.Lock()
        self._listening = asyncio.get_running_loop().create_task(self._listen())

    @classmethod
    async def open(cls, environment: Mapping[str, str], loaded: Sequence[str] = LOADED) -> Self:
        """Start the process and let it load; children may be asked for at once, and wait for that."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "keymote.stories.nursery", str(theirs.fileno()), *loaded),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                env=environment,
            )
        return cls(ours, process)

    async def bear(self, module: str, arguments: Sequence[str], stderr: int) -> Child:
        """Run `python -m MODULE ARGUMENTS` as a child whose standard error is the descriptor `stderr`.

        Raises:
            Unavailable: the nursery is gone.
        """
        loop = asyncio.get_running_loop()
        readable, writable = os.pipe()
        reader = asyncio.StreamReader()
        out, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(readable, "rb", buffering=0)
        )
        wish = json.dumps({"module": module, "arguments": list(arguments)}).encode()
        try:
            async with self._one_at_a_time:
                socket.send_fds(self._line, [wish], [writable, stderr])
                pid = await self._born.get()
        except OSError as error:
            out.close()
            raise Unavailable("the process that starts the others is gone", do="run the demonstration again") from error
        finally:
            os.close(writable)
        if not pid:
            out.close()
            raise Unavailable("the process that starts the others has ended", do="run the demonstration again")
        self._children[pid] = child = Child(pid, reader, out)
        return child

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(self._line, _LONGEST):
                match json.loads(data):
                    case {"born": pid}:
                        self._born.put_nowait(pid)
                    case {"ended": pid, "code": code}:
                        # a child may end before its parent has seen that it is born
                        loop.call_soon(self._ended, pid, code)
        for child in self._children.values():
            child.ended(-signal.SIGKILL)
        self._born.put_nowait(0)

    def _ended(self, pid: int, code: int) -> None:
        child = self._children.pop(pid, None)
        if child is not None:
            child.ended(code)
        elif not self._listening.done():
            asyncio.get_running_loop().call_later(0.01, self._ended, pid, code)

    async def close(self) -> None:
        """End the nursery; children that live on are killed."""
        self._listening.cancel()
        self._line.close()
        await self._process.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


# ------------------------------------------------------------------ the process itself


def _tend(line: socket.socket) -> None:
    """Bear children as they are asked for and say how they end, until nobody listens; never returns in a child."""
    lives: dict[int, int] = {}
    with selectors.EpollSelector() as watch:
        watch.register(line, selectors.EVENT_READ)
        while True:
            for key, _ in watch.select():
                if key.data is not None:
                    pid = key.data
                    watch.unregister(key.fd)
                    os.close(key.fd)
                    del lives[pid]
                    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                    _say(line, {"ended": pid, "code": code})
                    continue
                data, streams, _, _ = socket.recv_fds(line, _LONGEST, _STREAMS)
                if not data:
                    _end(lives)
                    return
                pid = os.fork()
                if pid == 0:
                    _live(json.loads(data), streams, [line.fileno(), watch.fileno(), *lives.values()])
                for stream in streams:
                    os.close(stream)
                lives[pid] = pidfd = os.pidfd_open(pid)
                watch.register(pidfd, selectors.EVENT_READ, pid)
                _say(line, {"born": pid})


def _say(line: socket.socket, what: Mapping[str, int]) -> None:
    with contextlib.suppress(OSError):
        line.send(json.dumps(what).encode())


def _end(lives: Mapping[int, int]) -> None:
    """Kill whoever still lives."""
    for pid in lives:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _live(wish: Mapping[str, Any], streams: Sequence[int], others: Sequence[int]) -> NoReturn:
    """Be the child: `python -m MODULE ARGUMENTS` with these streams, and nothing of the nursery's but its modules."""
    code = 1
    try:
        for number, stream in enumerate(streams, start=1):
            os.dup2(stream, number)
        for descriptor in (*streams, *others):
            os.close(descriptor)
        sys.argv = [wish["module"], *wish["arguments"]]
        runpy.run_module(wish["module"], run_name="__main__", alter_sys=False)
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:  # noqa: BLE001  the interpreter would print it and exit with 1
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Load what the roles load, then bear children."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is for whoever asked for the children; it ends them in its order
    with socket.socket(fileno=int(sys.argv[1])) as line:
        for name in sys.argv[2:]:
            importlib.import_module(name)
        gc.collect()
        gc.freeze()  # children share these pages as long as no collector writes into them
        _tend(line)


if __name__ == "__main__":
    main()
