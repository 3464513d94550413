"""What a node brings into its groups: its signature key, whom it trusts, and whether it knows the time."""

from dataclasses import dataclass

from keymote.crypto.suite import SigningKey, Suite
from keymote.engine.base import Now
from keymote.engine.chain import Trust
from keymote.engine.group.charter import Keys


@dataclass(frozen=True, slots=True)
class Party:
    """A member or a gateway. A node without a clock writes 0 into timestamps and judges none (Triad-1 1.13).

    `generation` counts how often this node was restored from a backup.
    """

    signing: SigningKey
    trust: Trust
    has_clock: bool
    generation: int = 0

    @property
    def keys(self) -> Keys:
        """Look up a parsed signature key; each is examined once while the node remembers it."""
        return self.trust.key

    @property
    def suite(self) -> Suite:
        """The one suite of this node's key, and so of every group that it may belong to (Triad-1 8)."""
        return self.trust.suite(self.signing.suite_id)

    def wall(self, now: Now) -> int | None:
        """Return the time to judge by; None without a clock."""
        return now.wall if self.has_clock else None

    def timestamp(self, now: Now) -> int:
        """Return the time to write into a message."""
        return now.wall if self.has_clock else 0
