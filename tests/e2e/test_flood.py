"""A thousand junk JOINs a second at a real manager: an honest device enrols meanwhile, and the manager does not grow."""

import asyncio
import random
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from operators import DeviceRole, Operator, operators

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.suites import SUITES
from keymote.transports.coap.endpoint import CoapEndpoint
from keymote.transports.coap.message import OCTETS, CoapMessage, Code, Kind, Option
from keymote.transports.control import ControlClient
from keymote.wire.enrolment import Hello, Join
from keymote.wire.fields import sizes_of

PER_S = 1000
SOURCES = 16
AT_ONCE = 20
"""Datagrams between two looks at the clock."""
MOST_GROWTH = 5 << 20

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with operators(tmp_path_factory.mktemp("flooded"), 1) as (made,):
        made.add_devices(1)
        made.devices[0].enrolled()
        yield made


async def hello_of(manager: tuple[str, int]) -> bytes:
    """Return the HELLO that anybody gets who asks (`GET /k`)."""
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    endpoint = await CoapEndpoint.open(("127.0.0.1", 0), lambda _peer, data, _settled=None: heard.set_result(data))
    try:
        endpoint.discover(f"coap://{manager[0]}:{manager[1]}")
        async with asyncio.timeout(20):
            return await heard
    finally:
        endpoint.close()


def junk(hello: Hello, count: int, known_id: bytes) -> list[bytes]:
    """Return CoAP datagrams: JOINs to this HELLO from unknown and known devices, to other HELLOs, cut and mangled ones."""
    dice = random.Random(7)
    suite, entropy = SUITES[1], SeededEntropy(b"flood")
    points = [suite.random_point(entropy) for _ in range(16)]
    made = []
    for number in range(count):
        dev_id, hello_n8, Y_D = dice.randbytes(8), hello.hello_n[:8], dice.choice(points)
        match number % 8:
            case 0:
                hello_n8 = dice.randbytes(8)
            case 1:
                Y_D = dice.randbytes(32)
            case 2:
                dev_id = known_id  # enrolled already: its code is used
            case _:
                pass
        body = Join(1, dev_id, hello_n8, Y_D, dice.randbytes(16) if number % 8 == 4 else None).encode()
        if number % 8 == 5:
            body = body[: dice.randrange(len(body))]
        elif number % 8 == 6:
            at = dice.randrange(len(body))
            body = body[:at] + bytes([body[at] ^ dice.randrange(1, 256)]) + body[at + 1 :]
        options = ((Option.URI_PATH, b"k"), (Option.CONTENT_FORMAT, bytes([OCTETS])))
        kind = Kind.CON if number % 2 else Kind.NON
        made.append(CoapMessage(kind, Code.POST, number & 0xFFFF, dice.randbytes(4), options, body).encode())
    return made


class Flood:
    """Sends `datagrams` at `PER_S` from several ports until told to stop; the answers are nobody's business."""

    def __init__(self, target: tuple[str, int], datagrams: list[bytes]) -> None:
        self.sent = 0
        self._target = target
        self._datagrams = datagrams
        self._over = threading.Event()
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(SOURCES)]
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for each in self._sockets:
            each.close()

    def _run(self) -> None:
        began = time.monotonic()
        while not self._over.wait(max(0.0, began + self.sent / PER_S - time.monotonic())):
            for _ in range(AT_ONCE):
                datagram = self._datagrams[self.sent % len(self._datagrams)]
                self._sockets[self.sent % SOURCES].sendto(datagram, self._target)
                self.sent += 1

    def wait(self, seconds: float) -> None:
        self._over.wait(seconds)


def resident(pid: int) -> int:
    """Return the bytes of memory that a process holds now."""
    status = (Path("/proc") / str(pid) / "status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) << 10


def kept_waiting(pid: int) -> float:
    """Return the seconds for which a process could have run and other processes had the processors."""
    return int((Path("/proc") / str(pid) / "schedstat").read_text().split()[1]) / 1e9


def refused(operator: Operator) -> float:
    """Return how many inputs the manager has refused, by its own metrics."""
    with urllib.request.urlopen(f"{operator.manager.ready['status']}/metrics", timeout=20) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("keymote_refused"))


def newcomer(operator: Operator) -> DeviceRole:
    """Return a device whose code is imported, stopped before it has enrolled."""
    manager = operator.manager.ready["address"]
    operator.manager.ready["address"] = "coap://127.0.0.1:9"  # nobody there: it cannot enrol yet
    (device,) = operator.add_devices(1)
    operator.manager.ready["address"] = manager
    device.process.stop()
    device.config.write_text(device.config.read_text().replace("coap://127.0.0.1:9", manager))
    return device


def enrolment_under_flood(operator: Operator, seconds: float) -> tuple[float, float, int]:
    """Flood for `seconds`; return how long a device took to enrol meanwhile, how much of that the manager was kept from
    running by whatever else this machine does, and by how many bytes the manager grew.
    """
    host, _, port = operator.manager.address.removeprefix("coap://").rpartition(":")
    target = (host, int(port))
    device = newcomer(operator)
    hello = Hello.decode(asyncio.run(hello_of(target)), sizes_of(1))
    datagrams = junk(hello, 4 * PER_S, bytes.fromhex(operator.devices[0].id))
    assert operator.manager.process is not None
    pid = operator.manager.process.pid
    before, counted = resident(pid), refused(operator)
    began = time.monotonic()
    with Flood(target, datagrams) as flood:
        device.process.start()
        ready, waited = time.monotonic(), kept_waiting(pid)
        with ControlClient(device.config.with_suffix(".state") / "control.sock") as control:
            control.ask("enrolled", timeout_s=20)
        took = time.monotonic() - ready
        waited = kept_waiting(pid) - waited
        assert flood.sent > 0
        flood.wait(began + seconds - time.monotonic())
        elapsed = time.monotonic() - began
        grown = resident(pid) - before
    assert flood.sent > 0.8 * PER_S * elapsed, "the flood was none"
    assert refused(operator) - counted > 0.3 * flood.sent, "the manager saw little of the flood"
    print(f"\n{flood.sent} junk JOINs in {elapsed:.1f} s; the manager grew by {grown / 1024:.0f} KiB")
    print(f"enrolled after {took:.2f} s, of which the manager was kept waiting for {waited:.2f} s")
    return took, waited, grown


@pytest.mark.long
@pytest.mark.parametrize("seconds", [8.0, 30.0])
def test_DS01_an_honest_device_enrols_within_5_s_under_a_flood_of_joins(operator: Operator, seconds: float) -> None:
    took, waited, grown = enrolment_under_flood(operator, seconds)
    assert took - waited < 5.0
    assert grown < MOST_GROWTH
