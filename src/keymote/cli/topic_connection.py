"""Who a command of `keymote topic` is, and how it reaches a broker: options, and the connection that they make."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keymote.cli.output import note
from keymote.errors import CallerFault

if TYPE_CHECKING:
    from keymote.device.topics import Topics
    from keymote.transports.mqtt.dial import Broker
    from keymote.transports.mqtt.with_aiomqtt import ProtectedClient

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML file of an enrolled device that does not run now.")
]
ClientOption = Annotated[
    Path | None,
    typer.Option("--client", metavar="FILE", help="A provisioning file instead (`keymote manager client`)."),
]
BrokerOption = Annotated[
    str, typer.Option("--broker", metavar="URI", envvar="KEYMOTE_BROKER", help="mqtt://HOST:PORT, or mqtts:// for TLS.")
]
CaOption = Annotated[
    Path | None, typer.Option("--ca", metavar="FILE", help="Trust these certificates (PEM), not the system's.")
]
UserOption = Annotated[str, typer.Option("--user", help="User name at the broker.")]
PasswordOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file", metavar="FILE", help="Holds the password, mode 0600; else KEYMOTE_MQTT_PASSWORD does."
    ),
]
VersionOption = Annotated[str, typer.Option("--mqtt-version", help="3.1.1 or 5.")]
QosOption = Annotated[int, typer.Option("--qos", min=0, max=2)]
WaitOption = Annotated[float, typer.Option("--wait", min=0, max=600, help="Seconds to wait for enrolment and keys.")]


def broker_at(uri: str, user: str, password_file: Path | None, ca: Path | None, version: str) -> "Broker":
    """Return the broker of the options; its password comes of a file or the environment."""
    from keymote.device.config import read_secret_text
    from keymote.transports.mqtt.dial import Broker

    password = os.environ.get("KEYMOTE_MQTT_PASSWORD", "")
    if password_file is not None:
        password = read_secret_text(password_file).rstrip("\r\n")
    return Broker.at(uri, user=user, password=password, ca=ca, version=version)


@asynccontextmanager
async def _client_of(config: Path | None, client: Path | None, wait: float) -> AsyncIterator[tuple[str, "Topics"]]:
    """Yield id and topics of the client that the files name; its keys are in this process alone."""
    match config, client:
        case Path(), None:
            from keymote.device import Device

            async with Device.open(config) as device:
                if not device.is_enrolled:
                    note("not enrolled yet, waiting for a manager")
                await device.enrolled(wait)
                yield device.id, device.topics
        case None, Path():
            from keymote.device.topic_client import TopicClient

            async with TopicClient.open(client) as provisioned:
                yield provisioned.id, provisioned.topics
        case _:
            raise CallerFault("who publishes or subscribes?", do="give --config FILE or --client FILE, one of them")


@asynccontextmanager
async def connected(
    broker: "Broker", config: Path | None, client: Path | None, wait: float
) -> AsyncIterator[tuple["Topics", "ProtectedClient"]]:
    """Yield the topics of the client that the files name, and its connection."""
    from keymote.transports.mqtt.dial import dial

    async with _client_of(config, client, wait) as (identifier, topics), dial(broker, topics, identifier) as mqtt:
        yield topics, mqtt
