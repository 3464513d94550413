"""A client of a trusted system: what it asks, what it keeps, and what it tells its application."""

import pytest

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.crypto.suites import suite_by_id
from keymote.engine.base import Due, Failed, Now, Received, Send, Tell
from keymote.engine.link_faces import OWN_LINK, Forward
from keymote.engine.topic.client import chain_kind
from keymote.engine.topic.exchange import MOST_OPEN, SystemEnd, Wanted, acknowledge, answer, hear, push
from keymote.engine.topic.faces import (
    OWN_CHAIN,
    AskForKey,
    ForgetChain,
    KeyDenied,
    KeyTaken,
    Provision,
    Relocate,
    TicketTaken,
    TicketTerms,
)
from keymote.engine.topic.key_chain import KeyChain
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.lab.topics import SYSTEM, TopicWorld
from keymote.wire.topic import CONNECT, PUBLISH, SUBSCRIBE, KeyGrant, Publisher, Right

ID, TOPIC, KEY = b"client-1", "w/7/hr", b"\x5a" * 32
CHAIN = KeyChain.begin(ID, Secret(bytes(32)))
KIND = chain_kind(suite_by_id)
GRANT = KeyGrant(b"sess0001", 1, 4, 1, KEY, 0, 1000, 86_400)
FOR_SUBSCRIBER = KeyGrant(b"sess0001", 2, 5, 1, KEY, 0, 1000, 86_400, (Publisher(5), Publisher(6, bytes(32))))


class Client:
    """One cell, stepped by hand; every restart goes through its record."""

    def __init__(self, at: str = SYSTEM) -> None:
        self.entropy, self.mono = SeededEntropy(b"client"), 0.0
        self.cell, _ = KIND.step(None, Provision(ID, CHAIN.ck, 1, at), Now(0.0, 0), self.entropy)
        self.told: list[object] = []

    def hear(self, item: object) -> list[bytes]:
        """Hand an item in; return what is sent."""
        self.cell, outputs = KIND.step(self.cell, item, Now(self.mono, 0), self.entropy)
        sends = [each for each in outputs if isinstance(each, Send)]
        self.told += [each for each in outputs if not isinstance(each, Send)]
        assert all(send.peer == SYSTEM for send in sends)
        return [send.data for send in sends]

    def wait(self) -> list[bytes]:
        """Let time pass until the next deadline."""
        deadline = KIND.deadline(self.cell)
        assert deadline is not None
        self.mono = deadline
        return self.hear(Due())

    def restart(self) -> None:
        assert KIND.load is not None
        record = KIND.record(self.cell)
        assert record is not None
        assert KEY not in record
        assert len(record) < 1024
        self.cell = KIND.load(b"", record)


def answered(system: SystemEnd, data: bytes, grant: KeyGrant = GRANT) -> tuple[SystemEnd, bytes]:
    wanted = hear(system, data)
    assert isinstance(wanted, Wanted)
    return answer(wanted, grant)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def system() -> SystemEnd:
    return SystemEnd(suite_by_id(1), CHAIN)


def test_TC03_a_key_is_in_the_report_and_in_no_record(client: Client, system: SystemEnd) -> None:
    (asked,) = client.hear(AskForKey(TOPIC, PUBLISH))
    system, data = answered(system, asked)
    (said,) = client.hear(Received(SYSTEM, data))
    assert client.told == [KeyTaken(TOPIC, PUBLISH, GRANT)]
    assert acknowledge(system, said).end.chain == client.cell.end.chain
    client.restart()
    assert client.cell.topics == {}
    assert KEY.hex() not in repr(client.told)


def test_TC04_the_acknowledgement_is_stored_with_the_step_and_said_again(client: Client, system: SystemEnd) -> None:
    (asked,) = client.hear(AskForKey(TOPIC, PUBLISH))
    system, data = answered(system, asked)
    said = client.hear(Received(SYSTEM, data))
    for _ in range(2):
        assert client.hear(Received(SYSTEM, data)) == said
        client.restart()
    assert len(client.told) == 1
    assert client.cell.end.chain.k == 1


def test_TC04_a_push_is_taken_for_the_topic_that_its_session_is_of(client: Client, system: SystemEnd) -> None:
    (asked,) = client.hear(AskForKey(TOPIC, SUBSCRIBE))
    system, data = answered(system, asked, KeyGrant(b"sess0001", 1, 0, 1, KEY, 0, 1000, 86_400, ()))
    (said,) = client.hear(Received(SYSTEM, data))
    system = acknowledge(system, said).end
    system, pushed = push(system, FOR_SUBSCRIBER, client.entropy)
    (said,) = client.hear(Received(SYSTEM, pushed))
    assert client.told[1] == KeyTaken(TOPIC, SUBSCRIBE, FOR_SUBSCRIBER, FOR_SUBSCRIBER.publishers)
    system, pushed = push(acknowledge(system, said).end, GRANT, client.entropy)
    (said,) = client.hear(Received(SYSTEM, pushed))
    assert len(client.told) == 2, "it does not publish there, and says so to nobody"
    assert acknowledge(system, said).end.chain.k == 3


def test_TC05_a_repetition_is_the_same_bytes_and_silence_ends_all_wishes(client: Client) -> None:
    (asked,) = client.hear(AskForKey(TOPIC, PUBLISH))
    assert client.hear(AskForKey("w/7/t", SUBSCRIBE)) == client.hear(AskForKey("w/7/t", SUBSCRIBE)) == []
    assert client.wait() == [asked]
    assert client.mono == 2.0
    assert client.wait() == [asked]
    assert client.mono == 6.0
    assert client.wait() == []
    assert client.mono == 14.0
    timeout = ErrorCode.E_TIMEOUT
    assert client.told == [KeyDenied(TOPIC, PUBLISH, timeout), KeyDenied("w/7/t", SUBSCRIBE, timeout)]
    assert client.hear(Due()) == []


def test_TC05_a_reliable_link_that_gave_up_ends_them_at_once(client: Client) -> None:
    client.hear(AskForKey(TOPIC, PUBLISH))
    assert client.hear(Failed(SYSTEM, 0)) == []
    assert client.told == [], "on another message"
    assert client.hear(Failed(SYSTEM, 1)) == []
    assert client.told == [KeyDenied(TOPIC, PUBLISH, ErrorCode.E_TIMEOUT)]


@pytest.mark.parametrize("restarted", [False, True])
def test_TC05_after_16_requests_the_last_one_comes_again(client: Client, system: SystemEnd, restarted: bool) -> None:
    asked = []
    for _ in range(MOST_OPEN):
        asked += client.hear(AskForKey(TOPIC, PUBLISH))
        client.hear(Failed(SYSTEM, client.cell.requests))
        if restarted:
            client.restart()
    assert len(set(asked)) == MOST_OPEN
    assert client.hear(AskForKey("w/7/t", SUBSCRIBE)) == [asked[-1]]
    client.told.clear()
    _, data = answered(system, asked[-1])
    said, another = client.hear(Received(SYSTEM, data))
    assert client.told == [KeyTaken(TOPIC, PUBLISH, GRANT)], "what came of the older wish"
    assert another not in asked
    assert len(said) == 21


def test_TC06_one_request_is_under_way_and_64_wait(client: Client, system: SystemEnd) -> None:
    sends = [client.hear(AskForKey(f"t/{number}", PUBLISH)) for number in range(66)]
    assert sends[1:] == [[]] * 65
    assert client.told == [KeyDenied("t/65", PUBLISH, ErrorCode.E_LIMIT)]
    system, data = answered(system, sends[0][0])
    said, asked = client.hear(Received(SYSTEM, data))
    wanted = hear(acknowledge(system, said).end, asked)
    assert isinstance(wanted, Wanted)
    assert (wanted.request.topic, wanted.request.k) == ("t/1", 1)


def test_TC06_what_was_asked_at_a_number_that_has_passed_is_asked_anew(client: Client, system: SystemEnd) -> None:
    (asked,) = client.hear(AskForKey(TOPIC, PUBLISH))
    system, pushed = push(system, FOR_SUBSCRIBER, client.entropy)
    _, again = client.hear(Received(SYSTEM, pushed))
    assert again != asked
    wanted = hear(system, again)
    assert isinstance(wanted, Wanted)
    assert wanted.request.k == 1
    assert wanted.confirmed is not None


@pytest.mark.parametrize(
    "wish", [AskForKey("", PUBLISH), AskForKey(TOPIC, CONNECT), AskForKey("w/#", SUBSCRIBE), AskForKey("w/+", PUBLISH)],
    ids=str,
)  # fmt: skip
def test_TC09_a_wildcard_or_a_topic_that_does_not_fit_its_role_is_the_callers_fault(
    client: Client, wish: AskForKey
) -> None:
    with pytest.raises(CallerFault, match="concrete topic"):
        client.hear(wish)


def test_TC24_without_a_chain_nothing_is_asked_or_taken() -> None:
    cell, told = KIND.step(None, AskForKey(TOPIC, PUBLISH), Now(0.0, 0), SeededEntropy(b""))
    assert (cell, told) == (None, [KeyDenied(TOPIC, PUBLISH, ErrorCode.E_STATE)])
    with pytest.raises(PeerFault, match="no chain"):
        KIND.step(None, Received(SYSTEM, b"\x83\x18\x31"), Now(0.0, 0), SeededEntropy(b""))
    assert KIND.step(None, Due(), Now(0.0, 0), SeededEntropy(b"")) == (None, ())
    with pytest.raises(CallerFault, match="8"):
        KIND.step(None, Provision(b"short", CHAIN.ck, 1), Now(0.0, 0), SeededEntropy(b""))


def test_TC24_what_is_no_answer_changes_nothing(client: Client, system: SystemEnd) -> None:
    (asked,) = client.hear(AskForKey(TOPIC, PUBLISH))
    _, data = answered(system, asked)
    before = client.cell
    for wrong in (data[:-1] + bytes([data[-1] ^ 1]), asked, data[:-1], b"\x84\x18\x35" + bytes(99)):
        with pytest.raises(PeerFault):
            client.hear(Received(SYSTEM, wrong))
        assert client.cell is before


def test_TC24_a_chain_is_forgotten_and_moves_with_its_system(client: Client) -> None:
    client.hear(Relocate("elsewhere"))
    assert client.cell.at == "elsewhere"
    client.hear(ForgetChain())
    assert client.cell is None


def test_TC24_a_device_speaks_to_its_manager_where_its_link_was_last_seen() -> None:
    client = Client(at="")
    assert client.hear(AskForKey(TOPIC, PUBLISH)) == []
    (told,) = client.told
    assert isinstance(told, Tell)
    assert told.key == OWN_LINK
    assert isinstance(told.command, Forward)


# ------------------------------------------------------------------ tickets, with a trusted system


@pytest.fixture
def world() -> TopicWorld:
    world = TopicWorld(b"tickets")
    world.add("c", ID)
    world.tickets[ID] = TicketTerms(b"broker-1", Secret(bytes(32)), (Right("w/#", 3),), 600)
    return world


def tickets(world: TopicWorld) -> list[TicketTaken]:
    return world.sim.heard("c", TicketTaken)


def test_TC08_a_ticket_comes_with_its_key(world: TopicWorld) -> None:
    world.ask("c", "", CONNECT)
    world.sim.run_for(1.0)
    (taken,) = tickets(world)
    assert taken.life_s == 600
    assert taken.ticket[:3] == b"\x84\x18\x35"


def test_TC08_another_ticket_is_not_believed_and_a_late_one_is_waited_for(world: TopicWorld) -> None:
    other = TopicWorld(b"other")
    other.add("c", ID)
    other.tickets[ID] = TicketTerms(b"broker-1", Secret(bytes(32)), (), 600)
    other.ask("c", "", CONNECT)
    other.sim.run_for(1.0)
    (forged,) = tickets(other)
    held = []

    def hold_tickets(datagram: object) -> list[object]:
        if datagram.data[1:3] == b"\x18\x35":  # type: ignore[attr-defined]
            held.append(datagram.data)  # type: ignore[attr-defined]
            return []
        return [datagram]

    world.sim.adversary = hold_tickets  # type: ignore[assignment]
    world.ask("c", "", CONNECT)
    world.sim.run_for(1.0)
    world.sim.inject(SYSTEM, "c", forged.ticket)
    world.sim.run_for(0.5)
    assert tickets(world) == []
    world.sim.inject(SYSTEM, "c", held[0])
    world.sim.run_for(0.5)
    assert [taken.ticket for taken in tickets(world)] == held[:1]


def test_TC08_a_lost_ticket_is_asked_for_again_and_not_for_ever(world: TopicWorld) -> None:
    world.sim.adversary = lambda datagram: [] if datagram.data[1:3] == b"\x18\x35" else [datagram]
    world.ask("c", "", CONNECT)
    world.sim.run_for(60.0)
    assert world.sim.messages["c", 48] == 3
    assert world.sim.heard("c", KeyDenied) == [KeyDenied("", CONNECT, ErrorCode.E_TIMEOUT)]
    world.sim.adversary = lambda datagram: [datagram]
    world.ask("c", "", CONNECT)
    world.sim.run_for(1.0)
    assert len(tickets(world)) == 1


def test_TC08_who_may_not_connect_is_told_so(world: TopicWorld) -> None:
    world.tickets.clear()
    world.ask("c", "", CONNECT)
    world.sim.run_for(1.0)
    assert world.sim.heard("c", KeyDenied) == [KeyDenied("", CONNECT, ErrorCode.E_CRED)]
    assert world.sim.hosts["c"].cells[OWN_CHAIN].end.chain.k == 1
