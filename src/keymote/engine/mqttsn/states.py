"""In which states a client of the gateway can be, and what leads from one to another (MQTT-SN 1.2, 6.14).

The table is the only place that says so: `moved` is how every step changes a state, and the diagram of
docs/protocols/states.md is drawn from it.
"""

from collections.abc import Mapping
from enum import StrEnum, unique
from types import MappingProxyType
from typing import Final


@unique
class State(StrEnum):
    DISCONNECTED = "Disconnected"
    AWAIT_WILL_TOPIC = "AwaitWillTopic"
    AWAIT_WILL_MESSAGE = "AwaitWillMessage"
    AWAIT_BROKER = "AwaitBroker"
    ACTIVE = "Active"
    ASLEEP = "Asleep"
    AWAKE = "Awake"
    LOST = "Lost"


@unique
class Event(StrEnum):
    CONNECT = "CONNECT"
    CONNECT_WITH_WILL = "CONNECT with will"
    RESUME = "CONNECT, broker connected"
    WILL_TOPIC = "WILLTOPIC"
    NO_WILL = "empty WILLTOPIC"
    WILL_MESSAGE = "WILLMSG"
    OPENED = "broker accepts"
    CLOSED = "broker refuses"
    SLEEP = "DISCONNECT with duration"
    DISCONNECT = "DISCONNECT"
    PING = "PINGREQ with client id"
    DELIVERED = "all delivered"
    UNANSWERED = "no acknowledgement"
    SILENCE = "silence"


def _table() -> dict[tuple[State, Event], State]:
    s, e = State, Event
    table = {
        (s.AWAIT_WILL_TOPIC, e.WILL_TOPIC): s.AWAIT_WILL_MESSAGE,
        (s.AWAIT_WILL_TOPIC, e.NO_WILL): s.AWAIT_BROKER,
        (s.AWAIT_WILL_MESSAGE, e.WILL_TOPIC): s.AWAIT_WILL_MESSAGE,
        (s.AWAIT_WILL_MESSAGE, e.WILL_MESSAGE): s.AWAIT_BROKER,
        (s.AWAIT_BROKER, e.OPENED): s.ACTIVE,
        (s.ACTIVE, e.SLEEP): s.ASLEEP,
        (s.ASLEEP, e.SLEEP): s.ASLEEP,
        (s.AWAKE, e.SLEEP): s.ASLEEP,
        (s.ASLEEP, e.PING): s.AWAKE,
        (s.AWAKE, e.PING): s.AWAKE,
        (s.AWAKE, e.DELIVERED): s.ASLEEP,
        (s.AWAKE, e.UNANSWERED): s.ASLEEP,
    }
    for state in (s.AWAIT_WILL_TOPIC, s.AWAIT_WILL_MESSAGE, s.ACTIVE, s.ASLEEP, s.AWAKE):
        table[state, e.RESUME] = s.ACTIVE
    for state in s:
        table[state, e.CONNECT] = s.AWAIT_BROKER
        table[state, e.CONNECT_WITH_WILL] = s.AWAIT_WILL_TOPIC
    for state in (s.AWAIT_WILL_TOPIC, s.AWAIT_WILL_MESSAGE, s.AWAIT_BROKER):
        for event in (e.CLOSED, e.DISCONNECT, e.SILENCE):
            table[state, event] = s.DISCONNECTED
    for state in (s.ACTIVE, s.ASLEEP, s.AWAKE):
        table[state, e.SILENCE] = s.LOST
        for event in (e.CLOSED, e.DISCONNECT):
            table[state, event] = s.DISCONNECTED
    return table


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = MappingProxyType(_table())

GONE: Final = frozenset({State.DISCONNECTED, State.LOST})
CONNECTED: Final = frozenset({State.ACTIVE, State.ASLEEP, State.AWAKE})
SPOKEN_TO: Final = frozenset({State.ACTIVE, State.AWAKE})
"""Messages may be sent to the client."""


def moved(state: State, event: Event) -> State | None:
    """Return the state after `event`; None when it means nothing in `state`."""
    return TRANSITIONS.get((state, event))
