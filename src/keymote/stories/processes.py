"""Roles as operating-system processes: start a command of `keymote`, wait until it is ready, stop it at the end."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from keymote.errors import Unavailable
from keymote.stories.nursery import Child, Nursery

READY_S: Final = 45.0
COMMAND_S: Final = 45.0
STOP_S: Final = 5.0
_TAIL: Final = 2000
_PORTS: Final = range(10_000, 32_000)
"""Below those that a system hands out by itself, so that no outgoing connection gets one before the role is there."""
_given: set[int] = set()
_T = TypeVar("_T")


@dataclass(slots=True)
class Role:
    """One running role. `address` is where its peers reach it."""

    name: str
    pid: int
    address: str
    ready: dict[str, Any]
    process: asyncio.subprocess.Process | Child = field(repr=False)
    log: Path = field(repr=False)

    def facts(self) -> dict[str, object]:
        """Return what the demo's facts say of a role."""
        return {"role": self.name, "pid": self.pid, "address": self.address}


class Cast:
    """All roles of a story; leaving the context stops what it started and nothing else.

    With a `nursery` they are born there, else each is a program of its own from the start.
    """

    def __init__(self, folder: Path, nursery: Nursery | None = None) -> None:
        self.folder = folder
        self.roles: list[Role] = []
        self._nursery = nursery

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*map(stop, self.roles))

    async def start(self, name: str, *arguments: str, address: str, module: str = "keymote.cli") -> Role:
        """Start `keymote ARGUMENTS`, or another module's program, and wait for its JSON line; `address` names the key of
        that line to show.

        Raises:
            Unavailable: the process ended or said nothing; carries the end of its log.
        """
        log = self.folder / f"{name}.log"
        with log.open("ab") as stderr:
            process = await self._begin(module, arguments, stderr.fileno())
        assert process.stdout is not None
        try:
            async with asyncio.timeout(READY_S):
                line = await process.stdout.readline()
            said = json.loads(line)
        except (TimeoutError, ValueError) as error:
            await kill(process)
            raise Unavailable(f"{name} did not become ready: {_tail(log)}") from error
        except BaseException:  # interrupted: nobody else knows of this process yet
            await kill(process)
            raise
        role = Role(name, process.pid, str(said[address]), said, process, log)
        self.roles.append(role)
        return role

    async def run(self, *arguments: str) -> dict[str, Any]:
        """Run a command of `keymote` to its end and return its `-o json` object; Unavailable when it fails."""
        with tempfile.TemporaryFile() as stderr:
            process = await self._begin("keymote.cli", (*arguments, "-o", "json"), stderr.fileno())
            try:
                async with asyncio.timeout(COMMAND_S):
                    out, _ = await process.communicate()
            except TimeoutError as error:
                await kill(process)
                raise Unavailable(f"keymote {arguments[0]} {arguments[1]} did not end in {COMMAND_S:g} s") from error
            except BaseException:
                await kill(process)
                raise
            if process.returncode:
                stderr.seek(0)
                why = stderr.read().decode(errors="replace").strip()[-_TAIL:]
                raise Unavailable(f"keymote {' '.join(arguments[:3])}: {why}")
        result: dict[str, Any] = json.loads(out or b"{}")
        return result

    async def _begin(self, module: str, arguments: Sequence[str], stderr: int) -> asyncio.subprocess.Process | Child:
        if self._nursery is not None:
            return await self._nursery.bear(module, arguments, stderr)
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env=own_environment(),
        )


async def stop(role: Role) -> None:
    """End a role kindly, then firmly, and let go of its pipe."""
    if role.process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            role.process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await role.process.communicate()
    except TimeoutError:
        await kill(role.process)


async def together(*work: Coroutine[Any, Any, _T]) -> list[_T]:
    """Do all of this at once and return what came of each; when one fails or we are interrupted, the others are stopped."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def kill(process: asyncio.subprocess.Process | Child) -> None:
    """End a process without asking, and wait until it has ended."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.communicate()  # which also lets go of its pipe


def own_environment() -> dict[str, str]:
    """Return an environment in which no setting of the person who runs the demo changes a role."""
    return {name: value for name, value in os.environ.items() if not name.startswith("KEYMOTE_")}


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-_TAIL:].strip() or "it said nothing"


def free_port() -> int:
    """Return a port of 127.0.0.1 for a role whose address others must know before it starts.

    Nobody uses it now, by TCP or UDP, and no call of this process returned it before.
    """
    while True:
        port = secrets.choice(_PORTS)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket(type=socket.SOCK_STREAM) as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        try:
            stream.bind(("127.0.0.1", port))
            datagrams.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
