"""What lies between simulated nodes: a radio that loses, repeats, delays and reorders, all by seeded dice."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from keymote.crypto.entropy import Entropy
from keymote.engine.base import Peer


@dataclass(frozen=True, slots=True)
class Channel:
    """How datagrams fare from one node to another; probabilities from 0 to 1, times in seconds.

    Each copy takes `latency_s` and up to `jitter_s` more, so jitter above the gap between two datagrams reorders them.
    On a `reliable` channel a datagram that was sent with a `ref` and got lost comes back to its sender as `Failed`.
    """

    latency_s: float = 0.005
    jitter_s: float = 0.0
    loss: float = 0.0
    duplication: float = 0.0
    reliable: bool = False


@dataclass(frozen=True, slots=True)
class Datagram:
    """Bytes as they left at virtual time `at`; the source is what the sender claims, which an adversary may forge."""

    at: float
    source: Peer
    target: Peer
    data: bytes


Adversary = Callable[[Datagram], Iterable[Datagram]]
"""Sees every datagram on the air and says what travels on instead: `[it]` lets it pass, `[]` drops it."""


def passive(datagram: Datagram) -> Iterable[Datagram]:
    """Let everything pass: the adversary who only listens."""
    return (datagram,)


class Dice:
    """Uniform choices from one stream of entropy."""

    __slots__ = ("_entropy",)

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy

    def uniform(self) -> float:
        """Return a number of [0, 1) with 53 random bits."""
        return (int.from_bytes(self._entropy.draw(7), "big") >> 3) / (1 << 53)

    def arrivals(self, channel: Channel) -> Iterator[float]:
        """Yield the delay of each copy that arrives: usually one, none when lost, two when repeated."""
        copies = 1
        if channel.loss and self.uniform() < channel.loss:
            copies = 0
        elif channel.duplication and self.uniform() < channel.duplication:
            copies = 2
        for _ in range(copies):
            yield channel.latency_s + (channel.jitter_s * self.uniform() if channel.jitter_s else 0.0)
