"""Whom an agent knows: the brokers of the federation, as the trusted system signed them (Triad-1 4.6)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from keymote.engine.base import Peer
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.cose import Verifier


@dataclass(frozen=True, slots=True)
class Broker:
    """A federated broker: how its agent signs (under `kid`), what is sealed to, and how it is reached."""

    broker_id: bytes
    kid: bytes
    verifier: Verifier = field(repr=False)
    sealing: bytes
    """X25519 public key, 32 bytes."""
    peer: Peer


@dataclass(frozen=True, slots=True)
class Federation:
    """The list in force. `emergency`: filters whose readings may go out before the home broker has answered.

    `gone`: clients whose rights the trusted system took back; no broker serves them.
    """

    version: int
    brokers: Mapping[bytes, Broker]
    emergency: tuple[str, ...] = ()
    gone: frozenset[bytes] = frozenset()

    def broker(self, broker_id: bytes) -> Broker:
        """Return a listed broker; E_TICKET for any other (HO-04, C-10)."""
        found = self.brokers.get(broker_id)
        if found is None:
            raise PeerFault(ErrorCode.E_TICKET, "a broker that is not in the list of the federation")
        return found

    def signer(self, broker_id: bytes, kid: bytes | None) -> Broker:
        """Return the broker that may sign under `kid`; E_TICKET else."""
        found = self.broker(broker_id)
        if found.kid != kid:
            raise PeerFault(ErrorCode.E_TICKET, "signed under another card than the federation's list has")
        return found


NOBODY: Final = Federation(0, {})
"""Before the first list."""


def matches(pattern: str, topic: str) -> bool:
    """Return whether an MQTT filter covers a topic (MQTT 3.1.1, 4.7): `+` one level, `#` the rest, neither `$` topics."""
    if topic.startswith("$") and pattern[:1] in ("+", "#"):
        return False
    levels, wanted = topic.split("/"), pattern.split("/")
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(levels) == len(wanted)
