"""Where clients are, as an agent knows it: what an operator asks (Triad-1 4.6, decision 0204). Ids, brokers and times, no more."""

import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from keymote.engine.base import CellKey
from keymote.engine.handover.faces import HandedOver, home_of, visit_of
from keymote.engine.handover.home_states import Away, Held, HomeCell
from keymote.engine.handover.visit_states import Stay, VisitCell
from keymote.errors import CallerFault
from keymote.wire.federation import BrokerCard

MOST_MOVES: Final = 1024
"""Moves that are remembered; the log has every one."""
_ID: Final = 8

logger = logging.getLogger(__name__)


class _Move(NamedTuple):
    at: str
    report: HandedOver


class Moves:
    """The last moves of clients at home here since the agent started, and the place of every client that it has a cell of."""

    def __init__(
        self, me: bytes, peek: Callable[[CellKey], Any | None], cards: Callable[[], Mapping[bytes, BrokerCard]]
    ) -> None:
        self._me, self._peek, self._cards = me, peek, cards
        self._moves: deque[_Move] = deque(maxlen=MOST_MOVES)

    def heard(self, report: HandedOver) -> None:
        """Take in a move."""
        self._moves.append(_Move(_utc(time.time()), report))
        went = {"client": report.client_id.hex(), "origin": report.origin.hex(), "to": report.to.hex()}
        logger.info("HandedOver", extra=went)

    def handlers(self) -> Mapping[str, Callable[[Mapping[str, Any]], Awaitable[object]]]:
        """Return what may be asked, by name."""
        return {"where": self._where, "moves": self._last}

    async def _last(self, _request: Mapping[str, Any]) -> object:
        """Return the last moves, newest first."""
        return {
            "moves": [
                {
                    "at": move.at,
                    "client": move.report.client_id.hex(),
                    "from": move.report.origin.hex(),
                    "to": move.report.to.hex(),
                    "hand_over": move.report.ho_ctr,
                }
                for move in reversed(self._moves)
            ]
        }

    async def _where(self, request: Mapping[str, Any]) -> object:
        """`client`: its id."""
        client_id = _id(request["client"])
        home: HomeCell | None = self._peek(home_of(client_id))
        visit: VisitCell | None = self._peek(visit_of(client_id))
        if home is not None and home.held is not None:
            return {"client": client_id.hex(), **self._from_home(home.held)}
        if visit is not None and visit.stay is not None:
            return {"client": client_id.hex(), **self._visiting(visit.stay)}
        raise CallerFault(f"client {client_id.hex()} is not here", do="ask the agent of its home broker")

    def _from_home(self, held: Held) -> Mapping[str, object]:
        match held.place:
            case Away(vis, ho_ctr, _, moved):
                queue = "moved" if moved else "owed"
            case _:
                vis, ho_ctr, queue = self._me, held.last_ctr, "here"
        known = {"home": self._me.hex(), **self._at(vis), "hand_over": ho_ctr, "queue": queue}
        return {**known, "ticket_until": _utc(held.expires)}

    def _visiting(self, stay: Stay) -> Mapping[str, object]:
        """A visitor, or one that goes on and whose queue is still here; its home broker knows more."""
        left = stay.leaving
        known = {"home": stay.request.home.hex(), **self._at(self._me if left is None else left)}
        known |= {"hand_over": stay.request.ho_ctr, "queue": "here" if left is None else "owed"}
        return {**known, "ticket_until": _utc(stay.expires)}

    def _at(self, broker_id: bytes) -> dict[str, object]:
        card = self._cards().get(broker_id)
        return {"broker": broker_id.hex(), "mqtt": "" if card is None else card.mqtt}


def _id(text: object) -> bytes:
    try:
        found = bytes.fromhex(str(text))
    except ValueError:
        found = b""
    if len(found) != _ID:
        raise CallerFault("a client's id has 16 hex digits", do="see keymote manager client list")
    return found


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat(timespec="seconds")
