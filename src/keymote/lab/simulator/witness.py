"""What nobody in the protocol can see: every ephemeral drawn, every nonce used, every plaintext that came out."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from keymote.crypto.aead import Aead
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import Point, Suite


@dataclass(slots=True)
class Witness:
    """What the suites of one world have done.

    `scalars` and `points` in the order in which they were drawn at random. `sealed`: SHA-256 of key, nonce and algorithm
    -> SHA-256 of what was encrypted under them. `reused` names the cases in which that was a second, different message.
    A power loss takes back what was encrypted in its unit of work: nobody will ever see it.
    """

    scalars: list[bytes] = field(default_factory=list)
    points: list[bytes] = field(default_factory=list)
    sealed: dict[bytes, bytes] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)
    _order: list[bytes] = field(default_factory=list)

    def saw_seal(self, aead: Aead, key: Secret, nonce: int, aad: bytes, plaintext: bytes) -> None:
        """Note an encryption; one (key, nonce) that meets two messages breaks the cipher (attack I-05)."""
        used = key.expose() if aead.nonce_size == 12 else key.expose()[:16]
        slot = sha256(aead.cose_alg.to_bytes(4, "big", signed=True) + nonce.to_bytes(16, "big") + used)
        message = sha256(sha256(aad) + plaintext)
        if slot not in self.sealed:
            self.sealed[slot] = message
            self._order.append(slot)
        elif self.sealed[slot] != message:
            self.reused.append(f"algorithm {aead.cose_alg}, nonce {nonce}, key {sha256(used).hex()[:16]}")

    def mark(self) -> tuple[int, int]:
        """Return a point in time for `take_back`."""
        return len(self._order), len(self.reused)

    def take_back(self, mark: tuple[int, int]) -> None:
        """Forget the encryptions after `mark`: they never left the node."""
        for slot in self._order[mark[0] :]:
            del self.sealed[slot]
        del self._order[mark[0] :]
        del self.reused[mark[1] :]

    def ephemerals(self) -> Iterator[bytes]:
        """Yield every random scalar and point."""
        yield from self.scalars
        yield from self.points


class WitnessedSuite(Suite):
    """The face of the suite that it wraps; tells a `Witness` what it drew and encrypted."""

    __slots__ = ("witness",)

    witness: Witness

    def __init__(self, suite: Suite, witness: Witness) -> None:
        super().__init__(
            suite.id, suite.name, suite.group, suite.signatures, suite.establishment, suite.payload, suite.exchange
        )
        object.__setattr__(self, "witness", witness)

    def random_scalar(self, entropy: Entropy) -> Secret:
        scalar = self.group.random_scalar(entropy)
        self.witness.scalars.append(scalar.expose())
        return scalar

    def random_point(self, entropy: Entropy) -> Point:
        point = self.group.random_point(entropy)
        self.witness.points.append(point)
        return point

    def seal_once(self, key: Secret, aad: bytes, plaintext: bytes) -> bytes:
        self.witness.saw_seal(self.establishment, key, 0, aad, plaintext)
        return self.establishment.seal_once(key, aad, plaintext)

    def seal_record(self, key: Secret, seq: int, aad: bytes, plaintext: bytes) -> bytes:
        self.witness.saw_seal(self.establishment, key, seq, aad, plaintext)
        return self.establishment.seal_record(key, seq, aad, plaintext)

    def seal_payload(self, key: Secret, seq: int, aad: bytes, plaintext: bytes) -> bytes:
        self.witness.saw_seal(self.payload, key, seq, aad, plaintext)
        return self.payload.seal_record(key, seq, aad, plaintext)
