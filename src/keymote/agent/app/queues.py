"""Queues that follow their clients: brought to the next broker until they are there, and taken in from the one before."""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from keymote.agent.app.turns import Turns
from keymote.engine.base import CellKey, Command
from keymote.engine.handover.faces import Moved, SessionMoved, home_of, visit_of
from keymote.engine.handover.federation import Federation
from keymote.engine.handover.home_states import Away, Held, Here, HomeCell
from keymote.engine.handover.visit_cell import allows
from keymote.engine.handover.visit_states import VisitCell
from keymote.errors import KeymoteError, Unavailable
from keymote.transports.between import AgentCallers
from keymote.transports.mqtt.broker_face import BrokerFace
from keymote.transports.mqtt.packets import Delivery
from keymote.wire.topic import SUBSCRIBE, Right

RETRIES_S: Final = (0.05, 0.2, 1.0, 5.0)
"""Pauses before a queue is brought to the next broker again; the last one repeats."""

logger = logging.getLogger(__name__)


class Queues:
    """What waits at `broker` for clients that leave and come; `peek` and `command` reach their cells."""

    def __init__(
        self,
        broker: BrokerFace,
        callers: AgentCallers,
        turns: Turns,
        federation: Callable[[], Federation],
        peek: Callable[[CellKey], Any | None],
        command: Callable[[CellKey, Command], Awaitable[object]],
        counted: Counter[str],
    ) -> None:
        self._broker, self._callers, self._turns = broker, callers, turns
        self._federation, self._peek, self._command = federation, peek, command
        self._counted = counted

    def owed(self, key: CellKey, move: Moved) -> None:
        """Bring what waits here for a client to the broker that it went to; again, until it is there or no longer owed."""
        self._turns.after(move.client_id, partial(self._bring, key, move, 0))

    async def _bring(self, key: CellKey, move: Moved, tries: int) -> None:
        if not _owes(self._peek(key), move):
            return
        to = self._federation().brokers.get(move.to)
        try:
            if to is None:
                raise Unavailable("the next broker is not in the list", do="give the agent a newer list")
            carried = await self._broker.drain(
                move.client_id.hex(), partial(self._callers.bring, to.peer, move.client_id)
            )
        except KeymoteError as error:
            logger.info("a queue waits for its next broker: %s", error)
            pause = RETRIES_S[min(tries, len(RETRIES_S) - 1)]
            self._turns.later(pause, move.client_id, partial(self._bring, key, move, tries + 1))
            return
        self._counted["messages carried"] += carried
        await self._command(key, SessionMoved(move.ho_ctr))

    async def take_in(self, broker_id: bytes, client_id: bytes, messages: Sequence[Delivery]) -> bool:
        """Take in the queue of a client that came here, once its session is there; False when this broker may not bring it."""
        taken: list[bool] = []

        async def take() -> None:
            rights = self._awaited(broker_id, client_id)
            if rights is None:
                return
            for message in messages:
                if allows(rights, message.topic, SUBSCRIBE):
                    await self._broker.publish(message)
                else:
                    self._counted["messages refused"] += 1
            taken.append(True)

        await self._turns.after(client_id, take)
        return bool(taken)

    def _awaited(self, broker_id: bytes, client_id: bytes) -> tuple[Right, ...] | None:
        """Return the rights of a client whose queue this broker may bring; None when there is no such client."""
        visit: VisitCell | None = self._peek(visit_of(client_id))
        if visit is not None and visit.stay is not None and visit.stay.leaving is None:
            stay = visit.stay
            return stay.rights if broker_id in (stay.origin, stay.request.home) and visit.waiting is None else None
        home: HomeCell | None = self._peek(home_of(client_id))
        if home is not None and home.held is not None and isinstance(home.held.place, Here) and home.opening is None:
            return home.held.rights
        return None


def _owes(cell: object, move: Moved) -> bool:
    """Return whether this cell still owes the queue to that broker."""
    match cell:
        case HomeCell(held=Held(place=Away(vis, ho_ctr, _, False))):
            return (vis, ho_ctr) == (move.to, move.ho_ctr)
        case VisitCell(stay=stay) if stay is not None:
            return (stay.leaving, stay.request.ho_ctr) == (move.to, move.ho_ctr)
    return False
