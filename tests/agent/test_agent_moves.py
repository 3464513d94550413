"""Where is patient 7? The agent of its home broker says it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hospital import CLIENT, Hospital

from keymote.errors import CallerFault
from keymote.transports.control import ControlClient


@pytest.fixture
async def hospital(tmp_path: Path) -> AsyncIterator[Hospital]:
    made = Hospital(tmp_path)
    made.prepare("A", "B", "C")
    async with made.stack:
        await made.start("A", "B", "C")
        yield made


async def ask(hospital: Hospital, name: str, what: str, **about: object) -> Any:
    def asked() -> Any:
        with ControlClient(hospital.folder / name / "control.sock") as agent:
            return agent.ask(what, **about)

    return await asyncio.to_thread(asked)


@pytest.mark.long
async def test_BA21_an_operator_hears_where_a_client_is_and_how_it_came_there(hospital: Hospital) -> None:
    ids = {name: hospital.broker_id(name).hex() for name in "ABC"}
    client = CLIENT.hex()
    await hospital.connect("A")
    await hospital.quiet()
    at_home = await ask(hospital, "A", "where", client=client)
    assert (at_home["home"], at_home["broker"], at_home["queue"]) == (ids["A"], ids["A"], "here")
    for name in "BC":
        await hospital.move("A", name)
        await hospital.quiet()
    away = await ask(hospital, "A", "where", client=client)
    assert {"home": ids["A"], "broker": ids["C"], "hand_over": 2, "queue": "moved"}.items() <= away.items()
    host, port = hospital.agents["C"].broker.address
    assert away["mqtt"] == f"{host}:{port}"
    visiting = await ask(hospital, "C", "where", client=client)
    assert {"home": ids["A"], "broker": ids["C"], "queue": "here"}.items() <= visiting.items()
    assert visiting["ticket_until"][:10] == away["ticket_until"][:10]
    await hospital.connect("A")
    await hospital.quiet()
    moves = (await ask(hospital, "A", "moves"))["moves"]
    assert [(each["from"], each["to"]) for each in moves] == [
        (ids["C"], ids["A"]),
        (ids["B"], ids["C"]),
        (ids["A"], ids["B"]),
    ]
    assert {each["client"] for each in moves} == {client}
    assert (await ask(hospital, "B", "moves"))["moves"] == []
    for name, who, says in (("B", client, "is not here"), ("A", "patient 7", "16 hex digits")):
        with pytest.raises(CallerFault, match=says):
            await ask(hospital, name, "where", client=who)
