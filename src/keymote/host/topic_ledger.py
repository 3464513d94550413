"""The coordinator's store as a port, the part of topics: what a transaction reads and writes of them."""

from collections.abc import Sequence
from typing import Protocol

from keymote.host.topic_register import Card, FileClient, Grant, Holder, Refusal, Session, Taking, Topic, TopicEpoch


class TopicRows(Protocol):
    """Lists are in the order of their key, start behind `after` and hold at most `limit` rows."""

    # Rules

    def topic(self, tid: bytes) -> Topic | None: ...

    def filtered(self, name: str) -> Topic | None:
        """Return the rule with this filter."""
        ...

    def topics(self, after: str, limit: int) -> Sequence[Topic]:
        """Return rules in the order of their filters."""
        ...

    def ruled_by(self, nm_id: bytes, after: str = "", limit: int = -1) -> Sequence[Topic]:
        """Return a manager's rules in the order of their filters, all where `limit` is below 0."""
        ...

    def put(self, topic: Topic) -> None:
        """Insert or update; `Taken` when another rule has this filter (constraint)."""
        ...

    def remove(self, tid: bytes) -> None:
        """Forget a rule with its grants and takings; its sessions are no rule's."""
        ...

    def count(self) -> int: ...

    # Grants

    def grants(self, tid: bytes) -> Sequence[Grant]: ...

    def grants_of(self, client: bytes) -> Sequence[Grant]: ...

    def put_grant(self, grant: Grant) -> None:
        """Insert or update; a grant of no role goes."""
        ...

    def cards(self, tid: bytes) -> Sequence[Card]: ...

    # Takings

    def add_taking(self, taking: Taking) -> None: ...

    def takings(self, tid: bytes, limit: int) -> Sequence[Taking]:
        """Return takings of a rule, the newest first."""
        ...

    def takings_of(self, client: bytes, event: int) -> Sequence[Taking]:
        """Return what was taken from a client by events behind this one."""
        ...

    def open_takings(self, nm_id: bytes) -> Sequence[Taking]:
        """Return takings of a manager's rules that are not known to be safe."""
        ...

    def unsettled(self) -> Sequence[bytes]:
        """Return the managers at which there are such takings."""
        ...

    def put_taking(self, taking: Taking) -> None: ...

    def unsafe(self) -> int:
        """Return how many takings are not known to be safe."""
        ...

    # What managers reported

    def session(self, nm_id: bytes, topic: str) -> Session | None: ...

    def sessions(self, tid: bytes, after: str, limit: int) -> Sequence[Session]:
        """Return sessions under a rule, without those that ended."""
        ...

    def sessions_at(self, nm_id: bytes) -> Sequence[Session]: ...

    def put_session(self, session: Session) -> None: ...

    def count_sessions(self, tid: bytes) -> tuple[int, int]:
        """Return how many sessions under a rule there are, and how many of them are not safe."""
        ...

    def put_epoch(self, line: TopicEpoch) -> None:
        """Enter an epoch; what was known of it and of later ones is forgotten."""
        ...

    def safe(self, nm_id: bytes, topic: str, epoch: int, at_ms: int) -> None:
        """Note when this epoch and all before it were safe, where that was not noted."""
        ...

    def epochs(self, tid: bytes, after: int, limit: int) -> Sequence[TopicEpoch]:
        """Return the log of all topics under a rule; `after` and the order are those of `id`."""
        ...

    def first_safe(self, nm_id: bytes, topic: str, after: int, version: int) -> TopicEpoch | None:
        """Return the first epoch of a topic that is safe, and is behind `after` or began under this version or a later one."""
        ...

    def ended_under(self, tid: bytes, version: int) -> Sequence[TopicEpoch]:
        """Return the epochs that began because somebody had to go, under this very version, in topics of a rule."""
        ...

    def forget_epochs(self, nm_id: bytes, topic: str) -> None: ...

    def holders(self, nm_id: bytes, topic: str) -> Sequence[Holder]: ...

    def holdings(self, nm_id: bytes, client: bytes) -> Sequence[Holder]: ...

    def holder(self, nm_id: bytes, topic: str, client: bytes) -> Holder | None: ...

    def put_holder(self, holder: Holder) -> None: ...

    def forget_holders(self, nm_id: bytes, topic: str) -> None: ...

    def reported(self, nm_id: bytes) -> int:
        """Return the highest `seq` of a manager's reports that was taken, 0 for none."""
        ...

    def put_reported(self, nm_id: bytes, upto: int) -> None: ...

    # Clients of provisioning files

    def client(self, client: bytes) -> FileClient | None: ...

    def clients(self, after: bytes, limit: int) -> Sequence[FileClient]:
        """Return clients whose manager has not forgotten them."""
        ...

    def put_client(self, client: FileClient) -> None: ...

    def refusal(self, nm_id: bytes, client: bytes) -> Refusal | None: ...

    def refusals(self, nm_id: bytes, limit: int) -> Sequence[Refusal]:
        """Return a manager's refusals, the newest first."""
        ...

    def put_refusal(self, refusal: Refusal, most: int) -> None:
        """Insert or update; of more than `most` of a manager the oldest go."""
        ...

    # Pruning

    def prune(self, before_ms: int, limit: int) -> int:
        """Forget old epochs that are safe and not their topic's newest, and sessions that ended before; return how many went."""
        ...
