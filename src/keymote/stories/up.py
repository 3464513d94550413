"""`keymote up`: coordinators and managers of one or more operators in one process, made when they are not there yet."""

import asyncio
import json
import logging
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from keymote.agent.app.directory import Directory as AgentDirectory
from keymote.agent.app.identity import Identity
from keymote.agent.app.service import AgentProcess
from keymote.coordinator.app.directory import Directory as CoordinatorDirectory
from keymote.coordinator.app.service import CoordinatorProcess
from keymote.crypto.entropy import SystemEntropy
from keymote.errors import CallerFault, ErrorCode, PeerFault, Unavailable
from keymote.manager.app.directory import Directory as ManagerDirectory
from keymote.manager.app.service import ManagerProcess, Options
from keymote.stories.processes import Cast, free_port
from keymote.transports.coap.multicast import Group

FORMAT: Final = "keymote-up/1"
NAMES: Final = ("north", "south", "east", "west")
MULTICAST: Final = "224.0.1.187"
LIST_S: Final = 5.0
"""Pause before agents are told again whom they may hand over to."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """Where everything listens; kept in up.json, because managers and devices remember addresses."""

    coordinators: tuple[int, ...]
    managers: tuple[int, ...]
    group: int
    brokers: tuple[tuple[int, int, int], ...] = ()
    """Of each operator: MQTT, the agent's CoAP, and what other agents call."""

    @classmethod
    def of(cls, folder: Path, operators: int) -> "Plan":
        """Return the plan of `folder`, made anew when there is none and extended when there are more operators now."""
        path = folder / "up.json"
        known = cls((), (), free_port())
        if path.exists():
            try:
                stored: dict[str, Any] = json.loads(path.read_text())
                brokers = tuple((int(mqtt), int(coap), int(agent)) for mqtt, coap, agent in stored.get("brokers", ()))
                known = cls(tuple(stored["coordinators"]), tuple(stored["managers"]), int(stored["group"]), brokers)
            except (ValueError, KeyError, TypeError) as error:
                raise CallerFault(
                    f"{path} cannot be read", do="remove it, or choose another directory by --data"
                ) from error
        missing = max(0, operators - len(known.coordinators))
        plan = cls(
            (*known.coordinators, *(free_port() for _ in range(missing))),
            (*known.managers, *(free_port() for _ in range(missing))),
            known.group,
            (*known.brokers, *(_three_ports() for _ in range(operators - len(known.brokers)))),
        )
        path.write_text(json.dumps({"format": FORMAT, **asdict(plan)}, indent=2) + "\n")
        return plan


async def up(folder: Path, operators: int, ready: Callable[[Mapping[str, object]], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` hears where.

    Raises:
        CallerFault: a directory does not hold what it should, or a port is taken.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    plan = Plan.of(folder, operators)
    cast = Cast(folder)
    async with AsyncExitStack() as running:
        await _authority(cast)
        coordinators = [await _coordinator(cast, running, plan, number, operators) for number in range(operators)]
        managers = [await _manager(cast, running, plan, number) for number in range(operators)]
        agents = (
            [await _agent(cast, running, plan, number, manager) for number, manager in enumerate(managers)]
            if has_broker()
            else []
        )
        offices = [folder / NAMES[number] / "coordinator" for number in range(operators)]
        ready(
            {
                "ready": True,
                "endpoints": {
                    "coordinators": [coordinator.url for coordinator in coordinators],
                    "managers": [manager.endpoint.address for manager in managers],
                    "mqtt": [agent.ready()["mqtt"] for agent in agents] or None,
                    "dashboard": None,
                    "agents": [agent.endpoint.address for agent in agents],
                },
                "ca": str(offices[0] / "ca.pem"),
                "token": str(offices[0] / "token"),
                "root": str(folder / "authority" / "root.pin"),
                "operators": [
                    {
                        "name": NAMES[number],
                        "coordinator": str(offices[number]),
                        "manager": str(folder / NAMES[number] / "manager"),
                        "agent": str(folder / NAMES[number] / "agent") if agents else None,
                    }
                    for number in range(operators)
                ],
            }
        )
        await stopped.wait()


async def _authority(cast: Cast) -> None:
    if not (cast.folder / "authority" / "authority.json").exists():
        await cast.run("authority", "init", "--data", str(cast.folder / "authority"))


async def _coordinator(
    cast: Cast, running: AsyncExitStack, plan: Plan, number: int, operators: int
) -> CoordinatorProcess:
    folder = cast.folder / NAMES[number] / "coordinator"
    if not (folder / "coordinator.json").exists():
        hosts = ("--host", "localhost", "--host", "127.0.0.1")
        await cast.run("coordinator", "init", "--name", NAMES[number], *hosts, "--data", str(folder))
    if not (folder / "nc.cred").exists():
        asked = ("--request", str(folder / "nc.req"), "--out", str(folder / "nc.cred"))
        await cast.run("authority", "certify", "--data", str(cast.folder / "authority"), *asked)
    peers = [_url(plan, other) for other in range(operators) if other != number]
    held = CoordinatorDirectory.open(folder, SystemEntropy())
    process = CoordinatorProcess(held, "127.0.0.1", plan.coordinators[number], peers)
    await process.start()
    running.push_async_callback(process.stop)
    return process


async def _manager(cast: Cast, running: AsyncExitStack, plan: Plan, number: int) -> ManagerProcess:
    name = NAMES[number]
    office, folder = cast.folder / name / "coordinator", cast.folder / name / "manager"
    label = cast.folder / name / "manager.label"
    if not (folder / "tls.pem").exists():
        if not label.exists():
            where = ("--data", str(office), "--url", _url(plan, number))
            await cast.run("coordinator", "manager", "add", f"{name}-street", "--out", str(label), *where)
        await cast.run("manager", "enrol", "--label", str(label), "--data", str(folder))
        label.unlink(missing_ok=True)
    held = ManagerDirectory.open(folder, SystemEntropy())
    group = Group(MULTICAST, plan.group, "127.0.0.1") if number == 0 else None
    process = ManagerProcess(held, Options(("127.0.0.1", plan.managers[number]), group))
    await process.start()
    running.push_async_callback(process.stop)
    return process


async def _agent(cast: Cast, running: AsyncExitStack, plan: Plan, number: int, manager: ManagerProcess) -> AgentProcess:
    """Run the agent of an embedded broker for the clients of this manager; it hears of a new list within a few seconds."""
    name, entropy = NAMES[number], SystemEntropy()
    folder = cast.folder / name / "agent"
    if not (folder / "agent.json").exists():
        folder.mkdir(mode=0o700, exist_ok=True)
        mqtt, coap, agent = (f"127.0.0.1:{port}" for port in plan.brokers[number])
        AgentDirectory.create(
            folder, Identity(f"{name}-broker", "", coap, agent, mqtt), entropy, int(time.time())
        ).close()
    held = AgentDirectory(folder, entropy)
    running.callback(held.close)
    if not held.identity.sig_pk:
        held.enrol(await manager.brokers.given(held.card))
    process = AgentProcess(held)
    await process.start()
    running.push_async_callback(process.stop)
    listening = asyncio.create_task(_listen(manager, process), name=f"list of brokers {name}")
    running.callback(listening.cancel)
    return process


async def _listen(manager: ManagerProcess, agent: AgentProcess) -> None:
    while True:
        try:
            await agent.adopt(await manager.brokers.listed())
        except PeerFault as fault:
            if fault.code is not ErrorCode.E_EPOCH:  # the same list again
                logger.warning("the list of brokers: %s", fault)
        except Unavailable as error:
            logger.warning("the list of brokers: %s", error)
        await asyncio.sleep(LIST_S)


def has_broker() -> bool:
    """Tell whether the extra `broker` is installed."""
    return find_spec("amqtt") is not None


def _three_ports() -> tuple[int, int, int]:
    return free_port(), free_port(), free_port()


def _url(plan: Plan, number: int) -> str:
    return f"https://127.0.0.1:{plan.coordinators[number]}"
