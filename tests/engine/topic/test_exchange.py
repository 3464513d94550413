"""KREQ, KRESP, KACK, KPUSH between a client and its trusted system: lost, repeated, replayed, forged."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.metered import MeteredSuite
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.crypto.suites import SUITES, suite_by_id
from keymote.engine.topic.exchange import (
    MOST_OPEN,
    Acknowledged,
    ClientEnd,
    Granted,
    Outdated,
    Receipt,
    Repeated,
    SystemEnd,
    Wanted,
    acknowledge,
    answer,
    hear,
    push,
    request,
    take,
)
from keymote.engine.topic.key_chain import KeyChain
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.topic import CONNECT, PUBLISH, SUBSCRIBE, KeyGrant, Kreq

ID, PSS, TOPIC = b"client-1", Secret(bytes(range(32))), "w/7/hr"
SIZES = sizes_of(1)


def grant(number: int) -> KeyGrant:
    return KeyGrant(b"sess%04d" % number, number, 1, 1, bytes([number]) * 32, 0, 1000, 86_400)


def receipt(number: int, role: int = PUBLISH) -> Receipt:
    return Receipt(b"sess%04d" % number, number, 1, role)


def ends(suite: Suite | None = None) -> tuple[ClientEnd, SystemEnd]:
    chain = KeyChain.begin(ID, PSS)
    return ClientEnd(suite or suite_by_id(1), chain), SystemEnd(suite or suite_by_id(1), chain)


def wanted(system: SystemEnd, data: bytes) -> Wanted:
    found = hear(system, data)
    assert isinstance(found, Wanted)
    return found


def granted(client: ClientEnd, data: bytes) -> Granted:
    found = take(client, data)
    assert isinstance(found, Granted)
    return found


def code_of(call: object, *args: object) -> ErrorCode:
    assert callable(call)
    with pytest.raises(PeerFault) as fault:
        call(*args)
    return fault.value.code


@pytest.fixture
def entropy() -> SeededEntropy:
    return SeededEntropy(b"exchange")


@pytest.mark.parametrize("suite", SUITES)
def test_TK31_a_grant_reaches_who_asked_and_both_step(suite: int, entropy: SeededEntropy) -> None:
    client, system = ends(suite_by_id(suite))
    client, asked = request(client, TOPIC, PUBLISH, entropy)
    want = wanted(system, asked)
    assert (want.request.topic, want.request.role, want.confirmed) == (TOPIC, PUBLISH, None)
    system, answered = answer(want, grant(1))
    client, said, got, _ = granted(client, answered)
    heard = acknowledge(system, said)
    assert isinstance(heard, Acknowledged)
    assert (got, heard.receipt) == (grant(1), receipt(1))
    assert client.chain == heard.end.chain
    assert (client.chain.k, client.asked, heard.end.open) == (1, (), ())


def test_TK31_a_push_is_a_grant_that_nobody_asked_for(entropy: SeededEntropy) -> None:
    client, system = ends()
    system, pushed = push(system, grant(2), entropy)
    client, said, got, _ = granted(client, pushed)
    heard = acknowledge(system, said)
    assert (got, heard.receipt, client.chain) == (grant(2), receipt(2), heard.end.chain)


def test_TK32_the_answer_to_one_request_opens_under_no_other(entropy: SeededEntropy) -> None:
    """C-08: a key that was learned once cannot be delivered again."""
    client, system = ends()
    _, first = request(client, TOPIC, PUBLISH, entropy)
    system, old = answer(wanted(system, first), grant(1))
    client, second = request(client, TOPIC, PUBLISH, entropy)
    assert code_of(take, client, old) is ErrorCode.E_AUTH, "recorded before this request"
    system, fresh = answer(wanted(system, second), grant(2))
    client, _, got, _ = granted(client, fresh)
    assert got == grant(2)
    for replayed in (old, fresh):
        assert take(client, replayed) == Repeated(client.acknowledged), "nothing is installed again"
    client = replace(client, chain=client.chain.step())
    assert code_of(take, client, fresh) is ErrorCode.E_REPLAY


def test_TK32_a_request_that_comes_again_gets_the_same_bytes(entropy: SeededEntropy) -> None:
    client, system = ends()
    client, asked = request(client, TOPIC, SUBSCRIBE, entropy)
    system, answered = answer(wanted(system, asked), grant(1))
    assert hear(system, asked) == Repeated(answered)


def test_TK33_a_later_request_at_one_k_gets_the_present_grant(entropy: SeededEntropy) -> None:
    """Not the first one's, whatever the text says: it may have expired in between (decision 0181)."""
    client, system = ends()
    client, first = request(client, TOPIC, PUBLISH, entropy)
    system, lost = answer(wanted(system, first), grant(1))
    client, second = request(client, TOPIC, PUBLISH, entropy)
    system, answered = answer(wanted(system, second), grant(2))
    after = granted(client, answered)
    assert after.grant == grant(2)
    assert acknowledge(system, after.kack).receipt == receipt(2)
    late = granted(client, lost)
    assert acknowledge(system, late.kack).receipt == receipt(1), "or the other, if that came first: the client decides"


def test_TK34_a_lost_acknowledgement_is_made_good_by_the_next_request(entropy: SeededEntropy) -> None:
    client, system = ends()
    client, asked = request(client, TOPIC, PUBLISH, entropy)
    system, answered = answer(wanted(system, asked), grant(1))
    client, *_ = granted(client, answered)
    client, asked = request(client, TOPIC, PUBLISH, entropy)
    want = wanted(system, asked)
    assert (want.confirmed, want.end.chain) == (receipt(1), client.chain)
    system, answered = answer(want, grant(2))
    assert granted(client, answered).grant == grant(2)


def test_TK34_a_number_ahead_is_good_only_where_a_grant_is_open(entropy: SeededEntropy) -> None:
    client, system = ends()
    ahead = replace(client, chain=client.chain.step())
    _, asked = request(ahead, TOPIC, PUBLISH, entropy)
    assert code_of(hear, system, asked) is ErrorCode.E_REPLAY
    _, twice = request(replace(ahead, chain=ahead.chain.step()), TOPIC, PUBLISH, entropy)
    opened, _ = push(system, grant(1), entropy)
    assert code_of(hear, opened, twice) is ErrorCode.E_REPLAY
    assert isinstance(hear(opened, asked), Wanted)


def test_TK34_of_an_answer_and_a_push_the_first_acknowledged_wins(entropy: SeededEntropy) -> None:
    client, system = ends()
    client, asked = request(client, TOPIC, PUBLISH, entropy)
    system, answered = answer(wanted(system, asked), grant(1))
    system, pushed = push(system, grant(2), entropy)
    client, said, got, _ = granted(client, pushed)
    assert take(client, answered) == Repeated(said), "stale by k"
    heard = acknowledge(system, said)
    assert (got, heard.receipt) == (grant(2), receipt(2))
    assert code_of(acknowledge, heard.end, said) is ErrorCode.E_AUTH


def test_TK35_forgeries_change_nothing(entropy: SeededEntropy) -> None:
    client, system = ends()
    client, asked = request(client, TOPIC, PUBLISH, entropy)
    answering, answered = answer(wanted(system, asked), grant(1))
    said = granted(client, answered).kack
    pushed = push(system, grant(1), entropy)[1]
    for end, hears, data in (
        (system, hear, asked),
        (client, take, answered),
        (answering, acknowledge, said),
        (client, take, pushed),
    ):
        for n in range(8 * len(data)):
            changed = data[: n // 8] + bytes([data[n // 8] ^ 1 << n % 8]) + data[n // 8 + 1 :]
            assert code_of(hears, end, changed) in {
                ErrorCode.E_FORMAT, ErrorCode.E_AUTH, ErrorCode.E_REPLAY, ErrorCode.E_UNKNOWN_ID,
            }  # fmt: skip


def test_TK35_another_client_knows_nothing(entropy: SeededEntropy) -> None:
    _, system = ends()
    stranger = ClientEnd(suite_by_id(1), KeyChain.begin(ID, Secret(bytes(32))))
    assert code_of(hear, system, request(stranger, TOPIC, PUBLISH, entropy)[1]) is ErrorCode.E_AUTH
    other = ClientEnd(suite_by_id(1), KeyChain.begin(b"client-2", PSS))
    assert code_of(hear, system, request(other, TOPIC, PUBLISH, entropy)[1]) is ErrorCode.E_UNKNOWN_ID


@pytest.mark.parametrize(("topic", "role"), [("", PUBLISH), ("", SUBSCRIBE), (TOPIC, CONNECT)])
def test_TK35_a_topic_fits_its_role(topic: str, role: int, entropy: SeededEntropy) -> None:
    client, system = ends()
    assert code_of(request, client, topic, role, entropy) is ErrorCode.E_FORMAT
    odd = Kreq(ID, 0, bytes(8), topic, role, bytes(8)).encode()
    assert code_of(hear, system, odd) is ErrorCode.E_FORMAT


def test_TK36_at_most_16_requests_at_one_k_and_none_is_sealed_twice(entropy: SeededEntropy) -> None:
    """Were an old request forgotten, its replay would be answered anew: two grants under one key and nonce (I-05)."""
    suite = MeteredSuite(suite_by_id(1))
    client, system = ends(suite)
    sent = []
    for number in range(MOST_OPEN):
        client, asked = request(client, TOPIC, PUBLISH, entropy)
        system, _ = answer(wanted(system, asked), grant(number))
        sent.append(asked)
    assert code_of(request, client, TOPIC, PUBLISH, entropy) is ErrorCode.E_LIMIT
    _, one_more = request(replace(client, asked=()), TOPIC, PUBLISH, entropy)
    assert code_of(hear, system, one_more) is ErrorCode.E_LIMIT
    assert all(isinstance(hear(system, asked), Repeated) for asked in sent)
    for number in range(3 * MOST_OPEN):
        system, _ = push(system, grant(number), entropy)
    assert len(system.open) == 2 * MOST_OPEN
    assert all(isinstance(hear(system, asked), Repeated) for asked in sent)
    assert set(suite.seals.values()) == {1}


def test_TC02_what_was_withdrawn_is_not_sent_again_and_may_still_be_acknowledged(entropy: SeededEntropy) -> None:
    client, system = ends()
    client, asked = request(client, TOPIC, PUBLISH, entropy)
    system, answered = answer(wanted(system, asked), grant(1))
    assert system.withdrawn(b"sess0001", 1) is system
    assert system.withdrawn(b"sess0002", 9) is system
    system = system.withdrawn(b"sess0001", 2)
    assert hear(system, asked) == Outdated(Kreq.decode(asked, SIZES))
    assert acknowledge(system, granted(client, answered).kack).receipt == receipt(1)


def test_TK37_what_is_left_after_a_step_opens_no_grant_before(entropy: SeededEntropy) -> None:
    """C-05: the state of a client at k = 1 beside everything that was on the air at k = 0."""
    client, system = ends()
    client, asked = request(client, TOPIC, PUBLISH, entropy)
    system, answered = answer(wanted(system, asked), grant(1))
    client, *_ = granted(client, answered)
    thief = ClientEnd(client.suite, replace(client.chain, k=0), (asked,))
    assert code_of(take, thief, answered) is ErrorCode.E_AUTH


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_TK38_both_ends_meet_again_whatever_was_lost_or_came_twice(data: st.DataObject) -> None:
    """C-16. Any messages sent so far come, in any order and number; then one exchange succeeds, on both sides alike."""
    suite, entropy = MeteredSuite(suite_by_id(1)), SeededEntropy(b"any")
    client, system = ends(suite)
    held: set[int] = set()
    to_client: list[bytes] = []
    to_system: list[bytes] = []
    for number in range(1, data.draw(st.integers(1, 26))):
        move = data.draw(st.sampled_from(["ask", "push", "to client", "to system"]))
        try:
            if move == "ask":
                client, asked = request(client, TOPIC, PUBLISH, entropy)
                to_system.append(asked)
            elif move == "push":
                system, pushed = push(system, grant(number), entropy)
                to_client.append(pushed)
            elif move == "to client" and to_client:
                found = take(client, data.draw(st.sampled_from(to_client)))
                if isinstance(found, Granted):
                    client = found.end
                    assert found.grant.epoch not in held, "no grant is installed twice"
                    held.add(found.grant.epoch)
                to_system.append(found.kack)
            elif to_system:
                said = data.draw(st.sampled_from(to_system))
                if said[1:3] == b"\x18\x32":
                    system = acknowledge(system, said).end
                else:
                    heard = hear(system, said)
                    if isinstance(heard, Wanted):
                        system, answered = answer(heard, grant(number))
                        to_client.append(answered)
        except PeerFault:
            pass
        assert client.chain.k - system.chain.k in {0, 1}
    try:
        client, asked = request(client, TOPIC, PUBLISH, entropy)
    except PeerFault:
        asked = client.asked[-1]
    heard = hear(system, asked)
    system, answered = answer(heard, grant(200)) if isinstance(heard, Wanted) else (system, heard[0])
    client, said, got, _ = granted(client, answered)
    last = acknowledge(system, said)
    assert last.receipt[:3] == (got.sess, got.epoch, got.snd)
    assert last.end.chain == client.chain
    assert set(suite.seals.values()) <= {1}
    assert Kreq.decode(asked, SIZES).k == client.chain.k - 1
