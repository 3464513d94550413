"""What an operator's commands may ask of a running manager about its brokers, over its control socket.

No key passes there: the manager itself writes the file for an agent.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.suite import SigningKey
from keymote.crypto.suites import SUITES
from keymote.engine.base import Peer, Report
from keymote.engine.handover.moves_cell import ClientMoved, ForgetMoves, MovesCell, SharedWith, moves_of
from keymote.engine.policy.topic_charter import TopicRule
from keymote.errors import CallerFault
from keymote.manager.app.cells import HostCells
from keymote.manager.app.shelf import Rows, StoreShelf
from keymote.manager.app.topics import TopicService
from keymote.manager.brokers import Broker, Brokers
from keymote.manager.topic_rules import laid
from keymote.storage.broker_files import GivenFile, ListFile
from keymote.storage.private_files import read_file
from keymote.wire.handover import MoveBody

Handler = Callable[[Mapping[str, Any]], Awaitable[object]]
_LONGEST: Final = 4096
_ID: Final = 8
logger = logging.getLogger(__name__)
AGENT_SUITE: Final = 1
"""Agents sign by Ed25519, whatever the manager does (decision 0196)."""


def broker_desk(
    topics: TopicService,
    rows: Rows,
    signing: SigningKey,
    nm_id: bytes,
    entropy: Entropy,
    cells: HostCells,
    address: Peer,
) -> "BrokerDesk":
    """Return the desk of a manager whose topics these are; from now on their clients get tickets.

    `address` is where agents tell of moves.
    """
    steward = topics.steward

    def rules() -> Iterable[TopicRule]:
        return (laid(rule, steward.marks) for rule in steward.charter.rules)

    def gone() -> Iterable[bytes]:
        return (client for client, mark in steward.marks.items() if mark.out)

    suite = SUITES[AGENT_SUITE]
    brokers = Brokers(StoreShelf(rows), signing, suite, nm_id, entropy, lambda: int(time.time()), rules, gone)
    topics.tickets = brokers.terms
    return BrokerDesk(brokers, nm_id, signing.suite_id, signing.public, cells, address)


class BrokerDesk:
    """`suite` and `sig_pk` are the manager's own: what agents are to believe."""

    def __init__(
        self, brokers: Brokers, nm_id: bytes, suite: int, sig_pk: bytes, cells: HostCells, address: Peer
    ) -> None:
        self._brokers, self._cells, self._address = brokers, cells, address
        self._turn = asyncio.Lock()
        self._nm_id, self._suite, self._sig_pk = nm_id, suite, sig_pk

    def handlers(self) -> Mapping[str, Handler]:
        """Return what may be asked, by name."""
        return {
            "broker.add": self._add,
            "broker.list": self._list,
            "broker.remove": self._remove,
            "broker.assign": self._assign,
            "broker.federation": self._federation,
            "broker.moves": self._moves,
        }

    # ------------------------------------------------------------------ what agents tell

    def answer(self, query: object, answer: Callable[[object], None]) -> bool:
        """Answer a question about brokers; False for any other."""
        if isinstance(query, SharedWith):
            answer(self._brokers.shared_with(query.broker_id))
            return True
        return False

    def heard(self, report: Report) -> None:
        """Log a move."""
        if isinstance(report, ClientMoved):
            move = report.move
            ids = {"client": move.client_id, "home": report.home, "origin": move.origin, "to": move.to}
            logger.info("ClientMoved", extra={name: each.hex() for name, each in ids.items()})

    async def _moves(self, request: Mapping[str, Any]) -> object:
        """`client`: its id, or empty for all. Return the moves that are kept, newest first."""
        wanted, found = _client(request) if request.get("client") else b"", list[MoveBody]()
        for broker_id in self._brokers.all():
            kept = self._cells.peek(moves_of(broker_id))
            found += kept.moves if isinstance(kept, MovesCell) else ()
        found.sort(key=lambda move: (move.at, move.ho_ctr), reverse=True)
        return {"moves": [_moved(move) for move in found if wanted in (b"", move.client_id)]}

    # ------------------------------------------------------------------ what operators want

    async def given(self, card: bytes) -> GivenFile:
        """Take a broker in, and return what its agent gets."""
        async with self._turn:
            broker = await self._brokers.add(card)
        return GivenFile(
            broker.card.broker_id,
            self._nm_id,
            self._suite,
            self._sig_pk,
            broker.shared,
            await self.listed(),
            self._address,
        )

    async def listed(self) -> ListFile:
        """Return the present list."""
        async with self._turn:
            current = await self._brokers.current()
        return ListFile(current.statement, current.content)

    async def _add(self, request: Mapping[str, Any]) -> object:
        """`card`, `out` (absolute paths)."""
        out = _fresh(Path(_text(request, "out")))
        given = await self.given(read_file(Path(_text(request, "card")), "card"))
        given.write(out)
        return {**_view(self._brokers.all()[given.broker_id]), "file": str(out)}

    async def _list(self, _request: Mapping[str, Any]) -> object:
        async with self._turn:
            current = await self._brokers.current()
        return {"version": current.version, "brokers": [_view(broker) for broker in self._brokers.all().values()]}

    async def _remove(self, request: Mapping[str, Any]) -> object:
        """`broker`: its id."""
        broker = self._brokers.named(_text(request, "broker"))
        async with self._turn:
            await self._brokers.remove(broker)
        await self._cells.command(moves_of(broker.card.broker_id), ForgetMoves())
        return {**_view(broker), "state": "removed"}

    async def _assign(self, request: Mapping[str, Any]) -> object:
        """`client`, `broker`: ids."""
        broker = self._brokers.named(_text(request, "broker"))
        client_id = _client(request)
        async with self._turn:
            await self._brokers.assign(client_id, broker)
        return {"client": client_id.hex(), **_view(broker)}

    async def _federation(self, _request: Mapping[str, Any]) -> object:
        """Return the list file, which is public."""
        return {"file": (await self.listed()).encode().decode()}


def _fresh(path: Path) -> Path:
    if path.exists():
        raise CallerFault(f"{path} exists already", do="name a file that does not")
    return path


def _view(broker: Broker) -> dict[str, str]:
    card = broker.card
    return {"broker_id": card.broker_id.hex(), "mqtt": card.mqtt, "coap": card.coap, "agent": card.agent}


def _moved(move: MoveBody) -> dict[str, object]:
    at = datetime.fromtimestamp(move.at, UTC).isoformat(timespec="seconds")
    ids = {"client": move.client_id.hex(), "from": move.origin.hex(), "to": move.to.hex()}
    return {"at": at, **ids, "hand_over": move.ho_ctr}


def _client(request: Mapping[str, Any]) -> bytes:
    try:
        found = bytes.fromhex(_text(request, "client"))
    except ValueError:
        found = b""
    if len(found) != _ID:
        raise CallerFault("a client's id has 16 hex digits", do="see keymote manager client list")
    return found


def _text(request: Mapping[str, Any], key: str) -> str:
    found = request[key]
    if not isinstance(found, str) or not 0 < len(found) <= _LONGEST:
        raise CallerFault(f"{key} is no text")
    return found
