"""Enrolment rule by rule: a device, its manager, and what an adversary on the air may do to them."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from keymote import cbor
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.engine.context import RegistrarPolicy, backoff_s
from keymote.engine.enrolment.device_cell import AwaitCred, AwaitHello, AwaitOffer, AwaitVpt, Registered
from keymote.engine.enrolment.registrar_cell import AwaitBind, AwaitDone, AwaitRegistration, AwaitShare, RegistrarCell
from keymote.engine.faces import (
    GATE,
    OWN_ENROLMENT,
    Alarm,
    Enrolled,
    EnrolmentFailed,
    HelloIs,
    Provision,
    SayHello,
    enrolment_of,
)
from keymote.engine.gate import COOKIE_KEY_S
from keymote.engine.link_cell import LinkCell
from keymote.engine.link_faces import link_to_device
from keymote.errors import ErrorCode
from keymote.lab.scene_founding import AT_ONCE, two_operators
from keymote.lab.scenes import Scene, identity
from keymote.lab.simulator import Datagram
from keymote.wire.enrolment import Cookie, Hello, Join, Offer, Share
from keymote.wire.fields import sizes_of
from keymote.wire.registry import peek

HELLO, JOIN, OFFER, SHARE, VPT, BIND, CRED, COOKIE, DONE = range(1, 10)
D1 = identity("d1")
HOME = {"d1": "nm1"}
QUIET = replace(AT_ONCE, multicast=False)


def fresh(suite: int = 1, policy: RegistrarPolicy = QUIET) -> Scene:
    """Return a world with one device that has a label and has not spoken yet."""
    scene = two_operators(suite=suite, homes=HOME, enrolled=False, policy=policy)
    scene.label("d1")
    return scene


def at_manager(scene: Scene) -> RegistrarCell:
    cell = scene.sim.hosts["nm1"].cells[enrolment_of(D1)]
    assert isinstance(cell, RegistrarCell)
    return cell


def at_device(scene: Scene) -> object:
    return scene.sim.hosts["d1"].cells[OWN_ENROLMENT]


def stop_before(scene: Scene, mt: int) -> list[Datagram]:
    """Start a run in which messages of type `mt` are caught instead of delivered; return the list that catches them."""
    caught: list[Datagram] = []

    def hook(sent: Datagram) -> list[Datagram]:
        if peek(sent.data)[0] == mt:
            caught.append(sent)
            return []
        return [sent]

    scene.sim.adversary = hook
    scene.greet("d1")
    scene.sim.run_until(lambda: bool(caught), 5.0)
    scene.sim.run_for(0.5)
    return caught


def sent(scene: Scene, mt: int) -> list[bytes]:
    return [datagram.data for datagram in scene.sim.air if peek(datagram.data)[0] == mt]


@pytest.mark.parametrize("suite", [1, 2, 3, 17])
def test_EN13_EN19_EN21_both_sides_hold_the_same_link_and_the_manager_what_shares_need(suite: int) -> None:
    scene = two_operators(suite=suite, homes=HOME)
    member = scene.membership("d1")
    kept = at_manager(scene).member
    assert member is not None
    assert kept is not None
    ours = scene.suite
    claims = member.credential.claims
    assert claims.E1 is not None
    assert ours.mul(member.d, ours.check(claims.E1)) == claims.E2
    assert kept.credential == member.credential.raw
    ends = [scene.sim.hosts["d1"].cells, scene.sim.hosts["nm1"].cells]
    links = [cell for cells in ends for cell in cells.values() if isinstance(cell, LinkCell)]
    assert links[0].keys.following == links[1].keys.following
    assert scene.federation.coordinators[0].devices[D1].credential == member.credential.raw


def test_EN01_EN09_a_cookie_and_done_stay_out_of_the_transcript() -> None:
    plain, cookie = fresh(), fresh(policy=replace(QUIET, cookies_always=True))
    for scene in (plain, cookie):
        scene.greet("d1")
        scene.sim.run_for(5.0)
        assert isinstance(at_device(scene), Registered)
    first, second = [Join.decode(wire, sizes_of(1)) for wire in sent(cookie, JOIN)]
    assert first.cookie is None
    assert second.cookie is not None
    assert replace(second, cookie=None) == first


def test_EN02_a_hello_of_another_coordinator_or_suite_is_not_answered() -> None:
    scene = fresh()
    scene.devices["d1"] = replace(scene.devices["d1"], coordinators=(b"another1",))
    scene.sim.reboot("d1")
    scene.sim.run_for(1.0)
    scene.greet("d1")
    scene.sim.run_for(1.0)
    assert scene.sim.hosts["d1"].refused["enrolment", ErrorCode.E_CRED] == 1
    other = fresh()
    hello = Hello(identity("nm1"), identity("nc1"), (17,), bytes(16), 0)
    other.sim.inject("nm1", "d1", hello.encode())
    other.sim.run_for(1.0)
    assert other.sim.hosts["d1"].refused["enrolment", ErrorCode.E_SUITE] == 1
    assert not sent(scene, JOIN) + sent(other, JOIN)


def test_EN02_a_suite_list_changed_on_the_way_kills_the_run() -> None:
    scene = fresh()
    (said,) = [r for r in scene.sim.command("nm1", GATE, SayHello()) if isinstance(r, HelloIs)]
    hello = Hello.decode(said.wire, sizes_of(1))
    scene.sim.inject("nm1", "d1", replace(hello, suites=(1, 2)).encode())
    scene.sim.run_for(2.0)
    assert isinstance(at_device(scene), AwaitHello)
    assert scene.sim.heard("d1", EnrolmentFailed)[0].code is ErrorCode.E_AUTH


def test_EN03_the_present_and_the_previous_hello_are_answered_and_no_older_one() -> None:
    scene = fresh()
    hellos = []
    for _ in range(3):
        (said,) = [r for r in scene.sim.command("nm1", GATE, SayHello()) if isinstance(r, HelloIs)]
        hellos.append(said.wire)
        scene.sim.run_for(61.0)
    assert len(set(hellos)) == 3
    before = len(sent(scene, OFFER))
    scene.sim.inject("nm1", "d1", hellos[0])
    scene.sim.run_for(0.5)
    assert len(sent(scene, OFFER)) == before
    assert scene.sim.hosts["nm1"].refused["gate", ErrorCode.E_UNKNOWN_ID] == 1
    again = fresh()
    (said,) = [r for r in again.sim.command("nm1", GATE, SayHello()) if isinstance(r, HelloIs)]
    again.sim.run_for(61.0)
    again.sim.inject("nm1", "d1", said.wire)
    again.sim.run_for(2.0)
    assert isinstance(at_device(again), Registered)


def test_EN04_a_signed_hello_is_checked_when_cred_brings_the_key() -> None:
    scene = fresh(policy=replace(QUIET, sign_hello=True))
    scene.greet("d1")
    scene.sim.run_for(2.0)
    assert isinstance(at_device(scene), Registered)
    forged = fresh(policy=replace(QUIET, sign_hello=True))
    cell = forged.sim.hosts["nm1"].cells
    stop_before(forged, CRED)
    gate = cell[GATE]
    assert gate.current.wire[0] == 0x82
    state = at_device(forged)
    assert isinstance(state, AwaitCred)
    assert state.envelope is not None
    broken = replace(state, envelope=replace(state.envelope, signature=bytes(64)))
    forged.sim.hosts["d1"].cells[OWN_ENROLMENT] = broken
    forged.sim.adversary = lambda datagram: [datagram]
    forged.sim.run_for(6.0)
    assert forged.sim.heard("d1", EnrolmentFailed)[0].code is ErrorCode.E_CRED


def test_EN08_DS10_an_unknown_device_and_a_used_code_cost_no_arithmetic() -> None:
    scene = two_operators(homes=HOME)
    (said,) = [r for r in scene.sim.command("nm1", GATE, SayHello()) if isinstance(r, HelloIs)]
    hello = Hello.decode(said.wire, sizes_of(1))
    Y = scene.suite.base_mul(Secret(b"\1" + bytes(31)))
    offers = len(sent(scene, OFFER))
    for dev_id, code in ((b"stranger", ErrorCode.E_UNKNOWN_ID), (D1, ErrorCode.E_OTC_USED)):
        scene.sim.inject("x", "nm1", Join(1, dev_id, hello.hello_n[:8], Y).encode())
        scene.sim.run_for(0.5)
        assert scene.sim.hosts["nm1"].refused["enrolment", code] == 1
    assert len(sent(scene, OFFER)) == offers


def test_EN07_a_short_code_enrols_by_pake_and_never_with_p256() -> None:
    from keymote.engine.faces import ExpectDevice

    for suite, enrols in ((1, True), (17, False)):
        scene = two_operators(suite=suite, homes=HOME, enrolled=False, policy=QUIET)
        prs = Secret(cbor.encode([b"12345678", b""]))
        scene.sim.command("nm1", enrolment_of(D1), ExpectDevice(D1, prs, weak=True))
        scene.sim.command("d1", OWN_ENROLMENT, Provision(prs))
        scene.greet("d1")
        scene.sim.run_for(3.0)
        assert isinstance(at_device(scene), Registered) is enrols
        if not enrols:
            assert scene.sim.hosts["nm1"].refused["enrolment", ErrorCode.E_SUITE] >= 1
            assert not sent(scene, OFFER)


def test_EN11_a_malformed_offer_is_dropped_and_a_wrong_tag_ends_the_run() -> None:
    scene = fresh()
    caught = stop_before(scene, OFFER)
    offer = Offer.decode(caught[0].data, sizes_of(1))
    for bad in (replace(offer, Y_N=bytes(32)), replace(offer, e_NM=b"\xff" * 32)):
        scene.sim.inject("nm1", "d1", bad.encode())
    scene.sim.inject("nm1", "d1", offer.encode()[:-1])
    scene.sim.run_for(0.2)
    assert isinstance(at_device(scene), AwaitOffer)
    scene.sim.inject("nm1", "d1", replace(offer, tag=bytes(16)).encode())
    scene.sim.run_for(0.2)
    state = at_device(scene)
    assert isinstance(state, AwaitHello)
    assert state.failures == 1
    assert scene.sim.heard("d1", EnrolmentFailed)[0].code is ErrorCode.E_AUTH


def test_EN12_DS08_the_next_attempt_waits_and_draws_anew() -> None:
    scene = fresh()
    caught = stop_before(scene, OFFER)
    offer = Offer.decode(caught[0].data, sizes_of(1))
    scene.sim.inject("nm1", "d1", replace(offer, tag=bytes(16)).encode())
    scene.sim.run_for(0.2)
    scene.greet("d1")
    scene.sim.run_for(0.2)
    assert scene.sim.hosts["d1"].refused["enrolment", ErrorCode.E_LIMIT] == 1
    scene.sim.adversary = lambda datagram: [datagram]
    scene.sim.run_for(31.0)
    scene.greet("d1")
    scene.sim.run_for(2.0)
    assert isinstance(at_device(scene), Registered)
    first, *_, last = [Join.decode(wire, sizes_of(1)).Y_D for wire in sent(scene, JOIN)]
    assert first != last


def test_EN14_EN16_EN17_EN20_an_altered_value_in_the_channel_ends_nobody_wrongly() -> None:
    for mt in (SHARE, VPT, BIND, CRED):
        scene = fresh()
        caught = stop_before(scene, mt)
        wire = caught[0].data
        scene.sim.inject(caught[0].source, caught[0].target, wire[:-1] + bytes([wire[-1] ^ 1]))
        scene.sim.run_for(0.2)
        expected: dict[int, type | tuple[type, ...]] = {
            SHARE: AwaitVpt,
            VPT: AwaitVpt,
            BIND: AwaitCred,
            CRED: AwaitCred,
        }
        assert isinstance(at_device(scene), expected[mt])
        host = scene.sim.hosts["nm1" if mt in (SHARE, BIND) else "d1"]
        assert host.refused["enrolment", ErrorCode.E_AUTH] == 1
        scene.sim.adversary = lambda datagram: [datagram]
        scene.sim.run_for(10.0)
        assert isinstance(at_device(scene), Registered)


def test_EN15_an_e1_that_would_be_the_identity_is_drawn_again() -> None:
    from keymote.engine.enrolment.registrar import contribution
    from keymote.errors import PeerFault

    scene = fresh()
    suite = scene.suite
    calls = []

    class Once:
        def __getattr__(self, name: str) -> object:
            return getattr(suite, name)

        def add(self, P: bytes, Q: bytes) -> bytes:
            calls.append(1)
            if len(calls) == 1:
                raise PeerFault(ErrorCode.E_POINT, "identity")
            return suite.add(P, Q)  # type: ignore[arg-type]

    entropy = SeededEntropy(b"EN15")
    e = suite.random_point(entropy)
    V, E1 = contribution(Once(), e, e, entropy)  # type: ignore[arg-type]
    assert len(calls) == 2
    assert suite.add(e, V) == E1


def test_EN18_a_device_that_another_credential_holds_is_refused_with_an_alarm() -> None:
    scene = two_operators(homes={"d1": "nm1"}, enrolled=False, policy=QUIET)
    scene.label("d1")
    register = scene.federation.coordinators[0]
    elsewhere = two_operators(b"elsewhere", homes=HOME)
    member = elsewhere.membership("d1")
    assert member is not None
    register.register("nm1", member.credential.raw, b"")
    scene.greet("d1")
    scene.sim.run_for(3.0)
    assert not isinstance(at_device(scene), Registered)
    assert [alarm.name for alarm in scene.sim.heard("nm1", Alarm)] == ["clone"]
    assert scene.sim.hosts["nm1"].refused["enrolment", ErrorCode.E_CRED] == 1
    assert at_manager(scene).member is None
    assert not sent(scene, CRED)


def test_EN22_done_or_a_link_record_erases_the_code() -> None:
    scene = fresh()
    code = scene.codes["d1"].expose()
    caught = stop_before(scene, DONE)
    assert isinstance(at_manager(scene).phase, AwaitDone)
    assert at_manager(scene).code is not None
    scene.sim.inject(caught[0].source, caught[0].target, caught[0].data)
    scene.sim.run_for(0.2)
    assert at_manager(scene).code is None
    assert not [row for row in scene.sim.hosts["nm1"].disk.values() if code[2:18] in row.record]
    other = two_operators(homes={"d1": "nm1", "d2": "nm1"}, enrolled=False, policy=QUIET)
    other.enrol("d2")
    other.label("d1")
    stop_before(other, DONE)
    assert at_manager(other).code is not None
    other.sim.adversary = lambda datagram: [] if peek(datagram.data)[0] == DONE else [datagram]
    other.open("d1", "d2")
    assert at_manager(other).code is None


def test_EN23_an_identical_bind_gets_the_identical_cred_for_an_hour() -> None:
    scene = fresh()
    stop_before(scene, DONE)
    (bind,) = sent(scene, BIND)
    (cred,) = set(sent(scene, CRED))
    scene.sim.run_for(3000.0)
    scene.sim.inject("d1", "nm1", bind)
    scene.sim.run_for(0.5)
    assert set(sent(scene, CRED)) == {cred}
    assert len(sent(scene, CRED)) > 1
    joins = scene.sim.hosts["nm1"].refused["enrolment", ErrorCode.E_OTC_USED]
    scene.sim.run_for(700.0)
    scene.sim.inject("d1", "nm1", bind)
    before = len(sent(scene, CRED))
    scene.sim.run_for(0.5)
    assert len(sent(scene, CRED)) == before
    assert joins == 0
    assert at_manager(scene).code is not None  # usable again: nobody has proved that the device has its credential


def test_EN24_DS07_a_new_join_replaces_an_unconfirmed_run_at_the_price_of_a_failure() -> None:
    scene = fresh()
    stop_before(scene, SHARE)
    first = at_manager(scene).phase
    assert isinstance(first, AwaitShare)
    (said,) = [r for r in scene.sim.command("nm1", GATE, SayHello()) if isinstance(r, HelloIs)]
    hello = Hello.decode(said.wire, sizes_of(1))
    Y = scene.suite.base_mul(Secret(b"\2" + bytes(31)))
    other = Join(1, D1, hello.hello_n[:8], Y).encode()
    scene.sim.inject("rival", "nm1", other)
    scene.sim.run_for(0.1)
    cell = at_manager(scene)
    assert cell.phase is None
    assert cell.code is not None
    assert cell.code.failures == 1
    scene.sim.inject("rival", "nm1", other)
    scene.sim.run_for(0.1)
    assert at_manager(scene).phase is None  # the back-off applies before the next OFFER
    scene.sim.run_for(backoff_s(1) + 0.1)
    scene.sim.inject("rival", "nm1", other)
    scene.sim.run_for(0.1)
    assert isinstance(at_manager(scene).phase, AwaitShare)


def test_EN24_a_run_with_a_valid_share_is_not_replaced_within_30_s() -> None:
    scene = fresh()
    stop_before(scene, BIND)
    assert isinstance(at_manager(scene).phase, AwaitBind)
    (said,) = [r for r in scene.sim.command("nm1", GATE, SayHello()) if isinstance(r, HelloIs)]
    hello = Hello.decode(said.wire, sizes_of(1))
    Y = scene.suite.base_mul(Secret(b"\2" + bytes(31)))
    scene.sim.inject("rival", "nm1", Join(1, D1, hello.hello_n[:8], Y).encode())
    scene.sim.run_for(0.1)
    assert isinstance(at_manager(scene).phase, AwaitBind)
    assert scene.sim.hosts["nm1"].refused["enrolment", ErrorCode.E_STATE] == 1


def test_EN25_messages_of_the_run_count_from_the_endpoint_of_the_join_alone() -> None:
    scene = fresh()
    caught = stop_before(scene, SHARE)
    scene.sim.inject("elsewhere", "nm1", caught[0].data)
    scene.sim.run_for(0.2)
    assert isinstance(at_manager(scene).phase, AwaitShare)


def test_EN26_silence_repeats_the_same_bytes_three_times_then_ends() -> None:
    scene = fresh()
    caught = stop_before(scene, SHARE)
    scene.sim.run_for(25.0)
    assert len(caught) == 4
    assert len({datagram.data for datagram in caught}) == 1
    assert [b.at - a.at for a, b in pairwise(caught)] == pytest.approx([5.0] * 3, abs=0.1)
    assert isinstance(at_device(scene), AwaitHello)
    assert scene.sim.heard("d1", EnrolmentFailed)[0].code is ErrorCode.E_TIMEOUT


def test_EN27_EN31_CM12_junk_moves_nobody_and_is_not_answered() -> None:
    scene = fresh()
    stop_before(scene, BIND)
    before = (at_manager(scene), at_device(scene), len(scene.sim.air))
    junk = [
        Share(bytes(len(Share.decode(sent(scene, SHARE)[0], sizes_of(1)).ct))).encode(),
        b"",
        b"\x80",
        b"\x84\x03" + bytes(80),
        Cookie(bytes(16)).encode(),
        b"\xff" * 200,
    ]
    for wire in junk:
        scene.sim.inject("d1", "nm1", wire)
        scene.sim.inject("nm1", "d1", wire)
    scene.sim.run_for(0.2)
    assert (at_manager(scene), at_device(scene), len(scene.sim.air)) == before


def test_EN28_a_coordinator_that_is_silent_delays_and_loses_nothing() -> None:
    scene = fresh()
    coordinator = scene.federation.coordinators[0]
    coordinator.reachable = False
    scene.greet("d1")
    scene.sim.run_for(4.0)
    assert isinstance(at_manager(scene).phase, AwaitRegistration)
    assert scene.sim.hosts["nm1"].refused["enrolment", ErrorCode.E_BUSY] >= 1
    coordinator.reachable = True
    scene.sim.run_for(8.0)
    assert isinstance(at_device(scene), Registered)
    assert len(scene.sim.heard("nm1", Enrolled)) == 1


def test_EN19_a_manager_that_dies_at_any_commit_makes_no_second_credential() -> None:
    for left in range(1, 8):
        for after in (False, True):
            scene = fresh()
            from keymote.lab.simulator.host import Fuse

            scene.sim.hosts["nm1"].fuse = Fuse(left, after)
            scene.greet("d1")
            scene.sim.run_for(120.0)
            for _ in range(3):
                if isinstance(at_device(scene), Registered):
                    break
                scene.greet("d1")
                scene.sim.run_for(120.0)
            member = scene.membership("d1")
            kept = at_manager(scene).member
            assert member is not None
            assert kept is not None
            assert kept.credential == member.credential.raw
            assert scene.federation.coordinators[0].devices[D1].credential == member.credential.raw


def test_DS03_DS04_a_cookie_is_good_for_its_source_and_join_and_two_minutes_at_most() -> None:
    scene = fresh(policy=replace(QUIET, cookies_always=True))
    stop_before(scene, COOKIE)
    (join,) = [Join.decode(wire, sizes_of(1)) for wire in sent(scene, JOIN)]
    (cookie,) = [Cookie.decode(wire, sizes_of(1)).cookie for wire in sent(scene, COOKIE)]
    refused: Callable[[], int] = lambda: scene.sim.hosts["nm1"].refused["gate", ErrorCode.E_COOKIE]  # noqa: E731
    wrong = [
        ("elsewhere", replace(join, cookie=cookie)),
        ("d1", replace(join, cookie=bytes(16))),
        ("d1", replace(join, dev_id=b"stranger", cookie=cookie)),
        ("d1", replace(join, Y_D=scene.suite.base_mul(Secret(b"\3" + bytes(31))), cookie=cookie)),
    ]
    for count, (source, message) in enumerate(wrong, start=1):
        scene.sim.inject(source, "nm1", message.encode())
        scene.sim.run_for(0.1)
        assert refused() == count
    assert at_manager(scene).phase is None
    good = replace(join, cookie=cookie).encode()
    scene.sim.adversary = lambda _: []
    scene.sim.run_for(COOKIE_KEY_S - 10.0)
    twin = scene.sim.fork("later")
    scene.sim.inject("d1", "nm1", good)
    scene.sim.run_for(0.1)
    assert isinstance(at_manager(scene).phase, AwaitShare)
    twin.run_for(2 * COOKIE_KEY_S)
    (said,) = [r for r in twin.command("nm1", GATE, SayHello()) if isinstance(r, HelloIs)]
    assert said.wire
    twin.inject("d1", "nm1", good)
    twin.run_for(0.1)
    assert twin.hosts["nm1"].cells[enrolment_of(D1)].phase is None


def test_DS02_above_the_threshold_no_state_is_kept_before_the_cookie_returns() -> None:
    scene = fresh(policy=replace(QUIET, cookie_above_per_s=5))
    (said,) = [r for r in scene.sim.command("nm1", GATE, SayHello()) if isinstance(r, HelloIs)]
    hello = Hello.decode(said.wire, sizes_of(1))
    Y = scene.suite.base_mul(Secret(b"\1" + bytes(31)))
    for n in range(50):
        scene.sim.inject(f"bot {n}", "nm1", Join(1, b"%08d" % n, hello.hello_n[:8], Y).encode())
    scene.sim.run_for(0.1)
    assert len(sent(scene, COOKIE)) == 45
    scene.greet("d1")
    scene.sim.run_for(3.0)
    assert isinstance(at_device(scene), Registered)


def test_DS01_DS05_a_source_has_five_joins_a_minute_cookie_or_not() -> None:
    scene = two_operators(homes=HOME, enrolled=False, policy=RegistrarPolicy(multicast=False))
    scene.label("d1")
    (said,) = [r for r in scene.sim.command("nm1", GATE, SayHello()) if isinstance(r, HelloIs)]
    hello = Hello.decode(said.wire, sizes_of(1))
    Y = scene.suite.base_mul(Secret(b"\1" + bytes(31)))
    for _ in range(8):
        scene.sim.inject("bot", "nm1", Join(1, b"stranger", hello.hello_n[:8], Y).encode())
    scene.sim.run_for(0.1)
    assert scene.sim.hosts["nm1"].refused["gate", ErrorCode.E_LIMIT] == 3
    assert scene.sim.hosts["nm1"].refused["enrolment", ErrorCode.E_UNKNOWN_ID] == 5


def test_DS06_ten_wrong_codes_raise_an_alarm_and_lock_nobody_out_for_good() -> None:
    scene = fresh()
    scene.sim.adversary = lambda datagram: [] if peek(datagram.data)[0] == SHARE else [datagram]
    Y = scene.suite.base_mul(Secret(b"\1" + bytes(31)))
    for attempt in range(11):
        (said,) = [r for r in scene.sim.command("nm1", GATE, SayHello()) if isinstance(r, HelloIs)]
        hello = Hello.decode(said.wire, sizes_of(1))
        scene.sim.inject("bot", "nm1", Join(1, D1, hello.hello_n[:8], Y).encode())
        scene.sim.run_for(31.0 + backoff_s(attempt + 1))
    assert [alarm.name for alarm in scene.sim.heard("nm1", Alarm)] == ["wrong-codes"]
    cell = at_manager(scene)
    assert cell.code is not None
    assert cell.code.failures >= 10
    scene.sim.adversary = lambda datagram: [datagram]
    scene.sim.run_for(3600.0)
    scene.greet("d1")
    scene.sim.run_for(3.0)
    assert isinstance(at_device(scene), Registered)
    assert backoff_s(1000) == 3600


def test_DS11_the_table_of_sources_is_bounded() -> None:
    from keymote.engine.gate import MOST_SOURCES, Traffic

    traffic = Traffic()
    for n in range(MOST_SOURCES + 100):
        assert traffic.take(f"bot {n}", 0.0, 5)
        traffic.busy(0.0, 200)
    assert len(traffic.sources) == MOST_SOURCES
    assert len(traffic.recent) == 201


def test_EN30_a_manager_is_enrolled_by_the_same_engine() -> None:
    scene = two_operators(homes=HOME, enrolled=False, policy=QUIET)
    membership = scene.managers["nm1"].membership
    assert membership is not None
    claims = membership.credential.claims
    assert (claims.iss, claims.sub) == (identity("nc1"), identity("nm1"))
    assert scene.suite.mul(membership.d, scene.suite.check(claims.E1 or b"")) == claims.E2


def test_the_device_link_key_does_not_outlive_a_rejoin() -> None:
    scene = two_operators(homes=HOME)
    before = scene.sim.hosts["nm1"].cells[link_to_device(D1)].keys.following
    scene.enrol("d1", again=True)
    assert scene.sim.hosts["nm1"].cells[link_to_device(D1)].keys.following != before
