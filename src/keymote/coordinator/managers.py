"""Managers: adding, admitting at each call, their TLS certificate and their endpoint."""

from collections.abc import Sequence
from dataclasses import replace

from keymote.coordinator.desk import OPERATOR, Desk, by_manager
from keymote.crypto.kdf import sha256
from keymote.crypto.suite import VerifyKey
from keymote.engine.hybrid import examined
from keymote.errors import ErrorCode, PeerFault, RefusedByPolicy
from keymote.host.ledger import Transaction
from keymote.host.register import Manager, ManagerState, Taken
from keymote.wire import signed
from keymote.wire.credential import SignedCredential, kid_of


class Managers:
    """The managers of this coordinator; their credentials enter by `Registry.register_manager`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def add(self, nm_id: bytes, name: str) -> Manager:
        """Make room for a manager that will enrol with a code, or again with a new one; once is as good as twice.

        Raises:
            Taken: another manager has this id or this name.
            RefusedByPolicy: it was revoked.
        """

        def work(tx: Transaction) -> Manager:
            held = tx.manager(nm_id)
            if held is not None and (held.name, held.state) == (name, ManagerState.PENDING):
                return held
            if held is not None and held.name != name:
                raise Taken(f"manager {nm_id.hex()} is called {held.name!r}")
            if held is not None and held.state is ManagerState.REVOKED:
                raise RefusedByPolicy(f"manager {nm_id.hex()} was revoked", do="add it under a new id")
            made = Manager(nm_id, name) if held is None else held
            tx.put_manager(made)
            self._desk.note(tx, OPERATOR, "manager.add", nm_id, name=name)
            return made

        return await self._desk.ledger.write(work)

    async def admit(self, nm_id: bytes, kid: bytes) -> Manager:
        """Return the manager whose certificate names `nm_id` and `kid`; asked at every call.

        Raises:
            PeerFault: E_NOSHARE when it is revoked, E_CRED when its credential is no longer the one in force.
        """
        manager, renewed = await self._desk.ledger.read(lambda tx: (held := tx.manager(nm_id), _renewed(tx, held, kid)))
        if manager is None or manager.state is not ManagerState.ACTIVE:
            raise PeerFault(ErrorCode.E_NOSHARE, f"manager {nm_id.hex()} is not active")
        if manager.kid != kid and not renewed:
            raise PeerFault(
                ErrorCode.E_CRED,
                f"certificate of manager {nm_id.hex()} belongs to an earlier credential",
                do="ask for a new certificate",
            )
        return manager

    async def proven(self, nm_id: bytes, request: bytes, proof: bytes) -> Manager:
        """Return the manager whose credential's key signed (type 241) this certificate request.

        Raises:
            PeerFault: E_UNKNOWN_ID, E_NOSHARE for a manager that is not active, E_CRED or E_AUTH for a proof that is not
                its own.
        """
        found = signed.read(proof, signed.CertificateRequest)

        def holder(tx: Transaction) -> tuple[Manager, bytes]:
            manager = tx.manager(nm_id)
            if manager is None:
                raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"manager {nm_id.hex()} was never added")
            credential = None if manager.serial is None else tx.credential(manager.serial)
            if manager.state is not ManagerState.ACTIVE or credential is None:
                raise PeerFault(ErrorCode.E_NOSHARE, f"manager {nm_id.hex()} is not active")
            return manager, credential.raw

        manager, raw = await self._desk.ledger.read(holder)
        above = SignedCredential.decode(raw).claims
        suite = self._desk.identity.trust.suite(above.suite)
        claims = found.verified_by(suite.verify_key(above.sig_pk))
        due = (manager.kid, self._desk.identity.nc_id, nm_id, sha256(request))
        if (found.kid, claims.nc_id, claims.nm_id, claims.digest) != due:
            raise PeerFault(ErrorCode.E_CRED, "the proof is for another request, manager or coordinator")
        await self._desk.ledger.write(
            lambda tx: self._desk.note(tx, by_manager(nm_id), "manager.certificate", nm_id, digest=claims.digest)
        )
        return manager

    async def announce_endpoint(self, nm_id: bytes, endpoint: str, hybrid_key: bytes = b"") -> None:
        """Remember where other managers reach this one and what it has published as its hybrid key.

        Raises:
            PeerFault: E_FORMAT, E_CRED or E_AUTH for a hybrid key that the manager's own key does not vouch for.
        """

        def work(tx: Transaction) -> None:
            manager = tx.manager(nm_id)
            if manager is None:
                return
            if hybrid_key:
                examined(hybrid_key, nm_id, self._key(_credential(tx, manager)))
            if manager.endpoint != endpoint:
                self._desk.note(tx, by_manager(nm_id), "manager.endpoint", nm_id, endpoint=endpoint)
            if manager.hybrid_key != hybrid_key:
                digest = sha256(hybrid_key) if hybrid_key else b""
                self._desk.note(tx, by_manager(nm_id), "manager.hybrid_key", nm_id, digest=digest)
            tx.put_manager(replace(manager, endpoint=endpoint, hybrid_key=hybrid_key))

        await self._desk.ledger.write(work)

    def _key(self, credential: bytes | None) -> VerifyKey:
        """Return the key of a manager's credential; E_NOSHARE when it has none."""
        if credential is None:
            raise PeerFault(ErrorCode.E_NOSHARE, "the manager has no credential")
        claims = SignedCredential.decode(credential).claims
        return self._desk.identity.trust.key(claims.suite, claims.sig_pk)

    async def listing(self, after: bytes, limit: int) -> Sequence[tuple[Manager, bytes | None]]:
        """Return managers with their credentials, in the order of their ids."""

        def work(tx: Transaction) -> Sequence[tuple[Manager, bytes | None]]:
            return [(manager, _credential(tx, manager)) for manager in tx.managers(after, limit)]

        return await self._desk.ledger.read(work)

    async def one(self, nm_id: bytes) -> tuple[Manager, bytes | None]:
        """Return a manager with its credential; PeerFault E_UNKNOWN_ID."""

        def work(tx: Transaction) -> tuple[Manager, bytes | None]:
            manager = tx.manager(nm_id)
            if manager is None:
                raise PeerFault(ErrorCode.E_UNKNOWN_ID, f"manager {nm_id.hex()} was never added")
            return manager, _credential(tx, manager)

        return await self._desk.ledger.read(work)


def _renewed(tx: Transaction, manager: Manager | None, kid: bytes) -> bool:
    """Tell whether `kid` names a credential of this manager that was renewed since: its certificate is good a while yet."""
    if manager is None or manager.kid == kid:
        return False
    return any(kid_of(credential.raw) == kid for credential in tx.renewed_credentials(manager.nm_id))


def _credential(tx: Transaction, manager: Manager) -> bytes | None:
    credential = None if manager.serial is None else tx.credential(manager.serial)
    return None if credential is None else credential.raw
