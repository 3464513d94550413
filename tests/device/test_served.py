"""What a device serves to others' software: real sockets, real engines; OSCORE and DTLS by their libraries' own clients."""

import asyncio
import json
from contextlib import aclosing, suppress

import aiocoap
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
from street import Street

from keymote.device import Device, Exported, NotReady
from keymote.device.app.serving import MAX_RESOURCE
from keymote.device.config import read_config
from keymote.device.export import aiocoap_files, write_files
from keymote.engine.exports import PskForm, psk, psk_identity
from keymote.engine.faces import RevokeDevice
from keymote.errors import CallerFault, Unavailable
from keymote.host.resources import Answered, Asked
from keymote.lab.scene_founding import two_operators

D1, D2 = f"{1:016x}", f"{2:016x}"
GET_TEMPERATURE = b"\x40\x01\x12\x34\xbbtemperature"
OBSERVE_TEMPERATURE = b"\x41\x01\x12\x35\x07\x60\x5btemperature"


class DtlsClient(asyncio.DatagramProtocol):
    """The library's own client, on a socket of its own."""

    def __init__(self, identity: str, key: bytes) -> None:
        configuration = DTLSConfiguration(
            validate_certificates=False,
            ciphers=("TLS-PSK-WITH-AES-128-CCM-8",),
            lowest_supported_version=DTLSVersion.DTLSv1_2,
            pre_shared_key=(identity, key),
        )
        self.tls = ClientContext(configuration).wrap_buffers(None)
        self.arrived: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, transport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, _addr) -> None:
        self.arrived.put_nowait(data)

    def flush(self) -> None:
        data = self.tls.peek_outgoing(65536)
        if data:
            self.tls.consume_outgoing(len(data))
            self.transport.sendto(data)

    async def hear(self) -> None:
        async with asyncio.timeout(5):
            self.tls.receive_from_network(await self.arrived.get())

    async def shake(self) -> None:
        while self.tls._handshake_state is not HandshakeStep.HANDSHAKE_OVER:  # noqa: SLF001  the library's only sign
            try:
                self.tls.do_handshake()
            except (WantWriteError, HelloVerifyRequest):
                self.flush()
            except WantReadError:
                self.flush()
                await self.hear()
        self.flush()

    async def ask(self, message: bytes) -> bytes:
        self.tls.write(message)
        self.flush()
        return await self.listen()

    async def listen(self) -> bytes:
        """Return the next message; TLSError when the server closes the connection."""
        while True:
            await self.hear()
            message = self.tls.read(4096)
            if message:
                return bytes(message)


async def until_closed(client: DtlsClient) -> None:
    while True:
        await client.listen()


async def first(sessions):
    async with asyncio.timeout(5), aclosing(sessions):
        async for session in sessions:
            return session
    raise AssertionError("the device was closed")


@pytest.fixture
async def street(tmp_path):
    scene = two_operators(b"street", homes={"d1": "nm1"}, enrolled=False)
    street = await Street(tmp_path, scene.managers["nm1"]).start()
    async with street.stack:
        yield street


@pytest.fixture
async def served(street):
    """Two devices; the second one serves, by OSCORE and DTLS. The first one's session is not used yet."""
    a = await street.device(1)
    b = Device.open(await street.label(2, dtls=("127.0.0.1", 0)))
    await street.stack.enter_async_context(b)
    await b.enrolled(5)
    degrees = ["21.5 C"]
    b.serve("temperature", lambda _asked: Answered(degrees[0].encode(), 0), observable=True)
    session = await a.pair(D2, at=b.address)
    theirs = await first(b.incoming())
    return a, b, session, theirs, degrees


async def connected(device: Device, stack, session, form: PskForm = PskForm.TEXT32) -> DtlsClient:
    keys = session.keys()
    client = DtlsClient(psk_identity(session.psid, keys), psk(keys, form).expose())
    await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: client,
        remote_addr=("127.0.0.1", int(device.dtls_address.rpartition(":")[2])),
        local_addr=("127.0.0.1", 0),
    )
    stack.callback(client.transport.close)
    return client


async def test_a_session_asks_for_the_peers_resource(served):
    _, b, session, theirs, _ = served
    asked: list[Asked] = []
    b.serve("who", lambda question: asked.append(question) or Answered(question.peer.encode()))
    assert await session.request("GET", "temperature") == Answered(b"21.5 C", 0, "2.05")
    assert (await session.request("POST", "who", b"me?")).payload == D1.encode()
    assert (asked[0].psid, asked[0].method, asked[0].payload) == (theirs.psid, "POST", b"me?")
    assert (await session.request("GET", "nothing")).code == "4.04"


async def test_a_session_in_use_is_not_handed_over(served):
    _, _, session, theirs, _ = served
    await session.request("GET", "temperature")
    for side in (session, theirs):
        with pytest.raises(Exported, match="in use here"):
            side.hand_over()
    assert (await session.request("GET", "temperature")).code == "2.05"


async def test_other_software_reads_with_a_handed_over_context_until_revocation(served, street, tmp_path):
    _, b, session, theirs, _ = served
    keys = tmp_path / "keys"
    files = aiocoap_files(session.psid, session.hand_over(), initiator=True, peer=b.address, directory=keys)
    write_files(keys, files)
    with pytest.raises(Exported):
        await session.request("GET", "temperature")
    client = await aiocoap.Context.create_client_context(transports=["oscore", "simple6"])
    try:
        client.client_credentials.load_from_dict(json.loads(files["credentials.json"]))

        async def read() -> aiocoap.Message:
            return await client.request(aiocoap.Message(code=aiocoap.GET, uri=f"{b.address}/temperature")).response

        assert (await read()).payload == b"21.5 C"
        await street.order(D1, RevokeDevice(2))
        async with asyncio.timeout(5):
            await theirs.ended()
        with pytest.raises(aiocoap.oscore.NotAProtectedMessage):
            await read()
    finally:
        await client.shutdown()


async def test_dtls_serves_the_same_resources_and_ends_with_the_session(served, street):
    _, b, session, theirs, degrees = served
    client = await connected(b, street.stack, session)
    await client.shake()
    assert (await client.ask(GET_TEMPERATURE)).endswith(b"\xff21.5 C")
    assert (await client.ask(OBSERVE_TEMPERATURE)).endswith(b"\xff21.5 C")
    degrees[0] = "22.0 C"
    b.changed("temperature")
    assert (await client.listen()).endswith(b"\xff22.0 C")
    await street.order(D1, RevokeDevice(2))
    with pytest.raises(TLSError):  # close_notify, perhaps after a last word about the observation
        await until_closed(client)
    async with asyncio.timeout(5):
        await theirs.ended()
    b.changed("temperature")  # nobody observes any more; nothing is sent
    assert client.arrived.empty()
    with pytest.raises(Exception, match="revoked"):
        await connected(b, street.stack, theirs)


async def test_a_device_may_want_its_psk_in_binary(street):
    a = await street.device(1)
    b = Device.open(await street.label(2, dtls=("127.0.0.1", 0), psk_form=PskForm.BINARY16))
    await street.stack.enter_async_context(b)
    await b.enrolled(5)
    b.serve("temperature", lambda _asked: Answered(b"21.5 C"))
    session = await a.pair(D2, at=b.address)
    await first(b.incoming())
    wrong = await connected(b, street.stack, session)
    with pytest.raises(TLSError):
        await wrong.shake()
    right = await connected(b, street.stack, session, PskForm.BINARY16)
    await right.shake()
    assert (await right.ask(GET_TEMPERATURE)).endswith(b"\xff21.5 C")


async def test_a_context_at_its_limit_closes_its_session(served, monkeypatch):
    _, _, session, theirs, _ = served
    await session.request("GET", "temperature")
    monkeypatch.setattr("keymote.transports.coap.oscore.MAX_MESSAGES", 2)
    with suppress(Unavailable):  # the session may be over before the answer is here
        await session.request("GET", "temperature")
    async with asyncio.timeout(5):
        await session.ended()
        await theirs.ended()


async def test_files_are_read_at_each_request(street, tmp_path):
    a = await street.device(1)
    reading = tmp_path / "reading"
    b = Device.open(await street.label(2, serve={"temperature": reading}))
    await street.stack.enter_async_context(b)
    await b.enrolled(5)
    session = await a.pair(D2, at=b.address)
    await first(b.incoming())
    assert (await session.request("GET", "temperature")).code == "5.03"
    for text in (b"21.5 C", b"22.0 C", bytes(5000)):
        reading.write_bytes(text)
        assert await session.request("GET", "temperature") == Answered(text, 0, "2.05")
    assert (await session.request("PUT", "temperature", b"0 K")).code == "4.05"
    reading.write_bytes(bytes(MAX_RESOURCE + 1))
    assert len((await session.request("GET", "temperature")).payload) == MAX_RESOURCE


async def test_what_cannot_be_served_stops_the_start(street, tmp_path):
    taken = await street.device(1)
    port = int(taken.address.rpartition(":")[2])
    for wrong, error in (
        ({"serve": {"k/inbox": tmp_path}}, CallerFault),
        ({"dtls": ("127.0.0.1", port)}, Unavailable),
        ({"dtls": ("192.0.2.1", 0)}, CallerFault),
    ):
        with pytest.raises(error):
            async with Device.open(await street.label(3, **wrong)):
                pass


async def test_a_device_that_is_not_open_serves_nothing(street):
    with pytest.raises(NotReady):
        Device.open(await street.label(3)).serve("temperature", lambda _asked: Answered())


def test_the_configuration_names_what_is_served(tmp_path):
    file = tmp_path / "meter.toml"
    base = f'id = "{D1}"\nroot = "root.pin"\n'
    file.write_text(f'{base}dtls = "127.0.0.1:5684"\npsk_form = "binary16"\n[serve]\ntemperature = "reading"\n')
    config = read_config(file)
    assert config.dtls == ("127.0.0.1", 5684)
    assert config.psk_form == PskForm.BINARY16
    assert config.serve == {"temperature": tmp_path / "reading"}
    file.write_text(base)
    assert (read_config(file).dtls, read_config(file).serve) == (None, {})
    for wrong in ('dtls = "5684"', 'psk_form = "hex"', 'serve = "reading"', "[serve]\ntemperature = 21.5"):
        file.write_text(f"{base}{wrong}\n")
        with pytest.raises(CallerFault, match=wrong.strip("[]").split()[0].split("]")[0]):
            read_config(file)
