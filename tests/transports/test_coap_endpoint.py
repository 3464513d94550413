"""The endpoint on real loopback sockets: against itself, against aiocoap, and against raw bytes."""

import asyncio
import socket

import aiocoap
import pytest

from keymote import cbor
from keymote.engine.base import MULTICAST
from keymote.errors import CallerFault, Unavailable
from keymote.transports.coap.endpoint import CoapEndpoint, address_of, peer_of
from keymote.transports.coap.inbox import encode_fetch
from keymote.transports.coap.message import OCTETS, CoapMessage, Code, Kind, Option, uint
from keymote.transports.coap.multicast import Group
from keymote.transports.coap.responses import CORE_LINKS

POST_K = ((Option.URI_PATH, b"k"), (Option.CONTENT_FORMAT, uint(OCTETS)))
LID = b"\x01" * 8


HELLO, START = b"\x86\x01hello", b"\x82\x18\x20start"
"""What begins as these messages do: the endpoint looks no further."""


def link_record(seq: int, size: int = 40) -> bytes:
    return cbor.encode_array(18, LID, 0, seq, bytes(size))


class Raw:
    """A socket that says exactly what it is told."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)

    def say(self, endpoint, message: CoapMessage | bytes) -> None:
        data = message if isinstance(message, bytes) else message.encode()
        self.socket.sendto(data, endpoint.socket_address)

    async def hear(self) -> CoapMessage:
        async with asyncio.timeout(5):
            return CoapMessage.decode(await asyncio.get_running_loop().sock_recv(self.socket, 2048))

    async def ask(self, endpoint, message: CoapMessage | bytes) -> CoapMessage:
        self.say(endpoint, message)
        return await self.hear()


@pytest.fixture
def raw():
    speaker = Raw()
    yield speaker
    speaker.socket.close()


# ------------------------------------------------------------------ handles


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("coap://127.0.0.1:61616", ("127.0.0.1", 61616)),
        ("coap://127.0.0.1", ("127.0.0.1", 5683)),
        ("coap://[::1]:5684", ("::1", 5684)),
        ("coap://[::1]", ("::1", 5683)),
    ],
)
def test_a_handle_names_an_address(peer: str, address: tuple[str, int]) -> None:
    assert address_of(peer) == address
    assert address_of(peer_of(address)) == address


@pytest.mark.parametrize(
    "peer",
    [
        "",
        "127.0.0.1:5683",
        "http://127.0.0.1",
        "coap://localhost",
        "coap://127.0.0.1:0",
        "coap://127.0.0.1:99999",
        "coap://127.0.0.1:x",
        MULTICAST,
    ],
)
def test_anything_else_is_no_handle(peer: str) -> None:
    with pytest.raises(CallerFault):
        address_of(peer)


# ------------------------------------------------------------------ exchanges


async def test_a_datagram_goes_there_and_its_answer_rides_back(opened) -> None:
    a, heard_by_a = await opened()
    b, heard_by_b = await opened()
    heard_by_b.script = lambda data: [b"answer to " + data]
    a.send(b.address, b"question", None)
    assert await heard_by_a.until(1) == [(b.address, b"answer to question")]
    assert heard_by_b.heard == [(a.address, b"question")]


async def test_further_answers_follow_as_requests_of_their_own(opened) -> None:
    a, heard_by_a = await opened()
    b, heard_by_b = await opened()
    heard_by_b.script = lambda _data: [b"one", b"two", b"three"]
    a.send(b.address, b"question", None)
    assert sorted(data for _, data in await heard_by_a.until(3)) == [b"one", b"three", b"two"]


@pytest.mark.parametrize("size", [512, 513, 1024, 1025, 1280, 2048, 8192])
async def test_long_datagrams_go_in_blocks_both_ways(opened, size: int) -> None:
    a, heard_by_a = await opened()
    b, heard_by_b = await opened()
    body = bytes(i % 251 for i in range(size))
    heard_by_b.script = lambda data: [data[::-1]]
    a.send(b.address, body, None)
    assert await heard_by_a.until(1) == [(b.address, body[::-1])]
    assert heard_by_b.heard == [(a.address, body)]


async def test_ten_exchanges_at_once_with_one_peer_all_arrive(opened) -> None:
    a, heard_by_a = await opened()
    b, heard_by_b = await opened()
    heard_by_b.script = lambda data: [data * 2]
    bodies = [bytes([i]) * (300 + 40 * i) for i in range(10)]
    for body in bodies:
        a.send(b.address, body, None)
    assert sorted(data for _, data in await heard_by_a.until(10)) == sorted(body * 2 for body in bodies)


async def test_a_dead_peer_is_known_after_the_last_repetition(opened, raw: Raw) -> None:
    a, heard = await opened()
    failed = asyncio.Event()
    a.send(peer_of(raw.socket.getsockname()), b"anybody?", failed.set)
    repeated = [await raw.hear() for _ in range(3)]
    async with asyncio.timeout(5):
        await failed.wait()
    assert len(set(repeated)) == 1
    assert heard.heard == []


async def test_a_reset_or_an_error_response_fails_at_once(opened, raw: Raw) -> None:
    a, _ = await opened()
    for answer in (Code.EMPTY, Code.NOT_FOUND):
        failed = asyncio.Event()
        a.send(peer_of(raw.socket.getsockname()), b"anybody?", failed.set)
        request = await raw.hear()
        kind = Kind.RST if answer is Code.EMPTY else Kind.ACK
        token = b"" if answer is Code.EMPTY else request.token
        raw.say(a, CoapMessage(kind, answer, request.mid, token))
        async with asyncio.timeout(5):
            await failed.wait()


async def test_a_separate_response_is_acknowledged_and_counts(opened, raw: Raw) -> None:
    a, heard = await opened()
    a.send(peer_of(raw.socket.getsockname()), b"slowly", None)
    request = await raw.hear()
    raw.say(a, CoapMessage(Kind.ACK, Code.EMPTY, request.mid))
    acknowledged = await raw.ask(a, CoapMessage(Kind.CON, Code.CHANGED, 77, request.token, payload=b"done"))
    assert acknowledged == CoapMessage(Kind.ACK, Code.EMPTY, 77)
    assert [data for _, data in await heard.until(1)] == [b"done"]


async def test_a_response_with_a_foreign_token_or_from_elsewhere_is_not_ours(opened, raw: Raw) -> None:
    a, heard = await opened()
    stranger = Raw()
    a.send(peer_of(raw.socket.getsockname()), b"question", None)
    request = await raw.hear()
    stranger.say(a, CoapMessage(Kind.ACK, Code.CHANGED, request.mid, request.token, payload=b"forged"))
    raw.say(a, CoapMessage(Kind.ACK, Code.CHANGED, request.mid, b"\0\0\0\0", payload=b"forged"))
    raw.say(a, CoapMessage(Kind.ACK, Code.CHANGED, request.mid, request.token, payload=b"true"))
    assert [data for _, data in await heard.until(1)] == [b"true"]
    stranger.socket.close()


async def test_more_than_the_queue_holds_fails_at_once(opened, raw: Raw) -> None:
    a, _ = await opened()
    failures: list[int] = []
    for _ in range(FULL := 4 + 64):
        a.send(peer_of(raw.socket.getsockname()), b"x", None)
    a.send(peer_of(raw.socket.getsockname()), b"x", lambda: failures.append(FULL))
    assert failures == []  # never from inside the caller's step
    await asyncio.sleep(0)
    assert failures == [FULL]


# ------------------------------------------------------------------ serving


async def test_a_repeated_request_gets_the_same_answer_once_worked_for(opened, raw: Raw) -> None:
    b, heard = await opened()
    heard.script = lambda _data: [b"answer %d" % len(heard.heard)]
    request = CoapMessage(Kind.CON, Code.POST, 5, b"t", POST_K, b"question")
    first = await raw.ask(b, request)
    again = await raw.ask(b, request)
    assert first == again == CoapMessage(Kind.ACK, Code.CHANGED, 5, b"t", ((12, b"\x3c"),), b"answer 1")
    assert len(heard.heard) == 1


async def test_a_repeated_request_that_had_no_answer_is_worked_for_once_too(opened, raw: Raw) -> None:
    b, heard = await opened()
    request = CoapMessage(Kind.CON, Code.POST, 5, b"t", POST_K, b"a record")
    first, again = [await raw.ask(b, request) for _ in range(2)]
    assert first == again == CoapMessage(Kind.ACK, Code.CHANGED, 5, b"t")
    assert len(heard.heard) == 1
    rebooted = CoapMessage(Kind.CON, Code.POST, 5, b"u", POST_K, b"another")
    assert (await raw.ask(b, rebooted)).token == b"u"
    assert len(heard.heard) == 2


async def test_a_block_whose_acknowledgement_was_lost_does_not_end_the_transfer(opened, raw: Raw) -> None:
    b, heard = await opened()
    blocks = [(Option.BLOCK1, uint(num << 4 | (num < 2) << 3 | 5)) for num in range(3)]
    for num, block in enumerate(blocks):
        request = CoapMessage(Kind.CON, Code.POST, 10 + num, b"t", (*POST_K, block), bytes([num]) * 512)
        first, again = [await raw.ask(b, request) for _ in range(2)]
        assert first == again and first.code == (Code.CONTINUE if num < 2 else Code.CHANGED)
    assert [data for _, data in heard.heard] == [b"".join(bytes([num]) * 512 for num in range(3))]


async def test_silence_and_success_look_alike(opened, raw: Raw) -> None:
    b, _ = await opened()
    answer = await raw.ask(b, CoapMessage(Kind.CON, Code.POST, 5, b"t", POST_K, b"\x00junk"))
    assert answer == CoapMessage(Kind.ACK, Code.CHANGED, 5, b"t")


async def test_a_node_that_cannot_serve_leaves_the_request_to_be_repeated(opened, raw: Raw) -> None:
    b, heard = await opened()
    outcomes: list[list[bytes] | Exception] = [Unavailable("disk full"), [b"saved"]]
    heard.script = lambda _data: outcomes.pop(0)
    request = CoapMessage(Kind.CON, Code.POST, 5, b"", POST_K, b"question")
    raw.say(b, request)
    await heard.until(1)
    assert (await raw.ask(b, request)).payload == b"saved"


async def test_cookies_are_made_again_and_not_remembered(opened, raw: Raw) -> None:
    b, heard = await opened()
    heard.script = lambda _data: [cbor.encode_array(8, bytes(16))]
    request = CoapMessage(Kind.CON, Code.POST, 5, b"", POST_K, b"join")
    await raw.ask(b, request)
    await raw.ask(b, request)
    assert len(heard.heard) == 2


@pytest.mark.parametrize(
    ("code", "options", "payload", "answer"),
    [
        (Code.POST, ((Option.URI_PATH, b"k"), (Option.CONTENT_FORMAT, b"")), b"x", Code.UNSUPPORTED_FORMAT),
        (Code.POST, ((Option.URI_PATH, b"k"), (9, b"oscore")), b"x", Code.BAD_OPTION),
        (Code.POST, ((Option.URI_PATH, b"k"), (Option.BLOCK1, b"\x1d")), b"x", Code.INCOMPLETE),
        (Code.POST, ((Option.URI_PATH, b"k"), (Option.BLOCK1, b"\x0d")), b"x", Code.BAD_REQUEST),
        (Code.POST, ((Option.URI_PATH, b"k"), (Option.BLOCK1, b"\x07")), b"x", Code.BAD_REQUEST),
        (Code.POST, ((Option.URI_PATH, b"k"), (Option.BLOCK2, b"\x15")), b"", Code.INCOMPLETE),
        (Code.FETCH, ((Option.URI_PATH, b"k"), (Option.URI_PATH, b"inbox")), b"x", Code.BAD_REQUEST),
        (Code.GET, ((Option.URI_PATH, b"k"), (Option.URI_PATH, b"inbox")), b"", Code.METHOD_NOT_ALLOWED),
        (4, ((Option.URI_PATH, b"k"),), b"", Code.METHOD_NOT_ALLOWED),
        (Code.GET, ((Option.URI_PATH, b"elsewhere"),), b"", Code.NOT_FOUND),
    ],
)
async def test_wrong_requests_are_told_so(opened, raw: Raw, code, options, payload, answer) -> None:
    b, heard = await opened()
    response = await raw.ask(b, CoapMessage(Kind.CON, code, 9, b"", options, payload))
    assert (response.kind, response.code, response.payload) == (Kind.ACK, answer, b"")
    assert heard.heard == []


async def test_bytes_that_are_no_message_are_ignored_and_pings_answered(opened, raw: Raw) -> None:
    b, heard = await opened()
    for junk in (b"", b"\xff" * 40, b"\x40\x02"):
        raw.say(b, junk)
    assert await raw.ask(b, CoapMessage(Kind.CON, Code.EMPTY, 3)) == CoapMessage(Kind.RST, Code.EMPTY, 3)
    assert heard.heard == []


async def test_a_body_longer_than_any_message_is_refused(opened, raw: Raw) -> None:
    b, heard = await opened()
    for num in range(8192 // 512 + 1):
        block = (Option.BLOCK1, uint(num << 4 | 8 | 5))
        response = await raw.ask(b, CoapMessage(Kind.CON, Code.POST, num, b"", (*POST_K, block), bytes(512)))
    assert response.code == Code.TOO_LARGE
    assert heard.heard == []


# ------------------------------------------------------------------ a foreign client


async def test_aiocoap_exchanges_long_datagrams_and_reads_what_we_serve(opened) -> None:
    b, heard = await opened()
    heard.script = lambda data: [data[::-1]]
    client = await aiocoap.Context.create_client_context(transports=["simple6"])
    try:
        body = bytes(i % 251 for i in range(1800))
        request = aiocoap.Message(code=aiocoap.POST, uri=f"{b.address}/k", payload=body, content_format=60)
        response = await client.request(request).response
        assert (str(response.code), response.payload) == ("2.04 Changed", body[::-1])
        assert heard.heard[0][1] == body
        core = await client.request(aiocoap.Message(code=aiocoap.GET, uri=f"{b.address}/.well-known/core")).response
        assert (core.payload, int(core.opt.content_format)) == (CORE_LINKS, 40)
        b.send(MULTICAST, HELLO, None)
        hello = await client.request(aiocoap.Message(code=aiocoap.GET, uri=f"{b.address}/k")).response
        assert hello.payload == HELLO
    finally:
        await client.shutdown()


# ------------------------------------------------------------------ discovery


async def test_everybody_in_the_group_hears_a_hello_and_knows_where_it_came_from(opened, free_udp_port: int) -> None:
    group = Group(port=free_udp_port)
    manager, _ = await opened(group=group)
    devices = [await opened(group=group, listen=True) for _ in range(3)]
    manager.send(MULTICAST, HELLO, None)
    for _, heard in devices:
        assert await heard.until(1) == [(manager.address, HELLO)]


async def test_a_device_that_comes_late_asks_the_group(opened, free_udp_port: int) -> None:
    group = Group(port=free_udp_port)
    managers = [(await opened(group=group, listen=True))[0] for _ in range(2)]
    for manager in managers:
        manager.send(MULTICAST, HELLO + manager.address.encode(), None)
    device, heard = await opened(group=group, listen=True)
    device.solicit()
    assert sorted(await heard.until(2)) == sorted(
        (manager.address, HELLO + manager.address.encode()) for manager in managers
    )


async def test_what_is_for_a_ring_is_heard_by_managers_too_and_is_no_hello(opened, free_udp_port: int) -> None:
    group = Group(port=free_udp_port)
    manager, at_manager = await opened(group=group, listen=True)
    manager.send(MULTICAST, HELLO, None)
    meters = [await opened() for _ in range(2)]
    for meter, _ in meters:
        await meter.attend(group)
    manager.send(MULTICAST, START, None)
    for _, heard in meters:
        assert await heard.until(1) == [(manager.address, START)]
    meters[0][0].send(MULTICAST, START, None)
    assert await at_manager.until(1) == [(meters[0][0].address, START)]
    assert await meters[1][1].until(2) == [(manager.address, START), (meters[0][0].address, START)]
    assert len(meters[0][1].heard) == 1  # nobody hears itself
    meters[1][0].discover(manager.address)
    assert (await meters[1][1].until(3))[2] == (manager.address, HELLO)


async def test_who_attends_another_group_leaves_the_one_before(opened, free_udp_port: int) -> None:
    before, after = Group(port=free_udp_port), Group("224.0.1.188", free_udp_port)
    speakers = {group: (await opened(group=group))[0] for group in (before, after)}
    meter, heard = await opened()
    await meter.attend(before)
    await meter.attend(after)
    await meter.attend(after)
    speakers[before].send(MULTICAST, START, None)
    speakers[after].send(MULTICAST, START, None)
    assert await heard.until(1) == [(speakers[after].address, START)]


async def test_one_manager_can_be_asked_for_its_hello(opened) -> None:
    manager, _ = await opened()
    device, heard = await opened()
    manager.send(MULTICAST, HELLO, None)
    device.discover(manager.address)
    assert await heard.until(1) == [(manager.address, HELLO)]


# ------------------------------------------------------------------ inbox


async def test_a_record_that_did_not_arrive_waits_for_its_device(opened, raw: Raw) -> None:
    manager, _ = await opened()
    failed = asyncio.Event()
    manager.send(peer_of(raw.socket.getsockname()), link_record(4), failed.set)
    async with asyncio.timeout(5):
        await failed.wait()
    device, heard = await opened()
    device.poll(60.0, lambda: (manager.address, (LID, bytes(8))))
    assert await heard.until(1) == [(manager.address, link_record(4))]
    manager.inbox.keep(LID, link_record(5), asyncio.get_running_loop().time())
    device.fetch(manager.address, LID)
    assert (await heard.until(2))[1:] == [(manager.address, link_record(5))]  # and the first one not again


async def test_a_device_that_fetches_is_spared_the_retransmissions(opened, raw: Raw) -> None:
    manager, _ = await opened()
    fetch = CoapMessage(
        Kind.CON, Code.FETCH, 1, b"", ((Option.URI_PATH, b"k"), (Option.URI_PATH, b"inbox")), encode_fetch(LID, 0)
    )
    assert (await raw.ask(manager, fetch)).payload == cbor.encode([0, []])
    manager.send(peer_of(raw.socket.getsockname()), link_record(0, 600), None)
    attempt = await raw.hear()
    assert (attempt.kind, attempt.payload) == (Kind.NON, link_record(0, 600))
    first = await raw.ask(manager, CoapMessage(Kind.CON, Code.FETCH, 2, b"", fetch.options, fetch.payload))
    block = (Option.BLOCK2, uint(1 << 4 | 5))
    rest = await raw.ask(manager, CoapMessage(Kind.CON, Code.FETCH, 3, b"", (*fetch.options, block), b""))
    assert first.payload + rest.payload == cbor.encode([1, [link_record(0, 600)]])


async def test_a_device_that_comes_for_its_mail_while_it_is_called_has_not_failed(opened, raw: Raw) -> None:
    manager, _ = await opened()
    failures: list[bool] = []
    manager.send(peer_of(raw.socket.getsockname()), link_record(0), lambda: failures.append(True))
    manager.inbox.fetch(encode_fetch(LID, 0), asyncio.get_running_loop().time())
    stranger, given_up = Raw(), asyncio.Event()
    manager.send(peer_of(stranger.socket.getsockname()), b"sent later", given_up.set)
    async with asyncio.timeout(5):
        await given_up.wait()
    stranger.socket.close()
    assert (len(manager.inbox), failures) == (1, [])


async def test_what_the_manager_relays_waits_beside_the_links_own_records(opened, raw: Raw) -> None:
    manager, _ = await opened()
    device = peer_of(raw.socket.getsockname())
    manager.send(device, link_record(0), None)  # from here on this address is known as the end of that link
    fetch = encode_fetch(LID, 0)
    manager.inbox.fetch(fetch, asyncio.get_running_loop().time())  # and this one comes for its mail
    relayed = cbor.encode_array(20, bytes(8), 1, bytes(32))
    manager.send(device, relayed, None)
    assert manager.inbox.fetch(fetch, asyncio.get_running_loop().time()) == cbor.encode([1, [relayed]])
    other = Raw()
    manager.send(peer_of(other.socket.getsockname()), relayed, None)  # a stranger has no inbox
    assert len(manager.inbox) == 1
    other.socket.close()


# ------------------------------------------------------------------ opening


async def test_a_taken_port_and_a_foreign_address_are_said_so(opened) -> None:
    a, _ = await opened()
    with pytest.raises(Unavailable, match="cannot bind udp"):
        await CoapEndpoint.open(a.socket_address, lambda *_: None)
    for host in ("0.0.0.0", "192.0.2.1"):  # noqa: S104
        with pytest.raises(CallerFault):
            await CoapEndpoint.open((host, 0), lambda *_: None)
