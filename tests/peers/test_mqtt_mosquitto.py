"""Protected MQTT through the broker and the command-line clients that people have: Mosquitto, in MQTT 5 and 3.1.1."""

import asyncio
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiomqtt
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from keymote.device.topic_keys import TopicKeys
from keymote.engine.base import Now
from keymote.stories.processes import free_port
from keymote.transports.mqtt.dial import Broker, dial
from keymote.transports.mqtt.face import GivenKeys
from keymote.transports.mqtt.with_paho import ProtectedClient, ReadingMessage
from keymote.wire.topic import PUBLISH, SUBSCRIBE, KeyGrant

pytestmark = [pytest.mark.peers, pytest.mark.timeout(120)]

TOPIC = "ward/7/hr"
GRANT = KeyGrant(b"sess0001", 1, 1, 2, bytes(range(32)), 0, 100_000, 86_400)
PATIENCE_S = 30.0
PUB_HEAD = "82183483"
"""How every PUB begins, in hexadecimal: type 52, then the COSE_Encrypt0."""


class Mosquitto:
    """The real program, with a disk and a talkative log, which may be killed and started again on the same port."""

    def __init__(self, program: str, folder: Path) -> None:
        self.port = free_port()
        self.program, self.folder = program, folder
        self.configuration = folder / "mosquitto.conf"
        user = "user root\n" if os.geteuid() == 0 else ""
        self.configuration.write_text(
            f"{user}listener {self.port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n"
            f"max_inflight_messages 0\nmax_queued_messages 0\nlog_type all\nlog_dest file {folder / 'log'}\n"
            f"persistence true\npersistence_location {folder}/\nautosave_interval 1\nautosave_on_changes true\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Mosquitto":
        self.process = subprocess.Popen([self.program, "-c", str(self.configuration)], stderr=subprocess.DEVNULL)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.02)  # the pause of a poll with a deadline
            else:
                return self
        raise AssertionError("mosquitto did not start")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None

    def kill(self, *clients: Client) -> None:
        """Kill it when these have heard all that it has said: it acknowledges before it saves, so that may be all there is."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)
        until = time.monotonic() + PATIENCE_S
        while any(unread(client.socket()) for client in clients):
            assert time.monotonic() < until, "a client does not read"
            time.sleep(0.01)  # the pause of a poll with a deadline
        self.stop(signal.SIGKILL)

    def at(self, version: str = "3.1.1") -> Broker:
        return Broker("127.0.0.1", self.port, version=version)

    def memory(self) -> Iterator[bytes]:
        """Yield every writable region of the process's memory."""
        assert self.process is not None
        maps = Path(f"/proc/{self.process.pid}/maps").read_text()
        with Path(f"/proc/{self.process.pid}/mem").open("rb", buffering=0) as memory:
            for begin, end in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw", maps, re.MULTILINE):
                memory.seek(int(begin, 16))
                yield memory.read(int(end, 16) - int(begin, 16))


def unread(sock: socket.socket | None) -> int:
    """Return how many bytes have come and were not read."""
    return 0 if sock is None else int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.fixture
def mosquitto(program: Callable[[str], str], tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(program("mosquitto"), tmp_path).start()
    yield broker
    broker.stop()


def keys(role: int) -> TopicKeys:
    made = TopicKeys(lambda: Now(time.monotonic(), int(time.time())))
    made.take(TOPIC, role, GRANT, [(1, b"")])
    return made


async def payloads(client: aiomqtt.Client, count: int) -> list[bytes]:
    messages = client.messages
    async with asyncio.timeout(PATIENCE_S):
        return [bytes((await anext(messages)).payload) for _ in range(count)]


@pytest.fixture
async def spy(mosquitto: Mosquitto, program: Callable[[str], str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """`mosquitto_sub` on everything, in hexadecimal; that it is there is told by a retained message of ours."""
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as bare:
        await bare.publish("marker", b"here", qos=1, retain=True)
    at = ("-h", "127.0.0.1", "-p", str(mosquitto.port))
    process = await asyncio.create_subprocess_exec(
        program("mosquitto_sub"), *at, "-t", "#", "-q", "2", "-F", "%t %x", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        while not (await process.stdout.readline()).startswith(b"marker"):
            pass
    yield process
    process.terminate()
    await process.wait()


async def overheard(spy: asyncio.subprocess.Process, count: int) -> list[str]:
    assert spy.stdout is not None
    found: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < count:
            line = (await spy.stdout.readline()).decode()
            if line.startswith(f"{TOPIC} "):
                found.append(line.split()[1])
    return found


@pytest.mark.parametrize("version", ["3.1.1", "5"])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_TQ51_readings_wills_and_retained_ones_pass_and_mosquitto_sub_sees_ciphertext(
    mosquitto: Mosquitto, spy: asyncio.subprocess.Process, version: str, qos: int
) -> None:
    at, given = mosquitto.at(version), GivenKeys(keys(PUBLISH))
    will = aiomqtt.Will(TOPIC, "gone", qos=qos)
    async with dial(at, GivenKeys(keys(SUBSCRIBE)), "nurse") as nurse:
        await nurse.subscribe("ward/+/hr", qos=qos)
        mote = dial(at, given, "mote", will=will)
        client = await mote.__aenter__()
        for number in range(3):
            await client.publish(TOPIC, b"reading %d" % number, qos=qos, retain=number == 2)
        assert await payloads(nurse, 3) == [b"reading 0", b"reading 1", b"reading 2"]
        sock = client._client.socket()  # noqa: SLF001  # a network that ends is no call of the library
        assert sock is not None
        sock.shutdown(socket.SHUT_RDWR)
        assert await payloads(nurse, 1) == [b"gone"]
        with pytest.raises(Exception, match=r"."):  # however the library says that it was cut off
            await client.subscribe(TOPIC, timeout=0.1)
        async with dial(at, GivenKeys(keys(SUBSCRIBE)), "late") as late:
            await late.subscribe(TOPIC, qos=qos)
            assert await payloads(late, 1) == [b"reading 2"]
    seen = await overheard(spy, 4)
    assert all(data.startswith(PUB_HEAD) for data in seen) and b"reading".hex() not in "".join(seen)
    async with dial(at, given, "mote") as client:
        await client.publish(TOPIC, retain=True)


async def test_TQ52_garbage_of_mosquitto_pub_is_counted_and_explained_and_the_subscriber_lives(
    mosquitto: Mosquitto, program: Callable[[str], str]
) -> None:
    held, mote = keys(SUBSCRIBE), keys(PUBLISH)
    async with dial(mosquitto.at(), GivenKeys(held), "nurse") as nurse:
        await nurse.subscribe("ward/#", qos=1)

        async def say(data: bytes) -> None:
            at = ("-h", "127.0.0.1", "-p", str(mosquitto.port))
            process = await asyncio.create_subprocess_exec(
                program("mosquitto_pub"), *at, "-t", TOPIC, "-q", "1", "-s", stdin=asyncio.subprocess.PIPE
            )
            await process.communicate(data)
            assert process.returncode == 0

        good = mote.protect(TOPIC, b"72")
        for data in (b"21.5 C", good[:-1] + bytes((good[-1] ^ 1,)), good, good, mote.protect(TOPIC, b"73")):
            await say(data)
        assert await payloads(nurse, 2) == [b"72", b"73"]
    assert held.counts() == {"E_FORMAT": 1, "E_AUTH": 1, "duplicate": 1}
    assert [(reject.topic, reject.code.name) for reject in held.rejects()] == [(TOPIC, "E_FORMAT"), (TOPIC, "E_AUTH")]


def started(client: Client, port: int) -> Client:
    connected = threading.Event()
    client.reconnect_delay_set(0.05, 0.1)  # type: ignore[arg-type]  # the library asks for whole seconds, and needs none
    client.on_connect = lambda *_: (client.subscribe("ward/#", qos=1), connected.set())  # type: ignore[func-returns-value]
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert connected.wait(PATIENCE_S)
    return client


def test_TQ53_a_broker_that_is_killed_and_restarted_loses_nothing_acknowledged_and_nothing_opens_twice(
    mosquitto: Mosquitto,
) -> None:
    version = CallbackAPIVersion.VERSION2
    held = keys(SUBSCRIBE)
    nurse = ProtectedClient(version, "nurse", clean_session=False, topics=GivenKeys(held))
    mote = ProtectedClient(version, "mote", clean_session=False, topics=GivenKeys(keys(PUBLISH)))
    opened: list[bytes] = []
    enough = threading.Event()

    def heard(_client: Client, _userdata: object, message: object) -> None:
        assert isinstance(message, ReadingMessage)
        opened.append(bytes(message.payload))
        if len(set(opened)) == 400:
            enough.set()

    nurse.on_message = heard
    started(nurse, mosquitto.port)
    started(mote, mosquitto.port)
    acknowledged = threading.Semaphore(0)
    mote.on_publish = lambda *_: acknowledged.release()
    for number in range(400):
        mote.publish(TOPIC, b"%d" % number, qos=1)
        if number in (100, 250):
            assert acknowledged.acquire(timeout=PATIENCE_S)
            mosquitto.kill(nurse, mote)
        if number in (180, 320):
            mosquitto.start()
    for _ in range(398):
        assert acknowledged.acquire(timeout=PATIENCE_S)
    assert enough.wait(PATIENCE_S), (sorted(set(range(400)) - set(map(int, opened))), held.counts())
    assert len(opened) == len(set(opened)) == 400
    assert {code for code in held.counts() if code != "duplicate"} == set()
    for client in (nurse, mote):
        client.disconnect()
        client.loop_stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="another process's memory is for its owner's eyes and root's")
async def test_TQ54_disk_memory_and_log_of_a_broker_hold_no_reading(mosquitto: Mosquitto) -> None:
    given = GivenKeys(keys(PUBLISH))
    async with (
        dial(mosquitto.at(), GivenKeys(keys(SUBSCRIBE)), "nurse", keep_s=600) as nurse,
        dial(mosquitto.at(), given, "mote", will=aiomqtt.Will(TOPIC, b"redstart will")) as mote,
    ):
        await nurse.subscribe("ward/#", qos=1)
        for number in range(50):
            await mote.publish(TOPIC, b"redstart %d" % number, qos=1, retain=True)
        assert len(await payloads(nurse, 50)) == 50
    async with dial(mosquitto.at(), given, "mote") as mote:
        for number in range(50, 100):  # they wait for the nurse, in memory and on disk
            await mote.publish(TOPIC, b"redstart %d" % number, qos=1)
        regions = list(mosquitto.memory())
    sealed = bytes.fromhex(PUB_HEAD)
    assert any(sealed in region for region in regions)  # we look where readings are
    assert not any(b"redstart" in region for region in regions)
    mosquitto.stop()
    files = {path.name: path.read_bytes() for path in mosquitto.folder.iterdir() if path.is_file()}
    assert sealed in files["mosquitto.db"] and TOPIC.encode() in files["log"]
    assert not any(b"redstart" in data for data in files.values())
