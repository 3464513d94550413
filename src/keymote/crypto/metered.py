"""A suite that counts: for the operation tables of the benchmarks and the energy model of the simulator.

It also sees what no peer can: that a key-establishment key sealed twice (attack I-05).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ParamSpec, TypeVar

from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.sign import SigningKey, VerifyKey
from keymote.crypto.suite import Point, Suite

_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")


class MeteredSuite(Suite):
    """The face of the suite that it wraps, with a count of each operation in `counts`.

    Names: check, check_scalar, random_scalar, mul, base_mul, add (sub too), map, hash_to_scalar, scalar_mul_add,
    keygen, verify_key, sign, verify, aead_seal, aead_open, isk. `seals` counts the encryptions under each
    key-establishment key, by the key's SHA-256: after a whole run its largest value must be 1.
    """

    __slots__ = ("counts", "seals")

    counts: Counter[str]
    seals: Counter[bytes]

    def __init__(self, suite: Suite) -> None:
        super().__init__(
            suite.id,
            suite.name,
            suite.group,
            suite.signatures,
            suite.establishment,
            suite.payload,
            suite.exchange,
        )
        object.__setattr__(self, "counts", Counter())
        object.__setattr__(self, "seals", Counter())

    def _count(self, operation: str, call: Callable[_Args, _Result]) -> Callable[_Args, _Result]:
        def counted(*args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
            self.counts[operation] += 1
            return call(*args, **kwargs)

        return counted

    def check(self, encoding: bytes) -> Point:
        self.counts["check"] += 1
        return self.group.check(encoding)

    def check_scalar(self, encoding: bytes) -> bytes:
        self.counts["check_scalar"] += 1
        return self.group.check_scalar(encoding)

    def random_scalar(self, entropy: Entropy) -> Secret:
        self.counts["random_scalar"] += 1
        return self.group.random_scalar(entropy)

    def random_point(self, entropy: Entropy) -> Point:
        self.counts["map" if self.pake else "base_mul"] += 1
        return self.group.random_point(entropy)

    def base_mul(self, k: Secret) -> Point:
        self.counts["base_mul"] += 1
        return self.group.base_mul(k)

    def mul(self, k: Secret, P: Point) -> Point:
        self.counts["mul"] += 1
        return self.group.mul(k, P)

    def add(self, P: Point, Q: Point) -> Point:
        self.counts["add"] += 1
        return self.group.add(P, Q)

    def sub(self, P: Point, Q: Point) -> Point:
        self.counts["add"] += 1
        return self.group.sub(P, Q)

    def partial_sums(self, P: Point, received: Sequence[bytes]) -> Sequence[Point]:
        self.counts["add"] += len(received)
        self.counts["check"] += len(received)
        return self.group.partial_sums(P, received)

    def hash_to_scalar(self, data: bytes) -> Secret:
        self.counts["hash_to_scalar"] += 1
        return self.group.hash_to_scalar(data)

    def scalar_mul_add(self, c: Secret, d: Secret, k: Secret) -> Secret:
        self.counts["scalar_mul_add"] += 1
        return self.group.scalar_mul_add(c, d, k)

    def signing_key(self, seed: Secret) -> SigningKey:
        self.counts["keygen"] += 1
        key = Suite.signing_key(self, seed)
        return replace(key, _sign=self._count("sign", key.sign))

    def verify_key(self, encoding: bytes) -> VerifyKey:
        self.counts["verify_key"] += 1
        accepts = self.signatures.verifier(encoding)
        return VerifyKey(self.id, encoding, self._count("verify", accepts))

    def seal_once(self, key: Secret, aad: bytes, plaintext: bytes) -> bytes:
        self.counts["aead_seal"] += 1
        self.seals[sha256(key.expose())] += 1
        return self.establishment.seal_once(key, aad, plaintext)

    def open_once(self, key: Secret, aad: bytes, ciphertext: bytes) -> bytes:
        self.counts["aead_open"] += 1
        return self.establishment.open_once(key, aad, ciphertext)

    def seal_record(self, key: Secret, seq: int, aad: bytes, plaintext: bytes) -> bytes:
        self.counts["aead_seal"] += 1
        return self.establishment.seal_record(key, seq, aad, plaintext)

    def open_record(self, key: Secret, seq: int, aad: bytes, ciphertext: bytes) -> bytes:
        self.counts["aead_open"] += 1
        return self.establishment.open_record(key, seq, aad, ciphertext)

    def seal_payload(self, key: Secret, seq: int, aad: bytes, plaintext: bytes) -> bytes:
        self.counts["aead_seal"] += 1
        return self.payload.seal_record(key, seq, aad, plaintext)

    def open_payload(self, key: Secret, seq: int, aad: bytes, ciphertext: bytes) -> bytes:
        self.counts["aead_open"] += 1
        return self.payload.open_record(key, seq, aad, ciphertext)

    def seal_group(self, key: Secret, base_iv: bytes, seq: int, aad: bytes, plaintext: bytes) -> bytes:
        self.counts["aead_seal"] += 1
        return self.payload.seal_numbered(key, base_iv, seq, aad, plaintext)

    def open_group(self, key: Secret, base_iv: bytes, seq: int, aad: bytes, ciphertext: bytes) -> bytes:
        self.counts["aead_open"] += 1
        return self.payload.open_numbered(key, base_iv, seq, aad, ciphertext)

    def pake_start(self, prs: bytes, ci: bytes, sid: bytes) -> Point:
        if self.pake:
            self.counts["map"] += 1
        return self.exchange.start(prs, ci, sid)

    def pake_isk(self, sid: bytes, K: Point, Y_D: Point, ad_D: bytes, Y_N: Point, ad_N: bytes) -> Secret:
        self.counts["isk"] += 1
        return self.exchange.isk(sid, K, Y_D, ad_D, Y_N, ad_N)
