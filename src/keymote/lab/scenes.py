"""Worlds of protocol A for tests, attacks and measurements: what devices and managers do there, and what becomes of them.

Everything is run by the product's engines, the managers' own enrolment included; only the coordinators' services are a
model (`simulator.registry`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from keymote import cbor
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey, Suite
from keymote.engine.context import (
    DeviceContext,
    Membership,
    RegistrarContext,
    Tally,
)
from keymote.engine.enrolment.device_cell import Registered
from keymote.engine.faces import (
    GATE,
    OWN_ENROLMENT,
    Enrolled,
    ExpectAgain,
    ExpectDevice,
    HelloIs,
    KeyReady,
    OpenSession,
    Protect,
    Protected,
    Provision,
    SayHello,
    enrolment_of,
    session_of,
)
from keymote.errors import CallerFault
from keymote.lab.simulator import EPOCH, Simulator
from keymote.lab.simulator.registry import Federation
from keymote.lab.simulator.witness import Witness
from keymote.wire.credential import Role, issue

YEARS: Final = 10 * 365 * 86400


def identity(name: str) -> bytes:
    """Return the 8-byte id of the actor `name`."""
    return sha256(b"keymote/lab/" + name.encode())[:8]


@dataclass(frozen=True, slots=True)
class Operator:
    """A coordinator: what it signs with, and its credential by the authority."""

    id: bytes
    signing: SigningKey
    credential: bytes


@dataclass(slots=True)
class Scene:
    """A world ready to act in. `codes`: PRS of the newest label of each device; `tallies`: counters beside the cells."""

    sim: Simulator
    suite: Suite
    federation: Federation
    witness: Witness
    homes: Mapping[str, str]
    devices: dict[str, DeviceContext]
    managers: dict[str, RegistrarContext]
    tallies: dict[str, Tally]
    operators: Mapping[str, Operator] = field(default_factory=dict)
    codes: dict[str, Secret] = field(default_factory=dict)
    _serial: int = 0

    # ------------------------------------------------------------------ enrolment

    def label(self, name: str, *, again: bool = False) -> Secret | None:
        """Give a device a new label: its manager expects the code, the device is provisioned with it.

        None when the manager refuses it, because a registration of this device is under way or it is down.
        """
        self._serial += 1
        otc = sha256(b"otc" + name.encode() + self._serial.to_bytes(4, "big"))[:16]
        prs = Secret(cbor.encode([otc, b""]))
        expect = (ExpectAgain if again else ExpectDevice)(identity(name), prs)
        home = self.sim.hosts[self.homes[name]]
        boots = home.boots
        told = self.sim.command(home.name, enrolment_of(identity(name)), expect)
        if told or home.boots != boots or not home.up:
            return None
        self.codes[name] = prs
        self.sim.command(name, OWN_ENROLMENT, Provision(prs))
        return prs

    def greet(self, name: str) -> None:
        """Let a device hear its manager's present HELLO, as when it asked for it."""
        home = self.homes[name]
        for report in self.sim.command(home, GATE, SayHello()):
            if isinstance(report, HelloIs):
                self.sim.transmit(home, self.sim.hosts[name].address, report.wire)

    def enrol(self, *names: str, again: bool = False) -> None:
        """Bring devices from a new label to a credential.

        Raises:
            CallerFault: a device was not enrolled within 60 s, as on a channel that loses too much.
        """
        for name in names:
            self.label(name, again=again)
            before = len(self.sim.heard(name, Enrolled))
            self.greet(name)
            if not self.sim.run_until(lambda: len(self.sim.heard(name, Enrolled)) > before, 60.0):  # noqa: B023
                raise CallerFault(f"{name} did not enrol")
            self.sim.run_for(1.0)

    def membership(self, name: str) -> Membership | None:
        """Return what the enrolment of a device left behind; None while it is not enrolled."""
        cell = self.sim.hosts[name].cells.get(OWN_ENROLMENT)
        return cell.membership if isinstance(cell, Registered) else None

    # ------------------------------------------------------------------ sessions

    def ask(
        self,
        name: str,
        peer: str,
        *,
        fast: bool = False,
        compact: bool = False,
        relayed: bool = False,
        manager: str = "",
    ) -> bytes:
        """Let the application of `name` want a session with `peer`; return its psid and let nothing happen yet."""
        self._serial += 1
        psid = sha256(b"psid" + self._serial.to_bytes(4, "big"))[:8]
        at = "" if relayed else self.sim.hosts[peer].address
        wish = OpenSession(psid, identity(peer), at, fast, compact, identity(manager) if manager else b"")
        self.sim.command(name, OWN_ENROLMENT, wish)
        return psid

    def ready(self, name: str, psid: bytes) -> KeyReady | None:
        """Return what the application of `name` heard when the session became usable."""
        return next((ready for ready in self.sim.heard(name, KeyReady) if ready.psid == psid), None)

    def open(
        self,
        name: str,
        peer: str,
        *,
        fast: bool = False,
        compact: bool = False,
        relayed: bool = False,
        within_s: float = 60.0,
    ) -> bytes:
        """Open a session and return its psid when both sides have it.

        Raises:
            CallerFault: it did not open within `within_s`.
        """
        psid = self.ask(name, peer, fast=fast, compact=compact, relayed=relayed)
        both = (name, peer)
        if not self.sim.run_until(lambda: all(self.ready(each, psid) for each in both), within_s):
            raise CallerFault(f"no session of {name} with {peer} within {within_s} s")
        return psid

    def session(self, name: str, psid: bytes) -> Any:
        """Return the state of a session at a device or a manager; None when there is none."""
        return self.sim.hosts[name].cells.get(session_of(psid))

    def protect(self, name: str, psid: bytes, plaintext: bytes) -> bytes | None:
        """Return `plaintext` as a record of this session; None when it is not open."""
        reports = self.sim.command(name, session_of(psid), Protect(plaintext))
        return next((report.record for report in reports if isinstance(report, Protected)), None)

    def say(self, name: str, peer: str, psid: bytes, plaintext: bytes) -> bytes | None:
        """Protect and send to the peer directly; return the record."""
        record = self.protect(name, psid, plaintext)
        if record is not None:
            self.sim.transmit(name, self.sim.hosts[peer].address, record)
        return record

    # ------------------------------------------------------------------ managers' own renewal

    def renewed(self, manager: str, life_s: int = YEARS) -> bytes:
        """Return a newer credential for the keys of a manager, issued by its coordinator now; nobody has it yet."""
        number = manager.removeprefix("nm")
        own = self.managers[manager].membership
        assert own is not None
        now = int(EPOCH + self.sim.now)
        serial = sha256(own.credential.raw)[:8]
        claims = replace(own.credential.claims, iat=now, exp=now + life_s, serial=serial)
        return issue(self.operators[f"nc{number}"].signing, claims).raw

    def know(self, manager: str, credential: bytes) -> None:
        """Let the coordinator of a manager hand out this credential of it."""
        register = self.federation.coordinators[int(manager.removeprefix("nm")) - 1].managers
        register[manager] = replace(register[manager], credential=credential)

    def adopt(self, manager: str, credential: bytes) -> None:
        """Let a manager be known by this credential from its next start on."""
        context = self.managers[manager]
        assert context.membership is not None
        verified = context.trust.verify((credential, *context.membership.issuers), Role.MANAGER, None)
        membership = replace(context.membership, credential=verified)
        self.managers[manager] = replace(context, membership=membership, chain=(credential, *context.chain[1:]))

    # ------------------------------------------------------------------ hard times

    def fork(self, label: str) -> "Scene":
        """Return a copy of this world, registers included, whose future is its own."""
        sim, federation = self.sim.fork(label), self.federation.copy()
        sim.answer, sim.hear = federation.answer, federation.hear
        return replace(self, sim=sim, federation=federation, codes=dict(self.codes))

    def restore(self, manager: str, disk: Mapping[Any, Any]) -> None:
        """Start a manager from a backup of its disk, as the generation after the present one."""
        context = self.managers[manager]
        self.managers[manager] = replace(context, generation=context.generation + 1)
        self.sim.restore(manager, dict(disk))
