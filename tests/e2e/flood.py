"""Junk JOINs at a thousand a second: well-formed, for devices that nobody expects, each answering the real HELLO."""

import random
import socket
import threading
import time
from pathlib import Path

from keymote.transports.coap.endpoint import address_of
from keymote.transports.coap.message import OCTETS, CoapMessage, Code, Kind, Option, uint
from keymote.wire.enrolment import Hello, Join
from keymote.wire.fields import sizes_of

PER_S = 1000
_BURST = 10


class Flood:
    """Runs while its context lasts; `sent` counts."""

    def __init__(self, manager: str) -> None:
        self.sent = 0
        self._address = address_of(manager)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(5)
        self._random = random.Random(b"flood")
        ask = CoapMessage(Kind.CON, Code.GET, 0, b"", ((Option.URI_PATH, b"k"),))
        self._socket.sendto(ask.encode(), self._address)
        answer = CoapMessage.decode(self._socket.recv(2048))
        self._hello = Hello.decode(answer.payload, sizes_of(1)).hello_n[:8]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Flood":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        began = time.monotonic()
        self._socket.setblocking(False)
        while not self._stopping.wait(max(0.0, began + self.sent / PER_S - time.monotonic())):
            for _ in range(_BURST):
                self._socket.sendto(self._junk(), self._address)
                self.sent += 1
            try:
                while True:
                    self._socket.recv(2048)
            except BlockingIOError:
                pass

    def _junk(self) -> bytes:
        join = Join(1, self._random.randbytes(8), self._hello, self._random.randbytes(32))
        options = ((Option.URI_PATH, b"k"), (Option.CONTENT_FORMAT, uint(OCTETS)))
        return CoapMessage(Kind.CON, Code.POST, self.sent & 0xFFFF, b"", options, join.encode()).encode()


def memory_kib(pid: int) -> int:
    """Return what a process holds in memory of its own."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise AssertionError(f"no process {pid}")
