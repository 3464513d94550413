"""What the service needs of others besides its store: other coordinators, and the engine that enrols managers."""

from typing import Protocol

from keymote.crypto.secret import Secret
from keymote.engine.queries import DeviceFound, ManagerFound


class PeerLink(Protocol):
    """Another coordinator of the federation."""

    async def find(self, dev_id: bytes) -> DeviceFound:
        """Return what that coordinator says of a device of its own; the chain is for the caller to verify.

        Raises:
            PeerFault: E_UNKNOWN_ID when it does not know it, E_NOSHARE when it may not be used now.
            Unavailable: it does not answer.
        """
        ...

    async def find_manager(self, nm_id: bytes) -> ManagerFound:
        """Return who a manager of that coordinator is; errors as `find`, E_CRED when it is revoked."""
        ...


class DatagramPort(Protocol):
    """The registrar's engine that enrols managers."""

    async def hello(self) -> bytes:
        """Return the current HELLO."""
        ...

    async def exchange(self, peer: str, data: bytes) -> bytes | None:
        """Hand in one datagram from `peer` and return the one to send back, None for silence."""
        ...

    async def expect(self, nm_id: bytes, code: Secret) -> None:
        """Make the engine wait for a manager with this registration code; the same again changes nothing."""
        ...

    async def revoke(self, nm_id: bytes, reason: int) -> None:
        """Make the engine forget a manager; nothing happens for one that never enrolled."""
        ...
