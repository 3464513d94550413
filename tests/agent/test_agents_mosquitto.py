"""Agents before real Mosquitto brokers: the same walk, agents killed while they carry a queue, and what a capture shows."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from hospital import CLIENT, Hospital, received

from keymote.agent.app.directory import Directory
from keymote.agent.app.identity import address_of
from keymote.device.broker_access import BrokerAccess, connect_via_agent, hand_over
from keymote.engine.topic.admission import issue_ticket
from keymote.errors import CallerFault, Unavailable
from keymote.transports.coap.endpoint import CoapEndpoint
from keymote.transports.mqtt.dynsec import MOVER, MosquittoFace
from keymote.transports.mqtt.packets import Delivery
from keymote.transports.mqtt.session import MqttSession
from keymote.wire.topic import SUBSCRIBE, Right, TicketBody

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]
START_S = 30


@pytest.fixture
async def hospital(tmp_path: Path, program: Callable[[str], str]) -> AsyncIterator[Hospital]:
    """Three agents that are not started, before three Mosquitto brokers that are."""
    made = Hospital(tmp_path)
    made.prepare("A", "B", "C", kind="mosquitto")
    brokers = []
    for name in "ABC":
        conf = tmp_path / name / "mosquitto.conf"
        conf.chmod(0o644)
        with conf.open("a") as more:
            more.write("user root\nlog_dest none\n")
        brokers.append(subprocess.Popen([program("mosquitto"), "-c", str(conf)], stderr=subprocess.DEVNULL))  # noqa: ASYNC220
    try:
        for name in "ABC":
            await (await face(made, name)).close()
        async with made.stack:
            yield made
    finally:
        for process in brokers:
            process.terminate()
            process.wait()


async def face(hospital: Hospital, name: str) -> MosquittoFace:
    """Return a second hand on the broker of an agent that does not run, as soon as it answers."""
    directory = Directory(hospital.folder / name, hospital.entropy)
    held, passwords = directory.identity, directory.broker_passwords
    directory.close()
    async with asyncio.timeout(START_S):
        while True:
            try:
                return await MosquittoFace.start(address_of(held.mqtt), address_of(held.management), *passwords)
            except Unavailable:
                await asyncio.sleep(0.05)


async def test_BA08_a_session_walks_over_three_mosquitto_brokers(hospital: Hospital) -> None:
    await hospital.start("A", "B", "C")
    first = await hospital.mqtt(await hospital.connect("A"))
    await first.subscribe(["w/#"], 1)
    await hospital.publish("A", b"0")
    assert await received(first, 1) == [b"0"]
    await first.close()
    waiting = [b"%d" % n for n in range(1, 151)]
    await hospital.publish("A", *waiting)
    second = await hospital.mqtt(await hospital.move("A", "B"))
    assert second.present
    await hospital.quiet()
    assert await received(second, 150) == waiting
    await second.close()
    await hospital.publish("B", b"x", b"y")
    third = await hospital.mqtt(await hospital.move("A", "C"))
    await hospital.quiet()
    assert await received(third, 2) == [b"x", b"y"]
    await third.close()
    await hospital.publish("C", b"z")
    back = await hospital.mqtt(await hospital.connect("A"))
    await hospital.quiet()
    assert await received(back, 1) == [b"z"]
    for name in "BC":
        accounts = json.loads((hospital.folder / name / "dynsec.json").read_text())["clients"]
        assert CLIENT.hex() not in [account["username"] for account in accounts]


class Running:
    """An agent as a process of its own."""

    def __init__(self, hospital: Hospital, name: str) -> None:
        command = [sys.executable, "-m", "keymote.cli", "agent", "run", "--data", str(hospital.folder / name)]
        self._log = (hospital.folder / f"{name}.log").open("ab")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, env=os.environ)
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert said, (hospital.folder / f"{name}.log").read_text()
        self.ready = json.loads(said)

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()


@pytest.mark.parametrize("who", ["A", "B"])
async def test_BA13_an_agent_that_is_killed_while_it_carries_a_queue_loses_nothing(
    hospital: Hospital, who: str
) -> None:
    agents = {name: await asyncio.to_thread(Running, hospital, name) for name in "AB"}
    try:
        body = TicketBody(CLIENT, hospital.K_home.expose(), (Right("w/#", SUBSCRIBE),), 3600, b"ticket-1")
        home, vis = (bytes.fromhex(agents[name].ready["broker_id"]) for name in "AB")
        ticket = issue_ticket(hospital.shared["A"], home, body, hospital.entropy)
        bind = CoapEndpoint.open
        access = await connect_via_agent(bind, agents["A"].ready["address"], CLIENT, hospital.K_home, ticket)
        session = await _connected(access)
        await session.subscribe(["w/#"], 1)
        await session.close()
        publisher = await _publisher(hospital, "A")
        waiting = [b"%d" % n for n in range(1000)]
        for payload in waiting:
            await publisher.publish(Delivery("w/7/x", payload, 1, False, 0))
        await publisher.close()
        for delay_s in (0.0, 0.05):
            with contextlib.suppress(Unavailable):
                access = await hand_over(
                    bind, agents["B"].ready["address"], hospital.K_home, CLIENT, home, vis, hospital.counter
                )
            await asyncio.sleep(delay_s)
            agents[who].kill()
            agents[who] = await asyncio.to_thread(Running, hospital, who)
        access = await _let_in(
            lambda: hand_over(bind, agents["B"].ready["address"], hospital.K_home, CLIENT, home, vis, hospital.counter)
        )
        session = await _connected(access)
        found: list[bytes] = []
        async with asyncio.timeout(60):
            while len(set(found)) < len(waiting):
                found += await received(session, 1)
        assert list(dict.fromkeys(found)) == waiting
        await session.close()
    finally:
        for agent in agents.values():
            agent.end()


async def _let_in(enter: Callable[[], Awaitable[BrokerAccess]]) -> BrokerAccess:
    """Come in, and again while an agent that was killed a moment ago has no answer."""
    async with asyncio.timeout(START_S):
        while True:
            try:
                return await enter()
            except Unavailable:
                await asyncio.sleep(0.2)


async def _connected(access: BrokerAccess) -> MqttSession:
    return await MqttSession.open(
        (access.host, access.port), access.client_id, access.user, access.password, clean=False
    )


async def _publisher(hospital: Hospital, name: str) -> MqttSession:
    """Connect as the agent's unbound account, under an id that nobody has."""
    place, password = hospital.management[name]
    return await MqttSession.open(place, "somebody", MOVER, password, clean=True)


async def test_BA12_the_brokers_know_no_more_than_they_must(hospital: Hospital) -> None:
    await hospital.start("A", "B")
    await hospital.connect("A")
    access = await hospital.move("A", "B")
    await hospital.quiet()
    files = b"".join(path.read_bytes() for path in hospital.folder.rglob("*") if path.is_file())
    for secret in (
        hospital.K_home.expose(),
        access.password.encode(),
        *(key.expose() for key in hospital.shared.values()),
    ):
        assert secret not in files
        assert secret.hex().encode() not in files
    with pytest.raises(CallerFault):
        await MqttSession.open((access.host, access.port), access.client_id, "keymote-mover", "guessed", clean=False)
