"""The manager's MQTT-SN gateway: where it listens, which broker it speaks to, and what operators see of it."""

import ssl
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from keymote.crypto.secret import Secret
from keymote.engine.base import Peer
from keymote.engine.mqttsn.faces import KEYMOTE_TOPIC, Settings
from keymote.engine.mqttsn.topics import has_wildcard, is_filter
from keymote.errors import CallerFault
from keymote.host.ports import Link
from keymote.storage.private_files import read_private
from keymote.transports.coap.multicast import Group
from keymote.transports.metrics import Metrics
from keymote.transports.mqtt.paho_loop import BrokerPlace
from keymote.transports.mqtt.upstream import SharedUpstream, Upstream
from keymote.transports.mqttsn import SCHEME, GatewayOptions, MqttSnGateway
from keymote.transports.udp import address_of

CLIENT_ID: Final = "keymote-mqttsn"
PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
_NUMBERS: Final = frozenset(entry.name for entry in fields(Settings)) - {"predefined"}
_WORDS: Final = frozenset({"aggregating", "client_id", "user", "password_file", "ca_file", "group"})


@dataclass(frozen=True, slots=True)
class MqttSnOptions:
    """A gateway and its broker; `client_id` is the gateway's own at the broker, `aggregating` lets clients share it."""

    gateway: GatewayOptions
    broker: BrokerPlace
    client_id: str = CLIENT_ID
    aggregating: bool = False

    @classmethod
    def of(cls, listen: str, broker: str, file: Path | None = None) -> "MqttSnOptions":
        """Return the options of the command line; `file` is TOML with the rest.

        Raises:
            CallerFault: what is said there makes no gateway, and why.
        """
        said = _read(file)
        place = _place(broker, said)
        group = _group(str(said.get("group", "")), listen)
        gateway = GatewayOptions(address_of(listen, any_port=True), group, _settings(said))
        aggregating = said.get("aggregating", False)
        if not isinstance(aggregating, bool):
            raise CallerFault(f"aggregating = {aggregating!r}", do="say true or false")
        return cls(gateway, place, str(said.get("client_id", CLIENT_ID)), aggregating)


def _read(file: Path | None) -> Mapping[str, Any]:
    if file is None:
        return {}
    try:
        said = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CallerFault(f"{file} cannot be read as TOML: {error}") from error
    unknown = sorted(said.keys() - _NUMBERS - _WORDS - {"predefined"})
    if unknown:
        raise CallerFault(f"{file} says {', '.join(unknown)}, which is no setting", do="see docs/how-to/mqttsn.md")
    return said


def _place(broker: str, said: Mapping[str, Any]) -> BrokerPlace:
    """Return where the broker is; user and password stand in files, never in a URL that everybody can see."""
    url = urlsplit(broker)
    try:
        port = url.port or PORTS.get(url.scheme, 0)
    except ValueError:
        port = 0
    if url.scheme not in PORTS or not url.hostname or not port or url.path not in ("", "/") or url.username:
        raise CallerFault(
            f"{broker!r} is not mqtt://HOST:PORT or mqtts://HOST:PORT",
            do="user and password_file stand in the file of --mqttsn-file",
        )
    tls = None
    if url.scheme == "mqtts":
        try:
            tls = ssl.create_default_context(cafile=said.get("ca_file"))
        except (OSError, ssl.SSLError) as error:
            raise CallerFault(f"ca_file {said.get('ca_file')} cannot be read", do="give a PEM file") from error
    password = None
    if "password_file" in said:
        password = Secret(read_private(Path(str(said["password_file"])), "password file").splitlines()[0].strip())
    return BrokerPlace(url.hostname, port, str(said.get("user", "")), password, tls)


def _group(said: str, listen: str) -> Group | None:
    if not said:
        return None
    address, port = address_of(said)
    return Group(address, port, address_of(listen, any_port=True)[0])


def _settings(said: Mapping[str, Any]) -> Settings:
    """Return the machine's settings: every number of `Settings` under its own name, and the predefined topics."""
    settings = Settings()
    for name in _NUMBERS & said.keys():
        kind, value = type(getattr(settings, name)), said[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or kind(value) != value:
            raise CallerFault(f"{name} = {value!r} is not a number that it can have")
        settings = replace(settings, **{name: kind(value)})
    if settings.retry_s <= 0 or not 0 < settings.gw_id < 256 or not 0 <= settings.advertise_s < 65_536:
        raise CallerFault("retry_s must be more than 0, gw_id 1 to 255, advertise_s at most 65535")
    predefined: dict[int, str] = {}
    for number, name in dict(said.get("predefined", {})).items():
        if not number.isdigit() or not 0 < int(number) < KEYMOTE_TOPIC:
            raise CallerFault(f"predefined topic {number!r} is not a number from 1 to {KEYMOTE_TOPIC - 1}")
        if not isinstance(name, str) or not is_filter(name) or has_wildcard(name):
            raise CallerFault(f"predefined topic {number} is {name!r}, which is no topic")
        predefined[int(number)] = name
    return replace(settings, predefined=predefined)


class MqttSnService:
    """The gateway as a part of a manager, whose node takes what motes say on topic id 0xFFF0."""

    def __init__(self, options: MqttSnOptions, receive: Callable[[Peer, bytes], None]) -> None:
        upstream = Upstream(options.broker, options.client_id)
        self.upstream: Final = SharedUpstream(upstream) if options.aggregating else upstream
        self.gateway: Final = MqttSnGateway(options.gateway, self.upstream, receive=receive)

    async def start(self) -> None:
        """Serve; Unavailable when the port is taken. A broker that is away is waited for."""
        await self.gateway.start()

    async def close(self) -> None:
        await self.gateway.close()

    @property
    def address(self) -> str:
        return self.gateway.address

    def beside(self, air: Link) -> Link:
        """Return the link that reaches motes through the gateway, and everybody else through `air`."""
        return _Both(air, self.gateway)

    def add_to(self, metrics: Metrics) -> None:
        """Let operators see it: `keymote_mqttsn_*`."""
        gateway, upstream = self.gateway, self.upstream
        metrics.asked(
            "mqttsn_clients",
            "Clients of the MQTT-SN gateway, by state.",
            "state",
            lambda: {state.value: float(count) for state, count in gateway.states().items()},
        )
        metrics.asked(
            "mqttsn_events",
            "What the MQTT-SN gateway refused, dropped or noticed since the start, by kind.",
            "event",
            lambda: gateway.tally,
        )
        metrics.asked(
            "mqttsn_waiting",
            "Messages that wait for clients of the MQTT-SN gateway.",
            "state",
            lambda: {"waiting": float(gateway.waiting())},
        )
        metrics.asked(
            "mqttsn_broker_connections",
            "Connections of the MQTT-SN gateway that the broker has accepted.",
            "state",
            lambda: {"up": float(upstream.connections)},
        )


@dataclass(slots=True)
class _Both:
    air: Link
    gateway: MqttSnGateway
    reliable: bool = True

    def send(self, peer: Peer, data: bytes, failed: Callable[[], None] | None) -> None:
        if peer.startswith(SCHEME):
            self.gateway.send(peer, data)  # what a mote did not hear it asks for again
        else:
            self.air.send(peer, data, failed)
