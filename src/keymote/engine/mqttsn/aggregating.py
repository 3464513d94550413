"""One connection to the broker for all clients whose session is a clean one (decision 0195).

Stands between the gateway, which speaks of sessions, and a broker side that connects them: of the sessions that it shares
only the gateway's own reaches the broker. Subscriptions are counted, publications carry numbers of ours. A client with a
session that lasts keeps a connection of its own, because only the broker can keep what it has not acknowledged.
"""

from dataclasses import dataclass, field

from keymote.engine.mqttsn.faces import (
    OWN,
    Arrived,
    Close,
    Closed,
    FromBroker,
    Message,
    Open,
    Opened,
    Publish,
    Published,
    Session,
    Subscribe,
    Subscribed,
    ToBroker,
    Unsubscribe,
    Unsubscribed,
)
from keymote.engine.mqttsn.topics import covers

SHARED_QOS = 0
"""What a shared subscription is granted: an acknowledgement for all would have to wait for the slowest (decision 0195)."""


@dataclass(slots=True)
class _Filter:
    """A filter that somebody has: for whom, and who asked for it after the last message that was not retained."""

    sessions: set[Session] = field(default_factory=set)
    fresh: set[Session] = field(default_factory=set)


class Aggregator:
    """Who shares the connection, and for what; sans-IO like everything here."""

    def __init__(self) -> None:
        self._shared: dict[str, Session] = {}
        self._own: dict[str, Session] = {}
        self._filters: dict[str, _Filter] = {}
        self._asked: dict[int, tuple[Session, int, str]] = {}
        self._ref = 0
        self._is_up = False

    def want(self, wish: ToBroker) -> tuple[list[ToBroker], list[FromBroker]]:
        """Return what goes on to the broker instead, and what the gateway hears at once."""
        session = wish.session
        if isinstance(wish, Open):
            return self._opening(wish)
        if self._shared.get(session.client) != session:
            if isinstance(wish, Close):
                self._own.pop(session.client, None)
            return [wish], []
        match wish:
            case Close():
                return self._left(session), []
            case Subscribe(_, ref, pattern):
                held = self._filters.setdefault(pattern, _Filter())
                held.sessions.add(session)
                held.fresh.add(session)
                return [Subscribe(OWN, self._number(session, ref, pattern), pattern, SHARED_QOS)], []
            case Unsubscribe(_, ref, pattern):
                if self._was_last(session, pattern):
                    return [Unsubscribe(OWN, self._number(session, ref, pattern), pattern)], []
                return [], [Unsubscribed(session, ref)]
            case Publish(_, ref, message):
                return [Publish(OWN, self._number(session, ref, "") if ref else 0, message)], []
            case _:
                return [], []  # nothing of a shared session has to be acknowledged

    def heard(self, item: FromBroker) -> list[FromBroker]:
        """Return what the gateway hears of what the broker said."""
        if item.session != OWN:
            return [item]
        match item:
            case Opened() | Closed():
                self._is_up = isinstance(item, Opened)
                return []
            case Arrived(_, _, message):
                return [Arrived(session, 0, message._replace(qos=SHARED_QOS)) for session in self._recipients(message)]
            case _:
                return self._answered(item)

    # ------------------------------------------------------------------

    def _opening(self, wish: Open) -> tuple[list[ToBroker], list[FromBroker]]:
        session = wish.session
        before = self._shared.get(session.client)
        leaving = [] if before is None else self._left(before)
        if not wish.clean:
            self._own[session.client] = session
            return [*leaving, wish], []
        lasting = self._own.pop(session.client, None)
        if lasting is not None:
            leaving.append(Close(lasting))
        if not self._is_up:
            return leaving, [Closed(session)]
        self._shared[session.client] = session
        return leaving, [Opened(session)]

    def _left(self, session: Session) -> list[ToBroker]:
        """Forget a client, and give back the filters that nobody else has."""
        del self._shared[session.client]
        mine = [pattern for pattern, held in self._filters.items() if session in held.sessions]
        return [Unsubscribe(OWN, 0, pattern) for pattern in mine if self._was_last(session, pattern)]

    def _was_last(self, session: Session, pattern: str) -> bool:
        """Take a filter from a client; say whether it was the last one that had it."""
        held = self._filters.get(pattern, _Filter())
        had = session in held.sessions
        held.sessions.discard(session)
        held.fresh.discard(session)
        if had and not held.sessions:
            del self._filters[pattern]
            return True
        return False

    def _number(self, session: Session, ref: int, pattern: str) -> int:
        self._ref += 1
        self._asked[self._ref] = session, ref, pattern
        return self._ref

    def _recipients(self, message: Message) -> list[Session]:
        """Return who wants a message, each once; a retained one is for those who just subscribed."""
        found: dict[Session, None] = {}
        for pattern, held in self._filters.items():
            if covers(pattern, message.topic):
                found |= dict.fromkeys(held.fresh if message.retain else held.sessions)
                if not message.retain:
                    held.fresh.clear()
        return sorted(found)

    def _answered(self, item: Published | Subscribed | Unsubscribed) -> list[FromBroker]:
        asked = self._asked.pop(item.ref, None)
        if asked is None:
            return []
        session, ref, pattern = asked
        if isinstance(item, Subscribed):
            if item.qos is None:
                self._was_last(session, pattern)
            return [Subscribed(session, ref, None if item.qos is None else SHARED_QOS)]
        return [item._replace(session=session, ref=ref)]
