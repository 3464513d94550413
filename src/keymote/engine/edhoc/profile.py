"""What an application settles before a run (RFC 9528 3.9) and what it is shown in one."""

from collections.abc import Collection
from dataclasses import dataclass, field

from keymote.crypto.edhoc_suites import EDHOC_SUITES
from keymote.engine.edhoc.credentials import Own, Peer, Peers
from keymote.engine.edhoc.faults import unknown_credential
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.edhoc import Ead, Eads

PADDING = 0
"""The EAD label that hides lengths and says nothing (3.8.1)."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Method and suites that we use, in order of preference; our credential; where peers' are; EAD labels that we know."""

    method: int
    own: Own
    peers: Peers
    suites: tuple[int, ...] = EDHOC_SUITES
    understands: Collection[int] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if not self.suites or not set(self.suites) <= set(EDHOC_SUITES):
            raise CallerFault(f"suites {list(self.suites)}", do=f"choose among {list(EDHOC_SUITES)}")

    def heard(self, eads: Eads) -> Eads:
        """Return the EADs of a message that mean something to us; E_FORMAT for a critical one that does not (3.8)."""
        if not eads:
            return eads
        for ead in eads:
            if ead.critical and -ead.label not in self.understands:
                raise PeerFault(ErrorCode.E_FORMAT, f"critical EAD {-ead.label} is unknown here")
        return tuple(Ead(abs(ead.label), ead.value) for ead in eads if abs(ead.label) in self.understands)

    def not_us(self, peer: Peer | None) -> Peer:
        """Return the peer's credential; E_CRED when there is none, or when it is our own, reflected (9.1)."""
        if peer is None:
            raise unknown_credential("the peer's credential is neither known nor accepted")
        if peer.cred == self.own.cred:
            raise PeerFault(ErrorCode.E_CRED, "the peer shows our own credential")
        return peer
