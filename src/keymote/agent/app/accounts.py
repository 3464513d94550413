"""What the cells of an agent want of the broker behind it: accounts of clients, and readings that go out."""

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from keymote.agent.app.queues import Queues
from keymote.agent.app.turns import Turns
from keymote.engine.base import CellKey, Refused, Report
from keymote.engine.handover.faces import AccountOpen, CloseAccount, Connected, Forward, Moved, OpenAccount
from keymote.errors import KeymoteError
from keymote.transports.mqtt.broker_face import Account, BrokerFace
from keymote.transports.mqtt.packets import Delivery
from keymote.wire.admin import to_base64url
from keymote.wire.topic import PUBLISH, SUBSCRIBE

if TYPE_CHECKING:
    from keymote.agent.app.motes import Motes

FORWARD_QOS: Final = 1

logger = logging.getLogger(__name__)


class Accounts:
    """Does at `broker` what cells ask and report; `motes` hear of accounts where there are any."""

    def __init__(
        self, broker: BrokerFace, motes: "Motes | None", turns: Turns, queues: Queues, counted: Counter[str]
    ) -> None:
        self._broker, self._motes, self._turns, self._queues = broker, motes, turns, queues
        self._counted = counted

    def asked(self, _key: CellKey, query: object, answer: Callable[[object], None]) -> None:
        """Open an account, and answer when it is there."""
        assert isinstance(query, OpenAccount)

        async def open_account() -> None:
            try:
                await self._broker.open(_account(query))
            except KeymoteError as error:
                logger.warning("no account for a client: %s", error)
                answer(error)
            else:
                if self._motes is not None:
                    self._motes.opened(query.client_id.hex(), query.password)
                answer(AccountOpen())

        self._turns.after(query.client_id, open_account)

    def reported(self, key: CellKey, report: Report) -> None:
        """Do what follows from a report."""
        match report:
            case Refused(_, code, what):
                self._counted[f"refused {code.name}"] += 1
                logger.info("refused", extra={"cell": key.kind, "code": code.name, "what": what})
                return
            case Moved():
                self._queues.owed(key, report)
            case CloseAccount(client_id):
                if self._motes is not None:
                    self._motes.closed(client_id.hex())
                self._turns.after(client_id, partial(self._broker.remove, client_id.hex()))
            case Forward(client_id, topic, data, verified):
                message = Delivery(topic, data, FORWARD_QOS, False, 0)
                self._turns.after(client_id, partial(self._broker.publish, message, unverified=not verified))
            case Connected():
                pass
        self._counted[type(report).__name__] += 1
        logger.info(type(report).__name__, extra={"cell": key.kind, "client": key.id.hex()})


def _account(asked: OpenAccount) -> Account:
    password = asked.password.expose()
    publish = tuple(right.filter for right in asked.rights if right.rights & PUBLISH)
    subscribe = tuple(right.filter for right in asked.rights if right.rights & SUBSCRIBE)
    return Account(asked.client_id.hex(), to_base64url(password), publish, subscribe, asked.session)
