"""Attacks on what is sent under a group key: forged senders, numbers used twice, records moved (B-12, B-21, B-22)."""

from dataclasses import replace
from typing import Any, Final

from keymote.crypto.suite import SigningKey
from keymote.engine.base import Refused
from keymote.engine.group.faces import Rekey
from keymote.engine.group.payload_faces import GroupOpened, GroupProtected, ProtectForGroup, UnprotectForGroup
from keymote.errors import PeerFault
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held
from keymote.lab.attacks.ring_stage import settled, signing
from keymote.lab.published.group import Sender, meters, opened
from keymote.lab.street import Street
from keymote.wire.gsec import Encrypt0, countersign, enc_structure, external_aad, read, write

NOW: Final = 1_000_000
COMMAND: Final = b"shed 2 kW"
CONTROL, READINGS = "control", "telemetry/power"
EARLY: Final = 20
"""A number that nobody has used yet."""


def _shared_key(effort: Effort, label: str) -> bytes:
    """Return a group key of three meters, made by the ring that the paper lacks."""
    all_, gateway = meters(effort.entropy(label), "A", "B", "C")
    keys = gateway.collect([meter.announce(NOW) for meter in all_], NOW)
    return all_[0].ring_key(keys, {meter.name: meter.contribution(keys) for meter in all_})


def _protected(made: Street, name: str, plaintext: bytes, resource: str, *, signed: bool = False) -> bytes:
    (report,) = (
        each
        for each in made.tell(name, ProtectForGroup(plaintext, resource, signed))
        if isinstance(each, GroupProtected)
    )
    return report.record


def _taken(made: Street, name: str, record: bytes, resource: str) -> Outcome | GroupOpened:
    """Show a record to a member; return what it opened, or which error refused it."""
    try:
        reports = made.tell(name, UnprotectForGroup("m0", record, resource))
    except PeerFault as fault:
        return Fails(fault.code.name, fault.what)
    for report in reports:
        match report:
            case GroupOpened():
                return report
            case Refused(_, code, what):
                return Fails(code.name, what)
    return Fails("nothing", "neither opened nor refused")


# ------------------------------------------------------------------ B-12


def _anybodys_command(effort: Effort) -> Outcome:
    """Encrypt a command as a meter: all have one key, and no field says who speaks."""
    gk = _shared_key(effort, "B-12")
    if opened(gk, *Sender(gk).seal(COMMAND)) != COMMAND:
        return held("it does not open")
    return Succeeds("meter C sends 'shed 2 kW', and A takes it for the controller's: one key, no sender")


def _forged(made: Street, insider: str, victim: str, *, signer: SigningKey | None) -> bytes:
    """Return a command in the victim's name, made with the sender key that every member can compute."""
    epoch = made.active(insider)
    assert epoch is not None
    group, suite = epoch.group, made.suite
    place = next(at for at, (kid, _) in enumerate(group.senders) if kid == made.people[victim].kid)
    material = group.material(place)
    aad = external_aad(material.bound, EARLY, CONTROL, signed=signer is not None)
    ciphertext = suite.seal_group(material.key, material.base_iv.expose(), EARLY, enc_structure(aad), COMMAND)
    signature = None if signer is None else countersign(signer, aad, ciphertext)
    return write(Encrypt0(group.name_of(place), EARLY, group.epoch16, signature, ciphertext))


def _as_controller(name: str, *, signed: bool) -> Attempt:
    """Send a command in the name of m0 as m1: unsigned, or signed with the only key that m1 has."""

    def run(effort: Effort) -> Outcome:
        made = settled(effort, 3)
        record = _forged(made, "m1", "m0", signer=signing(made, "m1") if signed else None)
        seen = _taken(made, "m2", record, CONTROL)
        if isinstance(seen, GroupOpened):
            return Succeeds(f"m2 obeys {seen.plaintext.decode()!r} as a command of m0")
        return seen

    return Attempt(name, "E_AUTH", run)


# ------------------------------------------------------------------ B-21


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=False))


def _counter_in_ram(effort: Effort) -> Outcome:
    """Cut a meter's power in the middle of an epoch."""
    gk = _shared_key(effort, "B-21")
    one, two = b"reading 04711 kWh", b"reading 04712 kWh"
    (seq, first), (again, second) = Sender(gk).seal(one), Sender(gk).seal(two)
    size = len(one)
    if seq != again or _xor(first[:size], second[:size]) != _xor(one, two):
        return held("no number comes twice")
    return Succeeds(f"number {seq} comes twice: the ciphertexts' XOR is the plaintexts' XOR")


def _reboots(effort: Effort) -> Outcome:
    """Let a meter send and cut its power, again and again in one epoch, and look for a number that comes twice."""
    made = settled(effort, 2)
    rounds = effort.choose(60, 1000)
    numbers: list[int] = []
    epoch = made.newest()
    for _ in range(rounds):
        numbers += [read(_protected(made, "m0", b"reading", READINGS)).seq for _ in range(2)]
        made.sim.reboot("m0")
        made.sim.run_for(0.01)
    if len(set(numbers)) < len(numbers):
        return Succeeds(f"{len(numbers) - len(set(numbers))} of {len(numbers)} numbers come twice")
    return held(
        f"{rounds} reboots in epoch {epoch}: {len(numbers)} records, {len(set(numbers))} numbers, the highest {max(numbers)}"
    )


# ------------------------------------------------------------------ B-22


def _anywhere(effort: Effort) -> Outcome:
    """Show a record of one resource as one of another."""
    gk = _shared_key(effort, "B-22")
    seq, ciphertext = Sender(gk).seal(b"5")
    if opened(gk, seq, ciphertext) != b"5":
        return held("it does not open")
    return Succeeds("what was sent as a price offer opens as a load limit: the resource is not in it")


def _moved(name: str, by: str, move: Any) -> Attempt:
    """Take a record of m0 from where it belongs and show it elsewhere."""

    def run(effort: Effort) -> Outcome:
        made = settled(effort, 3)
        where, record, resource = move(made)
        seen = _taken(where, "m2", record, resource)
        if isinstance(seen, GroupOpened):
            return Succeeds(f"m2 opens it in group {seen.gid.hex()}, epoch {seen.epoch}, as {seen.resource}")
        return seen

    return Attempt(name, by, run)


def _to_another_resource(made: Street) -> tuple[Street, bytes, str]:
    return made, _protected(made, "m0", b"5", "telemetry/offers"), "telemetry/limits"


def _without_its_signature(made: Street) -> tuple[Street, bytes, str]:
    record = read(_protected(made, "m0", b"5", READINGS, signed=True))
    return made, write(record._replace(countersignature=None)), READINGS


def _to_another_epoch(made: Street) -> tuple[Street, bytes, str]:
    record = read(_protected(made, "m0", b"5", READINGS))
    made.ring(Rekey())
    made.run(30.0)
    made.sim.run_for(61.0)
    return made, write(record._replace(epoch16=made.newest())), READINGS


def _to_another_group(made: Street) -> tuple[Street, bytes, str]:
    other = replace(made, gid=b"\x68" * 8, ver=0, names=list(made.names))
    other.provision(*other.names)
    other.form()
    other.run(30.0)
    return other, _protected(made, "m0", b"5", READINGS), READINGS


ATTACKS = (
    Attack(
        "B-12",
        "Command of another member",
        "I",
        _anybodys_command,
        (
            _as_controller("command without a signature", signed=False),
            _as_controller("command under another signature", signed=True),
        ),
    ),
    Attack(
        "B-21",
        "Numbers used twice",
        "-",
        _counter_in_ram,
        (Attempt("reboots within an epoch", "property", _reboots),),
    ),
    Attack(
        "B-22",
        "Record moved",
        "M",
        _anywhere,
        (
            _moved("to another resource", "E_AUTH", _to_another_resource),
            _moved("its signature taken off", "E_AUTH", _without_its_signature),
            _moved("to another epoch", "E_AUTH", _to_another_epoch),
            _moved("to another group", "E_AUTH", _to_another_group),
        ),
    ),
)
