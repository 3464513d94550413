"""Attacks on patients who walk: contexts stolen, rogue brokers, requests played again, floods, strangers (C-09, 10, 17, 18)."""

from dataclasses import replace
from typing import Final

from keymote.crypto.secret import Secret
from keymote.engine.handover import client, visited
from keymote.engine.handover.faces import MOST_AT_ONCE, MOST_BUFFERED, SessionMoved, home_of, visit_of
from keymote.errors import ErrorCode, PeerFault
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Outcome, Succeeds, held, refused
from keymote.lab.attacks.topic_agents import (
    HOME,
    MALLORY,
    MOTE,
    NEXT,
    PATIENT,
    ROGUE,
    THIRD,
    Hospital,
    hospital,
    id_of,
)
from keymote.lab.attacks.topic_stage import ALARMS, READING, a_grant, bedside
from keymote.lab.published.pubsub import Broker, Configuration
from keymote.wire.fields import sizes_of
from keymote.wire.handover import Between, HoPub
from keymote.wire.pub import read, write
from keymote.wire.topic import HoAck, HoDeny, HoReq

SIZES: Final = sizes_of(1)
STRANGER: Final = b"stranger"
FACTORY: Final = Secret(bytes(32))
"""The key of a mote that nobody has registered."""
FLOOD: Final = 40


def _paper_broker() -> tuple[Broker, Configuration]:
    native = Broker("native")
    native.attach(Configuration("sensor", b"what the sensor shows", (ALARMS,)))
    return native, native.known["sensor"]


# ------------------------------------------------------------------ C-09


def _told_to_anybody(_effort: Effort) -> Outcome:
    """Listen to one hand-over; be the sensor afterwards."""
    native, _ = _paper_broker()
    air: list[Configuration] = []
    Broker("visited").appears("sensor", b"what the sensor shows", native, air)
    if not (
        native.admits("sensor", air[0].credential) and Broker("third").appears("sensor", air[0].credential, native, air)
    ):
        return held("what was heard lets nobody in")
    return Succeeds("what was handed over lets its listener in at every broker, and for good")


def _air_between(effort: Effort) -> Outcome:
    """Record what agents say to each other, as if nothing lay around it, and look for anything secret of the client."""
    made = hospital(effort, "C-09 air")
    visit = made.move(NEXT, 1)
    secrets = {"K_home": made.K_home, "K_v": visit.K_v, "its password": visit.password}
    for what, secret in secrets.items():
        if any(secret.expose() in data for data in made.air):
            return Succeeds(f"{what} stands in what the brokers say")
    return held(f"{len(made.air)} messages of a connect and a hand-over: none holds {', '.join(secrets)}")


def _tried(made: Hospital, secret: bytes, ho_ctr: int) -> str | None:
    """Be the client with a stolen secret: at each broker, as its ticket's key. Return where it works."""
    for name in (THIRD, NEXT, HOME):
        state, request = made.ask(name, ho_ctr, Secret(secret.ljust(32, b"\0")[:32]))
        for answer in made.say(MALLORY, name, request):
            try:
                client.finish(state, answer)
            except PeerFault:
                continue
            return name
    return None


def _loot_of_one_broker(effort: Effort) -> Outcome:
    """Steal all that a visited broker holds while the client is there; use it when the client has moved on."""
    made = hospital(effort, "C-09 loot")
    made.move(NEXT, 1)
    made.command(HOME, home_of(PATIENT), SessionMoved(1))
    loot = sorted(made.agents[NEXT].loot())
    later = made.move(THIRD, 2)
    beyond = {
        later.K_v.expose(),
        later.password.expose(),
        made.K_home.expose(),
        made.agents[HOME].context.shared.expose(),
    }
    if beyond & set(loot):
        return Succeeds("the next broker's key, or the client's own, was among it")
    for secret in loot:
        where = _tried(made, secret, 9)
        if where is not None:
            return Succeeds(f"one of its secrets lets the thief in as the client at the broker {where!r}")
    return held(f"{len(loot)} secrets of a visited broker: none is good at another one, or later")


# ------------------------------------------------------------------ C-10


def _whoever_asks(_effort: Effort) -> Outcome:
    """Ask, as a broker that nobody knows, for a sensor that has not moved."""
    native, known = _paper_broker()
    if native.hand_over("sensor", []) != known:
        return held("the native broker says no")
    return Succeeds("the native broker hands the credential to whoever asks")


def _last_refusal(made: Hospital, gained: str) -> Outcome:
    """Return why the home broker handed nothing over."""
    refusals = made.agents[HOME].refusals
    if not refusals:
        return Succeeds(gained)
    return refused(refusals[-1].code, refusals[-1].what)


def _pulled_by(made: Hospital, name: str, request: HoReq) -> list[bytes]:
    """Let a broker of the adversary pull for a request, and return what it can open."""
    agent = made.agents[name]
    desk = agent.context.desk
    _, pulled = visited.pull(desk, request, made.entropy)
    opened = []
    before = len(made.air)
    agents, made.agents = made.agents, {HOME: made.agents[HOME]}
    made.say(name, HOME, Between(request.client_id, pulled).encode())
    made.agents = agents
    for data in made.air[before:]:
        try:
            body = Between.decode(data, SIZES).body
            opened.append(visited.take_context(desk, agent.context.federation, request, pulled, body).K_v)
        except PeerFault:
            continue
    return opened


def _unlisted(effort: Effort) -> Outcome:
    """Lure the mote to a broker that is on nobody's list, and pull for its genuine request."""
    made = hospital(effort, "C-10 unlisted")
    _, request = made.ask(ROGUE, 1)
    if _pulled_by(made, ROGUE, HoReq.decode(request, SIZES)):
        return Succeeds("the unlisted broker has the client's context")
    return _last_refusal(made, "the unlisted broker is answered")


def _rewritten(effort: Effort) -> Outcome:
    """Take, as a listed broker, a request to another one, and write oneself into it."""
    made = hospital(effort, "C-10 rewritten")
    _, request = made.ask(NEXT, 1)
    changed = replace(HoReq.decode(request, SIZES), vis=id_of(THIRD))
    if _pulled_by(made, THIRD, changed):
        return Succeeds("a broker that the client never met has its context")
    return _last_refusal(made, "the home broker answers it")


def _again(effort: Effort) -> Outcome:
    """Play a request again at its broker when the client has moved on."""
    made = hospital(effort, "C-10 again")
    _, request = made.ask(NEXT, 1)
    made.say(MOTE, NEXT, request)
    made.command(HOME, home_of(PATIENT), SessionMoved(1))
    made.move(THIRD, 2)
    made.command(NEXT, visit_of(PATIENT), SessionMoved(1))
    return _denied(made, made.say(MALLORY, NEXT, request), "the client is fetched back by a replay")


def _race(effort: Effort) -> Outcome:
    """Give two brokers requests with one count."""
    made = hospital(effort, "C-10 race")
    made.move(NEXT, 1)
    _, request = made.ask(THIRD, 1)
    return _denied(made, made.say(MOTE, THIRD, request), "two brokers serve the client at once")


def _denied(made: Hospital, answers: list[bytes], gained: str) -> Outcome:
    """Return what the visited broker answered; its reason is the home broker's."""
    for answer in answers:
        try:
            HoAck.decode(answer, SIZES)
        except PeerFault:
            continue
        return Succeeds(gained)
    codes = [HoDeny.decode(answer, SIZES).code for answer in answers]
    if not codes:
        return Succeeds("nobody says no")
    return refused(ErrorCode(codes[-1]), made.agents[HOME].refusals[-1].what)


# ------------------------------------------------------------------ C-17


def _flooded(name: str, topic: str, most: int) -> Attempt:
    """Send a forged request, and behind it more readings than a visited broker may take before it knows whose they are."""

    def run(effort: Effort) -> Outcome:
        made = hospital(effort, f"C-17 {name}")
        sensor, monitor = bedside(a_grant(made.entropy), topic=topic)
        genuine = read(sensor.publish(READING))
        made.agents[HOME].cells.clear()  # the home broker is slow; time for a flood
        _, request = made.ask(NEXT, 1, FACTORY)
        agent = made.agents[NEXT]
        answered, made.agents = made.agents, {NEXT: agent}
        made.say(MALLORY, NEXT, request)
        for _ in range(FLOOD):
            forged = write(genuine._replace(ciphertext=made.entropy.draw(len(genuine.ciphertext))))
            made.say(MALLORY, NEXT, HoPub(PATIENT, topic, forged).encode())
        made.agents = answered
        waiting = sum(len(getattr(cell, "buffered", ())) for cell in agent.cells.values())
        taken = len(agent.forwarded) + waiting
        if taken > most:
            return Succeeds(f"{taken} of {FLOOD} forged readings are taken in two seconds")
        shown = sum(not isinstance(monitor.hear(each.data), PeerFault) for each in agent.forwarded)
        if shown or any(each.verified for each in agent.forwarded):
            return Succeeds(f"{shown} forged readings are shown, or said to be verified")
        last = agent.refusals[-1]
        return refused(last.code, f"{taken} of {FLOOD} are taken, {shown} open at the monitor: {last.what}")

    return Attempt(name, "E_LIMIT", run)


# ------------------------------------------------------------------ C-18


def _stranger(effort: Effort) -> Outcome:
    """Walk in with a mote that nobody has registered, and name a home broker."""
    made = hospital(effort, "C-18")
    state, request = made.ask(NEXT, 1, FACTORY, STRANGER)
    answers = made.say(MALLORY, NEXT, request)
    for answer in answers:
        try:
            client.finish(state, answer)
        except PeerFault:
            continue
        return Succeeds("a mote that was never registered is served, by being handed over")
    return _denied(made, answers, "it is acknowledged")


ATTACKS = (
    Attack(
        "C-09",
        "Context stolen in hand-over",
        "N",
        _told_to_anybody,
        (
            Attempt("air between brokers", "property", _air_between),
            Attempt("all secrets of a visited broker", "property", _loot_of_one_broker),
        ),
    ),
    Attack(
        "C-10",
        "Rogue visited broker, request played again",
        "N",
        _whoever_asks,
        (
            Attempt("unlisted broker", "E_TICKET", _unlisted),
            Attempt("request rewritten by a listed broker", "E_AUTH", _rewritten),
            Attempt("request again", "E_HO_CTR", _again),
            Attempt("two brokers, one count", "E_HO_CTR", _race),
        ),
    ),
    Attack(
        "C-17",
        "Emergency path abused",
        "M",
        None,
        (
            _flooded("flood of alarms", "ward/7/alarm", MOST_AT_ONCE),
            _flooded("flood of readings", "ward/7/hr", MOST_BUFFERED),
        ),
    ),
    Attack("C-18", "Mote that nobody registered", "M", None, (Attempt("handed over", "E_TICKET", _stranger),)),
)
