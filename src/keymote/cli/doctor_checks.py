"""What `keymote doctor` looks at: one function a trouble, each says what is wrong and what to do."""

import http.client
import re
import socket
import sqlite3
import ssl
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from keymote.crypto.entropy import SystemEntropy
from keymote.engine.exports import PskForm
from keymote.engine.renewal import again_s, due_at, expired
from keymote.errors import CallerFault, KeymoteError, PeerFault
from keymote.storage import migrations
from keymote.storage.rotation import refuse_unfinished
from keymote.storage.seal import file_of, open_key
from keymote.storage.seal_pkcs11.faults import KeyMissing
from keymote.storage.seal_pkcs11.key import TokenKey
from keymote.transports import tls
from keymote.wire.credential import Claims

CLOCK_TOLERANCE_S: Final = 300
"""Clocks of managers and coordinators are within 300 s of UTC (Triad-1 1.13)."""
SOON_S: Final = 14 * 86400
PATIENCE_S: Final = 5.0
_REVISION: Final = re.compile(r"""^revision[^=\n]*=\s*["'](\w+)["']""", re.MULTILINE)
_HEX32: Final = re.compile(rb"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `do` is empty when there is nothing to do."""

    check: str
    ok: bool
    what: str
    do: str = ""


# ------------------------------------------------------------------ files


def private_files(paths: Iterable[Path]) -> Iterator[Finding]:
    """Nobody but its owner may read a file that holds keys, codes or rows."""
    for path in paths:
        if not path.exists():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield Finding(
                "key file", ok=False, what=f"{path} can be read by others (mode {mode:o})", do=f"chmod 600 {path}"
            )
        else:
            yield Finding("key file", ok=True, what=f"{path} is for its owner alone")


def key(uri: str, folder: Path, *, needed: bool = True) -> Iterator[Finding]:
    """The key-encryption key `uri` of the role in `folder` must be there, safe, and not half replaced.

    One that is not `needed` yet is made when the role starts.
    """
    try:
        refuse_unfinished(folder)
    except CallerFault as fault:
        yield Finding("rotation", ok=False, what=fault.what, do=fault.do)
    path = file_of(uri)
    if path is not None:
        if needed and not path.exists():
            yield Finding("key file", ok=False, what=f"{path} is missing", do="restore it; nothing opens without it")
        yield from private_files([path])
        return
    try:
        found = open_key(uri, SystemEntropy())
    except KeymoteError as fault:
        yield Finding("token", ok=isinstance(fault, KeyMissing) and not needed, what=fault.what, do=fault.do)
    else:
        imported = isinstance(found, TokenKey) and found.imported
        once = ", which was outside of it once: it was imported" if imported else ""
        yield Finding("token", ok=True, what=f"the token has key {found.fingerprint.hex()}{once}")


def schema(path: Path, history: str) -> Finding:
    """The tables of a database must be those of this program."""
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            tables = {row[0] for row in database.execute("select name from sqlite_master where type = 'table'")}
            found = next(database.execute("select version_num from alembic_version"), [None])[0] if tables else None
    except sqlite3.Error as error:
        return Finding("schema", ok=False, what=f"{path} is no database of ours: {error}", do="restore a backup")
    head = migrations.HEADS[history]
    if found == head:
        return Finding("schema", ok=True, what=f"{path} is at {head}")
    if found is None or found in _known(history):
        return Finding(
            "schema",
            ok=False,
            what=f"{path} is older: at {found or 'nothing'}, this program writes {head}",
            do="make a backup, then start the role: it brings the tables up to date",
        )
    return Finding(
        "schema",
        ok=False,
        what=f"{path} is newer: at {found}, this program knows up to {head}",
        do="run the newer version of keymote, or restore a backup from before",
    )


def _known(history: str) -> set[str]:
    """Return the steps of a history that this program has."""
    folder = resources.files(migrations) / history
    texts = (entry.read_text() for entry in folder.iterdir() if entry.name.endswith(".py"))
    return {match[1] for text in texts if (match := _REVISION.search(text))}


# ------------------------------------------------------------------ certificates, clocks, ports


def certificate_dates(name: str, pem: str, now: int) -> Finding:
    """A certificate must be in force, and soon be renewed when it is about to end."""
    validity = tls.validity_of(pem)
    if now > validity.not_after:
        days = (now - validity.not_after) // 86400
        return Finding("certificate", ok=False, what=f"{name} expired {days} days ago", do=_renew(name))
    if now < validity.not_before - CLOCK_TOLERANCE_S:
        hours = (validity.not_before - now) // 3600
        return Finding(
            "certificate",
            ok=False,
            what=f"{name} is not valid yet, for {hours} hours",
            do="is this machine's clock right?",
        )
    left = (validity.not_after - now) // 86400
    if validity.not_after - now < SOON_S:
        return Finding("certificate", ok=False, what=f"{name} expires in {left} days", do=_renew(name))
    return Finding("certificate", ok=True, what=f"{name} is valid for {left} days")


def _renew(name: str) -> str:
    return f"restart the role that {name} belongs to: it renews its certificate; a manager: keymote manager enrol"


def credential_dates(name: str, claims: Claims, now: int) -> Finding:
    """A credential must be in force; whoever runs renews it in time, so one that is overdue shows that nobody did."""
    late = expired(claims, now)
    if late is not None:
        return Finding("credential", ok=False, what=late.what, do=late.do)
    left = f"{(claims.exp - now) // 86400} days"
    if now > due_at(claims) + 2 * again_s(claims):
        do = "does its issuer answer? It renews by itself while it runs; a manager that does not: keymote manager renew"
        return Finding("credential", ok=False, what=f"{name} expires in {left} and was not renewed", do=do)
    return Finding("credential", ok=True, what=f"{name} is valid for {left}")


def certificate_names(name: str, pem: str, host: str) -> Finding:
    """A server's certificate must be for the name by which it is called."""
    names = tls.validity_of(pem).names
    if host in names:
        return Finding("certificate name", ok=True, what=f"{name} is for {host}")
    return Finding(
        "certificate name",
        ok=False,
        what=f"{name} is for {', '.join(names) or 'no host'}, not for {host}",
        do=f"call the coordinator by one of its names, or make it anew with --host {host}",
    )


def served_certificate(url: str) -> str | Finding:
    """Return the certificate (PEM) that a server shows, whoever it is, or that nobody answers."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 443)
    try:
        with (
            socket.create_connection(address, PATIENCE_S) as plain,
            tls.unverified_context().wrap_socket(plain, server_hostname=address[0]) as secured,
        ):
            der = secured.getpeercert(binary_form=True)
    except OSError as error:
        return Finding(
            "coordinator",
            ok=False,
            what=f"{url} does not answer: {error}",
            do="start it, or mend name, route or firewall",
        )
    return ssl.DER_cert_to_PEM_cert(der or b"")


def served_date(url: str) -> str | None:
    """Return the `Date` of a server's answer to `HEAD /health`, whoever it is; None when it tells none."""
    parts = urlsplit(url)
    connection = http.client.HTTPSConnection(
        parts.hostname or "", parts.port or 443, timeout=PATIENCE_S, context=tls.unverified_context()
    )
    try:
        connection.request("GET", "/health")
        return connection.getresponse().getheader("Date")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def clock(url: str, date: str | None, now: float | None = None) -> Finding:
    """This machine's clock and the coordinator's (its HTTP `Date`) must agree within 300 s."""
    if date is None:
        return Finding("clock", ok=False, what=f"{url} tells no time", do="is a proxy in between?")
    theirs = parsedate_to_datetime(date).timestamp()
    off = (time.time() if now is None else now) - theirs
    if abs(off) <= CLOCK_TOLERANCE_S:
        return Finding("clock", ok=True, what=f"within {abs(off):.0f} s of the coordinator")
    way = "ahead of" if off > 0 else "behind"
    return Finding(
        "clock",
        ok=False,
        what=f"this machine's clock is {_span(abs(off))} {way} the coordinator's",
        do="set it by NTP; if it is right, set the coordinator's",
    )


def _span(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def port(kind: str, host: str, number: int) -> Finding:
    """A port that a role wants must be free; `kind` is udp or tcp."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as probe:
        if kind == "tcp":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            return Finding(
                "port",
                ok=False,
                what=f"{kind} {host}:{number} cannot be had: {error.strerror}",
                do="stop what uses it (ss -lunp or ss -ltnp shows it), or choose another port",
            )
    return Finding("port", ok=True, what=f"{kind} {host}:{number} is free")


# ------------------------------------------------------------------ managers, codes, keys for others


def manager_known(nm_id: str, refusal: Exception | None) -> Finding:
    """A coordinator must know the manager and admit it; `refusal` is how it answered a question of the manager."""
    match refusal:
        case None:
            return Finding("manager", ok=True, what=f"the coordinator knows manager {nm_id}")
        case PeerFault(code=code, what=what):
            return Finding(
                "manager",
                ok=False,
                what=f"the coordinator does not admit manager {nm_id} ({code.name}: {what})",
                do="was it revoked, or is this another coordinator? If it should be in: keymote coordinator manager add",
            )
        case error:
            return Finding(
                "manager", ok=False, what=f"the coordinator did not say: {error}", do="see the findings above"
            )


def code(dev_id: str, examined: dict[str, object]) -> Finding:
    """The code of a device's label must be known to the manager and not used; `examined` is what the manager says."""
    match examined:
        case {"known": False}:
            return Finding(
                "code", ok=False, what=f"the manager expects no device {dev_id}", do="keymote device import labels.csv"
            )
        case {"code": "used", "state": state}:
            return Finding(
                "code",
                ok=False,
                what=f"the code of device {dev_id} was used already; the device is {state}",
                do=f"a new label: keymote device rejoin {dev_id} --code-file FILE",
            )
        case {"failures": int(failures)} if failures:
            return Finding(
                "code",
                ok=False,
                what=f"device {dev_id} has shown a wrong code {failures} times",
                do="compare the device's code with its label; a wrong one makes each attempt wait longer",
            )
        case _:
            return Finding("code", ok=True, what=f"the code of device {dev_id} waits to be used")


def psk_form(path: str, content: bytes, wanted: PskForm) -> Finding:
    """A pre-shared key in a file must have the form that the other side was given."""
    found = _form(content)
    if found is wanted:
        return Finding("PSK form", ok=True, what=f"{path} holds {wanted}")
    do = f"export it again: keymote pair export PSID --to libcoap --form {wanted}"
    if found is not None:
        return Finding("PSK form", ok=False, what=f"{path} holds {found}, the other side has {wanted}", do=do)
    if _form(content.strip()) is PskForm.TEXT32:
        return Finding("PSK form", ok=False, what=f"{path} has a line end behind the key", do="remove it: printf %s")
    if _form(content.strip().lower()) is PskForm.TEXT32:
        return Finding("PSK form", ok=False, what=f"{path} has upper-case digits; every byte counts", do=do)
    return Finding("PSK form", ok=False, what=f"{path} holds {len(content)} bytes, which is no PSK of ours", do=do)


def _form(content: bytes) -> PskForm | None:
    if _HEX32.fullmatch(content):
        return PskForm.TEXT32
    return PskForm.BINARY16 if len(content) == 16 else None
