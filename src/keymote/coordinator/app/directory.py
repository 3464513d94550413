"""A coordinator's directory: what `init` lays down and `run` opens.

`coordinator.json` says who it is and holds its signing seed, sealed; `key` is the key-encryption key; `nc.req` and
`nc.cred` are its request to the authority and the answer; `ca.pem` and `ca.key` its certificate authority; `tls.pem` and
`tls.key` its server certificate; `token` the operator's bearer token; `registry.db` register, outbox and audit log;
`cells.db` the enrolment engine's cells. docs/reference/files.md describes each.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from keymote.coordinator.authority import new_request
from keymote.coordinator.identity import FormerKey, Identity
from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey
from keymote.crypto.suites import suite_by_id
from keymote.engine.chain import Pin
from keymote.errors import CallerFault, PeerFault
from keymote.storage import private_files as files
from keymote.storage.rotation import Place, Rewrap, refuse_unfinished
from keymote.storage.seal import DataKey, KeyEncryptionKey, located, open_key
from keymote.storage.sql import open_database
from keymote.storage.sql_key import SqlKey
from keymote.transports import tls
from keymote.wire import admin, admin_files
from keymote.wire.credential import Role

OWN_FILE: Final = "coordinator.json"
REQUEST: Final = "nc.req"
CREDENTIAL: Final = "nc.cred"
NEXT_CREDENTIAL: Final = "nc.next.cred"
"""The authority's answer for the key that is to come next (docs/decisions/0123)."""
DATABASE: Final = "cells.db"
_SEED: Final = "coordinator signing key"
_PASSWORD: Final = "coordinator PEM password"  # noqa: S105  the place of a row, not a password
SECRET_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class Directory:
    """An initialised coordinator; `kek` opens what is sealed, `password` its PEM keys."""

    folder: Path
    held: admin_files.CoordinatorFile
    key: SigningKey
    kek: KeyEncryptionKey
    password: Secret

    @classmethod
    def create(
        cls,
        folder: Path,
        name: str,
        suite: int,
        hosts: Sequence[str],
        entropy: Entropy,
        now: int,
        *,
        key_uri: str = "",
    ) -> Self:
        """Make keys, request, certificate authority and server certificate in `folder`, which exists.

        Raises:
            CallerFault: a coordinator is there already, or `key_uri` names no key that may be used.
            Unavailable: the token of `key_uri` does not answer.
            PeerFault: E_SUITE for a suite that we do not run.
        """
        own = folder / OWN_FILE
        if own.exists():
            raise CallerFault(f"{folder} holds a coordinator already", do="choose another directory by --data")
        key = suite_by_id(suite).generate_signing_key(entropy)
        kek = open_key(located(key_uri, folder), entropy, create=True)
        data_key = DataKey.fresh(entropy)
        password = Secret(entropy.draw(SECRET_SIZE))
        nc_id = entropy.draw(8)
        held = admin_files.CoordinatorFile(
            nc_id.hex(),
            name,
            suite,
            admin.to_base64url(key.public),
            list(hosts),
            key_uri,
            admin.to_base64url(data_key.wrapped_by(kek)),
            admin.to_base64url(data_key.seal(key.seed.expose(), _SEED)),
            admin.to_base64url(data_key.seal(password.expose(), _PASSWORD)),
        )
        made = cls(folder, held, key, kek, password)
        authority = tls.Authority.create(f"keymote {name}", now)
        files.write_private(folder / "ca.pem", authority.pem.encode(), mode=0o644)
        files.write_private(folder / "ca.key", authority.key_pem(password))
        made._issue(authority, now)
        files.write_private(folder / "token", admin.to_base64url(entropy.draw(SECRET_SIZE)).encode() + b"\n")
        request = admin_files.RequestFile(name, admin.to_base64url(new_request(key, nc_id, now)))
        files.write_private(folder / REQUEST, admin_files.write_file(request), mode=0o644)
        files.write_private(own, admin_files.write_file(held))
        return made

    @classmethod
    def open(cls, folder: Path, entropy: Entropy) -> Self:
        """Return the coordinator of `folder`; CallerFault that names the file which is missing, open or does not fit."""
        held = _held(folder)
        refuse_unfinished(folder)
        kek = open_key(located(held.key_uri, folder), entropy)
        wrapped = admin.from_base64url(held.wrapped_key)
        data_key = DataKey.unwrapped(wrapped, kek, entropy, where=str(folder / OWN_FILE))
        seed = Secret(data_key.open(admin.from_base64url(held.sealed_seed), _SEED))
        password = Secret(data_key.open(admin.from_base64url(held.sealed_password), _PASSWORD))
        return cls(folder, held, suite_by_id(held.suite).signing_key(seed), kek, password)

    @property
    def nc_id(self) -> bytes:
        return admin.id_of(self.held.nc_id)

    def identity(self, now: int) -> Identity:
        """Return who this coordinator is by the authority's credential in `nc.cred`."""
        if not self.held.sealed_next and (self.folder / NEXT_CREDENTIAL).exists():
            raise CallerFault("a roll of the signing key was interrupted", do="keymote coordinator roll-key")
        return self.certified(self.key, CREDENTIAL, now)

    def certified(self, key: SigningKey, name: str, now: int | None) -> Identity:
        """Return who this coordinator is with `key` by the credential in the file `name`; `now` None: whenever valid."""
        path = self.folder / name
        request = Path(name).with_suffix(".req")
        do = f"take {request} to the authority: `keymote authority certify --request {request} --out {name}`"
        carried = admin_files.read_file(
            files.read_file(path, "credential", do=do), admin_files.CredentialFile, str(path)
        )
        former = tuple(
            FormerKey(admin.from_base64url(each.credential), admin.from_base64url(each.handover))
            for each in self.held.former
        )
        try:
            raw, root = admin.from_base64url(carried.credential), pin_of(carried.root)
            return Identity.certified(key, raw, root, now, former)
        except PeerFault as fault:
            raise CallerFault(f"{path} does not fit: {fault.what}", do=do) from fault

    def next_key(self, entropy: Entropy) -> SigningKey:
        """Return the key that is to come next, sealed in `coordinator.json`."""
        sealed = admin.from_base64url(self.held.sealed_next)
        return suite_by_id(self.held.suite).signing_key(Secret(self._data_key(entropy).open(sealed, _SEED)))

    def with_next_key(self, key: SigningKey, entropy: Entropy) -> Self:
        """Return the same coordinator with a key that is to come next, once that is on disk."""
        return self._replaced(self.held.expecting(self._data_key(entropy).seal(key.seed.expose(), _SEED)))

    def rolled(self, key: SigningKey, former: FormerKey) -> Self:
        """Return the coordinator with its next `key` in force, once that is on disk and the old one no more (CR-12)."""
        kept = admin_files.FormerKey(*map(admin.to_base64url, former))
        return replace(self._replaced(self.held.rolled(key.public, kept)), key=key)

    def _data_key(self, entropy: Entropy) -> DataKey:
        wrapped = admin.from_base64url(self.held.wrapped_key)
        return DataKey.unwrapped(wrapped, self.kek, entropy, where=str(self.folder / OWN_FILE))

    def _replaced(self, held: admin_files.CoordinatorFile) -> Self:
        files.write_private(self.folder / OWN_FILE, admin_files.write_file(held))
        return replace(self, held=held)

    def authority(self) -> tls.Authority:
        """Return the certificate authority."""
        pem = files.read_file(self.folder / "ca.pem", "certificate authority").decode()
        return tls.Authority.load(pem, files.read_private(self.folder / "ca.key", "authority's key"), self.password)

    def renewed(self, authority: tls.Authority, now: int) -> bool:
        """Issue the server certificate anew if a third of its life is left or the hosts changed; return whether."""
        pem = files.read_file(self.folder / "tls.pem", "server certificate").decode()
        validity = tls.validity_of(pem)
        if set(validity.names) == set(self.held.hosts) and not validity.needs_renewal(now):
            return False
        self._issue(authority, now)
        return True

    def _issue(self, authority: tls.Authority, now: int) -> None:
        issued = authority.issue_server(self.held.hosts, now, self.password)
        files.write_private(self.folder / "tls.key", issued.key)
        files.write_private(self.folder / "tls.pem", issued.certificate.encode(), mode=0o644)

    def token(self) -> Secret:
        """Return the operator's bearer token."""
        return token_in(self.folder / "token")


def place(folder: Path) -> Place:
    """Return what hangs on the key-encryption key of the coordinator of `folder`."""

    def point(uri: str, rewrap: Rewrap) -> None:
        path = folder / OWN_FILE
        held = _held(folder)
        wrapped = rewrap(admin.from_base64url(held.wrapped_key), str(path))
        files.write_private(path, admin_files.write_file(held.under(uri, wrapped)))

    database = folder / DATABASE
    stores = [lambda: SqlKey(open_database(database, history="cells"))] if database.exists() else []
    return Place(folder, _held(folder).key_uri, stores, point)


def _held(folder: Path) -> admin_files.CoordinatorFile:
    path = folder / OWN_FILE
    do = "make one with `keymote coordinator init`"
    return admin_files.read_file(files.read_private(path, "coordinator", do=do), admin_files.CoordinatorFile, str(path))


def former_credentials(folder: Path) -> list[bytes]:
    """Return the authority's credentials for the keys that the coordinator of `folder` had before, oldest first."""
    return [admin.from_base64url(each.credential) for each in _held(folder).former]


def token_in(path: Path) -> Secret:
    """Return the bearer token of a token file; CallerFault when it is missing or others can read it."""
    return Secret(files.read_private(path, "token file").strip())


def pin_of(root: admin_files.RootPin) -> Pin:
    """Return what a root file pins."""
    return Pin(admin.id_of(root.id), root.suite, admin.from_base64url(root.sig_pk), Role.AUTHORITY)
