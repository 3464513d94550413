"""A session at a manager: introduce two devices, contribute a share for each, and take it back (Triad-1 2.6 to 2.8)."""

from keymote.crypto.entropy import Entropy
from keymote.engine.base import (
    Answer,
    Ask,
    Due,
    Durability,
    Item,
    Kind,
    Now,
    Output,
    Received,
    Refused,
    Step,
    Tell,
    Told,
    replace,
)
from keymote.engine.context import RegistrarContext
from keymote.engine.hybrid import refuses
from keymote.engine.link_faces import LinkBody, SealBody
from keymote.engine.member import ACTIVE, Asked, DeviceGone, Member, MemberIs, NoSuchMember, Superseded, refusal
from keymote.engine.own import ShareKeyIs
from keymote.engine.pairwise import contribution, introduction, relay, revocation
from keymote.engine.pairwise.register import (
    Asking,
    Called,
    Dead,
    ManagerSessionCell,
    Party,
    Register,
    Shares,
    load,
    record,
    same_record,
)
from keymote.engine.peer import CannotReach, XcredHeard
from keymote.engine.queries import FindDevice
from keymote.engine.renewal import expired
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.enrolment import Error
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Revnote, Revoke, Sessreq, Shreq, Xcred, XshareAnswer, XshareRequest
from keymote.wire.registry import peek


def manager_session_kind(context: RegistrarContext) -> Kind:
    """Return the kind `session` of a manager."""
    steps = _Steps(context)
    return Kind(
        "session",
        Durability.DURABLE,
        steps.step,
        record=record,
        load=load,
        deadline=lambda cell: cell.until if isinstance(cell, (Asking, Called)) else None,
        wake_at=lambda cell: cell.wake_at if isinstance(cell, Dead) else None,
        same_record=same_record,
    )


class _Steps:
    def __init__(self, context: RegistrarContext) -> None:
        self.context = context

    def step(self, cell: ManagerSessionCell | None, item: Item, now: Now, entropy: Entropy) -> Step:
        match item, cell:
            case Told(Asked() as asked), _:
                return self._asked(cell, asked, now, entropy)
            case Told(XcredHeard() as heard), _:
                return introduction.xcred_heard(self.context, cell, heard, now, entropy)
            case _, None:
                raise PeerFault(ErrorCode.E_UNKNOWN_ID, "no session has this psid")
            case Told(LinkBody() as heard), _:
                return self._from_manager(cell, heard, now, entropy)
            case Told(ShareKeyIs() as key), _:
                return self._share_key(cell, key, now, entropy)
            case Told(MemberIs(_, member)), _:
                return self._member(cell, member, now, entropy)
            case Told(NoSuchMember()), Asking():
                return cell, [Ask(1, FindDevice(cell.peer_id))]
            case Told(NoSuchMember()), Called():
                return None, [refusal(cell.via, Xcred.mt, ErrorCode.E_UNKNOWN_ID, cell.psid)]
            case Answer(_, result), Asking():
                return introduction.found(self.context, cell, result, now, entropy)
            case Told(CannotReach(code)), Asking():
                return introduction.given_up(cell, code)
            case Told(DeviceGone(dev_id, reason)), Register():
                party = cell.party(dev_id)
                accused = party.kid if party is not None else revocation.NOBODY
                return revocation.kill(self.context, cell, reason, now, kid_accused=accused)
            case Told(Superseded()), Register():
                return revocation.kill(self.context, cell, 3, now)
            case Told(DeviceGone()), Asking() | Called():
                return None, ()
            case ((Told(DeviceGone() | Superseded()) | Answer()), _):
                return cell, ()
            case Received(peer, data), Register():
                return relay.relayed(cell, peer, data)
            case Due(), Asking():
                return introduction.say_again(cell, now)
            case Due(), Called():
                return None, ()
            case Due(), Dead():
                return revocation.remind(cell)
            case _:
                raise PeerFault(ErrorCode.E_STATE, "not in this state of the session")

    def _asked(self, cell: ManagerSessionCell | None, asked: Asked, now: Now, entropy: Entropy) -> Step:
        request = asked.request
        mt, psid = request.mt, request.psid
        match request, cell:
            case Sessreq(), None:
                return introduction.begin(self.context, asked, request, now)
            case Sessreq(), Register() if cell.I.dev_id == asked.dev_id and cell.I.own:
                return cell, introduction.introduce(self.context, cell, cell.I)
            case Sessreq(), Asking() if cell.asker.dev_id == asked.dev_id:
                return cell, ()
            case Shreq(), Register():
                return contribution.want_shares(self.context, cell, asked, request, entropy)
            case Revoke(), Register() if (party := cell.party(asked.dev_id)) is not None and party.own:
                if request.reason > revocation.MOST_REASONS:
                    return cell, [refusal(asked.link, mt, ErrorCode.E_FORMAT, psid)]
                return revocation.kill(
                    self.context, cell, request.reason, now, key_id=request.key_id, kid_accused=request.kid_accused
                )
            case _, Dead() if asked.dev_id in cell.parties:
                return cell, [Tell(asked.link, SealBody(cell.note))]
            case _:
                code = ErrorCode.E_UNKNOWN_ID if cell is None else ErrorCode.E_STATE
                return cell, [refusal(asked.link, mt, code, psid), Refused("", code, f"request {mt} of a member")]

    def _member(self, cell: ManagerSessionCell, member: Member, now: Now, entropy: Entropy) -> Step:
        party, why = Party.of(member), refuses(self.context, hybrid=True, weak=member.weak)
        late = expired(member.claims, now.wall)
        match cell:
            case Asking():
                if member.status != ACTIVE:
                    return introduction.given_up(cell, ErrorCode.E_NOSHARE)
                if why:
                    return introduction.given_up(cell, ErrorCode.E_SUITE, why)
                if late is not None:
                    return introduction.given_up(cell, late.code, str(late))
                return introduction.go_on(self.context, replace(cell, local=party), now, entropy)
            case Called():
                if member.status != ACTIVE:
                    return None, [refusal(cell.via, Xcred.mt, ErrorCode.E_NOSHARE, cell.psid)]
                if why:
                    return None, introduction.unsuitable(cell.via, Xcred.mt, cell.psid, why)
                if late is not None:
                    return None, introduction.not_to_be_had(cell.via, Xcred.mt, cell.psid, late)
                return introduction.answer(self.context, replace(cell, own=party), now, entropy)
            case Register():
                if cell.I.dev_id == party.dev_id and cell.I.own:
                    cell = replace(cell, I=replace(cell.I, W=party.W))
                elif cell.R.dev_id == party.dev_id and cell.R.own:
                    cell = replace(cell, R=replace(cell.R, W=party.W))
                return contribution.resume(self.context, cell, entropy)
            case Dead():
                return cell, ()

    def _share_key(self, cell: ManagerSessionCell, key: ShareKeyIs, now: Now, entropy: Entropy) -> Step:
        match cell:
            case Asking():
                known = replace(cell, number=key.number, shares=Shares(key.key), epoch=key.status_epoch)
                return introduction.go_on(self.context, known, now, entropy)
            case Called():
                known_too = replace(cell, number=key.number, shares=Shares(key.key), epoch=key.status_epoch)
                return introduction.answer(self.context, known_too, now, entropy)
            case Register():
                if key.key is None:
                    return replace(cell, todo=()), [
                        refusal(party.link, Shreq.mt, ErrorCode.E_NOSHARE, cell.psid) for party in cell.own
                    ]
                return contribution.resume(
                    self.context, replace(cell, shares=replace(cell.shares, k_nm=key.key)), entropy
                )
            case Dead():
                return cell, ()

    def _from_manager(self, cell: ManagerSessionCell, heard: LinkBody, now: Now, entropy: Entropy) -> Step:
        mt, count = peek(heard.body)
        sizes = sizes_of(1)  # none of these messages has a field whose length depends on the suite
        match mt, cell:
            case XshareRequest.mt, Register() if count == 4 and self._is_other(cell, heard):
                request = XshareRequest.decode(heard.body, sizes)
                if (request.kid_I, request.kid_R) != (cell.I.kid, cell.R.kid):
                    refused = refusal(heard.link, mt, ErrorCode.E_CRED, cell.psid)
                    return cell, [refused, Refused("", ErrorCode.E_CRED, "XSHARE for other credentials")]
                target = cell.R if cell.I.own else cell.I
                return contribution.with_means(self.context, replace(cell, via=heard.link), request, entropy, target)
            case XshareAnswer.mt, Register() if count == 3 and self._is_other(cell, heard):
                answer = XshareAnswer.decode(heard.body, sizes)
                cell = replace(cell, shares=replace(cell.shares, foreign=answer.share))
                return contribution.with_means(self.context, cell, answer, entropy, cell.own[0])
            case XshareRequest.mt, Dead():
                return cell, [refusal(heard.link, mt, ErrorCode.E_NOSHARE, cell.psid)]
            case Error.mt, Asking() if cell.nm_id == heard.peer_id:
                return introduction.given_up(cell, ErrorCode(Error.decode(heard.body, sizes).code))
            case Error.mt, Register() if (party := cell.party(heard.peer_id)) is not None and party.link == heard.link:
                return cell, [_passed_on(cell, party, Error.decode(heard.body, sizes))]
            case Error.mt, Register() if self._is_other(cell, heard):
                code = ErrorCode(Error.decode(heard.body, sizes).code)
                return cell, [refusal(party.link, Shreq.mt, code, cell.psid) for party in cell.own]
            case Revnote.mt, Register() if self._is_other(cell, heard):
                note = revocation.verified_note(self.context, cell, Revnote.decode(heard.body, sizes))
                return revocation.kill(
                    self.context,
                    cell,
                    note.reason,
                    now,
                    key_id=note.key_id,
                    kid_accused=note.kid_accused,
                    tell_manager=False,
                )
            case Revnote.mt, Dead():
                return cell, ()
            case _:
                raise PeerFault(ErrorCode.E_STATE, f"message {mt} of a manager is not expected in this state")

    @staticmethod
    def _is_other(cell: Register, heard: LinkBody) -> bool:
        """Tell whether a body came from the session's other manager (AU-08)."""
        return cell.manager is not None and cell.manager[0] == heard.peer_id


def _passed_on(cell: Register, party: Party, error: Error) -> Output:
    """Return what tells the other device that `party`, one of ours, refuses the session: it need not wait in vain (CM-13)."""
    other = cell.R if party.dev_id == cell.I.dev_id else cell.I
    link = other.link if other.own else cell.via
    assert link is not None  # a session with another manager has a link to it
    return refusal(link, error.offending, ErrorCode(error.code), cell.psid)
