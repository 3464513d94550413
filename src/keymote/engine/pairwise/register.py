"""A session as a manager keeps it: who takes part and whether it is alive, never a key (Triad-1 2.6; DESIGN: register)."""

from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final

from keymote import cbor
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point
from keymote.engine.base import CellKey, Peer
from keymote.engine.link_faces import link_to_device
from keymote.engine.member import Member
from keymote.wire.cose import Sign1
from keymote.wire.credential import Claims, SignedCredential, kid_of
from keymote.wire.pairwise import Shreq, XshareAnswer, XshareRequest

DEAD_KEPT_S: Final = 7 * 86400
REPEATED_S: Final = (10, 60, 600, 3600, 6 * 3600, 86400, 3 * 86400)
"""Seconds after a revocation at which its note is said again: nobody acknowledges it, and who was down must hear it."""


@dataclass(frozen=True, slots=True)
class Party:
    """One of the two devices. `own`: it is enrolled here; then `W`, and `bW` once it was needed, are known in memory.

    `named`: it may hold several credentials, so PEERCRED says which one its peer is told (RN-05).
    """

    dev_id: bytes
    credential: bytes
    own: bool
    W: bytes | None = None
    bW: Point | None = None
    named: bool = False

    @property
    def kid(self) -> bytes:
        return kid_of(self.credential)

    @property
    def claims(self) -> Claims:
        return SignedCredential.decode(self.credential).claims

    @property
    def link(self) -> CellKey:
        return link_to_device(self.dev_id)

    @classmethod
    def of(cls, member: Member) -> "Party":
        """Return an own device as a party."""
        named = member.renewed or member.renewal is not None
        return cls(member.claims.sub, member.credential, True, member.W, named=named)


@dataclass(frozen=True, slots=True)
class Shares:
    """What shares are made of, in memory only: k_nm, the foreign manager's ShareObj once it has come, κ1 and κ2."""

    k_nm: Secret | None = None
    foreign: Sign1 | None = None
    kappa1: bytes = field(default=b"", repr=False)
    kappa2: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Asking:
    """The initiator's manager looks for the peer: here (`WantMember`), at the coordinator (`FindDevice`), then by XCRED.

    `found`: the other manager's credential, its coordinator's, its address, and the key to which κ is sealed, or empty.
    """

    psid: bytes
    flags: int
    asker: Party
    peer_id: bytes
    number: int | None = None
    shares: Shares = Shares()
    epoch: int = 0
    found: tuple[bytes, bytes, Peer, bytes] | None = None
    local: Party | None = None
    until: float = 0.0
    attempt: int = 0

    @property
    def nm_id(self) -> bytes | None:
        """Return the id of the manager that was found for the peer."""
        return SignedCredential.decode(self.found[0]).claims.sub if self.found is not None else None


@dataclass(frozen=True, slots=True)
class Called:
    """The responder's manager has XCRED and gathers what its answer needs."""

    psid: bytes
    flags: int
    foreign: Party
    dev_id: bytes
    via: CellKey
    manager: tuple[bytes, bytes, bytes]
    kappa: bytes = field(repr=False)
    vouched: int
    until: float
    number: int | None = None
    shares: Shares = Shares()
    epoch: int = 0
    own: Party | None = None


@dataclass(frozen=True, slots=True)
class Register:
    """A session that this manager takes part in. Durable but for `shares`, the parties' W and bW, `todo` and `seen`.

    `manager`: (nm_id, cred_NM, cred_NC) of the other manager, None when both devices are ours; `via` the link to it.
    `number` names the k_nm that answered first (PW-17). `epoch` is the status epoch under which this manager vouched
    for its devices, `vouched` the other manager's. `todo`: (request, dev_id) that wait for W and k_nm after a restart.
    `seen`: addresses from which (I, R) were heard, for relaying. `post_quantum`: κ1 and κ2 are part of KS; they are in
    `shares`, so after a restart this session gets no more shares (PQ-07).
    """

    psid: bytes
    flags: int
    I: Party  # noqa: E741  # the protocol's name
    R: Party
    manager: tuple[bytes, bytes, bytes] | None
    via: CellKey | None
    number: int
    epoch: int
    vouched: int
    opened: int
    shares: Shares = Shares()
    todo: tuple[tuple[Shreq | XshareRequest | XshareAnswer, bytes], ...] = ()
    seen: tuple[Peer | None, Peer | None] = (None, None)
    post_quantum: bool = False

    @property
    def own(self) -> tuple[Party, ...]:
        """Return the parties that are enrolled here, one or both."""
        if self.I.own:
            return (self.I, self.R) if self.R.own else (self.I,)
        return (self.R,)

    def party(self, dev_id: bytes) -> Party | None:
        """Return the party with this id."""
        if self.I.dev_id == dev_id:
            return self.I
        return self.R if self.R.dev_id == dev_id else None


@dataclass(frozen=True, slots=True)
class Dead:
    """A session that was revoked; kept so that nothing revives it. `note` is our REVNOTE, for repetitions.

    `via` is the link to the other manager when we are the one to tell it; `repeated` counts how often the note was said
    again since.
    """

    psid: bytes
    reason: int
    note: bytes
    since: int
    parties: tuple[bytes, ...] = field(default=())
    via: CellKey | None = None
    repeated: int = 0

    @property
    def wake_at(self) -> int:
        """When the note is due again, or in the end the session may be forgotten."""
        return self.since + (REPEATED_S[self.repeated] if self.repeated < len(REPEATED_S) else DEAD_KEPT_S)


ManagerSessionCell = Asking | Called | Register | Dead


def record(cell: ManagerSessionCell) -> bytes | None:
    """Return the durable part: none before both credentials are known."""
    match cell:
        case Register():
            manager = None if cell.manager is None else list(cell.manager)
            via = None if cell.via is None else cell.via.id
            return cbor.encode_array(
                1,
                0,
                [cell.psid, cell.flags, cell.number, cell.epoch, cell.vouched, cell.opened, cell.post_quantum],
                [cell.I.dev_id, cell.I.credential, cell.I.own, cell.I.named],
                [cell.R.dev_id, cell.R.credential, cell.R.own, cell.R.named],
                manager,
                via,
            )
        case Dead():
            via = None if cell.via is None else cell.via.id
            parties = list(cell.parties)
            return cbor.encode_array(1, 1, cell.psid, cell.reason, cell.note, cell.since, parties, via, cell.repeated)
        case _:
            return None


_STORED = attrgetter(
    *("psid", "flags", "number", "epoch", "vouched", "opened", "post_quantum", "manager", "via"),
    *("I.dev_id", "I.credential", "I.own", "R.dev_id", "R.credential", "R.own"),
)


def same_record(old: ManagerSessionCell, new: ManagerSessionCell) -> bool:
    """Tell of two states that `record` surely makes the same of them."""
    return isinstance(old, Register) and isinstance(new, Register) and bool(_STORED(old) == _STORED(new))


def _party(dev_id: bytes, credential: bytes, own: bool, named: bool = False) -> Party:
    return Party(dev_id, credential, own, named=named)


def load(_id: bytes, row: bytes) -> ManagerSessionCell:
    """Return the cell of a stored record."""
    items: Any = cbor.decode(row, max_size=2048)
    if items[1] == 1:
        _, _, psid, reason, note, since, parties, via, repeated = items
        link = None if via is None else CellKey("link", via)
        return Dead(psid, reason, note, since, tuple(parties), link, repeated)
    _, _, (psid, flags, number, epoch, vouched, opened, *rest), first, second, manager, via = items
    return Register(
        psid,
        flags,
        _party(*first),
        _party(*second),
        None if manager is None else (manager[0], manager[1], manager[2]),
        None if via is None else CellKey("link", via),
        number,
        epoch,
        vouched,
        opened,
        post_quantum=bool(rest and rest[0]),  # rows of before the post-quantum profile have none
    )
