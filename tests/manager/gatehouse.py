"""A manager's service for one group over the product's engines in virtual time, and the coordinator that states what should be."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.suite import SigningKey
from keymote.engine.base import CellKey, Command, Refused, Report
from keymote.engine.faces import CredentialRenewed, DeviceRevoked, LinkSeen
from keymote.engine.group.faces import membership_of, ring_of
from keymote.engine.group.invitation import place_of
from keymote.engine.group.ring_states import RingCell
from keymote.engine.group.states import MembershipCell
from keymote.engine.member import Member
from keymote.host.ports import Write
from keymote.lab.scene_founding import AT_ONCE, two_operators
from keymote.lab.scenes import Scene, identity
from keymote.lab.simulator import EPOCH
from keymote.manager.app.groups import group_of
from keymote.manager.group_hedge import HEDGE, Hedges
from keymote.manager.group_invitations import member_of
from keymote.manager.group_keeping import Surroundings
from keymote.manager.group_log import GroupLog
from keymote.manager.group_record import GROUP, GroupRecord
from keymote.manager.group_records import RecordLog
from keymote.manager.groups import GroupSteward
from keymote.wire.admin import to_base64url
from keymote.wire.admin_groups import CharterView, GoneEntry, GroupPolicy, GroupReport, MemberEntry
from keymote.wire.credential import kid_of
from keymote.wire.group import DelegationClaims, RosterClaims
from keymote.wire.group_fields import Entry
from keymote.wire.group_signed import write

GID = b"\x67" * 8
NAMES = ("d1", "d2", "d3", "d4")
PLACE = place_of("224.0.1.187", 5683)
STEP_S = 0.25


class Shelf:
    """Rows in memory: what a restarted manager finds."""

    def __init__(self) -> None:
        self.rows: dict[CellKey, bytes] = {}

    def of_kind(self, kind: str) -> Iterable[Write]:
        return [Write(key, record) for key, record in self.rows.items() if key.kind == kind]

    def load(self, key: CellKey) -> bytes | None:
        return self.rows.get(key)

    async def keep(self, writes: Sequence[Write]) -> None:
        for write_ in writes:
            if write_.record is None:
                self.rows.pop(write_.key, None)
            else:
                self.rows[write_.key] = write_.record


@dataclass
class Cells:
    """The manager's cells in the simulator."""

    scene: Scene
    manager: str = "nm1"

    async def command(self, key: CellKey, command: Command) -> Sequence[Report]:
        return self.scene.sim.command(self.manager, key, command)

    def peek(self, key: CellKey) -> object:
        return self.scene.sim.hosts[self.manager].cells.get(key)


@dataclass
class Office:
    """What a coordinator states of one group; `sign` is what its signature key is now."""

    scene: Scene
    members: tuple[str, ...]
    allowed: tuple[str, ...] = ()
    gone: Mapping[str, int] = field(default_factory=dict)
    manager: str = "nm1"
    mode: str = "relay"
    multicast: bool = True
    central: bool = False
    state: str = "active"
    level: int = 1
    policy: GroupPolicy = field(default_factory=lambda: GroupPolicy(period_s=0))
    telemetry: tuple[str, ...] = ("telemetry",)
    rev: int = 0
    ver: int = 1
    rekey: int = 0
    rekey_reason: int = 1
    epoch: int = 0
    reported: int = 0
    days: int = 30
    hedge: bool = False
    credential: bytes = b""
    signing: SigningKey | None = None
    entries: dict[str, Entry] = field(default_factory=dict)

    def charter(self, **changed: object) -> CharterView:
        """State something else, and return all of it."""
        for name, value in changed.items():
            setattr(self, name, value)
        self.rev += 1
        gateway = self.scene.managers[self.manager]
        own = gateway.membership
        assert own is not None
        operator = self.scene.operators["nc1"]
        credential, key = self.credential or operator.credential, self.signing or operator.signing
        claims = DelegationClaims(
            GID, own.credential.kid, gateway.signing.public, EPOCH + self.days * 86400, 0 if self.central else 32
        )
        entries = [self._entry(name) for name in self.members]
        if self.mode == "edge":
            entries.append(Entry(own.credential.kid, gateway.signing.public))
        roster = RosterClaims(GID, self.ver, tuple(sorted(entries)), None, None)
        kid = kid_of(credential)
        return CharterView(
            gid=GID.hex(), name="street", rev=self.rev, state=self.state, nm_id=identity(self.manager).hex(),
            suite=self.scene.suite.id, mode=self.mode, level=self.level, multicast=self.multicast, compact=False,
            central=self.central, telemetry=list(self.telemetry), policy=self.policy, credential=to_base64url(credential),
            delegation=to_base64url(write(key, claims, kid=kid)), roster=to_base64url(write(key, roster, kid=kid)),
            roster_ver=self.ver, members=[self._member(name) for name in self.members],
            allowed=[self._member(name) for name in self.allowed],
            gone=[GoneEntry(identity(name).hex(), [self._entry(name).kid.hex()], why) for name, why in self.gone.items()],
            rekey=self.rekey, rekey_reason=self.rekey_reason, reported=self.reported, epoch=self.epoch,
            hedge=self.hedge,
        )  # fmt: skip

    def _entry(self, name: str) -> Entry:
        """Return how the register names a device that was on when it was asked about first."""
        if name not in self.entries:
            held = self.scene.membership(name)
            assert held is not None
            self.entries[name] = Entry(held.credential.kid, held.credential.claims.sig_pk)
        return self.entries[name]

    def _member(self, name: str) -> MemberEntry:
        entry, home = self._entry(name), identity(self.scene.homes[name]).hex()
        return MemberEntry(identity(name).hex(), home, entry.kid.hex(), to_base64url(entry.sig_pk), "")


class Gatehouse:
    """The service at a manager, and what one sees from there."""

    def __init__(self, scene: Scene, office: Office, place: bytes = PLACE, name: str = "nm1") -> None:
        self.scene = scene
        self.name = name
        self.office = office
        self.place = place
        office.charter()  # everybody is on, and known
        self.shelf = Shelf()
        self.entropy = SeededEntropy(b"hedges")
        self.restart()

    @classmethod
    def make(
        cls, *members: str, suite: int = 1, place: bytes = PLACE, life_s: int = 365 * 86400, **settings: object
    ) -> "Gatehouse":
        """Return a house whose devices, d1 to d4, have credentials of this life; d1 to d3 are members unless told otherwise."""
        homes = dict.fromkeys(NAMES, "nm1") | {"d9": "nm2"}
        scene = two_operators(b"gatehouse", suite=suite, homes=homes, policy=replace(AT_ONCE, credential_life_s=life_s))
        return cls(scene, Office(scene, members or NAMES[:3], **settings), place)  # type: ignore[arg-type]

    def restart(self, generation: int = 0) -> None:
        """Begin with what is on the shelf, as a process does; the engine's node is not restarted by this."""
        self.cells = Cells(self.scene, self.name)
        self.log = GroupLog(self.shelf, generation)
        self.records = RecordLog(self.shelf, generation)
        rows = [GroupRecord.decode(row.key.id, row.record or b"") for row in self.shelf.of_kind(GROUP)]
        context = self.scene.managers[self.name]

        def own() -> object:
            return self.scene.managers[self.name].membership

        around = Surroundings(
            identity(self.name).hex(), self.place, own, context.trust.key, self.now, self._keep, generation, self.entropy,  # type: ignore[arg-type]
            self.records.add,
        )  # fmt: skip
        record = rows[0] if rows else GroupRecord(GID, generation=generation)
        hedges = Hedges.decode(GID, self.shelf.load(CellKey(HEDGE, GID)))
        self.steward = GroupSteward(record, self.cells, self.log, around, hedges)
        self.seen = len(self._reports())

    async def crash(self) -> None:
        """Kill the manager and start it again: what is not on disk is gone."""
        self.scene.sim.reboot(self.name)
        self.restart(self.scene.managers[self.name].generation)
        self.seen = len(self._reports())
        await self.steward.resume()

    def now(self) -> int:
        return int(EPOCH + self.scene.sim.now)

    async def _keep(self, record: GroupRecord | Hedges) -> None:
        await self.shelf.keep([record.row])

    def _reports(self) -> Sequence[tuple[float, CellKey, Report]]:
        return self.scene.sim.hosts[self.name].reports

    # ------------------------------------------------------------------ time

    async def state(self, **changed: object) -> None:
        """Let the coordinator state something, and the service act on it."""
        await self.steward.adopt(self.office.charter(**changed))

    async def pump(self) -> None:
        """Let the service hear what its cells reported."""
        while self.seen < len(self._reports()):
            at, _, report = self._reports()[self.seen]
            self.seen += 1
            match report:
                case CredentialRenewed() | DeviceRevoked():
                    await self.steward.reconcile()
                case LinkSeen() | _ if isinstance(report, LinkSeen) or group_of(report) == GID:
                    await self.steward.heard(report, int((EPOCH + at) * 1000))
        due = self.steward.due_at()
        if due is not None and due <= self.now():
            await self.steward.tick()

    async def until(self, reached: Callable[[], bool], within_s: float = 60.0) -> bool:
        """Let time pass until something holds; return whether it did."""
        ends = self.scene.sim.now + within_s
        await self.pump()
        while not reached():
            if self.scene.sim.now >= ends:
                return False
            self.scene.sim.run_for(STEP_S)
            await self.pump()
        return True

    async def rest(self, seconds: float) -> None:
        await self.until(lambda: False, seconds)

    # ------------------------------------------------------------------ looking

    def ring(self) -> RingCell | None:
        cell: RingCell | None = self.scene.sim.hosts[self.name].cells.get(ring_of(GID))
        return cell

    def member(self, name: str) -> MembershipCell | None:
        cell: MembershipCell | None = self.scene.sim.hosts[name].cells.get(membership_of(GID))
        return cell

    def epoch(self, *names: str) -> int:
        """Return the epoch in which all of these, and nobody else, are active with one key; 0 when they do not agree."""
        cells = [self.member(name) for name in names]
        epochs = [cell.lasting.active for cell in cells if cell is not None and cell.lasting.active is not None]
        agreed = {(each.number, each.key_id, len(each.group.senders)) for each in epochs}
        if len(epochs) < len(names) or len(agreed) > 1:
            return 0
        number, _, n = next(iter(agreed))
        return number if n == len(names) + (self.office.mode == "edge") else 0

    async def agreed(self, *names: str, above: int = 0, within_s: float = 60.0) -> int:
        """Wait until these agree on an epoch above; return it, 0 when they did not."""
        await self.until(lambda: self.epoch(*names) > above, within_s)
        await self.pump()
        return self.epoch(*names)

    def told(self, kind: type[GroupReport]) -> list[GroupReport]:
        """Return the reports of one kind that wait for the coordinator."""
        return [report for _, batch in self.log.batches() for report in batch if isinstance(report, kind)]

    def tell(self, name: str, command: Command) -> None:
        self.scene.sim.command(name, membership_of(GID), command)

    def known(self, name: str) -> Member:
        member = member_of(self.cells, identity(name))
        assert member is not None
        return member

    def refusals(self, name: str) -> list[Refused]:
        return self.scene.sim.heard(name, Refused)


__all__ = ["GID", "NAMES", "Gatehouse", "Office", "identity", "replace"]
