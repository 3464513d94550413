"""Who speaks for a member's groups, and whether it belongs to them: delegations and rosters as they arrive (3.3, 3.4, 8)."""

from keymote.engine.base import Now, Output, Refused, replace
from keymote.engine.group import above, payload
from keymote.engine.group.charter import LacksBase, next_roster, with_delegation
from keymote.engine.group.faces import RosterAccepted, RunFailed
from keymote.engine.group.participation import MemberStep, chase, erased, need, to_gateway
from keymote.engine.group.party import Party
from keymote.engine.group.states import MembershipCell, Wish
from keymote.engine.group.timing import ANSWER_EVERY_S, ASK_EVERY_S, Pursuit
from keymote.errors import ErrorCode
from keymote.wire.group import What


def heard_delegation(cell: MembershipCell, data: bytes, party: Party, now: Now) -> MemberStep:
    charter = with_delegation(cell.lasting.charter, data, party.keys, party.wall(now))
    if charter is cell.lasting.charter:
        return cell, ()
    return replace(cell, lasting=replace(cell.lasting, charter=charter)), ()


def heard_roster(cell: MembershipCell, data: bytes, party: Party, now: Now) -> MemberStep:
    """Hold a newer roster. Who is not on it any more erases its keys; a run with an older one ends (GR-18, GR-19)."""
    lasting = cell.lasting
    try:
        held = next_roster(lasting.charter, lasting.held, data, party.keys, party.wall(now))
    except LacksBase as fault:
        cell, asked = roster_asked(cell, now)
        return cell, [Refused("", fault.code, fault.what), *asked]
    if held is lasting.held:
        return cell, ()
    outputs: list[Output] = []
    if cell.run is not None:
        outputs.append(RunFailed(cell.gid, *cell.run.number, ErrorCode.E_ROSTER))
    belongs = held.position(lasting.place.kid) is not None
    outputs.append(RosterAccepted(cell.gid, held.ver, belongs))
    pursuit = cell.pursuit
    if pursuit is not None and pursuit.wish == Wish.ROSTER:
        pursuit = None
    if not belongs:
        leaves = pursuit is not None and pursuit.wish == Wish.LEAVE
        pursuit = None if leaves else chase(cell, now)
        mute = payload.Payload(cell.gid, cell.payload.policy)
        outputs += [*erased(cell.payload, mute), *above.lost(cell)]
        place = replace(lasting.place, standby=lasting.place.standby or leaves)
        gone = replace(lasting, held=held, active=None, place=place)
        return replace(cell, lasting=gone, phase=None, payload=mute, pursuit=pursuit), outputs
    rest = payload.expect(cell.payload, None)
    outputs += above.outdated(cell)
    return replace(cell, lasting=replace(lasting, held=held), phase=None, payload=rest, pursuit=pursuit), outputs


def roster_asked(cell: MembershipCell, now: Now) -> MemberStep:
    """Ask for the whole roster, once at a time."""
    if now.mono < cell.roster_asked + ANSWER_EVERY_S:
        return cell, ()
    pursuit = cell.pursuit or Pursuit(Wish.ROSTER, now.mono + ASK_EVERY_S)
    cell = replace(cell, pursuit=pursuit, roster_asked=now.mono)
    return cell, to_gateway(cell, need(cell.gid, What.ROSTER, [0]))
