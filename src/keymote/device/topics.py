"""Topics as an application of one client holds them: keys are asked for here, and `keys` protects and opens.

    topics = device.topics
    await topics.ready_to_publish("ward/7/hr")
    payload = topics.keys.protect("ward/7/hr", b"72")

Rotations are installed as they come, and a key that is missing is asked for again, ever more rarely.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from keymote.device.faults import NotReady, refused_topic
from keymote.device.group import Kept
from keymote.device.topic_keys import Late, NeedsKey, Reading, TopicKeys
from keymote.errors import CallerFault, ErrorCode, PeerFault, Unavailable
from keymote.wire.topic import CONNECT, PUBLISH, SUBSCRIBE

if TYPE_CHECKING:
    from keymote.crypto.secret import Secret
    from keymote.crypto.suite import SigningKey, VerifyKey
    from keymote.engine.base import Command, Now, Report
    from keymote.engine.topic.faces import KeyTaken

READY_S: Final = 30.0
AGAIN_S: Final = 2.0
"""Pause before a key is asked for again that was denied, or did not open what waits; twice as long each time."""
LONGEST_AGAIN_S: Final = 60.0
MOST_ASKED: Final = 1024
"""Topics and roles of which it is remembered when they were asked for; those that gave no key go first."""
_PATIENT: Final = (ErrorCode.E_TIMEOUT, ErrorCode.E_LIMIT, ErrorCode.E_BUSY)
"""Refusals that may end by themselves."""


class TopicNode(Protocol):
    """What topics need of the node that they belong to."""

    def why_no_chain(self) -> Exception | None:
        """Return why this client can ask for no key; None when it can."""
        ...

    async def order_chain(self, command: "Command") -> "Sequence[Report]":
        """Hand a command to this client's chain; what comes of it is heard as reports."""
        ...


class BrokerTicket(NamedTuple):
    """What opens the home broker: `ticket` for it, and the key that it holds, for `life_s` seconds."""

    K_home: "Secret"
    ticket: bytes
    life_s: int


class _Wish(NamedTuple):
    topic: str
    role: int


@dataclass(slots=True)
class _Asking:
    """What became of a wish: how many keys were taken, why none came last, and when it may be asked for again.

    `waiting`: calls that wait for its key. `timer`: it will be asked for again, if the key is still missing then.
    """

    pause_s: float
    taken: int = 0
    denied: ErrorCode | None = None
    not_before: float = 0.0
    waiting: int = 0
    timer: asyncio.TimerHandle | None = None
    newest: tuple[bytes, int] = (b"", 0)
    anew: bool = False
    """A new epoch is waited for: the key of `newest`, a sess and an epoch, does not help."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def may_end(self) -> bool:
        """Whether the last refusal may end by itself."""
        return self.denied in _PATIENT

    def wake(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


class Topics:
    """The topics of one client; see `Device.topics`. Belongs to the thread of the running loop, `keys` to any."""

    def __init__(
        self,
        node: TopicNode,
        now: "Callable[[], Now]",
        verify: "Callable[[bytes], VerifyKey] | None" = None,
        signing: "SigningKey | None" = None,
        again_s: float = AGAIN_S,
    ) -> None:
        self._node = node
        self._now = now
        self._signing = signing
        self._again_s = again_s
        self._signed: set[str] = set()
        self._asking: dict[_Wish, _Asking] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._ticket: BrokerTicket | None = None
        self._closed = False
        self.keys: Final = TopicKeys(now, verify)
        self.opened: Final[Kept[Reading]] = Kept()
        """Readings that waited for a key and that nobody else was called with."""

    # ------------------------------------------------------------------ what an application wants

    async def ready_to_publish(self, topic: str, timeout_s: float = READY_S, *, signed: bool = False) -> None:
        """Return when `keys.protect` works for this topic. `signed`: the topic's policy says that readings are countersigned.

        Raises:
            NotReady: not enrolled, or the manager does not answer, which may also mean that it refuses.
            Revoked: the manager refuses.
            CallerFault: this client has no chain with its manager, or nothing to sign with.
        """
        if signed:
            if self._signing is None:
                raise CallerFault("this client has no key to sign with", do="publish where the policy is mac")
            self._signed.add(topic)
        if not self.keys.publishes(topic):
            await self._obtain(_Wish(topic, PUBLISH), timeout_s)

    async def ready_to_subscribe(self, topic: str, timeout_s: float = READY_S) -> None:
        """Return when this client has the key of a concrete topic, of which there may be no publisher yet; errors as above."""
        if self._of(_Wish(topic, SUBSCRIBE)).taken == 0:
            await self._obtain(_Wish(topic, SUBSCRIBE), timeout_s)

    async def ticket(self, timeout_s: float = READY_S) -> BrokerTicket:
        """Return a new ticket for this client's home broker; errors as `ready_to_publish`."""
        await self._obtain(_Wish("", CONNECT), timeout_s)
        assert self._ticket is not None  # set before who waits is woken
        return self._ticket

    async def protect(self, topic: str, plaintext: bytes, timeout_s: float = READY_S) -> bytes:
        """As `keys.protect`, after waiting for a key when there is none or it is used up."""
        while True:
            try:
                return self.keys.protect(topic, plaintext)
            except NeedsKey:
                await self._obtain(_Wish(topic, PUBLISH), timeout_s)

    def unprotect(self, topic: str, data: bytes, late: Late | None = None) -> Reading:
        """As `keys.unprotect`; a key that is missing is asked for, and the reading comes by `late`, else by `opened`."""
        try:
            return self.keys.unprotect(topic, data, late)
        except NeedsKey as need:
            self.ask(need)
            raise

    def ask(self, need: NeedsKey) -> None:
        """Ask for a key that was missing, unless it was asked for a moment ago; from any thread."""
        wish = _Wish(need.topic, PUBLISH if need.publish else SUBSCRIBE)
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._ask_soon(wish, anew=need.anew)
        elif not self._closed:
            self._loop.call_soon_threadsafe(partial(self._ask_soon, wish, anew=need.anew))

    def end(self, topic: str) -> None:
        """Forget the keys of a topic."""
        self.keys.end(topic)
        self._signed.discard(topic)
        for role in (PUBLISH, SUBSCRIBE):
            asking = self._of(_Wish(topic, role))
            asking.taken, asking.anew = 0, False

    # ------------------------------------------------------------------ asking

    def _of(self, wish: _Wish) -> _Asking:
        asking = self._asking.get(wish)
        if asking is None:
            self._make_room()
            asking = self._asking[wish] = _Asking(self._again_s)
        return asking

    def _make_room(self) -> None:
        """Forget the oldest wish that gave no key and that nobody waits for: anybody may name topics that there are not."""
        if len(self._asking) >= MOST_ASKED:
            idle = (wish for wish, each in self._asking.items() if not (each.taken or each.waiting or each.timer))
            oldest = next(idle, None)
            if oldest is not None:
                del self._asking[oldest]

    async def _obtain(self, wish: _Wish, timeout_s: float) -> None:
        """Ask until a key is taken that was not there before."""
        asking = self._of(wish)
        before, denied = asking.taken, ErrorCode.E_TIMEOUT
        asking.waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                while asking.taken == before:
                    denied = await self._outcome(wish, asking) or denied
                    if denied not in _PATIENT:
                        break
                else:
                    return
        except TimeoutError as error:
            raise refused_topic(denied, wish.topic, wish.role) from error
        finally:
            asking.waiting -= 1
        raise refused_topic(denied, wish.topic, wish.role)

    async def _outcome(self, wish: _Wish, asking: _Asking) -> ErrorCode | None:
        """Ask once, and return when the key is there (None) or was denied; after a pause where asking again may help."""
        if self._closed:
            raise NotReady("the client was stopped", do="open it again")
        asking.denied, changed = None, asking.changed
        await self._order(wish)
        await changed.wait()
        if asking.may_end:
            await asyncio.sleep(self._again_s)
        return asking.denied

    async def _order(self, wish: _Wish) -> None:
        from keymote.engine.base import Refused
        from keymote.engine.topic.faces import AskForKey

        why = self._node.why_no_chain()
        if why is not None:
            raise why
        for report in await self._node.order_chain(AskForKey(wish.topic, wish.role)):
            if isinstance(report, Refused):
                raise refused_topic(report.code, wish.topic, wish.role)

    def _ask_soon(self, wish: _Wish, *, anew: bool = False) -> None:
        """Ask in the background; what was asked for a moment ago is asked for again after a pause, if it is missing then.

        `anew`: a new epoch is wanted, which the manager begins for who asks again when the present one is a minute old.
        """
        asking, mono = self._of(wish), self._now().mono
        asking.anew = asking.anew or anew
        if self._closed or asking.timer is not None:
            return
        if mono < asking.not_before:
            asking.timer = self._loop.call_later(asking.not_before - mono, self._ask_again, wish)
            return
        asking.not_before = mono + asking.pause_s
        asking.pause_s = min(2 * asking.pause_s, LONGEST_AGAIN_S)
        task = self._loop.create_task(self._quietly(wish))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ask_again(self, wish: _Wish) -> None:
        self._of(wish).timer = None
        if self._misses(wish):
            self._ask_soon(wish)

    def _misses(self, wish: _Wish) -> bool:
        """Tell whether a new epoch is waited for, readings wait for this key, or nothing can be published without it."""
        if self._of(wish).anew:
            return True
        return not self.keys.publishes(wish.topic) if wish.role == PUBLISH else bool(self.keys.waits().get(wish.topic))

    async def _quietly(self, wish: _Wish) -> None:
        with contextlib.suppress(CallerFault, PeerFault, Unavailable):  # whoever waits for the key hears why
            await self._order(wish)

    # ------------------------------------------------------------------ what the node hears

    def heard(self, report: "Report") -> None:
        """Take in what the chain reports."""
        from keymote.engine.topic.faces import KeyDenied, KeyTaken, TicketTaken

        match report:
            case KeyTaken():
                self._take(report)
            case TicketTaken(K_home, ticket, life_s):
                self._ticket = BrokerTicket(K_home, ticket, life_s)
                self._satisfied(self._of(_Wish("", CONNECT)))
            case KeyDenied(topic, role, code):
                asking = self._of(_Wish(topic, role))
                asking.denied = code
                asking.wake()
                if asking.may_end and role == SUBSCRIBE and self._misses(_Wish(topic, role)):
                    self._ask_soon(_Wish(topic, role))

    def _take(self, taken: "KeyTaken") -> None:
        topic, role = taken.topic, taken.role
        signing = self._signing if topic in self._signed else None
        asking = self._of(_Wish(topic, role))
        try:
            oldest = taken.grant.oldest or 0
            readings = self.keys.take(topic, role, taken.grant, taken.publishers, signing, oldest=oldest)
        except PeerFault as fault:
            asking.denied = fault.code
            asking.wake()
            return
        for reading in readings:
            self.opened.put(reading)
        self._satisfied(asking)
        sess, epoch = asking.newest
        if taken.grant.sess != sess or taken.grant.epoch > epoch:
            asking.newest, asking.anew = (taken.grant.sess, taken.grant.epoch), False
        if role == SUBSCRIBE and self._misses(_Wish(topic, role)):
            self._ask_soon(_Wish(topic, role))  # the key of another publisher, or of another epoch, may be on its way
        else:
            asking.pause_s, asking.not_before = self._again_s, 0.0

    @staticmethod
    def _satisfied(asking: _Asking) -> None:
        asking.taken += 1
        asking.wake()

    def close(self) -> None:
        """Let those who wait go."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        for asking in self._asking.values():
            if asking.timer is not None:
                asking.timer.cancel()
            asking.wake()
        self.opened.end()


class SyncTopics:
    """`Topics` for programs without an event loop; methods and errors are the same."""

    def __init__(self, topics: Topics, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._topics = topics
        self._run = run
        self.keys: Final = topics.keys

    def ready_to_publish(self, topic: str, timeout_s: float = READY_S, *, signed: bool = False) -> None:
        """As `Topics.ready_to_publish`."""
        self._run(self._topics.ready_to_publish(topic, timeout_s, signed=signed))

    def ready_to_subscribe(self, topic: str, timeout_s: float = READY_S) -> None:
        """As `Topics.ready_to_subscribe`."""
        self._run(self._topics.ready_to_subscribe(topic, timeout_s))

    def ticket(self, timeout_s: float = READY_S) -> BrokerTicket:
        """As `Topics.ticket`."""
        ticket: BrokerTicket = self._run(self._topics.ticket(timeout_s))
        return ticket

    def protect(self, topic: str, plaintext: bytes, timeout_s: float = READY_S) -> bytes:
        """As `Topics.protect`."""
        data: bytes = self._run(self._topics.protect(topic, plaintext, timeout_s))
        return data

    def unprotect(self, topic: str, data: bytes, late: Late | None = None) -> Reading:
        """As `Topics.unprotect`; may be called from any thread."""
        return self._topics.unprotect(topic, data, late)

    def ask(self, need: NeedsKey) -> None:
        """As `Topics.ask`."""
        self._topics.ask(need)
