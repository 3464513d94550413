"""A device's node without cells: reports go in by hand, what it asks of the world is written down."""

from dataclasses import dataclass, field

from keymote.crypto.secret import Secret
from keymote.device.node import DeviceNode
from keymote.engine.exports import OscoreParameters
from keymote.engine.faces import KeyReady, SessionClosed, SessionKeys, session_of
from keymote.host.resources import Answered

PSID = bytes.fromhex("0011223344556677")
PEER = bytes.fromhex("00000000000000a2")
MANAGER = "coap://127.0.0.1:2"
KEYS = SessionKeys(
    key_id=bytes.fromhex("8899aabbccddeeff"),
    dtls_psk=Secret(bytes(range(100, 132))),
    oscore_ms=Secret(bytes(range(16))),
    oscore_salt=bytes(range(40, 48)),
)


@dataclass
class Resources:
    """Stands for CoapApplication: who is admitted, and what was asked."""

    admitted: dict[bytes, tuple[OscoreParameters, str]] = field(default_factory=dict)
    used: set[bytes] = field(default_factory=set)
    asked: list[tuple[object, ...]] = field(default_factory=list)

    def admit(self, parameters: OscoreParameters, peer: str) -> None:
        self.admitted[parameters.psid] = (parameters, peer)

    def dismiss(self, psid: bytes) -> None:
        self.admitted.pop(psid, None)

    def was_used(self, psid: bytes) -> bool:
        return psid in self.used

    async def request(self, psid, at, method, path, payload=b"", content_format=None) -> Answered:
        self.asked.append((psid, at, method, path, payload, content_format))
        return Answered(b"21.5 C")


@dataclass
class Connections:
    """Stands for DtlsServer; notes whether the key was still known when its connections were ended."""

    known: object = None
    ended: list[tuple[str, bool]] = field(default_factory=list)

    def end(self, identity: str) -> int:
        self.ended.append((identity, self.known(identity) is not None))
        return 1


@dataclass
class Runtime:
    served: Resources
    peer: str = "coap://127.0.0.1:5683"
    address: str = "coap://127.0.0.1:1"
    membership: None = None

    def resources(self) -> Resources:
        return self.served

    def groups(self) -> tuple[()]:
        return ()

    def peer_of(self, _session) -> str:
        return self.peer

    def carries(self, peer: str) -> bool:
        return peer == MANAGER


class Desk:
    """One node with its surroundings."""

    def __init__(self) -> None:
        self.node = DeviceNode()
        self.resources = Resources()
        self.connections = Connections(self.node.doors.key_of)
        self.runtime = Runtime(self.resources)
        self.node.attach(self.runtime)

    def opened(self, psid: bytes = PSID, *, initiator: bool = True):
        self.node.reported(session_of(psid), KeyReady(psid, initiator, PEER, KEYS))
        return self.node.sessions[psid]

    def ended(self, psid: bytes = PSID, *, revoked: bool = False) -> None:
        self.node.reported(session_of(psid), SessionClosed(psid, None, revoked=revoked))
