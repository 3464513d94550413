"""One epoch's key in use: this member's numbers, and what came from each of the others (Triad-1 3.8).

Two windows stand for each sender. Every member can compute every sender's key, so it can spend numbers in another's name;
it cannot sign in that name. Were signed and other records judged by one window, a member could shut out a controller's
commands with one record of the highest number (docs/decisions/0150).
"""

from typing import Final, NamedTuple, Self

from keymote.crypto.suite import SigningKey, VerifyKey
from keymote.engine.group.epoch import GroupEpoch, SenderMaterial
from keymote.engine.link_cell import Window
from keymote.engine.pairwise.record import MOST_FAILURES, MOST_RECORDS
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.gsec import (
    Encrypt0,
    check_countersignature,
    countersign,
    enc_structure,
    external_aad,
    write,
)

BLOCK: Final = 64
"""Own numbers that one write reserves."""
HEARD_BLOCK: Final = 16
"""Numbers of another's records without countersignature that one write covers: so many are lost to a restart."""
WINDOW: Final = 64
UNUSED: Final = Window(size=WINDOW)
_FLOOR_SIZE: Final = 3
_FLOORS_SIZE: Final = 2 * _FLOOR_SIZE


class Channel(NamedTuple):
    """What came from one sender. `key` is its public key, parsed at its first signed record."""

    material: SenderMaterial
    signed: Window = UNUSED
    unsigned: Window = UNUSED
    failures: int = 0
    key: VerifyKey | None = None

    def window(self, *, signed: bool) -> Window:
        return self.signed if signed else self.unsigned

    def with_seq(self, seq: int, key: VerifyKey | None) -> "Channel":
        """Return the channel after an accepted record; `key` verified it, None when it was not signed."""
        if key is None:
            return self._replace(unsigned=self.unsigned.with_seq(seq))
        return self._replace(signed=self.signed.with_seq(seq), key=key)


class Traffic(NamedTuple):
    """An epoch in use. `own`: this member's key material, derived at its first record, as that of others is at theirs.

    `tx_reserved` and `floors` are its durable part: own numbers below the first, and those below a sender's two floors
    (signed, unsigned; 3 bytes each, in the order of the senders), are spent after a restart.
    """

    epoch: GroupEpoch
    own: SenderMaterial | None
    tx_next: int
    tx_reserved: int
    channels: tuple[Channel | None, ...]
    floors: bytes

    @classmethod
    def begin(cls, epoch: GroupEpoch) -> Self:
        """Return an epoch of which nothing was sent or received."""
        count = len(epoch.senders)
        return cls(epoch, None, 0, BLOCK, (None,) * count, bytes(_FLOORS_SIZE * count))

    # ------------------------------------------------------------------ sending

    def send(self, signing: SigningKey, plaintext: bytes, resource: str, *, signed: bool) -> tuple["Traffic", bytes]:
        """Return the next record of this member, whose number the durable part covers.

        Raises:
            PeerFault: E_STATE for a listener, E_LIMIT after 2^20 records: then this member is silent until the next epoch.
        """
        epoch, seq = self.epoch, self.tx_next
        if epoch.own is None:
            raise PeerFault(ErrorCode.E_STATE, "this node only listens to the group")
        if seq >= MOST_RECORDS:
            raise PeerFault(ErrorCode.E_LIMIT, "2^20 records sent in this epoch", do="rekey the group")
        own = self.own or epoch.material(epoch.own)
        aad = external_aad(own.bound, seq, resource, signed=signed)
        ciphertext = epoch.suite.seal_group(own.key, own.base_iv.expose(), seq, enc_structure(aad), plaintext)
        countersignature = countersign(signing, aad, ciphertext) if signed else None
        record = Encrypt0(epoch.name_of(epoch.own), seq, epoch.epoch16, countersignature, ciphertext)
        reserved = self.tx_reserved if seq < self.tx_reserved else seq + BLOCK
        return self._replace(own=own, tx_next=seq + 1, tx_reserved=reserved), write(record)

    # ------------------------------------------------------------------ receiving

    def receive(self, place: int, record: Encrypt0, resource: str) -> tuple["Traffic", bytes | PeerFault]:
        """Return the plaintext of a record of the sender at `place`; a forged one counts and is returned as its fault.

        The tag is checked before the countersignature, and the window moves after both.

        Raises:
            PeerFault: E_REPLAY, E_LIMIT or E_AUTH (countersignature), with nothing changed.
        """
        if place == self.epoch.own:
            raise PeerFault(ErrorCode.E_REPLAY, "a record of our own")
        channel = self.channels[place] or Channel(self.epoch.material(place))
        signed = record.countersignature is not None
        if record.seq >= MOST_RECORDS or channel.failures >= self.most_failures:
            raise PeerFault(ErrorCode.E_LIMIT, "this sender's key is used up", do="rekey the group")
        if not channel.window(signed=signed).accepts(record.seq):
            raise PeerFault(ErrorCode.E_REPLAY, f"record {record.seq} was opened before or is too old")
        material, suite = channel.material, self.epoch.suite
        aad = external_aad(material.bound, record.seq, resource, signed=signed)
        base_iv = material.base_iv.expose()
        try:
            plaintext = suite.open_group(material.key, base_iv, record.seq, enc_structure(aad), record.ciphertext)
        except PeerFault as fault:
            return self._with(place, channel._replace(failures=channel.failures + 1), self.floors), fault
        key = None
        if record.countersignature is not None:
            key = channel.key or suite.verify_key(self.epoch.senders[place][1])
            check_countersignature(key, aad, record.ciphertext, record.countersignature)
        floors = _raised(self.floors, place, record.seq, signed=signed)
        return self._with(place, channel.with_seq(record.seq, key), floors), plaintext

    @property
    def most_failures(self) -> int:
        """Forged records after which a sender's key is given up (Triad-1 1.8)."""
        return MOST_FAILURES[self.epoch.suite.payload.tag_size]

    def failures(self, place: int) -> int:
        """Return how many forged records came in a sender's name."""
        channel = self.channels[place]
        return 0 if channel is None else channel.failures

    def _with(self, place: int, channel: Channel, floors: bytes) -> "Traffic":
        channels = (*self.channels[:place], channel, *self.channels[place + 1 :])
        return self._replace(channels=channels, floors=floors)

    # ------------------------------------------------------------------ across a restart

    def durable(self) -> tuple[int, bytes]:
        """Return what has to be on disk before anything else leaves: at most 196 bytes."""
        return self.tx_reserved, self.floors

    @classmethod
    def resume(cls, epoch: GroupEpoch, tx_reserved: int, floors: bytes) -> Self:
        """Return the epoch after a restart: own numbers go on at the next block, others' below their floors are refused."""
        begun = cls.begin(epoch)
        channels = tuple(
            Channel(epoch.material(place), _from(signed), _from(unsigned)) if signed or unsigned else None
            for place, (signed, unsigned) in enumerate(_floors(floors))
        )
        return begun._replace(tx_next=tx_reserved, tx_reserved=tx_reserved, channels=channels, floors=floors)


def _raised(floors: bytes, place: int, seq: int, *, signed: bool) -> bytes:
    """Return the floors after a record was accepted: exact for signed ones, in blocks for others."""
    at = _FLOORS_SIZE * place + (0 if signed else _FLOOR_SIZE)
    if seq < int.from_bytes(floors[at : at + _FLOOR_SIZE], "big"):
        return floors
    floor = seq + 1 if signed else (seq // HEARD_BLOCK + 1) * HEARD_BLOCK
    return floors[:at] + floor.to_bytes(_FLOOR_SIZE, "big") + floors[at + _FLOOR_SIZE :]


def _floors(floors: bytes) -> list[tuple[int, int]]:
    parts = [int.from_bytes(floors[at : at + _FLOOR_SIZE], "big") for at in range(0, len(floors), _FLOOR_SIZE)]
    return list(zip(parts[::2], parts[1::2], strict=True))


def _from(floor: int) -> Window:
    """Return the window of a sender all of whose numbers below `floor` are spent."""
    return Window(floor - 1, (1 << WINDOW) - 1 if floor else 0, WINDOW)
