"""Randomness as an input: the system's is asked anew each time, the seeded one repeats itself."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from keymote.crypto.entropy import SeededEntropy, SystemEntropy
from keymote.errors import CallerFault

VECTORS = Path(__file__).parents[1] / "vectors"


def test_IM08_each_draw_asks_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def urandom(n: int) -> bytes:
        asked.append(n)
        return bytes([len(asked)]) * n

    monkeypatch.setattr(os, "urandom", urandom)
    entropy = SystemEntropy()
    assert [entropy.draw(2), entropy.fork("node").draw(3), entropy.draw(2)] == [b"\1\1", b"\2\2\2", b"\3\3"]
    assert asked == [2, 3, 2]


def test_IM08_system_entropy_keeps_no_state_that_a_twin_process_could_repeat() -> None:
    assert SystemEntropy.__slots__ == ()
    assert len({SystemEntropy().draw(16) for _ in range(64)}) == 64


def test_same_seed_same_stream() -> None:
    one, two = SeededEntropy(b"seed"), SeededEntropy(b"seed")
    assert [one.draw(n) for n in (0, 1, 32, 64)] == [two.draw(n) for n in (0, 1, 32, 64)]
    assert SeededEntropy(b"seed").draw(32) != SeededEntropy(b"seed ").draw(32)


def test_the_stream_is_the_generator_of_the_vectors() -> None:
    vectors = json.loads((VECTORS / "triad1.json").read_text())
    first = hashlib.shake_256(b"TRIAD1-KAT" + bytes(4)).digest(16)
    assert SeededEntropy(b"TRIAD1-KAT").draw(16) == first
    entropy = SeededEntropy(b"TRIAD1-KAT")
    drawn = {entropy.draw(8).hex() for _ in range(200)}
    assert {vectors["A_enrol"]["inputs"][name] for name in ("dev_id", "nm_id", "nc_id")} <= drawn


def test_forks_are_independent_of_each_other_and_of_what_was_drawn() -> None:
    parent = SeededEntropy(b"seed")
    early = parent.fork("D1").draw(32)
    parent.draw(1000)
    streams = [early, parent.fork("D2").draw(32), parent.fork("D1/boot-2").draw(32), parent.draw(32)]
    assert len(set(streams)) == 4
    assert SeededEntropy(b"seed").fork("D1").draw(32) == early
    assert SeededEntropy(b"seed").fork("a").fork("b").draw(8) != SeededEntropy(b"seed").fork("ab").draw(8)


def test_a_fork_moves_with_the_label_boundary() -> None:
    assert SeededEntropy(b"seedx").fork("y").draw(8) != SeededEntropy(b"seed").fork("xy").draw(8)


def test_forking_twice_under_one_label_is_the_caller_s_fault() -> None:
    entropy = SeededEntropy(b"seed")
    entropy.fork("D1")
    with pytest.raises(CallerFault, match="forked twice"):
        entropy.fork("D1")
