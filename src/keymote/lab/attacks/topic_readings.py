"""Attacks on readings under way: moved, forged, repeated, out of order (C-06, C-07, C-12, C-13, C-15, C-19)."""

from dataclasses import replace
from typing import Final

from keymote.crypto.suites import suite_by_id
from keymote.engine.topic.ratchet import WINDOW, Opened
from keymote.errors import ErrorCode, PeerFault
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held, refused
from keymote.lab.attacks.topic_stage import (
    ALARMS,
    READING,
    TOPIC,
    a_grant,
    bedside,
    deliver,
    flipped,
    seen,
    ward,
)
from keymote.wire.pub import read, write

ALARM: Final = b'{"alarm":"asystole","bed":3}'
FORGED: Final = b'{"hr":0,"spo2":0,"bed":3,"who":"patient 0815"}'
SHORT_TAG: Final = 2
"""The cipher with tags of 8 bytes."""

# ------------------------------------------------------------------ C-06


def _again_and_elsewhere(effort: Effort) -> Outcome:
    """Send an alarm again, and show it on another topic: neither number nor topic is in it."""
    _, sensor, monitor = ward(effort, "C-06")
    payload = sensor.publish(ALARM)
    shown = [monitor.receive(payload) for _ in range(3)]
    if set(shown) != {ALARM}:
        return held("the second one says something else")
    return Succeeds("one alarm rings three times, the last time on another topic")


def _replay(effort: Effort) -> Outcome:
    """Send an alarm again after it was opened, and after readings that came later."""
    sensor, monitor = bedside(a_grant(effort.entropy("C-06 replay")), topic=ALARMS)
    data = sensor.publish(ALARM)
    monitor.hear(data)
    outcome = seen(monitor.hear(data), "the alarm rings twice")
    if isinstance(outcome, Succeeds):
        return outcome
    for _ in range(3):
        monitor.hear(sensor.publish(READING))
    return seen(monitor.hear(data), "the alarm rings again")


def _splice(effort: Effort) -> Outcome:
    """Show a reading of one topic on another one, whose session a careless trusted system gave the very same names and keys."""
    grant = a_grant(effort.entropy("C-06 splice"))
    sensor, _ = bedside(grant)
    _, alarms = bedside(grant, topic=ALARMS)
    return seen(alarms.hear(sensor.publish(READING)), f"a reading of {TOPIC} is taken on {ALARMS}")


# ------------------------------------------------------------------ C-07


def _broker_writes(effort: Effort) -> Outcome:
    """Publish, as the broker, bytes that nobody sent."""
    _, sensor, monitor = ward(effort, "C-07")
    sensor.publish(READING)
    shown = monitor.receive(effort.entropy("C-07 junk").draw(len(READING)))
    return Succeeds(f"random bytes are taken for a reading: {shown[:8].hex()}…")


def _forgeries(effort: Effort) -> Outcome:
    """Publish random bytes in the sensor's name, and each reading with one byte changed, wherever it is."""
    entropy = effort.entropy("C-07")
    sensor, monitor = bedside(a_grant(entropy))
    data = sensor.publish(READING)
    genuine = read(data)
    at = len(data) - len(genuine.ciphertext)
    forged = [flipped(data, place, 1 << place % 8) for place in range(at, len(data))]
    forged += [
        write(genuine._replace(n=n % WINDOW, ciphertext=entropy.draw(len(genuine.ciphertext))))
        for n in range(effort.choose(32, 4096))
    ]
    outcome: Outcome = held("nothing was forged")
    for each in forged:
        outcome = seen(monitor.hear(each), "a forged reading is taken")
        if isinstance(outcome, Succeeds):
            return outcome
    if isinstance(monitor.hear(data), PeerFault):
        return Succeeds("the genuine reading is lost")
    assert isinstance(outcome, Fails)
    return replace(outcome, evidence=f"{len(forged)} forgeries: {outcome.evidence}")


def _reorders_and_drops(effort: Effort) -> Outcome:
    """Deliver readings in another order, and some not at all: can the monitor be made to show a wrong order?"""
    sensor, monitor = bedside(a_grant(effort.entropy("C-07 order")))
    sent = [sensor.publish(READING + b"%d" % n) for n in range(8)]
    shown = [monitor.hear(sent[n]) for n in (3, 1, 7, 0, 4)]
    right = [found.n for found in shown if isinstance(found, Opened) and found.plaintext.endswith(b"%d" % found.n)]
    if right != [3, 1, 7, 0, 4]:
        return Succeeds(f"the monitor takes them for {right}")
    return held(
        f"each reading says its number: order {right} is seen, and {sorted(monitor.state.skipped)} are known missing"
    )


# ------------------------------------------------------------------ C-12


def _one_key_for_all(effort: Effort) -> Outcome:
    """Publish as a subscriber."""
    _, sensor, monitor = ward(effort, "C-12")
    insider = replace(sensor, name="another subscriber")
    if monitor.receive(insider.publish(FORGED)) != FORGED:
        return held("it reads something else")
    return Succeeds("a subscriber's reading is taken for the sensor's: one key, no sender")


def _insider(name: str, *, signed: bool) -> Attempt:
    """Publish as a subscriber who kept SK on a topic whose policy is `signed`: without, or with her own signature."""

    def run(effort: Effort) -> Outcome:
        entropy, suite = effort.entropy(f"C-12 {signed}"), suite_by_id(1)
        sensors_key, own_key = (suite.generate_signing_key(entropy) for _ in range(2))
        grant = a_grant(entropy)
        sensor, monitor = bedside(grant, signing=sensors_key, publisher=suite.verify_key(sensors_key.public))
        if isinstance(monitor.hear(sensor.publish(READING)), PeerFault):
            return Succeeds("not even the sensor is believed")
        insider, _ = bedside(grant, signing=own_key if signed else None)
        insider.publish(READING)
        return seen(monitor.hear(insider.publish(FORGED)), "the monitor believes a subscriber")

    return Attempt(name, "E_AUTH", run)


# ------------------------------------------------------------------ C-13


def _duplicate_eats_a_key(effort: Effort) -> Outcome:
    """Let a broker deliver a QoS 1 payload again after the next session's key has come."""
    trusted, sensor, monitor = ward(effort, "C-13")
    first = sensor.publish(READING)
    taken = monitor.receive(first)
    for mote in (sensor, monitor):
        mote.destroy()
    deliver(trusted, sensor, monitor)
    duplicate = monitor.receive(first)
    monitor.destroy()  # "after the message is delivered successfully"
    lost = monitor.receive(sensor.publish(READING))
    if taken != READING or lost == READING:
        return held("the next reading is there")
    return Succeeds(f"the duplicate reads {duplicate[:6].hex()}… and ends the session: the next reading finds no key")


def _duplicate(effort: Effort) -> Outcome:
    """Drop every PUBACK, so that each reading comes three times, now and later."""
    sensor, monitor = bedside(a_grant(effort.entropy("C-13 duplicate")))
    sent = [sensor.publish(READING) for _ in range(6)]
    opened = sum(isinstance(monitor.hear(data), Opened) for data in [*sent, *sent, *reversed(sent)])
    if opened != len(sent):
        return Succeeds(f"{len(sent)} readings are opened {opened} times")
    fault = monitor.faults[-1]
    return refused(fault.code, f"{opened} of {3 * opened} are opened, each once; then: {fault.what}")


def _far_ahead(effort: Effort) -> Outcome:
    """Keep 300 readings back, and deliver the one after them."""
    sensor, monitor = bedside(a_grant(effort.entropy("C-13 skip"), cs=SHORT_TAG))
    sent = [sensor.publish(READING) for _ in range(WINDOW + 45)]
    outcome = seen(monitor.hear(sent[-1]), f"{len(sent) - 1} keys are kept for what may never come")
    if isinstance(monitor.hear(sent[0]), PeerFault):
        return Succeeds("and the next one does not open any more")
    return outcome


# ------------------------------------------------------------------ C-15


def _wound_forward(effort: Effort) -> Outcome:
    """Forge a reading 200 ahead; then let the sensor go on."""
    sensor, monitor = bedside(a_grant(effort.entropy("C-15")))
    monitor.hear(sensor.publish(READING))
    data = sensor.publish(READING)
    genuine, before = read(data), monitor.state
    found = monitor.hear(write(genuine._replace(n=genuine.n + 200)))
    if isinstance(found, Opened) or monitor.state._replace(failures=before.failures) != before:
        lost = [n for n in range(1, 200) if n not in monitor.state.skipped]
        return Succeeds(f"the forged one moved the monitor to {monitor.state.n}; {len(lost)} keys are gone")
    if isinstance(monitor.hear(data), PeerFault):
        return Succeeds("the next reading is lost")
    return refused(found.code, f"the monitor still expected {before.n} and opened it: {found.what}")


# ------------------------------------------------------------------ C-19


def _guesses(effort: Effort) -> Outcome:
    """Guess tags of 8 bytes until somebody stops it."""
    entropy = effort.entropy("C-19")
    sensor, monitor = bedside(a_grant(entropy, cs=SHORT_TAG))
    data = sensor.publish(READING)
    genuine, most = read(data), 1 << 16
    if not effort.full:  # as after all but the last guesses
        monitor.state = monitor.state._replace(failures=most - 64)
    for guess in range(most - monitor.state.failures + 1):
        forged = write(genuine._replace(ciphertext=genuine.ciphertext[:-8] + guess.to_bytes(8, "big")))
        found = monitor.hear(forged)
        if isinstance(found, Opened):
            return Succeeds(f"guess {guess} was right")
        if found.code is not ErrorCode.E_AUTH:
            return refused(
                found.code, f"after {monitor.state.failures} guesses, chance 2^-48: {found.what}; {found.do}"
            )
    return Succeeds(f"more than {most} guesses in one session, and no end")


ATTACKS = (
    Attack(
        "C-06",
        "Replay, and splice into another topic",
        "M",
        _again_and_elsewhere,
        (Attempt("alarm again", "E_REPLAY", _replay), Attempt("reading on another topic", "E_AUTH", _splice)),
    ),
    Attack(
        "C-07",
        "Broker forges readings",
        "N",
        _broker_writes,
        (
            Attempt("random and changed bytes", "E_AUTH", _forgeries),
            Attempt("another order, and gaps", "property", _reorders_and_drops),
        ),
    ),
    Attack(
        "C-12",
        "Subscriber forges the publisher",
        "I",
        _one_key_for_all,
        (
            _insider("without a signature", signed=False),
            _insider("under her own signature", signed=True),
        ),
    ),
    Attack(
        "C-13",
        "Lost acknowledgements and gaps",
        "M",
        _duplicate_eats_a_key,
        (Attempt("no PUBACK", "E_REPLAY", _duplicate), Attempt("three hundred ahead", "E_SKIP", _far_ahead)),
    ),
    Attack("C-15", "State wound forward", "M", None, (Attempt("forged reading 200 ahead", "E_AUTH", _wound_forward),)),
    Attack("C-19", "Guessing short tags", "M", None, (Attempt("2^16 guesses", "E_LIMIT", _guesses),)),
)
