"""The property of topic keys: whatever the air, the power, an adversary and people do, no key is given that must not be, and
when messages get through again everybody who takes part holds the present epoch, and lost none that was planned.
"""

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from keymote.crypto.secret import Secret
from keymote.engine.policy.topic_events import Cause, EpochBegun
from keymote.engine.policy.topics import MOST_OWED
from keymote.engine.topic.faces import OWN_CHAIN, AskForKey, client_of
from keymote.engine.topic.repeating import LONGEST_S
from keymote.errors import PeerFault
from keymote.lab.simulator.host import Fuse
from keymote.lab.simulator.network import Channel
from keymote.lab.simulator.witness import WitnessedSuite
from keymote.lab.topics import SYSTEM, TopicWorld
from keymote.wire.fields import sizes_of
from keymote.wire.registry import peek
from keymote.wire.topic import PUBLISH, SUBSCRIBE, KeyGrant, Kpush, Kresp

FILTER, TOPICS = "w/#", ["w/1", "w/2"]
ROLES = {"p": PUBLISH, "s": SUBSCRIBE, "both": PUBLISH | SUBSCRIBE}
NAMES, TOPIC = st.sampled_from(list(ROLES)), st.sampled_from([*TOPICS[:1] * 3, *TOPICS])
THEN = st.sampled_from([0.0, 0.003, 0.008, 0.03, 0.3, 3.0, 20.0])
"""Seconds after an action: a key is asked for and acknowledged within 40 ms where all goes well."""
HEALS_S = 2 * LONGEST_S + 120.0


class Scribe(WitnessedSuite):
    """Writes down every grant by what it became on the air."""

    grants: dict[bytes, KeyGrant] = {}  # noqa: RUF012  # one for all suites of a world, emptied with each world

    def seal_once(self, key: Secret, aad: bytes, plaintext: bytes) -> bytes:
        sealed = super().seal_once(key, aad, plaintext)
        self.grants[sealed] = KeyGrant.decode(plaintext, sizes_of(1))
        return sealed


class Topics(RuleBasedStateMachine):
    world: TopicWorld

    @initialize(seed=st.binary(min_size=4, max_size=4), hostile=st.booleans())
    def build(self, seed: bytes, hostile: bool) -> None:
        Scribe.grants.clear()
        air = Channel(jitter_s=0.02, loss=0.2, duplication=0.1) if hostile else Channel()
        self.world = TopicWorld(seed, channel=air, suite=Scribe)
        self.sim = self.world.sim
        for number, (name, roles) in enumerate(ROLES.items()):
            self.world.add(name, b"client%02d" % number)
            self.world.book.grant(FILTER, b"client%02d" % number, roles)
        self.barred: dict[bytes, int] = {}
        """sess -> the first epoch that may be given; of all sessions that were rolled for compromise."""
        self.looked_at = 0
        self.out: set[str] = set()
        self.lost: set[str] = set()
        """Who lost its power while it held keys of a topic that it had not asked for again."""

    # ------------------------------------------------------------------ people

    @rule(name=NAMES, topic=TOPIC, role=st.sampled_from([PUBLISH, SUBSCRIBE]), then=THEN)
    def ask(self, name: str, topic: str, role: int, then: float) -> None:
        if ROLES[name] & role:
            self.world.ask(name, topic, role)
            self.sim.run_for(then)

    @rule(topic=TOPIC, compromise=st.booleans(), then=THEN)
    def rotate(self, topic: str, compromise: bool, then: float) -> None:
        self.no_old_key_is_given()
        self.world.rotate(topic, compromise=compromise)
        self.bar()
        self.sim.run_for(then)

    @rule(name=NAMES, compromised=st.booleans(), then=THEN)
    def put_out(self, name: str, compromised: bool, then: float) -> None:
        if name not in self.out and not self.out:
            self.out.add(name)
            self.no_old_key_is_given()
            self.world.put_out(FILTER, name, compromised=compromised)
            self.bar()
            self.sim.run_for(then)

    # ------------------------------------------------------------------ the air and the power

    @rule(name=NAMES, deaf=st.booleans(), then=THEN)
    def sleep(self, name: str, deaf: bool, then: float) -> None:
        self.world.cut(name)
        if deaf:
            del self.sim.channels[name, SYSTEM]
        self.sim.run_for(then)

    @rule(name=NAMES, then=THEN)
    def wake(self, name: str, then: float) -> None:
        self.world.mend(name)
        self.sim.run_for(then)

    @rule(name=NAMES, then=THEN)
    def restart(self, name: str, then: float) -> None:
        """A client forgets what it held, and asks again for what it asked for."""
        topics = sorted({(each.topic, each.role) for each in self.world.taken[name]})
        if self.sim.hosts[name].cells[OWN_CHAIN].unnamed:
            self.lost.add(name)
        self.sim.reboot(name)
        for topic, role in topics:
            self.sim.command(name, OWN_CHAIN, AskForKey(topic, role))
        self.sim.run_for(then)

    @rule(down_s=st.sampled_from([0.0, 0.01, 5.0]), then=THEN)
    def restart_system(self, down_s: float, then: float) -> None:
        self.world.reboot_system(down_s)
        self.sim.run_for(then)

    @rule(left=st.integers(1, 4), after=st.booleans())
    def blow_fuse(self, left: int, after: bool) -> None:
        """The trusted system loses its power at one of the next commits."""
        self.sim.hosts[SYSTEM].fuse = Fuse(left, after)

    @rule(back=st.integers(1, 30), then=THEN)
    def replay(self, back: int, then: float) -> None:
        """Somebody sends again what was on the air."""
        if len(self.sim.air) >= back:
            old = self.sim.air[-back]
            self.sim.inject(old.source, old.target, old.data)
            self.no_old_key_is_given()
            self.sim.run_for(then)

    # ------------------------------------------------------------------ what always holds

    def bar(self) -> None:
        """Note what must not be given from now on."""
        for topic in TOPICS:
            session = self.world.session(topic)
            begun = [each for each in self.sim.heard(SYSTEM, EpochBegun) if each.topic == topic]
            rolled = [each.epoch for each in begun if each.cause is Cause.COMPROMISE]
            if session is not None and rolled:
                self.barred[session.sess] = rolled[-1]

    @invariant()
    def no_old_key_is_given(self) -> None:
        """TC-23: after a rotation for compromise no key of an epoch before it leaves the trusted system."""
        for datagram in self.sim.air[self.looked_at :]:
            if datagram.source == SYSTEM and (grant := _grant_in(datagram.data)) is not None:
                assert grant.epoch >= self.barred.get(grant.sess, 0)
        self.looked_at = len(self.sim.air)

    @invariant()
    def no_key_seals_twice(self) -> None:
        assert self.sim.witness.reused == []

    @invariant()
    def no_chain_is_given_twice(self) -> None:
        given = [
            (each.grant.SK, each.grant.sess, each.grant.epoch, each.grant.snd)
            for name in ROLES
            for each in self.world.taken[name]
            if each.role == PUBLISH
        ]
        assert len(set(given)) == len(given)

    @invariant()
    def both_ends_are_at_most_one_number_apart(self) -> None:
        for name in ROLES:
            mine, system = self.sim.hosts[name], self.sim.hosts[SYSTEM]
            if mine.up and system.up:
                key = client_of(self.world.ids[name])
                assert mine.cells[OWN_CHAIN].end.chain.k - system.cells[key].end.chain.k in {0, 1}

    # ------------------------------------------------------------------ what comes true in the end

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.sim.hosts[SYSTEM].fuse = None
        self.sim.channel = Channel()
        for name in ROLES:
            self.world.mend(name)
        self.sim.run_for(HEALS_S)
        self.no_old_key_is_given()
        for topic in TOPICS:
            session = self.world.session(topic)
            if session is not None:
                assert session.safe, session
                assert [party for _, party in session.parties.everybody() if party.owed] == []
                assert len(session.epochs) == 1
                for party in session.parties.subscribers:
                    self.has_all(topic, party.client, session.present.number)
        self.no_key_seals_twice()
        self.no_chain_is_given_twice()

    def has_all(self, topic: str, client: bytes, present: int) -> None:
        """A subscriber has every planned epoch since its first one that it may still read under, but for what waits in memory."""
        (name,) = (name for name, its in self.world.ids.items() if its == client)
        unnamed = self.sim.hosts[name].cells[OWN_CHAIN].unnamed
        if name in self.lost or unnamed or not self.world.epochs(name, topic, SUBSCRIBE):
            return
        taken = self.world.epochs(name, topic, SUBSCRIBE)
        begun = {each.epoch: each.cause for each in self.sim.heard(SYSTEM, EpochBegun) if each.topic == topic}
        rolled = max((epoch for epoch, cause in begun.items() if cause is Cause.COMPROMISE), default=0)
        wanted = set(range(max(min(taken), rolled, present - MOST_OWED + 1), present + 1))
        assert wanted <= set(taken), (name, topic, wanted, taken)


def _grant_in(data: bytes) -> KeyGrant | None:
    mt, _ = peek(data)
    try:
        if mt == Kresp.mt:
            return Scribe.grants[Kresp.decode(data, sizes_of(1)).ct]
        return Scribe.grants[Kpush.decode(data, sizes_of(1)).ct] if mt == Kpush.mt else None
    except PeerFault:
        return None


SHORT: Any = settings(max_examples=12, stateful_step_count=25, suppress_health_check=list(HealthCheck), deadline=None)


def test_TC23_no_key_is_given_that_must_not_be_and_everybody_meets_again() -> None:
    run_state_machine_as_test(Topics, settings=SHORT)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_TC23_the_same_oftener_and_longer() -> None:
    run_state_machine_as_test(Topics, settings=settings(SHORT, max_examples=400, stateful_step_count=60))
