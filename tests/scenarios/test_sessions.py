"""Two devices get one key: every way through the session, in both groups, by the product's engines."""

from itertools import product

import pytest

from keymote.engine.faces import CloseSession, KeyReady, Opened, SessionClosed, session_of
from keymote.engine.pairwise.states import Open
from keymote.errors import ErrorCode
from keymote.lab.scene_founding import two_operators
from keymote.lab.scenes import Scene, identity
from keymote.lab.simulator import Channel

ONE_MANAGER = {"d1": "nm1", "d2": "nm1"}
TWO_MANAGERS = {"d1": "nm1", "d2": "nm2"}


def talk(scene: Scene, psid: bytes, one: str = "d1", other: str = "d2") -> None:
    """Let both sides say something that only this session can carry, and hear it."""
    for speaker, listener in ((one, other), (other, one)):
        assert scene.say(speaker, listener, psid, b"from " + speaker.encode()) is not None
        scene.sim.run_for(1.0)
        heard = scene.sim.heard(listener, Opened)[-1]
        assert (heard.psid, heard.plaintext) == (psid, b"from " + speaker.encode())


@pytest.mark.parametrize("suite", [1, 17])
@pytest.mark.parametrize("homes", [TWO_MANAGERS, ONE_MANAGER], ids=["two managers", "one manager"])
def test_PW25_PW20_PW26_every_path_opens_with_equal_keys(suite: int, homes: dict[str, str]) -> None:
    scene = two_operators(suite=suite, homes=homes, accept_compact=True)
    keys = set()
    for fast, compact, relayed in product((False, True), repeat=3):
        psid = scene.open("d1", "d2", fast=fast, compact=compact, relayed=relayed)
        one, other = scene.ready("d1", psid), scene.ready("d2", psid)
        assert one is not None
        assert other is not None
        assert one.keys == other.keys
        assert (one.initiator, other.initiator) == (True, False)
        assert one.peer_id == identity("d2")
        assert other.peer_id == (b"" if compact else identity("d1"))
        talk(scene, psid)
        keys.add(one.keys.key_id)
    assert len(keys) == 8  # PW-39: the same two credentials never yield the same key twice
    assert scene.witness.reused == []


@pytest.mark.parametrize("suite", [1, 17])
def test_PW26_the_fast_path_is_shorter_and_PW13_the_normal_one_asks_for_shares(suite: int) -> None:
    def sent(fast: bool) -> dict[int, int]:
        scene = two_operators(suite=suite)
        scene.open("d1", "d2")  # NMAUTH is done and does not count below
        scene.sim.messages.clear()
        scene.open("d1", "d2", fast=fast)
        return {
            mt: sum(n for (_, of), n in scene.sim.messages.items() if of == mt) for mt in (18, 20, 21, 22, 23, 26, 27)
        }

    normal, fast = sent(False), sent(True)
    assert {mt: normal[mt] for mt in (20, 21, 22, 23, 26, 27)} == dict.fromkeys((20, 21, 22, 23, 26, 27), 1)
    assert {mt: fast[mt] for mt in (20, 21, 22, 23, 26, 27)} == dict.fromkeys((20, 21, 22, 23, 26, 27), 1)
    assert fast[18] < normal[18]


def test_PW01_PW09_no_identity_between_devices() -> None:
    scene = two_operators()
    psid = scene.open("d1", "d2")
    talk(scene, psid)
    between = [sent.data for sent in scene.sim.air if {sent.source, sent.target} == {"d1", "d2"}]
    assert len(between) == 8
    forbidden = [identity(name) for name in ("d1", "d2", "nm1", "nm2", "nc1", "nc2")]
    for name in ("d1", "d2"):
        member = scene.membership(name)
        assert member is not None
        forbidden += [member.credential.kid, member.credential.claims.serial]
    assert not [wire for wire in between for name in forbidden if name in wire]


def test_two_sessions_of_one_pair_at_once_have_keys_of_their_own() -> None:
    scene = two_operators()
    mine = scene.ask("d1", "d2")
    other = scene.ask("d1", "d2", fast=True)
    back = scene.ask("d2", "d1")
    psids = (mine, other, back)
    assert scene.sim.run_until(lambda: all(scene.ready(name, psid) for name in ("d1", "d2") for psid in psids), 30.0)
    for psid in psids:
        talk(scene, psid)
    keys = [scene.ready("d1", psid) for psid in psids]
    assert len({ready.keys.key_id for ready in keys if ready is not None}) == 3
    assert [ready.initiator for ready in keys if ready is not None] == [True, True, False]


def test_PW34_PW36_a_record_opens_once_in_its_own_direction_and_session() -> None:
    scene = two_operators()
    psid, other = scene.open("d1", "d2"), scene.open("d1", "d2")
    record = scene.say("d1", "d2", psid, b"meter reading")
    assert record is not None
    scene.sim.run_for(1.0)
    before = scene.sim.heard("d2", Opened)
    assert [heard.plaintext for heard in before] == [b"meter reading"]
    scene.sim.inject("d1", "d2", record)
    scene.sim.inject("d2", "d1", record)
    scene.sim.inject("d1", "d2", record.replace(psid, other))
    scene.sim.run_for(1.0)
    assert scene.sim.heard("d2", Opened) == before
    assert scene.sim.heard("d1", Opened) == []
    assert scene.sim.hosts["d2"].refused["session", ErrorCode.E_REPLAY] == 1
    assert scene.sim.hosts["d1"].refused["session", ErrorCode.E_AUTH] == 1
    assert scene.sim.hosts["d2"].refused["session", ErrorCode.E_AUTH] == 1


def test_PW34_records_may_overtake_each_other_within_the_window() -> None:
    scene = two_operators()
    psid = scene.open("d1", "d2")
    records = [scene.protect("d1", psid, bytes([n])) for n in range(40)]
    for record in reversed(records[7:]):
        assert record is not None
        scene.sim.inject("d1", "d2", record)
    scene.sim.run_for(1.0)
    assert [heard.seq for heard in scene.sim.heard("d2", Opened)] == list(range(39, 6, -1))
    assert records[6] is not None
    scene.sim.inject("d1", "d2", records[6])
    scene.sim.run_for(1.0)
    assert len(scene.sim.heard("d2", Opened)) == 33


def test_PW35_sixteen_forged_records_do_not_end_a_session() -> None:
    scene = two_operators()
    psid = scene.open("d1", "d2")
    record = scene.protect("d1", psid, b"genuine")
    assert record is not None
    for n in range(17):
        scene.sim.inject("d1", "d2", record[:-1] + bytes([record[-1] ^ (n + 1)]))
    scene.sim.run_for(1.0)
    assert isinstance(scene.session("d2", psid), Open)
    assert scene.session("d2", psid).failures == 17
    talk(scene, psid)


def test_PW37_close_erases_both_sides_and_a_forged_one_neither() -> None:
    scene = two_operators()
    psid = scene.open("d1", "d2")
    for _ in range(3):
        scene.sim.inject("d1", "d2", bytes.fromhex("83181d48") + psid + b"\x50" + bytes(16))
    scene.sim.run_for(1.0)
    assert scene.session("d2", psid) is not None
    scene.sim.command("d2", session_of(psid), CloseSession())
    scene.sim.run_for(1.0)
    assert scene.session("d1", psid) is None
    assert scene.session("d2", psid) is None
    (closed,) = scene.sim.heard("d1", SessionClosed)
    assert (closed.psid, closed.code, closed.revoked) == (psid, None, False)


def test_PW38_DR15_a_reboot_ends_a_session_and_no_date_does() -> None:
    scene = two_operators()
    psid = scene.open("d1", "d2")
    scene.sim.run_for(2 * 86400.0)
    talk(scene, psid)
    scene.sim.reboot("d2")
    assert scene.session("d2", psid) is None
    record = scene.say("d1", "d2", psid, b"are you there?")
    assert record is not None
    scene.sim.run_for(1.0)
    assert scene.sim.hosts["d2"].refused["session", ErrorCode.E_UNKNOWN_ID] == 1
    talk(scene, scene.open("d2", "d1"))


def test_PW24_a_fin_that_comes_before_the_shares_is_kept() -> None:
    scene = two_operators()
    scene.sim.adversary = lambda sent: [] if (sent.source, sent.target) == ("nm2", "d2") and holding[0] else [sent]
    holding = [False]
    psid = scene.ask("d1", "d2")
    scene.sim.run_until(lambda: scene.session("d2", psid) is not None, 5.0)
    holding[0] = True
    assert scene.sim.run_until(lambda: getattr(scene.session("d2", psid), "fin", None) is not None, 5.0)
    assert scene.ready("d2", psid) is None
    holding[0] = False
    assert scene.sim.run_until(lambda: scene.ready("d2", psid) is not None, 5.0)
    assert scene.sim.run_until(lambda: scene.ready("d1", psid) is not None, 5.0)
    talk(scene, psid)


def test_PW07_an_a1_that_overtakes_peercred_is_repeated_until_it_is_welcome() -> None:
    scene = two_operators()
    scene.sim.channels["nm2", "d2"] = Channel(latency_s=1.0)
    psid = scene.open("d1", "d2")
    assert scene.sim.hosts["d2"].refused["session", ErrorCode.E_UNKNOWN_ID] == 1
    talk(scene, psid)


def test_PW30_a_lost_peercred_ends_in_a_clean_timeout() -> None:
    scene = two_operators()
    scene.sim.channels["nm2", "d2"] = Channel(loss=1.0)
    psid = scene.ask("d1", "d2")
    scene.sim.run_for(30.0)
    (closed,) = scene.sim.heard("d1", SessionClosed)
    assert (closed.psid, closed.code) == (psid, ErrorCode.E_TIMEOUT)
    assert scene.session("d1", psid) is scene.session("d2", psid) is None
    scene.sim.channels.clear()
    talk(scene, scene.open("d1", "d2"))


def test_PW23_nothing_is_usable_before_the_peers_fin() -> None:
    scene = two_operators()
    scene.sim.adversary = lambda sent: [] if sent.data[:3] == b"\x83\x18\x1a" else [sent]
    psid = scene.ask("d1", "d2")
    scene.sim.run_for(60.0)
    assert scene.sim.heard("d1", KeyReady) == scene.sim.heard("d2", KeyReady) == []
    assert [closed.code for closed in scene.sim.heard("d1", SessionClosed)] == [ErrorCode.E_TIMEOUT]
    assert [closed.code for closed in scene.sim.heard("d2", SessionClosed)] == [ErrorCode.E_TIMEOUT]
    assert scene.session("d1", psid) is scene.session("d2", psid) is None
