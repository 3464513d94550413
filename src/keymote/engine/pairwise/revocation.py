"""The end of a session at a manager: REVNOTE checked, written, and said until it was heard (Triad-1 2.8)."""

from typing import Final

from keymote.crypto.secret import equal
from keymote.engine.base import Ask, Now, Output, Step, Tell, replace
from keymote.engine.context import RegistrarContext
from keymote.engine.faces import SessionRevoked
from keymote.engine.link_faces import SealBody, link_to_device
from keymote.engine.pairwise.register import REPEATED_S, Dead, Register
from keymote.engine.queries import ReportRevocation
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.cose import sign1
from keymote.wire.credential import SignedCredential, kid_of
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Revnote, RevnoteClaims

MOST_REASONS: Final = 4
UNKNOWN_KEY_ID: Final = bytes(8)
"""In a REVNOTE that a manager writes by itself: it does not know the key."""
NOBODY: Final = bytes(8)
"""kid_accused of a REVNOTE that accuses none of the two."""


def verified_note(context: RegistrarContext, cell: Register, note: Revnote) -> RevnoteClaims:
    """Return what the other manager's note says; E_AUTH or E_FORMAT unless it signed it for this session (RV-04).

    The kid is not compared: the manager may have renewed its credential since, for the same key (RN-07).
    """
    assert cell.manager is not None
    manager = SignedCredential.decode(cell.manager[1]).claims
    key = context.trust.key(manager.suite, manager.sig_pk)
    claims = RevnoteClaims.decode(note.envelope.check(key, Revnote.mt), sizes_of(1))
    if not equal(claims.psid, cell.psid) or claims.reason > MOST_REASONS:
        raise PeerFault(ErrorCode.E_FORMAT, "revocation note for another session or with an unknown reason")
    return claims


def kill(
    context: RegistrarContext,
    cell: Register,
    reason: int,
    now: Now,
    *,
    key_id: bytes = UNKNOWN_KEY_ID,
    kid_accused: bytes = NOBODY,
    tell_manager: bool = True,
) -> Step:
    """Mark the session dead and say so, signed, to our devices, the other manager and the coordinator (RV-04, RV-06)."""
    claims = RevnoteClaims(cell.psid, key_id, reason, kid_accused, now.wall)
    signed = sign1(context.signing, Revnote.mt, claims.encode(), kid=kid_of(context.chain[0]))
    note = Revnote(signed).encode()
    parties = tuple(party.dev_id for party in cell.own)
    dead = Dead(cell.psid, reason, note, now.wall, parties, cell.via if tell_manager else None)
    return dead, [*_tidings(dead), SessionRevoked(cell.psid, cell.own[0].dev_id, reason, note)]


def remind(cell: Dead) -> Step:
    """Say the note again, for who was down or did not hear it and for what a crash kept from leaving (RV-04, RV-10)."""
    if cell.repeated == len(REPEATED_S):
        return None, ()
    return replace(cell, repeated=cell.repeated + 1), _tidings(cell)


def _tidings(cell: Dead) -> list[Output]:
    """Return what tells our devices, the other manager if it is ours to tell, and the coordinator of a dead session."""
    links = [link_to_device(dev_id) for dev_id in cell.parties]
    if cell.via is not None:
        links.append(cell.via)
    return [*(Tell(link, SealBody(cell.note)) for link in links), Ask(2, ReportRevocation(cell.note))]
