"""What the examination of one part finds: how many checks ran, which failed, what could not be judged."""

from collections.abc import Iterator
from contextlib import contextmanager

from keymote.errors import KeymoteError, PeerFault


class Checks:
    """A tally of checks; failures are kept by name, so that a person sees which value is wrong and not only that one is."""

    def __init__(self) -> None:
        self.done = 0
        self.failed: list[str] = []
        self.unjudged: list[str] = []

    def equal(self, what: str, computed: object, given: object) -> None:
        """Count one check: the file's value is the one that we compute."""
        self.holds(f"{what} is not the value that follows from the inputs", computed == given)

    def holds(self, otherwise: str, truth: bool) -> None:
        """Count one check; `otherwise` says what is wrong when it does not hold."""
        self.done += 1
        if not truth:
            self.failed.append(otherwise)

    @contextmanager
    def accepted(self, what: str) -> Iterator[None]:
        """Count one check: nothing inside raises a KeymoteError."""
        self.done += 1
        try:
            yield
        except KeymoteError as fault:
            self.failed.append(f"{what}: {fault}")

    @contextmanager
    def refused(self, what: str, code: str) -> Iterator[None]:
        """Count one check: what stands inside is refused as a peer's fault with exactly this code."""
        self.done += 1
        try:
            yield
        except PeerFault as fault:
            if fault.code.name != code:
                self.failed.append(f"{what} is refused with {fault.code.name} where {code} is due")
        else:
            self.failed.append(f"{what} is not refused")

    def cannot_judge(self, what: str) -> None:
        """Name something that the file alone does not allow to check."""
        self.unjudged.append(what)
