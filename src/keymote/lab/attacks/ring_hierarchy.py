"""Attacks on the root key of a city: members who were put out, newcomers who look back, delegates who lie (B-17 to B-19)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from keymote import cbor
from keymote.crypto.kdf import lexp
from keymote.crypto.secret import Secret, equal
from keymote.engine.group.epoch import GroupEpoch
from keymote.engine.group.ring import sid_of
from keymote.engine.group.root_faces import WrapMissing, WrapRefused
from keymote.engine.group.root_key import ratcheted, unwrapped
from keymote.engine.group.traffic import Traffic
from keymote.errors import ErrorCode, PeerFault
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held, refused
from keymote.lab.attacks.ring_stage import SIZES, type_of
from keymote.lab.city import CONTROL, City
from keymote.lab.city_founding import city
from keymote.lab.published.group import Sender, meters, opened
from keymote.lab.simulator import Datagram
from keymote.wire.group import Start, StartClaims, Wrap, WrapClaims
from keymote.wire.group_signed import read, write
from keymote.wire.gsec import read as read_record

NOW: Final = 1_000_000
COMMAND, RESOURCE = b"shed 2 kW", "control"
EVICTED, DELEGATE = "m2", "m0"
"""An ordinary meter of the first leaf, and that leaf's delegate."""

# ------------------------------------------------------------------ a small city


def _town(effort: Effort, label: str) -> City:
    """Return six meters in two leaves under a top ring, who have agreed on their first root key."""
    made = city(6, seed=effort.seed + label.encode(), most=3, recording=True)
    made.form()
    return made


def _command(made: City) -> bytes:
    """Return a record that goes to the whole city under the newest root key."""
    key = made.root_cell(made.meters[0]).lasting.key
    assert key is not None
    control = made.people[CONTROL]
    epoch = _epoch(made, key.e, key.key, control.kid)
    _, record = Traffic.begin(epoch).send(control.signing, COMMAND, RESOURCE, signed=True)
    return record


def _epoch(made: City, e: int, key: Secret, own_kid: bytes) -> GroupEpoch:
    return GroupEpoch.of(
        made.authority.suite, made.gid_root, e, key, (made.people[CONTROL].entry,), own_kid, by_kid=True
    )


def _reads(made: City, e: int, keys: Iterable[Secret], record: bytes, name: str) -> Outcome:
    """Let somebody try keys on a record of root epoch `e`; return whether one opens it, and the error if none does."""
    refusal = Fails("nothing", f"{name} has no key to try")
    for key in keys:
        traffic = Traffic.begin(_epoch(made, e, key, made.people[name].kid))
        _, seen = traffic.receive(0, read_record(record), RESOURCE)
        if not isinstance(seen, PeerFault):
            return Succeeds(f"{name} reads {seen.decode()!r} of root epoch {e}")
        refusal = refused(seen.code, f"{name} opens nothing of root epoch {e}: {seen.what}")
    return refusal


def _wraps(made: City, since: int = 0) -> list[WrapClaims]:
    """Return the WRAPs on the air, as everybody can record them."""
    return [read(d.data, WrapClaims, SIZES).claims for d in made.sim.air[since:] if type_of(d) == Wrap.mt]


def _sids(made: City) -> set[bytes]:
    """Return the sid of every run: STARTs are public."""
    starts = (d.data for d in made.sim.air if type_of(d) == Start.mt)
    return {sid_of(read(data, StartClaims, SIZES).payload) for data in starts}


def _unwrapped(made: City, wraps: Sequence[WrapClaims], e: int, kcv: bytes, keys: Sequence[Secret]) -> Outcome | Secret:
    """Try keys of rings on all WRAPs of `e`; return the root key, or why there is none."""
    refusal: Outcome = Fails("nothing", f"no WRAP of e {e}")
    for claims in (each for each in wraps if each.e == e):
        for sid in (each for each in _sids(made) if each[:8] == claims.sid8):
            for mk in keys:
                try:
                    return unwrapped(made.authority.suite, mk, sid, made.gid_root, e, kcv, claims.ct)
                except PeerFault as fault:
                    refusal = refused(fault.code, f"none of {len(wraps)} WRAPs opens under her ring's key")
    return refusal


# ------------------------------------------------------------------ B-17


def _until_the_next_run(effort: Effort) -> Outcome:
    """Go on reading after being put out: the key changes when the next run comes, "periodically"."""
    all_, gateway = meters(effort.entropy("B-17"), "A", "B", "C")
    keys = gateway.collect([meter.announce(NOW) for meter in all_], NOW)
    Y = {meter.name: meter.contribution(keys) for meter in all_}
    kept = all_[2].ring_key(keys, Y)
    del gateway.certificates["C"]  # C is revoked; nothing else happens until the next run
    if opened(kept, *Sender(all_[0].ring_key(keys, Y)).seal(COMMAND)) != COMMAND:
        return held("C cannot read")
    return Succeeds("C is revoked and reads on with the key that it has, until all have run again")


def _old_ring_key(effort: Effort) -> Outcome:
    """Keep MK of one's leaf, be put out, record every WRAP, and try that key on all of them."""
    made = _town(effort, "B-17 wraps")
    keys = [seat.ring.mk for seat in made.root_cell(EVICTED).seats.values()]
    since = len(made.sim.air)
    made.evict(EVICTED)
    lasting = made.root_cell(DELEGATE).lasting
    found = _unwrapped(made, _wraps(made, since), lasting.e, lasting.kcv, keys)
    return _reads(made, lasting.e, [found], _command(made), EVICTED) if isinstance(found, Secret) else found


def _old_root_key(effort: Effort) -> Outcome:
    """Keep the root key, be put out, and step it on as a join would."""
    made = _town(effort, "B-17 steps")
    kept = made.root_cell(EVICTED).lasting.key
    assert kept is not None
    made.evict(EVICTED)
    keys, key = [kept.key], kept.key
    for e in range(kept.e + 1, made.e + 1):
        key = ratcheted(key, made.gid_root, e)
        keys.append(key)
    return _reads(made, made.e, keys, _command(made), EVICTED)


# ------------------------------------------------------------------ B-18


def _before_joining(made: City) -> tuple[bytes, int, bytes, list[WrapClaims], Secret, Secret]:
    """Record a city, then join it; return a record and WRAPs of before, and the newcomer's keys."""
    before = made.root_cell(DELEGATE).lasting
    record, wraps = _command(made), _wraps(made)
    made.join(made.levels[0][0], "newcomer")
    cell = made.root_cell("newcomer")
    assert cell.lasting.key is not None
    (seat,) = cell.seats.values()
    return record, before.e, before.kcv, wraps, seat.ring.mk, cell.lasting.key.key


def _old_wraps(effort: Effort) -> Outcome:
    """Try the new leaf's key on recorded WRAPs."""
    made = _town(effort, "B-18 wraps")
    record, e, kcv, wraps, mk, _ = _before_joining(made)
    found = _unwrapped(made, wraps, e, kcv, [mk])
    return _reads(made, e, [found], record, "newcomer") if isinstance(found, Secret) else found


def _stepped_back(effort: Effort) -> Outcome:
    """Try the root key of after the join on a record of before."""
    made = _town(effort, "B-18 steps")
    record, e, _, _, _, key = _before_joining(made)
    return _reads(made, e, [key, ratcheted(key, made.gid_root, e)], record, "newcomer")


# ------------------------------------------------------------------ B-19


def _another_root(effort: Effort) -> Outcome:
    """As delegate, wrap a root key of one's own under the ring's key, sealed as if it had ROOT's check value."""
    made = _town(effort, "B-19 lies")
    rogue = Secret(effort.entropy("B-19").draw(32))

    def lie(sent: Datagram) -> list[Datagram]:
        if type_of(sent) != Wrap.mt or sent.source != DELEGATE:
            return [sent]
        claims, lasting = read(sent.data, WrapClaims, SIZES).claims, made.root_cell(DELEGATE).lasting
        ring = next(seat.ring for seat in made.root_cell(DELEGATE).seats.values() if seat.sid8 == claims.sid8)
        key = lexp(ring.mk, "B/wrap", cbor.encode_array(ring.sid, made.gid_root, claims.e, lasting.kcv))
        ct = made.authority.suite.seal_once(
            key, cbor.encode_array(claims.sid8, made.gid_root, claims.e), rogue.expose()
        )
        person = made.people[DELEGATE]
        return [replace(sent, data=write(person.signing, replace(claims, ct=ct), ring.sid, kid=person.kid))]

    made.sim.adversary = lie
    made.announce()
    made.sim.run_for(5.0)
    below = [name for name in made.levels[0][0].names if name != DELEGATE]
    misled = [name for name in below if _has(made, name, rogue)]
    if misled:
        return Succeeds(f"{', '.join(misled)} use the delegate's own root key")
    codes = {report.code for name in below for report in made.sim.heard(name, WrapRefused)}
    if len(codes) != 1:
        return Fails("nothing", f"refused as {', '.join(code.name for code in codes) or 'nothing'}")
    return refused(codes.pop(), f"{', '.join(below)} refuse it: its check value is not that of ROOT")


def _has(made: City, name: str, key: Secret) -> bool:
    found = made.root_cell(name).lasting.rk
    return found is not None and equal(found.key.expose(), key.expose())


def _silent(effort: Effort) -> Outcome:
    """As delegate, never wrap: a newcomer then waits for the root key that all others have stepped on by themselves."""
    made = _town(effort, "B-19 silence")
    made.sim.adversary = lambda sent: [] if sent.source == DELEGATE and type_of(sent) == Wrap.mt else [sent]
    try:
        made.join(made.levels[0][0], "newcomer")
    except RuntimeError as error:
        return Succeeds(f"the newcomer has no root key: {error}")
    missed = made.sim.heard("newcomer", WrapMissing)
    if not missed:
        return Fails("nothing", "nobody noticed")
    return refused(
        ErrorCode.E_TIMEOUT, "the newcomer reports it after 30 s, and the deputy wraps in the delegate's place"
    )


ATTACKS = (
    Attack(
        "B-17",
        "Evicted meter reads on",
        "I",
        _until_the_next_run,
        (
            Attempt("its ring's old key on new WRAPs", "E_AUTH", _old_ring_key),
            Attempt("its root key, stepped on", "E_AUTH", _old_root_key),
        ),
    ),
    Attack(
        "B-18",
        "Newcomer reads back",
        "I",
        None,
        (
            Attempt("its ring's key on old WRAPs", "E_AUTH", _old_wraps),
            Attempt("its root key on old records", "E_AUTH", _stepped_back),
        ),
    ),
    Attack(
        "B-19",
        "Rogue delegate",
        "I",
        None,
        (
            Attempt("another root key", "E_CONFIRM", _another_root),
            Attempt("no WRAP", "E_TIMEOUT", _silent),
        ),
    ),
)
