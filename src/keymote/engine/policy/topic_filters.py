"""Topics and filters as MQTT 5 defines them (4.7), and which filter speaks for a topic."""

import unicodedata
from collections.abc import Iterable
from itertools import zip_longest
from typing import Final

from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.topic import MOST_TOPIC

ONE: Final = "+"
"""Stands for one level."""
REST: Final = "#"
"""Stands for all further levels, and for none."""


def check_filter(name: str) -> None:
    """Return if this is a filter that topics may be ruled by; CallerFault else."""
    if flaw := _flaw(name):
        raise CallerFault(f"topic filter {name[:MOST_TOPIC]!r} {flaw}", do="write it like ward/7/# or ward/+/alarm")
    levels = name.split("/")
    for at, level in enumerate(levels):
        if REST in level and (level != REST or at != len(levels) - 1):
            raise CallerFault(f"topic filter {name!r} has a # before its end", do="put # last, alone between slashes")
        if ONE in level and level != ONE:
            raise CallerFault(f"topic filter {name!r} has a + inside a level", do="put + alone between slashes")


def check_topic(name: str) -> None:
    """Return if this is a concrete topic; PeerFault E_FORMAT else, for it comes from the network."""
    flaw = _flaw(name) or ("has a wildcard: keys are asked for topic by topic" if is_wild(name) else "")
    if flaw:
        raise PeerFault(ErrorCode.E_FORMAT, f"topic {name[:MOST_TOPIC]!r} {flaw}")


def is_wild(name: str) -> bool:
    """Tell whether a name has a wildcard, and so can stand for several topics."""
    return ONE in name or REST in name


def matches(pattern: str, topic: str) -> bool:
    """Tell whether a good filter stands for a good topic."""
    wanted, levels = pattern.split("/"), topic.split("/")
    if wanted[-1] == REST:
        del wanted[-1], levels[len(wanted) :]
    return len(wanted) == len(levels) and all(one in (ONE, other) for one, other in zip(wanted, levels, strict=True))


def overlap(one: str, other: str) -> bool:
    """Tell whether there is a topic that both of these good filters stand for."""
    for left, right in zip_longest(one.split("/"), other.split("/")):
        if REST in (left, right):
            return True
        if left is None or right is None or (left != right and ONE not in (left, right)):
            return False
    return True


def most_specific(filters: Iterable[str], topic: str) -> str | None:
    """Return the filter that rules a topic, None where none does.

    From the left, at the first level where two of them differ, a name comes before `+` and `+` before `#`: of all that
    stand for one topic exactly one is first.
    """
    return min((each for each in filters if matches(each, topic)), key=_breadth, default=None)


def _breadth(pattern: str) -> tuple[int, ...]:
    return tuple((ONE, REST).index(level) + 1 if level in (ONE, REST) else 0 for level in pattern.split("/"))


def _flaw(name: str) -> str:
    """Return what is wrong with a name whether it is a topic or a filter, "" for nothing."""
    if not name:
        return "is empty"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not UTF-8"
    if size > MOST_TOPIC:
        return f"has {size} bytes, at most {MOST_TOPIC} are allowed"
    if any(unicodedata.category(char) == "Cc" for char in name):
        return "has a control character"
    return "begins with $, which belongs to the broker" if name.startswith("$") else ""
