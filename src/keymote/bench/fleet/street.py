"""One operator's devices in one process, each with the product's own SDK, socket and store.

python -m keymote.bench.fleet.street PLAN.json
"""

import asyncio
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import keymote.device.app.launch  # noqa: F401  loaded before the first device opens: its memory is no device's
from keymote.bench.fleet.plan import Place, StreetPlan, device_number, labels_in, manager_number, read_street_plan
from keymote.bench.fleet.role import Handler, allow_files, resident_kib, serve
from keymote.device import Device
from keymote.device.config import DeviceConfig
from keymote.engine.base import CellKey, Report
from keymote.engine.faces import EnrolmentFailed
from keymote.errors import KeymoteError, PeerFault
from keymote.host.hardening import harden
from keymote.host.logs import configure
from keymote.manager.labels import Label
from keymote.storage.private_files import write_private

FILES_PER_DEVICE: Final = 4
"""Socket, lock of the store, and the file that is being written."""
PATIENCE_S: Final = 60.0
"""How long one wait for an enrolment or a session is, before the application looks again."""
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 4.0

logger = logging.getLogger(__name__)


class Street:
    """The devices of one operator and what they have done. Everything is counted; what failed is tried again."""

    def __init__(self, plan: StreetPlan, labels: Sequence[Label]) -> None:
        self._plan = plan
        self._dice = Random(f"street {plan.seed} {plan.operator}")  # noqa: S311  pauses, no secret
        self._slots = asyncio.Semaphore(plan.at_once)
        self._work: set[asyncio.Task[None]] = set()
        self._devices = [Device(self._config(index, label)) for index, label in enumerate(labels)]
        self._enrol_ms: list[float] = []
        self._open_ms: list[float] = []
        self._opened: list[tuple[str, str]] = []
        self._failures: Counter[str] = Counter()

    def _config(self, index: int, label: Label) -> DeviceConfig:
        plan = self._plan
        place = Place(device_number(plan.operator, index), plan.port)
        folder = Path(plan.folder, label.dev_id.hex())
        folder.mkdir(mode=0o700, parents=True)
        write_private(folder / "code", label.code.printed().encode() + b"\n")
        return DeviceConfig(
            id=label.dev_id,
            state=folder / "state",
            root=Path(plan.root),
            key_uri=f"file:{folder / 'state' / 'kek'}",
            suite=label.suite,
            code_file=folder / "code",
            listen=(place.home, plan.port),
            manager=Place(manager_number(plan.operator), plan.port).address,
        )

    async def close(self) -> None:
        """Stop what is under way, and every device."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        await asyncio.gather(*(device.close() for device in self._devices), return_exceptions=True)

    def handlers(self) -> Mapping[str, Handler]:
        """Return what the bench may ask."""
        return {"enrol": self._enrol, "open": self._open, "status": self._status, "sessions": self._sessions}

    # ------------------------------------------------------------------ what the bench asks

    async def _enrol(self, _request: Mapping[str, Any]) -> object:
        """Begin to enrol every device."""
        self._begin(partial(self._enrol_one, device) for device in self._devices)
        return None

    async def _open(self, request: Mapping[str, Any]) -> object:
        """Begin to open sessions. `rows`: [index of a device here, dev_id of its peer, the peer's address or ""] each."""
        self._begin(
            partial(self._open_one, self._devices[index], str(peer), str(at)) for index, peer, at in request["rows"]
        )
        return None

    async def _status(self, _request: Mapping[str, Any]) -> object:
        return {
            "enrolled": len(self._enrol_ms),
            "opened": len(self._opened),
            "failures": dict(self._failures),
            "resident_kib": resident_kib(os.getpid()),
        }

    async def _sessions(self, _request: Mapping[str, Any]) -> object:
        """`opened`: [psid, key_id] of what began here; `held`: the same of every end that is open here now."""
        held = [(session.psid.hex(), session.key_id) for device in self._devices for session in device.sessions()]
        return {"enrol_ms": self._enrol_ms, "open_ms": self._open_ms, "opened": self._opened, "held": held}

    # ------------------------------------------------------------------ what an application does

    def _begin(self, jobs: Iterable[Callable[[], Awaitable[None]]]) -> None:
        for job in jobs:
            task = asyncio.get_running_loop().create_task(self._in_turn(job))
            self._work.add(task)
            task.add_done_callback(self._ended)

    async def _in_turn(self, job: Callable[[], Awaitable[None]]) -> None:
        async with self._slots:
            await job()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._work.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a device of the street failed", exc_info=task.exception())
            self._failures["bug"] += 1

    async def _enrol_one(self, device: Device) -> None:
        """Start a device and wait until it is a member; it searches and tries again by itself."""
        began = time.monotonic()
        await device.start()
        device.node.observer = self._observed
        while True:
            try:
                await device.enrolled(PATIENCE_S)
            except KeymoteError as error:
                self._failed("enrolment", error)
            else:
                self._enrol_ms.append((time.monotonic() - began) * 1000)
                return

    def _observed(self, _key: CellKey, report: Report) -> None:
        if isinstance(report, EnrolmentFailed):
            self._failures[f"enrolment {report.code.name}"] += 1

    async def _open_one(self, device: Device, peer: str, at: str) -> None:
        """Pair, and again after a growing pause when the network gave up."""
        began, pause = time.monotonic(), FIRST_PAUSE_S
        while True:
            try:
                session = await device.pair(peer, at=at, timeout_s=PATIENCE_S)
            except KeymoteError as error:
                self._failed("session", error)
                await asyncio.sleep(pause * self._dice.uniform(0.5, 1.0))
                pause = min(2 * pause, LONGEST_PAUSE_S)
            else:
                self._open_ms.append((time.monotonic() - began) * 1000)
                self._opened.append((session.psid.hex(), session.key_id))
                return

    def _failed(self, what: str, error: KeymoteError) -> None:
        name = error.code.name if isinstance(error, PeerFault) else type(error).__name__
        self._failures[f"{what} {name}"] += 1
        logger.info("tried again", extra={"what": what, "because": str(error)})


async def run(plan: StreetPlan) -> None:
    """Host the street until SIGTERM or SIGINT."""
    labels = labels_in(Path(plan.labels))
    allow_files(FILES_PER_DEVICE * len(labels))
    async with AsyncExitStack() as stack:
        street = Street(plan, labels)
        stack.push_async_callback(street.close)
        await serve(Path(plan.socket), street.handlers())


if __name__ == "__main__":
    harden()
    configure("info")
    asyncio.run(run(read_street_plan(Path(sys.argv[1]))))
