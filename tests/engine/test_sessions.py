"""Sessions rule by rule: managers, shares, proofs and revocation, against whoever sits on the air or inside."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from keymote.crypto.suite import Point
from keymote.engine.base import CellKey, Told
from keymote.engine.context import RegistrarPolicy
from keymote.engine.faces import (
    OWN,
    KeyReady,
    RevokeDevice,
    RevokeSession,
    SessionClosed,
    SessionRevoked,
    SuspendDevice,
    enrolment_of,
    peer_manager,
    session_of,
)
from keymote.engine.link_faces import OWN_LINK, LinkBody, SealBody, link_to_device, link_to_manager
from keymote.engine.nmauth import nmauth_of
from keymote.engine.pairwise.parties import opened_shares
from keymote.engine.pairwise.register import Dead, Register
from keymote.engine.pairwise.schedule import share_context, share_scalar
from keymote.engine.pairwise.states import AwaitA1, AwaitA2, AwaitA3, AwaitA4, AwaitFin, Open
from keymote.engine.peer import PeerCell
from keymote.engine.queries import FindManager
from keymote.errors import ErrorCode, PeerFault
from keymote.lab.scene_founding import AT_ONCE, two_operators
from keymote.lab.scenes import Scene, identity
from keymote.lab.simulator import Datagram
from keymote.wire.cose import sign1
from keymote.wire.credential import kid_of
from keymote.wire.enrolment import Error
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import (
    Auth1,
    Auth2,
    Keyreq,
    NmAuth1,
    NmAuth2,
    Peercred,
    Revnote,
    RevnoteClaims,
    Revoke,
    ShareClaims,
    Shresp,
    Xcred,
    XshareRequest,
)
from keymote.wire.registry import peek

D1, D2, NM1, NM2 = (identity(name) for name in ("d1", "d2", "nm1", "nm2"))
LINK, AUTH1, AUTH2, KEYREQ, KEYRESP, FIN1, FIN2 = 18, 20, 21, 22, 23, 26, 27
Hook = Callable[[Datagram], list[Datagram]]


def refused(scene: Scene, name: str, kind: str, code: ErrorCode) -> int:
    return scene.sim.hosts[name].refused[kind, code]


def sent(scene: Scene, mt: int, source: str = "") -> list[bytes]:
    return [d.data for d in scene.sim.air if peek(d.data)[0] == mt and source in ("", d.source)]


def hold(mt: int, source: str) -> tuple[list[Datagram], Hook]:
    """Return a list and the hook that puts messages `mt` of `source` into it instead of delivering them."""
    held: list[Datagram] = []

    def hook(datagram: Datagram) -> list[Datagram]:
        if datagram.source == source and peek(datagram.data)[0] == mt:
            held.append(datagram)
            return []
        return [datagram]

    return held, hook


def until_held(scene: Scene, mt: int, source: str, **how: bool) -> tuple[bytes, list[Datagram]]:
    """Ask for a session and run until the message `mt` of `source` is caught."""
    held, scene.sim.adversary = hold(mt, source)
    psid = scene.ask("d1", "d2", **how)
    assert scene.sim.run_until(lambda: bool(held), 20.0)
    return psid, held


def honest(datagram: Datagram) -> list[Datagram]:
    return [datagram]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def say_in_link(scene: Scene, speaker: str, link: CellKey, body: bytes) -> None:
    """Let the insider `speaker` send any body through its own link."""
    host = scene.sim.hosts[speaker]
    done = host.step(link, Told(SealBody(body)), scene.sim.now)
    for _, effect in done.effects:
        scene.sim.transmit(speaker, effect.peer, effect.data)  # type: ignore[union-attr]  # a link only sends
    scene.sim.run_for(1.0)


# ------------------------------------------------------------------ managers


@pytest.mark.parametrize("suite", [1, 17])
def test_AU01_AU04_AU05_nmauth_keys_a_link_in_which_the_initiator_is_the_device(suite: int) -> None:
    scene = two_operators(suite=suite)
    scene.open("d1", "d2")
    a1 = NmAuth1.decode(next(w for w in sent(scene, AUTH1) if len(w) > 200), sizes_of(suite))
    a2 = NmAuth2.decode(next(w for w in sent(scene, AUTH2) if len(w) > 200), sizes_of(suite))
    assert (a1.cred_I, a2.cred_R) == (scene.managers["nm1"].chain[0], scene.managers["nm2"].chain[0])
    ours = scene.sim.hosts["nm1"].cells[link_to_manager(NM2, started_here=True)]
    theirs = scene.sim.hosts["nm2"].cells[link_to_manager(NM1, started_here=False)]
    assert ours.keys.following == theirs.keys.following
    assert (ours.end.field_id, theirs.end.field_id, ours.end.own_part, theirs.end.own_part) == (NM1, NM1, 0, 1)


def test_AU02_a_manager_that_the_coordinator_does_not_know_is_not_answered() -> None:
    scene = two_operators()
    known = scene.sim.answer

    def answer(name: str, query: object) -> object | None:
        if isinstance(query, FindManager):
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, "no such manager")
        return known(name, query)

    scene.sim.answer = answer
    psid = scene.ask("d1", "d2")
    scene.sim.run_for(30.0)
    assert scene.ready("d1", psid) is None
    assert not [wire for wire in sent(scene, AUTH2) if len(wire) > 200]
    assert refused(scene, "nm2", "nmauth", ErrorCode.E_UNKNOWN_ID) >= 1


def test_AU03_a_device_credential_is_no_manager() -> None:
    scene = two_operators()
    psid, held = until_held(scene, AUTH1, "nm1")
    a1 = NmAuth1.decode(held[0].data, sizes_of(1))
    member = scene.membership("d1")
    assert member is not None
    scene.sim.inject("nm1", "nm2", replace(a1, cred_I=member.credential.raw).encode())
    scene.sim.run_for(1.0)
    assert refused(scene, "nm2", "nmauth", ErrorCode.E_CRED) == 1
    assert not sent(scene, AUTH2, "nm2")
    assert psid


@pytest.mark.parametrize(("mt", "source", "victim"), [(AUTH2, "nm2", "nm1"), (KEYREQ, "nm1", "nm2")])
def test_AU06_a_wrong_tag_or_a3_is_dropped_and_no_link_exists(mt: int, source: str, victim: str) -> None:
    scene = two_operators()
    _, held = until_held(scene, mt, source)
    scene.sim.inject(source, victim, flipped(held[0].data))
    scene.sim.run_for(1.0)
    assert refused(scene, victim, "nmauth", ErrorCode.E_AUTH) == 1
    assert link_to_manager(NM2, started_here=True) not in scene.sim.hosts["nm1"].cells or victim == "nm2"
    assert link_to_manager(NM1, started_here=False) not in scene.sim.hosts["nm2"].cells
    assert nmauth_of(b"whatever") not in scene.sim.hosts["nm1"].cells


def test_AU08_xcred_and_xshare_count_only_in_the_link_of_that_manager() -> None:
    scene = two_operators(homes={"d1": "nm1", "d2": "nm2", "d3": "nm1"})
    psid = scene.open("d1", "d2")
    member = scene.membership("d3")
    assert member is not None
    for body in (
        Xcred(b"newpsid1", member.credential.raw, D2, 1, b"").encode(),
        XshareRequest(psid, bytes(8), bytes(8)).encode(),
    ):
        before = dict(scene.sim.hosts["nm1"].cells)
        say_in_link(scene, "d3", OWN_LINK, body)
        assert refused(scene, "nm1", "link", ErrorCode.E_STATE) >= 1
        changed = {k for k, c in scene.sim.hosts["nm1"].cells.items() if before.get(k) is not c}
        assert not {key for key in changed if key.kind != "link"}


def test_PW02_the_request_waits_for_the_coordinator_and_ends_when_it_is_silent() -> None:
    scene = two_operators()
    scene.federation.coordinators[0].reachable = False
    psid = scene.ask("d1", "d2")
    scene.sim.run_for(30.0)
    (closed,) = scene.sim.heard("d1", SessionClosed)
    assert (closed.psid, closed.code) == (psid, ErrorCode.E_BUSY)


def test_CR05_CR06_a_manager_that_vouches_under_an_older_status_epoch_is_refused_also_after_a_reboot() -> None:
    scene = two_operators(homes={"d1": "nm1", "d2": "nm2", "d3": "nm2"})
    scene.open("d1", "d2")
    scene.sim.command("nm2", enrolment_of(identity("d3")), RevokeDevice(0))
    scene.open("d1", "d2")
    peer = scene.sim.hosts["nm1"].cells[peer_manager(NM2)]
    assert isinstance(peer, PeerCell)
    assert peer.epoch == 2
    scene.sim.reboot("nm1")
    scene.sim.run_for(2.0)
    own = scene.sim.hosts["nm2"].cells[OWN]
    scene.sim.hosts["nm2"].cells[OWN] = replace(own, status_epoch=1)
    psid = scene.ask("d1", "d2")
    scene.sim.run_for(30.0)
    assert scene.ready("d1", psid) is None
    assert refused(scene, "nm1", "peer", ErrorCode.E_CRED) >= 1


def calls_of_managers(scene: Scene) -> int:
    return len({wire for wire in sent(scene, AUTH1, "nm1") if len(wire) > 200})


def test_AU09_one_lost_answer_does_not_cost_a_link_that_works() -> None:
    scene = two_operators()
    scene.open("d1", "d2")
    lost: list[Datagram] = []

    def lose_the_first_answer(datagram: Datagram) -> list[Datagram]:
        if not lost and (datagram.source, datagram.target) == ("nm2", "nm1"):
            lost.append(datagram)
            return []
        return [datagram]

    scene.sim.adversary = lose_the_first_answer
    psid = scene.ask("d1", "d2")
    assert scene.sim.run_until(lambda: scene.ready("d1", psid) is not None, 8.0)
    assert lost
    assert calls_of_managers(scene) == 1


def test_AU09_forty_sessions_wait_for_one_nmauth_and_none_is_refused() -> None:
    scene = two_operators()
    _, held = until_held(scene, AUTH1, "nm1")
    psids = [scene.ask("d1", "d2") for _ in range(39)]
    scene.sim.run_for(1.0)
    assert refused(scene, "nm1", "session", ErrorCode.E_BUSY) == 0
    scene.sim.adversary = honest
    scene.sim.inject("nm1", "nm2", held[0].data)
    scene.sim.run_for(1.0)
    assert all(isinstance(scene.session("nm1", psid), Register) for psid in psids)
    assert calls_of_managers(scene) == 1


def test_AU09_a_link_that_stays_silent_is_replaced() -> None:
    scene = two_operators()
    scene.open("d1", "d2")
    del scene.sim.hosts["nm2"].cells[link_to_manager(NM1, started_here=False)]
    psid = scene.ask("d1", "d2")
    assert scene.sim.run_until(lambda: scene.ready("d1", psid) is not None, 13.0)
    assert calls_of_managers(scene) == 2


# ------------------------------------------------------------------ introductions


def test_PW03_PW04_A16_a_manager_cannot_substitute_the_peer() -> None:
    scene = two_operators(homes={"d1": "nm1", "d2": "nm2", "d3": "nm1"})
    psid = scene.ask("d1", "d2")
    own = scene.membership("d3")
    assert own is not None
    foreign = scene.managers["nm2"].chain
    for number, wrong in enumerate(
        (
            Peercred(psid, 1, own.credential.raw, *scene.managers["nm1"].chain[:2]),  # honest chain of another device
            Peercred(psid, 1, own.credential.raw, *foreign[:2]),  # not signed by that manager
            Peercred(psid, 2, own.credential.raw, *foreign[:2]),  # another role
            Peercred(psid, 1, own.credential.raw, foreign[0]),  # a chain that ends nowhere
        )
    ):
        twin = scene.sim.fork(f"lie {number}")
        host = twin.hosts["d1"]
        body = LinkBody(OWN_LINK, NM1, "nm1", wrong.encode())
        host.step(CellKey("enrolment", b""), Told(body), twin.now)
        closed = [r for _, _, r in host.reports if isinstance(r, SessionClosed)]
        assert [c.code for c in closed] in ([ErrorCode.E_CRED], [ErrorCode.E_STATE])
        assert session_of(psid) not in host.cells


def test_PW05_compact_needs_the_word_of_the_device_or_of_its_owner() -> None:
    strict = two_operators(accept_compact=False)
    psid = strict.ask("d1", "d2", compact=True)
    strict.sim.run_for(30.0)
    assert strict.ready("d2", psid) is None
    assert strict.sim.hosts["d2"].refused["session", ErrorCode.E_CRED] == 1
    scene = two_operators(accept_compact=True, policy=replace(AT_ONCE, allow_compact=False))
    full = scene.open("d1", "d2", compact=True)
    assert scene.ready("d2", full).peer_id == D1  # type: ignore[union-attr]  # only the full form says who it is


def test_PW06_a_device_has_no_session_with_itself() -> None:
    scene = two_operators()
    psid = scene.ask("d1", "d1")
    scene.sim.run_for(3.0)
    (closed,) = scene.sim.heard("d1", SessionClosed)
    assert (closed.psid, closed.code) == (psid, ErrorCode.E_STATE)


# ------------------------------------------------------------------ between the devices


def test_PW08_PW10_PW11_PW12_the_handshake_is_what_the_text_computes() -> None:
    scene = two_operators()
    psid, held = until_held(scene, KEYREQ, "d1")
    suite = scene.suite
    responder, initiator = scene.membership("d2"), scene.membership("d1")
    assert responder is not None
    assert initiator is not None
    a1 = Auth1.decode(sent(scene, AUTH1, "d1")[-1], sizes_of(1))
    state = scene.session("d1", psid)
    assert isinstance(state, AwaitA4)
    N_I = suite.sub(Point(a1.C2R), suite.mul(responder.d, Point(a1.C1R)))
    a2 = Auth2.decode(sent(scene, AUTH2, "d2")[-1], sizes_of(1))
    N_R = suite.sub(Point(a2.C2I), suite.mul(initiator.d, Point(a2.C1I)))
    on_air = b"".join(datagram.data for datagram in scene.sim.air)
    assert N_I not in on_air
    assert N_R not in on_air
    assert state.aV not in on_air
    (half,) = scene.session("d2", psid).contexts
    assert half.channel.open("A/k3", Keyreq.decode(held[0].data, sizes_of(1)).ct) == state.aV


@pytest.mark.parametrize(
    ("mt", "source", "victim", "stays"),
    [
        (AUTH2, "d2", "d1", AwaitA2),
        (KEYREQ, "d1", "d2", AwaitA3),
        (KEYRESP, "d2", "d1", AwaitA4),
        (FIN1, "d1", "d2", AwaitFin),
        (FIN2, "d2", "d1", AwaitFin),
    ],
)
def test_PW29_PW41_bad_tags_are_counted_not_answered_and_sixteen_end_the_answers(
    mt: int, source: str, victim: str, stays: type
) -> None:
    scene = two_operators()
    psid, held = until_held(scene, mt, source)
    assert isinstance(scene.session(victim, psid), stays)
    scene.sim.run_for(0.5)
    before = len(scene.sim.air)
    scene.sim.inject(source, victim, flipped(held[0].data))
    scene.sim.run_for(0.2)
    assert isinstance(scene.session(victim, psid), stays)
    assert scene.session(victim, psid).bad == 1
    assert refused(scene, victim, "session", ErrorCode.E_AUTH) == 1
    assert len(scene.sim.air) == before
    for n in range(2, 18):
        scene.sim.inject(source, victim, held[0].data[:-1] + bytes([held[0].data[-1] ^ n]))
    scene.sim.inject(source, victim, held[0].data)
    scene.sim.run_for(0.2)
    assert isinstance(scene.session(victim, psid), stays)
    assert refused(scene, victim, "session", ErrorCode.E_LIMIT) >= 1
    scene.sim.run_for(90.0)
    assert [c.code for c in scene.sim.heard(victim, SessionClosed)] == [ErrorCode.E_AUTH]


def test_PW27_DS09_a_responder_keeps_three_contexts_a_session_and_eight_in_all() -> None:
    scene = two_operators()
    psid, held = until_held(scene, AUTH1, "d1")
    genuine = Auth1.decode(held[0].data, sizes_of(1))
    ours = scene.suite
    for n in range(4):
        X = ours.base_mul(ours.hash_to_scalar(bytes([n])))
        scene.sim.inject("bot", "d2", replace(genuine, X_I=X).encode())
    scene.sim.run_for(0.3)
    assert len(scene.session("d2", psid).contexts) == 3
    assert refused(scene, "d2", "session", ErrorCode.E_LIMIT) == 1
    crowded = two_operators()
    psid, held = until_held(crowded, AUTH1, "d1")
    genuine = Auth1.decode(held[0].data, sizes_of(1))
    for n in range(2):
        X = ours.base_mul(ours.hash_to_scalar(bytes([n])))
        crowded.sim.inject("bot", "d2", replace(genuine, X_I=X).encode())
    crowded.sim.adversary = honest
    assert crowded.sim.run_until(lambda: crowded.ready("d1", psid) is not None, 20.0)  # the one whose A3 opens wins


def test_DS09_eight_half_open_contexts_in_all() -> None:
    scene = two_operators()
    held, scene.sim.adversary = hold(AUTH1, "d1")
    psids = [scene.ask("d1", "d2") for _ in range(4)]
    scene.sim.run_until(lambda: len({d.data[3:11] for d in held}) == 4, 20.0)
    ours = scene.suite
    for psid in psids:
        genuine = next(Auth1.decode(d.data, sizes_of(1)) for d in held if psid in d.data)
        for n in range(3):
            X = ours.base_mul(ours.hash_to_scalar(bytes([n])))
            scene.sim.inject("bot", "d2", replace(genuine, X_I=X).encode())
    scene.sim.run_for(0.2)
    states = [scene.session("d2", psid) for psid in psids]
    assert sum(len(state.contexts) for state in states if isinstance(state, AwaitA3)) == 8
    assert refused(scene, "d2", "session", ErrorCode.E_LIMIT) == 4
    scene.sim.run_for(90.0)
    assert scene.devices["d2"].tally is not None
    assert [scene.session("d2", psid) for psid in psids] == [None] * 4
    scene.sim.adversary = honest
    scene.open("d1", "d2")


@pytest.mark.parametrize("mt", [AUTH1, KEYREQ, FIN1])
def test_PW28_CM22_a_repetition_gets_the_identical_answer_for_a_minute(mt: int) -> None:
    scene = two_operators()
    psid = scene.open("d1", "d2")
    answer = {AUTH1: AUTH2, KEYREQ: KEYRESP, FIN1: FIN2}[mt]
    (question,) = sent(scene, mt, "d1")
    (once,) = sent(scene, answer, "d2")
    scene.sim.inject("d1", "d2", question)
    scene.sim.run_for(1.0)
    assert sent(scene, answer, "d2") == [once, once]
    scene.sim.run_for(61.0)
    scene.sim.inject("d1", "d2", question)
    scene.sim.run_for(1.0)
    assert sent(scene, answer, "d2") == [once, once]
    assert refused(scene, "d2", "session", ErrorCode.E_STATE) == 1
    assert isinstance(scene.session("d2", psid), Open)
    assert scene.witness.reused == []


# ------------------------------------------------------------------ shares


def test_PW14_PW15_PW16_PW22_a_share_opens_for_its_session_pair_target_and_manager_alone() -> None:
    scene = two_operators()
    psid, held = until_held(scene, FIN1, "d1")
    waiting = scene.session("d1", psid)
    parties, suite = waiting.parties, scene.suite
    register = scene.sim.hosts["nm1"].cells[session_of(psid)]
    other = scene.sim.hosts["nm2"].cells[session_of(psid)]
    k_nm = other.shares.k_nm
    b = share_scalar(suite, k_nm, psid, parties.kid_I, parties.kid_R)
    assert register.shares.foreign is not None
    own_k = register.shares.k_nm
    own = suite.mul(share_scalar(suite, own_k, psid, parties.kid_I, parties.kid_R), Point(register.I.W))
    answer = Shresp(psid, own, register.shares.foreign)
    shares = opened_shares(suite, parties, answer)
    assert shares.foreign == suite.mul(b, Point(other.R.W))
    assert shares.own == own
    signer, kid = scene.managers["nm2"].signing, kid_of(scene.managers["nm2"].chain[0])
    ctx = share_context(psid, parties.kid_I, parties.kid_R, parties.kid_own, parties.kid_NM)
    claims = ShareClaims.decode(answer.share.payload, sizes_of(1))
    elsewhere = share_context(psid, parties.kid_R, parties.kid_I, parties.kid_own, parties.kid_NM)
    wrong = [
        replace(answer.share, kid=bytes(8)),
        replace(answer.share, signature=bytes(64)),
        sign1(scene.managers["nm1"].signing, 25, answer.share.payload, ctx=ctx, kid=kid),
        sign1(signer, 25, answer.share.payload, ctx=elsewhere, kid=kid),
        sign1(signer, 25, replace(claims, psid=b"another1").encode(), ctx=ctx, kid=kid),
        sign1(signer, 25, replace(claims, ct=flipped(claims.ct)).encode(), ctx=ctx, kid=kid),
    ]
    for share in wrong:
        with pytest.raises(PeerFault) as refusal:
            opened_shares(suite, parties, replace(answer, share=share))
        assert refusal.value.code is ErrorCode.E_AUTH
    with pytest.raises(PeerFault) as refusal:
        opened_shares(suite, parties, replace(answer, own_share=bytes(32)))
    assert refusal.value.code is ErrorCode.E_POINT
    assert held


def test_CM14_PW22_a_share_that_does_not_check_ends_the_session_with_error_in_link() -> None:
    fresh = two_operators()
    held, fresh.sim.adversary = hold(LINK, "nm1")
    psid = fresh.ask("d1", "d2")
    fresh.sim.run_until(lambda: bool(held), 5.0)
    fresh.sim.adversary = honest
    fresh.sim.inject(held[-1].source, held[-1].target, held[-1].data)
    fresh.sim.run_until(lambda: isinstance(fresh.session("d1", psid), AwaitA2 | AwaitA4), 5.0)
    state = fresh.session("d1", psid)
    share = sign1(fresh.managers["nm2"].signing, 25, b"\x83", kid=state.parties.kid_NM)
    before = len(sent(fresh, LINK, "d1"))
    body = LinkBody(OWN_LINK, NM1, "nm1", Shresp(psid, state.parties.E1, share).encode())
    done = fresh.sim.hosts["d1"].step(session_of(psid), Told(body), fresh.sim.now)
    closed = [effect for _, effect in done.effects if isinstance(effect, SessionClosed)]
    assert [c.code for c in closed] == [ErrorCode.E_AUTH]
    assert len([effect for _, effect in done.effects if getattr(effect, "data", b"")[:3] == b"\x85\x12H"]) == 1
    assert before == len(sent(fresh, LINK, "d1"))


def test_PW17_the_share_key_rotates_daily_and_a_session_keeps_its_own() -> None:
    scene = two_operators(policy=RegistrarPolicy(joins_per_source_per_min=60))
    psid = scene.open("d1", "d2")
    first = scene.sim.hosts["nm1"].cells[session_of(psid)]
    scene.sim.run_for(86400.0 + 60.0)
    later = scene.sim.hosts["nm1"].cells[session_of(scene.open("d1", "d2"))]
    assert later.number == first.number + 1
    assert later.shares.k_nm != first.shares.k_nm
    own = scene.sim.hosts["nm1"].cells[OWN]
    assert [key.number for key in own.keys] == [1, 2]
    scene.sim.run_for(2 * 86400.0)
    scene.open("d1", "d2")
    assert [key.number for key in scene.sim.hosts["nm1"].cells[OWN].keys] == [2, 3]


def test_PW18_xshare_for_other_credentials_gets_no_share() -> None:
    scene = two_operators()
    psid = scene.open("d1", "d2")
    link = link_to_manager(NM2, started_here=True)
    register = scene.sim.hosts["nm1"].cells[session_of(psid)]
    for kids in ((register.R.kid, register.I.kid), (register.I.kid, bytes(8))):
        say_in_link(scene, "nm1", link, XshareRequest(psid, *kids).encode())
    assert refused(scene, "nm2", "session", ErrorCode.E_CRED) == 2


@pytest.mark.parametrize("command", [SuspendDevice(), RevokeDevice(2)])
@pytest.mark.parametrize("whose", ["d1", "d2"])
def test_PW19_RV09_no_share_for_a_device_that_is_suspended_or_revoked(command: Any, whose: str) -> None:
    scene = two_operators()
    scene.sim.command(scene.homes[whose], enrolment_of(identity(whose)), command)
    psid = scene.ask("d1", "d2")
    scene.sim.run_for(5.0)
    (closed,) = scene.sim.heard("d1", SessionClosed)
    assert (closed.psid, closed.code) == (psid, ErrorCode.E_NOSHARE)


def test_PW21_S_is_the_sum_of_the_four_shares() -> None:
    scene = two_operators()
    psid, _ = until_held(scene, FIN1, "d1")
    one, other = scene.session("d1", psid), scene.session("d2", psid)
    assert isinstance(one, AwaitFin)
    assert isinstance(other, AwaitFin)
    assert one.agreement.KS == other.agreement.KS
    assert one.agreement.T == other.agreement.T


def test_PW31_CM13_an_error_of_the_own_manager_ends_that_session_alone() -> None:
    scene = two_operators()
    mine, other = scene.ask("d1", "d2"), scene.ask("d1", "d2")
    scene.sim.run_until(lambda: isinstance(scene.session("d1", mine), AwaitA2), 5.0)
    say_in_link(scene, "nm1", link_to_device(D1), Error(24, ErrorCode.E_NOSHARE, mine).encode())
    assert [(c.psid, c.code) for c in scene.sim.heard("d1", SessionClosed)] == [(mine, ErrorCode.E_NOSHARE)]
    assert scene.sim.run_until(lambda: scene.ready("d1", other) is not None, 10.0)
    assert not [d for d in scene.sim.air if peek(d.data)[0] == Error.mt]


def test_PW39_PW40_long_term_secrets_are_not_in_the_open_session_and_keys_never_repeat() -> None:
    scene = two_operators()
    keys = set()
    for _ in range(4):
        psid = scene.open("d1", "d2")
        ready = scene.ready("d1", psid)
        assert ready is not None
        keys.add(ready.keys.oscore_ms.expose())
        state = scene.session("d1", psid)
        member = scene.membership("d1")
        assert member is not None
        assert not hasattr(state, "parties")
        assert member.d.expose() not in repr(state).encode()
    assert len(keys) == 4


# ------------------------------------------------------------------ revocation


def test_RV01_RV04_RV05_RV06_one_report_ends_the_session_everywhere_with_signed_notes() -> None:
    scene = two_operators()
    psid = scene.open("d1", "d2")
    ready = scene.ready("d1", psid)
    assert ready is not None
    scene.sim.command("d2", session_of(psid), RevokeSession(2))
    scene.sim.run_for(1.0)
    assert scene.session("d1", psid) is scene.session("d2", psid) is None
    assert [(c.psid, c.revoked) for c in scene.sim.heard("d1", SessionClosed)] == [(psid, True)]
    for manager, coordinator in zip(("nm1", "nm2"), scene.federation.coordinators, strict=True):
        cell = scene.sim.hosts[manager].cells[session_of(psid)]
        assert isinstance(cell, Dead)
        (note,) = coordinator.notes
        envelope = Revnote.decode(note, sizes_of(1)).envelope
        context = scene.managers[manager]
        key = scene.suite.verify_key(context.signing.public)
        claims = RevnoteClaims.decode(envelope.check(key, 30), sizes_of(1))
        assert (claims.psid, claims.key_id, claims.reason) == (psid, ready.keys.key_id, 2)
        assert envelope.kid == kid_of(context.chain[0])
    scene.open("d1", "d2")  # RV-07: the credential lives


def test_RV02_RV03_a_repeated_counter_or_an_unknown_reason_changes_nothing() -> None:
    scene = two_operators()
    psid, other = scene.open("d1", "d2"), scene.open("d1", "d2")
    scene.sim.command("d1", session_of(psid), RevokeSession(1))
    scene.sim.run_for(1.0)
    scene.sim.reboot("nm1")
    scene.sim.run_for(2.0)
    say_in_link(scene, "d1", OWN_LINK, Revoke(other, bytes(8), 1, bytes(8), 1).encode())
    scene.sim.run_for(3.0)
    assert isinstance(scene.sim.hosts["nm1"].cells[session_of(other)], Register)
    say_in_link(scene, "d1", OWN_LINK, Revoke(other, bytes(8), 9, bytes(8), 2).encode())
    scene.sim.run_for(3.0)
    assert isinstance(scene.sim.hosts["nm1"].cells[session_of(other)], Register)
    say_in_link(scene, "d1", OWN_LINK, Revoke(other, bytes(8), 1, bytes(8), 3).encode())
    scene.sim.run_for(3.0)
    assert isinstance(scene.sim.hosts["nm1"].cells[session_of(other)], Dead)


def test_RV01_A17_a_device_revokes_only_sessions_of_its_own() -> None:
    scene = two_operators(homes={"d1": "nm1", "d2": "nm2", "d3": "nm1"})
    psid = scene.open("d1", "d2")
    say_in_link(scene, "d3", OWN_LINK, Revoke(psid, bytes(8), 2, bytes(8), 1).encode())
    assert isinstance(scene.sim.hosts["nm1"].cells[session_of(psid)], Register)
    assert isinstance(scene.session("d1", psid), Open)
    assert refused(scene, "nm1", "session", ErrorCode.E_STATE) == 1


def test_RV05_a_forged_note_changes_nothing() -> None:
    scene = two_operators()
    psid = scene.open("d1", "d2")
    claims = RevnoteClaims(psid, bytes(8), 2, bytes(8), 0).encode()
    for signer, kid in (("nm1", "nm2"), ("nm2", "nm2")):
        note = Revnote(sign1(scene.managers[signer].signing, 30, claims, kid=kid_of(scene.managers[kid].chain[0])))
        broken = replace(note, envelope=replace(note.envelope, signature=flipped(note.envelope.signature)))
        say_in_link(scene, "nm2", link_to_manager(NM1, started_here=False), broken.encode())
        assert isinstance(scene.sim.hosts["nm1"].cells[session_of(psid)], Register)
        say_in_link(scene, "nm1", link_to_device(D1), broken.encode())
        assert isinstance(scene.session("d1", psid), Open)


def test_RV08_RV09_RV10_revoking_a_device_ends_its_sessions_once_and_raises_the_status_epoch() -> None:
    scene = two_operators(homes={"d1": "nm1", "d2": "nm2", "d3": "nm2"})
    gone, stays = [scene.open("d1", "d2"), scene.open("d2", "d1")], scene.open("d1", "d3")
    epoch = scene.sim.hosts["nm2"].cells[OWN].status_epoch
    for _ in range(2):
        scene.sim.command("nm2", enrolment_of(D2), RevokeDevice(2))
        scene.sim.run_for(1.0)
    assert scene.sim.hosts["nm2"].cells[OWN].status_epoch == epoch + 1
    for psid in gone:
        assert scene.session("d1", psid) is scene.session("d2", psid) is None
        for manager in ("nm1", "nm2"):
            assert len([r for r in scene.sim.heard(manager, SessionRevoked) if r.psid == psid]) == 1
    assert isinstance(scene.session("d1", stays), Open)
    assert {c.psid for c in scene.sim.heard("d1", SessionClosed)} == set(gone)


def test_DR09_a_manager_that_restarts_mid_session_still_gives_its_share() -> None:
    scene = two_operators()
    psid, held = until_held(scene, KEYRESP, "d2")
    scene.sim.reboot("nm1")
    scene.sim.run_for(0.5)
    scene.sim.adversary = honest
    assert scene.sim.run_until(lambda: scene.ready("d1", psid) is not None, 30.0)
    assert held
    assert scene.ready("d2", psid).keys == scene.ready("d1", psid).keys  # type: ignore[union-attr]


def test_PW30_AwaitA1_ends_after_a_minute_and_nobody_is_told() -> None:
    scene = two_operators()
    psid, _ = until_held(scene, AUTH1, "d1")
    scene.sim.run_until(lambda: isinstance(scene.session("d2", psid), AwaitA1), 5.0)
    scene.sim.run_for(70.0)
    assert scene.session("d2", psid) is None
    assert scene.sim.heard("d2", KeyReady) == []
