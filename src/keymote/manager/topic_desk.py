"""What an operator's commands may ask of a running manager about its topics and their clients, over its control socket."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from keymote.errors import CallerFault
from keymote.manager.topic_clients import FileClient, TopicClients
from keymote.manager.topics import TopicSteward

Handler = Callable[[Mapping[str, Any]], Awaitable[object]]
_LONGEST: Final = 255


class Topics(Protocol):
    """The topics of this manager; `do` does something after what happened before it."""

    @property
    def waiting(self) -> int: ...

    @property
    def steward(self) -> TopicSteward: ...

    @property
    def clients(self) -> TopicClients: ...

    async def do(self, job: Callable[[], Awaitable[None]]) -> None: ...

    async def add_client(self, name: str, path: Path) -> FileClient: ...

    async def remove_client(self, name: str) -> FileClient: ...


class TopicDesk:
    """Clients are named by their name or id. No key passes here: the manager itself writes provisioning files."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    def handlers(self) -> Mapping[str, Handler]:
        """Return what may be asked, by name."""
        return {
            "client.add": self._add,
            "client.list": self._clients,
            "client.remove": self._remove,
            "topic.list": self._list,
            "topic.rotate": self._rotate,
        }

    async def _add(self, request: Mapping[str, Any]) -> object:
        """`name`, `out` (absolute path): a client and its file, which only the manager's user can read."""
        made = await self._topics.add_client(_text(request, "name"), Path(_text(request, "out", 4096)))
        return {**_view(made), "file": request["out"]}

    async def _clients(self, _request: Mapping[str, Any]) -> object:
        return [_view(client) for client in self._topics.clients.all()]

    async def _remove(self, request: Mapping[str, Any]) -> object:
        """`name`: forget a client and put it out of every topic at once."""
        return {**_view(await self._topics.remove_client(_text(request, "name"))), "state": "removed"}

    async def _list(self, _request: Mapping[str, Any]) -> object:
        steward = self._topics.steward
        sessions: Sequence[Mapping[str, object]] = [
            {
                "topic": topic,
                "filter": known.filter,
                "epoch": known.epoch,
                "safe": known.safe,
                "parked": sorted(client.hex() for client in known.parked),
            }
            for topic, known in sorted(steward.sessions.items())
        ]
        rules = [
            {"filter": rule.filter, "policy": rule.policy.value, "clients": len(rule.grants), "version": rule.version}
            for rule in steward.charter.rules
        ]
        return {"rules": rules, "topics": sessions, "reports_waiting": self._topics.waiting}

    async def _rotate(self, request: Mapping[str, Any]) -> object:
        """`topic`, and if wanted `compromise`: a new epoch."""
        topic, compromise = _text(request, "topic"), bool(request.get("compromise", False))
        steward = self._topics.steward
        await self._topics.do(lambda: steward.rotate(topic, compromise=compromise))
        return {"topic": topic, "state": "asked"}


def _view(client: FileClient) -> dict[str, object]:
    made = datetime.fromtimestamp(client.made_ms / 1000, UTC).isoformat(timespec="seconds")
    return {"client_id": client.client_id.hex(), "name": client.name, "made": made}


def _text(request: Mapping[str, Any], name: str, longest: int = _LONGEST) -> str:
    text = request.get(name)
    if not isinstance(text, str) or not 0 < len(text) <= longest:
        raise CallerFault(f"{name} must be a text of 1 to {longest} characters")
    return text
