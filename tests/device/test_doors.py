"""Doors follow the sessions, and a session that is handed over is used by nobody here."""

import pytest
from doors_desk import KEYS, MANAGER, PEER, PSID

from keymote.device.faults import Expired, Exported, NotReady, Revoked
from keymote.device.session import State
from keymote.engine.exports import PskForm
from keymote.host.resources import Party

IDENTITY = PSID.hex() + KEYS.key_id.hex()
OTHER = bytes.fromhex("7766554433221100")


@pytest.mark.parametrize("late", [False, True], ids=["attached before", "attached after"])
async def test_a_session_opens_every_door_whenever_it_was_attached(desk, late):
    if late:
        desk.opened(initiator=False)
    desk.node.doors.attach_resources(desk.resources)
    if not late:
        desk.opened(initiator=False)
    parameters, peer = desk.resources.admitted[PSID]
    assert (parameters.sender_id, parameters.recipient_id, peer) == (b"\x01", b"\x00", PEER.hex())
    assert desk.node.doors.key_of(IDENTITY).expose() == KEYS.dtls_psk.expose()[:16].hex().encode()
    assert desk.node.doors.party_of(IDENTITY) == Party(PSID, PEER.hex())
    assert desk.node.doors.key_of(IDENTITY[::-1]) is None
    assert desk.node.doors.party_of(IDENTITY[::-1]) is None


@pytest.mark.parametrize("revoked", [False, True])
async def test_RV06_the_end_of_a_session_shuts_its_doors_and_no_other(desk, revoked):
    desk.node.doors.attach_resources(desk.resources)
    desk.node.doors.attach_connections(desk.connections)
    session, other = desk.opened(), desk.opened(OTHER)
    desk.ended(revoked=revoked)
    assert set(desk.resources.admitted) == {OTHER}
    assert desk.connections.ended == [(IDENTITY, False)]  # a handshake under way must not find the key any more
    assert desk.node.doors.key_of(IDENTITY) is None
    with pytest.raises(Revoked if revoked else Expired):
        session.keys()
    assert other.state is State.ACTIVE
    desk.ended(revoked=revoked)  # said twice
    assert len(desk.connections.ended) == 1


async def test_a_handed_over_session_is_used_by_nobody_here(desk):
    desk.node.doors.attach_resources(desk.resources)
    desk.node.doors.attach_connections(desk.connections)
    session = desk.opened()
    assert session.hand_over() is KEYS
    assert session.state is State.HANDED_OVER
    assert desk.resources.admitted == {}
    assert desk.connections.ended == [(IDENTITY, False)]
    for use in (session.keys, session.hand_over, lambda: session.protect(b"x"), lambda: session.unprotect(b"x")):
        with pytest.raises(Exported):
            use()
    with pytest.raises(Exported):
        await session.request("GET", "temperature")
    desk.node.doors.attach_resources(desk.resources)  # resources that come later do not get it either
    assert desk.resources.admitted == {}


async def test_a_context_that_we_have_used_is_not_handed_over(desk):
    desk.node.doors.attach_resources(desk.resources)
    session = desk.opened()
    desk.resources.used.add(PSID)
    with pytest.raises(Exported, match="in use here"):
        session.hand_over()
    assert session.state is State.ACTIVE
    assert PSID in desk.resources.admitted
    assert session.keys() is KEYS  # who reads along needs no nonce


async def test_a_request_goes_to_where_the_peer_was_heard(desk):
    session = desk.opened()
    answered = await session.request("PUT", "valve", b"open", content_format=0)
    assert answered.payload == b"21.5 C"
    assert desk.resources.asked == [(PSID, "coap://127.0.0.1:5683", "PUT", "valve", b"open", 0)]
    for unknown in ("", MANAGER):
        desk.runtime.peer = unknown
        with pytest.raises(NotReady, match="address"):
            await session.request("GET", "valve")
    await session.request("GET", "valve", at="coap://127.0.0.1:3")
    assert desk.resources.asked[-1][1] == "coap://127.0.0.1:3"


async def test_the_form_of_the_key_is_the_devices(desk):
    from keymote.device.doors import Doors
    from keymote.engine.faces import KeyReady

    doors = Doors(PskForm.BINARY16)
    doors.open(KeyReady(PSID, True, PEER, KEYS))
    assert doors.key_of(IDENTITY).expose() == KEYS.dtls_psk.expose()[:16]
