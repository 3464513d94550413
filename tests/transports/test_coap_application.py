"""Resources under sessions' keys: between our own ends, against aiocoap's own OSCORE, and unprotected."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiocoap
import aiocoap.error
import pytest
from aiocoap import oscore

from keymote.crypto.secret import Secret
from keymote.engine.exports import OscoreParameters
from keymote.errors import CallerFault, Unavailable
from keymote.host.resources import Answered, Asked, Party
from keymote.transports.coap.application import CoapApplication
from keymote.transports.coap.responses import CORE_LINKS

PSID = bytes.fromhex("0011223344556677")
MS, SALT = Secret(bytes(range(16))), bytes(range(8))
INITIATOR = OscoreParameters(PSID, MS, SALT, b"\x00", b"\x01")
RESPONDER = OscoreParameters(PSID, MS, SALT, b"\x01", b"\x00")


@pytest.fixture
async def pair(opened):
    a, b = (await opened())[0], (await opened())[0]
    asking, serving = CoapApplication.mounted(a), CoapApplication.mounted(b)
    serving.serve("temperature", lambda asked: Answered(f"21.5 C for {asked.peer}".encode(), 0))
    yield asking, serving, b
    await asking.close()
    await serving.close()


@pytest.fixture
async def stranger() -> AsyncIterator[aiocoap.Context]:
    """Yield aiocoap as other people use it."""
    client = await aiocoap.Context.create_client_context(transports=["oscore", "simple6"])
    yield client
    await client.shutdown()
    gc.collect()  # its observations complain when they are collected: here, where tests can say that they expect it


async def plain(address: str, path: str) -> aiocoap.Message:
    client = await aiocoap.Context.create_client_context(transports=["simple6"])
    try:
        return await client.request(aiocoap.Message(code=aiocoap.GET, uri=f"{address}/{path}")).response
    finally:
        await client.shutdown()


def context_directory(address: str, directory: Path) -> dict[str, Any]:
    """Write the initiator's context in aiocoap's own form; return the credentials that name it."""
    settings = {"sender-id_hex": "00", "recipient-id_hex": "01", "id-context_hex": PSID.hex()}
    secret = {"secret_hex": MS.expose().hex(), "salt_hex": SALT.hex()}
    (directory / "settings.json").write_text(json.dumps(settings))
    (directory / "secret.json").write_text(json.dumps(secret))
    return {f"{address}/*": {"oscore": {"basedir": str(directory)}}}


async def test_a_session_reads_the_peers_resource_and_the_handler_knows_who_asks(pair) -> None:
    asking, serving, b = pair
    asking.admit(INITIATOR, "the responder")
    serving.admit(RESPONDER, "the initiator")
    answer = await asking.request(PSID, b.address, "GET", "temperature")
    assert answer == Answered(b"21.5 C for the initiator", 0, "2.05")
    assert asking.was_used(PSID)
    assert serving.was_used(PSID)


async def test_long_bodies_go_in_protected_blocks(pair) -> None:
    asking, serving, b = pair

    async def echo(asked: Asked) -> Answered:
        return Answered(asked.payload[::-1], asked.content_format, "2.04")

    serving.serve("echo", echo)
    asking.admit(INITIATOR, "the responder")
    serving.admit(RESPONDER, "the initiator")
    body = bytes(i % 251 for i in range(3000))
    assert await asking.request(PSID, b.address, "post", "echo", body, 42) == Answered(body[::-1], 42, "2.04")


async def test_a_resource_is_reachable_without_oscore_only_if_declared(pair) -> None:
    _, serving, b = pair
    serving.serve("public", lambda _asked: Answered(b"for all", 0), unprotected=True)
    assert str((await plain(b.address, "temperature")).code) == "4.01 Unauthorized"
    assert (await plain(b.address, "public")).payload == b"for all"
    core = (await plain(b.address, ".well-known/core")).payload
    assert core == CORE_LINKS + b",</temperature>,</public>"


async def test_every_resource_there_is_refuses_strangers_unless_declared(pair) -> None:
    _, serving, b = pair
    declared = {"open": True, "shut": False, "deep/inside": False}
    for path, unprotected in declared.items():
        serving.serve(path, lambda _asked: Answered(b"x"), unprotected=unprotected)
    for path, unprotected in declared.items():
        assert (await plain(b.address, path)).code.is_successful() is unprotected


async def test_another_key_or_an_ended_session_is_refused(pair) -> None:
    asking, serving, b = pair
    asking.admit(INITIATOR, "the responder")
    serving.admit(replace(RESPONDER, secret=Secret(bytes(16))), "the initiator")
    with pytest.raises(Unavailable):
        await asking.request(PSID, b.address, "GET", "temperature")
    serving.admit(RESPONDER, "the initiator")
    assert (await asking.request(PSID, b.address, "GET", "temperature")).code == "2.05"
    serving.dismiss(PSID)
    with pytest.raises(Unavailable):
        await asking.request(PSID, b.address, "GET", "temperature")
    asking.dismiss(PSID)
    with pytest.raises(CallerFault):
        await asking.request(PSID, b.address, "GET", "temperature")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of aiocoap's client
async def test_an_observation_goes_on_until_its_session_ends(pair, stranger, tmp_path) -> None:
    _, serving, b = pair
    degrees = [20]
    serving.serve("sensor", lambda _asked: Answered(str(degrees[0]).encode(), 0), observable=True)
    serving.admit(RESPONDER, "the initiator")
    stranger.client_credentials.load_from_dict(context_directory(b.address, tmp_path))
    asked = stranger.request(aiocoap.Message(code=aiocoap.GET, uri=f"{b.address}/sensor", observe=0))
    assert (await asked.response).payload == b"20"
    seen: asyncio.Queue[Any] = asyncio.Queue()
    asked.observation.register_callback(seen.put_nowait, _suppress_deprecation=True)
    asked.observation.register_errback(seen.put_nowait, _suppress_deprecation=True)
    async with asyncio.timeout(5):
        for degrees[0] in (21, 22):
            serving.changed("sensor")
            assert (await seen.get()).payload == str(degrees[0]).encode()
        serving.dismiss(PSID)
        serving.changed("sensor")
        assert isinstance(await seen.get(), oscore.NotAProtectedMessage)


async def test_a_request_under_way_ends_with_its_session(pair, stranger, tmp_path) -> None:
    _, serving, b = pair
    waiting, never = asyncio.Event(), asyncio.Event()

    async def slow(_asked: Asked) -> Answered:
        waiting.set()
        await never.wait()
        return Answered(b"too late")

    serving.serve("slow", slow)
    serving.admit(RESPONDER, "the initiator")
    stranger.client_credentials.load_from_dict(context_directory(b.address, tmp_path))
    asked = stranger.request(aiocoap.Message(code=aiocoap.GET, uri=f"{b.address}/slow"))
    async with asyncio.timeout(5):
        await waiting.wait()
        serving.dismiss(PSID)
        with pytest.raises((aiocoap.error.Error, oscore.NotAProtectedMessage)):
            await asked.response


async def test_only_what_is_declared_observable_is(pair) -> None:
    _, serving, _ = pair
    for path in ("temperature", "nothing"):
        with pytest.raises(CallerFault):
            serving.changed(path)


async def test_a_protected_request_that_comes_twice_is_refused(pair, opened) -> None:
    asking, serving, b = pair
    served: list[Asked] = []
    serving.serve("count", lambda asked: served.append(asked) or Answered(b"1"))
    asking.admit(INITIATOR, "the responder")
    serving.admit(RESPONDER, "the initiator")
    sent: list[bytes] = []
    transmit = b.datagram_received
    b.datagram_received = lambda data, addr: (sent.append(data), transmit(data, addr))[1]
    assert (await asking.request(PSID, b.address, "GET", "count")).payload == b"1"
    record = next(data for data in sent if data[0] >> 4 & 3 == 0)
    answers: asyncio.Queue[bytes] = asyncio.Queue()

    class Replayer(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, _addr: object) -> None:
            answers.put_nowait(data)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Replayer, remote_addr=b.socket_address, local_addr=("127.0.0.1", 0)
    )
    try:
        transport.sendto(record)  # from another address: no duplicate in CoAP's sense
        async with asyncio.timeout(5):
            assert (await answers.get())[1] == 4 << 5 | 1
    finally:
        transport.close()
    assert len(served) == 1


@pytest.mark.parametrize(("limit", "refused"), [("MAX_MESSAGES", "asking"), ("MAX_FORGERIES", "serving")])
async def test_a_context_that_reaches_a_limit_refuses_and_says_so(pair, monkeypatch, limit: str, refused: str) -> None:
    asking, serving, b = pair
    monkeypatch.setattr(f"keymote.transports.coap.oscore.{limit}", 3)
    worn: list[bytes] = []
    (asking if refused == "asking" else serving).contexts.worn_out = worn.append
    asking.admit(INITIATOR, "the responder")
    serving.admit(RESPONDER, "the initiator")
    if limit == "MAX_FORGERIES":
        asking.admit(replace(INITIATOR, secret=Secret(bytes(16))), "the responder")
        for _ in range(3):
            with pytest.raises(Unavailable):
                await asking.request(PSID, b.address, "GET", "temperature")
        asking.admit(INITIATOR, "the responder")
    else:
        for _ in range(3):
            await asking.request(PSID, b.address, "GET", "temperature")
    with pytest.raises(Unavailable):
        await asking.request(PSID, b.address, "GET", "temperature")
    assert worn == [PSID]


async def test_strangers_are_refused_before_their_blocks_are_kept(pair, stranger) -> None:
    _, serving, b = pair
    serving.serve("upload", lambda asked: Answered(str(len(asked.payload)).encode()))
    first = aiocoap.Message(code=aiocoap.PUT, uri=f"{b.address}/upload", payload=bytes(16), block1=(0, True, 0))
    answer = await stranger.request(first, handle_blockwise=False).response
    assert str(answer.code) == "4.01 Unauthorized"  # 2.31 Continue would mean that it is kept
    serving.serve("open", lambda asked: Answered(asked.payload), unprotected=True)
    first = aiocoap.Message(code=aiocoap.PUT, uri=f"{b.address}/open", payload=bytes(16), block1=(0, True, 0))
    answer = await stranger.request(first, handle_blockwise=False).response
    assert str(answer.code) == "4.13 Request Entity Too Large"


async def test_what_strangers_ask_is_remembered_within_bounds(pair, monkeypatch) -> None:
    _, serving, b = pair
    monkeypatch.setattr("keymote.transports.coap.aiocoap_socket.MAX_REMEMBERED", 8)
    served: list[Asked] = []
    serving.serve("open", lambda asked: served.append(asked) or Answered(b"1"), unprotected=True)
    answers: asyncio.Queue[bytes] = asyncio.Queue()

    class Asking(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, _addr: object) -> None:
            answers.put_nowait(data)

    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Asking, remote_addr=b.socket_address, local_addr=("127.0.0.1", 0)
    )

    async def ask(mid: int) -> bytes:
        transport.sendto(b"\x40\x01" + mid.to_bytes(2, "big") + b"\xb4open")
        async with asyncio.timeout(5):
            return await answers.get()

    try:
        first = await ask(1)
        assert await ask(1) == first  # a repetition: answered as before, not served again
        assert len(served) == 1
        for mid in range(2, 10):
            await ask(mid)
        assert len(served) == 9
        await ask(1)
        assert len(served) == 10  # eight others have pushed it out
    finally:
        transport.close()


@pytest.mark.parametrize("payload", [b"", b"\xf5junk", b"\x00junk", b"\xff" * 40])
async def test_the_librarys_edhoc_is_not_offered(pair, stranger, payload: bytes) -> None:
    uri = f"{pair[2].address}/.well-known/edhoc"
    answer = await stranger.request(aiocoap.Message(code=aiocoap.POST, uri=uri, payload=payload)).response
    assert str(answer.code) == "4.04 Not Found"


async def test_aiocoaps_own_client_reads_it_with_a_context_directory(pair, stranger, tmp_path) -> None:
    _, serving, b = pair
    serving.admit(RESPONDER, "the initiator")
    stranger.client_credentials.load_from_dict(context_directory(b.address, tmp_path))
    response = await stranger.request(aiocoap.Message(code=aiocoap.GET, uri=f"{b.address}/temperature")).response
    assert response.payload == b"21.5 C for the initiator"


@pytest.mark.parametrize("path", ["", "k", "k/inbox", "g", "g/6767", "a//b", "temperature"])
async def test_paths_that_are_taken_are_refused(pair, path: str) -> None:
    with pytest.raises(CallerFault):
        pair[1].serve(path, lambda _asked: Answered())


async def test_a_lost_connection_ends_what_is_observed_over_it(pair) -> None:
    _, serving, _ = pair
    rendered: list[Asked] = []
    serving.serve("sensor", lambda asked: rendered.append(asked) or Answered(b"20", 0), observable=True)

    class Connection:
        address = "coaps://127.0.0.1:5684"

        def __init__(self) -> None:
            self.sent: asyncio.Queue[bytes] = asyncio.Queue()

        def transmit_raw(self, data: bytes, _address: tuple[str, int]) -> None:
            self.sent.put_nowait(data)

    lost, kept = Connection(), Connection()
    where = ("127.0.0.1", 40000)
    async with asyncio.timeout(5):
        for wire, peer in ((lost, "one"), (kept, "other")):
            serving.heard_secured(b"\x41\x01\x12\x34\x01\x60\x56sensor", wire, where, Party(PSID, peer))
            assert (await wire.sent.get()).endswith(b"\xff20")
        assert [asked.peer for asked in rendered] == ["one", "other"]
        serving.lost_secured(lost, where)
        serving.changed("sensor")
        assert (await kept.sent.get()).endswith(b"\xff20")
    assert [asked.peer for asked in rendered] == ["one", "other", "other"]
    assert lost.sent.empty()
