"""Motes at agents: let in and handed over by Keymote datagrams over MQTT-SN, and nobody else (SG-29, SG-30)."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from hospital import CLIENT, Hospital

from keymote.device.broker_access import connect_via_agent, hand_over
from keymote.device.mqttsn import MqttSnMote
from keymote.engine.mqttsn.faces import KEYMOTE_TOPIC
from keymote.engine.topic.admission import connect, issue_ticket
from keymote.errors import Unavailable
from keymote.transports.udp import UdpSocket
from keymote.wire import mqttsn
from keymote.wire.mqttsn import Packet
from keymote.wire.mqttsn_fields import Predefined, ReturnCode
from keymote.wire.topic import PUBLISH, SUBSCRIBE, Right, TicketBody

NAME = CLIENT.hex()
RIGHTS = (Right("w/7/#", SUBSCRIBE), Right("w/7/hr", PUBLISH))


@pytest.fixture
async def hospital(tmp_path: Path) -> AsyncIterator[Hospital]:
    made = Hospital(tmp_path, mqttsn=("127.0.0.1", 0))
    made.prepare("A", "B")
    async with made.stack:
        await made.start("A", "B")
        yield made


async def mote_at(hospital: Hospital, agent: str, name: str = NAME) -> MqttSnMote:
    gateway = str(hospital.agents[agent].ready()["mqttsn"])
    mote = await MqttSnMote.open(name, partial(UdpSocket.open, ("127.0.0.1", 0)), gateway, retry_s=3.0)
    hospital.stack.callback(mote.close)
    return mote


async def admitted(hospital: Hospital, mote: MqttSnMote) -> None:
    body = TicketBody(CLIENT, hospital.K_home.expose(), RIGHTS, 3600, b"ticket-1")
    ticket = issue_ticket(hospital.shared["A"], hospital.broker_id("A"), body, hospital.entropy)
    await connect_via_agent(mote.bind, mote.gateway, CLIENT, hospital.K_home, ticket)


async def handed_over(hospital: Hospital, mote: MqttSnMote) -> None:
    home, there = hospital.broker_id("A"), hospital.broker_id("B")
    await hand_over(mote.bind, mote.gateway, hospital.K_home, CLIENT, home, there, hospital.counter)


@pytest.mark.long
async def test_SG29_a_mote_walks_from_broker_to_broker_with_what_waits_for_it(hospital: Hospital) -> None:
    at_home = await mote_at(hospital, "A")
    await admitted(hospital, at_home)
    await at_home.connect(clean=False)
    await at_home.subscribe("w/7/#")
    await at_home.publish("w/7/hr", b"at home")
    await at_home.disconnect()
    await hospital.publish("A", b"1", b"2", topic="w/7/to")
    away = await mote_at(hospital, "B")
    await handed_over(hospital, away)
    await away.connect(clean=False)
    await hospital.quiet()
    await away.publish("w/7/hr", b"away")
    async with asyncio.timeout(10):
        messages = away.messages()
        heard = [(await anext(messages)).data for _ in range(3)]
    assert heard == [b"1", b"2", b"away"]


async def test_SG30_nobody_connects_who_has_not_proved_who_it_is_and_from_there_alone(hospital: Hospital) -> None:
    thief = await mote_at(hospital, "A")
    with pytest.raises(Unavailable, match="NOT_SUPPORTED"):
        await thief.connect()
    true = await mote_at(hospital, "A")
    await admitted(hospital, true)
    with pytest.raises(Unavailable, match="NOT_SUPPORTED"):
        await thief.connect()
    await true.connect()
    with pytest.raises(Unavailable, match="NOT_SUPPORTED"):
        await (await mote_at(hospital, "A", "another")).connect()


async def test_SG30_an_address_that_asked_for_one_client_does_not_get_another_one(hospital: Hospital) -> None:
    """The answer to one's own request, which names nobody, is no proof for a request that came in between."""
    heard: asyncio.Queue[Packet] = asyncio.Queue()
    thief = await UdpSocket.open(("127.0.0.1", 0), lambda _peer, data: heard.put_nowait(mqttsn.decode(data)))
    hospital.stack.callback(thief.close)
    gateway, victim = str(hospital.agents["A"].ready()["mqttsn"]), b"patient8"
    body = TicketBody(CLIENT, hospital.K_home.expose(), RIGHTS, 3600, b"ticket-1")
    ticket = issue_ticket(hospital.shared["A"], hospital.broker_id("A"), body, hospital.entropy)
    mine = connect(hospital.K_home, CLIENT, ticket, hospital.entropy)
    other = connect(hospital.K_home, victim, ticket, hospital.entropy)
    for data in (mine, other):
        thief.send(gateway, mqttsn.Publish(Predefined(KEYMOTE_TOPIC), data, -1).encode())
    async with asyncio.timeout(5):
        answer = await heard.get()
        assert isinstance(answer, mqttsn.Publish)
        while not heard.empty():
            heard.get_nowait()
        thief.send(gateway, mqttsn.Connect(victim.hex(), 60).encode())
        while not isinstance(said := await heard.get(), mqttsn.Connack):
            pass
        assert said.code is ReturnCode.NOT_SUPPORTED
        thief.send(gateway, mqttsn.Connect(NAME, 60).encode())
        while not isinstance(said := await heard.get(), mqttsn.Connack):
            pass
        assert said.code is ReturnCode.ACCEPTED
