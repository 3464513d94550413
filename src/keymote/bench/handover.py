"""`keymote bench handover`: what a move costs a patient, against powering a mote on, with a radio of 50 ms in both.

Power-on: JOIN and enrolment, then key, ticket, CONNAUTH, connection to the broker, and the first reading, until the caregivers'
station has opened it; the operator's grant between the two is not counted. Hand-over: HO_REQ at the next broker with the
reading behind it, to the same point. The trusted system is stopped for every hand-over. Then patients walk to and fro between
two brokers and measure all the time, and their logs are held against what the station opened.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import aiomqtt

from keymote.bench.handover_world import ALARMS, BROKERS, READER, VITALS, HandoverWorld, Listening, writer
from keymote.bench.report import Metric, metric
from keymote.crypto.entropy import SystemEntropy
from keymote.crypto.secret import Secret
from keymote.device import Device
from keymote.device.broker_access import connect_via_agent, hand_over
from keymote.device.topic_client import TopicClient
from keymote.engine.handover import client as client_side
from keymote.engine.handover.keys import acknowledgement_tag, visited_key
from keymote.storage.counter import StoredCounter
from keymote.stories.walkers import ALARM, Patient, WalkersPlan
from keymote.stories.ward_logs import Log, Tally, compare, logged
from keymote.transports.coap.endpoint import CoapEndpoint
from keymote.wire.topic import HoAck

GOAL: Final = 0.20
MOST_MESSAGES: Final = 2
OPENED_S: Final = 20.0
READ_EVERY_S: Final = 0.2
PUBLIC_KEY_MODULES: Final = (
    "dh", "dleq", "ed25519", "group", "hpke", "hybrid", "p256", "p256_ecdh", "pake", "ristretto255", "sign", "x25519"
)  # fmt: skip
"""Modules of `crypto` whose every function is about public keys."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Size:
    """`motes` are powered on and handed over once each; `patients` make `moves` in all."""

    motes: int = 9
    patients: int = 4
    moves: int = 40


@dataclass(slots=True)
class Found:
    """What was measured, in seconds; `messages` of a mote and `datagrams` in all for each hand-over."""

    power_on: list[float] = field(default_factory=list)
    enrolment: list[float] = field(default_factory=list)
    hand_over: list[float] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)
    datagrams: list[int] = field(default_factory=list)
    walks: list[float] = field(default_factory=list)
    tally: Tally | None = None
    handed_over: int = 0
    repeated: int = 0


def metrics(found: Found) -> Iterator[Metric]:
    """Yield the figures."""
    assert found.tally is not None
    ratios = [there / here for there, here in zip(found.hand_over, found.power_on, strict=True)]
    yield metric("handover.time_ratio", "ratio", ratios, GOAL)
    yield metric("handover.lost", "readings", [float(found.tally.lost)], 0.0)
    yield metric("handover.duplicates", "readings", [float(found.tally.twice)], 0.0)
    yield metric("handover.out_of_order", "readings", [float(found.tally.out_of_order)], 0.0)
    yield metric("handover.mote_messages", "messages", [float(each) for each in found.messages], float(MOST_MESSAGES))
    yield metric("handover.mote_datagrams", "datagrams", [float(each) for each in found.datagrams])
    yield metric("handover.public_key_operations", "calls", [float(public_key_calls())], 0.0)
    yield metric("handover.opened_ms", "ms", [1000 * each for each in found.hand_over])
    yield metric("handover.power_on_ms", "ms", [1000 * each for each in found.power_on])
    yield metric("handover.power_on.enrolment_ms", "ms", [1000 * each for each in found.enrolment])
    yield metric("handover.served_ms", "ms", [1000 * each for each in found.walks])
    yield metric("handover.readings", "readings", [float(found.tally.due)])
    yield metric("handover.moves", "hand-overs", [float(found.handed_over)])
    yield metric("handover.repetitions_dropped", "readings", [float(found.repeated)])


async def run(folder: Path, size: Size, progress: Progress) -> Found:
    """Measure in `folder`, which is empty."""
    found = Found()
    (folder / "patients").mkdir()
    async with AsyncExitStack() as stack:
        progress("starting", 0, 1)
        world = await HandoverWorld.open(folder, stack, size.motes)
        station = await _station(world, folder / "station.log")
        patients = await _patients(world, station, size, folder / "patients", stack)
        motes = []
        for number, laid in enumerate(world.laid["devices"]):
            progress("power on", number, size.motes)
            motes.append(await _power_on(world, station, laid, number, stack, found))
        await world.stop_manager()
        for number, mote in enumerate(motes):
            progress("hand over", number, size.motes)
            await _hand_over(world, station, mote, found)
        await _walk(world, patients, size, progress, found)
        await _compare(station, patients, folder, found)
    return found


# ------------------------------------------------------------------ who is there


async def _station(world: HandoverWorld, log: Path) -> Listening:
    clients = {name: await world.client(f"station-{name}") for name in BROKERS}
    for name, (client_id, _) in clients.items():
        world.at_home(client_id, name, READER)
    keys = clients[BROKERS[0]][0]
    await world.until_known([client_id for client_id, _ in clients.values()])
    await world.topic(VITALS, {keys: 2})
    await world.topic(ALARMS, {keys: 2}, emergency=True)
    return await world.station([path for _, path in clients.values()], log)


async def _patients(
    world: HandoverWorld, station: Listening, size: Size, folder: Path, stack: AsyncExitStack
) -> list[Patient]:
    names = [f"p{number}" for number in range(size.patients)]
    clients = {name: await world.client(name) for name in names}
    await world.until_known([client_id for client_id, _ in clients.values()])
    for name, (client_id, _) in clients.items():
        world.at_home(client_id, BROKERS[0], writer(name))
        await world.grant(client_id)
    files = {name: str(path) for name, (_, path) in clients.items()}
    plan = WalkersPlan("", str(folder), files, tuple(world.doors.values()), READ_EVERY_S)
    found = []
    for name, (_, path) in clients.items():
        client = await stack.enter_async_context(TopicClient.open(path))
        patient = Patient(name, plan, client, Log(folder / f"{name}.log"), StoredCounter(folder / f"{name}.ctr"))
        stack.push_async_callback(patient.close)
        await patient.begin()
        await patient.read(ALARM)
        found.append(patient)
    for patient in found:  # the station asks for a topic's key when it meets it first, which takes the trusted system
        for texts in logged([folder / f"{patient.name}.log"]).values():
            await station.opened(texts[0], OPENED_S)
    return found


# ------------------------------------------------------------------ one mote


@dataclass(frozen=True, slots=True)
class Mote:
    """A mote that has a ticket for the first broker."""

    name: str
    client_id: bytes
    device: Device
    K_home: Secret
    counter: StoredCounter


async def _power_on(
    world: HandoverWorld, station: Listening, laid: Any, number: int, stack: AsyncExitStack, found: Found
) -> Mote:
    name, client_id = f"m{number}", bytes.fromhex(str(laid["id"]))
    topic, text = f"ward/{name}/vitals", f"{name} is on"
    world.at_home(client_id.hex(), BROKERS[0], writer(name))
    began = time.perf_counter()
    device = await stack.enter_async_context(Device.open(Path(str(laid["config"]))))
    await device.enrolled(OPENED_S)
    enrolled = time.perf_counter() - began
    await world.grant(client_id.hex())
    began = time.perf_counter()
    topics = device.topics
    await topics.ready_to_publish(topic)
    ticket = await topics.ticket()
    door = world.doors[BROKERS[0]]
    access = await connect_via_agent(CoapEndpoint.open, door.agent, client_id, ticket.K_home, ticket.ticket)
    async with aiomqtt.Client(
        access.host, door.port, identifier=access.client_id, username=access.user, password=access.password,
        protocol=aiomqtt.ProtocolVersion.V311,
    ) as broker:  # fmt: skip
        await broker.publish(topic, topics.keys.protect(topic, text.encode()), qos=1)
        opened = await station.opened(text, OPENED_S)
    found.enrolment.append(enrolled)
    found.power_on.append(enrolled + opened - began)
    return Mote(name, client_id, device, ticket.K_home, StoredCounter(world.folder / f"{name}.ctr"))


async def _hand_over(world: HandoverWorld, station: Listening, mote: Mote, found: Found) -> None:
    topic, text = f"ward/{mote.name}/vitals", f"{mote.name} has moved"
    home, there = (world.doors[name] for name in BROKERS)
    relay = world.relays[BROKERS[1]]
    sent, requests = relay.sent, relay.requests
    began = time.perf_counter()
    reading = topic, mote.device.topics.keys.protect(topic, text.encode())
    await hand_over(
        CoapEndpoint.open, there.agent, mote.K_home, mote.client_id, bytes.fromhex(home.broker_id), bytes.fromhex(there.broker_id),
        mote.counter, readings=[reading],
    )  # fmt: skip
    found.walks.append(time.perf_counter() - began)
    found.hand_over.append(await station.opened(text, OPENED_S) - began)
    found.messages.append(relay.requests - requests)
    found.datagrams.append(relay.sent - sent)


# ------------------------------------------------------------------ walks


async def _walk(
    world: HandoverWorld, patients: Sequence[Patient], size: Size, progress: Progress, found: Found
) -> None:
    places = [world.doors[name].broker_id for name in BROKERS]
    for number in range(size.moves):
        progress("walk", number, size.moves)
        patient = patients[number % len(patients)]
        at = places.index(patient.access.broker_id.hex()) if patient.access else 0
        await patient.move(places[1 - at], alarm=number % 3 == 0)
        await asyncio.sleep(READ_EVERY_S)
    for patient in patients:
        await patient.stop()
    found.handed_over = len(found.hand_over) + sum(patient.counts["handed over"] for patient in patients)


async def _compare(station: Listening, patients: Sequence[Patient], folder: Path, found: Found) -> None:
    said = logged(sorted((folder / "patients").glob("*.log")))
    due = sum(map(len, said.values()))
    deadline = time.monotonic() + OPENED_S
    while time.monotonic() < deadline:
        opened = {topic: texts for topic, texts in logged([folder / "station.log"]).items() if topic in said}
        if sum(map(len, opened.values())) >= due:
            break
        await asyncio.sleep(0.1)
    opened = {topic: texts for topic, texts in logged([folder / "station.log"]).items() if topic in said}
    found.tally = compare(said, opened)
    found.repeated = station.counts["repeated"]
    assert patients


# ------------------------------------------------------------------ public keys


def public_key_calls() -> int:
    """Return how many functions of public-key modules a mote's side of a hand-over calls."""
    ends = tuple(f"/crypto/{name}.py" for name in PUBLIC_KEY_MODULES)
    calls = 0

    def count(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code.co_filename.endswith(ends)

    K_home, entropy = Secret(bytes(32)), SystemEntropy()
    nV = entropy.draw(16)
    sys.setprofile(count)
    try:
        state, _ = client_side.begin(K_home, b"patient7", b"broker-A", b"broker-B", 1, entropy)
    finally:
        sys.setprofile(None)
    tag = acknowledgement_tag(visited_key(K_home, state.request, nV), state.request, nV)
    sys.setprofile(count)
    try:
        client_side.finish(state, HoAck(nV, tag).encode())
    finally:
        sys.setprofile(None)
    return calls
