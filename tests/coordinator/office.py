"""A coordinator without network: a root, an identity, a ledger in a file, managers and devices with real credentials."""

import tempfile
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from keymote.coordinator.authority import Root, new_request
from keymote.coordinator.desk import Desk
from keymote.coordinator.group_pictures import Pictures
from keymote.coordinator.group_records import GroupRecords
from keymote.coordinator.groups import Groups
from keymote.coordinator.groups_reports import GroupReports
from keymote.coordinator.identity import Identity
from keymote.coordinator.managers import Managers
from keymote.coordinator.outbox import Outbox
from keymote.coordinator.registry import Registry
from keymote.coordinator.revocation import Revocations
from keymote.coordinator.topic_pictures import TopicPictures
from keymote.coordinator.topic_reports import TopicReports
from keymote.coordinator.topics import Topics
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.suites import SUITES
from keymote.storage.sql import open_database
from keymote.storage.sql_ledger import open_ledger
from keymote.wire.credential import Claims, Credential, Role, issue

NOW = 1_800_000_000


@dataclass
class Clock:
    ms: int = NOW * 1000

    def __call__(self) -> int:
        return self.ms


@dataclass
class Issuer:
    """Somebody with a signing key who vouches for others."""

    id: bytes
    key: object
    entropy: SeededEntropy
    credential: Credential | None = None

    def vouch(self, sub: bytes, role: Role, nc_id: bytes, key: object = None, **changes: object) -> Credential:
        suite = SUITES[1]
        key = key or suite.generate_signing_key(self.entropy)
        E1 = suite.random_point(self.entropy)
        claims = Claims(
            iss=self.id,
            sub=sub,
            exp=NOW + 86400 * 365,
            iat=NOW,
            serial=self.entropy.draw(8),
            suite=1,
            nc_id=nc_id,
            E1=E1,
            E2=suite.mul(suite.random_scalar(self.entropy), E1),
            sig_pk=key.public,
            status_epoch=0,
            role=role,
        )
        return issue(self.key, replace(claims, **changes))


def made_identity(nc_id: bytes, root: Root, seed: bytes = b"identity") -> Identity:
    key = SUITES[1].generate_signing_key(SeededEntropy(seed + nc_id))
    credential = root.certify(new_request(key, nc_id, NOW), NOW, nc_id)
    return Identity.certified(key, credential.raw, root.pin, NOW)


@dataclass
class Office:
    """The services of one coordinator on one ledger, and what its managers would send."""

    desk: Desk
    clock: Clock
    registry: Registry = field(init=False)
    revocations: Revocations = field(init=False)
    managers: Managers = field(init=False)
    outbox: Outbox = field(init=False)
    groups: Groups = field(init=False)
    reports: GroupReports = field(init=False)
    pictures: Pictures = field(init=False)
    records: GroupRecords = field(init=False)
    topics: Topics = field(init=False)
    topic_reports: TopicReports = field(init=False)
    topic_pictures: TopicPictures = field(init=False)

    def __post_init__(self) -> None:
        self.registry, self.revocations = Registry(self.desk), Revocations(self.desk)
        self.managers, self.outbox = Managers(self.desk), Outbox(self.desk)
        self.groups = Groups(self.desk, SeededEntropy(b"groups" + self.nc_id))
        self.reports, self.pictures = GroupReports(self.desk), Pictures(self.desk)
        self.records = GroupRecords(self.desk)
        self.topics = Topics(self.desk, SeededEntropy(b"topics" + self.nc_id))
        self.topic_reports, self.topic_pictures = TopicReports(self.desk), TopicPictures(self.desk)

    @property
    def nc_id(self) -> bytes:
        return self.desk.identity.nc_id

    @property
    def issuer(self) -> Issuer:
        return Issuer(self.nc_id, self.desk.identity.key, SeededEntropy(b"nc" + self.nc_id))

    async def manager(self, nm_id: bytes, name: str | None = None, *, enrol: bool = True) -> Issuer:
        await self.managers.add(nm_id, name or nm_id.decode())
        entropy = SeededEntropy(b"manager" + nm_id)
        key = SUITES[1].generate_signing_key(entropy)
        credential = None
        if enrol:
            credential = self.issuer.vouch(nm_id, Role.MANAGER, self.nc_id, key, serial=nm_id)
            await self.registry.register_manager(credential.raw)
            await self.managers.announce_endpoint(nm_id, f"coap://127.0.0.1:{5000 + nm_id[-1]}")
        return Issuer(nm_id, key, entropy, credential)

    def device(self, manager: Issuer, dev_id: bytes, **changes: object) -> Credential:
        chosen = {"role": Role.DEVICE, "nc_id": self.nc_id, **changes}
        return manager.vouch(dev_id, chosen.pop("role"), chosen.pop("nc_id"), **chosen)


@cache
def empty_register() -> bytes:
    """An empty database, migrated once: each test gets a copy."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        database = open_database(path, history="registry")
        database.truncate_journal()
        database.close()
        return path.read_bytes()


def open_office(root: Root, nc_id: bytes, where: Path | str) -> Office:
    clock = Clock()
    if isinstance(where, Path) and not where.exists():
        where.write_bytes(empty_register())
    return Office(Desk(made_identity(nc_id, root), open_ledger(where), clock), clock)
