"""The post-quantum profile between real engines: who runs it with whom, what it adds, and that nobody talks it away."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from keymote import cbor
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.hybrid import HybridKey, draw_seed
from keymote.crypto.secret import Secret
from keymote.engine.base import Refused, Send, Told
from keymote.engine.context import PostQuantum, RegistrarPolicy
from keymote.engine.faces import (
    OWN_ENROLMENT,
    Alarm,
    ExpectDevice,
    Provision,
    SessionClosed,
    SessionRegistered,
    enrolment_of,
    session_of,
)
from keymote.engine.hybrid import published
from keymote.engine.link_faces import OWN_LINK, LinkBody, SealBody, link_to_manager
from keymote.engine.pairwise.register import Register
from keymote.engine.pairwise.states import AwaitShares
from keymote.errors import ErrorCode
from keymote.lab.scene_founding import two_operators
from keymote.lab.scenes import Scene, identity
from keymote.lab.simulator import Datagram
from keymote.lab.simulator.tape import Tape
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import Link, NmAuth1, NmAuth2, Shresp, Xcred
from keymote.wire.registry import peek

OFF, ON, REQUIRED = (
    RegistrarPolicy(joins_per_source_per_min=60, post_quantum=profile)
    for profile in (PostQuantum.OFF, PostQuantum.ON, PostQuantum.REQUIRED)
)
ONE_MANAGER = {"d1": "nm1", "d2": "nm1"}


def scene_of(one: RegistrarPolicy, other: RegistrarPolicy, **rest: Any) -> Scene:
    return two_operators(policies={"nm1": one, "nm2": other}, **rest)


def refusals(scene: Scene, name: str) -> list[ErrorCode]:
    return [refused.code for refused in scene.sim.heard(name, Refused)]


def closed(scene: Scene, name: str, psid: bytes) -> ErrorCode | None:
    assert scene.sim.run_until(lambda: any(each.psid == psid for each in scene.sim.heard(name, SessionClosed)), 60.0), (
        "the application heard nothing"
    )
    return next(each.code for each in scene.sim.heard(name, SessionClosed) if each.psid == psid)


def shares(scene: Scene, name: str, psid: bytes) -> tuple[bytes, bytes]:
    """Return (κ1, κ2) as a manager of this session holds them."""
    cell = scene.session(name, psid)
    assert isinstance(cell, Register)
    return cell.shares.kappa1, cell.shares.kappa2


def equal_keys(scene: Scene, psid: bytes) -> bool:
    one, other = scene.ready("d1", psid), scene.ready("d2", psid)
    return one is not None and other is not None and one.keys == other.keys


# ------------------------------------------------------------------ what it adds


@pytest.mark.parametrize("suite", [1, 17])
@pytest.mark.parametrize("fast", [False, True])
def test_PQ01_AU07_both_shares_reach_both_managers_and_both_devices(suite: int, fast: bool) -> None:
    scene = two_operators(suite=suite, policy=ON)
    psid = scene.open("d1", "d2", fast=fast)
    assert equal_keys(scene, psid)
    kappa1, kappa2 = shares(scene, "nm1", psid)
    assert (kappa1, kappa2) == shares(scene, "nm2", psid)
    assert len({kappa1, kappa2}) == 2
    assert {len(kappa1), len(kappa2)} == {32}
    assert scene.sim.heard("nm1", SessionRegistered)[-1].post_quantum
    assert not [sent for sent in scene.sim.air if kappa1 in sent.data or kappa2 in sent.data]


def test_PQ01_one_manager_for_both_draws_both_shares() -> None:
    scene = two_operators(homes=ONE_MANAGER, policy=REQUIRED)
    psid = scene.open("d1", "d2")
    assert equal_keys(scene, psid)
    assert len(set(shares(scene, "nm1", psid))) == 2


def test_PQ01_what_it_costs_on_the_air() -> None:
    def octets(policy: RegistrarPolicy) -> tuple[int, int]:
        scene = two_operators(policy=policy)
        scene.open("d1", "d2")
        sizes = {
            type_of(sent): len(sent.data) for sent in scene.sim.air if {sent.source, sent.target} == {"nm1", "nm2"}
        }
        records = [len(sent.data) for sent in scene.sim.air if sent.target == "d1" and type_of(sent) == Link.mt]
        return sizes[NmAuth1.mt], max(records[-1:])

    (a1, shresp), (a1_pq, shresp_pq) = octets(OFF), octets(ON)
    assert a1_pq - a1 == 1168 + 2  # the length of ct_κ takes three bytes instead of one
    assert shresp_pq - shresp == 68 + 1  # two byte strings of 32, and LINK's own length grows by one


def type_of(sent: Datagram) -> int:
    return peek(sent.data)[0]


# ------------------------------------------------------------------ who runs it with whom


@pytest.mark.parametrize(
    ("one", "other", "hybrid"),
    [(OFF, OFF, False), (ON, ON, True), (ON, REQUIRED, True), (REQUIRED, ON, True), (ON, OFF, False), (OFF, ON, False)],
)
def test_PQ02_the_profile_runs_exactly_if_both_have_it(
    one: RegistrarPolicy, other: RegistrarPolicy, hybrid: bool
) -> None:
    scene = scene_of(one, other)
    psid = scene.open("d1", "d2")
    assert equal_keys(scene, psid)
    assert [bool(kappa) for kappa in shares(scene, "nm1", psid)] == [hybrid, hybrid]
    assert scene.sim.heard("nm2", SessionRegistered)[-1].post_quantum is hybrid


def test_PQ04_a_manager_that_demands_it_refuses_one_that_lacks_it_before_anything_is_sent() -> None:
    scene = scene_of(REQUIRED, OFF)
    scene.sim.air.clear()
    assert closed(scene, "d1", scene.ask("d1", "d2")) is ErrorCode.E_SUITE
    assert not [sent for sent in scene.sim.air if sent.target == "nm2"]
    told = next(each for each in scene.sim.heard("nm1", Refused) if each.code is ErrorCode.E_SUITE)
    assert "post-quantum" in told.what


def test_PQ04_a_manager_that_demands_it_does_not_answer_a_caller_without_it() -> None:
    scene = scene_of(OFF, REQUIRED)
    assert closed(scene, "d1", scene.ask("d1", "d2")) is ErrorCode.E_TIMEOUT
    assert ErrorCode.E_SUITE in refusals(scene, "nm2")
    assert scene.sim.hosts["nm2"].cells.get(link_to_manager(identity("nm1"), started_here=False)) is None


@pytest.mark.parametrize("demanded", [False, True])
def test_PQ04_a_device_that_demands_it_refuses_shares_without_it(demanded: bool) -> None:
    scene = scene_of(OFF, OFF)
    scene.devices["d1"] = replace(scene.devices["d1"], post_quantum=demanded)
    scene.sim.reboot("d1")
    psid = scene.ask("d1", "d2")
    scene.sim.run_for(5.0)
    assert equal_keys(scene, psid) is not demanded
    if demanded:
        assert closed(scene, "d1", psid) is ErrorCode.E_SUITE


def test_PQ04_a_device_that_demands_it_opens_where_it_is() -> None:
    scene = scene_of(ON, ON)
    scene.devices["d1"] = replace(scene.devices["d1"], post_quantum=True)
    scene.sim.reboot("d1")
    assert equal_keys(scene, scene.open("d1", "d2"))


# ------------------------------------------------------------------ nobody talks it away


def without_kappa(mt: type[NmAuth1] | type[NmAuth2], suite: int = 1) -> Any:
    def adversary(sent: Datagram) -> Iterable[Datagram]:
        if type_of(sent) == mt.mt and len(sent.data) > 1168:
            message: Any = mt.decode(sent.data, sizes_of(suite))
            sent = replace(sent, data=replace(message, ct_kappa=b"").encode())
        return (sent,)

    return adversary


@pytest.mark.parametrize(
    ("mt", "who", "code"), [(NmAuth1, "nm2", ErrorCode.E_SUITE), (NmAuth2, "nm1", ErrorCode.E_AUTH)]
)
def test_PQ02_a_share_taken_off_the_air_ends_the_run_and_downgrades_nobody(
    mt: type[NmAuth1] | type[NmAuth2], who: str, code: ErrorCode
) -> None:
    scene = scene_of(ON, ON)
    scene.sim.adversary = without_kappa(mt)
    psid = scene.ask("d1", "d2")
    assert closed(scene, "d1", psid) is ErrorCode.E_TIMEOUT
    assert code in refusals(scene, who)
    assert not equal_keys(scene, psid)


def test_PQ02_an_honest_peer_that_leaves_its_share_out_is_refused() -> None:
    """nm2 has published a key and answers, authentically, as if it had none."""
    scene = scene_of(ON, ON)
    nm2 = scene.managers["nm2"]
    scene.managers["nm2"] = replace(nm2, policy=OFF)
    scene.sim.reboot("nm2")
    psid = scene.ask("d1", "d2")
    assert closed(scene, "d1", psid) is ErrorCode.E_TIMEOUT
    assert ErrorCode.E_SUITE in refusals(scene, "nm2")


@pytest.mark.parametrize("by", ["nm2", "nm1"])
def test_PQ03_a_key_that_the_coordinator_exchanged_is_refused(by: str) -> None:
    scene = scene_of(ON, ON)
    stranger = HybridKey.of(draw_seed(SeededEntropy(b"stranger")))
    register = scene.federation.coordinators[1].managers
    own = {"nm2": scene.managers["nm1"], "nm1": scene.managers["nm1"]}[by]
    forged = published(stranger.public, identity(by), own.signing)
    register["nm2"] = replace(register["nm2"], hybrid_key=forged)
    expected = ErrorCode.E_AUTH  # signed by nm1 in either name: nm2's key did not sign it
    assert closed(scene, "d1", scene.ask("d1", "d2")) is expected


def test_PQ03_a_key_under_a_word_for_another_key_is_refused() -> None:
    scene = scene_of(ON, ON)
    register = scene.federation.coordinators[1].managers
    honest = register["nm2"].hybrid_key
    stranger = HybridKey.of(draw_seed(SeededEntropy(b"stranger")))
    register["nm2"] = replace(register["nm2"], hybrid_key=stranger.public + honest[1216:])
    assert closed(scene, "d1", scene.ask("d1", "d2")) is ErrorCode.E_CRED


# ------------------------------------------------------------------ links and restarts


def test_PQ06_a_link_without_shares_is_replaced_when_both_run_the_profile() -> None:
    scene = scene_of(OFF, OFF)
    scene.open("d1", "d2")
    for number, name in enumerate(("nm1", "nm2")):
        key = HybridKey.of(draw_seed(SeededEntropy(name.encode())))
        context = replace(scene.managers[name], policy=ON, hybrid=key)
        scene.managers[name] = context
        register = scene.federation.coordinators[number].managers
        word = published(key.public, context.id, context.signing)
        register[name] = replace(register[name], hybrid_key=word)
        scene.sim.reboot(name)
    calls = scene.sim.messages["nm1", NmAuth1.mt]
    psid = scene.open("d1", "d2")
    assert all(shares(scene, "nm1", psid))
    assert scene.sim.messages["nm1", NmAuth1.mt] == calls + 1
    scene.sim.reboot("nm1")
    scene.sim.run_for(1.0)
    assert all(shares(scene, "nm2", scene.open("d1", "d2")))
    assert scene.sim.messages["nm1", NmAuth1.mt] == calls + 1  # that the link is hybrid outlasts a restart


@pytest.mark.parametrize(("policy", "kappa"), [(OFF, bytes(range(32))), (ON, b"")])
def test_PQ06_a_share_in_xcred_and_the_link_that_carries_it_belong_together(
    policy: RegistrarPolicy, kappa: bytes
) -> None:
    """nm1 lies: its link was keyed without κ, and it says κ1 all the same; or the other way round."""
    scene = scene_of(policy, policy)
    scene.open("d1", "d2")
    member = scene.membership("d1")
    assert member is not None
    body = Xcred(b"new psid", member.credential.raw, identity("d2"), 1, kappa).encode()
    link = link_to_manager(identity("nm2"), started_here=True)
    for _, effect in scene.sim.hosts["nm1"].step(link, Told(SealBody(body)), scene.sim.now).effects:
        assert isinstance(effect, Send)
        scene.sim.inject("nm1", "nm2", effect.data)
    scene.sim.run_for(1.0)
    assert refusals(scene, "nm2")[-1] is ErrorCode.E_SUITE
    assert scene.session("nm2", b"new psid") is None


@pytest.mark.parametrize("name", ["nm1", "nm2"])
def test_PQ07_after_a_restart_of_a_manager_there_are_no_shares_rather_than_shares_without_kappa(name: str) -> None:
    scene = scene_of(ON, ON)
    psid = scene.ask("d1", "d2")
    waits = "d1" if name == "nm1" else "d2"
    assert scene.sim.run_until(lambda: isinstance(scene.session(waits, psid), AwaitShares), 10.0)
    scene.sim.reboot(name)
    assert closed(scene, waits, psid) is ErrorCode.E_NOSHARE
    assert not equal_keys(scene, psid)
    assert equal_keys(scene, scene.open("d1", "d2"))  # the application asks again


def test_PQ08_one_share_of_two_is_refused() -> None:
    scene = scene_of(ON, ON)
    psid = scene.ask("d1", "d2")
    assert scene.sim.run_until(lambda: isinstance(scene.session("d1", psid), AwaitShares), 10.0)
    future = scene.fork("honest")
    future.sim.run_for(5.0)
    assert equal_keys(future, psid)
    cell = future.session("nm1", psid)
    assert isinstance(cell, Register)
    assert cell.I.bW is not None
    assert cell.shares.foreign is not None
    for kappas, stopped in (((cell.shares.kappa1, cell.shares.kappa2), False), ((cell.shares.kappa1,), True)):
        body = Shresp(psid, cell.I.bW, cell.shares.foreign, *kappas).encode()
        heard = Told(LinkBody(OWN_LINK, identity("nm1"), "nm1", body))
        done = scene.fork(str(stopped)).sim.hosts["d1"].step(session_of(psid), heard, scene.sim.now)
        ends = [effect.code for _, effect in done.effects if isinstance(effect, SessionClosed)]
        assert ends == ([ErrorCode.E_FORMAT] if stopped else [])


# ------------------------------------------------------------------ short codes


@pytest.mark.parametrize(
    ("policy", "alarmed", "refused"), [(OFF, False, False), (ON, True, False), (REQUIRED, False, True)]
)
def test_PQ05_a_short_code_is_warned_of_or_refused(policy: RegistrarPolicy, alarmed: bool, refused: bool) -> None:
    scene = scene_of(policy, policy, enrolled=False)
    told = scene.sim.command(
        "nm1", enrolment_of(identity("d1")), ExpectDevice(identity("d1"), Secret(b"12345678"), weak=True)
    )
    assert any(isinstance(each, Alarm) and each.name == "weak-code" for each in told) is alarmed
    assert any(isinstance(each, Refused) and each.code is ErrorCode.E_SUITE for each in told) is refused
    assert (enrolment_of(identity("d1")) in scene.sim.hosts["nm1"].cells) is not refused


@pytest.mark.parametrize(("asker", "peer"), [("d1", "d2"), ("d2", "d1")])
def test_PQ05_a_device_that_enrolled_with_a_short_code_gets_no_session_where_the_profile_is_demanded(
    asker: str, peer: str
) -> None:
    scene = scene_of(ON, ON, enrolled=False)
    prs = Secret(cbor.encode([b"12345678", b""]))
    scene.sim.command("nm1", enrolment_of(identity("d1")), ExpectDevice(identity("d1"), prs, weak=True))
    scene.sim.command("d1", OWN_ENROLMENT, Provision(prs))
    scene.greet("d1")
    scene.enrol("d2")
    assert equal_keys(scene, scene.open("d1", "d2"))
    scene.managers["nm1"] = replace(scene.managers["nm1"], policy=REQUIRED)
    scene.sim.reboot("nm1")
    assert closed(scene, asker, scene.ask(asker, peer)) is ErrorCode.E_SUITE


# ------------------------------------------------------------------ the same bytes


def test_DR13_with_a_tape_in_the_door_two_worlds_of_one_seed_are_the_same() -> None:
    def trace(tape: Tape) -> str:
        scene = two_operators(b"taped", policy=ON, door=tape)
        scene.open("d1", "d2")
        return scene.sim.trace

    tape = Tape()
    assert trace(tape) == trace(tape) != trace(Tape())
