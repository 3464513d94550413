"""What the bench's own processes have in common: files enough, a ready line, questions over a socket, an end by signal."""

import asyncio
import json
import os
import resource
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from keymote.errors import Unavailable
from keymote.transports.control import ControlServer

SPARE_FILES: Final = 64

Handler = Callable[[Mapping[str, Any]], Awaitable[object]]


def allow_files(wanted: int) -> None:
    """Let this process open that many files and sockets; Unavailable when its hard limit forbids it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise Unavailable(f"{needed} open files are not allowed, {hard} are", do="raise `ulimit -Hn`")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def resident_kib(pid: int) -> int:
    """Return the KiB of memory that a process holds now (VmRSS)."""
    status = Path("/proc", str(pid), "status").read_text(encoding="ascii", errors="replace")
    return int(status.partition("VmRSS:")[2].split()[0])


def processor_s(pid: int) -> float:
    """Return the seconds of processor time that a process has used so far, its own and the system's for it."""
    fields = Path("/proc", str(pid), "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def serve(path: Path, handlers: Mapping[str, Handler]) -> None:
    """Say that we are ready, and answer questions at `path` until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    control = await ControlServer.open(path, handlers)
    try:
        print(json.dumps({"ready": True, "pid": os.getpid(), "address": str(path)}), flush=True)  # noqa: T201
        await stopped.wait()
    finally:
        await control.close()
