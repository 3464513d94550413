"""Agents with embedded brokers: a client is let in, walks from broker to broker, and nothing that waits for it is lost."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hospital import CLIENT, RIGHTS, Hospital, received

from keymote.agent.app.directory import Directory
from keymote.crypto.secret import Secret
from keymote.device.broker_access import AgentDenied
from keymote.engine.handover.faces import home_of, visit_of
from keymote.engine.handover.keys import release
from keymote.engine.topic.admission import connect, issue_ticket
from keymote.errors import CallerFault, ErrorCode, KeymoteError, PeerFault, Unavailable
from keymote.storage.counter import StoredCounter
from keymote.transports import tls, tls_pinned
from keymote.transports.between import AgentCallers
from keymote.transports.coap.endpoint import CoapEndpoint
from keymote.transports.mqtt.packets import Delivery, length, text
from keymote.transports.mqtt.session import MqttSession
from keymote.wire.handover import Between
from keymote.wire.topic import TicketBody


@pytest.fixture
async def hospital(tmp_path: Path) -> AsyncIterator[Hospital]:
    made = Hospital(tmp_path)
    made.prepare("A", "B", "C")
    async with made.stack:
        await made.start("A", "B", "C")
        yield made


@pytest.mark.long
async def test_BA07_a_ticket_lets_any_mqtt_client_in_and_only_where_it_may(hospital: Hospital) -> None:
    access = await hospital.connect("A")
    session = await hospital.mqtt(access)
    await session.subscribe(["w/#"], 1)
    await hospital.publish("A", b"1")
    assert await received(session, 1) == [b"1"]
    with pytest.raises(Unavailable, match="refuses a subscription"):
        await session.subscribe(["x/#"], 1)
    for user, password in ((access.user, "wrong"), ("00" * 8, access.password)):
        with pytest.raises(CallerFault, match="refuses"):
            await MqttSession.open((access.host, access.port), access.client_id, user, password, clean=True)
    with pytest.raises(CallerFault, match="refuses"):
        await MqttSession.open((access.host, access.port), "another", access.user, access.password, clean=True)
    again = await hospital.connect("A")
    assert again.password != access.password
    assert access.password not in repr(access)


async def test_BA08_a_session_moves_with_everything_that_waits_in_order(hospital: Hospital) -> None:
    first = await hospital.mqtt(await hospital.connect("A"))
    await first.subscribe(["w/#"], 1)
    await hospital.publish("A", b"0")
    assert await received(first, 1) == [b"0"]
    await first.close()
    waiting = [b"%d" % n for n in range(1, 151)]
    await hospital.publish("A", *waiting)
    access = await hospital.move("A", "B")
    second = await hospital.mqtt(access)
    assert second.present
    await hospital.quiet()
    await hospital.publish("B", b"last")
    assert await received(second, 151) == [*waiting, b"last"]
    with pytest.raises(CallerFault):
        await hospital.mqtt(await _old(hospital, access))
    await second.close()
    await hospital.publish("B", b"x", b"y")
    third = await hospital.mqtt(await hospital.move("A", "C"))
    await hospital.quiet()
    assert await received(third, 2) == [b"x", b"y"]
    assert hospital.agents["B"].peek(visit_of(CLIENT)) is None
    await third.close()
    await hospital.publish("C", b"z")
    back = await hospital.mqtt(await hospital.connect("A"))
    await hospital.quiet()
    assert back.present
    assert await received(back, 1) == [b"z"]


async def _old(hospital: Hospital, access):  # type: ignore[no-untyped-def]
    """The same account at the broker before."""
    host, port = hospital.agents["A"].broker.address
    return type(access)(access.broker_id, host, port, access.client_id, access.password)


@pytest.mark.long
async def test_BA08_a_queue_waits_where_it_is_while_the_next_broker_is_down(hospital: Hospital) -> None:
    first = await hospital.mqtt(await hospital.connect("A"))
    await first.subscribe(["w/#"], 1)
    await first.close()
    await hospital.publish("A", b"1", b"2")
    broker = hospital.agents["B"].broker
    publish, broker.publish = broker.publish, _refusing  # type: ignore[method-assign]
    access = await hospital.move("A", "B")
    async with asyncio.timeout(10):
        while not hospital.agents["A"].owed:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.005)
    broker.publish = publish  # type: ignore[method-assign]
    await hospital.quiet()
    assert await received(await hospital.mqtt(access), 2) == [b"1", b"2"]


async def _refusing(_message: Delivery, *, unverified: bool = False) -> None:
    raise Unavailable("no")


@pytest.mark.long
async def test_BA09_readings_go_along_with_the_request(hospital: Hospital) -> None:
    await hospital.connect("A")
    account = await hospital.connect("B", ticket_id=b"ticket-B")  # a subscriber of B, under the same id for once
    watcher = await hospital.mqtt(account)
    await watcher.subscribe(["w/#"], 1)
    pub = b"\x82\x18\x34" + bytes(20)
    hospital.K_home = Secret(bytes(32))
    with pytest.raises(AgentDenied):
        await hospital.move("A", "B", readings=(("w/7/alarm", pub), ("w/7/hr", pub)))
    assert await received(watcher, 1) == [pub]  # the emergency, and nothing else
    assert watcher.deliveries.empty()


@pytest.mark.long
async def test_BA10_a_broker_out_of_the_list_is_out(hospital: Hospital) -> None:
    await hospital.connect("A")
    older = hospital.list()
    newer = hospital.list(without="B")
    for name in "AC":
        await hospital.agents[name].adopt(newer)
    with pytest.raises(PeerFault, match="E_EPOCH"):
        await hospital.agents["A"].adopt(older)
    with pytest.raises(AgentDenied) as denied:
        await hospital.move("A", "B")
    assert denied.value.code is ErrorCode.E_TIMEOUT
    assert (await hospital.move("A", "C")).broker_id == hospital.broker_id("C")


@pytest.mark.long
async def test_BA10_a_changed_list_is_not_believed(hospital: Hospital) -> None:
    directory = hospital.folder / "A" / "federation.json"
    held = json.loads(directory.read_text())
    await hospital.stop("A")
    directory.write_text(json.dumps({**held, "content": held["content"][:-8] + "AAAAAAA="}))
    opened = Directory(hospital.folder / "A", hospital.entropy)
    with pytest.raises(CallerFault, match="not to be believed"):
        opened.listed()
    opened.close()


@pytest.mark.long
async def test_BA11_whose_rights_are_taken_back_is_put_out(hospital: Hospital) -> None:
    await hospital.connect("A")
    session = await hospital.mqtt(await hospital.move("A", "B"))
    await hospital.quiet()
    gone = hospital.list(gone=(CLIENT,))
    await hospital.agents["A"].adopt(gone)
    await hospital.quiet()
    with pytest.raises(Unavailable):
        await session.ping()
    assert hospital.agents["A"].peek(home_of(CLIENT)).held is None
    assert hospital.agents["B"].peek(visit_of(CLIENT)) is None


@pytest.mark.long
async def test_BA12_files_of_agents_hold_no_key_in_clear(hospital: Hospital) -> None:
    await hospital.connect("A")
    access = await hospital.move("A", "B")
    await hospital.quiet()
    K_v = hospital.agents["B"].peek(visit_of(CLIENT)).stay.K_v
    secrets = [hospital.K_home, K_v, *hospital.shared.values()]
    found = b"".join(path.read_bytes() for path in hospital.folder.rglob("*") if path.is_file())
    assert len(found) > 10_000
    for secret in secrets:
        assert secret.expose() not in found
        assert secret.expose().hex().encode() not in found
    assert access.password.encode() not in found
    for private in ("own.cells", "tls.key", "key", "cells.db"):
        assert (hospital.folder / "A" / private).stat().st_mode & 0o077 == 0


@pytest.mark.long
async def test_BA13_a_stopped_agent_goes_on_where_it_was(hospital: Hospital) -> None:
    access = await hospital.connect("A")
    moved = await hospital.move("A", "B")
    await hospital.quiet()
    for name in "AB":
        await hospital.stop(name)
    await hospital.start("A", "B")
    await hospital.quiet()
    await hospital.mqtt(moved)  # the same password
    with pytest.raises(CallerFault):
        await hospital.mqtt(access)
    assert (await hospital.move("A", "C")).broker_id == hospital.broker_id("C")


@pytest.mark.long
async def test_BA16_a_connauth_may_come_in_the_password_of_connect(hospital: Hospital) -> None:
    agent = hospital.agents["A"]
    body = TicketBody(CLIENT, hospital.K_home.expose(), RIGHTS, 3600, b"ticket-1")
    ticket = issue_ticket(hospital.shared["A"], hospital.broker_id("A"), body, hospital.entropy)
    asked = connect(hospital.K_home, CLIENT, ticket, hospital.entropy)
    assert await connects(agent.broker.address, CLIENT.hex(), asked)
    assert not await connects(agent.broker.address, CLIENT.hex(), asked), "a replay"
    forged = connect(Secret(bytes(32)), CLIENT, ticket, hospital.entropy)
    assert not await connects(agent.broker.address, CLIENT.hex(), forged)
    fresh = connect(hospital.K_home, CLIENT, ticket, hospital.entropy)
    assert not await connects(agent.broker.address, "00" * 8, fresh)


async def connects(address: tuple[str, int], name: str, password: bytes) -> bool:
    """Tell whether CONNECT with these raw bytes as its password is accepted."""
    reader, writer = await asyncio.open_connection(*address)
    behind = text(name) + text(name) + len(password).to_bytes(2, "big") + password
    head = text("MQTT") + bytes((4, 0xC2, 0, 60))
    writer.write(b"\x10" + length(len(head + behind)) + head + behind)
    async with asyncio.timeout(15):
        answer = await reader.readexactly(4)
    writer.close()
    await writer.wait_closed()
    return answer[3] == 0


@pytest.mark.long
async def test_BA17_only_listed_agents_speak_as_agents(hospital: Hospital) -> None:
    agent = hospital.agents["B"]
    stranger = hospital.folder / "stranger"
    stranger.mkdir()
    pem, _, key = tls_pinned.self_signed("stranger", 1_700_000_000, Secret(bytes(32)))
    (stranger / "pem").write_bytes(pem)
    (stranger / "key").write_bytes(key)
    callers = AgentCallers((stranger / "pem", stranger / "key", Secret(bytes(32))))
    url = agent.ready()["agent"]
    certificate = tls.certificate_der((hospital.folder / "B" / "tls.pem").read_text())
    await callers.knows({str(url): certificate})
    with pytest.raises(Unavailable):
        await callers.bring(str(url), CLIENT, [Delivery("w/9/hr", b"forged", 1, False, 0)])
    await callers.close()
    access = await hospital.connect("A")
    moved = await hospital.move("A", "B")
    assert moved.password != access.password
    owner = AgentCallers(hospital.agents["C"].directory.tls)  # listed, but not who is to bring this queue
    await owner.knows({str(url): certificate})
    with pytest.raises(KeymoteError):
        await owner.bring(str(url), CLIENT, [Delivery("w/9/hr", b"forged", 1, False, 0)])
    await owner.close()
    released = Between(CLIENT, release(Secret(bytes(32)), CLIENT, 1, bytes(8))).encode()
    endpoint = await CoapEndpoint.open(("127.0.0.1", 0), lambda *_: None)
    refused = asyncio.Event()
    endpoint.send(hospital.coap("B"), released, refused.set)
    await asyncio.sleep(0.2)
    endpoint.close()
    assert agent.peek(visit_of(CLIENT)).stay.leaving is None


def test_HO02_a_number_is_on_disk_before_it_is_used(tmp_path: Path) -> None:
    counter = StoredCounter(tmp_path / "ho")
    assert [counter.reserve(), counter.reserve()] == [1, 2]
    assert StoredCounter(tmp_path / "ho").reserve() == 3
    (tmp_path / "ho").write_text("none")
    with pytest.raises(CallerFault, match="no counter"):
        counter.reserve()
