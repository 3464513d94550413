"""Attacks on how keys come to a mote: old ones read, old ones installed again, both ends set apart (C-05, C-08, C-16)."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.engine.topic import exchange
from keymote.engine.topic.key_chain import KeyChain
from keymote.errors import PeerFault
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Outcome, Succeeds, held
from keymote.lab.attacks.stage import secrets_in
from keymote.lab.attacks.topic_stage import (
    CLIENT,
    KNOWN,
    READING,
    Chain,
    Monitor,
    a_grant,
    bedside,
    chain,
    deliver,
    refused_by,
    ward,
)
from keymote.lab.published.pubsub import KEY_SIZE, delivered, xor
from keymote.wire.fields import sizes_of
from keymote.wire.topic import Kpush, Kresp

SIZES: Final = sizes_of(1)
SESSIONS: Final = 3
Message = tuple[str, bytes]

# ------------------------------------------------------------------ C-05


def _pss_later(effort: Effort) -> Outcome:
    """Record every key delivery and every payload; read one PSS out of flash when all is over."""
    trusted, sensor, monitor = ward(effort, "C-05")
    recorded = []
    for _ in range(SESSIONS):
        delivery = deliver(trusted, sensor, monitor)[sensor.name]
        recorded.append((delivery, sensor.publish(READING)))
        sensor.destroy()
    keys = [delivered(sensor.pss, delivery) for delivery, _ in recorded]
    opened = sum(
        key is not None and xor(key, payload) == READING for key, (_, payload) in zip(keys, recorded, strict=True)
    )
    if opened != len(recorded):
        return held("old sessions stay closed")
    return Succeeds(f"one PSS opens {opened} of {len(recorded)} recorded sessions")


def _as_chains(secret: bytes, newest: int) -> Iterator[KeyChain]:
    """Yield what a stolen key may be: a CK at any number, or the PSS."""
    for number in range(newest + 1):
        yield KeyChain(CLIENT, number, Secret(secret))
        begun = KeyChain.begin(CLIENT, Secret(secret))
        for _ in range(number):
            begun = begun.step()
        yield begun


def _stolen_chain(effort: Effort) -> Outcome:
    """Record three exchanges; then steal all that the mote and the trusted system hold."""
    world = chain(effort, "C-05")
    recorded = [world.round() for _ in range(SESSIONS)]
    loot = sorted({*secrets_in(world.client), *secrets_in(world.system)})
    tried = [each for secret in loot for each in _as_chains(secret, SESSIONS)]
    for each in tried:
        for kreq, kresp in recorded:
            th = sha256(kreq)
            try:
                world.suite.open_once(each.sub("C/kresp", th), th, Kresp.decode(kresp, SIZES).ct)
            except PeerFault:
                continue
            return Succeeds(
                f"the state of number {world.client.chain.k} opens a key of number {Kresp.decode(kresp, SIZES).k}"
            )
    return held(
        f"{len(loot)} secrets at number {world.client.chain.k}, {len(tried)} ways to use them: none of {SESSIONS} keys opens"
    )


def _stolen_ratchet(effort: Effort) -> Outcome:
    """Record readings; then steal what both ends of the session hold, and try it on what was opened before."""
    sensor, monitor = bedside(a_grant(effort.entropy("C-05 ratchet")))
    recorded = [sensor.publish(READING) for _ in range(4)]
    for data in recorded[:3]:
        monitor.hear(data)
    stolen = sorted({secret for state in (sensor.state, monitor.state) for secret in secrets_in(tuple(state))})
    for secret in stolen:
        for n, data in enumerate(recorded[:3]):
            thief = Monitor(monitor.state._replace(c=Secret(secret), n=n, skipped={}))
            if not isinstance(thief.hear(data), PeerFault):
                return Succeeds(f"the state after reading 2 opens reading {n}")
    return held(f"{len(stolen)} keys of the session's state open none of 3 readings that were opened before")


# ------------------------------------------------------------------ C-08


def _old_delivery(effort: Effort) -> Outcome:
    """Learn a session's key from one reading, and send its delivery again in place of a newer one."""
    trusted, sensor, monitor = ward(effort, "C-08")
    old = deliver(trusted, sensor, monitor)[sensor.name]
    learned = xor(sensor.publish(READING)[:KEY_SIZE], KNOWN)
    deliver(trusted, sensor, monitor)
    sensor.install(old)
    if xor(learned, sensor.publish(READING)) != READING:
        return held("the mote keeps the newer key")
    return Succeeds("the mote installs the old key, and the next readings are read")


def _old_answer(world: Chain) -> Callable[[], object]:
    """Show the KRESP of number 0 at number 1, in answer to a new request, with the number rewritten."""
    _, kresp = world.round()
    world.ask()
    return lambda: world.take(replace(Kresp.decode(kresp, SIZES), k=world.client.chain.k).encode())


def _answer_to_another(world: Chain) -> Callable[[], object]:
    """Show at number 1 what was answered to a request of number 1 that the mote's reboot made it forget."""
    world.round()
    kresp = world.serve(world.ask())
    world.client = replace(world.client, asked=())
    world.ask()
    return lambda: world.take(kresp)


def _old_push(world: Chain) -> Callable[[], object]:
    """Show the KPUSH of number 0 at number 1, with the number rewritten."""
    kpush = world.push()
    world.settle(world.take(kpush))
    return lambda: world.take(replace(Kpush.decode(kpush, SIZES), k=world.client.chain.k).encode())


def _as_it_was(world: Chain) -> Callable[[], object]:
    """Show the KRESP of number 0 as it was, two numbers later."""
    _, kresp = world.round()
    world.round()
    return lambda: world.take(kresp)


def _delivery(name: str, by: str, prepared: Callable[[Chain], Callable[[], object]]) -> Attempt:
    def run(effort: Effort) -> Outcome:
        world = chain(effort, f"C-08 {name}")
        act = prepared(world)
        before = world.client
        outcome = refused_by(act, f"the mote installs an old key at number {before.chain.k}")
        if not isinstance(outcome, Succeeds) and world.client != before:
            return Succeeds("the mote's state is another one")
        return outcome

    return Attempt(name, by, run)


# ------------------------------------------------------------------ C-16


def _tell(world: Chain, said: list[Message], kind: str, data: bytes) -> None:
    """Show a message to its addressee; whatever that says is said too."""
    match kind:
        case "kreq":
            said.append(("grant", world.serve(data)))
        case "grant":
            said.append(("kack", world.take(data)))
        case _:
            world.settle(data)


def _game(effort: Effort, number: int) -> Chain:
    """Let a mote and its trusted system talk over an air that loses, repeats, delays and replays at random."""
    world = chain(effort, f"C-16 {number}")
    choose = effort.entropy(f"C-16 choices {number}").draw
    said: list[
        Message
    ] = []  # everything that was ever said, to be shown to its addressee at any time, any number of times
    for _ in range(40):
        coin, back, window = choose(3)
        try:
            if coin < 60:
                said.append(("kreq", world.ask()))
            elif coin < 80:
                said.append(("grant", world.push()))
            elif said:
                _tell(world, said, *said[-1 - back % min(len(said), 1 + window % 12)])
        except PeerFault:
            continue
    return world


def _games(effort: Effort) -> Outcome:
    """Play many games; after each, one undisturbed exchange must bring both together, and no key sealed two texts."""
    games, steps = effort.choose(24, 1000), 0
    for number in range(games):
        world = _game(effort, number)
        twice = [key for key, count in world.suite.seals.items() if count > 1]
        if twice:
            return Succeeds(f"game {number}: a key sealed {world.suite.seals[twice[0]]} messages")
        try:
            last = world.client.asked[-1] if len(world.client.asked) == exchange.MOST_OPEN else world.ask()
            world.settle(world.take(world.serve(last)))
        except PeerFault as fault:
            return Succeeds(f"game {number}: the two never meet again ({fault})")
        steps += world.client.chain.k
        if not world.together:
            return Succeeds(f"game {number}: the two stand at {world.client.chain.k} and {world.system.chain.k}")
    return held(
        f"{games} games, {steps} keys agreed on: each ends together after one more exchange; no key sealed twice"
    )


def _asked_again(effort: Effort) -> Outcome:
    """Send a mote's KREQ again while policy would now grant something else; look for one key over both answers."""
    world = chain(effort, "C-16 again")
    kreq = world.ask()
    answers = set()
    for _ in range(3):
        heard = exchange.hear(world.system, kreq)
        if isinstance(heard, exchange.Repeated):
            answers.add(heard.kack)
            continue
        assert isinstance(heard, exchange.Wanted)
        world.system, data = exchange.answer(heard, a_grant(world.entropy))
        answers.add(data)
    if len(answers) > 1 or max(world.suite.seals.values()) > 1:
        return Succeeds(f"{len(answers)} different answers under one key")
    return held("three times the same bytes: a request is answered once, and its answer repeated")


ATTACKS = (
    Attack(
        "C-05",
        "Stolen secret opens history",
        "L",
        _pss_later,
        (
            Attempt("chain at number 3", "property", _stolen_chain),
            Attempt("session's state", "property", _stolen_ratchet),
        ),
    ),
    Attack(
        "C-08",
        "Key delivery replayed",
        "M",
        _old_delivery,
        (
            _delivery("old answer, number rewritten", "E_AUTH", _old_answer),
            _delivery("answer to a forgotten request", "E_AUTH", _answer_to_another),
            _delivery("old push, number rewritten", "E_AUTH", _old_push),
            _delivery("old answer as it was", "E_REPLAY", _as_it_was),
        ),
    ),
    Attack(
        "C-16",
        "Games with acknowledgements",
        "M",
        None,
        (
            Attempt("lost, repeated, replayed", "property", _games),
            Attempt("request sent again", "property", _asked_again),
        ),
    ),
)
