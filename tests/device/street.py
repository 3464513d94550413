"""A manager on a real socket in the test's own event loop, and devices as applications open them."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from keymote.crypto.entropy import SeededEntropy, SystemEntropy
from keymote.device import Device
from keymote.device.config import DeviceConfig
from keymote.engine.base import CellKey, Command, Now, Report
from keymote.engine.context import RegistrarContext
from keymote.engine.faces import GATE, ExpectAgain, ExpectDevice, OpenDoor, enrolment_of
from keymote.engine.label import new_code
from keymote.engine.node import registrar_node
from keymote.engine.queries import Receipt, RegisterCredential
from keymote.errors import ErrorCode, PeerFault
from keymote.host.async_host import AsyncHost
from keymote.host.driver import Driver
from keymote.lab.simulator.host import EPOCH
from keymote.storage.memory import MemoryStore
from keymote.transports.coap.endpoint import CoapEndpoint, address_of, peer_of
from keymote.transports.coap.message import CoapMessage
from keymote.transports.coap.requests import Timing
from keymote.wire import admin, admin_files

DEADLINE_S = 30.0
R = TypeVar("R", bound=Report)


class LabClock:
    """Runs as this machine does; its wall clock is the one under which the lab's credentials are valid."""

    @staticmethod
    def now() -> Now:
        return Now(time.monotonic(), EPOCH + int(time.monotonic()))


def answer(_key: CellKey, query: object, respond: Callable[[object], None]) -> None:
    """Register everything, know nobody else."""
    known = isinstance(query, RegisterCredential)
    respond(Receipt() if known else PeerFault(ErrorCode.E_UNKNOWN_ID, "nobody knows it"))


class Street:
    """One manager and its devices."""

    def __init__(self, folder: Path, context: RegistrarContext) -> None:
        self.folder = folder
        self.context = context
        self.reports: list[Report] = []
        self.news = asyncio.Event()
        self.entropy = SeededEntropy(b"street")
        self.stack = AsyncExitStack()

    async def start(self) -> "Street":
        held: list[Driver] = []
        self.endpoint = await CoapEndpoint.open(
            ("127.0.0.1", 0),
            lambda peer, data, settled=None: held[0].receive(peer, data, settled),
            timing=Timing(ack_timeout_s=0.2),
        )
        self.stack.callback(self.endpoint.close)
        clock = LabClock()
        driver = Driver(
            registrar_node(self.context), MemoryStore(), self.endpoint, clock, SystemEntropy(), answer,
            lambda _key, report: self.heard(report),
        )  # fmt: skip
        held.append(driver)
        self.host = AsyncHost(driver, clock)
        self.stack.push_async_callback(self.host.close)
        self.host.start()
        await self.host.command(GATE, OpenDoor())
        self._pin()
        return self

    def _pin(self) -> None:
        """Write the file by which devices know the authority."""
        pin = self.context.trust.pins[0]
        root = admin_files.RootPin(pin.suite, pin.id.hex(), admin.to_base64url(pin.sig_pk))
        (self.folder / "root.pin").write_bytes(admin_files.write_file(root))

    def heard(self, report: Report) -> None:
        self.reports.append(report)
        self.news.set()

    async def told(self, kind: type[R], holds: Callable[[R], bool], since: int = 0) -> R:
        """Return the first report of this kind at the manager, from number `since` on, for which `holds`."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                self.news.clear()
                for report in self.reports[since:]:
                    if isinstance(report, kind) and holds(report):
                        return report
                await self.news.wait()

    async def order(self, dev_id: str, command: Command) -> None:
        await self.host.command(enrolment_of(bytes.fromhex(dev_id)), command)

    async def label(self, number: int, *, again: bool = False, **more: object) -> DeviceConfig:
        """Make a label that the manager expects, and the configuration of the device that gets it."""
        dev_id, code = number.to_bytes(8, "big"), new_code(self.entropy)
        expect = (ExpectAgain if again else ExpectDevice)(dev_id, code.prs())
        await self.host.command(enrolment_of(dev_id), expect)
        code_file = self.folder / f"{number}.code"
        code_file.touch(0o600)
        code_file.write_text(code.printed())
        config = DeviceConfig(
            id=dev_id,
            state=self.folder / f"{number}.state",
            root=self.folder / "root.pin",
            key_uri=f"file:{self.folder / f'{number}.kek'}",
            code_file=code_file,
            manager=self.endpoint.address,
        )
        return replace(config, **more)

    async def device(self, number: int) -> Device:
        device = Device.open(await self.label(number))
        await self.stack.enter_async_context(device)
        await device.enrolled(DEADLINE_S)
        return device


class Router(asyncio.DatagramProtocol):
    """A translating router: lets a device's requests and their responses through, and no request to the device."""

    def __init__(self, manager: tuple[str, int]) -> None:
        self.manager = manager
        self.inside: tuple[str, int] | None = None
        self.held_back = 0

    @classmethod
    async def between(cls, manager: str) -> "Router":
        loop = asyncio.get_running_loop()
        self = cls(address_of(manager))
        self.outer, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self

    @property
    def address(self) -> str:
        return peer_of(self.outer.get_extra_info("sockname"))

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if addr != self.manager:
            self.inside = addr
            self.outer.sendto(data, self.manager)
        elif CoapMessage.decode(data).is_request:
            self.held_back += 1
        elif self.inside is not None:
            self.outer.sendto(data, self.inside)

    def close(self) -> None:
        self.outer.close()
