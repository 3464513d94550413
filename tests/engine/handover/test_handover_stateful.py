"""Any walk of a client with lost and repeated datagrams, agents that reboot or cannot be reached: what must hold afterwards."""

from typing import Any

import pytest
from handover_stage import CLIENT, MOTE, Ward
from hypothesis import given, settings
from hypothesis import strategies as st

from keymote.engine.base import Received
from keymote.engine.handover import client
from keymote.engine.handover.faces import Moved, SessionMoved, home_of, visit_of
from keymote.engine.handover.home_states import Away, Here
from keymote.errors import PeerFault

BROKERS = {name: f"broker-{name}".encode() for name in "ABC"}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("move"), st.sampled_from("BC"), st.booleans()),
        st.tuples(st.just("repeat"), st.sampled_from("BC")),
        st.tuples(st.just("replay"), st.sampled_from("ABC"), st.integers(0, 30)),
        st.tuples(st.just("home")),
        st.tuples(st.just("reboot"), st.sampled_from("ABC")),
        st.tuples(st.just("lose"), st.sampled_from("ABC")),
        st.tuples(st.just("find")),
        st.tuples(st.just("carry"), st.sampled_from("ABC")),
        st.tuples(st.just("wait"), st.integers(1, 40)),
    ),
    max_size=18,
)


class Walk:
    """A client that does what `STEPS` say; it keeps its count on disk and believes what proves itself."""

    def __init__(self) -> None:
        self.ward = Ward()
        self.ward.connect()
        self.count = 0
        self.begun: tuple[Any, bytes] | None = None
        self.visit: client.Visit | None = None
        self.highest = 0

    def step(self, step: tuple[Any, ...]) -> None:
        ward = self.ward
        match step:
            case ("move", str(to), bool(heard)):
                self.count += 1
                self.begun = client.begin(ward.K_home, CLIENT, BROKERS["A"], BROKERS[to], self.count, ward.entropy)
                self.answers(ward.tell(to, self.begun[1]) if to not in ward.lost else [], heard=heard)
            case ("repeat", str(to)) if self.begun is not None and to not in ward.lost:
                self.answers(ward.tell(to, self.begun[1]), heard=True)
            case ("replay", str(to), int(at)) if to not in ward.lost and at < len(ward.carried):
                ward.carry(to, ward[to].take(Received(MOTE, ward.carried[at])))
            case ("home",) if "A" not in ward.lost:
                ward.connect()
                self.begun = self.visit = None
            case ("reboot", str(name)):
                ward.carry(name, ward[name].reboot())
            case ("lose", str(name)):
                ward.lost.add(name)
            case ("find",):
                ward.lost.clear()
            case ("carry", str(name)):
                self.carry(name)
            case ("wait", int(seconds)):
                ward.pass_time(seconds)
        held = ward.home().held
        assert held.last_ctr >= self.highest, "a count went back"
        self.highest = held.last_ctr
        assert held.last_ctr <= self.count, "a count that the client never used"

    def answers(self, answers: list[bytes], *, heard: bool) -> None:
        for data in answers if heard and self.begun is not None else ():
            try:
                self.visit = client.finish(self.begun[0], data)
            except PeerFault:
                continue
            name = chr(self.visit.vis[-1])
            assert self.ward[name].accounts[CLIENT].password == self.visit.password
            assert self.ward.visit(name).stay.K_v == self.visit.K_v

    def carry(self, name: str) -> None:
        """Bring what is owed, as the agent's process does when it is asked to."""
        agent = self.ward[name]
        for report in agent.reported(Moved):
            key = home_of(CLIENT) if name == "A" else visit_of(CLIENT)
            self.ward.carry(name, agent.command(key, SessionMoved(report.ho_ctr)))

    def settle(self) -> None:
        self.ward.lost.clear()
        for _ in range(3):
            self.ward.pass_time(31)
            for name in BROKERS:
                self.carry(name)


def holds(steps: list[tuple[Any, ...]]) -> None:
    walk = Walk()
    for step in steps:
        walk.step(step)
    walk.settle()
    ward = walk.ward
    place = ward.home().held.place
    served = [name for name in "BC" if ward.visit(name) is not None and ward.visit(name).stay is not None]
    match place:
        case Here():
            assert served == [], "a broker serves a client that is at home"
        case Away(vis, ho_ctr, K_v, _):
            assert served in ([], [chr(vis[-1])]), "two brokers serve one client"
            for name in served:
                stay = ward.visit(name).stay
                assert (stay.request.ho_ctr, stay.K_v, stay.leaving) == (ho_ctr, K_v, None)
    assert ward.home().notices == ()
    walk.step(("move", "B", True))  # whatever happened, the client can go on
    assert walk.visit is not None
    assert walk.visit.ho_ctr == walk.count


@settings(max_examples=15)
@given(STEPS)
def test_HO16_whatever_is_lost_or_repeated_one_broker_serves_the_client(steps: list[tuple[Any, ...]]) -> None:
    holds(steps)


@pytest.mark.long
@settings(settings.get_profile("long"), max_examples=400)
@given(STEPS)
def test_HO16_in_many_more_walks(steps: list[tuple[Any, ...]]) -> None:
    holds(steps)
