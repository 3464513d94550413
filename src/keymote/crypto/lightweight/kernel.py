"""One source, two forms: an inner loop that the interpreter runs, or that a compiler has made machine code of.

A loop is written inside a function `build(form)`, marked by `form.jit` and restricted to what both forms understand alike:
integers, `bytes` to read, `bytearray` to write, lists that it makes itself. Numbers of 64 bits are made by `form.word`, so
that the compiled form does not take them for signed ones; whatever could grow beyond is masked, which costs the compiled
form nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from keymote.errors import Incompatible

F = TypeVar("F", bound=Callable[..., object])


class Jit(Protocol):
    """What turns a function into one form of it."""

    def __call__(self, function: F, /) -> F: ...


@dataclass(frozen=True, slots=True)
class Form:
    """How a kernel is built: `word` makes an unsigned number of 64 bits."""

    name: str
    jit: Jit
    word: Callable[[int], int]


def _as_it_stands(function: F, /) -> F:
    return function


PLAIN: Final = Form("plain", _as_it_stands, int)


class Kernel(Generic[F]):
    """An inner loop in the form that runs now: plain, until `compile` has replaced it.

    `trial` calls a form with fixed inputs and returns what it computed: it makes the compiler work before the first
    request, and both forms must agree on it.
    """

    __slots__ = ("_build", "_trial", "form", "plain", "run")

    def __init__(self, build: Callable[[Form], F], trial: Callable[[F], bytes]) -> None:
        self._build, self._trial = build, trial
        self.plain = self.run = build(PLAIN)
        self.form = PLAIN

    def compile(self, form: Form) -> None:
        """Run in another form from now on; takes a second or two.

        Raises:
            Incompatible: the compiled form computes something else; the plain one goes on.
        """
        if self.form is form:
            return
        made = self._build(form)
        if self._trial(made) != self._trial(self.plain):
            raise Incompatible(f"{form.name} miscompiles a cipher", do=f"uninstall {form.name} or install it anew")
        self.run, self.form = made, form

    def interpret(self) -> None:
        """Run in the plain form again."""
        self.run, self.form = self.plain, PLAIN
