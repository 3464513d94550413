"""The one-way chain that a client shares with its trusted system (Triad-1 4.3): a key for each number k, none for the past."""

from dataclasses import dataclass
from typing import Final, Self

from keymote import cbor
from keymote.crypto.kdf import HASH_SIZE, extract, lexp
from keymote.crypto.secret import Secret

_SALT: Final = b"TRIAD1/C/pss"


@dataclass(frozen=True, slots=True)
class KeyChain:
    """Number `k` of the chain, CK_k, of a client (8 bytes). Nothing here leads back to CK_{k-1}."""

    client_id: bytes
    k: int
    ck: Secret

    @classmethod
    def begin(cls, client_id: bytes, pss: Secret) -> Self:
        """Return CK_0; both sides erase the PSS after that."""
        return cls(client_id, 0, extract(_SALT, pss.expose()))

    def sub(self, label: str, ctx: bytes, length: int = HASH_SIZE) -> Secret:
        """Return the key of `length` bytes for one purpose and context: lexp(CK_k, label, CBOR[client_id, k, ctx], L)."""
        return lexp(self.ck, label, cbor.encode_array(self.client_id, self.k, ctx), length)

    def step(self) -> "KeyChain":
        """Return number k + 1: CK_{k+1} = lexp(CK_k, "C/next", CBOR[client_id, k], 32)."""
        key = lexp(self.ck, "C/next", cbor.encode_array(self.client_id, self.k))
        return KeyChain(self.client_id, self.k + 1, key)
