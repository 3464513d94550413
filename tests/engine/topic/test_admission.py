"""TICKET, CONNAUTH and its answer: who may connect, and what each failure is called."""

from dataclasses import replace

import pytest

from keymote.crypto.entropy import SeededEntropy
from keymote.crypto.secret import Secret
from keymote.engine.topic.admission import admit, admitted, connect, issue_ticket, lower_layer_key, open_ticket
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.topic import PUBLISH, SUBSCRIBE, Connauth, Right, TicketBody

SHARED, BROKER, CLIENT = Secret(b"ts and broker share these 32 by."), b"broker-1", b"client-1"
K_HOME = bytes(range(32))
BODY = TicketBody(CLIENT, K_HOME, (Right("w/#", SUBSCRIBE), Right("w/7/hr", PUBLISH)), 86_400, b"ticket-1")


def code_of(call: object, *args: object) -> ErrorCode:
    assert callable(call)
    with pytest.raises(PeerFault) as fault:
        call(*args)
    return fault.value.code


@pytest.fixture
def entropy() -> SeededEntropy:
    return SeededEntropy(b"admission")


def test_TK40_a_client_with_a_ticket_and_its_broker_know_each_other(entropy: SeededEntropy) -> None:
    ticket = issue_ticket(SHARED, BROKER, BODY, entropy)
    asked = connect(Secret(K_HOME), CLIENT, ticket, entropy)
    request, body, answered = admit(SHARED, BROKER, asked, entropy)
    assert body == BODY
    nB = admitted(Secret(K_HOME), asked, answered)
    assert len(nB) == 16
    assert lower_layer_key(Secret(K_HOME), request.nC, nB) != lower_layer_key(Secret(K_HOME), request.nC, bytes(16))


def test_TK41_a_ticket_is_for_one_broker_and_from_the_trusted_system(entropy: SeededEntropy) -> None:
    ticket = issue_ticket(SHARED, BROKER, BODY, entropy)
    assert open_ticket(SHARED, BROKER, ticket) == BODY
    assert code_of(open_ticket, SHARED, b"broker-2", ticket) is ErrorCode.E_TICKET
    assert code_of(open_ticket, Secret(bytes(32)), BROKER, ticket) is ErrorCode.E_TICKET
    renamed = ticket.replace(BROKER, b"broker-2")
    assert code_of(open_ticket, SHARED, b"broker-2", renamed) is ErrorCode.E_TICKET
    for n in range(8 * len(ticket)):
        changed = ticket[: n // 8] + bytes([ticket[n // 8] ^ 1 << n % 8]) + ticket[n // 8 + 1 :]
        assert code_of(open_ticket, SHARED, BROKER, changed) in {ErrorCode.E_TICKET, ErrorCode.E_FORMAT}


def test_TK42_a_ticket_without_its_key_admits_nobody(entropy: SeededEntropy) -> None:
    ticket = issue_ticket(SHARED, BROKER, BODY, entropy)
    assert (
        code_of(admit, SHARED, BROKER, connect(Secret(bytes(32)), CLIENT, ticket, entropy), entropy) is ErrorCode.E_AUTH
    )
    other = connect(Secret(K_HOME), b"client-2", ticket, entropy)
    assert code_of(admit, SHARED, BROKER, other, entropy) is ErrorCode.E_TICKET
    asked = connect(Secret(K_HOME), CLIENT, ticket, entropy)
    moved = replace(Connauth.decode(asked, sizes_of(1)), nC=bytes(8)).encode()
    assert code_of(admit, SHARED, BROKER, moved, entropy) is ErrorCode.E_AUTH


def test_TK42_a_broker_without_the_key_is_not_taken_for_the_right_one(entropy: SeededEntropy) -> None:
    ticket = issue_ticket(SHARED, BROKER, BODY, entropy)
    asked = connect(Secret(K_HOME), CLIENT, ticket, entropy)
    _, _, answered = admit(SHARED, BROKER, asked, entropy)
    again = connect(Secret(K_HOME), CLIENT, ticket, entropy)
    assert code_of(admitted, Secret(K_HOME), again, answered) is ErrorCode.E_AUTH, "an answer to another CONNAUTH"
    assert code_of(admitted, Secret(bytes(32)), asked, answered) is ErrorCode.E_AUTH
    assert code_of(admitted, Secret(K_HOME), asked, answered[:-1] + b"\0") is ErrorCode.E_AUTH
