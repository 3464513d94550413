"""An agent's directory: what `init` lays down, `enrol` completes and `run` opens.

`agent.json` says who it is and where it serves (nothing secret); `card` is its card for the federation's list; `key` holds
the key-encryption key unless another one is named; `own.cells` (sealed) its keys and what it shares with the trusted
system; `cells.db` (rows sealed) its clients; `tls.pem` and `tls.key` are for other agents; `federation.json` is the list in force.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from keymote.agent.app.identity import OWN_FILE, Identity, address_of
from keymote.crypto.entropy import Entropy
from keymote.crypto.hpke import SealingKey
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey, Suite
from keymote.crypto.suites import SUITES
from keymote.engine.base import CellKey
from keymote.engine.handover.home import Desk
from keymote.engine.handover.listing import Listed, kid_of, read_list
from keymote.errors import CallerFault, PeerFault
from keymote.host.ports import Write
from keymote.storage.broker_files import GivenFile, ListFile
from keymote.storage.file import FileStore
from keymote.storage.private_files import read_file, write_private
from keymote.storage.rotation import Place, Rewrap, StoreKey, refuse_unfinished
from keymote.storage.seal import KeyEncryptionKey, located, open_key
from keymote.storage.sealed_file import SealedFile
from keymote.storage.sql import open_database
from keymote.storage.sql_key import SqlKey
from keymote.transports import tls_pinned
from keymote.wire import signed
from keymote.wire.federation import BrokerCard

OWN_CELLS: Final = "own.cells"
DATABASE: Final = "cells.db"
CARD_FILE: Final = "card"
LIST_FILE: Final = "federation.json"
SUITE: Final = 1
"""Agents sign by Ed25519 (decision 0196)."""
_SIGNING, _SEALING, _PASSWORD, _SHARED, _FORMER, _ADMIN, _MOVER = (
    CellKey(name, b"")
    for name in ("signing", "sealing", "password", "shared", "former", "broker-admin", "broker-mover")
)
"""`former`: hash of what was shared in a former life, before a backup was put back."""


class Directory:
    """An initialised agent, with its sealed keys open until `close`."""

    def __init__(self, folder: Path, entropy: Entropy) -> None:
        """Open what is there; CallerFault that names what is missing or unfit, or held by another process."""
        self.folder: Final = folder
        self.identity = Identity.of(folder)
        refuse_unfinished(folder)
        self.kek: Final[KeyEncryptionKey] = open_key(located(self.identity.key_uri, folder), entropy)
        self._own = FileStore(folder / OWN_CELLS, self.kek, entropy)

    @classmethod
    def create(cls, folder: Path, identity: Identity, entropy: Entropy, now: int) -> Self:
        """Lay down an agent in `folder`, which exists; `identity.broker_id` is drawn here.

        Raises:
            CallerFault: an agent is there already, or an address is none or missing.
        """
        if (folder / OWN_FILE).exists():
            raise CallerFault(f"{folder} holds an agent already", do="choose another directory by --data")
        for address in (
            identity.coap,
            identity.agent,
            identity.mqtt,
            *([identity.management] if identity.management else []),
        ):
            address_of(address)
        identity = replace(identity, broker_id=entropy.draw(8).hex())
        kek = open_key(located(identity.key_uri, folder), entropy, create=True)
        own = FileStore(folder / OWN_CELLS, kek, entropy)
        try:
            signing, sealing = SUITES[SUITE].generate_signing_key(entropy), SealingKey.draw(entropy)
            password = Secret(entropy.draw(32))
            pem, der, key = tls_pinned.self_signed(identity.broker_id, now, password)
            secrets = {_SIGNING: signing.seed, _SEALING: sealing.seed, _PASSWORD: password}
            secrets |= {_ADMIN: Secret(entropy.draw(32)), _MOVER: Secret(entropy.draw(32))}
            _keep(own, {place: secret.expose() for place, secret in secrets.items()})
        finally:
            own.close()
        card = BrokerCard(
            bytes.fromhex(identity.broker_id), signing.public, sealing.public, der, f"https://{identity.agent}",
            f"coap://{identity.coap}", identity.mqtt,
        )  # fmt: skip
        _configure_broker(folder, identity, secrets[_ADMIN], secrets[_MOVER])
        write_private(folder / "tls.pem", pem, mode=0o644)
        write_private(folder / "tls.key", key)
        write_private(folder / CARD_FILE, signed.write(signing, card), mode=0o644)
        write_private(folder / OWN_FILE, identity.encode())
        return cls(folder, entropy)

    @classmethod
    def lay_down(cls, folder: Path, identity: Identity, entropy: Entropy) -> Self:
        """Make the other files of a backup, which lie in `folder`, an agent that belongs to no trusted system (BA-19).

        What it shared with one, and the list, are of a former life: whoever kept a ticket or a request of then could use it
        again. So `enrol` takes a new key only.
        """
        own = FileStore(folder / OWN_CELLS, open_key(located(identity.key_uri, folder), entropy), entropy)
        try:
            shared = own.load(_SHARED)
            if shared is not None:
                _keep(own, {_SHARED: None, _FORMER: sha256(shared)})
            admin, mover = (Secret(own.load(place) or b"") for place in (_ADMIN, _MOVER))
        finally:
            own.close()
        _configure_broker(folder, identity, admin, mover)
        anew = replace(identity, nm_id="", suite=0, sig_pk="", manager="")
        write_private(folder / OWN_FILE, anew.encode())  # last: until then there is no agent here
        return cls(folder, entropy)

    def close(self) -> None:
        self._own.close()

    @property
    def broker_id(self) -> bytes:
        return bytes.fromhex(self.identity.broker_id)

    @property
    def card(self) -> bytes:
        return read_file(self.folder / CARD_FILE, "card")

    @property
    def control(self) -> Path:
        return self.folder / "control.sock"

    @property
    def suite(self) -> Suite:
        return SUITES[SUITE]

    @property
    def tls(self) -> tuple[Path, Path, Secret]:
        """Certificate, key, and the key's password."""
        return self.folder / "tls.pem", self.folder / "tls.key", self._secret(_PASSWORD)

    @property
    def broker_passwords(self) -> tuple[Secret, Secret]:
        """Of the accounts by which the agent keeps accounts and takes over sessions (Mosquitto)."""
        return self._secret(_ADMIN), self._secret(_MOVER)

    def desk(self) -> Desk:
        """Return who the agent is to its cells."""
        signing: SigningKey = self.suite.signing_key(self._secret(_SIGNING))
        return Desk(self.broker_id, kid_of(self.card), signing, SealingKey.of(self._secret(_SEALING)))

    @property
    def shared(self) -> Secret:
        """K_TS-broker; CallerFault before `enrol`."""
        return self._secret(_SHARED)

    def enrol(self, given: GivenFile) -> Listed:
        """Take in what the trusted system gives: its key, what we share with it, and the first list.

        Raises:
            CallerFault: the file is for another broker or of a former life, or its list is not signed by who is to be
                believed.
        """
        if given.broker_id != self.broker_id:
            raise CallerFault("the file is for another broker", do="name the file that was made of this agent's card")
        if self._own.load(_FORMER) == sha256(given.shared.expose()):
            raise CallerFault(
                "the file is of before the backup was put back",
                do="keymote manager broker add CARD --out FILE makes a new one",
            )
        identity = replace(
            self.identity,
            nm_id=given.nm_id.hex(),
            suite=given.suite,
            sig_pk=given.sig_pk.hex(),
            manager=given.manager,
        )
        try:
            listed = _listed(identity, given.listed, self.suite)
        except (PeerFault, KeyError) as fault:
            raise CallerFault(
                f"the list of brokers is not to be believed: {fault}", do="ask the manager again"
            ) from fault
        _keep(self._own, {_SHARED: given.shared.expose()})
        write_private(self.folder / LIST_FILE, given.listed.encode(), mode=0o644)
        write_private(self.folder / OWN_FILE, identity.encode())
        self.identity = identity
        return listed

    def list_file(self) -> ListFile:
        """Return the list as it lies on the disk, unchecked."""
        return ListFile.read(self.folder / LIST_FILE)

    def listed(self) -> Listed:
        """Return the list in force; CallerFault before `enrol` or when somebody changed it."""
        return list_in_force(self.folder, self.identity)

    def update(self, file: ListFile, after: int) -> Listed:
        """Put a newer list in force, on disk; PeerFault when it is not newer or not our trusted system's."""
        listed = _listed(self.identity, file, self.suite, after=after)
        write_private(self.folder / LIST_FILE, file.encode(), mode=0o644)
        return listed

    def _secret(self, place: CellKey) -> Secret:
        saved = self._own.load(place)
        if saved is None:
            raise CallerFault("the agent belongs to no trusted system yet", do="keymote agent enrol FILE")
        return Secret(saved)


def list_in_force(folder: Path, identity: Identity) -> Listed:
    """Return the list of the agent of `folder`, which needs no key; CallerFault before `enrol` or when somebody changed it."""
    if not identity.sig_pk:
        raise CallerFault("the agent belongs to no trusted system yet", do="keymote agent enrol FILE")
    try:
        return _listed(identity, ListFile.read(folder / LIST_FILE), SUITES[SUITE])
    except PeerFault as fault:
        raise CallerFault(f"{folder / LIST_FILE} is not to be believed: {fault}", do="keymote agent update") from fault


def place(folder: Path) -> Place:
    """Return what hangs on the key-encryption key of the agent of `folder`."""

    def point(uri: str, _rewrap: Rewrap) -> None:
        write_private(folder / OWN_FILE, replace(Identity.of(folder), key_uri=uri).encode())

    known: dict[str, Callable[[], StoreKey]] = {
        OWN_CELLS: lambda: SealedFile(folder / OWN_CELLS),
        DATABASE: lambda: SqlKey(open_database(folder / DATABASE, history="cells")),
    }
    stores = [open_store for name, open_store in known.items() if (folder / name).exists()]
    return Place(folder, Identity.of(folder).key_uri, stores, point)


def _listed(identity: Identity, file: ListFile, suite: Suite, *, after: int = -1) -> Listed:
    verifier = SUITES[identity.suite].verify_key(bytes.fromhex(identity.sig_pk))
    return read_list(file.statement, file.content, bytes.fromhex(identity.nm_id), verifier, suite, after=after)


def _configure_broker(folder: Path, identity: Identity, admin: Secret, mover: Secret) -> None:
    """Write what a Mosquitto behind this agent starts with: no client has an account."""
    if identity.broker != "mosquitto":
        return
    from keymote.transports.mqtt.dynsec import configuration, document  # noqa: PLC0415  only where it is asked for

    write_private(folder / "dynsec.json", document(admin, mover))
    conf = configuration(folder.resolve(), address_of(identity.mqtt), address_of(identity.management))
    write_private(folder / "mosquitto.conf", conf.encode(), mode=0o644)


def _keep(own: FileStore, secrets: Mapping[CellKey, bytes | None]) -> None:
    failures: list[Exception] = []
    own.commit(
        [Write(place, secret) for place, secret in secrets.items()],
        lambda error: failures.append(error) if error else None,
    )
    if failures:
        raise failures[0]
