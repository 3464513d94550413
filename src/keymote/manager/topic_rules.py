"""What the rules of topics are at this manager: the coordinator's, and what happened here since. Pure decisions.

Sessions know a rule by its *laid version*: the coordinator's in the upper bits, and below a number of ours that grows with every
change that was made here without it. Whatever the coordinator states next is newer than all of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from keymote import cbor
from keymote.engine.policy.topic_charter import MOST_GRANTS, TopicGone, TopicRule

EDITION_BITS: Final = 20
_SHIFT: Final = 1 << EDITION_BITS
_MARK_VERSION: Final = 1


class Mark(NamedTuple):
    """Something was taken from a client here, at the laid version `since`: its keys may be known to others, if `compromised`.

    `out`: it must have none at all; else it came back with a new chain, and only what it held before is good no more.
    """

    since: int
    compromised: bool
    out: bool

    def encode(self) -> bytes:
        return cbor.encode_array(_MARK_VERSION, self.since, self.compromised, self.out)

    @classmethod
    def decode(cls, record: bytes) -> "Mark":
        row: Any = cbor.decode(record)
        _, since, compromised, out = row
        return cls(since, compromised, out)


def laid_version(version: int, edition: int = 0) -> int:
    """Return the version under which sessions know what the coordinator called `version`, with `edition` changes of ours."""
    return version * _SHIFT + edition


def stated_version(laid: int) -> int:
    """Return the coordinator's part of a laid version: what may be reported."""
    return laid // _SHIFT


def next_since(newest: int, marks: Iterable[Mark]) -> int:
    """Return a laid version above all that were used, for a charter whose newest rule has the version `newest`."""
    return max([laid_version(newest), *(mark.since for mark in marks)]) + 1


def laid(rule: TopicRule, marks: Mapping[bytes, Mark]) -> TopicRule:
    """Return the coordinator's rule as sessions get it: with laid versions, and with what our marks take away.

    A mark counts in rules that know its client, as long as nothing newer of the same client was stated: where the
    coordinator has heard of it, its own word stands beside ours.
    """
    known = {grant.client for grant in rule.grants} | {gone.client for gone in rule.gone}
    ours = {client: marks[client] for client in known & marks.keys()}
    taken = {each.client: each._replace(since=laid_version(each.since)) for each in rule.gone}
    for client, mark in ours.items():
        stated = taken.get(client)
        if stated is None or stated.since < mark.since:
            compromised = mark.compromised or (stated is not None and stated.compromised)
            taken[client] = TopicGone(client, compromised, mark.since)
    newest = sorted(taken.values(), key=lambda each: each.since)[-MOST_GRANTS:]
    version = max([laid_version(rule.version), *(mark.since for mark in ours.values())])
    grants = tuple(each for each in rule.grants if each.client not in ours or not ours[each.client].out)
    return replace(rule, version=version, grants=grants, gone=tuple(sorted(newest)))
