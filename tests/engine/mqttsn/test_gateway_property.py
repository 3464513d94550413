"""The property of the gateway: whatever the air does and people do, what the broker was told that a mote has, the mote has
heard, and what is published upwards with an acknowledgement reached the broker (SG-25)."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sn_world import GATEWAY, Air, World

from keymote.engine.mqttsn.faces import Message, Settings
from keymote.engine.mqttsn.mote_faces import Attach, Fetch, Link, Listen, Said, Say, Sleep
from keymote.engine.mqttsn.states import State
from keymote.wire.mqttsn_fields import ReturnCode

NAMES = ("a", "b")
MOTES = st.sampled_from(NAMES)
THEN = st.sampled_from([0.0, 0.005, 0.05, 1.0, 4.0, 15.0])
AIRS = st.sampled_from([Air(), Air(0.2, 0.2), Air(0.1, 0.1, 0.2), Air(0.4, 0.2, 0.5)])
SETTINGS = Settings(retry_s=2.0, retries=3, probe_s=1.0, most_waiting=6, most_upstream=4)


class Motes(RuleBasedStateMachine):
    """Two motes with sessions that last, one gateway, one broker."""

    @initialize(seed=st.integers(0, 1 << 16))
    def begin(self, seed: int) -> None:
        self.world = World(SETTINGS, seed=seed)
        self.number = 0
        self.in_order = True
        self.wanted: dict[int, Message] = {}
        for name in NAMES:
            self.world.mote(name, retry_s=1.5, retries=4)
            self.world.wish(name, Attach(20, clean=False), Listen(0, f"{name}/#"))
        self.world.run(3.0)

    @rule(air=AIRS)
    def weather(self, air: Air) -> None:
        self.world.air = air
        self.in_order = self.in_order and not air.late

    @rule(mote=MOTES, then=THEN)
    def connect(self, mote: str, then: float) -> None:
        self._wish(mote, Attach(20, clean=False), then)

    @rule(mote=MOTES, duration_s=st.sampled_from([5, 30]), then=THEN)
    def sleep(self, mote: str, duration_s: int, then: float) -> None:
        self._wish(mote, Sleep(duration_s), then)

    @rule(mote=MOTES, then=THEN)
    def fetch(self, mote: str, then: float) -> None:
        if self.world.motes[mote].link is Link.ASLEEP:
            self._wish(mote, Fetch(), then)

    @rule(mote=MOTES, topic=st.sampled_from(["up/1", "up/2", "uu"]), qos=st.sampled_from([0, 1, 2]), then=THEN)
    def say(self, mote: str, topic: str, qos: int, then: float) -> None:
        self.number += 1
        message = self.wanted[self.number] = Message(topic, b"%d" % self.number, qos)
        self._wish(mote, Say(self.number, message), then)

    @rule(mote=MOTES, topic=st.integers(0, 3), qos=st.sampled_from([0, 1, 1]), then=THEN)
    def publish(self, mote: str, topic: int, qos: int, then: float) -> None:
        self.number += 1
        self.world.publish(f"{mote}/{topic}", b"%d" % self.number, qos)
        self.world.run(then)

    @rule(data=st.binary(max_size=12))
    def garbage(self, data: bytes) -> None:
        self.world.send("thief", data)

    def _wish(self, mote: str, wish: object, then: float) -> None:
        if len(self.world.motes[mote]._state.wishes) < 20:  # noqa: SLF001  a mote full of wishes raises, as it should
            self.world.wish(mote, wish)  # type: ignore[arg-type]
        self.world.run(then)

    @invariant()
    def what_was_acknowledged_was_heard(self) -> None:
        for name in NAMES:
            heard = set(self.world.messages(name))
            assert {message.data for client, message in self.world.broker.acknowledged if client == name} <= heard

    @invariant()
    def what_a_mote_was_told_is_at_the_broker(self) -> None:
        at_broker = [message.data for message in self.world.broker.published]
        for name in NAMES:
            for said in self.world.said(name, Said):
                if said.code is ReturnCode.ACCEPTED and self.wanted[said.ref].qos:
                    assert self.wanted[said.ref].data in at_broker
        twos = [message.data for message in self.world.broker.published if message.qos == 2]
        assert len(twos) == len(set(twos)) or not self.in_order  # a PUBLISH that comes after PUBCOMP is another one

    @invariant()
    def bounds_hold(self) -> None:
        assert all(count <= SETTINGS.most_waiting for count in self.world.gateway.waiting().values())
        assert sum(self.world.gateway.states().values()) <= len(NAMES)

    def teardown(self) -> None:
        """When the air is clear again and a mote connects, it gets all that was for it."""
        self.world.air = Air()
        for name in NAMES:
            self.world.run(120.0)
            self.world.wish(name, Attach(20, clean=False))
            self.world.run(60.0)
            assert self.world.gateway.state(name) is State.ACTIVE
            held = self.world.broker.held[name]
            if held.filters:
                assert not held.unacknowledged
                assert not held.queued
        assert not [data for source, _, data in self.world.wire if source == GATEWAY and len(data) > 1400]


@pytest.mark.parametrize(
    "effort",
    [
        settings(max_examples=6, stateful_step_count=15),
        pytest.param(
            settings(settings.get_profile("long"), max_examples=600, stateful_step_count=40),
            marks=[pytest.mark.long, pytest.mark.timeout(600)],
        ),
    ],
    ids=["short", "long"],
)
def test_SG25_nothing_acknowledged_is_lost(effort: settings) -> None:
    run_state_machine_as_test(Motes, settings=effort)
