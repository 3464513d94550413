"""One examination for every broker that an agent may stand before (`BrokerFace`); Mosquitto needs the real program."""

import asyncio
import contextlib
import secrets
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from keymote.crypto.secret import Secret
from keymote.errors import CallerFault, KeymoteError, Unavailable
from keymote.storage.private_files import write_private
from keymote.stories.processes import free_port
from keymote.transports.mqtt.broker_face import Account, BrokerFace
from keymote.transports.mqtt.dynsec import MOVER, MosquittoFace, configuration, document
from keymote.transports.mqtt.embedded_face import EmbeddedFace, within
from keymote.transports.mqtt.packets import Delivery
from keymote.transports.mqtt.session import MqttSession

ONE, TWO = "aa" * 8, "bb" * 8
START_S = 10


async def mosquitto(folder: Path, program: str) -> tuple[subprocess.Popen[bytes], MosquittoFace]:
    """Start a Mosquitto with the configuration that `agent init` writes, and its face."""
    password, mover = Secret(secrets.token_bytes(32)), Secret(secrets.token_bytes(32))
    clients, management = ("127.0.0.1", free_port()), free_port()
    write_private(folder / "dynsec.json", document(password, mover))
    conf = folder / "mosquitto.conf"
    conf.write_text(configuration(folder, clients, ("127.0.0.1", management)) + "user root\nlog_dest none\n")
    process = subprocess.Popen([program, "-c", str(conf)], stderr=subprocess.DEVNULL)  # noqa: ASYNC220  ends at once or stays
    async with asyncio.timeout(START_S):
        while True:
            try:
                return process, await MosquittoFace.start(clients, ("127.0.0.1", management), password, mover)
            except Unavailable:
                await asyncio.sleep(0.02)


@pytest.fixture(params=["embedded", pytest.param("mosquitto", marks=pytest.mark.peers)])
async def broker(
    request: pytest.FixtureRequest, tmp_path: Path, program: Callable[[str], str]
) -> AsyncIterator[BrokerFace]:
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "embedded":
            made: BrokerFace = await EmbeddedFace.start()
        else:
            process, made = await mosquitto(tmp_path, program("mosquitto"))
            stack.callback(process.wait)
            stack.callback(process.terminate)
        stack.push_async_callback(made.close)
        yield made


async def connected(broker: BrokerFace, name: str, password: str, *, clean: bool = False) -> MqttSession:
    return await MqttSession.open(broker.address, name, name, password, clean=clean)


async def publish(broker: BrokerFace, numbers: Sequence[int], topic: str = "w/7/x") -> None:
    for number in numbers:
        await broker.publish(Delivery(topic, b"%d" % number, 1 + number % 2, False, 0))


async def taken(session: MqttSession, count: int) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            delivery = await session.deliveries.get()
            await session.acknowledge(delivery)
            found.append(int(delivery.payload))
    return found


async def test_BA14_an_account_is_bound_to_its_name_and_its_filters(broker: BrokerFace) -> None:
    await broker.open(Account(ONE, "first", ("w/7/hr",), ("w/7/#",), False))
    await broker.open(Account(TWO, "other", (), ("w/#",), False))
    for client_id, user, password in ((ONE, ONE, "other"), (ONE, TWO, "other"), (TWO, ONE, "first"), (ONE, "", "")):
        with pytest.raises(KeymoteError):
            await MqttSession.open(broker.address, client_id, user, password, clean=True)
    watcher = await connected(broker, TWO, "other")
    await watcher.subscribe(["w/#"], 1)
    client = await connected(broker, ONE, "first")
    await client.subscribe(["w/7/+"], 1)
    for refused in ("#", "w/8/hr", "w/+/hr"):
        with pytest.raises(Unavailable):
            await client.subscribe([refused], 1)
    with contextlib.suppress(Unavailable):
        await client.publish(Delivery("w/7/forged", b"0", 0, False, 0))
    await client.publish(Delivery("w/7/hr", b"1", 1, False, 0))
    assert await taken(watcher, 1) == [1]
    assert await taken(client, 1) == [1]
    await client.close()
    await watcher.close()


async def test_BA14_a_new_password_ends_the_old_one(broker: BrokerFace) -> None:
    await broker.open(Account(ONE, "first", (), ("w/#",), False))
    await broker.open(Account(ONE, "second", (), ("w/#",), False))
    with pytest.raises(CallerFault):
        await connected(broker, ONE, "first")
    await (await connected(broker, ONE, "second")).close()
    await broker.remove(ONE)
    await broker.remove(ONE)
    with pytest.raises(CallerFault):
        await connected(broker, ONE, "second")


async def test_BA14_a_session_is_there_before_its_client(broker: BrokerFace) -> None:
    await broker.open(Account(ONE, "first", (), ("w/#",), True))
    await publish(broker, range(30))
    client = await connected(broker, ONE, "first")
    assert client.present
    assert await taken(client, 30) == list(range(30))
    await client.close()


async def test_BA14_a_queue_is_drained_in_order_and_kept_until_it_is_safe(broker: BrokerFace) -> None:
    await broker.open(Account(ONE, "first", (), ("w/#",), False))
    client = await connected(broker, ONE, "first")
    await client.subscribe(["w/#"], 2)
    await publish(broker, range(5))
    await client.ping()
    await asyncio.sleep(0)
    await publish(broker, range(5, 80))  # in flight, or waiting: the client acknowledges nothing
    carried: list[int] = []

    async def fails_behind(messages: Sequence[Delivery]) -> None:
        if len(carried) >= 20:
            raise Unavailable("the next broker is down")
        carried.extend(int(message.payload) for message in messages)

    async def carry(messages: Sequence[Delivery]) -> None:
        carried.extend(int(message.payload) for message in messages)

    with pytest.raises(Unavailable, match="next broker"):
        await broker.drain(ONE, fails_behind)
    with pytest.raises(Unavailable):
        await client.ping()
    before = len(carried)
    assert await broker.drain(ONE, carry) == 80 - before
    assert list(dict.fromkeys(carried)) == list(range(80))
    assert await broker.drain(ONE, carry) == 0
    await broker.remove(ONE)
    assert await broker.drain(TWO, carry) == 0
    await client.close()


async def test_BA14_what_is_published_while_a_queue_is_drained_is_not_lost(broker: BrokerFace) -> None:
    await broker.open(Account(ONE, "first", (), ("w/#",), False))
    client = await connected(broker, ONE, "first")
    await client.subscribe(["w/#"], 1)
    await client.close()
    await publish(broker, range(3))
    carried: list[int] = []

    async def carry(messages: Sequence[Delivery]) -> None:
        if not carried:
            await publish(broker, range(3, 6))
        carried.extend(int(message.payload) for message in messages)

    assert await broker.drain(ONE, carry) == 6
    assert carried == list(range(6))


@pytest.mark.peers
async def test_BA14_nobody_takes_a_session_over_but_the_agent(tmp_path: Path, program: Callable[[str], str]) -> None:
    """Mosquitto alone: by default any user without a bound id may, and receives what waits there."""
    process, face = await mosquitto(tmp_path, program("mosquitto"))
    try:
        await face.open(Account(ONE, "first", (), ("w/#",), True))
        await face.open(Account(TWO, "other", (), ("w/#",), False))
        await publish(face, range(3))
        with pytest.raises(CallerFault):
            await MqttSession.open(face.address, ONE, TWO, "other", clean=False)
        with pytest.raises(CallerFault):
            await MqttSession.open(face.address, ONE, MOVER, "guessed", clean=False)
        client = await connected(face, ONE, "first")
        assert await taken(client, 3) == [0, 1, 2]
        await client.close()
        await face.close()
    finally:
        process.terminate()
        process.wait()


@pytest.mark.peers
async def test_BA14_a_client_of_an_agent_that_died_while_it_drained_comes_in_again(
    tmp_path: Path, program: Callable[[str], str]
) -> None:
    process, face = await mosquitto(tmp_path, program("mosquitto"))
    try:
        await face.open(Account(ONE, "first", (), ("w/#",), False))
        await face._admin.run({"command": "disableClient", "username": ONE})  # noqa: SLF001  what such an agent leaves
        with pytest.raises(CallerFault):
            await connected(face, ONE, "first")
        await face.open(Account(ONE, "second", (), ("w/#",), True))
        client = await connected(face, ONE, "second")
        assert client.present
        await client.close()
        await face.close()
    finally:
        process.terminate()
        process.wait()


@pytest.mark.peers
async def test_BA14_a_broker_that_was_restarted_is_served_on(tmp_path: Path, program: Callable[[str], str]) -> None:
    """Mosquitto alone: sessions and queues are on its disk."""
    process, face = await mosquitto(tmp_path, program("mosquitto"))
    try:
        await face.open(Account(ONE, "first", (), ("w/#",), True))
        await publish(face, range(3))
        process.terminate()
        process.wait()
        command = [program("mosquitto"), "-c", str(tmp_path / "mosquitto.conf")]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: ASYNC220  ends at once or stays
        async with asyncio.timeout(START_S):
            while True:
                with contextlib.suppress(Unavailable):
                    await face.open(Account(TWO, "other", (), ("w/#",), True))
                    break
                await asyncio.sleep(0.02)
        await publish(face, range(3, 6))
        client = await connected(face, ONE, "first")
        assert await taken(client, 6) == list(range(6))
        await client.close()
        await face.close()
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize(
    ("asked", "allowed", "inside"),
    [
        ("w/7/hr", "w/#", True), ("w/#", "w/#", True), ("w/+", "w/#", True), ("#", "w/#", False), ("w/+", "w/+", True),
        ("w/#", "w/+", False), ("w/7/hr", "w/+", False), ("w/7", "w/7", True), ("w/+", "w/7", False), ("x/7", "w/7", False),
    ],
)  # fmt: skip
def test_BA14_a_subscription_stays_inside_its_right(asked: str, allowed: str, inside: bool) -> None:
    assert within(asked, allowed) is inside
