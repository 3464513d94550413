"""Attacks on what is enrolled: keys of others, keys that are none, one device twice (A-09, A-12, A-20)."""

from dataclasses import replace
from typing import Final

from keymote.crypto.secret import Secret
from keymote.engine.enrolment.registrar_cell import AwaitBind
from keymote.engine.faces import Alarm, ExpectDevice, enrolment_of
from keymote.errors import PeerFault
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held
from keymote.lab.attacks.codes import printed
from keymote.lab.attacks.impostors import Newcomer
from keymote.lab.attacks.paper import paper
from keymote.lab.attacks.signatures import UNIVERSAL_KEY, UNIVERSAL_SIGNATURE, openssl_accepts
from keymote.lab.attacks.stage import Mallory, label, meeting
from keymote.lab.published.pairwise import Device, Letter, enrol
from keymote.lab.scenes import identity
from keymote.wire.enrolment import Bind, BindBody
from keymote.wire.fields import sizes_of

SOME_SCALAR: Final = b"\x01" + bytes(31)

# ------------------------------------------------------------------


def _exchanged_E2(effort: Effort) -> Outcome:
    """Rewrite E2 in the last message of an enrolment: whoever knows d_M then owns the device's identity."""
    world = paper(effort, "A-09", enrolled=False)
    d_M = 0x5EC2E7

    def tamper(letter: Letter) -> Letter:
        if letter.name != "Binding":
            return letter
        E1 = world.nm1.curve.add(world.air.point("Selection", "e_NM"), world.air.point("Contribution", "V"))
        return Letter(letter.sender, letter.receiver, letter.name, {"E2": world.nm1.curve.mul(d_M, E1)})

    enrol(world.one, world.nm1, world.tampered(tamper).air)
    found = world.nm1.coordinator.register["D1"]
    if found.curve.mul(d_M, found.E1) != found.E2:
        return held("the registered key is the device's")
    return Succeeds("the register holds Mallory's E2 under the name of D1")


def _exchange_in_bind(*, insider: bool) -> Attempt:
    """Rewrite E2 in BIND: as an outsider without keys, or as somebody at the manager's side who has the run's."""

    def run(effort: Effort) -> Outcome:
        scene = meeting(effort, enrolled=False)
        mallory, suite = Mallory(scene), scene.suite
        mallory.hold(Bind.mt)
        label(scene, "d1")
        scene.greet("d1")
        wire = mallory.take(Bind.mt)
        mallory.release()
        host = scene.sim.hosts["nm1"]
        phase = host.cells[enrolment_of(identity("d1"))].phase
        assert isinstance(phase, AwaitBind)
        d_M = suite.random_scalar(effort.entropy("A-09"))
        E2 = suite.mul(d_M, phase.E1)
        sizes = sizes_of(suite.id)
        known = phase.run if insider else replace(phase.run, P=Secret(bytes(32)))
        try:
            body = BindBody.decode(known.open("A/k6", Bind.decode(wire, sizes).ct), sizes)
        except PeerFault:  # an outsider cannot read BIND; she writes one of her own
            body = BindBody(E2, SOME_SCALAR, SOME_SCALAR, bytes(64))
        forged = Bind(known.seal("A/k6", BindBody(E2, body.c, body.s, body.pop).encode())).encode()
        reaction = mallory.send("d1", "nm1", forged)
        stopped = reaction.stopped()
        if stopped is not None:
            return Fails(stopped[0], stopped[1])
        newcomer = Newcomer(mallory, "nm1", identity("d1"), scene.codes["d1"], effort.entropy("unused"))
        claims = newcomer.registered()
        if claims is None or claims.E2 != E2:
            return Fails("nothing", "the registered key is not Mallory's")
        return Succeeds("the manager certified Mallory's E2 under the name of d1")

    name, by = ("E2 exchanged at the manager", "E_DLEQ") if insider else ("E2 exchanged on the air", "E_AUTH")
    return Attempt(name, by, run)


# ------------------------------------------------------------------


def _universal_member(_effort: Effort) -> Outcome:
    """Enrol the identity as a signature key where the register looks at its length and "proof" only."""
    possession, messages = b"I hold this key", [b"reading %d" % n for n in range(32)]
    accepted = openssl_accepts(UNIVERSAL_KEY, possession, UNIVERSAL_SIGNATURE)
    forged = sum(openssl_accepts(UNIVERSAL_KEY, message, UNIVERSAL_SIGNATURE) for message in messages)
    if not accepted or forged != len(messages):
        return held(f"{forged} of {len(messages)} forgeries verify")
    return Succeeds(
        f"the proof of possession passes; anybody signs {forged} of {len(messages)} messages for the member"
    )


def _universal_key_in_share(effort: Effort) -> Outcome:
    """Enrol with a right code and the identity as signature key, so as to deny everything afterwards."""
    scene = meeting(effort, enrolled=False)
    mallory = Mallory(scene)
    newcomer = Newcomer(mallory, "nm1", identity("d1"), label(scene, "d1"), effort.entropy("A-12"))
    newcomer.join()
    stopped = newcomer.share(sig_pk=UNIVERSAL_KEY).stopped()
    if stopped is not None:
        return Fails(stopped[0], f"SHARE: {stopped[1]}")
    newcomer.bind(pop=UNIVERSAL_SIGNATURE)
    claims = newcomer.registered()
    if claims is None or claims.sig_pk != UNIVERSAL_KEY:
        return Fails("nothing", "nobody was registered")
    return Succeeds("a credential holds a key under which one constant signature verifies for every message")


# ------------------------------------------------------------------


def _two_registers(effort: Effort) -> Outcome:
    """Enrol one identity under two managers: each coordinator keeps a register, nobody compares them."""
    world = paper(effort, "A-20")
    world.nm2.codes["D1"] = world.one.code
    clone = Device("D1", world.one.code, effort.entropy("A-20"))
    enrol(clone, world.nm2, world.air)
    first, second = (manager.coordinator.register.get("D1") for manager in (world.nm1, world.nm2))
    if first is None or second is None or first.E2 == second.E2:
        return held("the second registration is refused")
    return Succeeds("D1 is registered twice, with two keys")


def _clone_at_the_next_manager(effort: Effort) -> Outcome:
    """Enrol the identity of d1 once more at the other manager of the same coordinator, with a code of its own."""
    scene = meeting(effort)
    first, second = scene.federation.coordinators
    first.managers |= second.managers
    second.managers.clear()
    mallory = Mallory(scene)
    code = printed(b"a second label..")
    scene.sim.command("nm2", enrolment_of(identity("d1")), ExpectDevice(identity("d1"), code))
    newcomer = Newcomer(mallory, "nm2", identity("d1"), code, effort.entropy("A-20"))
    newcomer.join()
    newcomer.share()
    stopped = newcomer.bind().stopped()
    alarms = [alarm.name for alarm in scene.sim.heard("nm2", Alarm)]
    if stopped is not None and "clone" in alarms:
        return Fails(stopped[0], f"{stopped[1]}; alarm: {', '.join(alarms)}")
    if newcomer.registered() is None:
        return Fails("nothing", "nobody was registered, nobody was told")
    return Succeeds("d1 exists twice, under two managers of one coordinator")


ATTACKS = (
    Attack(
        "A-09",
        "E2 exchanged in the last message",
        "M",
        _exchanged_E2,
        (_exchange_in_bind(insider=True), _exchange_in_bind(insider=False)),
    ),
    Attack(
        "A-12",
        "Universal signature key",
        "I",
        _universal_member,
        (Attempt("identity key in SHARE", "E_POINT", _universal_key_in_share),),
    ),
    Attack(
        "A-20",
        "One device twice",
        "I",
        _two_registers,
        (Attempt("clone at another manager", "E_CRED", _clone_at_the_next_manager),),
    ),
)
