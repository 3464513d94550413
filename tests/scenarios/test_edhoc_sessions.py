"""Sessions by EDHOC between real engines: every way through, the managers' shares, and that nobody talks it away."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from keymote.crypto.kdf import hkdf_expand
from keymote.engine.base import Now, Refused
from keymote.engine.context import Handshake, PostQuantum, RegistrarPolicy
from keymote.engine.edhoc import schedule
from keymote.engine.faces import Opened, SessionClosed
from keymote.engine.pairwise.edhoc import EAD_PSID, Channel
from keymote.engine.pairwise.parties import introduced
from keymote.engine.pairwise.states import AwaitFin, AwaitMessage2, AwaitMessage3, AwaitMessage4, AwaitShares, Open
from keymote.errors import ErrorCode, PeerFault
from keymote.lab.scene_founding import AT_ONCE, two_operators
from keymote.lab.scenes import Scene, identity
from keymote.lab.simulator import Channel as Air
from keymote.lab.simulator import Datagram
from keymote.wire.edhoc import Ead, Message1
from keymote.wire.fields import sizes_of
from keymote.wire.pairwise import EDHOC, Auth1, Edhoc1, Edhoc2, Edhoc3, Edhoc4, Fin1, Keyreq, Peercred
from keymote.wire.registry import peek

TWO_MANAGERS = {"d1": "nm1", "d2": "nm2"}
ONE_MANAGER = {"d1": "nm1", "d2": "nm1"}
EITHER = replace(AT_ONCE, handshakes=frozenset(Handshake))
both_suites = pytest.mark.parametrize("suite", [1, 17])


def scene_of(**how: object) -> Scene:
    return two_operators(handshake=Handshake.EDHOC, **how)  # type: ignore[arg-type]


def sent(scene: Scene, mt: int) -> list[bytes]:
    return [datagram.data for datagram in scene.sim.air if peek(datagram.data)[0] == mt]


def talk(scene: Scene, psid: bytes) -> None:
    for speaker, listener in (("d1", "d2"), ("d2", "d1")):
        assert scene.say(speaker, listener, psid, b"from " + speaker.encode()) is not None
        scene.sim.run_for(1.0)
        assert scene.sim.heard(listener, Opened)[-1].plaintext == b"from " + speaker.encode()


def closed(scene: Scene, name: str, psid: bytes) -> ErrorCode | None:
    def over() -> list[SessionClosed]:
        return [each for each in scene.sim.heard(name, SessionClosed) if each.psid == psid]

    assert scene.sim.run_until(lambda: bool(over()), 90.0), "the application heard nothing"
    return over()[0].code


def change(mt: int, changed: Callable[[bytes], bytes]) -> Callable[[Datagram], list[Datagram]]:
    return lambda sent: [replace(sent, data=changed(sent.data)) if peek(sent.data)[0] == mt else sent]


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


# ------------------------------------------------------------------ what comes out


@both_suites
@pytest.mark.parametrize("homes", [TWO_MANAGERS, ONE_MANAGER], ids=["two managers", "one manager"])
def test_ED15_every_path_opens_with_equal_keys(suite: int, homes: dict[str, str]) -> None:
    scene = scene_of(suite=suite, homes=homes)
    keys = set()
    for fast, compact, relayed in product((False, True), repeat=3):
        psid = scene.open("d1", "d2", fast=fast, compact=compact, relayed=relayed)
        one, other = scene.ready("d1", psid), scene.ready("d2", psid)
        assert one is not None and other is not None
        assert one.keys == other.keys
        assert (one.initiator, other.initiator) == (True, False)
        assert (one.peer_id, other.peer_id) == (identity("d2"), identity("d1"))
        talk(scene, psid)
        keys.add(one.keys.key_id)
    assert len(keys) == 8
    assert scene.witness.reused == []
    assert not sent(scene, Auth1.mt)[1:] and not sent(scene, Keyreq.mt)[1:]  # NMAUTH of the managers' meeting alone


@both_suites
def test_ED15_messages_between_devices_are_small_and_name_nobody(suite: int) -> None:
    scene = scene_of(suite=suite)
    psid = scene.open("d1", "d2")
    between = [each.data for each in scene.sim.air if {each.source, each.target} == {"d1", "d2"}]
    assert [peek(data)[0] for data in between] == [64, 65, 66, 67, 26, 27]
    point = 33 if suite == 17 else 32
    assert [len(data) for data in between] == [63, 116, 96 + point, 29 + point, 29, 29]
    names = [identity(name) for name in ("d1", "d2", "nm1", "nm2", "nc1", "nc2")]
    for name in ("d1", "d2"):
        member = scene.membership(name)
        assert member is not None
        names += [member.credential.kid, member.credential.claims.serial, member.credential.claims.sig_pk]
    assert not [data for data in between for name in names if name in data]
    call = Message1.decode(Edhoc1.decode(between[0], sizes_of(suite)).edhoc)
    assert (call.method, call.suites) == (0, (2 if suite == 17 else 0,))
    assert call.eads == (Ead(-EAD_PSID, psid),)


def before_fin(scene: Scene) -> tuple[bytes, AwaitShares, AwaitFin]:
    """Return a session whose initiator had all but the managers' shares, and now awaits FIN2."""
    scene.sim.adversary = lambda sent: [] if peek(sent.data)[0] == Fin1.mt else [sent]
    psid = scene.ask("d1", "d2")
    assert scene.sim.run_until(lambda: isinstance(scene.session("d1", psid), AwaitShares), 30.0)
    waiting = scene.session("d1", psid)
    assert scene.sim.run_until(lambda: isinstance(scene.session("d1", psid), AwaitFin), 30.0)
    return psid, waiting, scene.session("d1", psid)


@both_suites
@pytest.mark.parametrize("profile", [PostQuantum.OFF, PostQuantum.ON])
def test_ED16_the_four_shares_enter_by_the_key_update_and_oscore_is_exported(suite: int, profile: PostQuantum) -> None:
    """Computed here from what the states hold: PRK_out, aD1 V1 + aD2 V2, and both managers' shares."""
    scene = scene_of(suite=suite, policy=replace(AT_ONCE, post_quantum=profile))
    psid, waiting, fin = before_fin(scene)
    channel = waiting.channel
    assert isinstance(channel, Channel)
    managers = [scene.session(name, psid) for name in ("nm1", "nm2")]
    bW = [party.bW for cell in managers for party in cell.own]
    S = scene.suite.sum(waiting.aV, *bW)
    kappas = managers[0].shares.kappa1 + managers[0].shares.kappa2
    assert len(kappas) == (64 if profile is PostQuantum.ON else 0)
    updated = schedule.key_update(channel.session.PRK_out, S + kappas)
    exporter = schedule.prk_exporter(updated)
    keys = fin.agreement.export()
    assert keys.oscore_ms.expose() == hkdf_expand(exporter, b"\x00\x40\x10", 16)
    assert keys.oscore_salt == hkdf_expand(exporter, b"\x01\x40\x08", 8)
    assert fin.agreement.T == channel.session.TH_4
    oscore = channel.session.oscore()
    assert (oscore.sender_id, oscore.recipient_id) == (b"\x00", b"\x01")  # as Triad-1 2.8 numbers them
    assert keys.oscore_ms != oscore.master_secret


def test_ED16_without_both_managers_there_is_no_key() -> None:
    scene = scene_of()
    psid = scene.ask("d1", "d2")
    assert scene.sim.run_until(lambda: isinstance(scene.session("d1", psid), AwaitMessage4), 30.0)
    cell = scene.session("nm2", psid)
    scene.sim.hosts["nm2"].cells.pop(next(key for key, held in scene.sim.hosts["nm2"].cells.items() if held is cell))
    scene.sim.run_for(90.0)
    assert scene.ready("d1", psid) is None
    assert scene.ready("d2", psid) is None


# ------------------------------------------------------------------ who runs it with whom


def mixed(d1: Handshake, d2: Handshake, *, nm1: RegistrarPolicy = EITHER, nm2: RegistrarPolicy = EITHER) -> Scene:
    """Return a world whose devices and managers disagree: managers restart with the given policies."""
    scene = scene_of()
    for name, handshake in (("d1", d1), ("d2", d2)):
        scene.devices[name] = replace(scene.devices[name], handshake=handshake)
    for name, policy in (("nm1", nm1), ("nm2", nm2)):
        scene.managers[name] = replace(scene.managers[name], policy=policy)
    for name in ("d1", "d2", "nm1", "nm2"):
        scene.sim.reboot(name)
    return scene


@pytest.mark.parametrize("asker", [Handshake.TRIAD, Handshake.EDHOC])
def test_ED17_devices_that_disagree_open_nothing_and_both_hear_why(asker: Handshake) -> None:
    other = Handshake.EDHOC if asker is Handshake.TRIAD else Handshake.TRIAD
    scene = mixed(asker, other)
    psid = scene.ask("d1", "d2")
    assert closed(scene, "d1", psid) is ErrorCode.E_SUITE
    assert any(
        refused.code is ErrorCode.E_SUITE and "another handshake" in refused.what
        for refused in scene.sim.heard("d2", Refused)
    )
    assert scene.session("d2", psid) is None


@pytest.mark.parametrize("homes", [TWO_MANAGERS, ONE_MANAGER], ids=["two managers", "one manager"])
def test_ED17_managers_that_forbid_a_handshake_refuse_it(homes: dict[str, str]) -> None:
    only_triad = replace(AT_ONCE, handshakes=frozenset({Handshake.TRIAD}))
    for strict in set(homes.values()):
        scene = two_operators(homes=homes, handshake=Handshake.EDHOC)
        scene.managers[strict] = replace(scene.managers[strict], policy=only_triad)
        scene.sim.reboot(strict)
        assert closed(scene, "d1", scene.ask("d1", "d2")) is ErrorCode.E_SUITE
        assert any("edhoc" in refused.what for refused in scene.sim.heard(strict, Refused))
    assert RegistrarPolicy().handshakes == {Handshake.TRIAD}


@pytest.mark.parametrize("handshake", list(Handshake))
@pytest.mark.parametrize("role", [1, 2])
def test_ED17_a_manager_that_announces_another_handshake_is_refused(handshake: Handshake, role: int) -> None:
    scene = two_operators(handshake=handshake)
    own, peer = scene.membership("d1"), scene.membership("d2")
    assert own is not None and peer is not None
    true = role | (EDHOC if handshake is Handshake.EDHOC else 0)
    now = Now(0.0, 0)
    for said in (true, true ^ EDHOC):
        introduction = Peercred(bytes(8), said, peer.credential.raw, *peer.issuers)
        if said == true:
            parties = introduced(scene.devices["d1"], own, introduction, asked_compact=False, now=now)
            assert parties.initiator is (role == 1)
            continue
        with pytest.raises(PeerFault) as refused:
            introduced(scene.devices["d1"], own, introduction, asked_compact=False, now=now)
        assert refused.value.code is ErrorCode.E_SUITE


def test_ED17_a_call_by_the_other_handshake_is_dropped() -> None:
    by_edhoc, by_triad = scene_of(), two_operators()
    for scene, wire in (
        (by_edhoc, lambda psid: Auth1(psid, 1, bytes(32), bytes(32), bytes(32)).encode()),
        (by_triad, lambda psid: Edhoc1(psid, bytes(37)).encode()),
    ):
        scene.sim.adversary = lambda sent: [] if sent.target == "d2" and sent.source == "d1" else [sent]
        psid = scene.ask("d1", "d2")
        scene.sim.run_for(1.5)
        before = scene.session("d2", psid)
        scene.sim.inject("d1", "d2", wire(psid))
        scene.sim.run_for(0.2)
        assert scene.session("d2", psid) is before
        assert scene.sim.hosts["d2"].refused["session", ErrorCode.E_STATE] == 1


# ------------------------------------------------------------------ hard times


@pytest.mark.parametrize(
    ("mt", "victim", "state"),
    [(Edhoc2.mt, "d1", AwaitMessage2), (Edhoc3.mt, "d2", AwaitMessage3), (Edhoc4.mt, "d1", AwaitMessage4)],
)
def test_ED18_a_forged_message_is_counted_and_the_true_one_still_counts(mt: int, victim: str, state: type) -> None:
    scene = scene_of()
    held: list[Datagram] = []

    def hold(datagram: Datagram) -> list[Datagram]:
        if peek(datagram.data)[0] != mt:
            return [datagram]
        held.append(datagram)
        return []

    scene.sim.adversary = hold
    psid = scene.ask("d1", "d2", fast=True)
    assert scene.sim.run_until(lambda: bool(held), 30.0)
    true = held[0]
    for n in range(15):
        scene.sim.inject(
            true.source,
            true.target,
            true.data[: -1 - n] + bytes([true.data[-1 - n] ^ 1]) + true.data[len(true.data) - n :],
        )
    scene.sim.run_for(0.2)
    cell = scene.session(victim, psid)
    assert isinstance(cell, state)
    assert cell.bad == 15  # type: ignore[attr-defined]
    scene.sim.adversary = lambda sent: [sent]
    scene.sim.inject(true.source, true.target, true.data)
    assert scene.sim.run_until(lambda: scene.ready("d1", psid) is not None, 30.0)
    talk(scene, psid)


def test_ED18_the_sixteenth_forged_message_ends_the_answers() -> None:
    scene = scene_of()
    scene.sim.adversary = change(Edhoc2.mt, flipped)
    psid = scene.ask("d1", "d2")
    assert scene.sim.run_until(lambda: bool(sent(scene, Edhoc2.mt)), 30.0)
    true = sent(scene, Edhoc2.mt)[0]
    for _ in range(16):
        scene.sim.inject("d2", "d1", flipped(true))
    scene.sim.run_for(0.3)
    scene.sim.inject("d2", "d1", true)
    assert closed(scene, "d1", psid) is ErrorCode.E_AUTH
    assert not sent(scene, Edhoc3.mt)


def test_ED18_a_message_1_that_names_another_session_is_refused() -> None:
    scene = scene_of()
    scene.sim.adversary = lambda sent: [] if peek(sent.data)[0] == Edhoc1.mt else [sent]
    one, other = scene.ask("d1", "d2"), scene.ask("d1", "d2")
    assert scene.sim.run_until(lambda: len(set(sent(scene, Edhoc1.mt))) == 2, 30.0)
    call = next(data for data in sent(scene, Edhoc1.mt) if one in data)
    scene.sim.inject("d1", "d2", Edhoc1(other, Edhoc1.decode(call, sizes_of(1)).edhoc).encode())
    scene.sim.run_for(0.2)
    assert scene.sim.hosts["d2"].refused["session", ErrorCode.E_FORMAT] == 1
    assert not sent(scene, Edhoc2.mt)


def test_ED18_a_replayed_run_gets_no_session_and_no_new_answer() -> None:
    scene = scene_of()
    psid = scene.open("d1", "d2")
    recorded = [sent(scene, mt)[0] for mt in (Edhoc1.mt, Edhoc3.mt)]
    for data in recorded:
        scene.sim.inject("d1", "d2", data)
    scene.sim.run_for(1.0)
    assert isinstance(scene.session("d2", psid), Open)
    assert len(sent(scene, Edhoc2.mt)) > 1  # the identical cached answer, for a minute (PW-28)
    assert {len(set(sent(scene, mt))) for mt in (Edhoc2.mt, Edhoc4.mt)} == {1}
    scene.sim.run_for(120.0)
    before = {mt: len(sent(scene, mt)) for mt in (Edhoc2.mt, Edhoc4.mt)}
    for data in recorded:
        scene.sim.inject("d1", "d2", data)
    scene.sim.run_for(1.0)
    assert {mt: len(sent(scene, mt)) for mt in before} == before
    talk(scene, psid)


def test_ED18_a_responder_answers_three_callers_and_the_true_one_wins() -> None:
    scene = scene_of()
    held: list[Datagram] = []

    def hold(datagram: Datagram) -> list[Datagram]:
        if peek(datagram.data)[0] == Edhoc1.mt:
            held.append(datagram)
            return []
        return [datagram]

    scene.sim.adversary = hold
    psid = scene.ask("d1", "d2")
    assert scene.sim.run_until(lambda: bool(held), 30.0)
    true = Message1.decode(Edhoc1.decode(held[0].data, sizes_of(1)).edhoc)
    for n in (1, 2):
        forged = true._replace(G_X=bytes([n + 8]) + true.G_X[1:])
        scene.sim.inject("nobody", "d2", Edhoc1(psid, forged.encode()).encode())
    scene.sim.run_for(0.2)
    assert len(scene.session("d2", psid).contexts) == 2
    scene.sim.adversary = lambda sent: [sent]
    scene.sim.inject("d1", "d2", held[0].data)
    assert scene.sim.run_until(lambda: scene.ready("d1", psid) is not None, 30.0)
    talk(scene, psid)
    assert scene.tallies["d2"].half_open.total() == 0


@pytest.mark.parametrize("seed", range(4))
def test_ED18_on_a_bad_network_both_sides_hold_one_key_or_none(seed: int) -> None:
    scene = two_operators(
        b"bad %d" % seed,
        handshake=Handshake.EDHOC,
        channel=Air(latency_s=0.01, jitter_s=0.6, loss=0.1, duplication=0.15),
    )
    psids = [scene.ask("d1", "d2", fast=fast) for fast in (False, True, False, True)]
    scene.sim.run_for(120.0)
    opened = 0
    for psid in psids:
        one, other = scene.ready("d1", psid), scene.ready("d2", psid)
        if one is not None:
            assert other is not None and one.keys == other.keys
            opened += 1
    assert opened >= 1
