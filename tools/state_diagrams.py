"""Draw the state machines of protocols A and B from what the engines do: every transition that a fixed set of worlds shows.

    python tools/state_diagrams.py            print the page
    python tools/state_diagrams.py --write    renew docs/protocols/states.md

A test compares the page with the code, so that a transition which appears or goes shows up in a review.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Container, Iterator
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, Final

from keymote.crypto.entropy import Entropy
from keymote.engine.base import Answer, Item, Kind, Node, Now, Received, Step, Told
from keymote.engine.context import Handshake, RegistrarPolicy
from keymote.engine.enrolment.registrar_cell import RegistrarCell
from keymote.engine.faces import (
    CloseSession,
    ResumeDevice,
    RevokeDevice,
    RevokeSession,
    SuspendDevice,
    enrolment_of,
    session_of,
)
from keymote.engine.group.faces import AskToLeave, ForgetGroup, Rekey
from keymote.engine.group.ring_states import CollectR2, RingCell
from keymote.engine.group.root_faces import FormRoot, JoinRoot, RatchetRoot, root_gateway_of, root_of
from keymote.engine.group.root_gateway import RootGatewayCell
from keymote.engine.group.root_states import RootCell, Settled
from keymote.engine.group.states import MembershipCell
from keymote.engine.link_faces import LinkBody
from keymote.engine.member import ACTIVE, REVOKED
from keymote.engine.mqttsn.states import TRANSITIONS
from keymote.errors import PeerFault
from keymote.lab.city import COMPROMISED, City
from keymote.lab.city_founding import city
from keymote.lab.scene_founding import AT_ONCE, two_operators
from keymote.lab.scenes import Scene, identity
from keymote.lab.simulator import Datagram, Simulator
from keymote.lab.street import GW, Street, street
from keymote.wire.group import EDGE, RELAY, Commit, CommitClaims, Need, Round1, Round2, Round2Claims, Round3, Wrap
from keymote.wire.group_signed import read, write
from keymote.wire.pairwise import Link
from keymote.wire.registry import BY_TYPE, peek

PAGE: Final = Path(__file__).parent.parent / "docs" / "protocols" / "states.md"
NOTHING: Final = "[*]"

Edge = tuple[str, str, str]
"""State before, what the cell was handed, state after."""

MACHINES: Final = (
    ("device", "enrolment", "Enrolment: a device, or a manager at its coordinator"),
    ("manager", "enrolment", "Enrolment: the registrar, one cell for each device"),
    ("device", "session", "Session: a device"),
    ("manager", "session", "Session: a manager"),
    ("manager", "nmauth", "Two managers authenticate"),
    ("device", "membership", "Group: a member"),
    ("manager", "ring", "Group: the gateway of a ring"),
    ("device", "root", "Clusters: a member of the root group"),
    ("manager", "root_gateway", "Clusters: the root gateway"),
)

INTRODUCTION: Final = """\
# States of protocols A and B

Made by `python tools/state_diagrams.py --write`; a test holds this page and the engines equal.

Each box is one frozen dataclass of the engine and is named for what it waits for. An arrow is a step that the simulator has
shown in worlds where all goes well, where each message in turn is lost or damaged, and where people revoke; steps that leave
the state as it is are not drawn, nor reboots, after which a node is in the state that its record holds. `LINK x` is message x
inside LINK, `told x` a word of another cell of the same node. A member in a run that has the key of an old epoch is drawn with
that key.
"""


# ------------------------------------------------------------------ recording


class Recorder:
    """Collects the transitions of every node that it watches."""

    def __init__(self) -> None:
        self.edges: dict[tuple[str, str], set[Edge]] = defaultdict(set)

    def watch(self, sim: Simulator, managers: Container[str]) -> None:
        """Let all nodes be recorded from their next boot on, and boot them."""
        for name, host in sim.hosts.items():
            role = "manager" if name in managers else "device"
            host.build = self._watched(host.build, role)
            sim.reboot(name)

    def _watched(self, build: Callable[[], Node], role: str) -> Callable[[], Node]:
        def rebuilt() -> Node:
            node = build()
            kinds = {name: replace(kind, step=self._recorded(kind, role)) for name, kind in node.kinds.items()}
            return replace(node, kinds=kinds)

        return rebuilt

    def _recorded(self, kind: Kind, role: str) -> Callable[[Any, Item, Now, Entropy], Step]:
        def step(cell: Any, item: Item, now: Now, entropy: Entropy) -> Step:
            new, outputs = kind.step(cell, item, now, entropy)
            before, after = state_of(cell), state_of(new)
            if before != after:
                self.edges[role, kind.name].add((before, label_of(item), after))
            return new, outputs

        return step


def state_of(cell: Any) -> str:
    """Return the name of the state that a cell is in."""
    match cell:
        case None:
            return NOTHING
        case RegistrarCell(phase=None, member=None):
            return "Expected"
        case RegistrarCell(phase=None, member=member, code=code):
            assert member is not None
            status = "Member" if member.status == ACTIVE else "Revoked" if member.status == REVOKED else "Suspended"
            return f"{status}WithLabel" if code is not None else status
        case RegistrarCell(phase=phase):
            return type(phase).__name__
        case MembershipCell(phase=None, lasting=lasting):
            return "Member" if lasting.active is None else "Active"
        case MembershipCell(phase=phase):
            return type(phase).__name__ + ("" if cell.lasting.active is None else "WithOldKey")
        case RingCell(stage=stage) | RootGatewayCell(stage=stage):
            return type(stage).__name__
        case RootCell(stage=Settled(), lasting=lasting):
            return "Member" if lasting.rk is None else "Keyed"
        case RootCell(stage=stage, lasting=lasting):
            return type(stage).__name__ + ("" if lasting.rk is None else "WithOldKey")
        case _:
            return type(cell).__name__


def label_of(item: Item) -> str:
    """Return what a cell was handed, in one or two words."""
    match item:
        case Received(_, data):
            return message_name(data)
        case Told(LinkBody(body=body)):
            return f"LINK {message_name(body)}"
        case Told(command):
            return f"told {type(command).__name__}"
        case Answer(_, result):
            return f"answer {'refusal' if isinstance(result, PeerFault) else type(result).__name__}"
        case _:
            return type(item).__name__


def message_name(data: bytes) -> str:
    """Return the class name of the message with this type and number of elements (A3 of NMAUTH looks like a device's)."""
    mt, count = peek(data)
    for declared in BY_TYPE[mt]:
        entries = fields(declared)  # type: ignore[arg-type]  # every message is made a dataclass by its decorator
        least = sum(entry.default is MISSING for entry in entries)
        if least <= count - 1 <= len(entries):
            return declared.__name__
    return BY_TYPE[mt][0].__name__


# ------------------------------------------------------------------ worlds


def story(scene: Scene) -> None:
    """Let people do what they do, whether it works or not."""
    sim = scene.sim
    for name in scene.homes:
        scene.label(name)
        scene.greet(name)
        sim.run_for(60.0)
    for fast in (False, True):
        psid = scene.ask("d1", "d2", fast=fast)
        sim.run_for(60.0)
        for name in ("d1", "d2"):
            if scene.session(name, psid) is not None:
                command = RevokeSession(0) if fast else CloseSession()
                sim.command(name, session_of(psid), command)
                break
        sim.run_for(60.0)
    scene.ask("d2", "d1")
    sim.run_for(1.0)
    device = enrolment_of(identity("d1"))
    sim.command("nm1", device, SuspendDevice())
    scene.ask("d1", "d2")
    scene.ask("d2", "d1")
    sim.run_for(60.0)
    sim.command("nm1", device, ResumeDevice())
    scene.label("d1", again=True)
    scene.greet("d1")
    sim.run_for(1.0)
    sim.command("nm1", device, RevokeDevice(1))
    sim.run_for(8 * 86400.0)


def losing(mt: int, *ends: str) -> Callable[[Datagram], list[Datagram]]:
    """Return the adversary who drops every message of one type that one of `ends` sends to another of them."""
    return lambda sent: [] if _between(sent, mt, ends) else [sent]


def damaging(mt: int, *ends: str) -> Callable[[Datagram], list[Datagram]]:
    """Return the adversary who flips the last bit of these messages."""
    return lambda sent: (
        [replace(sent, data=sent.data[:-1] + bytes([sent.data[-1] ^ 1]))] if _between(sent, mt, ends) else [sent]
    )


def _between(sent: Datagram, mt: int, ends: tuple[str, ...]) -> bool:
    return peek(sent.data)[0] == mt and sent.source in ends and sent.target in ends


def no_shreq(sent: Datagram) -> list[Datagram]:
    """Drop what must be a SHREQ by its length, the only thing about it that is visible."""
    asks = sent.source in DEVICES and peek(sent.data)[0] == Link.mt and len(sent.data) >= SHREQ_BYTES
    return [] if asks else [sent]


SHREQ_BYTES: Final = 61
DEVICES: Final = ("d1", "d2")
MANAGERS: Final = ("nm1", "nm2")
WAYS: Final = (
    *((mt, "d1", "nm1") for mt in (3, 4, 5, 6, 7, 9, 18)),
    *((mt, "d2", "nm2") for mt in (18,)),
    *((mt, *MANAGERS) for mt in (18, 20, 21, 22)),
    *((mt, *DEVICES) for mt in (20, 21, 22, 23, 26, 27)),
)
"""(message type, two nodes): where an adversary is put."""


def worlds() -> Iterator[tuple[Scene, Callable[[Datagram], list[Datagram]]]]:
    """Yield every world of the page with the adversary in it."""
    two, one = {"d1": "nm1", "d2": "nm2"}, {"d1": "nm1", "d2": "nm1"}
    quiet = replace(AT_ONCE, hello_period_s=86400.0)
    cookies = RegistrarPolicy(cookies_always=True, hello_period_s=86400.0)
    for homes, policy in ((two, quiet), (one, quiet), (two, cookies)):
        yield two_operators(homes=homes, policy=policy, enrolled=False), lambda sent: [sent]
    for adversary in (losing, damaging):
        for mt, *ends in WAYS:
            yield two_operators(homes=two, policy=quiet, enrolled=False), adversary(mt, *ends)
    yield two_operators(homes=two, policy=quiet, enrolled=False), no_shreq
    by_edhoc = Handshake.EDHOC
    yield two_operators(homes=two, policy=quiet, enrolled=False, handshake=by_edhoc), lambda sent: [sent]
    for mt in (64, 65, 66, 67):
        yield two_operators(homes=two, policy=quiet, enrolled=False, handshake=by_edhoc), losing(mt, *DEVICES)


def record() -> dict[tuple[str, str], set[Edge]]:
    """Play every world and return the transitions of each machine."""
    recorder = Recorder()
    for scene, adversary in worlds():
        recorder.watch(scene.sim, scene.managers)
        scene.sim.adversary = adversary
        story(scene)
    for mode, lost in ((RELAY, 0), (EDGE, 0), *((RELAY, mt) for mt in (Round1.mt, Round2.mt, Round3.mt, Commit.mt))):
        made = street(3, mode=mode, formed=False)
        recorder.watch(made.sim, (GW,))
        evening(made, lost)
    town = city(8, most=4)
    recorder.watch(town.sim, [cluster.gateway.name for cluster in town.clusters])
    year(town)
    return recorder.edges


def evening(made: Street, lost: int) -> None:
    """Let a street agree, lose a type of message or hear a wrong one, let somebody cheat, leave and come back."""
    for name in made.names:
        made.tell(name, ForgetGroup())
    made.provision(*made.names)
    made.form()
    made.run(60.0)
    made.sim.adversary = lambda sent: [] if peek(sent.data)[0] == lost else [sent]
    made.ring(Rekey())
    made.sim.run_for(120.0)
    made.sim.adversary = lambda sent: [sent]
    made.run(60.0)
    made.sim.run_for(60.0)
    made.sim.adversary = cheating(made, "m1") if not lost else disowning(made)
    made.ring(Rekey())
    made.sim.run_for(1.0)
    made.sim.adversary = lambda sent: [sent]
    made.run(60.0)
    made.tell("m0", AskToLeave())
    made.sim.run_for(60.0)
    for name in made.names:
        made.tell(name, ForgetGroup())
    made.ring(ForgetGroup())


def year(town: City) -> None:
    """Let a city get its root key, somebody come, WRAPs and reports be lost, a delegate die, and all end."""
    gateway, head = town.top.gateway.name, root_gateway_of(town.gid_root)
    for name in town.meters:
        charter, kid = town.root_cell(name).lasting.charter, town.people[name].kid
        town.sim.command(name, root_of(town.gid_root), ForgetGroup())
        town.sim.command(name, root_of(town.gid_root), JoinRoot(charter, kid))
    town.sim.command(gateway, head, ForgetGroup())
    town.sim.command(gateway, head, FormRoot(town.gid_root, town.top.gid, town.top.gateway.kid))
    town.form()
    town.join(town.levels[0][0], "new")
    town.sim.command(gateway, head, RatchetRoot())
    town.sim.run_for(1.0)
    town.e += 1
    for lost in (Wrap.mt, Need.mt):
        town.sim.adversary = losing_all(Wrap.mt, lost)
        town.announce()
        town.sim.run_for(61.0)
        town.sim.adversary = lambda sent: [sent]
        town.refresh(COMPROMISED)
    town.sim.adversary = losing_all(Round3.mt)
    town.sim.command(gateway, head, RatchetRoot())
    town.sim.run_for(60.0)
    town.sim.adversary = lambda sent: [sent]
    town.leave("m2")
    for name in town.meters:
        town.sim.command(name, root_of(town.gid_root), ForgetGroup())
    town.sim.command(gateway, head, ForgetGroup())


def losing_all(*mts: int) -> Callable[[Datagram], list[Datagram]]:
    """Return the adversary who drops every message of these types."""
    return lambda sent: [] if peek(sent.data)[0] in mts else [sent]


def cheating(made: Street, name: str) -> Callable[[Datagram], list[Datagram]]:
    """Return the adversary who lets one member sign the Y of another."""

    def cheat(sent: Datagram) -> list[Datagram]:
        stage = made.lead().stage
        if peek(sent.data)[0] != Round2.mt or sent.source != name or not isinstance(stage, CollectR2):
            return [sent]
        said = read(sent.data, Round2Claims, stage.run.sizes).claims
        return [replace(sent, data=write(made.people[name].signing, replace(said, Y=stage.X[0]), stage.th1))]

    return cheat


def disowning(made: Street) -> Callable[[Datagram], list[Datagram]]:
    """Return the adversary who lets the gateway sign a COMMIT that is not what the members confirmed."""

    def disown(sent: Datagram) -> list[Datagram]:
        run = made.lead().run
        if peek(sent.data)[0] != Commit.mt or run is None:
            return [sent]
        gw = made.people[GW]
        claims = CommitClaims(run.sid8, bytes(32), bytes(16))
        return [replace(sent, data=write(gw.signing, claims, run.sid, kid=gw.kid))]

    return disown


# ------------------------------------------------------------------ the page


def diagram(edges: set[Edge]) -> Iterator[str]:
    """Yield the lines of a Mermaid state diagram; arrows between the same two states are one arrow."""
    together: dict[tuple[str, str], list[str]] = defaultdict(list)
    for before, item, after in sorted(edges):
        together[before, after].append(item)
    yield "```mermaid"
    yield "stateDiagram-v2"
    for (before, after), items in sorted(together.items(), key=lambda arrow: (arrow[0][0] != NOTHING, arrow[0])):
        yield f"    {before} --> {after}: {', '.join(items)}"
    yield "```"


def page() -> str:
    """Return docs/protocols/states.md as it must be."""
    edges = record()
    lines = [INTRODUCTION]
    for role, kind, title in MACHINES:
        lines += [f"## {title}\n", *diagram(edges[role, kind]), ""]
    table = {
        (before.value, event.value, after.value) for (before, event), after in TRANSITIONS.items() if before != after
    }
    lines += ["## MQTT-SN: a client of the gateway, from its table\n", *diagram(table), ""]
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page())
    else:
        print(page(), end="")


if __name__ == "__main__":
    main()
