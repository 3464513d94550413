"""The states of a session at a device, each named for what it waits for. All are volatile: a reboot ends them."""

from dataclasses import dataclass, field

from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, Suite
from keymote.engine.base import Peer
from keymote.engine.context import Membership
from keymote.engine.edhoc.initiator import AwaitMessage2 as EdhocCaller
from keymote.engine.edhoc.initiator import AwaitMessage4 as EdhocProven
from keymote.engine.edhoc.responder import AwaitMessage3 as EdhocAnswered
from keymote.engine.faces import OpenSession
from keymote.engine.link_cell import Window
from keymote.engine.pairwise.parties import Parties, Repeat, Replies, Shares
from keymote.engine.pairwise.schedule import Agreeing, Agreement, Channel, Handshake
from keymote.wire.pairwise import Shresp


@dataclass(frozen=True, slots=True)
class AwaitPeer:
    """Initiator: SESSREQ is out. `early`: SHRESP that overtook PEERCRED."""

    own: Membership
    wish: OpenSession
    repeat: Repeat
    early: Shresp | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AwaitA2:
    """Initiator: A1 is out."""

    parties: Parties
    peer: Peer
    x_I: Secret
    N_I: Point = field(repr=False)
    handshake: Handshake
    shares: Shares | None
    repeat: Repeat
    bad: int = 0


@dataclass(frozen=True, slots=True)
class AwaitA4:
    """Initiator: the responder is authentic, A3 is out. `aV` is this device's share."""

    parties: Parties
    peer: Peer
    channel: Channel
    aV: Point = field(repr=False)
    shares: Shares | None
    repeat: Repeat
    replies: Replies
    bad: int = 0


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """Responder: one A1 and the answer to it."""

    a1: bytes
    a2: bytes
    peer: Peer
    channel: Channel


@dataclass(frozen=True, slots=True)
class AwaitA1:
    """Responder: announced by the own manager; nobody has called yet, by A1 or by EDHOC."""

    parties: Parties
    shares: Shares | None
    until: float


@dataclass(frozen=True, slots=True)
class AwaitA3:
    """Responder: at most three callers, one of whom may be the initiator (PW-27)."""

    parties: Parties
    shares: Shares | None
    until: float
    contexts: tuple[HalfOpen, ...]
    bad: int = 0


@dataclass(frozen=True, slots=True)
class AwaitMessage2:
    """Initiator by EDHOC: message_1 is out."""

    parties: Parties
    peer: Peer
    run: EdhocCaller
    shares: Shares | None
    repeat: Repeat
    bad: int = 0


@dataclass(frozen=True, slots=True)
class AwaitMessage4:
    """Initiator by EDHOC: the responder is authentic, message_3 is out. `aV` is this device's share."""

    parties: Parties
    peer: Peer
    run: EdhocProven
    aV: Point = field(repr=False)
    shares: Shares | None
    repeat: Repeat
    replies: Replies
    bad: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """Responder by EDHOC: one message_1 and the answer to it, both as they were on the wire."""

    call: bytes
    answer: bytes
    run: EdhocAnswered


@dataclass(frozen=True, slots=True)
class AwaitMessage3:
    """Responder by EDHOC: at most three callers, one of whom may be the initiator (PW-27)."""

    parties: Parties
    shares: Shares | None
    until: float
    contexts: tuple[Answered, ...]
    bad: int = 0


@dataclass(frozen=True, slots=True)
class AwaitShares:
    """Both: the devices have agreed, the managers' word is missing. `aV` is the sum of both devices' shares.

    `fin`: a FIN1 that came early (PW-24).
    """

    parties: Parties
    peer: Peer
    channel: Agreeing
    aV: Point = field(repr=False)
    repeat: Repeat
    replies: Replies
    fin: bytes | None = None
    bad: int = 0


@dataclass(frozen=True, slots=True)
class AwaitFin:
    """Both: KS is there; the peer has not shown that it has the same. The initiator repeats FIN1."""

    parties: Parties
    peer: Peer
    agreement: Agreement
    repeat: Repeat | None
    until: float
    replies: Replies
    bad: int = 0


@dataclass(frozen=True, slots=True)
class Open:
    """Both: usable. KS is forgotten; `closing_*` are the tags of CLOSE, `kid_peer` the peer's credential."""

    psid: bytes
    initiator: bool
    suite: Suite
    peer_id: bytes
    kid_peer: bytes
    cred_NM: bytes
    peer: Peer
    key_id: bytes
    send: Secret
    receive: Secret
    closing_own: bytes = field(repr=False)
    closing_peer: bytes = field(repr=False)
    replies: Replies
    replies_until: float
    tx_next: int = 0
    window: Window = field(default_factory=Window)
    failures: int = 0


HalfOpenCell = AwaitA3 | AwaitMessage3
"""A responder that has answered somebody, and does not know whom."""

SessionCell = (
    AwaitPeer
    | AwaitA1
    | AwaitA2
    | AwaitA3
    | AwaitA4
    | AwaitMessage2
    | AwaitMessage3
    | AwaitMessage4
    | AwaitShares
    | AwaitFin
    | Open
)
