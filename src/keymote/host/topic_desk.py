"""The coordinator as the trusted system's host sees it: where rules of topics come from, and reports go."""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from keymote.engine.policy.topic_charter import TopicCharter
from keymote.engine.policy.topic_events import TopicReport

MOST_ITEMS: Final = 32
"""Reports of one batch; they always fit into what a coordinator takes."""
TOPIC_CHANGED: Final = "topic.change"
"""Kind of the event after which a manager's charter is another one; its subject is the manager's nm_id."""


class Refused(NamedTuple):
    """A report that was not believed, and will not be later; the others were taken."""

    seq: int
    why: str


class Taken(NamedTuple):
    """Every report up to `upto` has been dealt with.

    When that is more than the highest that was sent, the manager's counter has gone back (a backup was restored): it goes on
    above `upto`, with these reports too.
    """

    upto: int
    refused: tuple[Refused, ...] = ()


class TopicDesk(Protocol):
    """What a manager asks of its coordinator about topics; Unavailable while it is away.

    Reports that wait are handed in before a charter is fetched, and the event `TOPIC_CHANGED` is acknowledged when the
    charter is laid down: then the coordinator knows what there was to put an end to, and that nothing more comes of it.
    """

    async def topic_charter(self) -> TopicCharter:
        """Return all rules of this manager; one that is not there is gone. PeerFault when it is not admitted."""
        ...

    async def report_topics(self, items: Sequence[TopicReport]) -> Taken:
        """Hand in at most `MOST_ITEMS` reports that ascend by seq, oldest first; again is once."""
        ...
