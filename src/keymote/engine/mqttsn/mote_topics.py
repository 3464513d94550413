"""Numbers for topics as a mote knows them: the gateway gives them (MQTT-SN 1.2, 6.5), and may forget them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from keymote.engine.base import replace
from keymote.engine.mqttsn.topics import has_wildcard
from keymote.wire.mqttsn_fields import Predefined, ShortTopic, Topic, TopicId, TopicName

_SHORT: Final = 2


@dataclass(frozen=True, slots=True)
class KnownTopics:
    """What the gateway has told of numbers in this session; predefined ones are not among them."""

    numbers: Mapping[str, int] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)

    def told(self, name: str, number: int) -> "KnownTopics":
        return replace(self, numbers={**self.numbers, name: number}, names={**self.names, number: name})

    def disowned(self, name: str) -> "KnownTopics":
        """Return what is known once the gateway takes nothing under the number of `name`; it may still send under it."""
        return replace(self, numbers={known: number for known, number in self.numbers.items() if known != name})

    def way_to(self, name: str) -> Topic | None:
        """Return how to name a topic or filter in PUBLISH and SUBSCRIBE; None when it has no number yet."""
        if len(name.encode()) == _SHORT and not has_wildcard(name):
            return ShortTopic(name)
        number = self.numbers.get(name)
        return None if number is None else TopicId(number)

    def name_of(self, topic: Topic, predefined: Mapping[int, str]) -> str | None:
        """Return the name that the gateway means; None for a number that nobody has told."""
        match topic:
            case Predefined(number):
                return predefined.get(number)
            case TopicId(number):
                return self.names.get(number)
            case ShortTopic(name) | TopicName(name):
                return name


def number_of(topic: Topic) -> int:
    """Return the 16 bits by which PUBACK names the topic of a PUBLISH."""
    match topic:
        case Predefined(number) | TopicId(number):
            return number
        case ShortTopic(name):
            return int.from_bytes(name.encode(), "big")
        case TopicName():
            return 0
