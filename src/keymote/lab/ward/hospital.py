"""The hospital of paper 002: wards with a broker each, patients who walk, caregivers who listen, one trusted system.

Keys come from the product's cells of topic keys, patients get into brokers by the product's agents (`home`, `visit`); brokers,
radio and people are models. Virtual time; one seed, one course of events.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.crypto.suites import suite_by_id
from keymote.engine.base import Report
from keymote.engine.handover.faces import (
    AccountOpen,
    CloseAccount,
    Forward,
    Moved,
    OpenAccount,
    SessionMoved,
    home_of,
    visit_of,
)
from keymote.engine.policy.topic_filters import most_specific
from keymote.engine.topic.faces import (
    OWN_CHAIN,
    AskForKey,
    KeyDenied,
    KeyTaken,
    Provision,
    RegisterClient,
    Terms,
    TicketFor,
    TicketTaken,
    TicketTerms,
    WhoMay,
    client_of,
)
from keymote.engine.topic.key_chain import KeyChain
from keymote.engine.topic.nodes import client_node, system_node
from keymote.engine.topic.readings import Reading
from keymote.lab.scenes import identity
from keymote.lab.simulator import Channel, Datagram, Simulator
from keymote.lab.simulator.network import Dice
from keymote.lab.village.agenda import Agenda
from keymote.lab.ward.arrivals import Arrivals
from keymote.lab.ward.broker import Broker, Message, joined
from keymote.lab.ward.caregiver import Caregiver
from keymote.lab.ward.equipment import LIFE_S, SUITE, agent, broker_id, rules_for, start_agents, ward_of
from keymote.lab.ward.floor import Floor, Walk, next_walk
from keymote.lab.ward.keys import Opens, Seals
from keymote.lab.ward.mote import MOTE, Attach, Attached, Detach, Hold, TicketNeeded, with_mote
from keymote.lab.ward.patient import ALARM, VITALS, Patient, Radio
from keymote.lab.ward.plan import WardPlan
from keymote.wire.fields import sizes_of
from keymote.wire.handover import HoPub
from keymote.wire.topic import CONNECT, PUBLISH, SUBSCRIBE, Right, Ticket

TS: Final = "ts"
WIRED: Final = Channel(0.0025, reliable=True)
"""From a caregiver's station to the trusted system and back."""
MOST_BEHIND: Final = 8
"""Readings that follow HO_REQ; a visited broker takes no more."""
ASK_AGAIN_S: Final = 1.0


class Hospital:
    """The world. `moves` counts arrivals in another ward; nobody sets out any more when `plan.moves` were begun."""

    def __init__(self, plan: WardPlan, loss: float, seed: str) -> None:
        self.plan = plan
        self.floor = Floor(plan.wards)
        self.entropy = SeededEntropy(f"ward {seed} {loss}".encode())
        self.dice = Dice(self.entropy.fork("people"))
        self.agenda = Agenda()
        self.air = Channel(plan.radio_rtt_s / 2, plan.radio_jitter_s, loss)
        self.sim = Simulator(self.entropy.draw(16), channel=self.air, answer=self._answer, recording=False)
        self.sim.hear = lambda name, report: self.inbox.append((name, report))
        self.sim.adversary = self._in_reach
        self.inbox: deque[tuple[str, Report]] = deque()
        self.moves = self.set_out = 0
        self.arrivals = Arrivals(self.clock)
        self.refused: Counter[str] = Counter()
        self.rotations = 0
        self.unverified = 0
        self._spoken: Counter[str] = Counter()
        self.patients: dict[str, Patient] = {}
        self.caregivers: dict[str, Caregiver] = {}
        self.seals: dict[str, Seals] = {}
        self.opens: dict[str, Opens] = {}
        self.rules = rules_for(self._names(), self._stations())
        self.brokers = {at: Broker(f"broker{at}", self.agenda, self.clock) for at in range(plan.wards)}
        joined({broker.name: broker for broker in self.brokers.values()}, plan.between_s / 2)
        self.shared = {at: Secret(self.entropy.draw(32)) for at in self.brokers}
        self.sim.add(TS, lambda: system_node(suite_by_id))
        start_agents(self.sim, self.shared, self.entropy, plan.between_s)
        radio = Radio(self.agenda, self.clock, Dice(self.entropy.fork("radio")), self.air)
        for at, name in enumerate(self._names()):
            self.patients[name] = self._patient(name, at, radio)
        for at, name in enumerate(self._stations()):
            self.caregivers[name] = self._caregiver(name, at)

    def clock(self) -> float:
        return self.sim.now

    # ------------------------------------------------------------------ who there is

    def _names(self) -> list[str]:
        return [f"p{at:02d}" for at in range(self.plan.patients)]

    def _stations(self) -> list[str]:
        return [f"c{at}" for at in range(self.plan.caregivers)]

    def _client(self, name: str) -> bytes:
        """Make a client that is registered at the trusted system, as its enrolment or a provisioning file does."""
        client_id = identity(name)
        self.sim.add(name, lambda: with_mote(client_node(suite_by_id), client_id))
        chain = KeyChain.begin(client_id, Secret(self.entropy.draw(32))).ck
        self.sim.command(TS, client_of(client_id), RegisterClient(client_id, chain, SUITE.id, name))
        self.sim.command(name, OWN_CHAIN, Provision(client_id, chain, SUITE.id, TS))
        return client_id

    def _patient(self, name: str, at: int, radio: Radio) -> Patient:
        client_id = self._client(name)
        seals = self.seals[name] = Seals()
        patient = Patient(name, client_id, at % self.plan.wards, radio, seals.seal)
        patient.arrive(patient.home, self.brokers[patient.home])
        for kind in (VITALS, ALARM):
            self.sim.command(name, OWN_CHAIN, AskForKey(f"ward/{name}/{kind}", PUBLISH))
        self.sim.command(name, OWN_CHAIN, AskForKey("", CONNECT))
        return patient

    def _caregiver(self, name: str, at: int) -> Caregiver:
        self._client(name)
        self.sim.channels[name, TS] = self.sim.channels[TS, name] = WIRED

        def ask(topic: str) -> None:
            self.sim.command(name, OWN_CHAIN, AskForKey(topic, SUBSCRIBE))

        self.opens[name] = Opens(ask)
        broker = self.brokers[at % self.plan.wards]
        caregiver = Caregiver(name, broker, lambda _topic: True, partial(self._open, name), self.agenda, self.clock)
        caregiver.session = broker.subscribe(name, caregiver.wanted, caregiver.take, self.plan.between_s / 2)
        return caregiver

    def _open(self, name: str, topic: str, data: bytes) -> Reading | None:
        reading = self.opens[name].open(topic, data)
        if reading is not None:
            self.arrivals.opened(data)
        return reading

    # ------------------------------------------------------------------ services around the engines

    def _answer(self, name: str, query: object) -> object | None:
        match query:
            case WhoMay(_, topic, _):
                rule = most_specific(self.rules, topic)
                return Terms(None if rule is None else self.rules[rule])
            case TicketFor(client_id):
                return self._ticket_for(client_id)
            case OpenAccount(client_id):
                self.brokers[ward_of(name)].allowed.add(client_id)
                return AccountOpen()
        return None

    def _ticket_for(self, client_id: bytes) -> TicketTerms | None:
        """Let the broker where a patient is now be its home; the trusted system knows from the account that it asked for."""
        patient = next((each for each in self.patients.values() if each.client_id == client_id), None)
        if patient is None:
            return None
        at = patient.home if patient.ward is None else patient.ward
        rights = (Right(f"ward/{patient.name}/#", PUBLISH),)
        return TicketTerms(broker_id(at), self.shared[at], rights, LIFE_S)

    def _in_reach(self, datagram: Datagram) -> Iterable[Datagram]:
        """Let pass what the radio reaches: a patient hears and is heard by the ward around it, and the trusted system there."""
        for here, there in ((datagram.source, datagram.target), (datagram.target, datagram.source)):
            patient = self.patients.get(here)
            if patient is not None:
                far = patient.ward is None or (there.startswith("agent") and ward_of(there) != patient.ward)
                return () if far else (datagram,)
            caregiver = self.caregivers.get(here)
            if caregiver is not None:
                return (datagram,) if caregiver.awake else ()
        return (datagram,)

    # ------------------------------------------------------------------ time

    def run(self, done: Callable[[], bool], within_s: float) -> bool:
        """Let virtual time pass until it is done; return whether it was."""
        end = self.sim.now + within_s
        while not done():
            due = self.agenda.next_at
            until = end if due is None else min(due, end)
            self.sim.run_until(self._is_told, max(0.0, until - self.sim.now))
            while self.inbox:
                self._told(*self.inbox.popleft())
            self.agenda.act(self.sim.now)
            if self.sim.now >= end:
                return done()
        return True

    def _is_told(self) -> bool:
        return bool(self.inbox)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self.agenda.at(self.sim.now + seconds, action)

    def _told(self, name: str, report: Report) -> None:
        match report:
            case KeyTaken(_, role) if role == PUBLISH:
                self.seals[name].take(report)
                self.patients[name].seal_all()
            case KeyTaken():
                self.opens[name].take(report)
                self.caregivers[name].retry()
            case KeyDenied(topic, role):
                self.after(ASK_AGAIN_S, lambda: self._ask(name, topic, role))
            case TicketTaken(K_home, ticket):
                home = Ticket.decode(ticket, sizes_of(SUITE.id)).broker_id
                self.sim.command(name, MOTE, Hold(K_home, ticket, home))
                self._attach(self.patients[name])
            case TicketNeeded(at, code):
                self.refused[code.name] += 1
                self._way_is_full(self.patients[name], at)
            case Attached(at):
                self._attached(self.patients[name], report)
            case Moved(client_id, _, ho_ctr):
                self.after(self.plan.between_s, lambda: self._moved(name, client_id, ho_ctr))
            case CloseAccount(client_id):
                self.brokers[ward_of(name)].allowed.discard(client_id)
            case Forward(_, topic, data, verified):
                self.unverified += not verified
                broker = self.brokers[ward_of(name)]
                if broker.up:
                    broker.take(Message(topic, data), broker.bridges.values())

    def _ask(self, name: str, topic: str, role: int) -> None:
        self.sim.command(name, OWN_CHAIN, AskForKey(topic, role))

    def _moved(self, name: str, client_id: bytes, ho_ctr: int) -> None:
        """Nothing waits for a patient here: patients publish."""
        for key in (home_of(client_id), visit_of(client_id)):
            if key in self.sim.hosts[name].cells:
                self.sim.command(name, key, SessionMoved(ho_ctr))

    # ------------------------------------------------------------------ patients

    def read(self, name: str, kind: str) -> None:
        """Let a sensor measure."""
        self._spoken[name] += 1
        number = self._spoken[name]
        pulse = 60 + int(self.dice.uniform() * 40)
        self.patients[name].read(kind, f"{name} {kind} {number}: pulse {pulse}".encode())

    def walk(self, name: str) -> None:
        """Let a patient set out, if there are moves left, after its stay here."""
        if self.set_out >= self.plan.moves:
            return
        self.set_out += 1
        patient = self.patients[name]
        here = patient.ward if patient.ward is not None else patient.home
        way = next_walk(self.floor, self.plan.habits, patient.home, here, self.dice)
        if self.dice.uniform() < self.plan.hasty:
            way = Walk(self.dice.uniform() * self.plan.radio_rtt_s, way.on_the_way_s, way.to)
        self.after(way.stay_s, lambda: self._leave(patient, way))

    def _leave(self, patient: Patient, way: Walk) -> None:
        self.arrivals.gave_up(patient.name)
        patient.leave()
        self.sim.command(patient.name, MOTE, Detach())
        if self.dice.uniform() < self.plan.alarms:
            self.after(way.on_the_way_s / 2, lambda: self.read(patient.name, ALARM))
        self.after(way.on_the_way_s, lambda: self._arrive(patient, way.to))

    def _arrive(self, patient: Patient, ward: int) -> None:
        self.moves += 1
        patient.arrive(ward, self.brokers[ward])
        self.read(patient.name, VITALS)
        self._attach(patient)
        self.walk(patient.name)

    def _attach(self, patient: Patient) -> None:
        if patient.ward is None or patient.served:
            return
        if patient.outbox:
            self.arrivals.begun(patient.name, patient.outbox[0].data)
        behind = [message for message in patient.outbox if message.topic.endswith(ALARM)][:MOST_BEHIND]
        data = b"".join(HoPub(patient.client_id, message.topic, message.data).encode() for message in behind)
        self.sim.command(patient.name, MOTE, Attach(broker_id(patient.ward), agent(patient.ward), data))

    def _way_is_full(self, patient: Patient, at: bytes) -> None:
        if patient.ward is not None and broker_id(patient.ward) == at:
            self.arrivals.sent_the_full_way(patient.name)
            self._ask(patient.name, "", CONNECT)

    def _attached(self, patient: Patient, report: Attached) -> None:
        if patient.ward is None or broker_id(patient.ward) != report.at:
            return
        if not report.handed_over:
            patient.home = patient.ward
        self.arrivals.served(patient.name, report.datagrams, handed_over=report.handed_over)
        patient.admitted()
