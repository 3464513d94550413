"""What a gateway answers to those who ask (NEED), and what it asks of those who are missing (Triad-1 3.5, 8; decision 0141)."""

from collections.abc import Sequence
from typing import Final

from keymote.engine.base import MULTICAST, Now, Output, Peer, Send
from keymote.engine.group.announcing import announced, to_member
from keymote.engine.group.enlisting import RingStep
from keymote.engine.group.faces import HERE
from keymote.engine.group.pace import Pace
from keymote.engine.group.ring_states import Collecting, CollectR1, CollectR2, CollectR3, RingCell, Running
from keymote.engine.group.rounds import Heard1, Run
from keymote.engine.group.starting import positions_missing
from keymote.engine.group.timing import ANSWER_EVERY_S
from keymote.wire.group import Bundle, Need, What, bitmap

_FOR_STRANGERS: Final = frozenset({What.START, What.ROSTER, What.COMMIT})
"""What an address may ask for that no verified message came from: signed words that are meant for everybody."""
_REPEATED: Final = {CollectR1: What.R1, CollectR2: What.R2, CollectR3: What.R3}


def answered(cell: RingCell, peer: Peer, asked: Need, pace: Pace, now: Now) -> RingStep:
    """Answer one asker at most about once a second, with one message or one bundle (GR-44, GR-45)."""
    found = _offer(cell, asked)
    if not found or not pace.allows((cell.gid, peer, asked.what), now.mono, ANSWER_EVERY_S):
        return cell, ()
    known = peer == HERE or peer in cell.peers.values()
    if not known and not (asked.what in _FOR_STRANGERS and pace.allows_stranger(now.mono)):
        return cell, ()
    answer = found[0] if len(found) == 1 else Bundle(asked.of, tuple(found)).encode()
    return cell, [*to_member(cell, peer, answer), *_signatures_asked(cell, asked, pace, now)]


def _signatures_asked(cell: RingCell, asked: Need, pace: Pace, now: Now) -> list[Output]:
    """Ask members for the signed form of an R1 that is asked for and came without: the asker may need it (GR-20)."""
    stage = cell.stage
    match stage:
        case CollectR1(hall=hall) if asked.what == What.R1:
            unsigned = [idx for idx, slot in enumerate(hall) if isinstance(slot, Heard1) and not slot.signed]
        case CollectR2() | CollectR3() if asked.what == What.R1:
            unsigned = sorted(stage.unsigned)
        case _:
            return []
    wanted_of = [idx for idx in unsigned if idx in asked.indices]
    if not wanted_of or not pace.allows((cell.gid, "signatures"), now.mono, ANSWER_EVERY_S):
        return []
    return _to_positions(cell, stage.run, wanted_of, [Need(stage.run.sid8, What.R1, bitmap(wanted_of)).encode()])


def _offer(cell: RingCell, asked: Need) -> list[bytes]:
    lasting, stage, run = cell.lasting, cell.stage, cell.run
    match asked.what:
        case What.ROSTER:
            return [message for message in (lasting.delegation_message, lasting.roster, lasting.start) if message]
        case What.START:
            return [lasting.start] if lasting.start else []
        case What.COMMIT if asked.of == lasting.sid8:
            return [lasting.commit] if lasting.commit else []
        case What.WRAP if asked.of == lasting.sid8:
            return [cell.root] if cell.root else []
        case What.EVIDENCE if cell.evidence is not None and asked.of == cell.evidence.sid8:
            return [cell.evidence.blame, cell.evidence.message]
    if run is None or asked.of != run.sid8:
        return []
    said: Sequence[bytes | None] = ()
    match asked.what, stage:
        case What.R1, CollectR1(hall=hall1):
            said = [slot.wire if isinstance(slot, Heard1) else None for slot in hall1]
        case What.R1, CollectR2() | CollectR3() | Running():
            said = stage.said1
        case What.R2, CollectR2() | CollectR3() | Running():
            said = stage.said2
        case What.R3, CollectR3(hall=hall3):
            said = [None if slot is None else slot.wire for slot in hall3]
        case What.R3, Running():
            said = stage.said3
    return [wire for idx in asked.indices if idx < len(said) and (wire := said[idx]) is not None]


def asking(cell: RingCell, stage: Collecting) -> list[Output]:
    """Ask those who are missing in this round; who has said nothing at all may lack the START."""
    missing = positions_missing(stage)
    wanted_of = Need(stage.run.sid8, _REPEATED[type(stage)], bitmap(missing)).encode()
    messages = [cell.lasting.start, wanted_of] if isinstance(stage, CollectR1) else [wanted_of]
    return _to_positions(cell, stage.run, missing, messages)


def _to_positions(cell: RingCell, run: Run, positions: Sequence[int], messages: Sequence[bytes]) -> list[Output]:
    """Return what brings messages to some members: multicast, or to each where it was heard last."""
    if cell.lasting.plan.multicast:
        return [output for message in messages for output in announced(cell, message)]
    peers = [cell.peers.get(run.held.entries[idx].kid) for idx in positions]
    return [o for peer in peers if peer is not None for message in messages for o in to_member(cell, peer, message)]


def beacon(cell: RingCell) -> list[Output]:
    """Show the newest START to those who are absent, so that they can ask to come back."""
    if cell.lasting.plan.multicast:
        return [Send(MULTICAST, cell.lasting.start)]
    peers = [cell.peers.get(entry.kid) for entry in cell.lasting.absent]
    return [Send(peer, cell.lasting.start) for peer in peers if peer is not None and peer != HERE]
