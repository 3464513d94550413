"""The coordinator's decisions, pure: what may be registered, which state follows, who must still acknowledge."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from keymote.engine.renewal import same_keys
from keymote.errors import ErrorCode, PeerFault, RefusedByPolicy
from keymote.host.register import (
    Acknowledgement,
    CredentialState,
    Device,
    DeviceState,
    Event,
    Manager,
    ManagerState,
    Registered,
    Taken,
)
from keymote.wire.credential import Claims, Role, SignedCredential, kid_of

TRANSITIONS: Final[dict[DeviceState, frozenset[DeviceState]]] = {
    DeviceState.PENDING: frozenset({DeviceState.ACTIVE, DeviceState.RETIRED}),
    DeviceState.ACTIVE: frozenset({DeviceState.SUSPENDED, DeviceState.REVOKED, DeviceState.RETIRED}),
    DeviceState.SUSPENDED: frozenset({DeviceState.ACTIVE, DeviceState.REVOKED, DeviceState.RETIRED}),
    DeviceState.REVOKED: frozenset({DeviceState.RETIRED}),
    DeviceState.RETIRED: frozenset(),
}
"""What an operator may ask for. A revoked or retired device becomes active again by a registration alone."""

TOKENS_PER_S: Final = 50.0
BURST: Final = 200.0


@dataclass(frozen=True, slots=True)
class Fresh:
    """The credential enters the register; `supersedes` (a serial) leaves it in the same transaction."""

    state: DeviceState
    supersedes: Registered | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """These very bytes stand in the register: the same receipt is due."""

    registered: Registered


def admit_claims(claims: Claims, caller: Manager, nc_id: bytes) -> None:
    """Return if `caller` may vouch with these claims; E_CRED else. The signature is checked elsewhere."""
    if claims.role is not Role.DEVICE:
        raise PeerFault(ErrorCode.E_CRED, f"a manager registers devices, not a {claims.role.name.lower()}")
    if claims.iss != caller.nm_id:
        raise PeerFault(ErrorCode.E_CRED, "a manager registers what it has issued itself")
    if claims.nc_id != nc_id:
        raise PeerFault(ErrorCode.E_CRED, f"credential names coordinator {claims.nc_id.hex()}, this is {nc_id.hex()}")


def judge_device(
    raw: bytes,
    claims: Claims,
    *,
    held: Device | None,
    same_serial: Registered | None,
    active: Registered | None,
    replaces: bytes | None,
    last: Registered | None = None,
    renewed: Registered | None = None,
) -> Fresh | Again:
    """Decide on a registration whose signature is verified.

    `held` is the device as the register knows it, `same_serial` and `active` are the credentials with this serial and in
    force for this dev_id, `last` is the newest that it ever had. `renewed` is the one that `replaces` names: it may have
    been renewed since, and whoever rejoins has not heard of that.

    Raises:
        Taken: dev_id or serial belongs to another credential and `replaces` does not name it (Triad-1 2.5, D-11).
        PeerFault: E_NOSHARE for the renewal of a credential of a device that is revoked (RN-06).
    """
    if same_serial is not None:
        if same_serial.raw == raw:
            return Again(same_serial)
        raise Taken(f"serial {claims.serial.hex()} belongs to another credential")
    if held is None or held.state is DeviceState.RETIRED:
        return Fresh(DeviceState.ACTIVE)
    if held.nm_id != claims.iss:
        raise Taken(
            f"device {claims.sub.hex()} belongs to manager {held.nm_id.hex()}",
            do="retire it there before another manager enrols it",
        )
    of_old = renewed is not None and renewed.sub == claims.sub and renewed.state is CredentialState.RENEWED
    if replaces is None or (replaces != held.serial and not of_old):
        raise Taken(
            f"device {claims.sub.hex()} is registered with another credential",
            do="name the serial that a rejoin supersedes",
        )
    if held.state is DeviceState.REVOKED and renews(claims, last):
        raise PeerFault(ErrorCode.E_NOSHARE, f"device {claims.sub.hex()} is revoked", do="give it a new label")
    state = DeviceState.ACTIVE if held.state is DeviceState.REVOKED else held.state
    return Fresh(state, active)


def renews(claims: Claims, before: Registered | None) -> bool:
    """Tell whether a credential with these claims is a renewal: for the very keys of the one before it."""
    return before is not None and same_keys(claims, SignedCredential.decode(before.raw).claims)


def judge_manager(
    raw: bytes, claims: Claims, *, held: Manager | None, same_serial: Registered | None
) -> Manager | Again:
    """Decide on the credential that this coordinator's own enrolment gives to a manager; return the manager with it.

    Raises:
        Taken: the serial belongs to another credential.
        PeerFault: E_UNKNOWN_ID for a manager that was never added, E_NOSHARE for a revoked one.
    """
    if same_serial is not None:
        if same_serial.raw == raw:
            return Again(same_serial)
        raise Taken(f"serial {claims.serial.hex()} belongs to another credential")
    if held is None:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"manager {claims.sub.hex()} was never added")
    if held.state is ManagerState.REVOKED:
        raise PeerFault(ErrorCode.E_NOSHARE, f"manager {claims.sub.hex()} is revoked")
    return replace(held, state=ManagerState.ACTIVE, serial=claims.serial, kid=kid_of(raw))


def moved(device: Device, to: DeviceState) -> Device:
    """Return the device in state `to`; the same object when it is there already; RefusedByPolicy for no such way."""
    if device.state is to:
        return device
    if to not in TRANSITIONS[device.state]:
        raise RefusedByPolicy(
            f"device {device.dev_id.hex()} is {device.state} and cannot become {to}",
            do="a revoked device comes back by a rejoin at its manager" if to is DeviceState.ACTIVE else "",
        )
    return replace(device, state=to)


def credential_state(device: DeviceState) -> CredentialState:
    """Return what becomes of a device's credential in force when the device comes into this state."""
    match device:
        case DeviceState.REVOKED:
            return CredentialState.REVOKED
        case DeviceState.RETIRED:
            return CredentialState.RETIRED
        case DeviceState.PENDING | DeviceState.ACTIVE | DeviceState.SUSPENDED:
            return CredentialState.ACTIVE


def status_word(credential: Registered, device: Device | None, manager: Manager | None) -> str:
    """Return what a status query says of a credential: a live one is worth what its device and its manager are."""
    if credential.state not in (CredentialState.ACTIVE, CredentialState.RENEWED):
        return credential.state.value
    if manager is not None and manager.state is ManagerState.REVOKED:
        return ManagerState.REVOKED.value
    if device is None or (credential.state is CredentialState.RENEWED and device.state is DeviceState.ACTIVE):
        return credential.state.value
    return device.state.value


def check_usable(device: Device, manager: Manager | None) -> None:
    """Return if sessions with this device may start; E_NOSHARE when it or its manager is suspended, revoked or gone."""
    if device.state is not DeviceState.ACTIVE:
        raise PeerFault(ErrorCode.E_NOSHARE, f"device {device.dev_id.hex()} is {device.state}")
    if manager is None or manager.state is not ManagerState.ACTIVE:
        raise PeerFault(ErrorCode.E_NOSHARE, f"the manager of device {device.dev_id.hex()} is not active")


@dataclass(frozen=True, slots=True)
class Safety:
    """How far an event has come: managers that have not acknowledged it, and how long the slowest of the others took."""

    waiting: tuple[bytes, ...]
    safe_after_ms: int | None


def safety(event: Event, active: Iterable[bytes], acknowledgements: Iterable[Acknowledgement]) -> Safety:
    """Return the time to safe of `event` over the managers that are `active`; None while one of them is waiting."""
    first: dict[bytes, int] = {}
    for ack in acknowledgements:
        if ack.upto >= event.id:
            first[ack.nm_id] = min(ack.at_ms, first.get(ack.nm_id, ack.at_ms))
    wanted = sorted(active)
    waiting = tuple(nm_id for nm_id in wanted if nm_id not in first)
    if waiting:
        return Safety(waiting, None)
    return Safety((), max((first[nm_id] - event.at_ms for nm_id in wanted), default=0))


@dataclass(frozen=True, slots=True)
class Bucket:
    """A token bucket: what one caller may still ask at `at` (monotonic seconds)."""

    tokens: float
    at: float

    def taken(self, now: float, *, rate: float = TOKENS_PER_S, burst: float = BURST) -> "Bucket | float":
        """Return the bucket after one request, or the seconds to wait when it is empty."""
        tokens = min(burst, self.tokens + (now - self.at) * rate)
        if tokens < 1:
            return (1 - tokens) / rate
        return Bucket(tokens - 1, now)
