"""What a device serves beside its protocols: files, and its resources to clients over DTLS."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from keymote.device.doors import Doors
from keymote.host.resources import Answered, Asked, Handler

if TYPE_CHECKING:
    from keymote.transports.coap.application import CoapApplication  # loaded when a resource is served or asked for
    from keymote.transports.dtls import DtlsServer


MAX_RESOURCE: Final = 1 << 16
"""Bytes that a served file is read to."""
_TEXT_PLAIN: Final = 0


async def open_dtls(bind: tuple[str, int], doors: Doors, resources: "CoapApplication") -> "DtlsServer":
    """Serve the same resources to clients that prove a session's pre-shared key."""
    from keymote.transports.dtls import DtlsPeer, DtlsServer

    def heard(peer: DtlsPeer, payload: bytes) -> None:
        party = doors.party_of(peer.identity)
        if party is not None:
            resources.heard_secured(payload, peer, peer.remote, party)

    def ended(peer: DtlsPeer) -> None:
        resources.lost_secured(peer, peer.remote)

    server = await DtlsServer.open(bind, doors.key_of, heard)
    server.ended = ended
    return server


def reader_of(file: Path) -> Handler:
    """Return a handler that answers GET by what `file` holds at that moment."""

    def read(asked: Asked) -> Answered:
        if asked.method != "GET":
            return Answered(code="4.05")
        try:
            with file.open("rb") as opened:
                return Answered(opened.read(MAX_RESOURCE), _TEXT_PLAIN)
        except OSError:
            return Answered(code="5.03")

    return read
