"""Reading vector files: strict JSON, exact keys, lower-case hex; whatever has another form is a fault of the file."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from keymote.errors import CallerFault

MAX_FILE: Final = 32 << 20
"""Bytes of a vector file at most."""
_HEAD: Final = frozenset({"format", "suite", "origin"})


@dataclass(frozen=True, slots=True)
class Document:
    """One vector file; `format` is empty and `suite` None where it names none, `parts` is every key but its head."""

    name: str
    format: str
    suite: int | None
    parts: Mapping[str, object]


def load(path: Path) -> Document:
    """Return the vector file at `path`; CallerFault when it cannot be read or is none."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
    except OSError as error:
        raise CallerFault(f"cannot be read: {error.strerror}") from error
    if len(raw) > MAX_FILE:
        raise CallerFault(f"longer than {MAX_FILE} bytes")
    return parse(str(path), raw)


def parse(name: str, raw: bytes) -> Document:
    """Return the vector file in `raw`; CallerFault that says what is wrong with it."""
    try:
        item: object = json.loads(raw, object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise CallerFault(f"not JSON: {error}") from error
    head = mapping(item, "the file")
    suite = head.get("suite")
    if suite is not None:
        suite = number(suite, "suite")
    parts = {key: value for key, value in head.items() if key not in _HEAD}
    if not parts:
        raise CallerFault("the file holds no part")
    return Document(name, text(head.get("format", ""), "format"), suite, parts)


def mapping(item: object, what: str) -> dict[str, object]:
    """Return a JSON object, whatever its keys."""
    if not isinstance(item, dict):
        raise CallerFault(f"{what} is not a JSON object")
    return item


def section(item: object, what: str, names: Iterable[str]) -> dict[str, Any]:
    """Return a JSON object that has exactly the keys `names`: a copy, which may be taken apart."""
    found, expected = dict(mapping(item, what)), set(names)
    if missing := expected - set(found):
        raise CallerFault(f"{what} lacks {', '.join(sorted(missing))}")
    if surplus := set(found) - expected:
        raise CallerFault(f"{what} has {', '.join(sorted(surplus))}, which no check binds")
    return found


def hexes(item: object, what: str, names: Iterable[str]) -> dict[str, bytes]:
    """Return a JSON object of exactly the keys `names`, all of whose values are hex."""
    return {key: octets(value, f"{what}.{key}") for key, value in section(item, what, names).items()}


def octets(item: object, what: str) -> bytes:
    """Return the bytes of a lower-case hex string."""
    try:
        value = bytes.fromhex(text(item, what))
    except ValueError:
        value = None
    if value is None or value.hex() != item:
        raise CallerFault(f"{what} is not lower-case hex")
    return value


def listing(item: object, what: str) -> list[object]:
    """Return a JSON array."""
    if not isinstance(item, list):
        raise CallerFault(f"{what} is not a JSON array")
    return item


def text(item: object, what: str) -> str:
    if not isinstance(item, str):
        raise CallerFault(f"{what} is not a string")
    return item


def number(item: object, what: str) -> int:
    """Return an integer of at most 64 bits; JSON's true is none."""
    if type(item) is not int or abs(item) >> 64:
        raise CallerFault(f"{what} is not an integer")
    return item


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise CallerFault("a JSON object has the same key twice")
    if unprintable := [key for key in found if not key.isprintable()]:
        raise CallerFault(f"a JSON object has the key {unprintable[0]!r}")
    return found


def _no_number(literal: str) -> object:
    raise CallerFault(f"{literal} is not JSON")
