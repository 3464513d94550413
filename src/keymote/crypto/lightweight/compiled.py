"""The home of numba: the compiled form of every kernel, where the extra `fast` is installed.

Compiling takes some seconds, so that a service does it at its start and nobody in a request. Nothing is cached on disk:
machine code that is loaded from a directory would be one more thing to protect (docs/decisions/0180).
"""

from functools import lru_cache
from typing import Any

from keymote.crypto.lightweight.ascon import KERNEL
from keymote.crypto.lightweight.block import BLOCK_CIPHERS
from keymote.crypto.lightweight.kernel import Form

# ruff: noqa: PLC0415  # numba takes half a second to load, and most processes never ask for it


@lru_cache(1)
def compiled_form() -> Form | None:
    """Return the form that numba compiles; None where it is not installed."""
    try:
        import numba
        import numpy as np
    except ImportError:
        return None
    word: Any = np.uint64
    return Form("numba", numba.njit, word)


def compile_all(*, blocks: bool = True) -> bool:
    """Compile Ascon, and the block ciphers too if `blocks`; return whether there is a compiler. Does nothing twice.

    Raises:
        Incompatible: a compiled cipher computes something else than the plain one, which goes on.
    """
    form = compiled_form()
    if form is None:
        return False
    KERNEL.compile(form)
    if blocks:
        for cipher in BLOCK_CIPHERS.values():
            cipher.counter.compile(form)
    return True


def interpret_all() -> None:
    """Run every cipher in its plain form again: for who compares the two."""
    KERNEL.interpret()
    for cipher in BLOCK_CIPHERS.values():
        cipher.counter.interpret()
