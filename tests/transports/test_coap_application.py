"""Resources under sessions' keys: between our own ends, against aiocoap's own OSCORE, and unprotected."""

import json

import aiocoap
import pytest

from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, Unavailable
from keymote.transports.coap.application import Answered, Asked, CoapApplication, Parameters

PSID = bytes.fromhex("0011223344556677")
MS, SALT = Secret(bytes(range(16))), bytes(range(8))
INITIATOR = Parameters(PSID, MS, SALT, b"\x00", b"\x01", "the responder")
RESPONDER = Parameters(PSID, MS, SALT, b"\x01", b"\x00", "the initiator")


@pytest.fixture
async def pair(opened):
    a, b = (await opened())[0], (await opened())[0]
    asking, serving = CoapApplication.mounted(a), CoapApplication.mounted(b)
    serving.serve("temperature", lambda asked: Answered(f"21.5 C for {asked.peer}".encode(), 0))
    yield asking, serving, b
    await asking.close()
    await serving.close()


async def plain(address: str, path: str) -> aiocoap.Message:
    client = await aiocoap.Context.create_client_context(transports=["simple6"])
    try:
        return await client.request(aiocoap.Message(code=aiocoap.GET, uri=f"{address}/{path}")).response
    finally:
        await client.shutdown()


async def test_a_session_reads_the_peers_resource_and_the_handler_knows_who_asks(pair) -> None:
    asking, serving, b = pair
    asking.admit(INITIATOR)
    serving.admit(RESPONDER)
    answer = await asking.request(PSID, b.address, "GET", "temperature")
    assert answer == Answered(b"21.5 C for the initiator", 0, "2.05")
    assert asking.was_used(PSID)
    assert serving.was_used(PSID)


async def test_long_bodies_go_in_protected_blocks(pair) -> None:
    asking, serving, b = pair

    async def echo(asked: Asked) -> Answered:
        return Answered(asked.payload[::-1], asked.content_format, "2.04")

    serving.serve("echo", echo)
    asking.admit(INITIATOR)
    serving.admit(RESPONDER)
    body = bytes(i % 251 for i in range(3000))
    assert await asking.request(PSID, b.address, "post", "echo", body, 42) == Answered(body[::-1], 42, "2.04")


async def test_a_resource_is_reachable_without_oscore_only_if_declared(pair) -> None:
    _, serving, b = pair
    serving.serve("public", lambda _asked: Answered(b"for all", 0), unprotected=True)
    assert str((await plain(b.address, "temperature")).code) == "4.01 Unauthorized"
    assert (await plain(b.address, "public")).payload == b"for all"
    core = (await plain(b.address, ".well-known/core")).payload
    assert core == b'</k>;rt="keymote";ct=60,</k/inbox>;rt="keymote.inbox";ct=60,</temperature>,</public>'


async def test_every_resource_there_is_refuses_strangers_unless_declared(pair) -> None:
    _, serving, b = pair
    declared = {"open": True, "shut": False, "deep/inside": False}
    for path, unprotected in declared.items():
        serving.serve(path, lambda _asked: Answered(b"x"), unprotected=unprotected)
    for path, unprotected in declared.items():
        assert (await plain(b.address, path)).code.is_successful() is unprotected


async def test_another_key_or_an_ended_session_is_refused(pair) -> None:
    asking, serving, b = pair
    asking.admit(INITIATOR)
    serving.admit(RESPONDER._replace(secret=Secret(bytes(16))))
    with pytest.raises(Unavailable):
        await asking.request(PSID, b.address, "GET", "temperature")
    serving.admit(RESPONDER)
    assert (await asking.request(PSID, b.address, "GET", "temperature")).code == "2.05"
    serving.dismiss(PSID)
    with pytest.raises(Unavailable):
        await asking.request(PSID, b.address, "GET", "temperature")
    asking.dismiss(PSID)
    with pytest.raises(CallerFault):
        await asking.request(PSID, b.address, "GET", "temperature")


async def test_aiocoaps_own_client_reads_it_with_a_context_directory(pair, tmp_path) -> None:
    _, serving, b = pair
    serving.admit(RESPONDER)
    settings = {"sender-id_hex": "00", "recipient-id_hex": "01", "id-context_hex": PSID.hex()}
    secret = {"secret_hex": MS.expose().hex(), "salt_hex": SALT.hex()}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    (tmp_path / "secret.json").write_text(json.dumps(secret))
    client = await aiocoap.Context.create_client_context(transports=["oscore", "simple6"])
    try:
        client.client_credentials.load_from_dict({f"{b.address}/*": {"oscore": {"basedir": str(tmp_path)}}})
        response = await client.request(aiocoap.Message(code=aiocoap.GET, uri=f"{b.address}/temperature")).response
        assert response.payload == b"21.5 C for the initiator"
    finally:
        await client.shutdown()


@pytest.mark.parametrize("path", ["", "k", "k/inbox", "a//b", "temperature"])
async def test_paths_that_are_taken_are_refused(pair, path: str) -> None:
    with pytest.raises(CallerFault):
        pair[1].serve(path, lambda _asked: Answered())
