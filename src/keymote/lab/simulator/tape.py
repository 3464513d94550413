"""A tape in the place of the door to HPKE: what a first run sealed, a second run with the same inputs seals alike."""

from keymote.crypto.hybrid import Hpke, HybridDoor
from keymote.crypto.secret import Secret


class Tape:
    """Records each ciphertext by what was sealed, for whom and for which run; asked again, it gives the same.

    OpenSSL draws the randomness of HPKE itself. Two worlds with one seed and one tape are the same byte for byte; what is
    on the tape was made by the product's door and opens as such.
    """

    def __init__(self, door: HybridDoor | None = None) -> None:
        self._door = door or Hpke()
        self._recorded: dict[tuple[bytes, bytes, bytes], bytes] = {}

    def seal(self, public: bytes, info: bytes, plaintext: bytes) -> bytes:
        asked = (public, info, plaintext)
        if asked not in self._recorded:
            self._recorded[asked] = self._door.seal(public, info, plaintext)
        return self._recorded[asked]

    def open(self, seed: Secret, info: bytes, ciphertext: bytes) -> bytes:
        return self._door.open(seed, info, ciphertext)
