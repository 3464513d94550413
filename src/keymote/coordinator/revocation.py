"""Taking away: suspension, retirement and revocation, each one transaction with its event and its audit entry."""

from dataclasses import replace

from keymote.coordinator import group_changes, rules, topic_changes
from keymote.coordinator.desk import OPERATOR, Desk, by_manager
from keymote.coordinator.group_conflicts import Conflicts
from keymote.errors import ErrorCode, PeerFault
from keymote.host.group_register import Gone
from keymote.host.ledger import Transaction
from keymote.host.register import (
    CredentialState,
    Device,
    DeviceState,
    Event,
    Manager,
    ManagerState,
    Registered,
    Revocation,
    RevocationKind,
)
from keymote.host.topic_register import Why
from keymote.wire.credential import SignedCredential
from keymote.wire.fields import SIZES
from keymote.wire.pairwise import Revnote, RevnoteClaims

MT_REVNOTE = 30


class Revocations:
    """Revoking twice is revoking once: the first line of the list is returned again."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def change_state(self, dev_id: bytes, to: DeviceState) -> Device:
        """Suspend, resume or retire a device by an operator's word; RefusedByPolicy for a way that does not exist."""
        device = await self._desk.ledger.write(lambda tx: self._change(tx, dev_id, to))
        self._desk.news.ring()
        return device

    async def revoke(self, kind: RevocationKind, subject: bytes, reason: int) -> Revocation:
        """Revoke a device (dev_id), a manager (nm_id) or a credential (serial) by an operator's word.

        Raises:
            PeerFault: E_UNKNOWN_ID when the register does not know the subject, E_FORMAT for a session.
            RefusedByPolicy: the device is retired.
        """
        revocation = await self._desk.ledger.write(lambda tx: self._revoke(tx, kind, subject, reason))
        self._desk.news.ring()
        return revocation

    async def report_session(self, caller: bytes, revnote: bytes) -> Revocation:
        """Enter a manager's signed note that a session is dead (Triad-1 2.8).

        Raises:
            PeerFault: E_FORMAT or E_AUTH when the note is not signed by the caller's own key, under whichever of its
                credentials (RN-07); E_NOSHARE when the caller is not active.
        """
        envelope = Revnote.decode(revnote, SIZES[1]).envelope
        claims = RevnoteClaims.decode(envelope.payload, SIZES[1])

        def issuer(tx: Transaction) -> Registered:
            manager = tx.manager(caller)
            if manager is None or manager.state is not ManagerState.ACTIVE or manager.serial is None:
                raise PeerFault(ErrorCode.E_NOSHARE, f"manager {caller.hex()} is not active")
            credential = tx.credential(manager.serial)
            if credential is None:
                raise PeerFault(ErrorCode.E_NOSHARE, f"manager {caller.hex()} has no credential")
            return credential

        above = SignedCredential.decode((await self._desk.ledger.read(issuer)).raw).claims
        suite = self._desk.identity.trust.suite(above.suite)
        envelope.check(suite.verify_key(above.sig_pk), MT_REVNOTE)
        revocation = await self._desk.ledger.write(lambda tx: self._session(tx, caller, claims, revnote))
        self._desk.news.ring()
        return revocation

    def _change(self, tx: Transaction, dev_id: bytes, to: DeviceState) -> Device:
        device = _device(tx, dev_id)
        after = rules.moved(device, to)
        if after is device:
            return device
        tx.put_device(after)
        data: dict[str, str | int] = {"manager": device.nm_id.hex(), "serial": device.serial.hex()}
        if to is DeviceState.RETIRED:
            tx.set_credential(device.serial, rules.credential_state(to))
            data["status_epoch"] = tx.count("status_epoch")
        verb = {DeviceState.SUSPENDED: "suspend", DeviceState.ACTIVE: "resume", DeviceState.RETIRED: "retire"}[to]
        self._desk.announce(tx, f"device.{verb}", dev_id, **data)
        self._desk.note(tx, OPERATOR, f"device.{verb}", dev_id)
        match to:
            case DeviceState.ACTIVE:
                group_changes.device_back(self._desk, tx, dev_id)
                topic_changes.device_back(self._desk, tx, dev_id)
            case DeviceState.SUSPENDED:
                group_changes.device_gone(self._desk, tx, dev_id, Gone.SUSPENDED)
                topic_changes.device_gone(self._desk, tx, dev_id, Why.SUSPENDED)
            case DeviceState.RETIRED:
                group_changes.device_gone(self._desk, tx, dev_id, Gone.RETIRED)
                topic_changes.device_gone(self._desk, tx, dev_id, Why.RETIRED)
                Conflicts(self._desk, tx).device_free(dev_id)
        return after

    def _revoke(self, tx: Transaction, kind: RevocationKind, subject: bytes, reason: int) -> Revocation:
        match kind:
            case RevocationKind.DEVICE:
                return self._revoke_device(tx, _device(tx, subject), reason)
            case RevocationKind.MANAGER:
                return self._revoke_manager(tx, _manager(tx, subject), reason)
            case RevocationKind.CREDENTIAL:
                return self._revoke_credential(tx, _credential(tx, subject), reason)
            case RevocationKind.SESSION:
                raise PeerFault(ErrorCode.E_FORMAT, "a session is revoked by its manager's note")

    def _revoke_device(self, tx: Transaction, device: Device, reason: int) -> Revocation:
        after = rules.moved(device, DeviceState.REVOKED)
        known = tx.revocation_of(RevocationKind.DEVICE, device.dev_id)
        if after is device and known is not None:
            return known
        tx.put_device(after)
        tx.set_credential(device.serial, rules.credential_state(DeviceState.REVOKED))
        ids = {"manager": device.nm_id, "serial": device.serial}
        line = self._list(tx, RevocationKind.DEVICE, device.dev_id, reason, **ids)
        group_changes.device_gone(self._desk, tx, device.dev_id, Gone.REVOKED)
        topic_changes.device_gone(self._desk, tx, device.dev_id, Why.REVOKED)
        return line

    def _revoke_manager(self, tx: Transaction, manager: Manager, reason: int) -> Revocation:
        known = tx.revocation_of(RevocationKind.MANAGER, manager.nm_id)
        if manager.state is ManagerState.REVOKED and known is not None:
            return known
        tx.put_manager(replace(manager, state=ManagerState.REVOKED))
        if manager.serial is not None:
            tx.set_credential(manager.serial, CredentialState.REVOKED)
        return self._list(tx, RevocationKind.MANAGER, manager.nm_id, reason)

    def _revoke_credential(self, tx: Transaction, credential: Registered, reason: int) -> Revocation:
        """A credential in force, or one for the same keys before it, takes its device or manager with it; others do not."""
        if credential.state in (CredentialState.ACTIVE, CredentialState.RENEWED):
            device, manager = tx.device(credential.sub), tx.manager(credential.sub)
            if device is not None:
                return self._revoke_device(tx, device, reason)
            if manager is not None:
                return self._revoke_manager(tx, manager, reason)
        known = tx.revocation_of(RevocationKind.CREDENTIAL, credential.serial)
        if credential.state is CredentialState.REVOKED and known is not None:
            return known
        tx.set_credential(credential.serial, CredentialState.REVOKED)
        return self._list(tx, RevocationKind.CREDENTIAL, credential.serial, reason, sub=credential.sub)

    def _list(self, tx: Transaction, kind: RevocationKind, subject: bytes, reason: int, **ids: bytes) -> Revocation:
        """Grow the list by one line: epoch, event and audit entry in the same transaction."""
        epoch = tx.count("status_epoch")
        data = {name: value.hex() for name, value in ids.items()}
        event: Event = self._desk.announce(tx, f"{kind}.revoke", subject, reason=reason, status_epoch=epoch, **data)
        self._desk.note(tx, OPERATOR, f"{kind}.revoke", subject, reason=reason, status_epoch=epoch, **ids)
        return tx.add_revocation(kind, subject, reason, self._desk.now, OPERATOR, epoch, event.id)

    def _session(self, tx: Transaction, caller: bytes, claims: RevnoteClaims, revnote: bytes) -> Revocation:
        known = tx.revocation_of(RevocationKind.SESSION, claims.psid)
        if known is not None:
            return known
        actor = by_manager(caller)
        event = self._desk.announce(tx, "session.revoke", claims.psid, manager=caller.hex(), reason=claims.reason)
        self._desk.note(tx, actor, "session.revoke", claims.psid, reason=claims.reason, accused=claims.kid_accused)
        return tx.add_revocation(
            RevocationKind.SESSION,
            claims.psid,
            claims.reason,
            self._desk.now,
            actor,
            tx.counter("status_epoch"),
            event.id,
            revnote,
        )


def _device(tx: Transaction, dev_id: bytes) -> Device:
    device = tx.device(dev_id)
    if device is None:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"device {dev_id.hex()} is not registered here")
    return device


def _manager(tx: Transaction, nm_id: bytes) -> Manager:
    manager = tx.manager(nm_id)
    if manager is None:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"manager {nm_id.hex()} was never added")
    return manager


def _credential(tx: Transaction, serial: bytes) -> Registered:
    credential = tx.credential(serial)
    if credential is None:
        raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"serial {serial.hex()} is not in the register")
    return credential
