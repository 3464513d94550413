"""Rows sealed at rest: a data key per store, wrapped by a key-encryption key that lives elsewhere.

The key-encryption key (KEK) is named by a URI: `file:/path` now; `pkcs11:` is the seam for a token, which need only wrap
and unwrap. It never meets a row, so replacing it re-wraps 32 bytes. Every row carries its place as associated data: a row
that was moved, swapped or changed does not open. The cipher is AES-256-GCM-SIV (RFC 8452): a repeated nonce, as after a
machine was copied, shows at most that two rows are equal.
"""

import hmac
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import extract, sha256
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault
from keymote.storage.private_files import key_file

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
OVERHEAD_BYTES: Final = NONCE_BYTES + 16
"""What sealing adds to a record."""
_CONTEXT: Final = b"keymote/data-key"


class Tampered(CallerFault):
    """What the store holds is not what was put there; only a backup helps."""


class KeyEncryptionKey(Protocol):
    """Wraps data keys. `fingerprint` (8 bytes, public) tells two keys apart, `uri` tells a person where this one is."""

    @property
    def uri(self) -> str: ...

    @property
    def fingerprint(self) -> bytes: ...

    def wrap(self, key: Secret, context: bytes) -> bytes:
        """Return `key` sealed for this `context`."""
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> Secret:
        """Return what `wrap` hid; raises CallerFault for another key-encryption key or context."""
        ...


class FileKey:
    """A key-encryption key of 32 bytes that a file of its owner holds."""

    def __init__(self, path: Path, entropy: Entropy, *, create: bool = False) -> None:
        self._key = key_file(path, entropy, create=create)
        self._entropy = entropy
        self.uri: Final = f"file:{path}"
        self.fingerprint: Final = sha256(extract(b"keymote/kek", self._key.expose()).expose())[:8]

    def wrap(self, key: Secret, context: bytes) -> bytes:
        """Return nonce, ciphertext and tag of `key`: 60 bytes for a key of 32."""
        nonce = self._entropy.draw(NONCE_BYTES)
        return nonce + self._key.parsed(AESGCMSIV).encrypt(nonce, key.expose(), context)

    def unwrap(self, wrapped: bytes, context: bytes) -> Secret:
        """Return what `wrap` hid; see the protocol."""
        try:
            opened = self._key.parsed(AESGCMSIV).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as error:
            raise CallerFault(
                f"the key of {self.uri} does not open this store", do="use the key that made it"
            ) from error
        return Secret(opened)


def open_key(uri: str, entropy: Entropy, *, create: bool = False) -> KeyEncryptionKey:
    """Return the key-encryption key that `uri` names; with `create`, a missing file is made with a fresh key.

    Raises:
        CallerFault: no such key, a file that others can read, or a kind of URI that this version does not know.
    """
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.path and not parts.netloc:
        return FileKey(Path(unquote(parts.path)).expanduser(), entropy, create=create)
    if parts.scheme == "pkcs11":
        raise CallerFault(
            "keys on PKCS#11 tokens are not in this version", do="name a key file: key_uri = 'file:/path'"
        )
    raise CallerFault(f"{uri!r} names no key", do="write key_uri = 'file:/path/to/key'")


class DataKey:
    """Seals the rows of one store."""

    def __init__(self, key: Secret, entropy: Entropy) -> None:
        self._key = key
        self._entropy = entropy

    def seal(self, record: bytes, *place: bytes | str | int) -> bytes:
        """Return `record` sealed for its `place`: table, kind, id, version."""
        nonce = self._entropy.draw(NONCE_BYTES)
        return nonce + self._key.parsed(AESGCMSIV).encrypt(nonce, record, cbor.encode(place))

    def open(self, sealed: bytes, *place: bytes | str | int) -> bytes:
        """Return the record that was sealed for this very place; raises Tampered."""
        try:
            return self._key.parsed(AESGCMSIV).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], cbor.encode(place))
        except (InvalidTag, ValueError) as error:
            name = "/".join(part.hex() if isinstance(part, bytes) else str(part) for part in place)
            raise Tampered(
                f"row {name} was changed or moved", do="restore a backup; nothing was read from it"
            ) from error

    def mark(self, *place: bytes | str | int) -> int:
        """Return a number below 2^256 that only this key gives to `place`, to sum up which rows there are."""
        return int.from_bytes(hmac.digest(self._key.expose(), cbor.encode(place), "sha256"), "big")

    def wrapped_by(self, kek: KeyEncryptionKey) -> bytes:
        """Return this key for keeping beside its rows: fingerprint (8) of `kek`, then the wrapped key."""
        return kek.fingerprint + kek.wrap(self._key, _CONTEXT)

    @classmethod
    def fresh(cls, entropy: Entropy) -> "DataKey":
        """Draw the key of a new store."""
        return cls(Secret(entropy.draw(KEY_BYTES)), entropy)

    @classmethod
    def unwrapped(cls, wrapped: bytes, kek: KeyEncryptionKey, entropy: Entropy, *, where: str) -> "DataKey":
        """Return the key that `wrapped_by` kept; `where` names the store for a person.

        Raises:
            CallerFault: `kek` is another key; the message names both fingerprints and where the wrong one came from.
        """
        if wrapped[:8] != kek.fingerprint:
            raise CallerFault(
                f"{where} was sealed under key {wrapped[:8].hex()}, but {kek.uri} holds {kek.fingerprint.hex()}",
                do="give the key file that belongs to this store",
            )
        return cls(kek.unwrap(wrapped[8:], _CONTEXT), entropy)
