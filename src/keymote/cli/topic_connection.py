"""Who a command of `keymote topic` is, and how it reaches a broker: options, and the connection that they make."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keymote.cli.output import note
from keymote.errors import CallerFault, Unavailable

if TYPE_CHECKING:
    from keymote.cli.topic_elsewhere import TopicsElsewhere
    from keymote.device.topics import Topics
    from keymote.transports.mqtt.dial import Broker
    from keymote.transports.mqtt.with_aiomqtt import ProtectedClient

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="TOML file of an enrolled device; one that runs is asked."),
]
ClientOption = Annotated[
    Path | None,
    typer.Option("--client", metavar="FILE", help="A provisioning file instead (`keymote manager client`)."),
]
BrokerOption = Annotated[
    str,
    typer.Option(
        "--broker",
        metavar="URI",
        envvar="KEYMOTE_BROKER",
        help="mqtt://HOST:PORT, mqtts:// for TLS, or coap://ADDRESS:PORT: by the agent of a broker.",
    ),
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


@dataclass(frozen=True, slots=True)
class ByAgent:
    """A broker that this agent lets us into, with a ticket in place of a password."""

    agent: str
    version: str


def broker_at(uri: str, user: str, password_file: Path | None, ca: Path | None, version: str) -> "Broker | ByAgent":
    """Return the broker of the options; its password comes of a file or the environment, or by its agent."""
    from keymote.device.config import read_secret_text
    from keymote.transports.mqtt.dial import Broker

    if uri.startswith("coap://"):
        return ByAgent(uri, version)
    password = os.environ.get("KEYMOTE_MQTT_PASSWORD", "")
    if password_file is not None:
        password = read_secret_text(password_file).rstrip("\r\n")
    return Broker.at(uri, user=user, password=password, ca=ca, version=version)


@asynccontextmanager
async def _client_of(
    config: Path | None, client: Path | None, wait: float
) -> AsyncIterator[tuple[str, "Topics | TopicsElsewhere"]]:
    """Yield id and topics of the client that the files name; its keys are in one process, this or the running device's."""
    match config, client:
        case Path(), None if (running := _running(config)) is not None:
            async with running:
                yield await running.enrolled(wait), running
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


def _running(config: Path) -> "TopicsElsewhere | None":
    """Return the topics of a device that runs as a process of its own, None when it does not."""
    from keymote.cli.topic_elsewhere import TopicsElsewhere
    from keymote.device.config import read_config

    with suppress(Unavailable):  # nothing listens there
        return TopicsElsewhere(read_config(config).socket)
    return None


@asynccontextmanager
async def connected(
    broker: "Broker | ByAgent", config: Path | None, client: Path | None, wait: float
) -> AsyncIterator[tuple["Topics | TopicsElsewhere", "ProtectedClient"]]:
    """Yield the topics of the client that the files name, and its connection."""
    from keymote.transports.mqtt.dial import dial

    async with _client_of(config, client, wait) as (identifier, topics):
        at = await _let_in(broker, topics, identifier, wait) if isinstance(broker, ByAgent) else broker
        async with dial(at, topics, identifier) as mqtt:
            yield topics, mqtt


async def _let_in(broker: ByAgent, topics: "Topics | TopicsElsewhere", identifier: str, wait: float) -> "Broker":
    """Ask the trusted system for a ticket, show it to the agent, and return its broker with an account for this client."""
    from keymote.device.broker_access import connect_via_agent
    from keymote.transports.coap.endpoint import CoapEndpoint, address_of
    from keymote.transports.mqtt.dial import Broker

    ticket = await topics.ticket(wait)
    there = address_of(broker.agent)
    with socket.socket(socket.AF_INET6 if ":" in there[0] else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(there)  # sends nothing; tells which of our addresses is towards the agent
        own: str = probe.getsockname()[0]
    client_id = bytes.fromhex(identifier)
    access = await connect_via_agent(
        CoapEndpoint.open, broker.agent, client_id, ticket.K_home, ticket.ticket, listen=own
    )
    return Broker(access.host, access.port, user=access.user, password=access.password, version=broker.version)
