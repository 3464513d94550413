"""What a link is keyed with: one chain of epochs, each with its pseudonym and a key for either direction (Triad-1 1.7)."""

from dataclasses import dataclass, field

from keymote import cbor
from keymote.crypto.kdf import expand, lexp
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.engine.base import CellKey

_MT_LINK = 18


@dataclass(frozen=True, slots=True)
class EpochKeys:
    """One epoch of a link: what follows from K_link(le), which itself is forgotten (LK-15), and `following`, K_link(le + 1).

    `send_aad` and `receive_aad` are the associated data of records up to the sequence number, which ends them:
    CBOR["TRIAD1", 18, suite, dev_id, le, dir, seq] without seq.
    """

    le: int
    lid: bytes
    send: Secret
    receive: Secret
    following: Secret
    send_aad: bytes
    receive_aad: bytes


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """One end of a link: `id` is that of its key, `own_part` 0 sends D->N, `field_id` stands in the associated data.

    `origin` is the first sequence number of each epoch: 0, but where a backup was put back (docs/decisions/0005).
    """

    id: bytes
    peer_id: bytes
    field_id: bytes
    own_part: int
    suite: Suite
    origin: int = 0
    key: CellKey = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", CellKey("link", self.id))

    def epoch(self, K_link: Secret, le: int) -> EpochKeys:
        """Return epoch `le`, whose key is `K_link`."""
        ctx = cbor.encode_array(self.field_id, le)
        keys = lexp(K_link, "A/lnk-D", ctx), lexp(K_link, "A/lnk-N", ctx)
        lid = expand(K_link, "A/lid", cbor.encode_array(le), 8)
        following = lexp(K_link, "A/link-ratchet", cbor.encode_array(le + 1))
        return self.stored(le, lid, keys[self.own_part], keys[1 - self.own_part], following)

    def stored(self, le: int, lid: bytes, send: Secret, receive: Secret, following: Secret) -> EpochKeys:
        """Return epoch `le` of these parts, which cannot be computed any more."""
        aad = cbor.encode_array("TRIAD1", _MT_LINK, self.suite.id, self.field_id, le, 0, 0)[:-2]
        aads = aad + cbor.uint(0), aad + cbor.uint(1)
        own = self.own_part
        return EpochKeys(le, lid, send, receive, following, aads[own], aads[1 - own])

    def after(self, keys: EpochKeys) -> EpochKeys:
        """Return the following epoch; the keys of the one before it cannot be computed from it."""
        return self.epoch(keys.following, keys.le + 1)
