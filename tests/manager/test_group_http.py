"""Where the HTTP face listens, as an operator says it."""

import asyncio
import datetime as dt
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from keymote.crypto.entropy import SeededEntropy
from keymote.engine.node import registrar_node
from keymote.errors import CallerFault
from keymote.host.async_host import AsyncHost, SystemClock
from keymote.host.driver import Driver
from keymote.lab.scene_founding import two_operators
from keymote.manager.app.group_http import GroupsHttp, HttpFace
from keymote.storage.memory import MemoryStore


class Silence:
    reliable = True

    def send(self, *_: object) -> None:
        pass


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Write a certificate for localhost and its key, as an operator has them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "gateway.pem", tmp_path / "gateway.key"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].touch(0o600)
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def test_where_it_listens_is_said_clearly() -> None:
    assert GroupsHttp.at("127.0.0.1:8080", None, None) == GroupsHttp(("127.0.0.1", 8080))
    assert GroupsHttp.at("[::1]:8080", None, None) == GroupsHttp(("::1", 8080))
    for address in ("8080", "127.0.0.1", "127.0.0.1:http", ":8080"):
        with pytest.raises(CallerFault, match="not ADDRESS:PORT"):
            GroupsHttp.at(address, None, None)
    for files in ((Path("a"), None), (None, Path("b"))):
        with pytest.raises(CallerFault, match="give both"):
            GroupsHttp.at("127.0.0.1:1", *files)


async def test_GF12_with_a_certificate_it_speaks_tls_and_nothing_older_than_1_3(pair) -> None:
    face = HttpFace(GroupsHttp(("127.0.0.1", 0), pair), Silence())
    context = two_operators(b"face", homes={"d1": "nm1"}, enrolled=False).managers["nm1"]
    node, entropy = registrar_node(context), SeededEntropy(b"face")
    driver = Driver(node, MemoryStore(), face.link, SystemClock(), entropy, lambda *_: None, lambda *_: None)
    await face.start(AsyncHost(driver, SystemClock()))
    try:
        port = face.url.rpartition(":")[2]
        assert face.url.startswith("https://")
        trusting = ssl.create_default_context(cafile=str(pair[0]))
        async with httpx.AsyncClient(verify=trusting) as client:
            answer = await client.post(f"https://localhost:{port}/groups/{'0' * 16}/{'0' * 16}")
        assert (answer.status_code, answer.json()["code"]) == (404, "E_UNKNOWN_ID")
        trusting.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("127.0.0.1", int(port), ssl=trusting, server_hostname="localhost")
    finally:
        await face.stop()


def test_a_key_that_others_can_read_is_refused(pair) -> None:
    async def made() -> None:
        HttpFace(GroupsHttp(("127.0.0.1", 0), pair), Silence())

    pair[1].chmod(0o640)
    with pytest.raises(CallerFault, match="can be read by others"):
        asyncio.run(made())
    pair[1].unlink()
    with pytest.raises(CallerFault, match="cannot read"):
        asyncio.run(made())
