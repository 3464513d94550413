"""How a broker's agent knows a client whom the trusted system sent: TICKET, CONNAUTH and its answer (Triad-1 4.4, 8)."""

from dataclasses import replace
from typing import Final

from keymote import cbor
from keymote.crypto.aead import AES_CCM_16_128_128
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import lexp, mac16
from keymote.crypto.secret import Secret, equal
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.fields import sizes_of
from keymote.wire.topic import ConnackAuth, Connauth, Ticket, TicketBody

_SIZES: Final = sizes_of(1)
_NONCE_C: Final = 8
_NONCE_B: Final = 16
_ACK: Final = b"ack"


def issue_ticket(shared: Secret, broker_id: bytes, body: TicketBody, entropy: Entropy) -> bytes:
    """Return the TICKET of `body` for a broker that shares 32 bytes with the trusted system; AES-CCM-16-128-128."""
    nonce = entropy.draw(AES_CCM_16_128_128.nonce_size)
    ct = AES_CCM_16_128_128.seal_with(shared, nonce, _ticket_aad(broker_id), body.encode())
    return Ticket(broker_id, nonce, ct).encode()


def open_ticket(shared: Secret, broker_id: bytes, data: bytes) -> TicketBody:
    """Return what a TICKET for this broker says; E_FORMAT, or E_TICKET for another broker's, a forged or a changed one."""
    ticket = Ticket.decode(data, _SIZES)
    if ticket.broker_id != broker_id:
        raise PeerFault(ErrorCode.E_TICKET, "a ticket for another broker")
    try:
        plaintext = AES_CCM_16_128_128.open_with(shared, ticket.nonce, _ticket_aad(broker_id), ticket.ct)
    except PeerFault:
        raise PeerFault(ErrorCode.E_TICKET, "a ticket that the trusted system did not issue") from None
    return TicketBody.decode(plaintext, _SIZES)


def connect(K_home: Secret, client_id: bytes, ticket: bytes, entropy: Entropy) -> bytes:
    """Return the CONNAUTH of a client that holds K_home."""
    unsigned = Connauth(client_id, ticket, entropy.draw(_NONCE_C), bytes(16))
    return replace(unsigned, tag=_connauth_tag(K_home, unsigned)).encode()


def admit(shared: Secret, broker_id: bytes, data: bytes, entropy: Entropy) -> tuple[Connauth, TicketBody, bytes]:
    """Return what a client asks for, what its ticket allows, and the answer.

    Whether its nC is new among the last 64, and the ticket still lives, is for who keeps them.

    Raises:
        PeerFault: E_FORMAT, E_TICKET (see `open_ticket`, or another client's), E_AUTH (tag).
    """
    request = Connauth.decode(data, _SIZES)
    body = open_ticket(shared, broker_id, request.ticket)
    if body.client_id != request.client_id:
        raise PeerFault(ErrorCode.E_TICKET, "a ticket of another client")
    K_home = Secret(body.K_home)
    if not equal(_connauth_tag(K_home, request), request.tag):
        raise PeerFault(ErrorCode.E_AUTH, "whoever connects does not hold the key in its ticket")
    nB = entropy.draw(_NONCE_B)
    return request, body, ConnackAuth(nB, _ack_tag(K_home, request.nC, nB)).encode()


def admitted(K_home: Secret, connauth: bytes, data: bytes) -> bytes:
    """Return nB if the CONNACK-AUTH in `data` comes from who opened the ticket of `connauth`; E_AUTH else."""
    nC, answer = Connauth.decode(connauth, _SIZES).nC, ConnackAuth.decode(data, _SIZES)
    if not equal(_ack_tag(K_home, nC, answer.nB), answer.tag):
        raise PeerFault(ErrorCode.E_AUTH, "the broker does not hold the key in the ticket")
    return answer.nB


def lower_layer_key(K_home: Secret, nC: bytes, nB: bytes) -> Secret:
    """Return lexp(K_home, "C/conn", nC ‖ nB, 32): DTLS-PSK, MQTT-SN security, or the password at the broker."""
    return lexp(K_home, "C/conn", nC + nB)


def _ticket_aad(broker_id: bytes) -> bytes:
    """Return CBOR["TRIAD1", 53, broker_id]."""
    return cbor.encode_array("TRIAD1", Ticket.mt, broker_id)


def _connauth_tag(K_home: Secret, request: Connauth) -> bytes:
    return mac16(lexp(K_home, "C/conn", request.nC), request.encode(without=1))


def _ack_tag(K_home: Secret, nC: bytes, nB: bytes) -> bytes:
    return mac16(lexp(K_home, "C/conn", nC), _ACK, nC, nB)
