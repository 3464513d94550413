"""A street, its gateway's service, its link to the coordinator, and the applications of its meters, over virtual days."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from keymote.engine.base import Report
from keymote.engine.group.epoch import GroupEpoch
from keymote.engine.group.faces import AskToJoin, AskToLeave, GroupReady
from keymote.engine.group.payload_faces import GroupOpened, GroupProtected, SendToGroup
from keymote.engine.policy.group_faces import DAY_S, GroupPolicy, Rostered
from keymote.lab.simulator import EPOCH, Channel
from keymote.lab.simulator.network import Dice
from keymote.lab.street import GW, Street, street
from keymote.lab.village.agenda import Agenda
from keymote.lab.village.office import Office
from keymote.lab.village.steward import Steward
from keymote.lab.village.uplink import Uplink, Window

Listener = Callable[[str, GroupOpened], None]
"""`(name of the member, what it opened)`."""
RESENT: Final = 24
"""Readings that a meter without a key has kept and sends in one go when it has one; below the rate of its gateway."""
KEPT: Final = 7 * 24 * 4
"""Readings that a meter keeps: a week of quarters of an hour."""


@dataclass(slots=True)
class Meter:
    """What the application of a meter counts. `kept`: (resource, reading) that no key could seal yet."""

    kept: list[tuple[str, bytes]] = field(default_factory=list)
    sent: int = 0
    opened: int = 0
    refused: int = 0


@dataclass(slots=True)
class Village:
    """All of it. `members` of the coordinator's list at the beginning are all meters of the street."""

    street: Street
    steward: Steward
    uplink: Uplink
    office: Office
    agenda: Agenda
    dice: Dice
    meters: dict[str, Meter] = field(default_factory=dict)
    epochs: dict[int, GroupEpoch] = field(default_factory=dict)
    """The keys of every epoch that anybody was active in: the laboratory's own look, nobody in the village has all."""
    listener: Listener = lambda _name, _opened: None

    @property
    def now(self) -> float:
        return self.street.sim.now

    def clock(self, day: int, at_s: float) -> float:
        """Return the virtual time of a day (0 is the one on which the village begins) and second after midnight UTC."""
        midnight = EPOCH - EPOCH % DAY_S
        return midnight + day * DAY_S + at_s - EPOCH

    # ------------------------------------------------------------------ time

    def run(self, until: float, progress: Callable[[float], None] = lambda _now: None) -> None:
        """Let virtual time pass until `until`."""
        while self.now < until:
            due = (self.agenda.next_at, self.steward.due_at(), self._upload_at(), until)
            pause = min(at for at in due if at is not None)
            self.street.sim.run_until(lambda: bool(self.steward.reports), max(0.0, pause - self.now))
            self.steward.work()
            self.agenda.act(self.now)
            if self.steward.up:
                self.uplink.upload(self.now)
            progress(self.now)

    def settle(self, within_s: float = 120.0) -> bool:
        """Let time pass until all on the roster agree; return whether they did."""
        end = self.now + within_s
        while not self.street.agreed() and self.now < end:
            self.run(min(end, self.now + 1.0))
        return self.street.agreed()

    def _upload_at(self) -> float | None:
        return self.uplink.due_at(self.now) if self.steward.up else None

    def hear(self, name: str, report: Report) -> None:
        """Take what the application of a node is told."""
        if name == self.steward.gateway:
            self.steward.reports.append(report)
            return
        match report:
            case GroupOpened():
                self.meters[name].opened += 1
                self.listener(name, report)
            case GroupReady(_, epoch):
                cell = self.street.cell(name)
                if cell is not None and cell.payload.current is not None:
                    self.epochs[epoch] = replace(cell.payload.current.epoch, own=None)
                self.agenda.at(self.now + self.dice.uniform() * 20.0, lambda: self._send_kept(name))

    # ------------------------------------------------------------------ what people do

    def arrive(self, name: str, *, allowed: bool) -> None:
        """Put one more meter into the street, which the coordinator allows to join, or knows nothing of; it asks by itself."""
        self.street.add(name)
        self.meters[name] = Meter()
        person = self.street.people[name]
        if allowed:
            self.steward.name({person.kid: person.entry}, allowed=True)
        self.street.provision(name)
        self.street.tell(name, AskToJoin())

    def leave(self, name: str) -> None:
        self.street.tell(name, AskToLeave())

    def ask(self, name: str) -> None:
        self.street.tell(name, AskToJoin())

    def evict(self, name: str) -> None:
        """Let an operator at the gateway throw a meter out."""
        self.steward.evict(frozenset((self.street.people[name].kid,)))

    def revoke(self, name: str) -> None:
        """Let the coordinator revoke a meter; its gateway hears of it when the link is up and its own log is uploaded."""
        kid = self.street.people[name].kid
        self.office.revoked[kid] = int((EPOCH + self.now) * 1000)
        self._tell_revocations()

    def _tell_revocations(self) -> None:
        """Reports go up before what is new comes down."""
        known = frozenset(self.office.revoked) - self.steward.revoked
        up = self.uplink.window.is_up(self.now) and not self.uplink.cut and self.steward.up
        if known and up and not self.uplink.waiting:
            self.steward.revoke(known)
        elif known:
            self.agenda.at(max(self.now + 1.0, self.uplink.window.next_up(self.now)), self._tell_revocations)

    def is_outside(self, name: str) -> bool:
        """Tell whether this meter has left, or is not one that the coordinator has named: its people have no use for it."""
        person = self.street.people[name]
        cell = self.street.cell(name)
        stands_by = cell is not None and cell.lasting.place.standby
        gone = self.steward.revoked | self.steward.evicted
        return person.kid not in self.steward.register or person.kid in gone or stands_by

    def power(self, name: str, down_s: float) -> None:
        """Cut the power of a node for so long."""
        self.street.sim.reboot(name, down_s)

    # ------------------------------------------------------------------ what meters say

    def send(self, name: str, resource: str, text: bytes, *, signed: bool = False) -> bool:
        """Let a member send to the group; return whether it had a key to do so."""
        if not self.street.sim.hosts[name].up:
            return False
        reports = self.street.tell(name, SendToGroup(text, resource, signed))
        sealed = any(isinstance(report, GroupProtected) for report in reports)
        self.meters[name].sent += sealed
        self.meters[name].refused += not sealed
        return sealed

    def read_out(self, name: str, resource: str, reading: bytes) -> None:
        """Let a meter send a reading, or keep it until it has a key; one that is off reads nothing."""
        if not self.street.sim.hosts[name].up:
            return
        kept = self.meters[name].kept
        if kept or not self.send(name, resource, reading):
            kept.append((resource, reading))
            del kept[:-KEPT]

    def _send_kept(self, name: str) -> None:
        kept = self.meters[name].kept
        for _ in range(RESENT):
            if not kept or not self.send(name, *kept[0]):
                return
            kept.pop(0)
        self.agenda.at(self.now + 5.0, lambda: self._send_kept(name))


def village(
    meters: int,
    policy: GroupPolicy,
    window: Window,
    *,
    seed: bytes,
    channel: Channel | None = None,
    multicast: bool = True,
    compact: bool = False,
    suite: int = 1,
) -> Village:
    """Return a village whose meters are enlisted and whose ring's first START is in the air; the coordinator is reached."""
    made = street(meters, seed=seed, channel=channel, multicast=multicast, compact=compact, suite=suite)
    office, dice = Office(), Dice(made.entropy.fork("village"))
    uplink = Uplink(made.people[GW].kid, window, office, dice)
    steward = Steward(made, policy, uplink)
    found = Village(made, steward, uplink, office, Agenda(), dice, {name: Meter() for name in made.names})
    made.sim.hear = found.hear
    entries = {made.people[name].kid: made.people[name].entry for name in made.names}
    steward.name(entries, allowed=False)
    steward.reports.extend(report for _, _, report in made.sim.hosts[GW].reports)
    steward.say(Rostered(frozenset(entries)))
    return found
