"""The coordinator's store as a port: transactions over the register, the outbox and the audit log."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from keymote.engine.audit import Link
from keymote.host.group_ledger import GroupRows, RecordRows
from keymote.host.register import (
    Acknowledgement,
    CredentialState,
    Device,
    DeviceState,
    Event,
    Head,
    Manager,
    Registered,
    Revocation,
    RevocationKind,
)
from keymote.host.topic_ledger import TopicRows

T = TypeVar("T")


class Transaction(Protocol):
    """All reads and writes of one unit of work; what it wrote becomes durable together or not at all.

    Lists are in the order of their key, start behind `after` and hold at most `limit` rows.
    """

    @property
    def groups(self) -> GroupRows:
        """The part of groups."""
        ...

    @property
    def records(self) -> RecordRows:
        """The encrypted logs of groups."""
        ...

    @property
    def topics(self) -> TopicRows:
        """The part of topics."""
        ...

    def manager(self, nm_id: bytes) -> Manager | None: ...

    def managers(self, after: bytes, limit: int) -> Sequence[Manager]: ...

    def active_managers(self) -> Sequence[bytes]: ...

    def put_manager(self, manager: Manager) -> None:
        """Insert or update; `Taken` when another manager has this name (constraint)."""
        ...

    def device(self, dev_id: bytes) -> Device | None: ...

    def devices(
        self, after: bytes, limit: int, *, state: DeviceState | None = None, nm_id: bytes | None = None
    ) -> Sequence[Device]: ...

    def put_device(self, device: Device) -> None: ...

    def count_devices(self) -> Mapping[DeviceState, int]: ...

    def credential(self, serial: bytes) -> Registered | None: ...

    def active_credential(self, sub: bytes) -> Registered | None: ...

    def renewed_credentials(self, sub: bytes) -> Sequence[Registered]:
        """Return the credentials of this subject that were renewed, the newest first, at most four."""
        ...

    def add_credential(self, credential: Registered) -> None:
        """Enter a credential; `Taken` when its serial or an active one of its subject is there (constraint)."""
        ...

    def set_credential(self, serial: bytes, state: CredentialState) -> None: ...

    def counter(self, name: str) -> int:
        """Return the value of a counter, 0 before its first step."""
        ...

    def count(self, name: str, least: int = 0) -> int:
        """Step a counter by one, or to `least` if that is more, and return its new value; never the same twice."""
        ...

    def add_revocation(
        self,
        kind: RevocationKind,
        subject: bytes,
        reason: int,
        ts: int,
        by: str,
        status_epoch: int,
        event: int,
        evidence: bytes = b"",
    ) -> Revocation: ...

    def revocations(self, after: int, limit: int) -> Sequence[Revocation]: ...

    def revocation_of(self, kind: RevocationKind, subject: bytes) -> Revocation | None:
        """Return the newest revocation of this subject."""
        ...

    def add_event(self, at_ms: int, kind: str, subject: bytes, data: Mapping[str, str | int]) -> Event: ...

    def event(self, event: int) -> Event | None: ...

    def events(self, after: int, limit: int) -> Sequence[Event]: ...

    def last_event(self) -> int: ...

    def add_acknowledgement(self, acknowledgement: Acknowledgement) -> None: ...

    def acknowledgements(self, event: int) -> Sequence[Acknowledgement]:
        """Return for each manager its first acknowledgement that covers `event`."""
        ...

    def acknowledged_at(self, nm_id: bytes, event: int) -> int | None:
        """Return when (UTC milliseconds) this manager first said that it had acted on `event`, None while it has not."""
        ...

    def prune_outbox(self, upto: int, before_ms: int, limit: int) -> int:
        """Forget events up to `upto`, older than `before_ms`, and acknowledgements that only covered such.

        What a revocation refers to stays, and the acknowledgements that tell its time to safe. Each kind is pruned of at
        most `limit` rows, oldest first; return how many rows went.
        """
        ...

    def append_audit(self, entry: bytes) -> Link: ...

    def audit(self, after: int, limit: int) -> Sequence[Link]: ...

    def last_audit(self) -> Link | None: ...

    def add_head(self, head: Head) -> None: ...

    def heads(self) -> Sequence[Head]: ...


class Ledger(Protocol):
    """The coordinator's store. Work is a function of a transaction; it runs once, away from the event loop."""

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Return what `work` returned, once all it wrote is on disk; what it raises undoes it.

        Raises:
            Unavailable: the disk is full or the database does not answer; nothing was written.
        """
        ...

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Return what `work` returned; it must not write. Raises Unavailable as `write` does."""
        ...

    async def close(self) -> None: ...
