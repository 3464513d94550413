"""What clients of the laboratory's hospital hold of their topics: the product's chains, in memory."""

from collections.abc import Callable
from dataclasses import dataclass, field

from keymote.engine.topic.faces import KeyTaken
from keymote.engine.topic.ratchet import Receiving, Sending
from keymote.engine.topic.readings import Reading
from keymote.errors import PeerFault
from keymote.wire.topic import PUBLISH

_SENDER: slice = slice(8, 13)
"""Where a PUB names its chain: the first 4 bytes of sess, then snd."""


@dataclass(slots=True)
class Seals:
    """A publisher's chains, by topic."""

    chains: dict[str, Sending] = field(default_factory=dict)

    def take(self, taken: KeyTaken) -> None:
        self.chains[taken.topic] = Sending.begin(taken.topic, taken.grant)

    def seal(self, topic: str, text: bytes) -> bytes | None:
        """Return the PUB of a reading; None without a key."""
        chain = self.chains.get(topic)
        if chain is None:
            return None
        self.chains[topic], data = chain.protect(text)
        return data


@dataclass(slots=True)
class Opens:
    """A subscriber's chains, by topic and sender; `ask` is called once for each sender that it meets without a key."""

    ask: Callable[[str], None]
    chains: dict[tuple[str, bytes], Receiving] = field(default_factory=dict)
    epoch_of: dict[tuple[str, bytes], int] = field(default_factory=dict)

    def take(self, taken: KeyTaken) -> None:
        assert taken.role != PUBLISH
        for snd, _ in taken.publishers:
            slot = taken.topic, taken.grant.sess[:4] + bytes((snd,))
            if slot not in self.chains:
                self.chains[slot] = Receiving.begin(taken.topic, taken.grant, snd)
                self.epoch_of[slot] = taken.grant.epoch

    def open(self, topic: str, data: bytes) -> Reading | None:
        """Return the reading in a PUB; None where its key is still to come. PeerFault for what must be dropped."""
        slot = topic, data[_SENDER]
        chain = self.chains.get(slot)
        if chain is None:
            self.ask(topic)
            return None
        self.chains[slot], opened = chain.unprotect(data)
        if isinstance(opened, PeerFault):
            raise opened
        return Reading(topic, opened.plaintext, opened.n, slot[1][-1], self.epoch_of[slot])
