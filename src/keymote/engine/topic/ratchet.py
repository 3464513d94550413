"""The payload ratchet (Triad-1 4.5): a key for each reading, gone when it was used; memory only, never stored.

    mk_n = lexp(c_n, "C/mk", CBOR(n), 48)        key = mk[0:32], iv = mk[32:32 + nonce size]
    c_{n+1} = lexp(c_n, "C/ck", CBOR(n), 32)

`protect` and `unprotect` are plain calls from a state to the next one; whoever holds the state commits it by keeping the new
one. A reading that does not authenticate moves no index and destroys no key, however far ahead it claims to be (C-15).
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Final, NamedTuple, Self

from keymote import cbor
from keymote.cbor import uint
from keymote.crypto.aead import Aead
from keymote.crypto.kdf import chain_step, lexp
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey, VerifyKey
from keymote.engine.topic.ciphers import DEFAULT, cipher_of, most_messages
from keymote.errors import ErrorCode, PeerFault
from keymote.wire.gsec import check_countersignature, countersign
from keymote.wire.pub import (
    MAX_PLAINTEXT,
    Published,
    aad_openings,
    binding,
    external_aad,
    opening,
    read,
    write,
    write_behind,
)
from keymote.wire.topic import KeyGrant

WINDOW: Final = 256
"""Indices that a reading may skip, and keys of skipped readings that are kept."""
MOST_FAILURES: Final = 1 << 16
"""Forged readings after which a chain is given up (C-19)."""
_MOST_INDEX: Final = 1 << 32
_NOTHING: Final[Mapping[int, Secret]] = MappingProxyType({})
_NEW_EPOCH: Final = "ask the trusted system for a new epoch"


class Chain(NamedTuple):
    """What all readings of one sender in one epoch have in common: `sender` is their header 4, `end` the first index beyond."""

    cipher: Aead
    sender: bytes
    bound: bytes
    opening: bytes
    aad: Mapping[int, bytes]
    end: int

    @classmethod
    def of(cls, topic: str, grant: KeyGrant, snd: int, enabled: AbstractSet[int]) -> "Chain":
        end = grant.seq0 + most_messages(grant.cs, grant.max_msgs)
        bound = binding(grant.cs, topic, grant.sess, grant.epoch, snd)
        sender = grant.sess[:4] + bytes((snd,))
        return cls(
            cipher_of(grant.cs, enabled), sender, bound, opening(sender), aad_openings(bound), min(end, _MOST_INDEX)
        )


class Opened(NamedTuple):
    """A reading that its publisher sent, never seen before, with its index."""

    n: int
    plaintext: bytes


class Sending(NamedTuple):
    """A publisher's chain before its reading `n`; `signing` is there where the topic's policy is `signed`."""

    chain: Chain
    n: int
    c: Secret
    signing: SigningKey | None = None

    @classmethod
    def begin(
        cls, topic: str, grant: KeyGrant, signing: SigningKey | None = None, enabled: AbstractSet[int] = DEFAULT
    ) -> Self:
        """Return the chain that a grant begins, once: the same grant never begins two (Triad-1 8). E_SUITE for its cipher."""
        return cls(Chain.of(topic, grant, grant.snd, enabled), grant.seq0, first_key(topic, grant, grant.snd), signing)

    def protect(self, plaintext: bytes) -> tuple["Sending", bytes]:
        """Return the next state and the PUB of `plaintext`, at most 1024 bytes. A repetition sends these bytes again.

        Raises:
            PeerFault: E_LIMIT for a longer one, or when the session's messages are used up; nothing changed.
        """
        chain, n, c, signing = self
        if n >= chain.end:
            raise PeerFault(ErrorCode.E_LIMIT, f"all {chain.end} indices of this session are used up", do=_NEW_EPOCH)
        if len(plaintext) > MAX_PLAINTEXT:
            raise PeerFault(ErrorCode.E_LIMIT, f"{len(plaintext)} bytes, a reading takes at most {MAX_PLAINTEXT}")
        index = uint(n)
        mk, following = chain_step(c, index)
        ciphertext = chain.cipher.seal_derived(mk, chain.aad[len(index)] + index, plaintext)
        sent = Sending(chain, n + 1, following, signing)
        if signing is None:
            return sent, write_behind(chain.opening, n, ciphertext)
        signature = countersign(signing, external_aad(chain.bound, index), ciphertext)
        return sent, write(Published(chain.sender, n, signature, ciphertext))


class Receiving(NamedTuple):
    """A subscriber's view of one publisher's chain: `n` is expected next, `skipped` holds the keys of readings before it.

    `publisher` is its key where the topic's policy is `signed`; a reading with and one without countersignature are then
    not the same, and never both accepted.
    """

    chain: Chain
    n: int
    c: Secret
    publisher: VerifyKey | None = None
    skipped: Mapping[int, Secret] = _NOTHING
    failures: int = 0

    @classmethod
    def begin(
        cls,
        topic: str,
        grant: KeyGrant,
        snd: int,
        publisher: VerifyKey | None = None,
        enabled: AbstractSet[int] = DEFAULT,
    ) -> Self:
        """Return the chain of the publisher `snd` in the session of a grant; E_SUITE for its cipher."""
        return cls(Chain.of(topic, grant, snd, enabled), grant.seq0, first_key(topic, grant, snd), publisher)

    def unprotect(self, data: bytes) -> tuple["Receiving", Opened | PeerFault]:
        """Return the next state and the reading in a PUB; a forged one counts and is returned as its fault, E_AUTH.

        Raises:
            PeerFault: E_FORMAT, E_UNKNOWN_ID (another sender or session), E_REPLAY, E_SKIP (more than 256 ahead), E_LIMIT,
                E_AUTH for a countersignature; nothing changed.
        """
        published = read(data)
        chain, n = self.chain, published.n
        if published.sender != chain.sender:
            raise PeerFault(ErrorCode.E_UNKNOWN_ID, "a reading of another sender or session")
        if (published.countersignature is None) is not (self.publisher is None):
            raise PeerFault(ErrorCode.E_AUTH, "a countersignature is missing, or nobody can check it")
        if n >= chain.end or self.failures >= MOST_FAILURES:
            raise PeerFault(ErrorCode.E_LIMIT, "the session is used up", do=_NEW_EPOCH)
        index = uint(n)
        if n == self.n:
            mk, c = chain_step(self.c, index)
            following = Receiving(chain, n + 1, c, self.publisher, self.skipped, self.failures)
        else:
            following, mk = self._reach(n)
        try:
            plaintext = chain.cipher.open_derived(mk, chain.aad[len(index)] + index, published.ciphertext)
        except PeerFault as fault:
            return self._replace(failures=self.failures + 1), fault
        if self.publisher is not None and published.countersignature is not None:
            aad = external_aad(chain.bound, index)
            check_countersignature(self.publisher, aad, published.ciphertext, published.countersignature)
        return following, Opened(n, plaintext)

    def _reach(self, n: int) -> tuple["Receiving", bytes]:
        """Return the state after reading `n`, which is not the next one, was opened, and its key material."""
        chain, following, c, publisher, skipped, failures = self
        if n < following:
            if n not in skipped:
                raise PeerFault(ErrorCode.E_REPLAY, f"reading {n} was opened before or is too old")
            left = {index: key for index, key in skipped.items() if index != n}
            return self._replace(skipped=left), skipped[n].expose()
        if n - following > WINDOW:
            raise PeerFault(ErrorCode.E_SKIP, f"reading {n} where {following} is next", do=_NEW_EPOCH)
        kept = dict(skipped)
        for index in range(following, n):
            mk, c = chain_step(c, uint(index))
            kept[index] = Secret(mk)
        for oldest in sorted(kept)[: max(0, len(kept) - WINDOW)]:
            del kept[oldest]
        mk, after = chain_step(c, uint(n))
        return Receiving(chain, n + 1, after, publisher, kept, failures), mk


def first_key(topic: str, grant: KeyGrant, snd: int) -> Secret:
    """Return c_0 = lexp(SK, "C/snd", CBOR[topic, sess, epoch, snd], 32), the key of index seq0."""
    return lexp(Secret(grant.SK), "C/snd", cbor.encode_array(topic, grant.sess, grant.epoch, snd))
