"""The payload ratchet: order, loss, repetition, forgery and limits, in every cipher."""

import hmac
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keymote import cbor
from keymote.crypto import kdf
from keymote.crypto.aead import ASCON_AEAD128
from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.crypto.suites import suite_by_id
from keymote.engine.topic.ciphers import CIPHERS, DEFAULT, MOST_MESSAGES, cipher_of
from keymote.engine.topic.key_chain import KeyChain
from keymote.engine.topic.ratchet import MOST_FAILURES, WINDOW, Opened, Receiving, Sending
from keymote.errors import ErrorCode, PeerFault
from keymote.wire import pub
from keymote.wire.topic import KeyGrant

TOPIC = "w/7/hr"
GRANT = KeyGrant(b"sess0001", 3, 1, 2, bytes(range(32)), 0, 100_000, 86_400)
ALL = CIPHERS.keys()
every_cipher = pytest.mark.parametrize("cs", CIPHERS)


def code_of(receiving: Receiving, data: bytes) -> ErrorCode:
    """The code of a refusal that changed nothing."""
    with pytest.raises(PeerFault) as fault:
        receiving.unprotect(data)
    return fault.value.code


def readings(count: int, grant: KeyGrant = GRANT, topic: str = TOPIC) -> list[bytes]:
    sending, found = Sending.begin(topic, grant, enabled=ALL), []
    for number in range(count):
        sending, data = sending.protect(b"reading %d" % number)
        found.append(data)
    return found


def begin(grant: KeyGrant = GRANT, topic: str = TOPIC) -> Receiving:
    return Receiving.begin(topic, grant, grant.snd, enabled=ALL)


def opened(receiving: Receiving, data: bytes) -> tuple[Receiving, Opened]:
    receiving, result = receiving.unprotect(data)
    assert isinstance(result, Opened), result
    return receiving, result


def forged(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


# ------------------------------------------------------------------ the formulas


@given(c=st.binary(min_size=32, max_size=32), n=st.sampled_from([0, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1]))
def test_TK20_a_step_of_the_chain_is_two_expansions_by_hmac(c: bytes, n: int) -> None:
    """HKDF-Expand written out by `hmac.digest`, which shares no code with ours."""
    index = cbor.encode(n)
    info_mk = cbor.encode_array("TRIAD1/C/mk", index, 48)
    info_ck = cbor.encode_array("TRIAD1/C/ck", index, 32)
    one = hmac.digest(c, info_mk + b"\1", "sha256")
    two = hmac.digest(c, one + info_mk + b"\2", "sha256")
    mk, following = kdf.chain_step(Secret(c), index)
    assert mk == (one + two)[:48] == kdf.expand(Secret(c), "C/mk", index, 48)
    assert following.expose() == hmac.digest(c, info_ck + b"\1", "sha256") == kdf.expand(Secret(c), "C/ck", index, 32)


@pytest.mark.parametrize("file", ["triad1.json", "triad1-p256.json"])
def test_TK20_the_given_readings_are_ours(file: str) -> None:
    part: dict[str, Any] = json.loads((Path(__file__).parents[2] / "vectors" / file).read_text())["C"]
    inputs = part["inputs"]
    sess, key, pt = (bytes.fromhex(inputs[name]) for name in ("sess", "SK", "pt"))
    for cs, (text,) in part["publishes"].items():
        grant = KeyGrant(sess, inputs["epoch"], inputs["snd"], int(cs), key, inputs["n"], 10, 60)
        assert Sending.begin(inputs["topic"], grant).protect(pt)[1].hex() == text
        assert opened(Receiving.begin(inputs["topic"], grant, 1), bytes.fromhex(text))[1] == Opened(0, pt)
    chain = KeyChain.begin(bytes.fromhex(inputs["client_id"]), Secret(bytes.fromhex(part["pss"])))
    for expected in part["kresp_k0_k1"]:
        assert chain.sub("C/kresp", bytes.fromhex(inputs["kresp_ctx"])).expose().hex() == expected
        chain = chain.step()


@every_cipher
def test_TK20_every_cipher_carries_readings_from_one_end_to_the_other(cs: int) -> None:
    receiving = begin(replace(GRANT, cs=cs))
    for number, data in enumerate(readings(4, replace(GRANT, cs=cs))):
        receiving, result = opened(receiving, data)
        assert result == Opened(number, b"reading %d" % number)
        assert len(data) == 16 + 1 + 9 + CIPHERS[cs].tag_size + (1 if 9 + CIPHERS[cs].tag_size >= 24 else 0)


def test_TK21_ciphers_of_64_bit_blocks_are_off_unless_enabled_and_unknown_ones_are_none() -> None:
    assert {cs for cs in range(256) if cs in DEFAULT} == {1, 2, 3, 4}
    for cs in (0, 5, 15, 16, 17, 18, 19, 255):
        for begun in (
            lambda grant: Sending.begin(TOPIC, grant),
            lambda grant: Receiving.begin(TOPIC, grant, 1),
        ):
            with pytest.raises(PeerFault, match="E_SUITE"):
                begun(replace(GRANT, cs=cs))
    assert cipher_of(1) is ASCON_AEAD128


def test_TK21_a_session_of_64_bit_blocks_ends_after_a_million_readings() -> None:
    grant = replace(GRANT, cs=18, max_msgs=2**32 - 1)
    last = Sending.begin(TOPIC, grant, enabled=ALL)._replace(n=MOST_MESSAGES - 1)
    after, _ = last.protect(b"")
    with pytest.raises(PeerFault, match="E_LIMIT"):
        after.protect(b"")


# ------------------------------------------------------------------ order, loss, repetition


def test_TK22_a_reading_opens_once_in_whatever_order() -> None:
    receiving, data = begin(), readings(6)
    for number in (2, 0, 5, 1, 4, 3):
        receiving, result = opened(receiving, data[number])
        assert result.n == number
        assert code_of(receiving, data[number]) is ErrorCode.E_REPLAY
    assert receiving.skipped == {}
    assert {code_of(receiving, each) for each in data} == {ErrorCode.E_REPLAY}


def test_TK22_numbers_before_the_first_are_a_replay() -> None:
    grant = replace(GRANT, seq0=500)
    receiving, (data,) = begin(grant), readings(1, grant)
    assert opened(receiving, data)[1].n == 500
    early = pub.write(pub.read(data)._replace(n=499))
    assert code_of(receiving, early) is ErrorCode.E_REPLAY


def test_TK23_256_readings_may_be_lost_and_one_more_is_a_skip() -> None:
    receiving, data = begin(), readings(WINDOW + 2)
    assert code_of(receiving, data[WINDOW + 1]) is ErrorCode.E_SKIP
    receiving, result = opened(receiving, data[WINDOW])
    assert (result.n, len(receiving.skipped)) == (WINDOW, WINDOW)
    receiving, _ = opened(receiving, data[0])
    assert len(receiving.skipped) == WINDOW - 1


def test_TK23_the_oldest_skipped_keys_go_first() -> None:
    receiving, data = begin(), readings(2 * WINDOW + 2)
    for number in (WINDOW, 2 * WINDOW + 1):
        receiving, _ = opened(receiving, data[number])
    assert len(receiving.skipped) == WINDOW
    assert code_of(receiving, data[WINDOW - 1]) is ErrorCode.E_REPLAY
    assert opened(receiving, data[WINDOW + 1])[1].n == WINDOW + 1


def test_TK24_a_forged_reading_moves_nothing_and_destroys_no_key() -> None:
    """C-15: a naive receiver would advance to n and lose what lies between; C-13: or drop the key of a late one."""
    receiving, data = begin(), readings(300)
    receiving, _ = opened(receiving, data[3])
    before = receiving
    for number in (2, 4, 5, 4 + WINDOW):
        receiving, fault = receiving.unprotect(forged(data[number]))
        assert isinstance(fault, PeerFault)
        assert fault.code is ErrorCode.E_AUTH
    assert receiving == before._replace(failures=4)
    for number in (2, 4, 5, 4 + WINDOW):
        receiving, result = opened(receiving, data[number])
        assert result.n == number


def test_TK24_a_great_forged_number_is_refused_before_any_key_is_derived() -> None:
    (data,) = readings(1)
    receiving = begin()
    assert code_of(receiving, pub.write(pub.read(data)._replace(n=2**20 % 90_000))) is ErrorCode.E_SKIP
    assert opened(receiving, data)[1].n == 0


def test_TK25_forgeries_end_a_chain_at_65536_and_not_before() -> None:
    """C-19: 8-byte tags withstand 2^16 attempts a session."""
    receiving, data = begin()._replace(failures=MOST_FAILURES - 1), readings(2)
    receiving, fault = receiving.unprotect(forged(data[0]))
    assert isinstance(fault, PeerFault)
    assert code_of(receiving, data[0]) is ErrorCode.E_LIMIT
    assert opened(begin()._replace(failures=MOST_FAILURES - 1), data[0])[1].n == 0


# ------------------------------------------------------------------ what a reading belongs to


@pytest.mark.parametrize(
    "other",
    [
        {"epoch": 4},
        {"SK": bytes(32)},
        {"cs": 4},
        {"sess": b"sess0002"},
    ],
    ids=["epoch", "key", "cipher", "rest of sess"],
)
def test_TK26_a_reading_of_another_session_does_not_open(other: dict[str, Any]) -> None:
    """C-06: spliced from elsewhere under the same header bytes."""
    (data,) = readings(1, replace(GRANT, **other))
    _, result = begin().unprotect(data)
    assert isinstance(result, PeerFault)
    assert result.code is ErrorCode.E_AUTH


def test_TK26_a_reading_of_another_topic_does_not_open() -> None:
    (data,) = readings(1, topic="w/7/hR")
    assert isinstance(begin().unprotect(data)[1], PeerFault)


@pytest.mark.parametrize("other", [{"snd": 2}, {"sess": b"tess0001"}], ids=["sender", "session"])
def test_TK26_a_reading_of_another_sender_is_not_tried(other: dict[str, Any]) -> None:
    (data,) = readings(1, replace(GRANT, **other))
    assert code_of(begin(), data) is ErrorCode.E_UNKNOWN_ID


@pytest.mark.parametrize("data", [b"", b"garbage", b"\x82\x18\x34", b'{"hr": 72}', bytes(40)], ids=repr)
def test_TK26_what_is_no_reading_is_refused(data: bytes) -> None:
    assert code_of(begin(), data) is ErrorCode.E_FORMAT


# ------------------------------------------------------------------ signed topics


def test_TK27_a_signed_topic_takes_readings_of_its_publisher_alone() -> None:
    """C-12: every subscriber can compute the tag, none the countersignature."""
    suite = suite_by_id(1)
    publisher, insider = (suite.generate_signing_key(SeededEntropy(name)) for name in (b"publisher", b"insider"))
    key = suite.verify_key(publisher.public)
    _, data = Sending.begin(TOPIC, GRANT, publisher).protect(b"open the valve")
    receiving = Receiving.begin(TOPIC, GRANT, 1, key)
    assert opened(receiving, data)[1].plaintext == b"open the valve"
    _, by_insider = Sending.begin(TOPIC, GRANT, insider).protect(b"open the valve")
    (unsigned,) = readings(1)
    assert code_of(receiving, by_insider) is ErrorCode.E_AUTH
    assert code_of(receiving, unsigned) is ErrorCode.E_AUTH
    assert code_of(begin(), data) is ErrorCode.E_AUTH, "a countersignature that nobody here can check"
    changed = pub.read(data)._replace(ciphertext=forged(pub.read(data).ciphertext))
    assert isinstance(receiving.unprotect(pub.write(changed))[1], PeerFault)


# ------------------------------------------------------------------ sender, limits, erasure


def test_TK28_the_sender_stops_at_the_end_of_its_grant() -> None:
    grant = replace(GRANT, seq0=7, max_msgs=3)
    sending = Sending.begin(TOPIC, grant)
    for n in (7, 8, 9):
        sending, data = sending.protect(b"")
        assert pub.read(data).n == n
    with pytest.raises(PeerFault, match=r"E_LIMIT.*new epoch"):
        sending.protect(b"")
    beyond = pub.write(pub.read(data)._replace(n=10))
    assert code_of(begin(grant), beyond) is ErrorCode.E_LIMIT


def test_TK28_the_last_index_is_that_of_four_bytes() -> None:
    grant = replace(GRANT, seq0=2**32 - 1, max_msgs=2**32 - 1)
    sending, data = Sending.begin(TOPIC, grant).protect(b"last")
    assert opened(begin(grant), data)[1].n == 2**32 - 1
    with pytest.raises(PeerFault, match="E_LIMIT"):
        sending.protect(b"")


def test_TK28_a_reading_has_at_most_1024_bytes() -> None:
    sending = Sending.begin(TOPIC, GRANT)
    assert opened(begin(), sending.protect(bytes(1024))[1])[1].plaintext == bytes(1024)
    assert opened(begin(), sending.protect(b"")[1])[1].plaintext == b""
    with pytest.raises(PeerFault, match="E_LIMIT"):
        sending.protect(bytes(1025))


def test_TK29_a_later_state_opens_nothing_that_went_before() -> None:
    """What is left after reading n cannot decrypt a record of n (1.15)."""
    receiving, data = begin(), readings(3)
    for each in data[:2]:
        receiving, _ = opened(receiving, each)
    rewound = receiving._replace(n=1)
    _, result = rewound.unprotect(data[1])
    assert isinstance(result, PeerFault)
    assert receiving.skipped == {}


def test_TK29_states_do_not_show_their_keys() -> None:
    sending, receiving = Sending.begin(TOPIC, GRANT), opened(begin(), readings(3)[2])[0]
    for state in (sending, receiving, KeyChain.begin(b"client-1", Secret(bytes(range(32))))):
        assert "Secret(32 bytes)" in repr(state)
    assert "Secret(48 bytes)" in repr(receiving)


def test_TK29_a_key_is_never_used_for_two_readings() -> None:
    """Nonce and key together: one pair for each index, sender, epoch, session and topic."""
    seen = set()
    variants = [GRANT, replace(GRANT, epoch=4), replace(GRANT, snd=2), replace(GRANT, sess=b"sess0002")]
    chains = [(TOPIC, grant) for grant in variants] + [("w/8/hr", GRANT)]
    for topic, grant in chains:
        c = Sending.begin(topic, grant).c
        for n in range(50):
            mk, c = kdf.chain_step(c, cbor.uint(n))
            seen.add(mk)
    assert len(seen) == 50 * len(chains)


# ------------------------------------------------------------------ whatever the network does


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_TK22_TK24_every_reading_that_comes_is_opened_once_whatever_comes_between(data: st.DataObject) -> None:
    """Order, loss, repetition and forgery at will, within the window: exactly what arrived is opened, each once."""
    sent = readings(60)
    receiving, seen = begin(), set()
    for _ in range(data.draw(st.integers(1, 80))):
        number = data.draw(st.integers(0, len(sent) - 1))
        if data.draw(st.booleans()):
            if number in seen:
                assert code_of(receiving, forged(sent[number])) is ErrorCode.E_REPLAY
                continue
            changed, result = receiving.unprotect(forged(sent[number]))
            assert isinstance(result, PeerFault)
            assert changed == receiving._replace(failures=receiving.failures + 1)
            receiving = changed
        elif number in seen:
            assert code_of(receiving, sent[number]) is ErrorCode.E_REPLAY
        else:
            receiving, found = opened(receiving, sent[number])
            assert found == Opened(number, b"reading %d" % number)
            seen.add(number)


@given(data=st.binary(max_size=60))
def test_TK26_random_bytes_raise_nothing_but_a_peer_fault(data: bytes) -> None:
    for raw in (data, b"\x82\x18\x34\x83\x40\xa2\x04\x45" + data):
        try:
            _, result = begin().unprotect(raw)
        except PeerFault:
            continue
        assert isinstance(result, PeerFault)
