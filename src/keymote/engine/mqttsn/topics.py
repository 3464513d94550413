"""Numbers for topics: what one client and the gateway call them (MQTT-SN 1.2, 6.5 and 6.7)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from keymote.engine.base import replace
from keymote.wire.mqttsn_fields import MOST, Predefined, ShortTopic, Topic, TopicId, TopicName

MOST_NAME: Final = 255
"""Bytes of a topic or filter (decision 0182)."""
_SHORT: Final = 2


@dataclass(frozen=True, slots=True)
class Topics:
    """The topic ids of one client. `told` are those that it knows; the others must be told by REGISTER first."""

    numbers: Mapping[str, int] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    told: frozenset[int] = frozenset()
    predefined: frozenset[str] = frozenset()
    """Names under which it subscribed to a predefined number."""

    def with_name(self, name: str, most: int) -> "Topics":
        """Return the table with a number for `name`; unchanged when there is no room for one."""
        if name in self.numbers or len(self.numbers) >= most:
            return self
        number = len(self.numbers) + 1
        return replace(self, numbers={**self.numbers, name: number}, names={**self.names, number: name})

    def telling(self, number: int) -> "Topics":
        """Return the table in which the client knows `number`."""
        return replace(self, told=self.told | {number})

    def untelling(self, number: int) -> "Topics":
        return replace(self, told=self.told - {number})

    def taking_predefined(self, name: str) -> "Topics":
        return replace(self, predefined=self.predefined | {name})


def name_of(topic: Topic, topics: Topics, predefined: Mapping[int, str]) -> str | None:
    """Return the name that a client means; None for a number that was not given, or a name that MQTT does not have."""
    match topic:
        case TopicId(number):
            return topics.names.get(number)
        case Predefined(number):
            return predefined.get(number)
        case ShortTopic(name) | TopicName(name):
            return name if is_filter(name) else None


def way_to(name: str, topics: Topics, predefined: Mapping[int, str]) -> Topic | None:
    """Return how the client is told of topic `name` in PUBLISH; None when it has no number yet."""
    if name in topics.predefined:
        for number, known in predefined.items():
            if known == name:
                return Predefined(number)
    if len(name.encode()) == _SHORT:
        return ShortTopic(name)
    number = topics.numbers.get(name, 0)
    return TopicId(number) if 0 < number < MOST else None


def has_wildcard(name: str) -> bool:
    return "+" in name or "#" in name


def is_filter(name: str) -> bool:
    """Say whether MQTT takes `name` as a topic filter (MQTT 3.1.1, 4.7.1)."""
    if not 0 < len(name.encode()) <= MOST_NAME:
        return False
    levels = name.split("/")
    last = len(levels) - 1
    return all(
        not has_wildcard(level) or level == "+" or (level == "#" and place == last)
        for place, level in enumerate(levels)
    )


def covers(pattern: str, name: str) -> bool:
    """Say whether topic `name` matches the filter `pattern` (MQTT 3.1.1, 4.7)."""
    wanted, levels = pattern.split("/"), name.split("/")
    if name.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for place, want in enumerate(wanted):
        if want == "#":
            return True
        if place >= len(levels) or want not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)
