"""Members that speak HTTP, in a ring beside those that speak CoAP: the same messages, and a bridge where the ring uses multicast.

This stands between the driver and the CoAP link. What the node sends to a member at HTTP waits in its mailbox; what is said
to everybody by multicast is copied there, from both sides, because HTTP has none (docs/decisions/0167).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from keymote import cbor
from keymote.engine.base import MULTICAST, CellKey, Peer, Send
from keymote.engine.group.faces import ring_of
from keymote.engine.group.relaying import Allowance
from keymote.engine.group.ring_states import RingCell
from keymote.engine.node import group_in
from keymote.errors import ErrorCode, PeerFault
from keymote.host.ports import Link
from keymote.manager.mailboxes import Mail, Mailboxes
from keymote.wire.fields import Sizes, sizes_of
from keymote.wire.group import (
    MOST,
    Bundle,
    JoinRequest,
    Round1,
    Round1Claims,
    Round1Compact,
    Round2,
    Round2Claims,
    Round3,
)
from keymote.wire.group_record import GroupRecord
from keymote.wire.group_signed import read
from keymote.wire.registry import peek

MOST_SAID: Final = 2 * MOST
"""Messages in one answer, as in a bundle."""
_SIZE: Final = cbor.MAX_SIZE_BUNDLE - 16
"""Bytes of messages in one answer, so that it is a bundle."""
_SIGNED_ELEMENTS: Final = 2
"""[mt, COSE_Sign1]; R3 has two forms."""
_SCHEME: Final = "http:"
_SAID_TO_ALL: Final = frozenset({Round1.mt, Round1Compact.mt, Round2.mt, GroupRecord.mt})
"""What members say to each other by multicast, where they have it."""


class Posted(NamedTuple):
    """The answer to a post: a bundle, empty when nothing waits, and the number to ask for next."""

    following: int
    bundle: bytes


class Host(Protocol):
    """The node behind the face."""

    async def receive(self, peer: Peer, data: bytes) -> Sequence[Any]: ...

    def look(self, key: CellKey) -> Any | None:
        """Return the newest state of the cell that `key` names by its id or by an alias."""
        ...


def address_of(gid: bytes, kid: bytes, client: str) -> Peer:
    """Return the handle of a member at HTTP, who posts from the IP address `client`.

    The path alone would let anybody anywhere speak as an address that the ring has verified (GF-03).
    """
    return f"{_SCHEME}{gid.hex()}/{kid.hex()}/{client}"


class GroupFace:
    """A `Link` over another one, and the door for posts."""

    def __init__(self, air: Link, clock: Callable[[], float]) -> None:
        self._air = air
        self._clock = clock
        self._host: Host | None = None
        self._allowance = Allowance()
        self.reliable = air.reliable
        self.mailboxes: Final = Mailboxes()

    def attach(self, host: Host) -> None:
        """Serve `host` from now on."""
        self._host = host

    # ------------------------------------------------------------------ the link

    def send(self, peer: Peer, data: bytes, failed: Callable[[], None] | None) -> None:
        """Put into a mailbox what is for a member at HTTP; hand everything else on, and copy what is for a whole ring."""
        if peer.startswith(_SCHEME):
            gid, kid, _ = peer.removeprefix(_SCHEME).split("/")
            self.mailboxes.put(bytes.fromhex(gid), bytes.fromhex(kid), _apart(data), self._clock())
            return
        if peer == MULTICAST:
            self._copy(data, but=b"")
        self._air.send(peer, data, failed)

    def overheard(self, data: bytes) -> None:
        """Copy what a member has said to its whole ring by CoAP; anything else is left alone."""
        if len(data) > 2 and data[1:2] == b"\x18" and data[2] in _SAID_TO_ALL:
            self._copy(data, but=b"")

    def _copy(self, data: bytes, *, but: bytes) -> None:
        """Put a message of a ring that speaks by multicast into the mailboxes of its members but one."""
        ring = self._ring_of(data)
        if ring is None or not ring.lasting.plan.multicast:
            return
        here = {kid for kid, peer in ring.peers.items() if peer.startswith(_SCHEME)}
        for kid in sorted((here | self.mailboxes.members(ring.gid)) - {but}):
            self.mailboxes.put(ring.gid, kid, _apart(data), self._clock())

    # ------------------------------------------------------------------ the door

    def sizes(self, gid: bytes) -> Sizes:
        """Return the lengths of the group's suite; E_UNKNOWN_ID for a group that is not led here."""
        return sizes_of(self._ring(gid).lasting.charter.suite)

    async def post(self, gid: bytes, kid: bytes, client: str, data: bytes, after: int, wait_s: float) -> Posted:
        """Take in one message, or none (empty), and return what waits for this member from number `after` on.

        `client` is the IP address that the post comes from.

        A message that means nothing is answered like one that does. A stranger to the roster has no mailbox: it gets what the
        ring answers at once.

        Raises:
            PeerFault: E_UNKNOWN_ID for a group that is not led here, E_STATE for a message that is none of this group's or
                not this member's.
            Unavailable: the node cannot serve.
        """
        ring = self._ring(gid)
        if data:
            self._check(ring, kid, data)
        known = ring.lasting.entry(kid) is not None
        if known:
            self.mailboxes.visit(gid, kid, self._clock())
        answers: list[bytes] = []
        if data:
            assert self._host is not None
            sends = await self._host.receive(address_of(gid, kid, client), data)
            answers = [part for effect in sends if isinstance(effect, Send) for part in _apart(effect.data)]
        if not known:
            return Posted(0, _bundle(gid, answers[:MOST_SAID]))
        self.mailboxes.put(gid, kid, answers, self._clock())
        if data and peek(data)[0] in _SAID_TO_ALL and self._may_say(gid, kid, client):
            self._copy(data, but=kid)
            self._air.send(MULTICAST, data, None)
        mail = await self._mail(gid, kid, after, wait_s)
        return Posted(mail.following, _bundle(gid, mail.datagrams))

    async def _mail(self, gid: bytes, kid: bytes, after: int, wait_s: float) -> Mail:
        mail = self.mailboxes.fetch(gid, kid, after, MOST_SAID, _SIZE)
        if mail.datagrams or wait_s <= 0:
            return mail
        try:
            async with asyncio.timeout(wait_s):
                await self.mailboxes.beyond(gid, kid, mail.following)
        except TimeoutError:
            return mail
        return self.mailboxes.fetch(gid, kid, mail.following, MOST_SAID, _SIZE)

    def _may_say(self, gid: bytes, kid: bytes, client: str) -> bool:
        """Return whether a member's word goes to its whole ring by multicast: the gateway has verified it, within its rate."""
        ring, address = self._ring(gid), address_of(gid, kid, client)
        verified = ring.lasting.plan.multicast and ring.peers.get(kid) == address
        return verified and self._allowance.allows(gid, address, self._clock())

    def _check(self, ring: RingCell, kid: bytes, data: bytes) -> None:
        """Return if this message is of this group and can be this member's: nobody's mail goes astray by mistake."""
        named = group_in(data)
        if named is None or self._look(named) is not ring:
            raise PeerFault(ErrorCode.E_STATE, "not a message of this group, or of a run that is over")
        if _speaker(ring, data) not in (None, kid):
            raise PeerFault(ErrorCode.E_STATE, "a message of another member", do="post it to that one's address")

    def _ring(self, gid: bytes) -> RingCell:
        ring = self._look(gid)
        if ring is None or ring.gid != gid:
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, "no group of this id is led here", do="check the id")
        return ring

    def _ring_of(self, data: bytes) -> RingCell | None:
        """Return the ring that a message names by its gid or by the run."""
        try:
            named = group_in(data)
        except PeerFault:
            return None
        return None if named is None else self._look(named)

    def _look(self, named: bytes) -> RingCell | None:
        ring = None if self._host is None else self._host.look(ring_of(named))
        return ring if isinstance(ring, RingCell) else None


def _speaker(ring: RingCell, data: bytes) -> bytes | None:
    """Return the kid of the member who says this, as it claims; None where a message names nobody, or its run is over."""
    sizes, run = sizes_of(ring.lasting.charter.suite), ring.run
    match peek(data)[0]:
        case JoinRequest.mt:
            return JoinRequest.decode(data, sizes).envelope.kid
        case Round1.mt:
            idx = read(data, Round1Claims, sizes).claims.idx
        case Round2.mt:
            idx = read(data, Round2Claims, sizes).claims.idx
        case Round1Compact.mt:
            idx = Round1Compact.decode(data, sizes).idx
        case Round3.mt if peek(data)[1] > _SIGNED_ELEMENTS:
            idx = Round3.decode(data, sizes).idx
        case _:
            return None
    return run.held.entries[idx].kid if run is not None and idx < run.n else None


def _apart(data: bytes) -> Sequence[bytes]:
    """Return the messages in a bundle, any other message alone: answers are bundles, and no bundle carries another."""
    if peek(data)[0] != Bundle.mt:
        return (data,)
    return Bundle.decode(data, sizes_of(1)).datagrams  # it has no field whose length depends on the suite


def _bundle(gid: bytes, datagrams: Sequence[bytes]) -> bytes:
    return Bundle(gid, tuple(datagrams)).encode() if datagrams else b""
