"""The timeline of a scenario: what was done, how long it took, and what it cost on the wire."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the timeline. `messages` and `bytes` are UDP payloads at the scenario's devices, acknowledgements included."""

    name: str
    ms: float
    messages: int
    bytes: int
    says: str = ""

    def view(self) -> dict[str, object]:
        return {
            "name": self.name,
            "ms": round(self.ms, 1),
            "messages": self.messages,
            "bytes": self.bytes,
            "says": self.says,
        }


Teller = Callable[[Step], None]


@dataclass(slots=True)
class Timeline:
    """The steps so far. `traffic` returns UDP payloads and bytes at the scenario's devices."""

    tell: Teller
    traffic: Callable[[], tuple[int, int]]
    steps: list[Step] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def step(self, name: str, says: Callable[[], str] = lambda: "") -> AsyncIterator[None]:
        """Time what happens inside and tell it."""
        before, began = self.traffic(), time.perf_counter()
        yield
        spent = (time.perf_counter() - began) * 1000
        after = self.traffic()
        done = Step(name, spent, after[0] - before[0], after[1] - before[1], says())
        self.steps.append(done)
        self.tell(done)

    def views(self) -> list[dict[str, object]]:
        return [step.view() for step in self.steps]
