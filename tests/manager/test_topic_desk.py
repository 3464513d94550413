"""What operators ask of a manager about its topics: answers without keys, and errors that say what to do."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from gatehouse import Shelf
from topic_office import TOPIC, Cells, begun, charter, clients, rule

from keymote.engine.topic.faces import RotateTopic
from keymote.errors import CallerFault
from keymote.manager.topic_clients import FileClient
from keymote.manager.topic_desk import TopicDesk
from keymote.manager.topic_log import TopicLog
from keymote.manager.topics import TopicSteward


class Office:
    """The service's face, without its worker."""

    waiting = 3

    def __init__(self) -> None:
        self.cells, shelf = Cells(), Shelf()
        self.steward = TopicSteward(self.cells, shelf, TopicLog(shelf))
        self.clients = clients(self.cells, shelf)

    async def do(self, job: Callable[[], Awaitable[None]]) -> None:
        await job()

    async def add_client(self, name: str, path: Path) -> FileClient:
        return await self.clients.add(name, path, 1)

    async def remove_client(self, name: str) -> FileClient:
        client = self.clients.named(name)
        await self.clients.forget(client)
        return client


async def test_TM02_clients_come_and_go_and_no_answer_holds_a_key(tmp_path: Path) -> None:
    office = Office()
    ask = TopicDesk(office).handlers()
    made = await ask["client.add"]({"name": "bed 7", "out": str(tmp_path / "bed-7")})
    assert isinstance(made, dict)
    assert set(made) == {"client_id", "name", "made", "file"}
    assert await ask["client.list"]({}) == [{key: made[key] for key in ("client_id", "name", "made")}]
    removed = await ask["client.remove"]({"name": made["client_id"]})
    assert isinstance(removed, dict)
    assert removed["state"] == "removed"
    for request in ({}, {"name": 7, "out": "/x"}, {"name": "x" * 256, "out": "/x"}):
        with pytest.raises(CallerFault):
            await ask["client.add"](request)


async def test_TM08_an_operator_sees_the_topics_and_rotates_one_without_the_coordinator() -> None:
    office = Office()
    ask = TopicDesk(office).handlers()
    await office.steward.adopt(charter(rule(4)))
    await begun(office.steward)
    assert await ask["topic.list"]({}) == {
        "rules": [{"filter": "ward/#", "policy": "mac", "clients": 2, "version": 4}],
        "topics": [{"topic": TOPIC, "filter": "ward/#", "epoch": 1, "safe": False, "parked": []}],
        "reports_waiting": 3,
    }
    assert await ask["topic.rotate"]({"topic": TOPIC, "compromise": True}) == {"topic": TOPIC, "state": "asked"}
    assert office.cells.told(RotateTopic) == [RotateTopic(compromise=True)]
    with pytest.raises(CallerFault, match="manager topic list"):
        await ask["topic.rotate"]({"topic": "ward/9"})
