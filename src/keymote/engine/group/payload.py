"""GSEC at a member (Triad-1 3.8): the present epoch, the one before it for a while, and what came too early.

A pure value that the membership holds. Nothing is sent under an epoch that is not confirmed, nothing is opened under one
that is over; what a restart must not forget is `durable`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from keymote import cbor
from keymote.crypto.suite import SigningKey
from keymote.engine.base import Now, Peer, Refused, Report, replace
from keymote.engine.faces import Alarm
from keymote.engine.group.epoch import GroupEpoch
from keymote.engine.group.payload_faces import (
    GroupOpened,
    GroupProtected,
    ProtectForGroup,
    RekeyWanted,
    UnprotectForGroup,
)
from keymote.engine.group.traffic import Traffic
from keymote.engine.pairwise.record import MOST_RECORDS
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.gsec import MAX_PLAINTEXT, Encrypt0, read

GRACE_S: Final = 60.0
"""How long the epoch before is still received; not at all after a compromise (Triad-1 3.6)."""
MOST_EARLY: Final = 8
REKEY_AT: Final = MOST_RECORDS - (1 << 16)
"""Own records after which a new epoch is asked for, while there are numbers left."""


@dataclass(frozen=True, slots=True)
class ResourcePolicy:
    """Which resources take records without countersignature: those named and all below them. Every other is a command.

    Commands must be signed, because every member can compute every sender's key (B-12). One policy per gid; a root group
    needs none, its records are always signed.
    """

    telemetry: tuple[str, ...] = ("telemetry",)

    def must_sign(self, resource: str) -> bool:
        return not any(resource == root or resource.startswith(root + "/") for root in self.telemetry)


@dataclass(frozen=True, slots=True)
class Early:
    """A record of an epoch that is agreed on and not confirmed here yet."""

    peer: Peer
    record: Encrypt0 = field(repr=False)
    resource: str


@dataclass(frozen=True, slots=True)
class Payload:
    """What a member can protect and open now. `expected` is the epoch of a run whose COMMIT is due."""

    gid: bytes
    policy: ResourcePolicy = field(default_factory=ResourcePolicy)
    current: Traffic | None = None
    previous: Traffic | None = None
    previous_until: float = 0.0
    expected: int | None = None
    early: tuple[Early, ...] = ()


Outcome = tuple[Payload, Sequence[Report]]


# ------------------------------------------------------------------ epochs


def expect(payload: Payload, epoch: int | None) -> Payload:
    """Keep up to 8 records of the epoch of a run that is nearly done; None: the run is over without a key."""
    return replace(payload, expected=epoch, early=payload.early if epoch == payload.expected else ())


def activate(payload: Payload, epoch: GroupEpoch, now: Now, *, compromised: bool = False) -> Outcome:
    """Send and receive under this confirmed epoch from now on, and open what came early.

    The epoch before is received for 60 s more, or not at all when a compromise is why the group was rekeyed. E_EPOCH for
    an epoch that is not above the present one.
    """
    present = payload.current
    if present is not None and epoch.epoch <= present.epoch.epoch:
        raise PeerFault(ErrorCode.E_EPOCH, f"epoch {epoch.epoch} after epoch {present.epoch.epoch}")
    begun = Payload(
        payload.gid, payload.policy, Traffic.begin(epoch), None if compromised else present, now.mono + GRACE_S
    )
    reports: list[Report] = []
    if payload.expected == epoch.epoch:
        for held in payload.early:
            begun, opened = _unprotect_held(begun, held, now)
            reports += opened
    return begun, reports


def deadline(payload: Payload) -> float | None:
    """Return when the epoch before must be erased."""
    return None if payload.previous is None else payload.previous_until


def due(payload: Payload, now: Now) -> Payload:
    """Erase the epoch before when its time is over."""
    if payload.previous is None or now.mono < payload.previous_until:
        return payload
    return replace(payload, previous=None)


# ------------------------------------------------------------------ records


def step(payload: Payload, command: ProtectForGroup | UnprotectForGroup, signing: SigningKey, now: Now) -> Outcome:
    """Do what an application asks; PeerFault refuses it and changes nothing."""
    match command:
        case ProtectForGroup(plaintext, resource, signed):
            return _protect(payload, signing, plaintext, resource, signed=signed)
        case UnprotectForGroup(peer, data, resource):
            return _unprotect(payload, peer, read(data), resource, now)


def _protect(payload: Payload, signing: SigningKey, plaintext: bytes, resource: str, *, signed: bool) -> Outcome:
    if len(plaintext) > MAX_PLAINTEXT:
        raise PeerFault(ErrorCode.E_LIMIT, f"{len(plaintext)} bytes, a record takes at most {MAX_PLAINTEXT}")
    traffic = payload.current
    if traffic is None:
        raise PeerFault(ErrorCode.E_STATE, "no epoch of this group is confirmed here", do="wait for the next one")
    sent, record = traffic.send(signing, plaintext, resource, signed=signed or _must_sign(payload, traffic, resource))
    epoch = traffic.epoch.epoch
    reports: list[Report] = [GroupProtected(payload.gid, epoch, record)]
    if traffic.tx_next < REKEY_AT <= sent.tx_next:
        reports.append(RekeyWanted(payload.gid, epoch, ErrorCode.E_LIMIT, "nearly 2^20 records sent"))
    return replace(payload, current=sent), reports


def _unprotect(payload: Payload, peer: Peer, record: Encrypt0, resource: str, now: Now) -> Outcome:
    """Open a record under the epoch that its header names; the two epochs in use never share the 16 bits that it has."""
    current, previous = payload.current, payload.previous
    if current is not None and record.epoch16 == current.epoch.epoch16:
        opened, reports = _open(payload, current, peer, record, resource)
        return (payload if opened is current else replace(payload, current=opened)), reports
    if previous is not None and record.epoch16 == previous.epoch.epoch16 and now.mono < payload.previous_until:
        opened, reports = _open(payload, previous, peer, record, resource)
        return (payload if opened is previous else replace(payload, previous=opened)), reports
    if payload.expected is not None and record.epoch16 == payload.expected & 0xFFFF:
        return _hold(payload, Early(peer, record, resource)), ()
    raise PeerFault(ErrorCode.E_EPOCH, "a record of an epoch that is over or unknown")


def _open(
    payload: Payload, traffic: Traffic, peer: Peer, record: Encrypt0, resource: str
) -> tuple[Traffic, Sequence[Report]]:
    epoch = traffic.epoch
    place = epoch.place_of(record.sender)
    kid, signed = epoch.senders[place][0], record.countersignature is not None
    if not signed and _must_sign(payload, traffic, resource):
        raise PeerFault(ErrorCode.E_AUTH, "a command without a countersignature")
    received, result = traffic.receive(place, record, resource)
    if not isinstance(result, PeerFault):
        return received, [GroupOpened(payload.gid, epoch.epoch, kid, record.seq, resource, signed, result)]
    reports: list[Report] = [Refused(peer, result.code, result.what)]
    if received.failures(place) == received.most_failures:
        why = "too many forged records in one sender's name"
        reports += [RekeyWanted(payload.gid, epoch.epoch, ErrorCode.E_LIMIT, why), Alarm("group forgeries", kid, why)]
    return received, reports


def _must_sign(payload: Payload, traffic: Traffic, resource: str) -> bool:
    return traffic.epoch.by_kid or payload.policy.must_sign(resource)


def _hold(payload: Payload, early: Early) -> Payload:
    if len(payload.early) >= MOST_EARLY:
        raise PeerFault(ErrorCode.E_LIMIT, f"more than {MOST_EARLY} records of an epoch that is not confirmed yet")
    return replace(payload, early=(*payload.early, early))


def _unprotect_held(payload: Payload, held: Early, now: Now) -> Outcome:
    try:
        return _unprotect(payload, held.peer, held.record, held.resource, now)
    except PeerFault as fault:
        return payload, [Refused(held.peer, fault.code, fault.what)]


# ------------------------------------------------------------------ across a restart


def durable(payload: Payload, generation: int) -> bytes:
    """Return what must be on disk before an output of this state leaves, at most 205 bytes; empty without an epoch.

    `generation` counts how often this node was restored from a backup. The epoch before is not kept: it does not survive.
    """
    traffic = payload.current
    return b"" if traffic is None else cbor.encode_array(generation, *traffic.durable())


def same_durable(one: Payload, other: Payload) -> bool:
    """Return whether `durable` is surely the same, cheaply."""
    a, b = one.current, other.current
    if a is None or b is None:
        return a is b
    return a.epoch is b.epoch and a.tx_reserved == b.tx_reserved and a.floors is b.floors


def resume(payload: Payload, epoch: GroupEpoch, saved: bytes, generation: int) -> Payload:
    """Return the state after a restart, from what `durable` wrote for this epoch, or wrote without one.

    What an earlier life of the node wrote (a backup was put back: another `generation`) starts no epoch: which numbers
    were sent and received since is unknown, so this member is mute and deaf until the next one.
    """
    if not saved:
        return replace(payload, current=None)
    row: Any = cbor.decode(saved)
    written, tx_reserved, floors = row
    if written != generation:
        return replace(payload, current=None)
    return replace(payload, current=Traffic.resume(epoch, tx_reserved, floors))
