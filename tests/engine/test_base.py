"""What all cells have in common."""

import dataclasses
from dataclasses import dataclass, field

import pytest

from keymote.engine.base import replace


@dataclass(frozen=True, slots=True)
class State:
    first: int
    second: bytes = b""
    whole: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "whole", self.first + len(self.second))


@dataclass(frozen=True, slots=True)
class Single:
    only: int


@pytest.mark.parametrize("changes", [{}, {"first": 2}, {"second": b"xy"}, {"first": 3, "second": b"z"}])
def test_a_state_is_replaced_as_the_library_does(changes: dict[str, int | bytes]) -> None:
    state = State(1, b"abc")
    assert replace(state, **changes) == dataclasses.replace(state, **changes)
    assert state == State(1, b"abc")


def test_a_state_of_one_field_is_replaced_too() -> None:
    assert replace(Single(1), only=2) == Single(2)
    assert replace(Single(1)) == Single(1)


@pytest.mark.parametrize("name", ["whole", "nothing"])
def test_a_field_that_cannot_be_given_is_refused(name: str) -> None:
    with pytest.raises(KeyError):
        replace(State(1), **{name: 2})
