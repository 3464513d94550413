"""What an agent needs of the broker behind it, whichever that is; `tests/conformance` holds each to it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from keymote.transports.mqtt.packets import Delivery

MOST_AT_ONCE: Final = 64
"""Messages that `drain` hands over together."""
UNVERIFIED: Final = ("keymote-broker-unverified", "1")
"""User property of a reading whose publisher no home broker has spoken for yet."""

Carry = Callable[[Sequence[Delivery]], Awaitable[None]]
"""Makes messages safe elsewhere before it returns; raises when it cannot, and then they stay."""


@dataclass(frozen=True, slots=True)
class Account:
    """A client as the broker knows it: user name and client id are the same `name`.

    `session`: before the client comes there is a session that holds what is published on `subscribe` from now on.
    """

    name: str
    password: str = field(repr=False)
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    session: bool


class BrokerFace(Protocol):
    """A broker whose accounts an agent keeps. Methods may be called at the same time for different clients."""

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect."""
        ...

    async def open(self, account: Account) -> None:
        """Let this client in, under this name and password only, for these filters only; again: as if for the first time.

        Raises:
            Unavailable: the broker does not answer.
        """
        ...

    async def remove(self, name: str) -> None:
        """Put the client out at once: its connection, its account, its session. Harmless when there is none."""
        ...

    async def publish(self, message: Delivery, *, unverified: bool = False) -> None:
        """Publish for a client and return when the broker has taken it; Unavailable else."""
        ...

    async def drain(self, name: str, carry: Carry) -> int:
        """Put the client's connection out, hand what waits for it to `carry`, oldest first, and return how much it was.

        A message leaves this broker only after `carry` has returned. What `carry` raises is raised; the rest stays.
        """
        ...

    async def close(self) -> None: ...
