"""Each trouble that `keymote doctor` names, made for real and told apart from health."""

import http.server
import json
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from keymote.cli import doctor_checks as checks
from keymote.crypto.secret import Secret
from keymote.engine.exports import PskForm
from keymote.errors import ErrorCode, PeerFault, Unavailable
from keymote.lab.scene_founding import two_operators
from keymote.storage.seal_pkcs11 import key as token_keys
from keymote.storage.seal_pkcs11.faults import KeyMissing
from keymote.storage.seal_pkcs11.key import Act, Answer
from keymote.storage.sql import open_database
from keymote.transports import tls

NOW = int(time.time())
PASSWORD = Secret(bytes(32))


def issued(names: tuple[str, ...] = ("localhost",), at: int = NOW, days: int = 90) -> tls.Issued:
    return tls.Authority.create("doctor", at).issue_server(names, at, PASSWORD, days=days)


class Server:
    """A real HTTPS server with a clock of its own."""

    def __init__(self, folder: Path, certificate: tls.Issued, off_s: float) -> None:
        (folder / "tls.pem").write_text(certificate.certificate)
        (folder / "tls.key").write_bytes(certificate.key)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response_only(200)
                self.send_header("Date", formatdate(time.time() + off_s, usegmt=True))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.pem", folder / "tls.key", password=PASSWORD.expose().hex())
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server.server_address[1]}"

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[object]:
    made: list[Server] = []

    def start(certificate: tls.Issued, off_s: float = 0.0) -> Server:
        made.append(Server(tmp_path, certificate, off_s))
        return made[-1]

    yield start
    for server in made:
        server.stop()


def test_a_certificate_that_has_expired_or_will_soon_or_is_not_valid_yet() -> None:
    expired = checks.certificate_dates("x", issued(at=NOW - 100 * 86400).certificate, NOW)
    assert (expired.ok, expired.what) == (False, "x expired 10 days ago")
    soon = checks.certificate_dates("x", issued(days=10).certificate, NOW)
    assert (soon.ok, soon.what) == (False, "x expires in 10 days")
    early = checks.certificate_dates("x", issued(at=NOW + 7200).certificate, NOW)
    assert not early.ok
    assert "not valid yet" in early.what
    assert checks.certificate_dates("x", issued().certificate, NOW).ok
    assert all(finding.do for finding in (expired, soon, early))


def test_a_certificate_for_another_name() -> None:
    pem = issued(("nc.example", "192.0.2.7")).certificate
    assert checks.certificate_names("x", pem, "nc.example").ok
    assert checks.certificate_names("x", pem, "192.0.2.7").ok
    other = checks.certificate_names("x", pem, "localhost")
    assert (other.ok, other.what) == (False, "x is for nc.example, 192.0.2.7, not for localhost")


def test_what_a_server_shows_and_tells_is_read_whoever_it_is(serve) -> None:
    certificate = issued()
    server = serve(certificate)
    assert checks.served_certificate(server.url) == certificate.certificate
    assert checks.clock(server.url, checks.served_date(server.url)).ok


@pytest.mark.parametrize(("off_s", "words"), [(3700, "behind"), (-3700, "ahead of"), (-90_000, "1.0 days")])
def test_a_clock_that_is_off_by_an_hour(serve, off_s: float, words: str) -> None:
    server = serve(issued(), off_s)
    finding = checks.clock(server.url, checks.served_date(server.url))
    assert not finding.ok
    assert words in finding.what
    assert "NTP" in finding.do


def test_a_coordinator_that_does_not_answer() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"https://localhost:{taken.getsockname()[1]}"
        finding = checks.served_certificate(url)
        assert isinstance(finding, checks.Finding)
        assert not finding.ok
        assert checks.served_date(url) is None
        assert not checks.clock(url, None).ok


@pytest.mark.parametrize(("kind", "of_socket"), [("udp", socket.SOCK_DGRAM), ("tcp", socket.SOCK_STREAM)])
def test_a_port_that_is_taken(kind: str, of_socket: int) -> None:
    with socket.socket(socket.AF_INET, of_socket) as holder:
        holder.bind(("127.0.0.1", 0))
        if kind == "tcp":
            holder.listen()
        number = holder.getsockname()[1]
        taken = checks.port(kind, "127.0.0.1", number)
        assert not taken.ok
        assert str(number) in taken.what
    assert checks.port(kind, "127.0.0.1", number).ok


def test_a_key_file_that_others_can_read(tmp_path: Path) -> None:
    key, token = tmp_path / "key", tmp_path / "token"
    for path, mode in ((key, 0o640), (token, 0o600)):
        path.touch(mode)
        path.chmod(mode)
    open_to_group, private = checks.private_files([key, tmp_path / "absent", token])
    assert (open_to_group.ok, open_to_group.do) == (False, f"chmod 600 {key}")
    assert private.ok


def test_KT05_a_key_encryption_key_that_is_missing_half_replaced_or_in_a_token_that_is_not_there(
    tmp_path: Path,
) -> None:
    (missing,) = checks.key(f"file:{tmp_path}/key", tmp_path)
    assert (missing.check, missing.ok, "is missing" in missing.what) == ("key file", False, True)
    assert list(checks.key(f"file:{tmp_path}/key", tmp_path, needed=False)) == []
    (tmp_path / "rotation.json").touch()
    (tmp_path / "key").touch(0o600)
    interrupted, private = checks.key(f"file:{tmp_path}/key", tmp_path)
    assert (interrupted.check, interrupted.ok, private.ok) == ("rotation", False, True)
    assert "keymote storage rotate" in interrupted.do
    (tmp_path / "rotation.json").unlink()
    (token,) = checks.key(f"pkcs11:token=km;object=kek?module-path={tmp_path}/absent.so", tmp_path)
    assert (token.check, token.ok, "mend module-path" in token.do) == ("token", False, True)


@pytest.mark.parametrize(
    ("imported", "needed", "ok", "says"),
    [
        (False, True, True, "the token has key"),
        (True, True, True, "it was imported"),
        (None, True, False, "no such key"),
        (None, False, True, "no such key"),  # it is made when the role starts
    ],
)
def test_KT05_a_key_in_a_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, imported: bool | None, needed: bool, ok: bool, says: str
) -> None:
    def ask(_uri: str, _act: Act, _data: bytes) -> Answer:
        if imported is None:
            raise KeyMissing("no such key")
        return Answer(bytes(40), imported=imported)

    monkeypatch.setattr(token_keys, "ask_process", ask)
    (found,) = checks.key("pkcs11:token=km;object=kek?module-path=/m.so", tmp_path, needed=needed)
    assert (found.check, found.ok, says in found.what) == ("token", ok, True)


@pytest.mark.parametrize(
    ("found", "ok", "words"), [(None, True, "is at"), ("9999_from_the_future", False, "newer"), ("", False, "older")]
)
def test_a_schema_that_is_older_or_newer(tmp_path: Path, found: str | None, ok: bool, words: str) -> None:
    path = tmp_path / "cells.db"
    open_database(path, history="cells").close()
    if found is not None:
        with sqlite3.connect(path) as database:
            database.execute("delete from alembic_version")
            if found:
                database.execute("insert into alembic_version values (?)", (found,))
    finding = checks.schema(path, "cells")
    assert finding.ok is ok
    assert words in finding.what
    assert bool(finding.do) is not ok


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "cells.db").write_bytes(b"nonsense" * 100)
    assert not checks.schema(tmp_path / "cells.db", "cells").ok


def test_a_manager_that_its_coordinator_does_not_know() -> None:
    unknown = checks.manager_known("ab" * 8, PeerFault(ErrorCode.E_UNKNOWN_ID, "manager abab is not registered here"))
    assert not unknown.ok
    assert "E_UNKNOWN_ID" in unknown.what
    assert "manager add" in unknown.do
    assert checks.manager_known("ab" * 8, None).ok
    away = checks.manager_known("ab" * 8, Unavailable("https://nc does not answer"))
    assert not away.ok
    assert "does not answer" in away.what


@pytest.mark.parametrize(
    ("examined", "ok", "words"),
    [
        ({"known": True, "code": "waits", "failures": 0, "state": "pending"}, True, "waits to be used"),
        ({"known": True, "code": "used", "failures": 0, "state": "active"}, False, "was used already"),
        ({"known": True, "code": "waits", "failures": 3, "state": "pending"}, False, "wrong code 3 times"),
        ({"known": False}, False, "expects no device"),
    ],
)
def test_a_code_that_was_used_already(examined: dict[str, object], ok: bool, words: str) -> None:
    finding = checks.code("00000000000000a1", examined)
    assert finding.ok is ok
    assert words in finding.what


TEXT, RAW = bytes(range(16)).hex().encode(), bytes(range(16))


@pytest.mark.parametrize(
    ("content", "wanted", "ok", "words"),
    [
        (TEXT, PskForm.TEXT32, True, "holds text32"),
        (RAW, PskForm.BINARY16, True, "holds binary16"),
        (RAW, PskForm.TEXT32, False, "holds binary16, the other side has text32"),
        (TEXT, PskForm.BINARY16, False, "holds text32, the other side has binary16"),
        (TEXT + b"\n", PskForm.TEXT32, False, "line end"),
        (b"ABCDEF" * 5 + b"01", PskForm.TEXT32, False, "upper-case"),
        (TEXT * 2, PskForm.TEXT32, False, "64 bytes"),
    ],
)
def test_a_psk_in_the_wrong_form(content: bytes, wanted: PskForm, ok: bool, words: str) -> None:
    finding = checks.psk_form("psk.key", content, wanted)
    assert finding.ok is ok
    assert words in finding.what
    assert TEXT.decode() not in finding.what + finding.do


@pytest.mark.long
def test_the_command_shows_what_it_found_and_ends_accordingly(tmp_path: Path) -> None:
    key = tmp_path / "psk.key"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "keymote.cli", "doctor", *arguments, "-o", "json"]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ), timeout=200)

    key.write_bytes(TEXT)
    healthy = run("--psk-file", str(key))
    assert (healthy.returncode, json.loads(healthy.stdout)["ok"]) == (0, True)
    key.write_bytes(RAW)
    ill = run("--psk-file", str(key))
    (finding,) = json.loads(ill.stdout)["findings"]
    assert (ill.returncode, finding["check"], finding["ok"]) == (1, "PSK form", False)
    assert run().returncode == 2
    assert run("--data", str(tmp_path)).returncode == 2


def test_RN08_the_doctor_names_the_expiry_of_a_credential_and_what_mends_it() -> None:
    claims = two_operators(enrolled=False).managers["nm1"].membership.credential.claims
    claims = replace(claims, iat=0, exp=365 * 86400)
    good = checks.credential_dates("x", claims, 300 * 86400)
    assert (good.ok, good.what) == (True, "x is valid for 65 days")
    overdue = checks.credential_dates("x", claims, 350 * 86400)
    assert not overdue.ok
    assert "15 days" in overdue.what
    late = checks.credential_dates("x", claims, 366 * 86400)
    assert not late.ok
    assert "expired on 1971-01-01" in late.what
    assert late.do == "keymote manager renew"
