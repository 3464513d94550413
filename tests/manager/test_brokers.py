"""The brokers of a manager: who is whose home, what a ticket says, and the list that agents believe."""

import pytest
from gatehouse import Shelf

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.hpke import SealingKey
from keymote.crypto.secret import Secret
from keymote.crypto.suites import SUITES
from keymote.engine.handover.listing import kid_of, read_list
from keymote.engine.policy.topic_charter import TopicGrant, TopicRule
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.manager.brokers import Brokers, SignedList
from keymote.wire import signed
from keymote.wire.federation import BrokerCard, FederationList
from keymote.wire.topic import Right

NM_ID, CLIENT, OTHER = b"manager1", b"\x01" * 8, b"\x02" * 8
KEY = SUITES[1].signing_key(Secret(bytes(32)))
RULES = [
    TopicRule("w/#", 1, grants=(TopicGrant(CLIENT, 2),)),
    TopicRule("w/+/alarm", 2, emergency=True, grants=(TopicGrant(CLIENT, 1), TopicGrant(OTHER, 3))),
]


def card(name: bytes, mqtt: str = "127.0.0.1:1883") -> bytes:
    key = SUITES[1].signing_key(Secret(name * 4))
    sealing = SealingKey.of(Secret(name * 4)).public
    return signed.write(key, BrokerCard(name, key.public, sealing, bytes(400), "https://a:1", "coap://a:2", mqtt))


def brokers(shelf: Shelf, gone: tuple[bytes, ...] = ()) -> Brokers:
    entropy = SeededEntropy(b"brokers")
    return Brokers(shelf, KEY, SUITES[1], NM_ID, entropy, lambda: 1_800_000_000, lambda: RULES, lambda: gone)


def read(found: SignedList, after: int = -1, nm_id: bytes = NM_ID) -> object:
    verifier = SUITES[1].verify_key(KEY.public)
    return read_list(found.statement, found.content, nm_id, verifier, SUITES[1], after=after)


async def test_BA15_the_first_broker_is_home_unless_another_is_assigned() -> None:
    shelf = Shelf()
    made = brokers(shelf)
    assert made.terms(CLIENT) is None
    first, second = await made.add(card(b"broker-A")), await made.add(card(b"broker-B"))
    terms = made.terms(CLIENT)
    assert terms is not None
    assert (terms.broker_id, terms.K_ts_broker) == (b"broker-A", first.shared)
    assert terms.rights == (Right("w/#", 2), Right("w/+/alarm", 1))
    assert made.terms(b"\x03" * 8) is None  # nothing is granted to it
    await made.assign(CLIENT, second)
    again = brokers(shelf)  # after a restart
    terms = again.terms(CLIENT)
    assert terms is not None
    assert (terms.broker_id, terms.K_ts_broker) == (b"broker-B", second.shared)
    assert list(again.all()) == [b"broker-A", b"broker-B"]
    await again.remove(again.named(b"broker-B".hex()))
    terms = again.terms(CLIENT)
    assert terms is not None
    assert terms.broker_id == b"broker-A"
    assert brokers(shelf, gone=(CLIENT,)).terms(CLIENT) is None


async def test_BA15_a_new_card_takes_the_place_of_the_old_one_under_a_new_key() -> None:
    made = brokers(Shelf())
    before = await made.add(card(b"broker-A"))
    after = await made.add(card(b"broker-A", "127.0.0.1:1999"))
    assert after.number == before.number
    assert after.shared != before.shared
    with pytest.raises(CallerFault, match="no agent's card"):
        await made.add(card(b"broker-A")[:-1] + b"\0")
    with pytest.raises(CallerFault, match="no broker"):
        made.named("00" * 8)


async def test_BA15_a_list_has_a_new_number_exactly_when_it_says_something_new() -> None:
    shelf = Shelf()
    made = brokers(shelf)
    await made.add(card(b"broker-A"))
    first = await made.current()
    assert (first.version, await made.current()) == (1, first)
    assert await brokers(shelf).current() == first
    await made.add(card(b"broker-B"))
    second = await made.current()
    assert second.version == 2
    gone = await brokers(shelf, gone=(OTHER,)).current()
    assert gone.version == 3
    assert FederationList.decode(gone.content).gone == (OTHER,)
    assert FederationList.decode(gone.content).emergency == ("w/+/alarm",)


async def test_BA10_a_list_is_believed_from_its_system_and_unchanged() -> None:
    made = brokers(Shelf())
    raw = card(b"broker-A")
    await made.add(raw)
    found = await made.current()
    listed = read(found)
    assert listed.federation.brokers[b"broker-A"].kid == kid_of(raw)  # type: ignore[attr-defined]
    for changed, code in (
        (found._replace(content=found.content + b"\x80"), ErrorCode.E_AUTH),
        (found._replace(statement=found.statement[:-1] + b"\0"), ErrorCode.E_AUTH),
    ):
        with pytest.raises(PeerFault) as fault:
            read(changed)
        assert fault.value.code is code
    with pytest.raises(PeerFault, match="E_EPOCH"):
        read(found, after=1)
    with pytest.raises(PeerFault, match="another manager"):
        read(found, nm_id=b"manager2")
