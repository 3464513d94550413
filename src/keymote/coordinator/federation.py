"""Looking a device up across coordinators: one hop, bounded, and cached for two seconds."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Final, TypeVar

from keymote.coordinator.desk import Desk
from keymote.coordinator.ports import PeerLink
from keymote.coordinator.registry import Registry
from keymote.engine.queries import DeviceFound, ManagerFound
from keymote.errors import ErrorCode, KeymoteError, PeerFault, Unavailable
from keymote.wire.credential import Role

T = TypeVar("T")

ANSWER_LIFE_S: Final = 2.0
"""A revocation at another coordinator is seen by the next session that starts this much later."""
ANSWERS: Final = 1024
TIMEOUT_S: Final = 3.0
AT_ONCE: Final = 64


class Federation:
    """`find` asks the own register, then every peer at once; peers answer from their own register only (no loops)."""

    def __init__(
        self,
        desk: Desk,
        registry: Registry,
        peers: Sequence[PeerLink],
        *,
        timeout_s: float = TIMEOUT_S,
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk, self._registry, self._peers = desk, registry, tuple(peers)
        self._timeout_s, self._mono = timeout_s, mono
        self._answers: OrderedDict[bytes, tuple[float, DeviceFound]] = OrderedDict()
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def find(self, dev_id: bytes) -> DeviceFound:
        """Return where `dev_id` is, its chain verified.

        Raises:
            PeerFault: E_UNKNOWN_ID when nobody knows it, E_NOSHARE when it may not be used now, E_CRED when a peer's
                answer does not chain to the authority.
            Unavailable: not everybody answered, and of those who did nobody knows it.
        """
        try:
            return await self._registry.find(dev_id)
        except PeerFault as fault:
            if fault.code is not ErrorCode.E_UNKNOWN_ID or not self._peers:
                raise
        known = self._answers.get(dev_id)
        if known is not None and known[0] > self._mono():
            return known[1]
        async with self._slots:
            found = await self._ask_all(lambda peer: self._ask(peer, dev_id), f"device {dev_id.hex()}")
        self._answers[dev_id] = (self._mono() + ANSWER_LIFE_S, found)
        self._answers.move_to_end(dev_id)
        if len(self._answers) > ANSWERS:
            self._answers.popitem(last=False)
        return found

    async def find_manager(self, nm_id: bytes) -> ManagerFound:
        """Return who a manager is, its chain verified; never cached, because a revoked one must not call again.

        Raises:
            PeerFault: E_UNKNOWN_ID when nobody knows it, E_CRED when it is revoked or does not chain to the authority.
            Unavailable: not everybody answered, and of those who did nobody knows it.
        """
        try:
            return await self._registry.find_manager(nm_id)
        except PeerFault as fault:
            if fault.code is not ErrorCode.E_UNKNOWN_ID or not self._peers:
                raise
        async with self._slots:
            return await self._ask_all(lambda peer: self._ask_manager(peer, nm_id), f"manager {nm_id.hex()}")

    async def _ask_all(self, ask: Callable[[PeerLink], Coroutine[None, None, T]], what: str) -> T:
        asking = {asyncio.create_task(ask(peer)) for peer in self._peers}
        refusal: KeymoteError | None = None
        try:
            for answered in asyncio.as_completed(asking):
                try:
                    return await answered
                except (PeerFault, Unavailable) as fault:
                    refusal = graver(refusal, fault)
        finally:
            for task in asking:
                task.cancel()
        raise refusal or PeerFault(ErrorCode.E_UNKNOWN_ID, f"{what} is not registered anywhere")

    async def _ask(self, peer: PeerLink, dev_id: bytes) -> DeviceFound:
        found = await self._in_time(peer.find(dev_id))
        chain = [found.credential, found.cred_NM, found.cred_NC]
        credential = self._desk.identity.trust.verify(chain, Role.DEVICE, self._desk.now)
        if credential.claims.sub != dev_id:
            raise PeerFault(ErrorCode.E_CRED, "a peer coordinator answered for another device")
        return found

    async def _ask_manager(self, peer: PeerLink, nm_id: bytes) -> ManagerFound:
        found = await self._in_time(peer.find_manager(nm_id))
        credential = self._desk.identity.trust.verify([found.cred_NM, found.cred_NC], Role.MANAGER, self._desk.now)
        if credential.claims.sub != nm_id:
            raise PeerFault(ErrorCode.E_CRED, "a peer coordinator answered for another manager")
        return found

    async def _in_time(self, answer: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await answer
        except TimeoutError as error:
            raise Unavailable(f"a peer coordinator did not answer within {self._timeout_s:g} s") from error


def graver(first: KeymoteError | None, second: KeymoteError) -> KeymoteError:
    """Return which of two refusals to report: "may not be used" says most, "unknown here" least."""
    if first is None:
        return second
    return max((first, second), key=_gravity)


def _gravity(fault: KeymoteError) -> int:
    match fault:
        case PeerFault(code=ErrorCode.E_NOSHARE):
            return 3
        case PeerFault(code=ErrorCode.E_UNKNOWN_ID):
            return 0
        case PeerFault():
            return 2
        case _:
            return 1
