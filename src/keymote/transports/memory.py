"""A network inside one process: a deterministic queue of datagrams between drivers, with hooks to disturb it."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from keymote.engine.base import MULTICAST, Peer

Receive = Callable[[Peer, bytes], object]
"""`(sender, data)`: a driver's `receive`, or anything shaped like it."""


class Frame(NamedTuple):
    """One datagram on its way."""

    source: Peer
    target: Peer
    data: bytes
    failed: Callable[[], None] | None = None
    """Told when a reliable network gives this frame up."""


Disturb = Callable[[Frame], Sequence[Frame]]
"""What becomes of a frame that is about to arrive: `()` drops it, twice the frame duplicates it, another one replaces it."""

Pick = Callable[[int], int]
"""Which of the n queued frames arrives next; always 0 keeps their order."""


def _undisturbed(frame: Frame) -> Sequence[Frame]:
    return (frame,)


def _in_order(_queued: int) -> int:
    return 0


class MemoryNetwork:
    """Frames queue up until `deliver` or `run` brings them; `reliable` reports the frames that did not arrive."""

    def __init__(self, *, reliable: bool = True, disturb: Disturb = _undisturbed, pick: Pick = _in_order) -> None:
        self.reliable: Final = reliable
        self.disturb = disturb
        self.pick = pick
        self.frames = 0
        """Datagrams handed to the network so far."""
        self.octets = 0
        """Their length in bytes, headers of lower layers not counted."""
        self._members: dict[Peer, Receive] = {}
        self._queue: deque[Frame] = deque()

    def attach(self, address: Peer, receive: Receive) -> "MemoryLink":
        """Let `receive` hear what is sent to `address`, in place of who heard it before; return the link to send from."""
        self._members[address] = receive
        return MemoryLink(self, address)

    def detach(self, address: Peer) -> None:
        """Let nobody hear what is sent to `address`, as when a node is down."""
        self._members.pop(address, None)

    def put(self, frame: Frame) -> None:
        """Queue a frame; the multicast address stands for everybody but the sender."""
        self.frames += 1
        self.octets += len(frame.data)
        if frame.target == MULTICAST:
            self._queue.extend(
                Frame(frame.source, member, frame.data) for member in self._members if member != frame.source
            )
        else:
            self._queue.append(frame)

    def __len__(self) -> int:
        return len(self._queue)

    def deliver(self) -> bool:
        """Bring one frame to its end; False when none is queued."""
        if not self._queue:
            return False
        frame = self._queue.popleft() if self.pick is _in_order else self._take(self.pick(len(self._queue)))
        arriving = (frame,) if self.disturb is _undisturbed else self.disturb(frame)
        heard = False
        for each in arriving:
            receive = self._members.get(each.target)
            if receive is not None:
                heard = True
                receive(each.source, each.data)
        if self.reliable and not heard and frame.failed is not None:
            frame.failed()
        return True

    def _take(self, index: int) -> Frame:
        self._queue.rotate(-index)
        frame = self._queue.popleft()
        self._queue.rotate(index)
        return frame

    def run(self, limit: int = 10_000) -> int:
        """Deliver until the network is silent; return how many frames that took.

        Raises:
            RuntimeError: `limit` frames were delivered and more are queued: the nodes talk in circles.
        """
        for delivered in range(limit):
            if not self.deliver():
                return delivered
        if self._queue:
            raise RuntimeError(f"{limit} frames delivered and {len(self._queue)} still queued")
        return limit


class MemoryLink:
    """One member's end of a `MemoryNetwork`: the `Link` of its driver."""

    def __init__(self, network: MemoryNetwork, address: Peer) -> None:
        self._network = network
        self.address: Final = address
        self.reliable = network.reliable

    def send(self, peer: Peer, data: bytes, failed: Callable[[], None] | None) -> None:
        """Queue `data` for `peer`."""
        self._network.put(Frame(self.address, peer, data, failed))
