"""Registration: a manager vouches for a device, this coordinator for its managers. Each is one transaction."""

from dataclasses import dataclass

from keymote.coordinator import group_changes, rules, topic_changes
from keymote.coordinator.desk import COORDINATOR, Desk, by_manager
from keymote.coordinator.group_conflicts import Conflicts
from keymote.engine.chain import Trust
from keymote.engine.queries import DeviceFound, ManagerFound
from keymote.errors import ErrorCode, PeerFault, Unavailable
from keymote.host.ledger import Transaction
from keymote.host.register import (
    CredentialState,
    Device,
    Manager,
    ManagerState,
    Registered,
    RevocationKind,
    Taken,
)
from keymote.wire.credential import Claims, Role, SignedCredential

SUPERSEDED = 3
"""Reason of a revocation (Triad-1 section 8, SREC)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a registration came to; `created` is False when the same bytes had been registered before."""

    registered: Registered
    created: bool


class Registry:
    """Devices and managers of this coordinator."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def register_device(self, caller: bytes, raw: bytes, replaces: bytes | None) -> Outcome:
        """Enter a device's credential for the manager `caller` (nm_id) and return its receipt; idempotent.

        Raises:
            Taken: dev_id or serial belongs to another credential; an alarm `clone` is raised.
            PeerFault: E_FORMAT, E_SUITE, E_POINT, E_CRED for a credential that its manager could not vouch for,
                E_NOSHARE when the manager is not active.
            Unavailable: nothing was written.
        """
        signed = SignedCredential.decode(raw)
        issuer = await self._desk.ledger.read(lambda tx: _issuer(tx, caller))
        verify_issued(self._desk.identity.trust, signed, issuer, self._desk.now)
        outcome = await self._desk.ledger.write(lambda tx: self._enter_device(tx, caller, raw, signed.claims, replaces))
        self._desk.news.ring()
        if isinstance(outcome, Taken):
            raise outcome
        return outcome

    async def register_manager(self, raw: bytes) -> Outcome:
        """Enter the credential that this coordinator's own enrolment issues to a manager; idempotent.

        Raises:
            Taken, PeerFault: E_UNKNOWN_ID for a manager that was never added, E_NOSHARE for a revoked one, E_CRED.
        """
        credential = self._desk.identity.trust.verify([raw], Role.MANAGER, self._desk.now)
        outcome = await self._desk.ledger.write(lambda tx: self._enter_manager(tx, raw, credential.claims))
        self._desk.news.ring()
        return outcome

    async def find(self, dev_id: bytes) -> DeviceFound:
        """Return what another manager needs for a session with a device of this coordinator.

        Raises:
            PeerFault: E_UNKNOWN_ID; E_NOSHARE when it or its manager is suspended, revoked or retired.
            Unavailable: its manager has not said where it listens.
        """
        return await self._desk.ledger.read(lambda tx: self._found(tx, dev_id))

    async def find_manager(self, nm_id: bytes) -> ManagerFound:
        """Return who a manager of this coordinator is, for another manager that it calls.

        Raises:
            PeerFault: E_UNKNOWN_ID; E_CRED when it is revoked.
        """
        return await self._desk.ledger.read(lambda tx: self._found_manager(tx, nm_id))

    async def status(self, serial: bytes) -> tuple[str, int]:
        """Return (word, status epoch) of a credential; PeerFault E_UNKNOWN_ID."""

        def work(tx: Transaction) -> tuple[str, int]:
            credential = tx.credential(serial)
            if credential is None:
                raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"serial {serial.hex()} is not in the register")
            manager = tx.manager(credential.iss) or tx.manager(credential.sub)
            return rules.status_word(credential, tx.device(credential.sub), manager), tx.counter("status_epoch")

        return await self._desk.ledger.read(work)

    def _enter_device(
        self, tx: Transaction, caller: bytes, raw: bytes, claims: Claims, replaces: bytes | None
    ) -> Outcome | Taken:
        manager = _active(tx, caller)
        rules.admit_claims(claims, manager, self._desk.identity.nc_id)
        held, active = tx.device(claims.sub), tx.active_credential(claims.sub)
        same = tx.credential(claims.serial)
        last = None if held is None else tx.credential(held.serial)
        named = None if replaces is None else tx.credential(replaces)
        try:
            verdict = rules.judge_device(
                raw, claims, held=held, same_serial=same, active=active, replaces=replaces, last=last, renewed=named
            )
        except Taken as taken:
            self._desk.note(tx, by_manager(caller), "alarm.clone", claims.sub, serial=claims.serial)
            self._desk.announce(tx, "alarm.clone", claims.sub, manager=caller.hex(), serial=claims.serial.hex())
            if held is not None and held.nm_id != caller:
                Conflicts(self._desk, tx).of_device(claims.sub, held.nm_id, caller)
            return taken
        if isinstance(verdict, rules.Again):
            return Outcome(verdict.registered, created=False)
        if verdict.supersedes is not None:
            self._replace(tx, by_manager(caller), verdict.supersedes, claims)
        entered = self._enter(tx, by_manager(caller), "device.register", raw, claims)
        tx.put_device(Device(claims.sub, claims.iss, verdict.state, claims.serial))
        if verdict.supersedes is not None:
            same_keys = rules.renews(claims, verdict.supersedes)
            group_changes.credential_changed(self._desk, tx, claims.sub, same_keys=same_keys)
            topic_changes.credential_changed(self._desk, tx, claims.sub, same_keys=same_keys)
        return Outcome(entered, created=True)

    def _enter_manager(self, tx: Transaction, raw: bytes, claims: Claims) -> Outcome:
        same = tx.credential(claims.serial)
        verdict = rules.judge_manager(raw, claims, held=tx.manager(claims.sub), same_serial=same)
        if isinstance(verdict, rules.Again):
            return Outcome(verdict.registered, created=False)
        active = tx.active_credential(claims.sub)
        if active is not None:
            self._replace(tx, COORDINATOR, active, claims)
        entered = self._enter(tx, COORDINATOR, "manager.register", raw, claims)
        tx.put_manager(verdict)
        group_changes.gateway_changed(self._desk, tx, claims.sub)
        return Outcome(entered, created=True)

    def _enter(self, tx: Transaction, actor: str, action: str, raw: bytes, claims: Claims) -> Registered:
        reg_no, ts = tx.count("reg_no"), self._desk.now
        receipt = self._desk.identity.receipt(raw, reg_no, ts)
        entered = Registered(claims.serial, claims.sub, claims.iss, raw, reg_no, ts, receipt)
        tx.add_credential(entered)
        self._desk.note(tx, actor, action, claims.sub, serial=claims.serial, reg_no=reg_no)
        return entered

    def _replace(self, tx: Transaction, actor: str, old: Registered, by: Claims) -> None:
        """Let another credential take the place of `old`: for the same keys that is a renewal and revokes nothing."""
        if rules.renews(by, old):
            tx.set_credential(old.serial, CredentialState.RENEWED)
            self._desk.note(tx, actor, "credential.renew", old.serial, by=by.serial)
        else:
            self._supersede(tx, actor, old)

    def _supersede(self, tx: Transaction, actor: str, old: Registered) -> None:
        tx.set_credential(old.serial, CredentialState.SUPERSEDED)
        epoch = tx.count("status_epoch")
        event = self._desk.announce(tx, "credential.superseded", old.serial, sub=old.sub.hex(), status_epoch=epoch)
        tx.add_revocation(RevocationKind.CREDENTIAL, old.serial, SUPERSEDED, self._desk.now, actor, epoch, event.id)
        self._desk.note(tx, actor, "credential.supersede", old.serial, status_epoch=epoch)

    def _found(self, tx: Transaction, dev_id: bytes) -> DeviceFound:
        device = tx.device(dev_id)
        if device is None:
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"device {dev_id.hex()} is not registered here")
        manager = tx.manager(device.nm_id)
        rules.check_usable(device, manager)
        credential = tx.credential(device.serial)
        vouching = None if manager is None or manager.serial is None else tx.credential(manager.serial)
        if manager is None or credential is None or vouching is None or not manager.endpoint:
            raise Unavailable(f"the manager of device {dev_id.hex()} has not said where it listens")
        above = (vouching.raw, self._desk.identity.above(vouching.raw))
        return DeviceFound(credential.raw, *above, manager.endpoint, manager.hybrid_key)

    def _found_manager(self, tx: Transaction, nm_id: bytes) -> ManagerFound:
        manager = tx.manager(nm_id)
        credential = None if manager is None or manager.serial is None else tx.credential(manager.serial)
        if manager is None or credential is None:
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"manager {nm_id.hex()} is not registered here")
        if manager.state is not ManagerState.ACTIVE:
            raise PeerFault(ErrorCode.E_CRED, f"manager {nm_id.hex()} is {manager.state}")
        chain = (credential.raw, self._desk.identity.above(credential.raw))
        return ManagerFound(*chain, manager.endpoint or "", manager.hybrid_key)


def verify_issued(trust: Trust, signed: SignedCredential, issuer: Registered, now: int) -> None:
    """Return if the manager behind the registered credential `issuer` has signed this one; E_CRED, E_POINT else."""
    above = SignedCredential.decode(issuer.raw).claims
    claims = trust.verify_one(signed, (above.sub, above.suite, above.sig_pk, above.role), now).claims
    suite = trust.suite(claims.suite)
    suite.verify_key(claims.sig_pk)
    if claims.E1 is not None and claims.E2 is not None:
        suite.check(claims.E1)
        suite.check(claims.E2)


def _active(tx: Transaction, nm_id: bytes) -> Manager:
    manager = tx.manager(nm_id)
    if manager is None or manager.state is not ManagerState.ACTIVE:
        raise PeerFault(ErrorCode.E_NOSHARE, f"manager {nm_id.hex()} is not active")
    return manager


def _issuer(tx: Transaction, nm_id: bytes) -> Registered:
    manager = _active(tx, nm_id)
    credential = None if manager.serial is None else tx.credential(manager.serial)
    if credential is None:
        raise PeerFault(ErrorCode.E_NOSHARE, f"manager {nm_id.hex()} has no credential")
    return credential
