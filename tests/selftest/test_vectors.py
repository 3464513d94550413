"""The given vectors are recomputed, and nothing in a known part can change without a failure."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.crypto.suites import SUITES
from keymote.selftest.document import Document, parse
from keymote.selftest.report import EXAMINERS, examine, examine_files, examine_part, unknown_parts

VECTORS = Path(__file__).parents[1] / "vectors"
FILES = {"suite 1": "triad1.json", "suite 17": "triad1-p256.json"}
KNOWN = EXAMINERS["triad1"]
PARTS = ("kdf", "transcript", "A_enrol", "A_session", "B_n2", "B_n3", "B_n5", "C")
LEAST_CASES = {
    "kdf": 130, "transcript": 120, "A_enrol": 2000, "A_session": 3500, "B_n2": 1300, "B_n3": 2200, "B_n5": 3300,
    "C": 300,
}  # fmt: skip
SLOW = ("A_session", "B_n2", "B_n5")


class Remembering:
    """A group that computes nothing twice: thousands of changed files differ from one another in a byte."""

    def __init__(self, group: Any) -> None:
        self._group = group
        self.point_size, self.order, self.generator = group.point_size, group.order, group.generator
        for name in ("check", "check_scalar", "hash_to_scalar", "add", "sub"):
            setattr(self, name, lru_cache(None)(getattr(group, name)))
        self._mul = lru_cache(None)(lambda k, P: group.mul(Secret(k), P))
        self._base_mul = lru_cache(None)(lambda k: group.base_mul(Secret(k)))

    def mul(self, k: Secret, P: Any) -> Any:
        return self._mul(k.expose(), P)

    def base_mul(self, k: Secret) -> Any:
        return self._base_mul(k.expose())

    def partial_sums(self, P: Any, received: Any) -> Any:
        sums = []
        for encoding in received:
            P = self.add(P, self.check(encoding))
            sums.append(P)
        return sums

    def scalar_mul_add(self, c: Secret, d: Secret, k: Secret) -> Secret:
        return self._group.scalar_mul_add(c, d, k)


class RememberingKeys:
    """A signature scheme that parses a public key, and judges a signature, once."""

    def __init__(self, scheme: Any) -> None:
        self._verifier = lru_cache(None)(lambda encoding: lru_cache(None)(scheme.verifier(encoding)))

    def verifier(self, encoding: bytes) -> Any:
        return self._verifier(encoding)


@pytest.fixture(scope="module")
def suites() -> Mapping[int, Suite]:
    return {
        number: dataclasses.replace(
            SUITES[number],
            group=Remembering(SUITES[number].group),
            signatures=RememberingKeys(SUITES[number].signatures),
        )
        for number in (1, 17)
    }


def load(file: str) -> dict[str, Any]:
    return json.loads((VECTORS / file).read_text())


def document(content: dict[str, Any]) -> Document:
    return parse("changed.json", json.dumps(content).encode())


def leaves(item: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(item, dict | list):
        for key, value in item.items() if isinstance(item, dict) else enumerate(item):
            yield from leaves(value, (*path, key))
    else:
        yield path, item


def containers(item: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(item, dict | list):
        yield path, item
        for key, value in item.items() if isinstance(item, dict) else enumerate(item):
            yield from containers(value, (*path, key))


def changes(value: Any) -> Iterator[Any]:
    """Yield every value one bit away from a leaf, and some of another kind."""
    match value:
        case bool():
            raise AssertionError("the format has no booleans")
        case int():
            yield from (value ^ 1 << bit for bit in range(9))
            yield from (-value, 2**64, float(value), str(value), None, True)
        case str() if is_hex(value):
            raw = bytes.fromhex(value)
            for at in range(len(raw)):  # one bit of each byte, in turn the lowest and the highest; both at the ends
                for mask in (1, 128) if at in {0, len(raw) - 1} else (1 if at % 2 else 128,):
                    yield (raw[:at] + bytes([raw[at] ^ mask]) + raw[at + 1 :]).hex()
            yield from (value[:-2], value[:-1], value + "00", value[2:], "00" + value, "", int(value, 16), None, [])
            if value.upper() != value:
                yield value.upper()
        case str():
            yield from (value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :] for at in range(len(value)))
            yield from (value + " ", value[:-1], "", 0, None)
        case None:
            yield from ("", "00", "02" * 32, 0, [])
        case _:
            raise AssertionError(value)


def is_hex(value: str) -> bool:
    return len(value) % 2 == 0 and len(value) > 0 and not set(value) - set("0123456789abcdef")


def replaced(content: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """Return a copy of `content` in which `path` leads to `value`; what is not on the path is shared."""
    if not path:
        return value
    copy = content.copy()
    copy[path[0]] = replaced(content[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_CM35_every_part_of_every_protocol_is_recomputed(file: str) -> None:
    report = examine_files([VECTORS / file])
    assert [(part.part, part.failures) for part in report.parts] == [(part, ()) for part in PARTS]
    assert all(part.checks > 2 for part in report.parts)
    assert report.unknown == ()
    assert report.ok


@pytest.mark.parametrize("part", [pytest.param(part, marks=[pytest.mark.long] * (part in SLOW)) for part in PARTS])
@pytest.mark.parametrize(
    "file",
    [pytest.param(file, id=name, marks=[pytest.mark.long] * (name == "suite 17")) for name, file in FILES.items()],
)
def test_CM35_no_value_can_change_unseen(file: str, part: str, suites: Mapping[int, Suite]) -> None:
    content = load(file)
    assert not examine_part(document(content), part, KNOWN[part], suites).failures
    cases, unseen = 0, []
    whole = Document(file, content["format"], content["suite"], content)
    for path, value in leaves(content[part], (part,)):
        for change in changes(value):
            if change == value and type(change) is type(value):  # minus nothing
                continue
            cases += 1
            changed = dataclasses.replace(whole, parts=replaced(content, path, change))
            if not examine_part(changed, part, KNOWN[part], suites).failures:
                unseen.append((path, change))
    assert unseen == []
    assert cases > LEAST_CASES[part]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_CM35_no_key_or_entry_can_come_or_go_unseen(file: str, part: str, suites: Mapping[int, Suite]) -> None:
    content = load(file)
    for path, item in containers(content[part], (part,)):
        others: list[Any] = [None, "", 0]
        if isinstance(item, dict):
            others += [{key: value for key, value in item.items() if key != gone} for gone in item]
            others += [item | {"surplus": "00"}, item | {"surplus": None}, list(item.values())]
        else:
            others += [item[:-1], [*item, item[-1]], item[::-1], dict(enumerate(item))]
        for other in others:
            if other == item:  # a list of one, or of nulls, from its end
                continue
            changed = document(replaced(content, path, other))
            assert examine_part(changed, part, KNOWN[part], suites).failures, (path, other)


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
@pytest.mark.parametrize("suite", [0, 1, 2, 3, 17, 18, -1, True, None, "1"])
def test_CM24_the_suite_in_the_head_is_bound(file: str, suite: object, tmp_path: Path) -> None:
    content = load(file)
    if suite == content["suite"] and suite is not True:
        return
    path = tmp_path / file
    path.write_text(json.dumps(content | {"suite": suite}))
    assert any(part.failures for part in examine_files([path]).parts)


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_a_session_without_its_enrolment_says_what_it_cannot_judge(file: str, tmp_path: Path) -> None:
    content = {key: value for key, value in load(file).items() if key in {"format", "suite", "A_session"}}
    path = tmp_path / file
    path.write_text(json.dumps(content))
    report = examine_files([path])
    assert not report.ok
    assert [part.failures for part in report.parts] == [()]
    assert [entry.split(": ")[:2] for entry in report.unknown] == [[str(path), "A_session"]]


@pytest.mark.parametrize("part", ["B_n2", "B_n3", "B_n5"])
def test_CM35_a_ring_belongs_to_the_size_in_its_name(part: str, suites: Mapping[int, Suite]) -> None:
    """A sound run under another's name has too few members, or too many."""
    for file in FILES.values():
        content = load(file)
        for other in {"B_n2", "B_n3", "B_n5", "B_n4"} - {part}:
            moved = document(content | {other: content[part]})
            assert examine_part(moved, other, KNOWN[other], suites).failures


def test_CM35_a_session_belongs_to_the_enrolment_of_its_file(suites: Mapping[int, Suite]) -> None:
    """The other suite's enrolment is sound in itself, and another one's."""
    for file, other in (FILES.values(), reversed(FILES.values())):
        content = load(file) | {"A_enrol": load(other)["A_enrol"]}
        assert examine_part(document(content), "A_session", KNOWN["A_session"], suites).failures


def test_a_later_file_of_the_same_parts_is_examined_in_its_suite(suites: Mapping[int, Suite]) -> None:
    reports = [list(examine(document(load(file)), suites)) for file in FILES.values()]
    assert [[report.failed for report in of_file] for of_file in reports] == [[0] * len(PARTS)] * 2
    assert unknown_parts(document({"format": "triad2", "suite": 1, "kdf": {}})) == ["changed.json: kdf"]
