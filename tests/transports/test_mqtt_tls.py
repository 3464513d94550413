"""A connection with TLS hands on what a record brings, also when one record brings much."""

import asyncio
import ssl
import time
from pathlib import Path

from keymote.crypto.secret import Secret
from keymote.device.topic_keys import TopicKeys
from keymote.engine.base import Now
from keymote.transports.mqtt.dial import Broker, dial
from keymote.transports.mqtt.face import GivenKeys
from keymote.transports.mqtt.packets import length, text
from keymote.transports.tls import Authority
from keymote.wire.topic import PUBLISH, SUBSCRIBE, KeyGrant

TOPIC = "ward/7/hr"
GRANT = KeyGrant(b"sess0001", 1, 1, 2, bytes(range(32)), 0, 100_000, 86_400)
RECORD = 1 << 14
"""Bytes that one record carries at most (RFC 8446 5.1)."""


def keys(role: int) -> TopicKeys:
    made = TopicKeys(lambda: Now(0.0, 0))
    made.take(TOPIC, role, GRANT, [(1, b"")])
    return made


def listening(folder: Path) -> ssl.SSLContext:
    """Return a server's context for `localhost`, whose authority is in `ca.pem`."""
    authority, password = Authority.create("ward", int(time.time())), Secret(b"a password")
    issued = authority.issue_server(["localhost"], int(time.time()), password)
    for name, data in (("ca.pem", authority.pem.encode()), ("pem", issued.certificate.encode()), ("key", issued.key)):
        (folder / name).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pem", folder / "key", password.expose().hex())
    return context


async def test_TQ27_every_message_of_a_record_is_handed_on_at_once(tmp_path: Path) -> None:
    mote, packets = keys(PUBLISH), []
    while len(b"".join(packets)) < RECORD - 400:
        body = text(TOPIC) + mote.protect(TOPIC, bytes(200))
        packets.append(b"\x30" + length(len(body)) + body)
    over = asyncio.Event()

    async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1 << 12)
        writer.write(b"\x20\x02\0\0")
        writer.write(b"".join(packets))
        await over.wait()
        writer.close()

    async with await asyncio.start_server(broker, "localhost", 0, ssl=listening(tmp_path)) as server:
        at = Broker("localhost", server.sockets[0].getsockname()[1], tls=True, ca=tmp_path / "ca.pem")
        async with dial(at, GivenKeys(keys(SUBSCRIBE)), "nurse") as nurse:
            async with asyncio.timeout(5):
                found = [(await anext(nurse.messages)).reading.n for _ in packets]
            over.set()
    assert found == list(range(len(packets)))
