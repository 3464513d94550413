"""Processors that compute and a medium that one datagram holds at a time: what is late because of them, and by how much."""

import pytest

from keymote.crypto.entropy import Entropy
from keymote.engine.base import (
    MULTICAST,
    CellKey,
    Command,
    Durability,
    Item,
    Kind,
    Node,
    Now,
    Output,
    Received,
    Report,
    Send,
    Step,
)
from keymote.lab.simulator import Channel, Pace, Simulator

TALKER = CellKey("talker", b"")


class Say(Command):
    """Say 100 bytes to everybody."""


class Heard(Report):
    """Somebody said something."""


def talker(_cell: object, item: Item, _now: Now, _entropy: Entropy) -> Step:
    outputs: list[Output] = []
    match item:
        case Say():
            outputs.append(Send(MULTICAST, bytes(100)))
        case Received():
            outputs.append(Heard())
    return object(), outputs


def node() -> Node:
    return Node({"talker": Kind("talker", Durability.VOLATILE, talker)}, lambda _peer, _data: (TALKER,))


def world(pace: Pace | None, *names: str) -> tuple[Simulator, list[tuple[str, float]]]:
    """Return nodes in one radio cell, 10 ms apart, and when each of them hears something."""
    sim = Simulator(b"pace", channel=Channel(0.010))
    sim.pace = pace
    heard: list[tuple[str, float]] = []
    sim.hear = lambda name, _report: heard.append((name, round(sim.now, 6)))
    for name in names:
        sim.add(name, node, segment="street")
    return sim, heard


def test_without_a_pace_neither_computing_nor_sending_takes_time() -> None:
    sim, heard = world(None, "a", "b")
    sim.command("a", TALKER, Say())
    sim.run_for(1.0)
    assert heard == [("b", 0.010)]


def test_a_node_speaks_when_it_is_done_with_everything_before() -> None:
    sim, heard = world(Pace(work=lambda name: 0.5 if name == "a" else 0.0), "a", "b")
    sim.command("a", TALKER, Say())
    sim.command("a", TALKER, Say())
    sim.run_for(5.0)
    assert heard == [("b", 0.510), ("b", 1.010)]


def test_one_datagram_holds_the_medium_while_others_wait_in_the_order_in_which_they_are_ready() -> None:
    slow = {"a": 0.3, "b": 0.0, "c": 0.1}
    sim, heard = world(Pace(work=lambda name: slow[name], airtime=lambda octets: octets * 0.001), "a", "b", "c")
    for name in ("a", "b", "c"):
        sim.command(name, TALKER, Say())
    sim.run_for(5.0)
    # b is ready at 0 and on the air until 0.1, c from then until 0.2, a is ready at 0.3; each is heard 10 ms later
    assert sorted({at for _, at in heard}) == pytest.approx([0.110, 0.210, 0.410])
    assert {name for name, at in heard if at == 0.110} == {"a", "c"}


def test_a_reboot_forgets_what_was_waiting_to_leave() -> None:
    sim, heard = world(Pace(work=lambda _name: 0.5), "a", "b")
    sim.command("a", TALKER, Say())
    sim.reboot("a")
    sim.run_for(5.0)
    assert heard == []


def test_a_fork_goes_its_own_way() -> None:
    sim, heard = world(Pace(work=lambda _name: 0.5), "a", "b")
    twin = sim.fork("other")
    sim.command("a", TALKER, Say())
    assert sim.pace is not None and twin.pace is not None
    assert sim.pace.done_at("a", 0.0) == 0.5
    assert twin.pace.done_at("a", 0.0) == 0.0
    assert heard == []
