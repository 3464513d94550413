"""A cipher that is almost the standard one (I-09)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cryptography.exceptions import InvalidTag

from keymote.crypto import aead
from keymote.crypto.secret import Secret
from keymote.errors import Incompatible
from keymote.lab.attacks.ascon import STANDARD, SUBMITTED
from keymote.lab.attacks.catalogue import Attack, Attempt, Effort, Fails, Outcome, Succeeds, held
from keymote.selftest import startup

KAT_KEY: Final = bytes(range(16))
KAT_NONCE: Final = bytes(range(16, 32))
KAT_TAG: Final = bytes.fromhex("4f9c278211bec9316bf68f46ee8b2ec6")
"""Count 1 of the standard's known answers: empty plaintext, empty associated data."""


def _same_name_other_cipher(_effort: Effort) -> Outcome:
    """Put the submitted Ascon where the standard one is due: by itself it works, with anybody else it does not."""
    box = SUBMITTED.encrypt(KAT_KEY, KAT_NONCE, b"", b"reading")
    alone = SUBMITTED.decrypt(KAT_KEY, KAT_NONCE, b"", box) == b"reading"
    understood = STANDARD.decrypt(KAT_KEY, KAT_NONCE, b"", box) is not None
    answers = STANDARD.encrypt(KAT_KEY, KAT_NONCE, b"", b"") == KAT_TAG
    answers_not = SUBMITTED.encrypt(KAT_KEY, KAT_NONCE, b"", b"") != KAT_TAG
    if not (alone and not understood and answers and answers_not):
        return Fails("library", "the two versions agree")
    return Succeeds("Ascon v1.2 passes a round trip by itself; a peer that runs SP 800-232 opens nothing")


class LookAlike:
    """The interface of the library's ChaCha20-Poly1305 with Ascon v1.2 behind it."""

    def __init__(self, key: bytes) -> None:
        self._key = key[:16]

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        return SUBMITTED.encrypt(self._key, nonce + bytes(4), associated_data, data)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        plaintext = SUBMITTED.decrypt(self._key, nonce + bytes(4), associated_data, data)
        if plaintext is None:
            raise InvalidTag
        return plaintext


@contextmanager
def another_library() -> Iterator[None]:
    """Let a look-alike answer under the cipher's name, as after a bad update; undone on leaving."""
    names = vars(aead)
    genuine = names["ChaCha20Poly1305"]
    names["ChaCha20Poly1305"] = LookAlike
    try:
        yield
    finally:
        names["ChaCha20Poly1305"] = genuine


def _look_alike_at_start(_effort: Effort) -> Outcome:
    """Start a service of suite 1 whose cipher library was exchanged for one that works only with itself."""
    with another_library():
        cipher, key = aead.CHACHA20_POLY1305, Secret(bytes(32))
        works_alone = cipher.open_once(key, b"", cipher.seal_once(key, b"", b"reading")) == b"reading"
        if not works_alone:
            return Fails("library", "the look-alike does not even open its own boxes")
        try:
            startup([1])
        except Incompatible as fault:
            return held(f"the known-answer gate keeps the service from starting: {fault.what.split(';')[0]}")
    return Succeeds("the service starts with a cipher that nobody else can open")


ATTACKS = (
    Attack(
        "I-09",
        "An older cipher under the standard's name",
        "M",
        _same_name_other_cipher,
        (Attempt("look-alike at start-up", "property", _look_alike_at_start),),
    ),
)
