"""The states of an enrolment at the newcomer, and what is stored of them.

Up to BIND everything is memory only; after CRED only the membership is left.
"""

from dataclasses import dataclass, field
from typing import Any

from keymote import cbor
from keymote.crypto.kdf import Transcript
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point
from keymote.engine.base import (
    Peer,
    replace,
)
from keymote.engine.context import (
    ENROLMENT_REPETITIONS,
    DeviceContext,
    Membership,
)
from keymote.engine.enrolment.schedule import Run
from keymote.engine.group.invitation import Invitation
from keymote.engine.renewal import due_at
from keymote.errors import ErrorCode, Incompatible, PeerFault
from keymote.wire.cose import Sign1
from keymote.wire.credential import Credential, SignedCredential, kid_of
from keymote.wire.enrolment import (
    Hello,
    Join,
)


@dataclass(frozen=True, slots=True)
class Repeat:
    """The datagram to send again, bit by bit, until an answer comes (EN-26)."""

    peer: Peer
    data: bytes
    at: float
    left: int = ENROLMENT_REPETITIONS


@dataclass(frozen=True, slots=True)
class AwaitHello:
    prs: Secret
    failures: int = 0
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class AwaitOffer:
    """JOIN is out."""

    prs: Secret
    failures: int
    hello: Hello
    envelope: Sign1 | None
    join: Join
    y_D: Secret
    T: Transcript
    repeat: Repeat


@dataclass(frozen=True, slots=True)
class AwaitVpt:
    """OFFER proved that the registrar knows the code; SHARE is out."""

    prs: Secret
    failures: int
    hello: Hello
    envelope: Sign1 | None
    run: Run
    d: Secret
    W: Point
    e_NM: Point
    e_D: Point = field(repr=False)
    repeat: Repeat


@dataclass(frozen=True, slots=True)
class AwaitCred:
    """BIND is out, and with it in the record (DR: from BIND on)."""

    prs: Secret
    failures: int
    registrar: bytes
    nc_id: bytes
    envelope: Sign1 | None
    run: Run
    d: Secret
    V: Point
    E1: Point
    E2: Point
    repeat: Repeat


@dataclass(frozen=True, slots=True)
class Registered:
    """A member. `done` answers a repeated CRED; `revoke_ctr` counts this device's REVOKEs; `vouched` is the highest
    status epoch heard of each manager, by kid. `former` is the credential before the last renewal, which peers may still
    be told; `ask_at` (UTC seconds) when to ask for a newer one. `groups`: those that it was invited to.
    """

    membership: Membership
    registrar: bytes
    cred_digest: bytes
    done: bytes
    revoke_ctr: int = 0
    vouched: tuple[tuple[bytes, int], ...] = ()
    former: bytes = b""
    ask_at: int = 0
    groups: tuple[Invitation, ...] = ()

    def known_as(self, kid: bytes | None) -> Membership:
        """Return what this device is under its credential `kid`; without one, under the oldest that it holds (RN-05).

        Raises:
            PeerFault: E_CRED for a credential that it does not hold.
        """
        own = self.membership
        if kid == own.credential.kid or (kid is None and not self.former):
            return own
        if self.former and kid in (None, kid_of(self.former)):
            return replace(own, credential=unverified(self.former))
        raise PeerFault(ErrorCode.E_CRED, "the manager names a credential that this device does not hold")


NewcomerCell = AwaitHello | AwaitOffer | AwaitVpt | AwaitCred | Registered


def unverified(raw: bytes) -> Credential:
    """Return a credential of our own record, which was verified before it got there."""
    return Credential(raw, SignedCredential.decode(raw).claims, kid_of(raw))


def deadline_of(cell: NewcomerCell) -> float | None:
    return cell.repeat.at if isinstance(cell, (AwaitOffer, AwaitVpt, AwaitCred)) else None


def same_record(old: NewcomerCell, new: NewcomerCell) -> bool:
    match old, new:
        case ((AwaitHello() | AwaitOffer() | AwaitVpt()), (AwaitHello() | AwaitOffer() | AwaitVpt())):
            return old.prs is new.prs and old.failures == new.failures
        case _:
            return False


def record_of(cell: NewcomerCell) -> bytes:
    match cell:
        case AwaitHello() | AwaitOffer() | AwaitVpt():
            return cbor.encode_array(1, 0, cell.prs.expose(), cell.failures)
        case AwaitCred():
            run = [cell.run.P.expose(), cell.run.T.value]
            envelope = cell.envelope and cell.envelope.encode()
            keys = [cell.d.expose(), cell.V, cell.E1, cell.E2]
            repeat = [cell.repeat.peer, cell.repeat.data]
            head = [cell.prs.expose(), cell.failures, cell.registrar, cell.nc_id]
            return cbor.encode_array(1, 1, head, envelope, run, keys, repeat)
        case Registered():
            own = cell.membership
            member: list[object] = [own.d.expose(), own.V, own.credential.raw, list(own.issuers)]
            rest = [cell.registrar, cell.cred_digest, cell.done, cell.revoke_ctr, cell.former, cell.ask_at]
            groups = [list(invitation) for invitation in cell.groups]
            return cbor.encode_array(1, 2, member, rest, [list(entry) for entry in cell.vouched], groups)


def load(record: bytes, context: DeviceContext) -> NewcomerCell:
    row: Any = cbor.decode(record, max_size=4096)
    match row:
        case [1, 0, prs, failures]:
            return AwaitHello(Secret(prs), failures)
        case [1, 1, [prs, failures, registrar, nc_id], envelope, [P, T], [d, V, E1, E2], [peer, data]]:
            return AwaitCred(
                Secret(prs),
                failures,
                registrar,
                nc_id,
                envelope and Sign1.decode(envelope, kid=True),
                Run(context.suite, Secret(P), Transcript(T)),
                Secret(d),
                V,
                E1,
                E2,
                Repeat(peer, data, 0.0),
            )
        case [1, 2, [d, V, raw, issuers], [registrar, cred_digest, done, revoke_ctr, *renewal], vouched, *rest]:
            credential = unverified(raw)
            membership = Membership(Secret(d), V, credential, tuple(issuers))
            known = tuple((kid, epoch) for kid, epoch in vouched)
            former, ask_at = renewal or (b"", due_at(credential.claims))  # rows of before renewal have neither
            groups = tuple(Invitation(gid, place) for gid, place in (rest[0] if rest else ()))  # rows of before groups
            return Registered(membership, registrar, cred_digest, done, revoke_ctr, known, former, ask_at, groups)
        case _:
            raise Incompatible(
                "the stored enrolment is of another version", do="enrol the device again (device rejoin)"
            )
