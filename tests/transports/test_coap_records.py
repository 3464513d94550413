"""A group's records over CoAP: what path and body say, and that nothing else passes."""

import asyncio
import socket

import pytest

from keymote import cbor
from keymote.engine.base import MULTICAST
from keymote.errors import ErrorCode, PeerFault
from keymote.transports.coap.inbox import encode_fetch
from keymote.transports.coap.message import OCTETS, CoapMessage, Code, Kind, Option, uint
from keymote.transports.coap.multicast import Group
from keymote.transports.coap.records import datagram_of, request_of
from keymote.wire.group_record import GroupRecord

GID = bytes.fromhex("67a0670000000001")
RECORD = GroupRecord(GID, "telemetry/power", b"\x82\x18\x2cgsec").encode()
COMMAND = GroupRecord(GID, "", b"\x82\x18\x2cgsec").encode()
FORMAT = (Option.CONTENT_FORMAT, uint(OCTETS))


class Raw:
    """A socket that says exactly what it is told."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)

    @property
    def address(self) -> str:
        return f"coap://127.0.0.1:{self.socket.getsockname()[1]}"

    async def hear(self) -> CoapMessage:
        async with asyncio.timeout(5):
            return CoapMessage.decode(await asyncio.get_running_loop().sock_recv(self.socket, 2048))

    async def ask(self, endpoint, message: CoapMessage) -> CoapMessage:
        self.socket.sendto(message.encode(), endpoint.socket_address)
        return await self.hear()


@pytest.fixture
def raw():
    speaker = Raw()
    yield speaker
    speaker.socket.close()


def test_GF01_path_and_body_are_the_record_and_back() -> None:
    assert request_of(RECORD) == ((b"g", b"67a0670000000001", b"telemetry", b"power"), b"\x82\x18\x2cgsec")
    assert request_of(COMMAND) == ((b"g", b"67a0670000000001"), b"\x82\x18\x2cgsec")
    for record in (RECORD, COMMAND):
        assert datagram_of(*request_of(record)) == record


WRONG = [
    (b"g",),
    (b"g", b"67A0670000000001"),
    (b"g", b"67a06700000000"),
    (b"g", b"67 a067000000001"),
    (b"g", b"67a0670000000001", b""),
    (b"g", b"67a0670000000001", b"a", b"", b"b"),
    (b"g", b"67a0670000000001", b"a/b"),
    (b"g", b"67a0670000000001", b"\xff"),
    (b"g", b"67a0670000000001", b"x" * 101),
]


@pytest.mark.parametrize("path", WRONG)
async def test_GF01_a_path_in_another_form_brings_nothing(opened, raw: Raw, path: tuple[bytes, ...]) -> None:
    with pytest.raises(PeerFault) as fault:
        datagram_of(path, b"\x82\x18\x2cgsec")
    assert fault.value.code is ErrorCode.E_FORMAT
    endpoint, node = await opened()
    options = (*((Option.URI_PATH, part) for part in path), FORMAT)
    answer = await raw.ask(endpoint, CoapMessage(Kind.CON, Code.POST, 1, b"t", options, b"\x82\x18\x2cgsec"))
    assert answer.code in (Code.BAD_REQUEST, Code.NOT_FOUND)
    assert node.heard == []


async def test_GF01_a_record_goes_to_its_resource_and_arrives_whole(opened, raw: Raw) -> None:
    a, _ = await opened()
    b, node = await opened()
    long = GroupRecord(GID, "telemetry", bytes(1135)).encode()
    for datagram in (RECORD, COMMAND, long):
        a.send(b.address, datagram, None)
    assert sorted(await node.until(3)) == sorted((a.address, datagram) for datagram in (RECORD, COMMAND, long))
    a.send(raw.address, RECORD, None)
    request = await raw.hear()
    assert request.path == (b"g", b"67a0670000000001", b"telemetry", b"power")
    assert (request.payload, request.kind) == (b"\x82\x18\x2cgsec", Kind.CON)


async def test_GF01_other_methods_and_formats_are_refused(opened, raw: Raw) -> None:
    endpoint, node = await opened()
    path, body = request_of(RECORD)
    options = tuple((Option.URI_PATH, part) for part in path)
    answer = await raw.ask(endpoint, CoapMessage(Kind.CON, Code.GET, 1, b"t", options))
    assert answer.code == Code.METHOD_NOT_ALLOWED
    text = (*options, (Option.CONTENT_FORMAT, b""))
    answer = await raw.ask(endpoint, CoapMessage(Kind.CON, Code.POST, 2, b"t", text, body))
    assert answer.code == Code.UNSUPPORTED_FORMAT
    assert node.heard == []


async def test_GF01_a_record_for_everybody_is_heard_by_everybody_else(opened, free_udp_port: int) -> None:
    group = Group(port=free_udp_port)
    a, own = await opened(group=group, listen=True)
    others = [await opened(group=group, listen=True) for _ in range(2)]
    a.send(MULTICAST, RECORD, None)
    for _, node in others:
        assert await node.until(1) == [(a.address, RECORD)]
    others[0][0].send(MULTICAST, COMMAND, None)
    assert await own.until(1) == [(others[0][0].address, COMMAND)], "its own it has not heard"


async def test_GF01_a_record_waits_in_the_inbox_of_a_device_that_sleeps(opened) -> None:
    lid = bytes(8)
    manager, _ = await opened()
    device, node = await opened()
    manager.send(device.address, cbor.encode_array(18, lid, 0, 0, bytes(40)), None)
    await node.until(1)
    manager.inbox.fetch(encode_fetch(lid, 0), asyncio.get_running_loop().time())  # it comes for its mail
    asleep = device.address
    device.close()
    manager.send(asleep, RECORD, None)
    again, woken = await opened()
    again.fetch(manager.address, lid)
    assert await woken.until(1) == [(manager.address, RECORD)]
