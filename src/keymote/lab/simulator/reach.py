"""Who hears whom in a simulated world: by address, by name, and everybody in a radio cell at once."""

from collections.abc import Mapping

from keymote.engine.base import MULTICAST, Peer
from keymote.lab.simulator.host import Host
from keymote.lab.simulator.network import Datagram


class Reach:
    """The radio cells of a world's nodes; `hosts` grows as nodes are added."""

    __slots__ = ("_hosts", "_listeners", "segments", "tuned")

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        self._hosts = hosts
        self._listeners: dict[Peer, list[str]] = {}
        self.segments: dict[str, str] = {}
        """Name of a node -> radio cell in which its multicasts are heard."""
        self.tuned: dict[tuple[str, bytes], str] = {}
        """(node, id of one of its cells) -> radio cell for multicasts of that cell, where it has another than the node."""

    def tune(self, name: str, cell_id: bytes, segment: str) -> None:
        """Let a cell of a node, such as one of several rings, speak and be spoken to in a radio cell of its own."""
        self.tuned[name, cell_id] = segment
        self._listeners.setdefault(_multicast_in(segment), []).append(name)

    def everybody(self, name: str, cell_id: bytes) -> Peer:
        """Return whom a cell of a node addresses by a multicast."""
        segment = self.tuned.get((name, cell_id))
        return MULTICAST if segment is None else _multicast_in(segment)

    def hearers(self, datagram: Datagram) -> list[str]:
        """Return the names of the nodes that a datagram reaches unless its copy for one of them gets lost; those in a tuned
        cell and by their own name at once.
        """
        source, target = datagram.source, datagram.target
        if target in self._listeners:
            return [name for name in self._listeners[target] if self._hosts[name].address != source]
        addressed = self._hosts.get(target)
        if addressed is not None and addressed.address == target:
            return [addressed.name]
        if target == MULTICAST:
            near = self._segment_of(source)
            return [n for n, host in self._hosts.items() if self.segments[n] == near and host.address != source]
        return [name for name, host in self._hosts.items() if host.address == target]

    def _segment_of(self, address: Peer) -> str | None:
        return next((self.segments[name] for name, host in self._hosts.items() if host.address == address), None)

    def copy(self, hosts: Mapping[str, Host]) -> "Reach":
        """Return the same for the copies of the nodes."""
        twin = Reach(hosts)
        twin.segments, twin.tuned = dict(self.segments), dict(self.tuned)
        twin._listeners = {target: list(names) for target, names in self._listeners.items()}
        return twin


def _multicast_in(segment: str) -> Peer:
    """Return the peer that stands for everybody in a radio cell that cells are tuned to."""
    return f"{MULTICAST} {segment}"
