"""The property of protocol A: whatever the air, the power, the clocks and an adversary do, nothing of what was promised breaks.

One machine, three devices at two managers of two operators. Invariants are checked after every action; at the end the
world heals, and two devices that are active must get a fresh session within 60 virtual seconds.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.engine.enrolment.device_cell import AwaitCred, AwaitHello, AwaitOffer, AwaitVpt
from keymote.engine.enrolment.registrar_cell import RegistrarCell
from keymote.engine.faces import (
    OWN_ENROLMENT,
    CloseSession,
    Enrolled,
    KeyReady,
    Opened,
    ResumeDevice,
    RevokeDevice,
    RevokeSession,
    SessionClosed,
    SuspendDevice,
    enrolment_of,
    session_of,
)
from keymote.engine.member import ACTIVE, REVOKED, SUSPENDED
from keymote.engine.pairwise.states import Open
from keymote.lab.scene_founding import two_operators
from keymote.lab.scenes import Scene, identity
from keymote.lab.simulator import Channel, Fuse, Quartz

HOMES = {"d1": "nm1", "d2": "nm2", "d3": "nm1"}
DEVICES = st.sampled_from(sorted(HOMES))
NODES = st.sampled_from(["d1", "d2", "d3", "nm1", "nm2"])
MANAGERS = st.sampled_from(["nm1", "nm2"])
HEALS_S = 7300.0
"""Virtual time after which every back-off, cache and skewed credential has run out."""
THEN = st.sampled_from([0.0, 0.02, 0.06, 0.5, 5.0, 5.0, 20.0])
"""Seconds that pass after an action: a few let the next one fall into the middle of a handshake, most let it end."""
CODE_LIFE_S = 3600.0
"""After which a code whose use nobody confirmed may be used once more (EN-23)."""


class Fleet(RuleBasedStateMachine):
    """Drives a scene and remembers what the world has promised."""

    scene: Scene

    @initialize(suite=st.sampled_from([1, 1, 1, 17]), seed=st.binary(min_size=4, max_size=4))
    def build(self, suite: int, seed: bytes) -> None:
        self.scene = scene = two_operators(seed, suite=suite, homes=HOMES, accept_compact=True)
        self.sim = scene.sim
        self.psids: list[tuple[str, str, bytes]] = []
        self.status = dict.fromkeys(HOMES, ACTIVE)
        self.readmitted = dict.fromkeys(HOMES, False)
        self.barred_since: dict[str, float] = {}
        """Device -> when its manager had acknowledged a revocation or suspension that still stands."""
        self.begun: dict[bytes, float] = {}
        self.labels = Counter(dict.fromkeys(HOMES, 1))
        self.said: dict[bytes, set[bytes]] = defaultdict(set)
        self.journaled = dict.fromkeys(self.sim.hosts, 0)
        self.durable: set[bytes] = set()
        for context in scene.managers.values():
            assert context.membership is not None
            self.durable.add(context.membership.d.expose())
        self.enrolled_with: dict[str, bytes] = {name: self.credential_of(name) for name in HOMES}

    # ------------------------------------------------------------------ what people do

    @rule(one=DEVICES, other=DEVICES, fast=st.booleans(), compact=st.booleans(), relayed=st.booleans(), then=THEN)
    def open_session(self, one: str, other: str, fast: bool, compact: bool, relayed: bool, then: float) -> None:
        psid = self.scene.ask(one, other, fast=fast, compact=compact, relayed=relayed)
        self.psids.append((one, other, psid))
        self.begun[psid] = self.sim.now
        self.sim.run_for(then)

    def live(self) -> list[tuple[str, str, bytes]]:
        """Return (speaker, listener, psid) for every side that is open."""
        sides = [side for one, other, psid in self.psids for side in ((one, other, psid), (other, one, psid))]
        return [side for side in sides if isinstance(self.scene.session(side[0], side[2]), Open)]

    @precondition(live)
    @rule(data=st.data(), then=THEN)
    def say(self, data: st.DataObject, then: float) -> None:
        speaker, listener, psid = data.draw(st.sampled_from(self.live()))
        text = sha256(psid + len(self.said[psid]).to_bytes(4, "big"))
        self.said[psid].add(text)
        self.scene.say(speaker, listener, psid, text)
        self.sim.run_for(then)

    @precondition(live)
    @rule(data=st.data(), reason=st.integers(0, 4), how=st.sampled_from(["close", "revoke"]), then=THEN)
    def end_session(self, data: st.DataObject, reason: int, how: str, then: float) -> None:
        name, _, psid = data.draw(st.sampled_from(self.live()))
        self.sim.command(name, session_of(psid), CloseSession() if how == "close" else RevokeSession(reason))
        self.sim.run_for(then)

    @rule(name=DEVICES, what=st.sampled_from(["suspend", "resume", "resume", "revoke"]))
    def operate(self, name: str, what: str) -> None:
        home = HOMES[name]
        command = {"suspend": SuspendDevice(), "resume": ResumeDevice(), "revoke": RevokeDevice(2)}[what]
        boots = self.sim.hosts[home].boots
        if not self.sim.hosts[home].up:
            return
        self.sim.command(home, enrolment_of(identity(name)), command)
        if self.sim.hosts[home].boots != boots:
            self.status[name] = self.registered(name).member.status  # the fuse burnt: either answer is right
            self.readmitted[name] &= self.status[name] != REVOKED
        elif what == "revoke":
            self.status[name] = REVOKED
            self.readmitted[name] = False
        elif what == "suspend" and self.status[name] == ACTIVE:
            self.status[name] = SUSPENDED
        elif what == "resume" and self.status[name] == SUSPENDED:
            self.status[name] = ACTIVE
        if self.status[name] == ACTIVE:
            self.barred_since.pop(name, None)
        else:
            self.barred_since.setdefault(name, self.sim.now)
        self.scene.federation.bar(identity(name), barred=self.status[name] != ACTIVE)

    @rule(name=DEVICES, then=THEN)
    def rejoin(self, name: str, then: float) -> None:
        if self.sim.hosts[name].up and self.scene.label(name, again=True) is not None:
            self.scene.greet(name)
            self.labels[name] += 1
            self.readmitted[name] = True
        self.sim.run_for(then)

    # ------------------------------------------------------------------ what the world does

    @rule(seconds=st.sampled_from([0.01, 0.1, 1.0, 3.0, 10.0, 30.0, 90.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.sim.run_for(seconds)

    @rule(
        loss=st.sampled_from([0.0, 0.1, 0.4]),
        duplication=st.sampled_from([0.0, 0.3]),
        jitter=st.sampled_from([0.0, 0.05, 3.0]),
    )
    def weather(self, loss: float, duplication: float, jitter: float) -> None:
        self.sim.channel = Channel(0.005, jitter, loss, duplication)

    @rule(name=NODES, down_s=st.sampled_from([0.0, 1.0, 20.0]))
    def reboot(self, name: str, down_s: float) -> None:
        self.sim.reboot(name, down_s)

    @rule(name=NODES, left=st.integers(1, 4), after=st.booleans())
    def cut_power_at_a_commit(self, name: str, left: int, after: bool) -> None:
        self.sim.hosts[name].fuse = Fuse(left, after)

    @rule(name=NODES, skew_s=st.sampled_from([-3600.0, -60.0, 0.0, 3600.0]), drift=st.sampled_from([-1e-3, 0.0, 1e-3]))
    def set_clock(self, name: str, skew_s: float, drift: float) -> None:
        self.sim.set_clock(name, Quartz(skew_s, drift))

    @rule(reachable=st.booleans(), which=st.integers(0, 1))
    def coordinator_comes_and_goes(self, reachable: bool, which: int) -> None:
        self.scene.federation.coordinators[which].reachable = reachable

    @rule(data=st.data(), to=st.one_of(st.none(), NODES), bit=st.one_of(st.none(), st.integers(0, 10_000)))
    def adversary_replays(self, data: st.DataObject, to: str | None, bit: int | None) -> None:
        """Send again anything that was ever on the air, as it was or with one bit changed, to anybody, as its sender."""
        old = self.sim.air[data.draw(st.integers(0, len(self.sim.air) - 1))]
        wire = old.data
        if bit is not None:
            at = bit % (8 * len(wire))
            wire = wire[: at // 8] + bytes([wire[at // 8] ^ 1 << at % 8]) + wire[at // 8 + 1 :]
        self.sim.inject(old.source, to or old.target, wire)

    # ------------------------------------------------------------------ what must hold

    def registered(self, name: str) -> RegistrarCell:
        return self.sim.hosts[HOMES[name]].cells[enrolment_of(identity(name))]

    def credential_of(self, name: str) -> bytes:
        member = self.scene.membership(name)
        return b"" if member is None else member.credential.raw

    @invariant()
    def PW25_two_sides_of_one_session_never_hold_different_keys(self) -> None:
        keys: dict[bytes, set[bytes]] = defaultdict(set)
        for name in HOMES:
            for (kind, psid), cell in self.sim.hosts[name].cells.items():
                if kind == "session" and isinstance(cell, Open):
                    keys[psid].add(cell.key_id)
        assert all(len(ids) == 1 for ids in keys.values()), keys

    @invariant()
    def IM05_no_key_and_nonce_meets_two_messages(self) -> None:
        assert self.scene.witness.reused == []

    @invariant()
    def PW36_nothing_is_opened_twice_or_that_was_not_said(self) -> None:
        for name in HOMES:
            opened = Counter((heard.psid, heard.plaintext) for heard in self.sim.heard(name, Opened))
            assert not opened or max(opened.values()) == 1
            assert all(text in self.said[psid] for psid, text in opened)

    @invariant()
    def PW39_no_key_comes_twice(self) -> None:
        for name in HOMES:
            ids = [ready.keys.key_id for ready in self.sim.heard(name, KeyReady)]
            assert len(ids) == len(set(ids))

    @invariant()
    def RV09_a_barred_device_opens_nothing_that_began_later(self) -> None:
        for name, since in self.barred_since.items():
            for other in HOMES:
                for at, _, report in self.sim.hosts[other].reports:
                    if isinstance(report, KeyReady) and at > since and name in self.parties_of(report.psid):
                        assert self.begun[report.psid] <= since, f"{name} is barred and opened a session"

    def parties_of(self, psid: bytes) -> tuple[str, str]:
        return next(((one, other) for one, other, known in self.psids if known == psid), ("", ""))

    @invariant()
    def DR04_what_was_acknowledged_is_kept(self) -> None:
        """An operator's word stands after any crash; a manager that has issued a credential knows its member."""
        for name, home in HOMES.items():
            if not self.sim.hosts[home].up:
                continue
            cell = self.registered(name)
            assert cell.member is not None
            acknowledged = [
                heard.credential for heard in self.sim.heard(home, Enrolled) if heard.dev_id == identity(name)
            ]
            entered = self.entry(name)
            held = cell.member.credential
            assert held in (entered, *acknowledged[-1:])
            if held == entered != self.enrolled_with[name]:
                self.enrolled_with[name] = held
                if self.status[name] == REVOKED and self.readmitted[name]:  # by a label that was made afterwards
                    self.status[name] = ACTIVE
                    self.barred_since.pop(name, None)
                self.scene.federation.bar(identity(name), barred=self.status[name] != ACTIVE)
            assert cell.member.status == self.status[name]

    def entry(self, name: str) -> bytes:
        """Return the credential that the coordinator has on its register."""
        home = self.scene.federation.home_of(HOMES[name])
        assert home is not None
        return home.devices[identity(name)].credential

    @invariant()
    def EN22_a_label_makes_one_credential(self) -> None:
        for name, home in HOMES.items():
            issued = {report.credential for report in self.sim.heard(home, Enrolled) if report.dev_id == identity(name)}
            assert len(issued) <= self.labels[name] + int(self.sim.now // CODE_LIFE_S) + self.clock_hours()

    def clock_hours(self) -> int:
        return 2 * sum(host.quartz.skew_s != 0 for host in self.sim.hosts.values())

    @invariant()
    def DR03_no_ephemeral_secret_is_ever_written(self) -> None:
        """Search every record ever written for every scalar and point drawn, and for every secret of a volatile cell."""
        fresh = [
            (host, key, record)
            for name, host in self.sim.hosts.items()
            for key, record in host.journal[self.journaled[name] :]
        ]
        self.journaled = {name: len(host.journal) for name, host in self.sim.hosts.items()}
        for host, key, record in fresh:
            if key == OWN_ENROLMENT:  # d is durable from BIND on, by declaration
                self.durable.update(secrets_of(host.node.kinds[key.kind].load(key.id, record), "d"))
        ephemerals = {*self.scene.witness.ephemerals(), *self.volatile()} - self.durable
        for host, key, record in fresh:
            for drawn in ephemerals:
                assert drawn not in record, f"{host.name} wrote an ephemeral secret with its {key.kind}"

    def volatile(self) -> Iterator[bytes]:
        for name in HOMES:
            for (kind, _), cell in self.sim.hosts[name].cells.items():
                if kind == "session":
                    yield from secrets_of(cell)

    # ------------------------------------------------------------------ and what must come

    def teardown(self) -> None:
        if not hasattr(self, "scene"):
            return
        scene, sim = self.scene, self.sim
        sim.channel = Channel()
        for coordinator in scene.federation.coordinators:
            coordinator.reachable = True
        for name, host in sim.hosts.items():
            host.fuse = None
            sim.set_clock(name, Quartz())
        sim.run_for(HEALS_S)
        for name in HOMES:
            code, newcomer = self.registered(name).code, sim.hosts[name].cells[OWN_ENROLMENT]
            waits = isinstance(newcomer, AwaitHello | AwaitOffer | AwaitVpt | AwaitCred)
            same = waits and code is not None and code.prs == newcomer.prs
            assert not same, f"{name} and its manager share a code and do not use it"
        active = [name for name in HOMES if self.status[name] == ACTIVE and self.is_member(name)]
        for one, other in pairwise(active):
            assert self.reaches(one, other), f"{one} and {other} are active and got no session within 60 s"
        self.PW25_two_sides_of_one_session_never_hold_different_keys()
        self.IM05_no_key_and_nonce_meets_two_messages()
        self.DR03_no_ephemeral_secret_is_ever_written()

    def is_member(self, name: str) -> bool:
        """Tell whether a device and its manager agree on the device's credential."""
        member = self.registered(name).member
        return member is not None and self.credential_of(name) == member.credential

    def reaches(self, one: str, other: str) -> bool:
        """Ask for a session as an application does, again when it fails, for 60 s in all."""
        end = self.sim.now + 60.0
        while self.sim.now < end:
            psid = self.scene.ask(one, other)
            self.begun[psid] = self.sim.now
            self.sim.run_until(lambda: self.is_decided(one, other, psid), end - self.sim.now)  # noqa: B023
            if self.is_open(one, other, psid):
                return True
        return False

    def is_open(self, one: str, other: str, psid: bytes) -> bool:
        return all(self.scene.ready(name, psid) for name in (one, other))

    def is_decided(self, one: str, other: str, psid: bytes) -> bool:
        closed = any(report.psid == psid for report in self.sim.heard(one, SessionClosed))
        return closed or self.is_open(one, other, psid)


def secrets_of(value: Any, name: str = "") -> Iterator[bytes]:
    """Yield every Secret below a cell, or those in fields called `name`; suites and signing keys are not looked into."""
    if is_dataclass(value) and not isinstance(value, type) and type(value).__name__ not in {"Suite", "SigningKey"}:
        for entry in fields(value):
            inner = getattr(value, entry.name, None)
            if isinstance(inner, Secret):
                if name in ("", entry.name):
                    yield inner.expose()
            elif isinstance(inner, tuple):
                for each in inner:
                    yield from secrets_of(each, name)
            else:
                yield from secrets_of(inner, name)


Fleet.TestCase.settings = settings(max_examples=20, stateful_step_count=40)
TestFleet = pytest.mark.timeout(240)(Fleet.TestCase)
