"""Messages of topic keys: sizes, header bytes and what their own field types refuse; the rest stands in test_messages."""

import cbor2
import pytest

from keymote.errors import ErrorCode, PeerFault
from keymote.wire import pub, topic
from keymote.wire.cose import Sign1
from keymote.wire.fields import sizes_of
from keymote.wire.gsec import enc_structure
from keymote.wire.pub import Published

SIZES = sizes_of(1)
ID, N, MAC = bytes(8), bytes(8), bytes(16)


def refused(data: bytes) -> None:
    with pytest.raises(PeerFault) as fault:
        topic.TicketBody.decode(data, SIZES)
    assert fault.value.code is ErrorCode.E_FORMAT


def test_TK10_every_message_has_the_size_of_the_registry() -> None:
    """Triad-1 1.12: topic w/7/hr, filter w/#, max_msgs and life_s from 65 536 on."""
    grant = topic.KeyGrant(ID, 3, 1, 1, bytes(32), 0, 65_536, 86_400).encode()
    body = topic.TicketBody(ID, bytes(32), (topic.Right("w/#", 1),), 86_400, ID).encode()
    ticket = topic.Ticket(ID, bytes(13), body + MAC).encode()
    request = topic.HoReq(ID, ID, ID, 7, N, MAC).encode()
    pull = topic.HoPullClaims(ID, MAC, request).encode()
    found = {
        "KREQ": topic.Kreq(ID, 1, N, "w/7/hr", 1, ID).encode(),
        "KRESP": topic.Kresp(1, grant + MAC).encode(),
        "KACK": topic.Kack(ID, ID).encode(),
        "KPUSH": topic.Kpush(1, N, grant + MAC).encode(),
        "PUB, tag 8": topic.Pub(Published(b"sess\1", 0, None, bytes(2 + 8))).encode(),
        "PUB, tag 16": topic.Pub(Published(b"sess\1", 0, None, bytes(2 + 16))).encode(),
        "TICKET": ticket,
        "CONNAUTH": topic.Connauth(ID, ticket, N, MAC).encode(),
        "CONNACK-AUTH": topic.ConnackAuth(MAC, MAC).encode(),
        "HO_REQ": request,
        "HO_PULL": topic.HoPull(Sign1(b"\xa1\x01\x32", ID, pull, bytes(64))).encode(),
        "HO_ACK": topic.HoAck(MAC, MAC).encode(),
        "HO_DENY": topic.HoDeny(ID, ErrorCode.E_TICKET, N).encode(),
    }
    assert {name: len(data) for name, data in found.items()} == {
        "KREQ": 39, "KRESP": 80, "KACK": 21, "KPUSH": 89, "PUB, tag 8": 27, "PUB, tag 16": 35, "TICKET": 109,
        "CONNAUTH": 149, "CONNACK-AUTH": 37, "HO_REQ": 57, "HO_PULL": 173, "HO_ACK": 37, "HO_DENY": 22,
    }  # fmt: skip


@pytest.mark.parametrize("countersignature", [None, bytes(range(64))])
@pytest.mark.parametrize("n", [0, 1, 255, 256, 2**24, 2**32 - 1])
def test_TK11_a_reading_is_written_and_read_without_the_walk(n: int, countersignature: bytes | None) -> None:
    published = Published(b"sess\x07", n, countersignature, bytes(range(24)))
    data = pub.write(published)
    assert data == topic.Pub(published).encode() == cbor2.dumps([52, published.items()], canonical=True)
    assert pub.read(data) == published == topic.Pub.decode(data, SIZES).published
    for wrong in (data[:-1], data + b"\0", b"", data[:1], b"\x82\x18\x2c" + data[3:]):
        with pytest.raises(PeerFault, match="E_FORMAT"):
            pub.read(wrong)


@pytest.mark.parametrize("n", [0, 24, 300, 70_000, 2**32 - 1])
def test_TK12_a_tag_covers_topic_chain_and_index(n: int) -> None:
    bound = pub.binding(1, "w/7/hr", b"sess0001", 3, 1)
    aad = cbor2.dumps(["TRIAD1", 52, 1, ["w/7/hr", b"sess0001", 3, 1, n]], canonical=True)
    index = cbor2.dumps(n)
    assert pub.external_aad(bound, index) == aad
    assert pub.aad_openings(bound)[len(index)] + index == enc_structure(aad)
    assert enc_structure(aad) == cbor2.dumps(["Encrypt0", b"", aad], canonical=True)


@pytest.mark.parametrize(
    "rights",
    [[["w/#", 0]], [["w/#", 4]], [["w/#", 1, 1]], [["w/#"]], [[1, 1]], [["w/#", True]], [["w/#", 1]] * 17, ["w/#", 1],
     [["w" * 256, 1]], [[b"w/#", 1]], {"w/#": 1}, None, 1, [["w/#", -1]], [[]], [None]],
    ids=str,
)  # fmt: skip
def test_CM04_rights_of_another_form_are_refused(rights: object) -> None:
    refused(cbor2.dumps([ID, bytes(32), rights, 60, ID], canonical=True))


@pytest.mark.parametrize("rights", [[], [["", 1]], [["w" * 255, 3], ["ä/+", 2]], [["w/#", 1]] * 16], ids=len)
def test_CM05_rights_read_back_as_they_were_written(rights: list[list[object]]) -> None:
    data = cbor2.dumps([ID, bytes(32), rights, 60, ID], canonical=True)
    body = topic.TicketBody.decode(data, SIZES)
    assert body.encode() == data
    assert [list(right) for right in body.rights] == rights


def test_TC01_a_grant_names_the_publishers_to_who_subscribes() -> None:
    fields = ID, 3, 7, 1, bytes(32), 0, 65_536, 86_400
    named = topic.KeyGrant(*fields, (topic.Publisher(7, bytes(32)), topic.Publisher(200)))
    data = named.encode()
    assert data == cbor2.dumps([*fields, [[7, bytes(32)], [200, b""]]], canonical=True)
    assert topic.KeyGrant.decode(data, SIZES) == named
    assert topic.KeyGrant.decode(data, SIZES).publishers == ((7, bytes(32)), (200, b""))
    assert topic.KeyGrant.decode(topic.KeyGrant(*fields).encode(), SIZES).publishers is None
    assert topic.KeyGrant.decode(topic.KeyGrant(*fields, ()).encode(), SIZES).publishers == ()


def test_TC01_the_longest_grant_fits_a_datagram() -> None:
    most = 2**32 - 1
    full = tuple(topic.Publisher(255 - place, bytes(33)) for place in range(topic.MOST_PUBLISHERS))
    sealed = topic.KeyGrant(ID, most, 255, 255, bytes(32), most, most, most, full, most).encode() + MAC
    pushed = topic.Kpush(most, N, sealed)
    assert topic.Kpush.decode(pushed.encode(), SIZES) == pushed
    assert len(pushed.encode()) == 718
    with pytest.raises(PeerFault, match="E_FORMAT"):
        topic.Kpush.decode(topic.Kpush(most, N, sealed + bytes(7)).encode(), SIZES)


@pytest.mark.parametrize(
    "publishers",
    [[[256, b""]], [[-1, b""]], [[1, bytes(31)]], [[1, bytes(34)]], [[1]], [[1, b"", 1]], [[True, b""]], [[1, ""]], [1],
     [[1, b""]] * 17, [[]], [None], {1: b""}, None, 1],
    ids=str,
)  # fmt: skip
def test_TC01_publishers_of_another_form_are_refused(publishers: object) -> None:
    data = cbor2.dumps([ID, 3, 7, 1, bytes(32), 0, 1, 1, publishers], canonical=True)
    with pytest.raises(PeerFault) as fault:
        topic.KeyGrant.decode(data, SIZES)
    assert fault.value.code is ErrorCode.E_FORMAT


def test_TK13_keys_inside_messages_do_not_show_themselves() -> None:
    secret = b"\x55" * 32
    for body in (
        topic.KeyGrant(ID, 3, 1, 1, secret, 0, 65_536, 86_400),
        topic.TicketBody(ID, secret, (), 60, ID),
        topic.HoContext(ID, secret, 1, 60, (), b""),
    ):
        assert "UUUU" not in repr(body)
