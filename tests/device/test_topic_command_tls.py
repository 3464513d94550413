"""`keymote topic publish|subscribe --broker mqtts://…` and a real Mosquitto with TLS, a password, and an authority of its own."""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from topic_commands import PASSWORD, command, ended, until_it_says, written
from trusted import TOPIC, Trusted, dev

from keymote.crypto.secret import Secret
from keymote.lab.scene_founding import two_operators
from keymote.stories.processes import free_port
from keymote.transports.tls import Authority

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]

PUBLISH, SUBSCRIBE = 1, 2
USER = "nurse-station"
START_S = 30
LONG = "a reading of many words, " * 30


@dataclass
class Tapped:
    """A broker behind a wire that keeps what clients send; `port` is the wire's."""

    ca: Path
    log: Path
    port: int = 0
    heard: bytearray = field(default_factory=bytearray)


def certified(folder: Path, host: str) -> tuple[Path, Path, Path]:
    """Write an authority, a certificate of it for `host`, and its key; return where they are."""
    authority, password = Authority.create("ward", int(time.time())), Secret(b"for a moment")
    issued = authority.issue_server([host], int(time.time()), password)
    key = serialization.load_pem_private_key(issued.key, password.expose().hex().encode())
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths = (folder / "ca.pem", folder / "server.pem", folder / "server.key")
    texts = (authority.pem.encode(), issued.certificate.encode(), key.private_bytes(serialization.Encoding.PEM, *plain))
    for path, text in zip(paths, texts, strict=True):
        path.write_bytes(text)
    return paths


@pytest.fixture
async def broker(program: Callable[[str], str], tmp_path: Path) -> AsyncIterator[Tapped]:
    ca, certificate, key = certified(tmp_path, "localhost")
    passwords, port, log = tmp_path / "passwords", free_port(), tmp_path / "mosquitto.log"
    passwords.touch(0o600)
    passwords.write_text(f"{USER}:{PASSWORD}\n")
    subprocess.run([program("mosquitto_passwd"), "-U", passwords], check=True)  # noqa: ASYNC221
    user = "user root\n" if os.geteuid() == 0 else ""
    conf = tmp_path / "mosquitto.conf"
    conf.write_text(
        f"{user}listener {port} 127.0.0.1\ncertfile {certificate}\nkeyfile {key}\npassword_file {passwords}\n"
        f"log_type all\nlog_dest file {log}\nset_tcp_nodelay true\n"
    )
    process = subprocess.Popen([program("mosquitto"), "-c", conf], stderr=subprocess.DEVNULL)  # noqa: ASYNC220
    tapped = Tapped(ca, log)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray | None) -> None:
        while data := await reader.read(1 << 16):
            if kept is not None:
                kept += data
            writer.write(data)
        writer.close()

    async def tap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(carry(reader, back, tapped.heard), carry(there, writer, None), return_exceptions=True)

    try:
        async with asyncio.timeout(START_S):
            while not log.exists() or "running" not in log.read_text():  # noqa: ASYNC110  it tells nobody
                await asyncio.sleep(0.02)  # the pause of a poll with a deadline
        async with await asyncio.start_server(tap, "127.0.0.1", 0) as server:
            tapped.port = server.sockets[0].getsockname()[1]
            yield tapped
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
async def ward(tmp_path: Path) -> AsyncIterator[Trusted]:
    scene = two_operators(b"ward", homes={"d1": "nm1"}, enrolled=False)
    ward = await Trusted(tmp_path, scene.managers["nm1"]).start()
    async with ward.stack:
        yield ward


async def test_TQ55_readings_go_through_a_broker_with_tls(ward: Trusted, broker: Tapped, tmp_path: Path) -> None:
    mote, nurse = [written(await ward.label(number), tmp_path) for number in (1, 2)]
    await ward.grants((dev(1), PUBLISH), (dev(2), SUBSCRIBE))
    at = ("--broker", f"mqtts://localhost:{broker.port}", "--user", USER, "--ca", broker.ca, "-o", "json")
    heard = await command("subscribe", TOPIC, "--count", 40, "--config", nurse, *at)
    await until_it_says(heard, b"subscribed")
    lines = [f"{number} {LONG}" for number in range(40)]
    sent = await command("publish", TOPIC, "--stdin", "--config", mote, *at, stdin="\n".join(lines).encode())
    code, said, _ = await ended(sent)
    assert code == 0 and json.loads(said)["published"] == 40
    code, said, _ = await ended(heard)
    assert code == 0
    assert [json.loads(line)["text"] for line in said.splitlines()] == lines
    assert PASSWORD.encode() not in broker.heard and TOPIC.encode() not in broker.heard


async def test_TQ56_a_broker_whose_certificate_is_not_trusted_gets_no_password(
    ward: Trusted, broker: Tapped, tmp_path: Path
) -> None:
    mote = written(await ward.label(1), tmp_path)
    await ward.grants((dev(1), PUBLISH))
    (tmp_path / "other").mkdir()
    stranger, *_ = certified(tmp_path / "other", "localhost")
    words = ("publish", TOPIC, "-m", "72", "--config", mote, "--user", USER)
    for host, ca, because in (
        ("localhost", ("--ca", stranger), "self-signed certificate in certificate chain|unable to get local issuer"),
        ("localhost", (), "unable to get local issuer"),
        ("127.0.0.1", ("--ca", broker.ca), "not valid for '127.0.0.1'"),
    ):
        code, said, why = await ended(await command(*words, *ca, "--broker", f"mqtts://{host}:{broker.port}"))
        assert (code, said) == (2, "")
        assert any(each in why for each in because.split("|")) and "--ca" in why
    assert "New client connected" not in broker.log.read_text()
    assert USER.encode() not in broker.heard and PASSWORD.encode() not in broker.heard


async def test_TQ56_a_broker_without_tls_where_tls_is_wanted_gets_no_password(ward: Trusted, tmp_path: Path) -> None:
    mote = written(await ward.label(1), tmp_path)
    heard = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(1 << 16))
        writer.write(b"\x20\x02\0\0")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        at = f"mqtts://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        words = ("publish", TOPIC, "-m", "72", "--config", mote, "--user", USER)
        code, _, why = await ended(await command(*words, "--broker", at))
    assert code == 3 and at in why
    assert heard and PASSWORD.encode() not in heard and USER.encode() not in heard
