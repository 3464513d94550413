"""tshark reads along with the keys of `pair export --to wireshark`: a capture of loopback, OSCORE and DTLS."""

import asyncio
import os
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

pytestmark = pytest.mark.peers


class Capture:
    """What went over one UDP port of loopback: by dumpcap, or by our own ends' word where capturing is not permitted."""

    def __init__(self, dumpcap: str, port: int, file: Path) -> None:
        self.dumpcap, self.port, self.file = dumpcap, port, file
        self.overheard: list[tuple[int, int, bytes]] = []
        self.process: asyncio.subprocess.Process | None = None

    def listen_at(self, receiver: object, sender: object, sends: str) -> None:
        """Note what a socket of ours receives and sends: (source port, destination port, payload)."""
        receive, send = receiver.datagram_received, getattr(sender, sends)

        def received(data, addr):
            self.overheard.append((addr[1], self.port, data))
            receive(data, addr)

        def sent(data, addr):
            self.overheard.append((self.port, addr[1], data))
            send(data, addr)

        receiver.datagram_received = received
        setattr(sender, sends, sent)

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            self.dumpcap,
            *("-q", "-i", "lo", "-f", f"udp port {self.port}", "-a", "duration:120", "-w", str(self.file)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            while line := await self.process.stderr.readline():
                if line.startswith(b"File:"):
                    return self
        await self.process.wait()
        self.process = None
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process is None:
            self.file.write_bytes(pcap(self.overheard))
            return
        async with asyncio.timeout(30):
            while b"DONE" not in self.file.read_bytes():  # dumpcap writes what it has seen when more comes
                poke(self.port)
                await asyncio.sleep(0.02)
            self.process.send_signal(signal.SIGINT)
            await self.process.communicate()


def poke(port: int) -> None:
    """Send a datagram that ends the capture; CoAP ignores it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"\x00DONE", ("127.0.0.1", port))


def pcap(datagrams: list[tuple[int, int, bytes]]) -> bytes:
    """Return a capture file of IPv4 packets between ports of 127.0.0.1."""
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 228)]
    local = bytes((127, 0, 0, 1))
    for number, (source, target, payload) in enumerate(datagrams):
        udp = struct.pack(">HHHH", source, target, 8 + len(payload), 0) + payload
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), number, 0, 64, 17, 0) + local + local
        parts.append(struct.pack("<IIII", number, 0, len(ip + udp), len(ip + udp)) + ip + udp)
    return b"".join(parts)


@pytest.fixture
def read(program: Callable[[str], str], tmp_path: Path):
    """Return a function that lets tshark dissect the capture with a configuration directory."""

    async def dissected(file: Path, configuration: Path | None, *arguments: str) -> str:
        empty = tmp_path / "no keys"
        empty.mkdir(exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            program("tshark"),
            *("-r", str(file), *arguments),
            env={**os.environ, "WIRESHARK_CONFIG_DIR": str(configuration or empty)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(30):
            said, _ = await process.communicate()
        return said.decode()

    return dissected


@pytest.mark.parametrize("permitted", [True, False], ids=["captured", "overheard"])
async def test_it_decrypts_oscore_with_the_exported_key(street, run, read, program, tmp_path, permitted):
    mine = street.pair()
    keys = street.export_for_wireshark(mine.psid)
    port = street.endpoint.socket_address[1]
    file = tmp_path / "oscore.pcap"
    capture = Capture(program("dumpcap") if permitted else "/bin/false", port, file)
    capture.listen_at(street.endpoint, street.endpoint, "transmit_raw")
    async with capture:
        got = await run("aiocoap-client", "--credentials", str(mine.credentials), f"{street.coap}/temperature")
        assert got.said == b"21.5 C"
    decode = ("-d", f"udp.port=={port},coap", "-V")
    with_keys, without = await read(file, keys, *decode), await read(file, None, *decode)
    assert "Uri-Path: temperature" in with_keys
    assert "21.5 C" in with_keys
    assert "OSCORE" in without
    assert "temperature" not in without
    assert "21.5 C" not in without


async def test_it_does_not_read_dtls_of_clients_that_can_do_ecdh(street, run, read, program, tmp_path):
    mine = street.pair()
    keys = street.export_for_wireshark(mine.psid)
    port = int(street.dtls.rpartition(":")[2])
    file = tmp_path / "dtls.pcap"
    async with Capture(program("dumpcap"), port, file):
        for client in ("coap-client-openssl", "coap-client-gnutls"):
            got = await run(
                client, "-B", "5", "-u", mine.identity, "-k", mine.key.decode(), f"{street.dtls}/temperature"
            )
            assert got.said == b"21.5 C\n"
    seen = await read(file, keys, "-d", f"udp.port=={port},dtls", "-V")
    assert seen.count("Cipher Suite: TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256 (0xccac)\n") >= 2 + 2
    assert "temperature" not in seen


async def test_it_reads_dtls_of_clients_without_ecdh(street, program, read, tmp_path):
    mine = street.pair()
    keys = street.export_for_wireshark(mine.psid)
    host, port = street.dtls.removeprefix("coaps://").split(":")
    file = tmp_path / "dtls.pcap"
    async with Capture(program("dumpcap"), int(port), file):
        client = await asyncio.create_subprocess_exec(
            program("openssl"),
            *("s_client", "-quiet", "-dtls1_2", "-cipher", "PSK-AES128-GCM-SHA256", "-connect", f"{host}:{port}"),
            *("-psk_identity", mine.identity, "-psk", mine.key.hex()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            client.stdin.write(b"\x40\x01\x12\x34\xbbtemperature")  # GET /temperature
            async with asyncio.timeout(30):
                await client.stdout.readuntil(b"21.5 C")
        finally:
            client.kill()
            await client.wait()
    decode = ("-d", f"udp.port=={port},dtls", "-d", f"dtls.port=={port},coap", "-V")
    with_keys, without = await read(file, keys, *decode), await read(file, None, *decode)
    assert "temperature" not in without
    assert "Uri-Path: temperature" in with_keys
    assert "21.5 C" in with_keys
