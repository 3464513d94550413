"""How many bytes a cell holds: what a device without Python would have to find room for."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite


def octets(value: Any, known: set[int] | None = None) -> int:
    """Return the bytes in the fields of `value`, however deep: byte strings, secrets and text at their length,
    numbers at the shortest whole number of bytes, floats at 8.

    Nothing is counted twice, nor what `known` holds by `id` (what another cell keeps already); suites and functions are
    program text and count nothing. The parsed and the raw form of a credential are both counted where both are kept.
    """
    seen = set() if known is None else set(known)
    return _octets(value, seen)


def identities(value: Any) -> set[int]:
    """Return the `id` of everything that `octets` would count in `value`."""
    seen: set[int] = set()
    _octets(value, seen)
    return seen


def _octets(value: Any, seen: set[int]) -> int:
    match value:
        case None | Suite():
            return 0
        case bool() | Enum():
            return 1
        case int():
            return max(1, (value.bit_length() + 7) // 8)
        case float():
            return 8
    if id(value) in seen or callable(value):
        return 0
    seen.add(id(value))
    match value:
        case bytes() | Secret():
            return len(value)
        case str():
            return len(value.encode())
        case Mapping():
            return sum(_octets(entry, seen) for pair in value.items() for entry in pair)
        case tuple() | list() | frozenset():
            return sum(_octets(entry, seen) for entry in value)
    if is_dataclass(value):
        return sum(_octets(getattr(value, each.name), seen) for each in fields(value))
    raise TypeError(f"nobody has said how many bytes a {type(value).__name__} takes")
