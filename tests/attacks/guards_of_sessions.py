"""Guards of sessions: answers, shares, transcripts, records, limits, revocations."""
# ruff: noqa: SLF001  # a guard is private by its nature

from dataclasses import replace
from functools import reduce
from typing import Any

import pytest

from keymote import cbor
from keymote.crypto import seal
from keymote.crypto.kdf import extract
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, Suite
from keymote.engine import gate, link, member
from keymote.engine.base import Report
from keymote.engine.enrolment import registrar, registrar_orders
from keymote.engine.faces import RevokeDevice, SessionRevoked
from keymote.engine.link_cell import Window
from keymote.engine.member import ACTIVE, REVOKED
from keymote.engine.pairwise import contribution, device, initiator, record, responder
from keymote.engine.pairwise.parties import Parties, Shares
from keymote.engine.pairwise.schedule import Agreement, Channel, Handshake
from keymote.engine.pairwise.states import AwaitA1, AwaitA2
from keymote.lab.simulator.registry import Federation
from keymote.wire.credential import Credential, SignedCredential, kid_of
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Auth1, ShareClaims, Shresp
from keymote.wire.registry import peek, peek_id


def printed_deliveries(patch: pytest.MonkeyPatch) -> None:
    """Let each device add the foreign manager's share only, as 3.3 delivers them."""

    def three(self: Suite, *points: Point) -> Point:
        both, _own, foreign = points
        return reduce(self.add, (both, foreign))

    patch.setattr(Suite, "sum", three)


def echoed_nonce(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Handshake, "tag", lambda _self, N_I, _DH: N_I[:16])


def any_answer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(initiator, "equal", lambda _a, _b: True)


def any_fin(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(device, "equal", lambda _a, _b: True)


def bare_sum(patch: pytest.MonkeyPatch) -> None:
    """Use S itself as the key, as (9) does, without the transcript."""
    patch.setattr(Channel, "agree", lambda self, S, _1, _2: Agreement(self.suite, Secret(S), b""))


def no_ephemeral_secret(patch: pytest.MonkeyPatch) -> None:
    """Leave DH out of PRK: what remains hangs on d_D1, d_D2 and the managers."""
    patch.setattr(Handshake, "key", lambda self, N_I, N_R, _DH: extract(self.T.value, cbor.encode_array(N_I, N_R, b"")))


def keys_without_kappa(patch: pytest.MonkeyPatch) -> None:
    """Leave κ1 and κ2 out of KS, as outside the post-quantum profile."""
    agree = Channel.agree
    patch.setattr(Channel, "agree", lambda self, S, _1, _2: agree(self, S, b"", b""))


def links_without_kappa(patch: pytest.MonkeyPatch) -> None:
    """Leave κa and κb out of K_nn."""
    key = Channel.manager_key
    patch.setattr(Channel, "manager_key", lambda self, _a, _b: key(self, b"", b""))


# ------------------------------------------------------------------ psids, roles, windows


def _announced(patch: pytest.MonkeyPatch, *, by_psid: bool) -> None:
    """Answer calls without a session by what some announcement said, of the same psid or of any."""
    step = device._Steps._step
    known: dict[bytes, AwaitA1] = {}

    def remembering(self: Any, cell: Any, item: Any, now: Any, entropy: Any) -> Any:
        data = getattr(item, "data", b"")
        if cell is None and data and peek(data)[0] == Auth1.mt:
            psid = peek_id(data, Auth1.mt)
            if not by_psid and known:
                cell = replace(next(iter(known.values())), until=now.mono + 60.0)
            elif psid in known:
                cell = replace(known[psid], until=now.mono + 60.0)
        new, outputs = step(self, cell, item, now, entropy)
        if isinstance(new, AwaitA1):
            known[new.parties.psid] = new
        return new, outputs

    patch.setattr(device._Steps, "_step", remembering)


def sessions_for_ever(patch: pytest.MonkeyPatch) -> None:
    """Never forget what the manager announced: neither at CLOSE nor by a reboot."""
    _announced(patch, by_psid=True)


def any_psid(patch: pytest.MonkeyPatch) -> None:
    """Answer a call under any psid as long as somebody was announced."""
    _announced(patch, by_psid=False)
    contexts_without_limit(patch)


def symmetric_roles(patch: pytest.MonkeyPatch) -> None:
    """Let an initiator answer calls like a responder, as the paper's symmetric procedure does."""
    datagram = device._Steps._datagram

    def answering(self: Any, cell: Any, peer: str, data: bytes, now: Any, entropy: Any) -> Any:
        if isinstance(cell, AwaitA2) and peek(data)[0] == Auth1.mt:
            waiting = AwaitA1(cell.parties, None, now.mono + 60.0)
            _, outputs = responder.answer_challenge(self.context, waiting, peer, data, entropy)
            return cell, outputs
        return datagram(self, cell, peer, data, now, entropy)

    patch.setattr(device._Steps, "_datagram", answering)


def no_window(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Window, "accepts", lambda _self, _seq: True)
    patch.setattr(Window, "with_seq", lambda self, _seq: self)


def no_window_no_counter(patch: pytest.MonkeyPatch) -> None:
    """Take the record again, and the REVOKE in it whatever its counter says: the second line after the window."""
    no_window(patch)
    serve = registrar.serve_member
    patch.setattr(registrar, "serve_member", lambda each, heard: serve(replace(each, revoke_ctr=-1), heard))


def counters_from_zero(patch: pytest.MonkeyPatch) -> None:
    """Load a link with its key and without a reserved block: the numbers begin anew at each start."""
    load = link.load

    def forgetful(*given: Any) -> Any:
        cell = load(*given)
        standing = replace(cell.standing, doubtful=False, resumed=False)
        return replace(cell, tx_next=0, standing=standing)

    patch.setattr(link, "load", forgetful)


# ------------------------------------------------------------------ credentials and shares


def unsigned_credentials(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        SignedCredential, "verified_by", lambda self, _key: Credential(self.raw, self.claims, kid_of(self.raw))
    )


def any_peer(patch: pytest.MonkeyPatch) -> None:
    """Take whatever device the manager names, also oneself."""
    introduced = device.introduced

    def believing(context: Any, own: Any, peer: Any, **rest: Any) -> Parties:
        stranger = replace(own, credential=replace(own.credential, raw=b"somebody else"))
        parties = introduced(context, stranger, peer, **rest)
        digests = {"digest_I": own.credential.digest} if parties.initiator else {"digest_R": own.credential.digest}
        return replace(parties, own=own, peer_id=b"", **digests)

    patch.setattr(device, "introduced", believing)


def unbound_shares(patch: pytest.MonkeyPatch) -> None:
    """Seal and sign a share without the session that it is for."""
    patch.setattr(contribution, "share_context", lambda *_: b"")

    def opened(suite: Suite, parties: Parties, answer: Shresp) -> Shares:
        claims = ShareClaims.decode(answer.share.check(parties.key_NM, Shresp.mt, b""), sizes_of(suite.id))
        own = parties.own.credential.claims
        assert own.E1 is not None
        assert own.E2 is not None
        d = parties.own.d
        share = seal.open_(suite, d, Point(own.E1), Point(own.E2), suite.check(claims.C1), b"", claims.ct)
        return Shares(suite.check(answer.own_share), suite.check(share), b"", b"")

    patch.setattr(device, "opened_shares", opened)


def shares_for_everybody(patch: pytest.MonkeyPatch) -> None:
    """Hand out shares without a look at the device's state, and leave sessions alive when a device is revoked."""
    ordered, serve = registrar_orders.ordered, registrar.serve_member

    def lenient(cell: Any, command: Any) -> Any:
        if isinstance(command, RevokeDevice):
            return replace(cell, member=replace(cell.member, status=REVOKED)), ()
        return ordered(cell, command)

    patch.setattr(registrar_orders, "ordered", lenient)
    patch.setattr(registrar, "serve_member", lambda each, heard: serve(replace(each, status=ACTIVE), heard))
    assert member.ACTIVE == ACTIVE


def evicted_on_one_report(patch: pytest.MonkeyPatch) -> None:
    """Let the coordinator bar a device as soon as one peer accuses it."""
    hear = Federation.hear

    def credulous(self: Federation, name: str, report: Report) -> None:
        hear(self, name, report)
        if isinstance(report, SessionRevoked):
            for coordinator in self.coordinators:
                for dev_id in coordinator.devices:
                    if dev_id != report.own_id:
                        self.bar(dev_id, barred=True)

    patch.setattr(Federation, "hear", credulous)


# ------------------------------------------------------------------ limits


def any_cookie(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gate, "equal", lambda _a, _b: True)


def no_buckets(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(gate.Traffic, "take", lambda *_: True)


def contexts_without_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(responder, "MOST_PER_SESSION", 1 << 20)
    patch.setattr(responder, "MOST_IN_ALL", 1 << 20)


def impatient_sessions(patch: pytest.MonkeyPatch) -> None:
    """Give up an open session after sixteen bad tags, as a handshake does."""
    patch.setattr(record, "MOST_FAILURES", {8: 16, 16: 16})
