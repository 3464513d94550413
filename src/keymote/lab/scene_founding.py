"""How a scene is founded: an authority, two coordinators, their managers, who enrol as the product's do, and devices.

Names: `nc1` and `nc2` coordinators, `nm1` at `nc1` and `nm2` at `nc2` managers, devices as the caller likes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from keymote import cbor
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.hybrid import HybridDoor, HybridKey, draw_seed
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey, Suite
from keymote.crypto.suites import SUITES
from keymote.engine import hybrid
from keymote.engine.base import Node
from keymote.engine.chain import Pin, Trust
from keymote.engine.context import (
    DeviceContext,
    Handshake,
    Membership,
    PostQuantum,
    RegistrarContext,
    RegistrarPolicy,
    Tally,
)
from keymote.engine.enrolment.device_cell import Registered
from keymote.engine.faces import (
    GATE,
    OWN_ENROLMENT,
    Announce,
    Enrolled,
    ExpectDevice,
    HelloIs,
    OpenDoor,
    Provision,
    SayHello,
    enrolment_of,
)
from keymote.engine.link_faces import OWN_LINK
from keymote.engine.node import device_node, registrar_node
from keymote.lab.scenes import YEARS, Operator, Scene, identity
from keymote.lab.simulator import EPOCH, Build, Channel, Simulator
from keymote.lab.simulator.registry import Coordinator, Federation, Managed
from keymote.lab.simulator.witness import Witness, WitnessedSuite
from keymote.wire.credential import Claims, Role, issue

HOMES: Final = {"d1": "nm1", "d2": "nm2"}
"""The usual pair: each device at the manager of another operator."""
AT_ONCE: Final = RegistrarPolicy(joins_per_source_per_min=60)
"""The product's policy, but for a test that enrols one device many times within a minute."""


def two_operators(
    seed: bytes = b"two operators",
    *,
    suite: int = 1,
    homes: Mapping[str, str] = HOMES,
    policy: RegistrarPolicy = AT_ONCE,
    channel: Channel | None = None,
    accept_compact: bool = False,
    enrolled: bool = True,
    policies: Mapping[str, RegistrarPolicy] | None = None,
    door: HybridDoor | None = None,
    handshake: Handshake = Handshake.TRIAD,
) -> Scene:
    """Return a world in which every device of `homes` (name -> manager) is enrolled, unless told otherwise.

    `policies` (name -> policy) says where a manager's policy is not `policy`. `door` stands in the place of HPKE. Devices
    run `handshake`, which all managers accept besides what their policies say.
    """
    entropy = SeededEntropy(seed)
    witness = Witness()
    suites = {number: WitnessedSuite(SUITES[number], witness) for number in {suite, 1, 17}}
    ours = suites[suite]
    root = ours.generate_signing_key(entropy.fork("authority"))
    trust = Trust((Pin(identity("authority"), suite, root.public, Role.AUTHORITY),), suites)
    operators = {name: _operator(name, ours, root, entropy) for name in ("nc1", "nc2")}
    federation = Federation(Coordinator(operator.credential) for operator in operators.values())
    sim = Simulator(seed, answer=federation.answer)
    sim.hear = federation.hear
    sim.witness = witness
    managers: dict[str, RegistrarContext] = {}
    tallies: dict[str, Tally] = {}
    for manager in sorted(set(homes.values())):
        number = manager.removeprefix("nm")
        operator = operators[f"nc{number}"]
        member = _enrolled_manager(seed, manager, ours, operator, trust, entropy)
        own = (policies or {}).get(manager, policy)
        context = RegistrarContext(
            identity(manager),
            operator.id,
            Role.MANAGER,
            member.signing,
            {suite: ours},
            (member.membership.credential.raw, operator.credential),
            trust,
            member.membership,
            replace(own, handshakes=own.handshakes | {handshake}),
        )
        if context.policy.post_quantum is not PostQuantum.OFF:
            context = replace(context, hybrid=HybridKey.of(draw_seed(entropy.fork(f"{manager} hybrid")), door))
        managers[manager] = context
        managed = Managed(context.chain[0], manager, hybrid.statement(context))
        federation.coordinators[int(number) - 1].managers[manager] = managed
        sim.add(manager, _registrar(managers, manager, tallies), segment=manager, at_boot=((GATE, OpenDoor()),))
    devices: dict[str, DeviceContext] = {}
    for name, home in homes.items():
        signing = ours.generate_signing_key(entropy.fork(name))
        devices[name] = DeviceContext(
            identity(name), ours, signing, trust, accept_compact=accept_compact, handshake=handshake
        )
        sim.add(name, _device(devices, name, tallies), segment=home, at_boot=((OWN_LINK, Announce()),))
    scene = Scene(sim, ours, federation, witness, dict(homes), devices, managers, tallies, operators)
    if enrolled:
        scene.enrol(*homes)
    if channel is not None:
        sim.channel = channel
    return scene


# Nodes are made anew at each boot, with fresh counters, from what the scene holds at that moment.


def _registrar(managers: Mapping[str, RegistrarContext], name: str, tallies: dict[str, Tally]) -> Build:
    def build() -> Node:
        tallies[name] = Tally()
        return registrar_node(replace(managers[name], tally=tallies[name]))

    return build


def _device(devices: Mapping[str, DeviceContext], name: str, tallies: dict[str, Tally]) -> Build:
    def build() -> Node:
        tallies[name] = Tally()
        return device_node(replace(devices[name], tally=tallies[name]))

    return build


def _operator(name: str, suite: Suite, root: SigningKey, entropy: SeededEntropy) -> Operator:
    signing = suite.generate_signing_key(entropy.fork(name))
    claims = Claims(
        iss=identity("authority"),
        sub=identity(name),
        exp=EPOCH + YEARS,
        iat=EPOCH - 86400,
        serial=sha256(name.encode())[:8],
        suite=suite.id,
        nc_id=identity(name),
        E1=None,
        E2=None,
        sig_pk=signing.public,
        status_epoch=0,
        role=Role.COORDINATOR,
    )
    return Operator(identity(name), signing, issue(root, claims).raw)


@dataclass(frozen=True, slots=True)
class _Manager:
    signing: SigningKey
    membership: Membership


def _enrolled_manager(
    seed: bytes, name: str, suite: Suite, operator: Operator, trust: Trust, entropy: SeededEntropy
) -> _Manager:
    """Let a manager enrol at its coordinator by the same engine that enrols devices (EN-30), in a world of their own."""
    policy = RegistrarPolicy(credential_life_s=YEARS, multicast=False)
    coordinator = RegistrarContext(
        operator.id,
        operator.id,
        Role.COORDINATOR,
        operator.signing,
        {suite.id: suite},
        (operator.credential,),
        trust,
        policy=policy,
    )
    signing = suite.generate_signing_key(entropy.fork(name))
    newcomer = DeviceContext(identity(name), suite, signing, trust, Role.MANAGER, operator.id)
    sim = Simulator(seed + name.encode(), answer=Federation(()).answer)
    sim.add("coordinator", lambda: registrar_node(coordinator))
    sim.add(name, lambda: device_node(newcomer))
    prs = Secret(cbor.encode([sha256(b"registration code of " + name.encode())[:16], b""]))
    sim.command("coordinator", enrolment_of(identity(name)), ExpectDevice(identity(name), prs))
    sim.command(name, OWN_ENROLMENT, Provision(prs))
    (hello,) = (said for said in sim.command("coordinator", GATE, SayHello()) if isinstance(said, HelloIs))
    sim.transmit("coordinator", name, hello.wire)
    sim.run_until(lambda: bool(sim.heard(name, Enrolled)), 10.0)
    cell = sim.hosts[name].cells[OWN_ENROLMENT]
    assert isinstance(cell, Registered), "the manager did not enrol at its coordinator"
    return _Manager(signing, cell.membership)
