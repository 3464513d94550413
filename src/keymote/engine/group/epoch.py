"""What an epoch of a group is to those who send in it: who they are, and which key each of them has (Triad-1 3.8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from keymote import cbor
from keymote.crypto.kdf import lexp
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Suite
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire.gsec import binding

MOST_SENDERS: Final = 32
_MATERIAL_SIZE: Final = 48
_KEY_SIZE: Final = 32


@dataclass(frozen=True, slots=True)
class GroupEpoch:
    """One epoch of a ring (`key` is MK) or of a root group (`key` is RK_e, `gid` gid_root, `epoch` e).

    `senders` are `(kid, sig_pk)`: the roster in its order, or whoever may send to a root group; at most 32. `own` is the
    place of this member among them, None for one that only listens. Records name their sender by its place, in a root
    group (`by_kid`) by its kid.
    """

    suite: Suite
    gid: bytes
    epoch: int
    key: Secret
    senders: Sequence[tuple[bytes, bytes]]
    own: int | None
    by_kid: bool = False

    @classmethod
    def of(
        cls,
        suite: Suite,
        gid: bytes,
        epoch: int,
        key: Secret,
        senders: Sequence[tuple[bytes, bytes]],
        own_kid: bytes,
        *,
        by_kid: bool = False,
    ) -> Self:
        """Return the epoch as the member with the credential `own_kid` sees it; CallerFault for more than 32 senders."""
        if len(senders) > MOST_SENDERS:
            raise CallerFault(f"{len(senders)} senders, an epoch has at most {MOST_SENDERS}")
        kids = [kid for kid, _ in senders]
        return cls(suite, gid, epoch, key, tuple(senders), kids.index(own_kid) if own_kid in kids else None, by_kid)

    @property
    def epoch16(self) -> int:
        """Header 10 of its records (Triad-1 8)."""
        return self.epoch & 0xFFFF

    def name_of(self, place: int) -> bytes:
        """Return header 4 of the records of a sender."""
        return self.senders[place][0] if self.by_kid else bytes((place,))

    def place_of(self, name: bytes) -> int:
        """Return the sender that header 4 names; E_UNKNOWN_ID for nobody, E_FORMAT for a name of the other kind."""
        if self.by_kid is not (len(name) == 8):
            raise PeerFault(ErrorCode.E_FORMAT, f"a sender named by {len(name)} bytes")
        place = next((at for at, (kid, _) in enumerate(self.senders) if kid == name), -1) if self.by_kid else name[0]
        if not 0 <= place < len(self.senders):
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, "no sender of this epoch has that name")
        return place

    def material(self, place: int) -> "SenderMaterial":
        """Return the key material of a sender."""
        kid = self.senders[place][0]
        made = lexp(self.key, "B/snd", cbor.encode_array(self.gid, self.epoch, kid), _MATERIAL_SIZE).expose()
        iv = made[_KEY_SIZE : _KEY_SIZE + self.suite.payload.nonce_size]
        return SenderMaterial(Secret(made[:_KEY_SIZE]), Secret(iv), binding(self.suite.id, self.gid, self.epoch, kid))


@dataclass(frozen=True, slots=True)
class SenderMaterial:
    """Of one sender in one epoch: `key` 32 bytes (128-bit ciphers take 16), `base_iv` a nonce's length.

    `bound` begins the external_aad of all its records (`wire.gsec.binding`).
    """

    key: Secret
    base_iv: Secret
    bound: bytes
