"""Hand-over between agents: what passes, and how each way to cheat or to fail is refused (Triad-1 4.6, C-09, C-10, C-17, C-18)."""

from dataclasses import replace
from typing import Any

import pytest
from handover_stage import CLIENT, LIFE_S, MOTE, Ward

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.engine.base import Received, Refused
from keymote.engine.handover import client
from keymote.engine.handover.faces import (
    MOST_BUFFERED,
    MOST_RUNS,
    AgentTally,
    CloseAccount,
    Forward,
    HandedOver,
    Moved,
    Revoke,
    SessionMoved,
    home_of,
    visit_of,
)
from keymote.engine.handover.federation import Federation, matches
from keymote.engine.handover.home_states import Away, Here
from keymote.engine.handover.keys import release
from keymote.engine.topic.admission import admitted, connect, lower_layer_key
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.handover import Between, HoPub
from keymote.wire.registry import peek
from keymote.wire.topic import Connauth, HoAck, HoCtx, HoDeny, HoPull, HoReq

A, B, C = b"broker-A", b"broker-B", b"broker-C"
SIZES = sizes_of(1)
PUB = b"\x82\x18\x34" + bytes(20)


@pytest.fixture
def ward() -> Ward:
    made = Ward(emergency=("w/+/alarm",))
    made.connect()
    return made


def begin(ward: Ward, vis: bytes, ho_ctr: int, home: bytes = A, K_home: Secret | None = None) -> tuple[Any, bytes]:
    return client.begin(ward.K_home if K_home is None else K_home, CLIENT, home, vis, ho_ctr, ward.entropy)


def hand_over(ward: Ward, to: str, ho_ctr: int) -> client.Visit:
    state, request = begin(ward, ward[to].broker_id, ho_ctr)
    (answer,) = ward.tell(to, request)
    return client.finish(state, answer)


def denied(ward: Ward, to: str, state: Any, request: bytes) -> ErrorCode:
    (answer,) = ward.tell(to, request)
    return client.denied(state, answer)


def reading(topic: str = "w/7/hr", client_id: bytes = CLIENT) -> bytes:
    return HoPub(client_id, topic, PUB).encode()


def test_HO01_a_client_is_handed_over_in_two_messages_and_without_the_trusted_system(ward: Ward) -> None:
    del ward.shared  # nothing that the trusted system holds is asked for from here on
    before = len(ward.carried)
    visit = hand_over(ward, "B", 1)
    account = ward["B"].accounts[CLIENT]
    assert account.password == visit.password
    assert account.session
    assert account.rights == ward.home().held.rights
    assert account.expires == ward.wall + LIFE_S
    assert ward.visit("B").stay.K_v == visit.K_v
    kinds = [peek(data)[0] for data in ward.carried[before:]]
    assert kinds == [56, 81, 81, 59]
    pulled, handed = (Between.decode(data, SIZES).body for data in ward.carried[before + 1 : before + 3])
    assert (peek(pulled)[0], len(pulled)) == (HoPull.mt, 173)
    assert peek(handed)[0] == HoCtx.mt
    assert ward["A"].reported(Moved) == [Moved(CLIENT, B, 1)]


def test_HO02_the_count_is_above_the_last_also_after_a_reboot(ward: Ward) -> None:
    hand_over(ward, "B", 5)
    ward["A"].reboot()
    for ho_ctr in (1, 5):
        state, request = begin(ward, C, ho_ctr)
        assert denied(ward, "C", state, request) is ErrorCode.E_HO_CTR
    assert hand_over(ward, "C", 6).vis == C


def test_HO03_a_request_is_good_at_one_broker_only(ward: Ward) -> None:
    state, request = begin(ward, B, 1)
    assert ward["C"].take(Received(MOTE, request)) == []
    assert ward["C"].refusals() == [ErrorCode.E_TICKET]
    stolen = replace(HoReq.decode(request, SIZES), vis=C).encode()
    assert denied(ward, "C", replace(state, request=HoReq.decode(stolen, SIZES)), stolen) is ErrorCode.E_AUTH
    assert isinstance(ward.home().held.place, Here)
    (answer,) = ward.tell("B", request)
    assert client.finish(state, answer).vis == B


def test_HO04_an_unlisted_broker_gets_nothing(ward: Ward) -> None:
    listed = ward.federation.brokers
    without_B = Federation(2, {broker_id: broker for broker_id, broker in listed.items() if broker_id != B})
    ward["A"].context = replace(ward["A"].context, federation=without_B)
    _, request = begin(ward, B, 1)
    assert ward.tell("B", request) == []
    assert ward["A"].refusals() == [ErrorCode.E_TICKET]
    ward["B"].context = replace(ward["B"].context, federation=without_B)
    ward["A"].context = replace(ward["A"].context, federation=ward.federation)
    _, request = begin(ward, C, 2, home=B)
    ward["C"].context = replace(ward["C"].context, federation=without_B)
    ward.tell("C", request)
    assert ward["C"].refusals() == [ErrorCode.E_TICKET]


def test_HO04_a_pull_is_signed_by_the_broker_that_it_names(ward: Ward) -> None:
    _, request = begin(ward, B, 1)
    (pull,) = ward["B"].take(Received(MOTE, request))
    frame = Between.decode(pull.data, SIZES)
    message = HoPull.decode(frame.body, SIZES)
    for envelope in (
        replace(message.envelope, kid=b"card-C--"),
        replace(message.envelope, signature=bytes(64)),
        replace(message.envelope, payload=message.envelope.payload.replace(B, C)),
    ):
        forged = Between(CLIENT, HoPull(envelope).encode()).encode()
        assert ward["A"].take(Received("B", forged)) == []
    assert ward["A"].refusals() == [ErrorCode.E_TICKET, ErrorCode.E_AUTH, ErrorCode.E_TICKET]
    renamed = Between(b"patient8", frame.body).encode()
    assert ward["A"].take(Received("B", renamed)) == []
    assert isinstance(ward.home().held.place, Here)


def test_HO05_of_two_brokers_that_race_with_one_count_the_second_is_refused(ward: Ward) -> None:
    hand_over(ward, "B", 1)
    state, second = begin(ward, C, 1)
    assert denied(ward, "C", state, second) is ErrorCode.E_HO_CTR
    assert ward.home().held.place.vis == B
    assert CLIENT not in ward["C"].accounts


def test_HO05_the_count_is_on_disk_when_the_context_leaves(ward: Ward) -> None:
    _, request = begin(ward, B, 9)
    (pull,) = ward["B"].take(Received(MOTE, request))
    (handed,) = ward["A"].take(Received("B", pull.data))
    assert ward["A"].take(Received("B", pull.data)) == [handed]  # a repeated pull gets the identical context
    ward["A"].reboot()
    (refused,) = ward["A"].take(Received("B", pull.data))
    assert peek(Between.decode(refused.data, SIZES).body)[0] == 10


def test_HO06_a_stranger_is_denied_by_name_and_a_forger_too(ward: Ward) -> None:
    stranger = replace(begin(ward, B, 1)[0].request, client_id=b"stranger")
    (answer,) = ward.tell("B", stranger.encode())
    assert HoDeny.decode(answer, SIZES) == HoDeny(b"stranger", ErrorCode.E_TICKET, stranger.nC)
    state, forged = begin(ward, B, 1, K_home=Secret(bytes(32)))
    assert denied(ward, "B", state, forged) is ErrorCode.E_AUTH
    assert ward["A"].refusals() == [ErrorCode.E_TICKET, ErrorCode.E_AUTH]
    assert isinstance(ward.home().held.place, Here)
    assert ward.visit("B") is None


def test_HO06_a_denial_of_another_request_is_none(ward: Ward) -> None:
    state, _ = begin(ward, B, 1)
    with pytest.raises(PeerFault, match="E_STATE"):
        client.denied(state, HoDeny(CLIENT, ErrorCode.E_AUTH, bytes(8)).encode())


def test_HO07_a_context_opens_for_the_broker_that_pulled_and_for_this_pull(ward: Ward) -> None:
    _, request = begin(ward, B, 1)
    (pull,) = ward["B"].take(Received(MOTE, request))
    (handed,) = ward["A"].take(Received("B", pull.data))
    context = HoCtx.decode(Between.decode(handed.data, SIZES).body, SIZES)
    assert ward["C"].take(Received("A", handed.data)) == []
    for envelope in (
        replace(context.envelope, kid=b"card-C--"),
        replace(context.envelope, signature=bytes(64)),
        replace(context.envelope, payload=context.envelope.payload[:-1] + b"\0"),
    ):
        ward["B"].take(Received("A", Between(CLIENT, HoCtx(envelope).encode()).encode()))
        assert ward.visit("B").stay is None
    ward["B"].cells.clear()
    ward["B"].take(Received(MOTE, request))  # another pull of the same request
    assert ward["B"].take(Received("A", handed.data)) == []
    assert CLIENT not in ward["B"].accounts


def test_HO07_no_eavesdropper_and_no_other_broker_learns_a_key(ward: Ward) -> None:
    visit = hand_over(ward, "B", 1)
    everything = b"".join(ward.carried)
    for secret in (ward.K_home, visit.K_v, visit.password, ward.visit("B").stay.K_v):
        assert secret.expose() not in everything
        assert secret.expose().hex() not in repr((ward.home(), ward.visit("B"), visit))
    assert ward.K_home.expose() not in b"".join(ward["B"].disk.values())
    assert hand_over(ward, "C", 2).K_v != visit.K_v


def test_HO08_the_acknowledgement_follows_the_account_and_proves_the_context(ward: Ward) -> None:
    ward["B"].opens = False
    state, request = begin(ward, B, 1)
    assert denied(ward, "B", state, request) is ErrorCode.E_BUSY
    ward["B"].opens = True
    (answer,) = ward.tell("B", request)  # the client asks again with the same bytes
    client.finish(state, answer)
    with pytest.raises(PeerFault, match="E_AUTH"):
        client.finish(begin(ward, B, 1)[0], answer)


def test_HO08_a_lost_acknowledgement_is_said_again_also_after_a_reboot(ward: Ward) -> None:
    state, request = begin(ward, B, 1)
    (first,) = ward.tell("B", request)
    ward["B"].accounts.clear()
    assert ward["B"].reboot() == []
    assert ward["B"].accounts[CLIENT].password == client.finish(state, first).password
    assert ward.tell("B", request) == [first]


def test_HO09_without_the_home_broker_the_client_hears_to_go_the_full_way(ward: Ward) -> None:
    ward.lost.add("A")
    state, request = begin(ward, B, 1)
    assert denied(ward, "B", state, request) is ErrorCode.E_TIMEOUT
    assert ward.visit("B") is None
    assert ward["B"].context.tally.waiting == 0
    ward.connect("B", ward.ticket("B"))  # a ticket for the broker at hand
    assert CLIENT in ward["B"].accounts


def test_HO09_a_home_broker_that_says_nothing_is_not_waited_for(ward: Ward) -> None:
    state, request = begin(ward, B, 1)
    ward["B"].take(Received(MOTE, request))
    ward.pass_time(9)
    assert client.denied(state, ward.heard[-1]) is ErrorCode.E_TIMEOUT
    assert ward.visit("B") is None


def test_HO09_a_ticket_whose_life_is_over_hands_nobody_over(ward: Ward) -> None:
    hand_over(ward, "B", 1)
    ward.pass_time(LIFE_S)
    assert ward["B"].reported(CloseAccount) == [CloseAccount(CLIENT)]
    assert ward.visit("B") is None
    state, request = begin(ward, C, 2)
    assert denied(ward, "C", state, request) is ErrorCode.E_TICKET
    assert ward.K_home.expose() not in b"".join(ward["A"].disk.values())


def test_HO10_readings_behind_the_request_wait_for_the_context(ward: Ward) -> None:
    state, request = begin(ward, B, 1)
    (answer,) = ward.tell("B", request + reading() * 3 + reading("other/topic"))
    client.finish(state, answer)
    assert ward["B"].reported(Forward) == [Forward(CLIENT, "w/7/hr", PUB, verified=True)] * 3
    assert ward["B"].refusals() == [ErrorCode.E_TICKET]  # a topic outside its rights


def test_HO10_a_forged_request_takes_no_room_of_the_clients_readings_and_vouches_for_none(ward: Ward) -> None:
    _, forged = begin(ward, B, 7, K_home=Secret(bytes(32)))
    pulls = list(ward["B"].take(Received("elsewhere", forged + reading() * MOST_BUFFERED)))
    state, request = begin(ward, B, 1)
    pulls += ward["B"].take(Received(MOTE, request + reading() * 2))
    ward["B"].take(Received("third", reading()))
    assert ward["B"].refusals() == [ErrorCode.E_STATE]
    ward.carry("B", pulls[::-1])
    client.finish(state, next(answer for answer in ward.heard if peek(answer)[0] == HoAck.mt))
    assert ward["B"].reported(Forward) == [Forward(CLIENT, "w/7/hr", PUB, verified=True)] * 2


def test_HO10_an_emergency_goes_at_once_and_is_marked_unverified(ward: Ward) -> None:
    _, request = begin(ward, B, 1, K_home=Secret(bytes(32)))
    ward["B"].take(Received(MOTE, request + reading() + reading("w/7/alarm")))
    assert ward["B"].reported(Forward) == [Forward(CLIENT, "w/7/alarm", PUB, verified=False)]


def test_HO10_at_most_eight_readings_wait_for_at_most_two_seconds(ward: Ward) -> None:
    state, request = begin(ward, B, 1)
    (pull,) = ward["B"].take(Received(MOTE, request + reading() * (MOST_BUFFERED + 2)))
    assert ward["B"].refusals() == [ErrorCode.E_LIMIT] * 2
    ward.mono += 2.0
    assert ward["B"].due() == []
    assert ward["B"].refusals()[2:] == [ErrorCode.E_TIMEOUT]
    ward.carry("B", [pull])
    client.finish(state, ward.heard[-1])
    assert ward["B"].reported(Forward) == []


def test_HO10_a_flood_of_unverified_alarms_is_cut_off(ward: Ward) -> None:
    _, request = begin(ward, B, 1, K_home=Secret(bytes(32)))
    ward["B"].take(Received(MOTE, request + reading("w/7/alarm") * 10))
    assert len(ward["B"].reported(Forward)) == 8
    assert ward["B"].refusals() == [ErrorCode.E_LIMIT] * 2
    tally, now = AgentTally(), ward["B"].clock()
    went = sum(tally.may_forward(number.to_bytes(8, "big"), now) for number in range(100))
    assert went == 64
    assert tally.may_forward(CLIENT, now._replace(mono=now.mono + 2))


def test_HO10_a_reading_needs_a_request_and_its_own_client(ward: Ward) -> None:
    ward["B"].take(Received(MOTE, reading("w/7/alarm")))
    _, request = begin(ward, B, 1)
    ward["B"].take(Received(MOTE, request + reading(client_id=b"patient8")))
    assert ward["B"].refusals() == [ErrorCode.E_STATE, ErrorCode.E_FORMAT]
    assert ward["B"].reported(Forward) == []
    assert ward.visit("B") is None


def test_HO11_the_next_move_lets_the_broker_before_it_go(ward: Ward) -> None:
    hand_over(ward, "B", 1)
    ward.carry("A", ward["A"].command(home_of(CLIENT), SessionMoved(1)))
    hand_over(ward, "C", 2)
    assert ward["B"].reported(Moved) == [Moved(CLIENT, C, 2 - 1)]
    assert ward["A"].reported(Moved) == [Moved(CLIENT, B, 1)]  # nothing waits at home any more
    assert ward.visit("C").stay.origin == B
    assert ward.home().notices == ()
    ward["B"].command(visit_of(CLIENT), SessionMoved(1))
    assert ward["B"].reported(CloseAccount) == [CloseAccount(CLIENT)]
    assert ward.visit("B") is None


def test_HO11_a_broker_that_cannot_be_reached_is_told_again(ward: Ward) -> None:
    hand_over(ward, "B", 1)
    ward.lost.add("B")
    hand_over(ward, "C", 2)
    assert len(ward.home().notices) == 1
    ward["A"].reboot()
    ward.lost.clear()
    ward.pass_time(31)
    assert ward.home().notices == ()
    assert ward.visit("B").stay.leaving == C


def test_HO17_the_home_broker_reports_each_move_once(ward: Ward) -> None:
    hand_over(ward, "B", 1)
    hand_over(ward, "B", 2)  # it has asked the same broker again: no move
    hand_over(ward, "C", 3)
    ward.connect()
    ward.connect()
    expected = [HandedOver(CLIENT, A, B, 1), HandedOver(CLIENT, B, C, 3), HandedOver(CLIENT, C, A, 3)]
    assert ward["A"].reported(HandedOver) == expected
    assert ward["B"].reported(HandedOver) == ward["C"].reported(HandedOver) == []


def test_HO17_who_is_not_handed_over_is_not_reported(ward: Ward) -> None:
    hand_over(ward, "B", 5)
    state, request = begin(ward, C, 5)
    assert denied(ward, "C", state, request) is ErrorCode.E_HO_CTR
    assert ward["A"].reported(HandedOver) == [HandedOver(CLIENT, A, B, 5)]


def test_HO11_nobody_but_the_home_broker_ends_a_stay(ward: Ward) -> None:
    hand_over(ward, "B", 1)
    forged = Between(CLIENT, release(Secret(bytes(32)), CLIENT, 1, C)).encode()
    stale = Between(CLIENT, release(ward.visit("B").stay.K_v, CLIENT, 7, C)).encode()
    for data in (forged, stale):
        assert ward["B"].take(Received("C", data)) == []
    assert ward["B"].refusals() == [ErrorCode.E_AUTH, ErrorCode.E_UNKNOWN_ID]
    assert ward.visit("B").stay.leaving is None


def test_HO12_back_home_with_connauth(ward: Ward) -> None:
    hand_over(ward, "B", 1)
    ward["A"].command(home_of(CLIENT), SessionMoved(1))
    ward.connect()
    assert isinstance(ward.home().held.place, Here)
    assert ward["B"].reported(Moved) == [Moved(CLIENT, A, 1)]
    assert ward.home().held.last_ctr == 1
    assert hand_over(ward, "B", 2).ho_ctr == 2


def test_HO13_forged_requests_do_not_keep_the_client_out(ward: Ward) -> None:
    for _ in range(MOST_RUNS):
        ward["B"].take(Received(MOTE, begin(ward, B, 1, K_home=Secret(bytes(32)))[1]))
    state, request = begin(ward, B, 1)
    ward["B"].take(Received(MOTE, request))
    assert ward["B"].refusals() == [ErrorCode.E_LIMIT]
    ward.pass_time(9)  # the forged ones are over
    (answer,) = ward.tell("B", request)
    client.finish(state, answer)
    assert ward["B"].context.tally.waiting == 0


def test_HO13_an_error_about_a_forged_request_does_not_end_the_real_one(ward: Ward) -> None:
    _, forged = begin(ward, B, 1, K_home=Secret(bytes(32)))
    state, request = begin(ward, B, 1)
    (first,) = ward["B"].take(Received(MOTE, forged))
    (second,) = ward["B"].take(Received(MOTE, request))
    ward.carry("B", [first])
    ward.carry("B", [second])
    client.finish(state, ward.heard[-1])


def test_BA01_a_ticket_opens_an_account_with_the_derived_password(ward: Ward) -> None:
    account = ward["A"].accounts[CLIENT]
    held = ward.home().held
    assert account.password == lower_layer_key(ward.K_home, held.nCs[-1], held.nB)
    assert not account.session
    ward["A"].accounts.clear()
    ward["A"].reboot()
    assert ward["A"].accounts[CLIENT] == account


def test_BA02_a_nonce_counts_once_among_the_last_sixty_four(ward: Ward) -> None:
    ticket = ward.ticket("A", ticket_id=b"ticket-2")
    asked = connect(ward.K_home, CLIENT, ticket, SeededEntropy(b"replayed"))
    assert len(ward.tell("A", asked)) == 1
    for _ in range(63):
        assert ward.tell("A", asked) == []
        ward.connect("A", ticket)
    ward["A"].reboot()
    assert ward.tell("A", asked) == []
    assert set(ward["A"].refusals()) == {ErrorCode.E_REPLAY}
    assert len(ward.home().held.nCs) == 64


def test_BA03_a_ticket_lives_from_its_first_connect_on(ward: Ward) -> None:
    ward.pass_time(LIFE_S - 1)
    ward.connect()
    ward.pass_time(1)
    assert ward["A"].reported(CloseAccount) == [CloseAccount(CLIENT)]
    asked = connect(ward.K_home, CLIENT, ward.ticket("A"), ward.entropy)
    assert ward.tell("A", asked) == []
    assert ward["A"].refusals()[-1] is ErrorCode.E_TICKET
    ward["A"].reboot()
    assert ward.tell("A", asked) == []
    ward.connect("A", ward.ticket("A", ticket_id=b"ticket-2"))


def test_BA04_whose_rights_are_taken_back_is_out_everywhere(ward: Ward) -> None:
    hand_over(ward, "B", 1)
    ward.carry("A", ward["A"].command(home_of(CLIENT), Revoke()))
    assert ward["A"].reported(CloseAccount) == ward["B"].reported(CloseAccount) == [CloseAccount(CLIENT)]
    assert ward.visit("B") is None
    gone = replace(ward.federation, gone=frozenset({CLIENT}))
    for agent in ward.agents.values():
        agent.context = replace(agent.context, federation=gone)
    assert ward.tell("A", connect(ward.K_home, CLIENT, ward.ticket("A", ticket_id=b"ticket-2"), ward.entropy)) == []
    assert ward.tell("B", begin(ward, B, 2)[1]) == []


def test_BA05_what_is_broken_changes_nothing(ward: Ward) -> None:
    asked = connect(ward.K_home, CLIENT, ward.ticket("A", ticket_id=b"ticket-2"), ward.entropy)
    _, request = begin(ward, B, 1)
    held = ward.home().held
    for name, data in (("A", asked), ("B", request)):
        for at in range(0, len(data), 3):
            ward.tell(name, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert ward.home().held == held
    assert all(isinstance(report, Refused) for report in ward["B"].reports)
    assert set(ward["B"].accounts) == set()
    assert isinstance(Connauth.decode(asked, SIZES), Connauth)


@pytest.mark.parametrize(
    ("pattern", "topic", "covered"),
    [
        ("w/#", "w", True), ("w/#", "w/7/hr", True), ("w/+", "w/7/hr", False), ("+/7/#", "w/7/hr", True), ("#", "w", True),
        ("#", "$SYS/x", False), ("+/x", "$SYS/x", False), ("$SYS/#", "$SYS/x", True),
        ("w/7", "w/7/hr", False), ("w/7/hr", "w/7", False),
    ],
)  # fmt: skip
def test_HO14_filters_cover_topics_as_mqtt_says(pattern: str, topic: str, covered: bool) -> None:
    assert matches(pattern, topic) is covered


def test_HO15_a_moved_client_is_away_with_its_queue_first_owed_then_paid(ward: Ward) -> None:
    hand_over(ward, "B", 1)
    assert ward.home().held.place == Away(B, 1, ward.visit("B").stay.K_v, moved=False)
    ward["A"].reboot()
    assert ward["A"].reported(Moved) == [Moved(CLIENT, B, 1)] * 2  # what was not finished is asked for again
    ward["A"].command(home_of(CLIENT), SessionMoved(1))
    assert ward["A"].reported(CloseAccount) == [CloseAccount(CLIENT)]
    ward["A"].reboot()
    assert len(ward["A"].reported(Moved)) == 2


def test_BA06_where_the_broker_is_comes_from_its_agent(ward: Ward) -> None:
    for name in "AB":
        ward[name].context = replace(ward[name].context, place=f"127.0.0.1:{name}")
    ticket = ward.ticket("A", ticket_id=b"ticket-2")
    asked = connect(ward.K_home, CLIENT, ticket, ward.entropy)
    answer, at = ward.tell("A", asked)
    nC, nB = Connauth.decode(asked, SIZES).nC, admitted(ward.K_home, asked, answer)
    assert client.place_at_home(ward.K_home, nC, nB, at) == "127.0.0.1:A"
    state, request = begin(ward, B, 1)
    answer, there = ward.tell("B", request)
    visit = client.finish(state, answer)
    assert client.place_on_visit(visit, there) == "127.0.0.1:B"
    for forged in (at, there[:-1] + bytes([there[-1] ^ 1]), there.replace(b":B", b":C")):
        with pytest.raises(PeerFault, match="E_AUTH"):
            client.place_on_visit(visit, forged)
    with pytest.raises(PeerFault, match="E_AUTH"):
        client.place_at_home(ward.K_home, nC, bytes(16), at)


def test_HO12_back_home_with_a_new_ticket_the_session_is_made_before_the_queue_comes(ward: Ward) -> None:
    assert not ward["A"].accounts[CLIENT].session
    hand_over(ward, "B", 1)
    ward["A"].command(home_of(CLIENT), SessionMoved(1))
    ward.connect("A", ward.ticket("A", ticket_id=b"ticket-2"))
    assert ward["A"].accounts[CLIENT].session
    assert ward["B"].reported(Moved) == [Moved(CLIENT, A, 1)]
    assert ward.home().held.last_ctr == 0  # another K_home, other counts
