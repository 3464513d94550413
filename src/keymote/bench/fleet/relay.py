"""The bad network, a process of its own: every datagram of the fleet passes here, and some do not, or twice, or late.

Each node has a door at the relay. What a node sends to another one's door leaves by the sender's own door, so that both
ends see one lasting address of the other and neither sees that somebody stands between them.

    python -m keymote.bench.fleet.relay PLAN.json
"""

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

from keymote.bench.fleet.plan import Place, RelayPlan, read_relay_plan
from keymote.bench.fleet.role import allow_files, serve
from keymote.errors import Unavailable

LONGEST_HOLD_S: Final = 0.2
"""How long a datagram that is reordered, or a second copy, is held back at most."""
RECEIVE_BUFFER: Final = 1 << 20
_UNIT: Final = 1 << 32


class Fate(NamedTuple):
    """What happens to one datagram. Seconds after which it leaves (0: at once), and after which its copy does (None: no copy)."""

    dropped: bool
    held_s: float
    copy_s: float | None


@dataclass(frozen=True, slots=True)
class Faults:
    """The fate of every datagram: of the n-th from one node to another it depends on nothing but the seed."""

    seed: int
    part: float

    def fate(self, source: int, target: int, count: int) -> Fate:
        """Return the fate of datagram `count` from node `source` to node `target`."""
        name = f"{self.seed} {source} {target} {count}".encode()
        digest = blake2b(name, digest_size=20).digest()
        drop, hold, copy, hold_s, copy_s = (
            int.from_bytes(digest[start : start + 4], "big") / _UNIT for start in range(0, 20, 4)
        )
        return Fate(
            drop < self.part,
            hold_s * LONGEST_HOLD_S if hold < self.part else 0.0,
            copy_s * LONGEST_HOLD_S if copy < self.part else None,
        )


@dataclass(slots=True)
class _Flow:
    """One direction between two nodes: datagrams taken in, and the number of the newest that left."""

    taken: int = 0
    newest: int = -1


class Relay:
    """Doors for all nodes in the running event loop. `counts`: what became of the datagrams."""

    def __init__(self, faults: Faults, port: int) -> None:
        self.counts: Final[Counter[str]] = Counter()
        self._faults = faults
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._flows: dict[tuple[int, int], _Flow] = {}
        self._doors: dict[int, asyncio.DatagramTransport] = {}
        self._homes: dict[int, tuple[str, int]] = {}
        self._numbers: dict[tuple[str, int], int] = {}

    async def open(self, nodes: int) -> None:
        """Open the doors of nodes 1 to `nodes`; Unavailable when an address is taken."""
        for number in range(1, nodes + 1):
            door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
                door.bind((Place(number, self._port).door, self._port))
                door.setblocking(False)
            except OSError as error:
                door.close()
                raise Unavailable(
                    f"no door for node {number}: {error.strerror}", do="this bench needs Linux"
                ) from error
            transport, _ = await self._loop.create_datagram_endpoint(partial(_Door, self, number), sock=door)
            self._doors[number] = transport
            self._homes[number] = (Place(number, self._port).home, self._port)
            self._numbers[self._homes[number]] = number

    def close(self) -> None:
        for door in self._doors.values():
            door.close()

    def heard(self, target: int, data: bytes, home: tuple[str, int]) -> None:
        """Take in what came from the socket address `home` for node `target`."""
        source = self._numbers.get(home)
        if source is None:
            self.counts["strangers"] += 1
            return
        flow = self._flows.setdefault((source, target), _Flow())
        count, flow.taken = flow.taken, flow.taken + 1
        fate = self._faults.fate(source, target, count)
        self.counts["taken"] += 1
        if fate.dropped:
            self.counts["dropped"] += 1
            return
        if fate.copy_s is not None:
            self.counts["duplicated"] += 1
            self._loop.call_later(fate.copy_s, self._pass_on, source, target, data)
        if fate.held_s:
            self.counts["held"] += 1
            self._loop.call_later(fate.held_s, self._leave, flow, count, source, target, data)
        else:
            self._leave(flow, count, source, target, data)

    def _leave(self, flow: _Flow, count: int, source: int, target: int, data: bytes) -> None:
        if count < flow.newest:
            self.counts["reordered"] += 1
        flow.newest = max(flow.newest, count)
        self._pass_on(source, target, data)

    def _pass_on(self, source: int, target: int, data: bytes) -> None:
        door = self._doors[source]
        if not door.is_closing():
            self.counts["passed_on"] += 1
            door.sendto(data, self._homes[target])


class _Door(asyncio.DatagramProtocol):
    def __init__(self, relay: Relay, number: int) -> None:
        self._relay = relay
        self._number = number

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._relay.heard(self._number, data, addr)

    def error_received(self, exc: Exception) -> None:
        """Nobody is at home: as in any network, the datagram is lost."""


async def run(plan: RelayPlan) -> None:
    """Relay until SIGTERM or SIGINT; `counts` may be asked for."""
    allow_files(plan.nodes)
    relay = Relay(Faults(plan.seed, plan.loss), plan.port)
    await relay.open(plan.nodes)

    async def counts(_request: Mapping[str, Any]) -> object:
        return dict(relay.counts)

    try:
        await serve(Path(plan.socket), {"counts": counts})
    finally:
        relay.close()


if __name__ == "__main__":
    asyncio.run(run(read_relay_plan(Path(sys.argv[1]))))
