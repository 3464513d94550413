"""A registrar's door: HELLO, cookies and rate limits before any elliptic curve arithmetic (Triad-1 1.14, 2.4 E0)."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import mac16, sha256
from keymote.crypto.secret import Secret, equal
from keymote.engine.base import (
    MULTICAST,
    Due,
    Durability,
    Item,
    Kind,
    Now,
    Output,
    Peer,
    Received,
    Send,
    Step,
    Tell,
    replace,
)
from keymote.engine.context import RegistrarContext, RegistrarPolicy
from keymote.engine.faces import HelloIs, OpenDoor, SayHello, enrolment_of
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.cose import sign1
from keymote.wire.credential import kid_of
from keymote.wire.enrolment import Cookie, Hello, HelloClaims, Join, SignedHello
from keymote.wire.fields import sizes_of

COOKIE_KEY_S: Final = 60.0
MOST_SOURCES: Final = 4096
"""Sources whose buckets are remembered; the oldest make room (DS-11)."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """A HELLO as it went out."""

    hello: Hello
    wire: bytes
    made_at: float


@dataclass(frozen=True, slots=True)
class Admitted:
    """A JOIN that passed the door, with the HELLO it answers."""

    join: Join
    hello: Announcement
    peer: Peer


@dataclass(slots=True)
class Traffic:
    """Token buckets and the rate of JOINs: counters beside the state, bounded."""

    sources: dict[Peer, tuple[float, float]] = field(default_factory=dict)
    recent: deque[float] = field(default_factory=deque)

    def busy(self, now: float, threshold: int) -> bool:
        """Count one JOIN; return whether more than `threshold` came within the last second."""
        recent = self.recent
        recent.append(now)
        while recent and recent[0] <= now - 1.0:
            recent.popleft()
        while len(recent) > threshold + 1:
            recent.popleft()
        return len(recent) > threshold

    def take(self, peer: Peer, now: float, per_minute: int) -> bool:
        """Take a token of this source's bucket; False when it is empty (DS-01)."""
        tokens, at = self.sources.pop(peer, (float(per_minute), now))
        tokens = min(float(per_minute), tokens + (now - at) * per_minute / 60.0)
        self.sources[peer] = (max(tokens - 1.0, 0.0) if tokens >= 1.0 else tokens, now)
        if len(self.sources) > MOST_SOURCES:
            del self.sources[next(iter(self.sources))]
        return tokens >= 1.0


@dataclass(frozen=True, slots=True)
class GateCell:
    current: Announcement
    previous: Announcement | None
    cookie_key: Secret
    cookie_key_before: Secret
    cookie_key_at: float
    traffic: Traffic
    open: bool = False


def gate_kind(context: RegistrarContext) -> Kind:
    """Return the kind `gate`; the status epoch in HELLO is informative, so the one of the start is repeated."""

    def step(cell: GateCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
        outputs: list[Output] = []
        if cell is None:
            cell = _opened(context, now, entropy)
        cell, renewed = _renewed(cell, context, now, entropy)
        match item:
            case OpenDoor():
                cell = replace(cell, open=True)
                renewed = True
            case SayHello():
                outputs.append(HelloIs(cell.current.wire))
            case Received(peer, data):
                return cell, _admit(cell, peer, data, now, context.policy)
            case Due():
                pass
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not for the gate")
        if renewed and cell.open and context.policy.multicast:
            outputs.append(Send(MULTICAST, cell.current.wire))
        return cell, outputs

    return Kind(
        "gate",
        Durability.VOLATILE,
        step,
        deadline=lambda cell: cell.current.made_at + context.policy.hello_period_s if cell.open else None,
    )


def _opened(context: RegistrarContext, now: Now, entropy: Entropy) -> GateCell:
    announcement = _announcement(context, now, entropy)
    key = Secret(entropy.draw(32))
    return GateCell(announcement, None, key, Secret(entropy.draw(32)), now.mono, Traffic())


def _announcement(context: RegistrarContext, now: Now, entropy: Entropy) -> Announcement:
    hello = Hello(context.id, context.nc_id, tuple(sorted(context.suites)), entropy.draw(16), 0)
    if not context.policy.sign_hello:
        return Announcement(hello, hello.encode(), now.mono)
    claims = HelloClaims(hello.nm_id, hello.nc_id, hello.suites, hello.hello_n, hello.status_epoch)
    envelope = sign1(context.signing, Hello.mt, claims.encode(), kid=kid_of(context.chain[0]))
    return Announcement(hello, SignedHello(envelope).encode(), now.mono)


def _renewed(cell: GateCell, context: RegistrarContext, now: Now, entropy: Entropy) -> tuple[GateCell, bool]:
    """Renew hello_n and the cookie key when they are old enough (EN-03, DS-04)."""
    renewed = False
    if now.mono >= cell.current.made_at + context.policy.hello_period_s:
        cell = replace(cell, current=_announcement(context, now, entropy), previous=cell.current)
        renewed = True
    if now.mono >= cell.cookie_key_at + COOKIE_KEY_S:
        fresh = Secret(entropy.draw(32))
        cell = replace(cell, cookie_key=fresh, cookie_key_before=cell.cookie_key, cookie_key_at=now.mono)
    return cell, renewed


def _admit(cell: GateCell, peer: Peer, data: bytes, now: Now, policy: RegistrarPolicy) -> list[Output]:
    items = cbor.decode_array(data)
    suite = items[1] if len(items) > 1 else None
    if type(suite) is not int:
        raise PeerFault(ErrorCode.E_FORMAT, "JOIN without a suite")
    join = Join.from_items(items, sizes_of(suite))
    if join.suite not in cell.current.hello.suites:
        raise PeerFault(ErrorCode.E_SUITE, f"suite {join.suite} is not offered here")
    hello = _answered(cell, join)
    busy = cell.traffic.busy(now.mono, policy.cookie_above_per_s)
    if join.cookie is not None:
        present = equal(join.cookie, _cookie(cell.cookie_key, peer, join))
        before = equal(join.cookie, _cookie(cell.cookie_key_before, peer, join))
        if not (present or before):
            raise PeerFault(ErrorCode.E_COOKIE, "cookie is stale or not for this source")
    elif busy or policy.cookies_always:
        return [Send(peer, Cookie(_cookie(cell.cookie_key, peer, join)).encode())]
    if not cell.traffic.take(peer, now.mono, policy.joins_per_source_per_min):
        raise PeerFault(ErrorCode.E_LIMIT, "too many JOINs from one source")
    return [Tell(enrolment_of(join.dev_id), Admitted(join, hello, peer))]


def _answered(cell: GateCell, join: Join) -> Announcement:
    for announcement in (cell.current, cell.previous):
        if announcement is not None and announcement.hello.hello_n[:8] == join.hello_n8:
            return announcement
    raise PeerFault(ErrorCode.E_UNKNOWN_ID, "JOIN answers a HELLO that is not ours or too old")


def _cookie(key: Secret, peer: Peer, join: Join) -> bytes:
    """Return HMAC(K_ck, source, dev_id, SHA256(JOIN without cookie))[0:16] (DS-03)."""
    bare = join if join.cookie is None else replace(join, cookie=None)
    return mac16(key, peer.encode(), b"\0", join.dev_id, sha256(bare.encode()))
