"""The embedded broker behind an agent. Its queues are in our own process, so `drain` reads them where they lie.

amqtt forgets what it has sent and nobody acknowledged when a connection ends, except where we end it (`put_out`).
"""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, Self

from keymote.crypto.secret import equal
from keymote.engine.handover.federation import matches
from keymote.transports.broker_amqtt import Action, EmbeddedBroker
from keymote.transports.mqtt.broker_face import MOST_AT_ONCE, Account, Carry
from keymote.transports.mqtt.packets import Delivery
from keymote.transports.mqtt.session import MqttSession

AGENT: Final = "keymote-agent"
SESSION_QOS: Final = 2

Admit = Callable[[str, bytes], Awaitable[bool]]
"""`(client id, password field)`: whether a CONNAUTH in the password field of CONNECT lets this client in (Triad-1 8 on 4.4)."""


async def _nobody(_name: str, _connauth: bytes) -> bool:
    return False


class EmbeddedFace:
    """Accounts are in memory: an agent that starts opens them again."""

    _broker: EmbeddedBroker
    _agent: MqttSession

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._once: dict[str, str] = {}
        self._leaving: set[str] = set()
        self._secret = secrets.token_urlsafe(32)
        self._host = ""
        self.admit: Admit = _nobody

    @classmethod
    async def start(cls, host: str = "127.0.0.1", port: int = 0) -> Self:
        """Serve MQTT 3.1.1 at this address; Unavailable when the port is taken."""
        made = cls()
        made._host = host
        made._broker = await EmbeddedBroker.start(made._authenticate, made._may, host=host, port=port)
        try:
            made._agent = await MqttSession.open(made.address, AGENT, AGENT, made._secret, clean=True)
        except BaseException:
            await made._broker.close()
            raise
        return made

    @property
    def address(self) -> tuple[str, int]:
        return self._host, self._broker.port

    async def open(self, account: Account) -> None:
        self._accounts[account.name] = account
        if account.session and account.subscribe:
            once = self._once[account.name] = secrets.token_urlsafe(16)
            try:
                session = await MqttSession.open(self.address, account.name, account.name, once, clean=False)
                await session.subscribe(account.subscribe, SESSION_QOS)
                await session.close()
                await self._broker.put_out(account.name)
            finally:
                self._once.pop(account.name, None)

    async def remove(self, name: str) -> None:
        self._accounts.pop(name, None)
        await self._broker.forget(name)

    async def publish(self, message: Delivery, *, unverified: bool = False) -> None:
        await self._agent.publish(message)  # MQTT 3.1.1 has no place for a mark

    async def drain(self, name: str, carry: Carry) -> int:
        session = self._broker.session(name)
        if session is None:
            return 0
        queue, carried = session.retained_messages, 0
        self._leaving.add(name)  # it must not come back meanwhile
        try:
            await self._broker.put_out(name)
            await self._broker.settled()
            while not queue.empty():
                batch = [_delivery(each) for each in list(queue._queue)[:MOST_AT_ONCE]]  # noqa: SLF001  asyncio.Queue shows no head
                await carry(batch)
                carried += len(batch)
                for _ in batch:
                    queue.get_nowait()
                await self._broker.settled()
        finally:
            self._leaving.discard(name)
        return carried

    async def close(self) -> None:
        await self._agent.close()
        await self._broker.close()

    # ------------------------------------------------------------------ what the broker asks

    async def _authenticate(self, client_id: str, user: str, password: bytes) -> bool:
        if user == AGENT:
            return client_id == AGENT and equal(password, self._secret.encode())
        if user != client_id or user in self._leaving:
            return False
        account, once = self._accounts.get(user), self._once.get(user)
        if once is not None and equal(password, once.encode()):
            return True
        if account is not None and equal(password, account.password.encode()):
            return True
        return await self.admit(user, password)

    def _may(self, client_id: str, topic: str, action: Action) -> bool:
        if client_id == AGENT:
            return True
        account = self._accounts.get(client_id)
        if account is None:
            return False
        match action:
            case "publish":
                return any(matches(each, topic) for each in account.publish)
            case "subscribe":
                return any(within(topic, each) for each in account.subscribe)
            case "receive":
                return any(matches(each, topic) for each in account.subscribe)


def within(asked: str, allowed: str) -> bool:
    """Return whether every topic that the filter `asked` covers is covered by `allowed`."""
    levels, bounds = asked.split("/"), allowed.split("/")
    for place, bound in enumerate(bounds):
        if bound == "#":
            return True
        if place >= len(levels) or levels[place] == "#" or (bound != "+" and bound != levels[place]):
            return False
    return len(levels) == len(bounds)


def _delivery(message: Any) -> Delivery:
    return Delivery(message.topic, bytes(message.data), int(message.qos or 0), False, 0)
