"""The states of an enrolment at the registrar, by which names datagrams find them, and what is stored of them.

Up to BIND a run is memory only; from BIND on it is part of the record.
"""

from dataclasses import dataclass
from typing import Any

from keymote import cbor
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, VerifyKey
from keymote.engine.base import (
    Peer,
)
from keymote.engine.enrolment import renewal
from keymote.engine.enrolment.schedule import Run
from keymote.engine.member import (
    ACTIVE,
    Member,
)
from keymote.wire.enrolment import (
    Join,
)


@dataclass(frozen=True, slots=True)
class Code:
    """A label that somebody may use once. `replaces`: serial of the credential that its use supersedes, or empty."""

    prs: Secret
    weak: bool
    failures: int = 0
    replaces: bytes = b""


@dataclass(frozen=True, slots=True)
class AwaitShare:
    """OFFER is out. The code is proved by nobody yet."""

    run: Run
    join: Join
    e_NM: Point
    offer: bytes
    peer: Peer
    until: float


@dataclass(frozen=True, slots=True)
class AwaitBind:
    """A valid SHARE came: whoever this is knows the code."""

    run: Run
    W: Point
    e_NM: Point
    E1: Point
    key: VerifyKey
    share: bytes
    vpt: bytes
    peer: Peer
    until: float


@dataclass(frozen=True, slots=True)
class AwaitRegistration:
    """BIND verified, CRED sealed; the coordinator has to know the credential before the device gets it (EN-19)."""

    credential: bytes
    W: bytes
    bind_digest: bytes
    cred: bytes
    done: bytes
    K_link: Secret
    peer: Peer
    ask_again: int


@dataclass(frozen=True, slots=True)
class AwaitDone:
    """CRED is out and may be repeated for an hour, bit by bit the same (EN-23)."""

    bind_digest: bytes
    cred: bytes
    done: bytes
    peer: Peer
    until: int


Phase = AwaitShare | AwaitBind | AwaitRegistration | AwaitDone


@dataclass(frozen=True, slots=True)
class RegistrarCell:
    dev_id: bytes
    code: Code | None = None
    phase: Phase | None = None
    member: Member | None = None
    not_before: float = 0.0


def endpoint_alias(peer: Peer) -> bytes:
    """Return the alias by which SHARE, BIND and DONE, which name nobody, find their run (EN-25)."""
    return b"@" + peer.encode()


def bind_alias(wire: bytes) -> bytes:
    """Return the alias by which a repeated BIND finds its run from a new endpoint, after a reboot of the device."""
    return b"#" + sha256(wire)[:16]


def aliases(cell: RegistrarCell) -> tuple[bytes, ...]:
    match cell.phase:
        case AwaitShare() | AwaitBind():
            return (endpoint_alias(cell.phase.peer),)
        case AwaitRegistration() | AwaitDone():
            return endpoint_alias(cell.phase.peer), b"#" + cell.phase.bind_digest[:16]
        case None:
            return ()


def wake_at(cell: RegistrarCell) -> int | None:
    match cell.phase:
        case AwaitRegistration():
            return cell.phase.ask_again
        case AwaitDone():
            return cell.phase.until
        case None if cell.member is not None and cell.member.status == ACTIVE:
            return renewal.wake_at(cell.member)
        case _:
            return None


def record_of(cell: RegistrarCell) -> bytes:
    code = cell.code and [cell.code.prs.expose(), cell.code.weak, cell.code.failures, cell.code.replaces]
    phase: list[object] | None = None
    match cell.phase:
        case AwaitRegistration() as p:
            phase = [1, p.credential, p.W, p.bind_digest, p.cred, p.done, p.K_link.expose(), p.peer, p.ask_again]
        case AwaitDone() as p:
            phase = [2, p.bind_digest, p.cred, p.done, p.peer, p.until]
    return cbor.encode_array(1, code, phase, cell.member and cell.member.items())


def load(dev_id: bytes, record: bytes) -> RegistrarCell:
    row: Any = cbor.decode(record, max_size=4096)
    _, code, phase, member = row
    waiting: Phase | None = None
    match phase:
        case [1, credential, W, bind_digest, cred, done, K_link, peer, ask_again]:
            waiting = AwaitRegistration(credential, W, bind_digest, cred, done, Secret(K_link), peer, ask_again)
        case [2, bind_digest, cred, done, peer, until]:
            waiting = AwaitDone(bind_digest, cred, done, peer, until)
    return RegistrarCell(
        dev_id,
        code and Code(Secret(code[0]), *code[1:]),
        waiting,
        member and Member.of(member),
    )
