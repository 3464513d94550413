"""The network in memory: in order and lossless by itself, disturbed exactly as told."""

import pytest

from keymote.engine.base import MULTICAST
from keymote.transports.memory import Frame, MemoryLink, MemoryNetwork


def heard_by(network: MemoryNetwork, *names: str) -> tuple[list[tuple[str, str, bytes]], dict[str, MemoryLink]]:
    heard: list[tuple[str, str, bytes]] = []

    def attach(name: str) -> MemoryLink:
        return network.attach(name, lambda peer, data: heard.append((name, peer, data)))

    return heard, {name: attach(name) for name in names}


def test_frames_arrive_in_order_with_their_sender() -> None:
    network = MemoryNetwork()
    heard, links = heard_by(network, "a", "b")
    links["a"].send("b", b"1", None)
    links["b"].send("a", b"22", None)
    assert heard == []
    assert network.run() == 2
    assert heard == [("b", "a", b"1"), ("a", "b", b"22")]
    assert (network.frames, network.octets) == (2, 3)
    assert not network.deliver()


def test_multicast_reaches_everybody_but_the_sender() -> None:
    network = MemoryNetwork()
    heard, links = heard_by(network, "a", "b", "c")
    links["a"].send(MULTICAST, b"hello", None)
    network.run()
    assert heard == [("b", "a", b"hello"), ("c", "a", b"hello")]


@pytest.mark.parametrize(("reliable", "told"), [(True, ["gone"]), (False, [])])
def test_a_reliable_network_reports_what_did_not_arrive(reliable: bool, told: list[str]) -> None:
    network = MemoryNetwork(reliable=reliable)
    heard, links = heard_by(network, "a", "b")
    failed: list[str] = []
    network.detach("b")
    links["a"].send("b", b"1", lambda: failed.append("gone"))
    network.run()
    assert links["a"].reliable is reliable
    assert (failed, heard) == (told, [])


def test_a_frame_that_arrived_is_not_reported() -> None:
    network = MemoryNetwork()
    _, links = heard_by(network, "a", "b")
    links["a"].send("b", b"1", lambda: pytest.fail("it arrived"))
    network.run()


def test_frames_can_be_dropped_doubled_replaced_and_reordered() -> None:
    def disturb(frame: Frame) -> list[Frame]:
        match frame.data:
            case b"drop":
                return []
            case b"double":
                return [frame, frame]
            case b"replace":
                return [Frame("mallory", frame.target, b"replaced")]
            case _:
                return [frame]

    network = MemoryNetwork(disturb=disturb, pick=lambda queued: queued - 1)
    heard, links = heard_by(network, "a", "b")
    failed: list[bytes] = []
    for data in (b"first", b"drop", b"double", b"replace"):
        links["a"].send("b", data, lambda data=data: failed.append(data))
    network.run()
    assert heard == [("b", "mallory", b"replaced"), ("b", "a", b"double"), ("b", "a", b"double"), ("b", "a", b"first")]
    assert failed == [b"drop"]


def test_nodes_that_talk_in_circles_are_stopped() -> None:
    network = MemoryNetwork()
    link = network.attach("a", lambda _peer, data: link.send("a", data, None))
    link.send("a", b"again", None)
    with pytest.raises(RuntimeError, match="still queued"):
        network.run(limit=50)
