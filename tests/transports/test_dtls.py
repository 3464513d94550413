"""DTLS-PSK on loopback: a server of ours and the library's own client."""

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from mbedtls.exceptions import TLSError
from mbedtls.tls import (
    ClientContext,
    DTLSConfiguration,
    DTLSVersion,
    HandshakeStep,
    HelloVerifyRequest,
    WantReadError,
    WantWriteError,
)

from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, Unavailable
from keymote.transports.dtls import DtlsPeer, DtlsServer, Limits

CCM8 = "TLS-PSK-WITH-AES-128-CCM-8"
METER, WARD = "11" * 16, "22" * 16
KEYS = {METER: b"a" * 32, WARD: b"b" * 32}


class Client(asyncio.DatagramProtocol):
    """A DTLS client on a socket of its own; every datagram that it sent is in `sent`."""

    def __init__(self, identity: str, key: bytes, ciphers: tuple[str, ...]) -> None:
        configuration = DTLSConfiguration(
            validate_certificates=False,
            ciphers=ciphers,
            lowest_supported_version=DTLSVersion.DTLSv1_2,
            pre_shared_key=(identity, key),
        )
        self.tls = ClientContext(configuration).wrap_buffers(None)
        self.sent: list[bytes] = []
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, _addr) -> None:
        self.arrived.put_nowait(data)

    def flush(self) -> None:
        data = self.tls.peek_outgoing(65536)
        if data:
            self.tls.consume_outgoing(len(data))
            self.sent.append(data)
            self.transport.sendto(data)

    async def hear(self) -> None:
        async with asyncio.timeout(5):
            self.tls.receive_from_network(await self.arrived.get())

    def step(self) -> bool:
        """Say what can be said now; return whether the handshake is complete. TLSError when the server refuses."""
        while self.tls._handshake_state is not HandshakeStep.HANDSHAKE_OVER:  # noqa: SLF001  the library's only sign
            try:
                self.tls.do_handshake()
            except (WantWriteError, HelloVerifyRequest):
                self.flush()
            except WantReadError:
                self.flush()
                return False
            finally:
                self.flush()
        return True

    async def shake(self) -> None:
        while not self.step():
            await self.hear()

    def say(self, payload: bytes) -> None:
        self.tls.write(payload)
        self.flush()

    async def listen(self) -> bytes:
        """Return the next payload; TLSError when the server closes the connection."""
        while True:
            await self.hear()
            payload = self.tls.read(4096)
            if payload:
                return bytes(payload)


class World:
    """A server that echoes in capitals, and what it has heard."""

    def __init__(self) -> None:
        self.keys = {identity: Secret(key) for identity, key in KEYS.items()}
        self.heard: list[tuple[str, bytes]] = []
        self.asked: list[str] = []
        self.peers: list[DtlsPeer] = []
        self.answers = True
        self.gone: list[str] = []
        self.server: DtlsServer

    def lookup(self, identity: str) -> Secret | None:
        self.asked.append(identity)
        return self.keys.get(identity)

    def take(self, peer: DtlsPeer, payload: bytes) -> None:
        self.heard.append((peer.identity, payload))
        self.peers.append(peer)
        if self.answers:
            peer.transmit_raw(payload.upper())


Serve = Callable[..., Awaitable[World]]
Connect = Callable[..., Awaitable[Client]]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def serve(stack) -> Serve:
    async def make(limits: Limits | None = None) -> World:
        world = World()
        world.server = await DtlsServer.open(("127.0.0.1", 0), world.lookup, world.take, limits=limits)
        world.server.ended = lambda peer: world.gone.append(peer.identity)
        stack.callback(world.server.close)
        return world

    return make


@pytest.fixture
def connect(stack) -> Connect:
    async def make(world: World, identity: str, key: bytes | None = None, *, ciphers=(CCM8,), port: int = 0) -> Client:
        client = Client(identity, KEYS[identity] if key is None else key, ciphers)
        await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: client, local_addr=("127.0.0.1", port), remote_addr=world.server.socket_address
        )
        stack.callback(client.transport.close)
        return client

    return make


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not reached():  # noqa: ASYNC110  what happens in the server sets no event of ours
            await asyncio.sleep(0.002)


async def test_a_client_with_the_key_is_served_under_its_identity(serve, connect):
    world = await serve()
    meter, ward = await connect(world, METER), await connect(world, WARD)
    for client, text in ((meter, b"from meter"), (ward, b"from ward")):
        await client.shake()
        client.say(text)
        assert await client.listen() == text.upper()
    assert world.heard == [(METER, b"from meter"), (WARD, b"from ward")]
    assert world.server.identities == {METER, WARD}
    assert world.server.address.startswith("coaps://127.0.0.1:")


@pytest.mark.parametrize(
    "cipher",
    [
        "TLS-ECDHE-PSK-WITH-CHACHA20-POLY1305-SHA256",
        "TLS-PSK-WITH-AES-128-GCM-SHA256",
    ],
)
async def test_a_diffie_hellman_mode_is_preferred_when_the_client_can(serve, connect, cipher):
    world = await serve()
    client = await connect(world, METER, ciphers=(CCM8, cipher) if "DHE" in cipher else (cipher,))
    await client.shake()
    assert client.tls.cipher() == cipher


@pytest.mark.parametrize("cipher", ["TLS-PSK-WITH-AES-128-CBC-SHA256", "TLS-ECDHE-PSK-WITH-AES-128-CBC-SHA256"])
async def test_modes_without_aead_are_refused(serve, connect, cipher):
    world = await serve()
    client = await connect(world, METER, ciphers=(cipher,))
    with pytest.raises(TLSError):
        await client.shake()
    assert world.server.identities == frozenset()


async def test_wrong_key_and_unknown_identity_end_alike(serve, connect, monkeypatch):
    world = await serve()
    alerts = []
    for identity in (METER, "33" * 16):
        client = await connect(world, identity, b"x" * 32)
        arrived: list[bytes] = []
        keep = client.arrived.put_nowait
        monkeypatch.setattr(client, "datagram_received", lambda data, _a, k=keep, s=arrived: (s.append(data), k(data)))
        with pytest.raises(TLSError):
            await client.shake()
        alerts.append(arrived[-1])
    assert alerts[0][0] == 21  # an alert
    assert alerts[0][13:] == alerts[1][13:]  # after type, version, epoch, number and length
    assert world.server.identities == frozenset()
    assert world.heard == []


async def test_end_closes_the_connections_of_one_key_at_once(serve, connect):
    world = await serve()
    first, second, other = await connect(world, METER), await connect(world, METER), await connect(world, WARD)
    for client in (first, second, other):
        await client.shake()
    await until(lambda: world.server.connections == 3)
    del world.keys[METER]
    assert world.server.end(METER) == 2
    for client in (first, second):
        with pytest.raises(TLSError):  # close_notify
            await client.listen()
    other.say(b"me")
    assert await other.listen() == b"ME"
    assert world.heard == [(WARD, b"me")]
    assert world.gone == [METER, METER]
    again = await connect(world, METER)
    with pytest.raises(TLSError):
        await again.shake()


async def test_a_key_revoked_during_the_handshake_lets_nobody_in(serve, connect):
    world = await serve()

    class Vanishing(dict[str, Secret]):
        def get(self, identity: str, default=None):
            return self.pop(identity, default)

    world.keys = Vanishing(world.keys)
    client = await connect(world, METER)
    await client.shake()
    client.say(b"in?")
    with pytest.raises(TLSError):
        await client.listen()
    assert world.asked == [METER, METER]
    assert world.heard == []
    assert world.server.identities == frozenset()


async def test_a_record_that_comes_twice_is_heard_once(serve, connect):
    world = await serve()
    client = await connect(world, METER)
    await client.shake()
    client.say(b"once")
    await client.listen()
    client.transport.sendto(client.sent[-1])
    client.say(b"next")
    assert await client.listen() == b"NEXT"
    assert [payload for _, payload in world.heard] == [b"once", b"next"]


async def test_two_records_in_one_datagram_are_both_heard(serve, connect):
    world = await serve()
    client = await connect(world, METER)
    await client.shake()
    client.tls.write(b"one")
    client.tls.write(b"two")
    client.flush()
    await until(lambda: len(world.heard) == 2)
    assert [payload for _, payload in world.heard] == [b"one", b"two"]


@pytest.mark.parametrize("bit", [0x01, 0x80])
async def test_no_forged_byte_ends_a_connection_or_is_heard(serve, connect, bit):
    world = await serve()
    client = await connect(world, METER)
    await client.shake()
    client.say(b"authentic")
    await client.listen()
    record = client.sent[-1]
    for place in range(len(record)):
        forged = bytearray(record)
        forged[10] ^= 0x20  # a sequence number that was not seen
        forged[place] ^= bit
        client.transport.sendto(bytes(forged))
    client.say(b"still here")
    assert await client.listen() == b"STILL HERE"
    assert [payload for _, payload in world.heard] == [b"authentic", b"still here"]
    assert world.gone == []


async def test_strangers_cost_nothing_until_they_return_the_cookie(serve, connect):
    world = await serve()
    probe = await connect(world, METER)
    assert not probe.step()
    hello = probe.sent[0]
    for _ in range(100):
        probe.transport.sendto(hello)
    for _ in range(101):
        async with asyncio.timeout(5):
            answer = await probe.arrived.get()
        assert answer[0] == 22
        assert answer[13] == 3  # HelloVerifyRequest
        assert len(answer) < len(hello)
    assert world.server.handshakes == 0
    for junk in (
        b"",
        b"\x16",
        b"\x16\xfe\xfd" + bytes(8) + b"\xff\xff",
        hello[:-1],
        bytes(2000),
        hello[:40] + bytes(40),
    ):
        probe.transport.sendto(junk)
    honest = await connect(world, WARD)
    await honest.shake()
    assert world.server.handshakes == 0


async def test_a_cookie_works_from_its_own_address_only(serve, connect):
    world = await serve()
    client = await connect(world, METER)
    await client.shake()
    with_cookie = next(sent for sent in client.sent[1:] if sent[13] == 1)
    thief = await connect(world, METER)
    thief.transport.sendto(with_cookie)
    async with asyncio.timeout(5):
        answer = await thief.arrived.get()
    assert answer[13] == 3  # a cookie of its own first
    assert world.server.handshakes == 0


async def test_a_client_that_lost_its_state_comes_again_from_the_same_port(serve, connect):
    world = await serve()
    first = await connect(world, METER)
    await first.shake()
    first.say(b"before")
    await first.listen()
    port = first.transport.get_extra_info("sockname")[1]
    first.transport.close()
    await until(lambda: first.transport.get_extra_info("socket").fileno() == -1)
    second = await connect(world, WARD, port=port)
    await second.shake()
    second.say(b"after")
    assert await second.listen() == b"AFTER"
    assert world.gone == [METER]
    assert world.server.identities == {WARD}


async def test_a_new_client_takes_the_place_of_the_quietest_one(serve, connect):
    world = await serve(Limits(peers=2))
    clients = [await connect(world, METER) for _ in range(3)]
    for client in clients[:2]:
        await client.shake()
    clients[0].say(b"busy")
    await clients[0].listen()
    await clients[2].shake()
    with pytest.raises(TLSError):
        await clients[1].listen()
    clients[0].say(b"here")
    assert await clients[0].listen() == b"HERE"
    assert world.server.connections == 2


async def test_quiet_clients_and_stale_handshakes_are_forgotten(serve, connect):
    world = await serve(Limits(idle_s=0.5, handshake_s=0.5))
    client = await connect(world, METER)
    await client.shake()
    with pytest.raises(TLSError):
        await client.listen()
    assert world.gone == [METER]
    half = await connect(world, METER)
    for _ in range(2):  # hello, cookie, hello again; then silence
        assert not half.step()
        await half.hear()
    assert world.server.handshakes == 1
    await until(lambda: world.server.handshakes == 0)


async def test_close_says_goodbye_and_a_taken_port_is_named(serve, connect):
    world = await serve()
    client = await connect(world, METER)
    await client.shake()
    with pytest.raises(Unavailable, match="cannot bind udp"):
        await DtlsServer.open(world.server.socket_address, world.keys.get, world.take)
    with pytest.raises(CallerFault):
        await DtlsServer.open(("192.0.2.1", 0), world.keys.get, world.take)
    await until(lambda: bool(world.server.identities))
    world.server.close()
    with pytest.raises(TLSError):
        await client.listen()


def test_without_the_extra_the_import_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mbedtls.exceptions", None)
    monkeypatch.delitem(sys.modules, "keymote.transports.dtls")
    with pytest.raises(Unavailable, match=r"keymote\[dtls\]"):
        importlib.import_module("keymote.transports.dtls")


async def test_stale_answers_do_not_reach_the_next_client_of_a_port(serve, connect):
    world = await serve()
    world.answers = False
    first = await connect(world, METER)
    await first.shake()
    first.say(b"slow question")
    await until(lambda: len(world.peers) == 1)
    port = first.transport.get_extra_info("sockname")[1]
    first.transport.close()
    await until(lambda: first.transport.get_extra_info("socket").fileno() == -1)
    second = await connect(world, WARD, port=port)
    await second.shake()
    second.say(b"another question")
    await until(lambda: len(world.peers) == 2)
    world.peers[0].transmit_raw(b"for METER alone")
    world.peers[1].transmit_raw(b"for WARD")
    assert await second.listen() == b"for WARD"


async def test_handshakes_that_begin_push_out_those_that_do_not_go_on(serve, connect):
    world = await serve(Limits(handshakes=2))
    for _ in range(4):
        half = await connect(world, METER)
        for _ in range(2):
            assert not half.step()
            await half.hear()
        assert 1 <= world.server.handshakes <= 2
    honest = await connect(world, WARD)
    await honest.shake()
    honest.say(b"through")
    assert await honest.listen() == b"THROUGH"
