"""Queues between agents: what is written is read, in pieces that one request takes."""

import pytest

from keymote import cbor
from keymote.errors import PeerFault
from keymote.transports.between import MOST_QUEUE, batches, read_queue, write_queue
from keymote.transports.mqtt.packets import Delivery


def messages(*sizes: int) -> list[Delivery]:
    return [Delivery(f"w/{n}", bytes(size), n % 3, n % 2 == 1, 0) for n, size in enumerate(sizes)]


def test_BA08_a_queue_goes_in_pieces_and_in_order() -> None:
    queue = messages(0, 1140, 600_000, 600_000, 300_000, 100_000, MOST_QUEUE, 7)
    pieces = list(batches(queue))
    assert [len(write_queue(piece)) <= MOST_QUEUE for piece in pieces] == [True] * len(pieces)
    assert [each for piece in pieces for each in read_queue(write_queue(piece))] == [*queue[:6], queue[7]]
    assert len(pieces) == 2
    assert list(batches([])) == []


@pytest.mark.parametrize(
    "entry", [[], ["t", b"", 3, False], ["t", "text", 1, False], [b"t", b"", 1, False], ["t", b"", 1]]
)
def test_BA05_what_is_no_message_of_a_queue_is_refused(entry: list[object]) -> None:
    with pytest.raises(PeerFault, match="E_FORMAT"):
        read_queue(cbor.encode([entry]))
