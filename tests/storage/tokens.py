"""A token in memory for tests without PKCS#11: AES key wrap by OpenSSL, and the troubles that a real one makes."""

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from keymote.storage.seal_pkcs11.faults import KeyMissing, KeyUnfit, TokenAway
from keymote.storage.seal_pkcs11.key import Act, Answer


@dataclass
class MemoryToken:
    """Answers as `seal_pkcs11.key.Ask`; `keys` by URI."""

    keys: dict[str, bytes] = field(default_factory=dict)
    away: bool = False
    asked: list[Act] = field(default_factory=list)

    def ask(self, uri: str, act: Act, data: bytes) -> Answer:
        self.asked.append(act)
        if self.away:
            raise TokenAway("the token was taken away")
        if act is Act.MAKE:
            self.keys.setdefault(uri, bytes([len(self.keys) + 1]) * 32)
        if uri not in self.keys:
            raise KeyMissing("no such key")
        key = self.keys[uri]
        if act is not Act.UNWRAP:
            return Answer(aes_key_wrap(key, data or bytes(32)))
        try:
            return Answer(aes_key_unwrap(key, data))
        except (InvalidUnwrap, ValueError) as error:
            raise KeyUnfit("does not open") from error
