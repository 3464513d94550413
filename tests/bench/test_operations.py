"""No role computes more than the specification prescribes: real nodes on suites that count, against operations.toml."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from keymote.bench import operations
from keymote.bench.operations import Counts
from keymote.bench.world import Host, World
from keymote.crypto import kdf
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.metered import MeteredSuite
from keymote.crypto.suites import suite_by_id

both_suites = pytest.mark.parametrize("suite", [1, 17], ids=["suite 1", "suite 17"])
every_path = pytest.mark.parametrize(("fast", "compact"), [(False, False), (False, True), (True, False), (True, True)])
PAGE = Path(__file__).parents[2] / "docs" / "operations.md"


class Metered:
    """A world in which every node has a suite of its own that counts."""

    def __init__(self, suite: int) -> None:
        self.suites: dict[str, MeteredSuite] = {}
        self.plain = suite_by_id(suite)
        self.world = World(self._suite_of, SeededEntropy(b"operations"))

    def _suite_of(self, name: str) -> MeteredSuite:
        return self.suites.setdefault(name, MeteredSuite(self.plain))

    def forget(self) -> None:
        for suite in self.suites.values():
            suite.counts.clear()

    def called(self, name: str) -> Counts:
        counts = self.suites[name].counts
        counts["aead"] = counts.pop("aead_seal", 0) + counts.pop("aead_open", 0)
        return Counter({operation: number for operation, number in counts.items() if number})

    def excess(self, prescribed: Mapping[str, Counts], names: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """Return, by role, the operations that were called more often than prescribed."""
        found: dict[str, dict[str, str]] = {}
        for role, counts in prescribed.items():
            allowed = operations.as_metered(counts, has_map=self.plain.pake)
            for operation, number in self.called(names[role]).items():
                if number > allowed[operation]:
                    found.setdefault(role, {})[operation] = f"{number}, prescribed {allowed[operation]}"
        return found


@pytest.fixture
def hmacs(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Collect every hash of the key schedule: each HMAC is two."""
    hashed: list[bytes] = []

    def collected(data: bytes) -> Any:
        hashed.append(data)
        return hashlib.sha256(data)

    monkeypatch.setattr(kdf, "_sha256", collected)
    return hashed


@both_suites
def test_an_enrolment_computes_no_more_than_the_text_prescribes(suite: int, hmacs: list[bytes]) -> None:
    metered = Metered(suite)
    world = metered.world
    newcomer = world.newcomer("d1", "nm1")
    hello = world.hello("nm1")
    metered.forget()
    hmacs.clear()
    world.enrol(newcomer, "nm1", hello)
    newcomer.membership()
    prescribed = operations.enrolment()
    assert metered.excess(prescribed, {"device": "d1", "manager": "nm1"}) == {}
    assert 0 < len(hmacs) <= 2 * operations.total(prescribed)["hmac"]


@both_suites
@every_path
def test_a_session_computes_no_more_than_the_text_prescribes(
    suite: int, fast: bool, compact: bool, hmacs: list[bytes]
) -> None:
    metered = Metered(suite)
    world = metered.world
    met = world.device("a", "nm1"), world.device("b", "nm2")
    world.check_ready(world.open(*met, fast=fast, compact=compact), *met)
    pair: tuple[Host, Host] = world.device("d1", "nm1"), world.device("d2", "nm2")
    metered.forget()
    hmacs.clear()
    world.check_ready(world.open(*pair, fast=fast, compact=compact), *pair)
    prescribed = operations.session(fast=fast, compact=compact)
    roles = {"I": "d1", "R": "d2", "NM1": "nm1", "NM2": "nm2"}
    assert metered.excess(prescribed, roles) == {}
    assert 0 < len(hmacs) <= 2 * operations.total(prescribed)["hmac"]


def test_every_count_is_of_a_known_operation() -> None:
    known = operations.operations().keys()
    for roles in (
        operations.enrolment(),
        *(operations.session(fast=fast, compact=compact) for fast in (False, True) for compact in (False, True)),
    ):
        for counts in roles.values():
            assert counts.keys() <= known
            assert all(number > 0 for number in counts.values())


def test_the_page_shows_the_table() -> None:
    assert PAGE.read_text("utf-8") == operations.render() + "\n"
