"""What the wrappers of MQTT libraries share: whom they ask for keys, and what they refuse for its own sake."""

from collections.abc import Callable, Iterable
from typing import Protocol

from keymote.engine.topic.readings import NeedsKey, Reading
from keymote.errors import CallerFault

SHARED: str = "$share/"


class Keys(Protocol):
    """`keymote.device.topic_keys.TopicKeys`, as far as a wrapper needs it."""

    def protect(self, topic: str, plaintext: bytes) -> bytes: ...

    def unprotect(self, topic: str, data: bytes, late: Callable[[Reading], None] | None = None) -> Reading: ...


class Asking(Protocol):
    """Who keeps topics' keys and asks for them: `Topics` and `SyncTopics` of `keymote.device.topics`, or a program's own."""

    @property
    def keys(self) -> Keys: ...

    def ask(self, need: NeedsKey) -> None:
        """Ask for what is missing. Returns at once, may come from any thread, and again and again for the same topic."""


class Topics(Asking, Protocol):
    """One whose publishers can wait."""

    async def ready_to_publish(self, topic: str) -> None:
        """Ask for a key to publish here and return when there is one; raise what an application can act upon."""


class GivenKeys:
    """`Topics` for keys that somebody brings: nothing is asked for, what is missing is an error."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys

    async def ready_to_publish(self, topic: str) -> None:
        raise NeedsKey(topic, "no key to publish here", publish=True)

    def ask(self, need: NeedsKey) -> None:
        pass


def plaintext_of(payload: object) -> bytes:
    """Return the bytes of whatever the libraries take as a payload."""
    match payload:
        case bytes():
            return payload
        case None:
            return b""
        case bytearray():
            return bytes(payload)
        case str():
            return payload.encode()
        case int() | float():
            return str(payload).encode()
    raise TypeError("payload must be a string, bytearray, int, float or None.")


def check_topic(topic: str) -> None:
    """Refuse what hides the topic that a reading is protected for."""
    if not topic:
        raise CallerFault("a topic alias hides the topic of a reading", do="name the topic")


def check_filters(filters: Iterable[object]) -> None:
    """Refuse shared subscriptions: each subscriber gets some of the readings and takes the rest for lost, E_SKIP after 256."""
    for item in filters:
        if str(item).startswith(SHARED):
            what = f"{item}: a shared subscription scatters a publisher's readings, and their keys follow one another"
            raise CallerFault(what, do="subscribe without $share, or give each worker topics of its own")
