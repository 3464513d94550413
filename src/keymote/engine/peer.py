"""Another manager, as this one knows it: verified credential, highest status epoch, and what waits for a link to it."""

from dataclasses import dataclass
from math import inf
from typing import Any, Final, NamedTuple

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.engine.base import CellKey, Durability, Item, Kind, Now, Output, Peer, Step, Tell, Told, replace
from keymote.engine.context import RegistrarContext
from keymote.engine.faces import DropManager
from keymote.engine.link_faces import Cut, LinkBody, SealBody, link_to_manager
from keymote.engine.renewal import same_keys
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.credential import Role, SignedCredential, kid_of
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Xcred

MOST_WAITING: Final = 256
ALIVE_S: Final = 5.0
"""A link that was made, or spoke, less than so many seconds ago is not replaced for one answer that did not come (AU-09)."""


@dataclass(frozen=True, slots=True)
class PeerCell:
    """`cred_NM` is the credential that it has shown. `linked`: a link that was started here exists, under our credential
    `as_kid`. `waiting`: (session, body) until it does; `alive_at`: when that link
    was made or brought something last, on the monotonic clock; forgotten at restart.

    `hybrid`: whether κ entered the key of the link that was started here, and of the one that was started there.
    """

    nm_id: bytes
    cred_NM: bytes
    cred_NC: bytes
    endpoint: Peer
    epoch: int
    linked: bool = False
    connecting: bool = False
    waiting: tuple[tuple[CellKey, bytes], ...] = ()
    hybrid: tuple[bool, bool] = (False, False)
    alive_at: float = -inf
    as_kid: bytes = b""


# ------------------------------------------------------------------ commands


class SayTo(NamedTuple):
    """Carry `body` to this manager, authenticating first if need be. `afresh`: nothing came back, the link may be dead.

    `hybrid_key`: κ is due, sealed to this public key; empty: none is.
    """

    session: CellKey
    body: bytes
    cred_NM: bytes
    cred_NC: bytes
    endpoint: Peer
    afresh: bool = False
    hybrid_key: bytes = b""


@dataclass(frozen=True, slots=True)
class Authenticated:
    """NMAUTH succeeded. `started_here`: we were its initiator; `hybrid`: κ entered the key of the link."""

    cred_NM: bytes
    cred_NC: bytes
    endpoint: Peer
    started_here: bool
    hybrid: bool = False


@dataclass(frozen=True, slots=True)
class NotAuthenticated:
    """NMAUTH failed; whoever waits must hear it."""

    code: ErrorCode


@dataclass(frozen=True, slots=True)
class CannotReach:
    """To a session: its peer's manager does not authenticate or does not answer."""

    code: ErrorCode


class XcredHeard(NamedTuple):
    """To a session: XCRED of this manager, its status epoch checked. `hybrid`: κ entered the key of `link`."""

    link: CellKey
    manager: PeerCell
    xcred: Xcred
    hybrid: bool = False


@dataclass(frozen=True, slots=True)
class Connect:
    """To a new `nmauth` cell: authenticate with this manager."""

    psid: bytes
    nm_id: bytes
    cred_NM: bytes
    cred_NC: bytes
    endpoint: Peer
    hybrid_key: bytes = b""


def peer_kind(context: RegistrarContext) -> Kind:
    """Return the kind `peer`."""

    def step(cell: PeerCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
        match item:
            case Told(SayTo() as command):
                return _say(context, cell, command, now, entropy)
            case Told(Authenticated(cred_NM, cred_NC, endpoint, started_here, hybrid)):
                nm_id = SignedCredential.decode(cred_NM).claims.sub
                known = cell or PeerCell(nm_id, cred_NM, cred_NC, endpoint, 0)
                if not started_here:
                    hybrids = (known.hybrid[0], hybrid)
                    return replace(known, cred_NM=cred_NM, cred_NC=cred_NC, hybrid=hybrids), ()
                link = link_to_manager(nm_id, started_here=True)
                said = [Tell(link, SealBody(body)) for _, body in known.waiting]
                hybrids = (hybrid, known.hybrid[1])
                linked = replace(known, linked=True, connecting=False, waiting=(), hybrid=hybrids, alive_at=now.mono)
                as_kid = kid_of(context.chain[0])
                return replace(linked, cred_NM=cred_NM, cred_NC=cred_NC, as_kid=as_kid), said
            case DropManager() if cell is not None:
                gone = [Tell(link_to_manager(cell.nm_id, started_here=here), Cut()) for here in (True, False)]
                return replace(cell, linked=False, waiting=()), gone
            case Told(NotAuthenticated(code)) if cell is not None:
                told = [Tell(session, CannotReach(code)) for session, _ in cell.waiting]
                return replace(cell, connecting=False, waiting=()), told
            case Told(LinkBody() as heard) if cell is not None:
                xcred = Xcred.decode(heard.body, sizes_of(1))
                if xcred.status_epoch < cell.epoch:
                    raise PeerFault(ErrorCode.E_CRED, "this manager vouched under a newer status epoch before")
                cell = _heard(cell, heard.link, xcred.status_epoch, now)
                hybrid = cell.hybrid[0 if heard.link == link_to_manager(cell.nm_id, started_here=True) else 1]
                return cell, [Tell(CellKey("session", xcred.psid), XcredHeard(heard.link, cell, xcred, hybrid))]
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not for a peer manager")

    generation = context.generation
    return Kind(
        "peer",
        Durability.DURABLE,
        step,
        record=lambda cell: _record(cell, generation),
        load=lambda nm_id, record: _load(nm_id, record, generation),
    )


def _say(context: RegistrarContext, cell: PeerCell | None, command: SayTo, now: Now, entropy: Entropy) -> Step:
    if cell is None or cell.cred_NM != command.cred_NM:
        verified = context.trust.verify((command.cred_NM, command.cred_NC), Role.MANAGER, now.wall)
        if cell is not None and same_keys(verified.claims, SignedCredential.decode(cell.cred_NM).claims):
            cell = replace(
                cell, linked=False
            )  # one of us has heard of a renewal first: let it show what it has (RN-07)
        else:
            epoch, hybrid = (cell.epoch, cell.hybrid) if cell is not None else (0, (False, False))
            nm_id = verified.claims.sub
            cell = PeerCell(nm_id, command.cred_NM, command.cred_NC, command.endpoint, epoch, hybrid=hybrid)
    dead = command.afresh and now.mono >= cell.alive_at + ALIVE_S
    as_now = cell.hybrid[0] is bool(command.hybrid_key) and cell.as_kid == kid_of(context.chain[0])
    if cell.linked and as_now and not dead:
        return cell, [Tell(link_to_manager(cell.nm_id, started_here=True), SealBody(command.body))]
    if len(cell.waiting) >= MOST_WAITING:
        return cell, [Tell(command.session, CannotReach(ErrorCode.E_BUSY))]
    outputs: list[Output] = []
    if not cell.connecting:
        psid = entropy.draw(8)
        named = (command.cred_NM, command.cred_NC, command.endpoint)
        connect = Connect(psid, cell.nm_id, *named, command.hybrid_key)
        outputs.append(Tell(CellKey("nmauth", psid), connect))
    waiting = (*cell.waiting, (command.session, command.body))
    return replace(cell, linked=False, connecting=True, waiting=waiting, endpoint=command.endpoint), outputs


def _heard(cell: PeerCell, link: CellKey, epoch: int, now: Now) -> PeerCell:
    ours = link == link_to_manager(cell.nm_id, started_here=True)
    if epoch == cell.epoch and not (ours and now.mono >= cell.alive_at + 1.0):  # to the second is exact enough
        return cell
    return replace(cell, epoch=epoch, alive_at=now.mono if ours else cell.alive_at)


def _record(cell: PeerCell, generation: int) -> bytes:
    known = (cell.cred_NM, cell.cred_NC, cell.endpoint, cell.epoch, cell.linked)
    return cbor.encode_array(1, *known, generation, *cell.hybrid, cell.as_kid)


def _load(nm_id: bytes, record: bytes, generation: int) -> PeerCell:
    """Return the cell of a record; a link that a backup remembers is not used again (LK-10)."""
    row: Any = cbor.decode(record, max_size=2048)
    _, cred_NM, cred_NC, endpoint, epoch, linked, written, *rest = row
    here, there, as_kid = rest if len(rest) == 3 else (False, False, b"")  # older rows: the link is made anew
    linked = linked and written == generation
    return PeerCell(nm_id, cred_NM, cred_NC, endpoint, epoch, linked, hybrid=(here, there), as_kid=as_kid)
