"""Times as people read them."""

import time
from typing import Final

_CLOCK: Final = "%Y-%m-%d %H:%M:%S"


def moment(ms: int | None) -> str | None:
    """Return UTC milliseconds as people read them."""
    return None if ms is None else time.strftime(_CLOCK, time.gmtime(ms / 1000)) + "Z"


def until_safe(ms: int | None) -> str:
    """Return how long it took until everybody else had a key that who was put out has not; None: they have not yet."""
    return "not yet" if ms is None else f"{ms} ms"
