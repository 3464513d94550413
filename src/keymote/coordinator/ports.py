"""What the service needs of others besides its store: the federation and the engine that enrols managers."""

from typing import Protocol

from keymote.engine.queries import DeviceFound


class Peers(Protocol):
    """The other coordinators of the federation."""

    async def find(self, dev_id: bytes) -> DeviceFound:
        """Return what the first of them that knows `dev_id` says, its chain verified.

        Raises:
            PeerFault: E_UNKNOWN_ID when all say no, E_NOSHARE when one says that it may not be used now.
            Unavailable: nobody knows it and not everybody answered.
        """
        ...


class DatagramPort(Protocol):
    """The registrar's engine that enrols managers."""

    async def exchange(self, peer: str, data: bytes) -> bytes | None:
        """Hand in one datagram from `peer` and return the one to send back, None for silence."""
        ...

    async def expect(self, nm_id: bytes, code: bytes) -> None:
        """Make the engine wait for a manager with this registration code; a second call begins anew."""
        ...
