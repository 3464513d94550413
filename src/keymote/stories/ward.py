"""A ward in real processes: three brokers with their agents, patients who walk between them, and a caregivers' station.

Every role is a process of its own; the trusted system is the office's manager. What patients say to brokers and agents passes
relays that remember it, to be searched afterwards.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from keymote.coordinator.app.directory import token_in
from keymote.errors import Unavailable
from keymote.stories.offices import Office
from keymote.stories.processes import Cast, Role, free_port, together
from keymote.stories.relays import TcpRelay, UdpRelay
from keymote.stories.searching import files_hold, memory_holds
from keymote.stories.station import StationPlan
from keymote.stories.walkers import Door, WalkersPlan
from keymote.stories.ward_logs import Tally, compare, logged
from keymote.transports.control import ControlClient
from keymote.transports.http_operator import OperatorClient
from keymote.wire import admin_topics
from keymote.wire.topic import PUBLISH, SUBSCRIBE

BROKERS: Final = ("a", "b", "c")
READ_EVERY_S: Final = 0.25
STAY_S: Final = 0.2
ALARM_EVERY: Final = 3
VITALS: Final = "ward/+/vitals"
ALARMS: Final = "ward/+/alarm"
CS: Final = 2
"""AES-CCM: Ascon runs uncompiled in a demonstration's processes."""
SETTLED_S: Final = 60.0
MET_S: Final = 90.0
VITAL: Final = "vitals"
_BROKER: Final = "broker-"


@dataclass(slots=True)
class WardBroker:
    """A broker, its agent, and the relays before both."""

    folder: Path
    broker_id: str
    mqtt: int
    coap: int
    role: Role | None = None
    stream: TcpRelay | None = None
    radio: UdpRelay | None = None

    def door(self) -> Door:
        """Return the broker as patients reach it."""
        assert self.radio is not None and self.stream is not None
        return Door(self.broker_id, f"coap://127.0.0.1:{self.radio.port}", self.stream.port)

    def heard(self) -> bytes:
        """Return all that has passed before it."""
        assert self.radio is not None and self.stream is not None
        return bytes(self.stream.heard) + b"\0" + bytes(self.radio.heard)


Start = Callable[[WardBroker], Awaitable[object]]
"""Starts the MQTT broker that an agent is told about."""


@dataclass(slots=True)
class Ward:
    """The ward. `groups`: the patients of each process. `kind`: of the brokers; `start` brings up other than embedded ones."""

    cast: Cast
    office: Office
    groups: Sequence[Sequence[str]]
    kind: str = "embedded"
    start: Start | None = None
    read_every_s: float = READ_EVERY_S
    word: str = field(default_factory=lambda: secrets.token_hex(8))
    brokers: list[WardBroker] = field(default_factory=list)
    sockets: dict[str, Path] = field(default_factory=dict)
    roles: list[Role] = field(default_factory=list)
    at: dict[str, int] = field(default_factory=dict)
    station: Role | None = None
    moves: int = 0

    @property
    def folder(self) -> Path:
        return self.office.folder / "ward"

    @property
    def names(self) -> list[str]:
        return [name for group in self.groups for name in group]

    # ------------------------------------------------------------------ setting up, as operators do

    async def prepare(self) -> None:
        """Make clients, rules and brokers; nothing of this needs to be done again, nor the coordinator afterwards."""
        self.folder.mkdir(mode=0o700)
        (self.folder / "logs").mkdir(mode=0o700)
        await together(*(self._init(name) for name in BROKERS))
        clients = await asyncio.to_thread(self._clients, [*self.names, *(f"station-{name}" for name in BROKERS)])
        await self._rules(clients)
        homes = {name: at % len(BROKERS) for at, name in enumerate(self.names)}
        homes |= {f"station-{name}": at for at, name in enumerate(BROKERS)}
        await asyncio.to_thread(self._admit, clients, homes)
        self.at = {name: homes[name] for name in self.names}
        await together(*(self._enrol(broker) for broker in self.brokers))

    async def _init(self, name: str) -> None:
        data, ports = self.folder / name, [free_port() for _ in range(4)]
        mqtt, coap, agent, management = (f"127.0.0.1:{port}" for port in ports)
        made = await self.cast.run(
            *("agent", "init", "--name", f"ward-{name}", "--data", str(data), "--broker", self.kind, "--mqtt", mqtt),
            *("--coap", coap, "--agent", agent, "--management", management),
        )
        self.brokers.append(WardBroker(data, str(made["broker_id"]), ports[0], ports[1]))
        self.brokers.sort(key=lambda broker: broker.folder)

    def _ask(self, do: str, **arguments: object) -> Any:
        """Ask the manager, as its operator's commands do."""
        with ControlClient(self.office.folder / "manager" / "control.sock") as manager:
            return manager.ask(do, **arguments)

    def _clients(self, names: Sequence[str]) -> dict[str, str]:
        """Make a provisioning file for each name; return the clients' ids."""
        return {name: str(self._ask("client.add", name=name, out=str(self.file(name)))["client_id"]) for name in names}

    def file(self, name: str) -> Path:
        """Return where the provisioning file of a client is."""
        return self.folder / f"{name}.client"

    async def _rules(self, clients: Mapping[str, str]) -> None:
        """Make the rules when the coordinator knows the clients: patients publish, the station's keys open."""
        assert self.office.manager is not None
        grants = [admin_topics.Grant(clients[name], PUBLISH) for name in self.names]
        grants += [admin_topics.Grant(clients[f"station-{name}"], SUBSCRIBE) for name in BROKERS]
        nm_id = str(self.office.manager.ready["nm_id"])
        deadline = time.monotonic() + SETTLED_S
        async with self._operator() as operator:
            while {each.client for each in await _known(operator)} < set(clients.values()):
                if time.monotonic() > deadline:
                    raise Unavailable("the manager has not reported the ward's clients")
                await asyncio.sleep(0.05)
            for name, emergency in ((VITALS, False), (ALARMS, True)):
                body = admin_topics.CreateTopic(name, nm_id, emergency=emergency, cs=CS, grants=grants)
                made = await operator.send("POST", "/topics", body, admin_topics.TopicView)
                while not made.acted:
                    await asyncio.sleep(0.05)
                    made = await operator.get(f"/topics/{made.tid}", admin_topics.TopicView)

    @asynccontextmanager
    async def _operator(self) -> AsyncIterator[OperatorClient]:
        data = self.office.folder / "coordinator"
        client = OperatorClient(self.office.url, data / "ca.pem", token_in(data / "token"))
        try:
            yield client
        finally:
            await client.close()

    def _admit(self, clients: Mapping[str, str], homes: Mapping[str, int]) -> None:
        """Let the manager take the brokers in, and say who is at home where."""
        for broker in self.brokers:
            self._ask("broker.add", card=str(broker.folder / "card"), out=str(self._given(broker)))
        for name, at in homes.items():
            self._ask("broker.assign", client=clients[name], broker=self.brokers[at].broker_id)

    def _given(self, broker: WardBroker) -> Path:
        return broker.folder.with_name(broker.folder.name + ".given")

    async def _enrol(self, broker: WardBroker) -> None:
        await self.cast.run("agent", "enrol", str(self._given(broker)), "--data", str(broker.folder))

    # ------------------------------------------------------------------ starting

    async def open(self) -> None:
        """Start brokers and agents, the station, then the patients; return when all have keys and are served."""
        await together(*(self._run(broker) for broker in self.brokers))
        listed = (await asyncio.to_thread(self._ask, "broker.federation"))["file"]
        for broker in self.brokers:
            await asyncio.to_thread(_asked, broker.folder / "control.sock", "update", file=listed)
        wired = tuple(Door(b.broker_id, f"coap://127.0.0.1:{b.coap}", b.door().port) for b in self.brokers)
        keys = (str(self.file(f"station-{name}")) for name in BROKERS)
        plan = StationPlan(
            str(self.folder / "station.sock"), str(self.folder / "station.log"), tuple(keys), wired, (VITALS, ALARMS)
        )
        plan.write(self.folder / "station.json")
        self.station = await self._role("station", "keymote.stories.station", self.folder / "station.json")
        await together(*(self._patients(number, group) for number, group in enumerate(self.groups)))

    async def _run(self, broker: WardBroker) -> None:
        if self.start is not None:
            await self.start(broker)
        broker.stream = await TcpRelay.open("127.0.0.1", broker.mqtt)
        broker.radio = await UdpRelay.open("127.0.0.1", broker.coap)
        name = f"{_BROKER}{broker.folder.name}"
        broker.role = await self.cast.start(name, "agent", "run", "--data", str(broker.folder), address="mqtt")
        self.roles.append(broker.role)

    async def _patients(self, number: int, group: Sequence[str]) -> None:
        path, socket = self.folder / f"patients-{number}.json", self.folder / f"patients-{number}.sock"
        WalkersPlan(
            str(socket),
            str(self.folder / "logs"),
            {name: str(self.file(name)) for name in group},
            tuple(broker.door() for broker in self.brokers),
            self.read_every_s,
            word=self.word,
        ).write(path)
        await self._role(f"patient-{group[0]}", "keymote.stories.walkers", path)
        await asyncio.to_thread(_asked, socket, "begin")
        self.sockets |= dict.fromkeys(group, socket)

    async def _role(self, name: str, module: str, plan: Path) -> Role:
        role = await self.cast.start(name, str(plan), address="address", module=module)
        self.roles.append(role)
        return role

    async def close(self) -> None:
        """Let go of the relays."""
        for broker in self.brokers:
            for relay in (broker.stream, broker.radio):
                if relay is not None:
                    await relay.close()

    # ------------------------------------------------------------------ walking

    async def move(self, name: str, to: int, *, alarm: bool) -> Mapping[str, Any]:
        """Let a patient walk to another ward; return how it got in there."""
        self.at[name] = to
        self.moves += 1
        arguments = {"patient": name, "to": self.brokers[to].broker_id, "alarm": alarm}
        moved: Mapping[str, Any] = await asyncio.to_thread(_asked, self.sockets[name], "move", **arguments)
        return moved

    async def walk(self, name: str, moves: int) -> list[Mapping[str, Any]]:
        """Let a patient make its rounds: the next ward each time, home again every third."""
        found = []
        for number in range(moves):
            await asyncio.sleep(STAY_S)
            alarm = (number + 1) % ALARM_EVERY == 0
            found.append(await self.move(name, (self.at[name] + 1) % len(BROKERS), alarm=alarm))
        return found

    async def told(self) -> int:
        """Wait until the manager was told of every move, as far as it keeps them; return how many it was told of."""
        deadline = time.monotonic() + SETTLED_S
        while True:
            found: list[Any] = (await asyncio.to_thread(self._ask, "broker.moves"))["moves"]
            if len(found) >= self.moves or time.monotonic() > deadline:
                return len(found)
            await asyncio.sleep(0.1)

    async def stop(self) -> Mapping[str, int]:
        """Let nobody measure any more; return what the patients count when brokers have acknowledged everything."""
        counts: dict[str, int] = {}
        for socket in sorted(set(self.sockets.values())):
            said = await asyncio.to_thread(_asked, socket, "stop")
            for what, number in said["counts"].items():
                counts[what] = counts.get(what, 0) + number
        return counts

    async def station_does(self, verb: str) -> None:
        """Let the station sleep, or wake."""
        await asyncio.to_thread(_asked, self.folder / "station.sock", verb)

    async def rotate(self) -> None:
        """Ask for a new epoch of every topic, as `keymote topic rotate` does."""
        async with self._operator() as operator:
            for topic in (await operator.get("/topics", admin_topics.TopicPage)).items:
                await operator.ask("POST", f"/topics/{topic.tid}/rotation", admin_topics.TopicView)

    # ------------------------------------------------------------------ looking

    async def met(self, more: int = 0) -> None:
        """Wait until the station has opened something of every topic that anybody has used, and `more` of each since now."""
        before = {topic: len(texts) for topic, texts in self._opened().items() if more and topic.endswith(f"/{VITAL}")}
        deadline = time.monotonic() + MET_S
        while time.monotonic() < deadline:
            said, opened = logged(sorted((self.folder / "logs").glob("*.log"))), self._opened()
            grown = all(len(opened.get(topic, ())) >= count + more for topic, count in before.items())
            if grown and said.keys() <= opened.keys():
                return
            await asyncio.sleep(0.1)
        raise Unavailable("the station has not got the keys of all topics")

    async def rotated(self, epoch: int) -> None:
        """Wait until everybody who takes part has the key of this epoch of every topic, or a later one."""
        deadline = time.monotonic() + MET_S
        while time.monotonic() < deadline:
            topics = (await asyncio.to_thread(self._ask, "topic.list"))["topics"]
            if all(each["safe"] and each["epoch"] >= epoch for each in topics):
                return
            await asyncio.sleep(0.2)
        raise Unavailable(f"not everybody has got epoch {epoch}")

    def _opened(self) -> dict[str, list[str]]:
        return logged([self.folder / "station.log"])

    async def tally(self) -> Tally:
        """Compare the logs, and again until nothing is missing or it does not come."""
        deadline = time.monotonic() + SETTLED_S
        while True:
            said = logged(sorted((self.folder / "logs").glob("*.log")))
            found = compare(said, logged([self.folder / "station.log"]))
            if (found.due and not found.lost) or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.1)

    def saw(self, pids: Sequence[int]) -> dict[str, object]:
        """Say where a reading was found at brokers: memory of these processes, their files and logs, what passed before them.

        `finds`: whether it is found where it must be, in the station's memory; None: we may not look there.
        """
        word = [self.word.encode()]
        assert self.station is not None
        logs = [role.log for role in self.roles if role.name.startswith(_BROKER)]
        return {
            "memory": _worst([memory_holds(pid, word) for pid in pids]),
            "files": sorted({name for broker in self.brokers for name in files_hold(broker.folder, word)}),
            "logs": [log.name for log in logs if word[0] in log.read_bytes()],
            "traffic": any(word[0] in broker.heard() for broker in self.brokers),
            "traffic_bytes": sum(len(broker.heard()) for broker in self.brokers),
            "finds": memory_holds(self.station.pid, word),
        }

    def traffic(self) -> tuple[int, int]:
        """Return datagrams and bytes of patients and station to brokers and agents so far, both ways."""
        pairs = [(b.radio, b.stream) for b in self.brokers if b.radio is not None and b.stream is not None]
        octets = sum(len(radio.heard) + len(stream.heard) for radio, stream in pairs)
        return sum(radio.sent + radio.answered for radio, _ in pairs), octets


def _asked(socket: Path, do: str, **arguments: object) -> Any:
    with ControlClient(socket) as role:
        return role.ask(do, **arguments)


async def _known(operator: OperatorClient) -> list[admin_topics.FileClientView]:
    page = await operator.get("/topics/clients", admin_topics.FileClientPage)
    return page.items


def _worst(found: Sequence[bool | None]) -> bool | None:
    """Return True if any is, else None if any is not known."""
    return True if any(found) else None if None in found else False
