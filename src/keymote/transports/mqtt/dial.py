"""A connection to somebody's MQTT broker, as commands and agents make it: from a URI, with errors of ours."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from keymote.errors import CallerFault, RefusedByPolicy, Unavailable
from keymote.transports.mqtt.face import Topics
from keymote.transports.mqtt.with_aiomqtt import ProtectedClient

PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
VERSIONS: Final = {"3.1.1": aiomqtt.ProtocolVersion.V311, "5": aiomqtt.ProtocolVersion.V5}
_REFUSED: Final = {0x86, 0x87}
"""Bad credentials and not authorized, which paho tells so for both versions."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where a broker is and how it is spoken to; `ca` names a file of certificates, None trusts the system's.

    A password without `user` is that of the client id, which is how agents name their accounts.
    """

    host: str
    port: int
    tls: bool = False
    ca: Path | None = None
    user: str = ""
    password: str = field(default="", repr=False)
    version: str = "3.1.1"

    @classmethod
    def at(cls, uri: str, **more: Any) -> "Broker":
        """Return the broker of `mqtt://host:port` or `mqtts://host:port`; CallerFault for anything else in it."""
        try:
            parts = urlsplit(uri)
            port = parts.port
        except ValueError as error:
            raise CallerFault("the broker's URI has no such port", do="write mqtt://HOST:PORT") from error
        if parts.password is not None or parts.username is not None:
            raise CallerFault("a broker's URI holds no credentials: command lines are read by others", do="use a file")
        if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
            raise CallerFault(f"{uri!r} is no broker", do="write mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS")
        return cls(parts.hostname, port or PORTS[parts.scheme], parts.scheme == "mqtts", **more)

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"

    def options(self, identifier: str) -> dict[str, Any]:
        """Return what `aiomqtt.Client` is told about a client, besides host and port."""
        if self.version not in VERSIONS:
            raise CallerFault(f"MQTT {self.version} is not known", do=f"choose {' or '.join(VERSIONS)}")
        return {
            "protocol": VERSIONS[self.version],
            "identifier": identifier,
            "username": self.user or (identifier if self.password else None),
            "password": self.password or None,
            "tls_context": _context(self.ca) if self.tls else None,
        }


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise CallerFault(f"{ca} holds no certificates of authorities: {error}", do="name a PEM file") from error


@asynccontextmanager
async def dial(
    broker: Broker, topics: Topics, identifier: str, *, keep_s: int = 0, **options: Any
) -> AsyncIterator[ProtectedClient]:
    """Yield a connected client; `keep_s` above 0 keeps its session that long when the connection ends.

    Raises:
        CallerFault: its certificate is not trusted; it was sent nothing.
        RefusedByPolicy: the broker takes neither these credentials nor this client.
        Unavailable: it cannot be reached, or the connection ended; also from inside.
    """
    told = {**broker.options(identifier), **options}
    if broker.version == "5":
        if keep_s:
            told["properties"] = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # has no types
            told["properties"].SessionExpiryInterval = keep_s
        told.setdefault("clean_start", not keep_s)
    else:
        told.setdefault("clean_session", not keep_s)
    client = ProtectedClient(broker.host, broker.port, topics=topics, **told)
    try:
        async with client:
            yield client
    except aiomqtt.MqttCodeError as error:
        if isinstance(error.rc, ReasonCode) and error.rc.value in _REFUSED:
            raise RefusedByPolicy(
                f"{broker} refuses {identifier}", do="look at user, password and client id"
            ) from error
        raise Unavailable(f"{broker}: {error}", do="look whether the broker runs") from error
    except (aiomqtt.MqttError, OSError) as error:
        distrust = _distrust(error)
        if distrust is not None:
            raise CallerFault(
                f"{broker} is not trusted: {distrust.verify_message}",
                do="name the certificate of its authority (--ca), and the broker as its own certificate does",
            ) from error
        raise Unavailable(f"{broker}: {error}", do="look whether the broker runs, and its address") from error


def _distrust(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """Return why a certificate was refused, which the library says in words alone."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause
