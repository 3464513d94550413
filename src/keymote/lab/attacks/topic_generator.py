"""Attacks on where session keys come from: pcg-rand told from its outputs, forward and backward (C-03, C-03b)."""

from collections.abc import Iterator
from itertools import pairwise, product
from time import process_time
from typing import Final, Literal

from keymote.crypto.entropy import SystemEntropy
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Outcome, Succeeds, held
from keymote.lab.attacks.pcg_recovery import Walk, states, walks
from keymote.lab.attacks.topic_stage import CLIENT, KNOWN, READING, TOPIC, deliver
from keymote.lab.published.pcg import Pcg32, backward
from keymote.lab.published.pubsub import KEY_SIZE, Mote, TrustedSystem, system, xor
from keymote.lab.topics import TopicWorld
from keymote.wire.topic import SUBSCRIBE

STREAM: Final = 0xDA3E39CB94B95BDB
"""The increment of PCG32_INITIALIZER, which is in every copy of the library."""
ORDERS: Final[tuple[Literal["big", "little"], ...]] = ("big", "little")


def words(data: bytes, order: Literal["big", "little"] = "big") -> list[int]:
    """Return 32-bit outputs as they stand in a key."""
    return [int.from_bytes(data[at : at + 4], order) for at in range(0, len(data), 4)]


def _learnt(trusted: TrustedSystem, sensor: Mote) -> bytes:
    """Begin a session and learn its key as C-01 does."""
    deliver(trusted, sensor)
    return xor(sensor.publish(READING)[:KEY_SIZE], KNOWN)


def _worlds(effort: Effort, label: str, count: int, stream: int | None = None) -> Iterator[tuple[TrustedSystem, Mote]]:
    """Yield trusted systems whose generators are seeded well, each with a sensor."""
    for number in range(count):
        trusted, (sensor,) = system(effort.entropy(f"{label} {number}"), "sensor")
        if stream is not None:
            trusted.generator.increment = stream
        yield trusted, sensor


# ------------------------------------------------------------------ C-03


def _known_stream(effort: Effort) -> Outcome:
    """Learn one session key, and tell the key before it and the ten after it."""
    count, told, most, spent = effort.choose(40, 300), 0, 0, 0.0
    for trusted, sensor in _worlds(effort, "C-03", count, STREAM):
        before, key = _learnt(trusted, sensor), _learnt(trusted, sensor)
        one, two = words(key)
        begun = process_time()
        found = list(states((one, two), STREAM))
        spent += process_time() - begun
        most = max(most, len(found))
        after = [trusted.generator.key() for _ in range(10)]
        told += any(_tells(state, before, after) for state in found)
    if told < count:
        return held(f"{told} of {count} states")
    return Succeeds(
        f"{told} of {count} states from one key, {most} candidates at most, {spent / count * 1e3:.1f} ms each; the key before "
        "and ten after follow"
    )


def _tells(state: int, before: bytes, after: list[bytes]) -> bool:
    """Return whether a state, that of the key between them, gives these keys."""
    future = Pcg32(state, STREAM)
    future.key()
    past = Pcg32(backward(backward(state, STREAM), STREAM), STREAM)
    return past.key() == before and [future.key() for _ in after] == after


def _granted(effort: Effort, count: int) -> list[bytes]:
    """Return the SK of one topic's epochs, as an insider learns them from the trusted system."""
    world = TopicWorld(effort.seed)
    world.add("insider", CLIENT)
    world.grant(TOPIC, "insider", SUBSCRIBE)
    world.ask("insider", TOPIC, SUBSCRIBE)
    world.sim.run_for(1.0)
    for _ in range(count - 1):
        world.rotate(TOPIC)
        world.sim.run_for(1.0)
    return [taken.grant.SK for taken in world.taken["insider"]]


def _next_of_standard_stream(effort: Effort) -> Outcome:
    """Take the SK that an insider was granted for outputs of the library's stream, and look for the next epoch's."""
    keys = _granted(effort, effort.choose(4, 64))
    for order, (key, following) in product(ORDERS, pairwise(keys)):
        first, second, *rest = words(key, order)
        for state in states((first, second), STREAM):
            generator = Pcg32(state, STREAM)
            generator.key()
            if [generator.draw() for _ in rest] == rest:
                return Succeeds(f"the state is told from an SK; the next one is {_holds(following, generator)}")
    return held(f"{len(keys)} SK in both byte orders: no state of pcg-rand gives even one of them")


def _holds(following: bytes, generator: Pcg32) -> str:
    stream = b"".join(generator.draw().to_bytes(4, "big") for _ in range(64))
    return "among what follows" if following in stream else "to come"


def _twice(effort: Effort) -> Outcome:
    """Draw as many keys as a hospital does in years, and look for one that comes twice."""
    count, source = effort.choose(20_000, 1_000_000), SystemEntropy()
    different = len({source.draw(32) for _ in range(count)})
    if different < count:
        return Succeeds(f"{count - different} of {count} keys came before")
    return held(f"{count} keys, none twice")


# ------------------------------------------------------------------ C-03b


def _unknown_stream(effort: Effort) -> Outcome:
    """Learn two consecutive session keys of a generator with a secret stream, and guess the next one and the one before."""
    count, told, most, spent = effort.choose(2, 100), 0, 0, 0.0
    for trusted, sensor in _worlds(effort, "C-03b", count):
        before, one, two = (_learnt(trusted, sensor) for _ in range(3))
        begun = process_time()
        found = list(walks((*words(one), *words(two))))  # type: ignore[arg-type]  # four
        spent += process_time() - begun
        guesses = [key for walk in found for key in _keys_at(walk, 4)]
        past = [key for walk in found for key in _keys_at(walk, -2)]
        most = max(most, len(guesses))
        told += trusted.generator.key() in guesses and before in past
    if told < count:
        return held(f"{told} of {count} next keys")
    return Succeeds(
        f"next key and the one before in {told} of {count} worlds from two keys, in {most} guesses at most, "
        f"{spent / count * 1e3:.0f} ms each"
    )


def _keys_at(walk: Walk, count: int) -> list[bytes]:
    """Return what the key made of outputs `count` and `count` + 1 may be."""
    pairs = product(walk.outputs(count), walk.outputs(count + 1))
    return [one.to_bytes(4, "big") + two.to_bytes(4, "big") for one, two in pairs]


def _next_of_any_stream(effort: Effort) -> Outcome:
    """Take SKs that an insider was granted for outputs of any stream at all."""
    keys = _granted(effort, effort.choose(1, 16))
    for order, key in product(ORDERS, keys):
        first, second, third, fourth, *rest = words(key, order)
        for walk in walks((first, second, third, fourth)):
            if all(word in walk.outputs(4 + at) for at, word in enumerate(rest)):
                return Succeeds("half of an SK tells the other half, and the next one")
    return held(f"{len(keys)} SK in both byte orders: half of one says nothing of the other half")


ATTACKS = (
    Attack(
        "C-03",
        "Generator told from one key",
        "E",
        _known_stream,
        (
            Attempt("next SK, stream of the library", "property", _next_of_standard_stream),
            Attempt("keys drawn twice", "property", _twice),
        ),
    ),
    Attack(
        "C-03b",
        "Generator with a secret stream told from two keys",
        "E",
        _unknown_stream,
        (Attempt("half of an SK, any stream", "property", _next_of_any_stream),),
    ),
)
