"""Rows sealed at rest: a data key per store, wrapped by a key-encryption key that lives elsewhere.

The key-encryption key (KEK) is named by a URI: `file:/path`, or `pkcs11:...` for one in a token (`seal_pkcs11`). It wraps
data keys and nothing else, so replacing it re-wraps 32 bytes a store (`rotation`). Every row carries its place as associated
data: a row that was moved, swapped or changed does not open. The cipher is AES-256-GCM-SIV (RFC 8452): a repeated nonce, as
after a machine was copied, shows at most that two rows are equal.
"""

import hmac
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote, unquote, urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import extract, sha256
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault
from keymote.storage.private_files import read_private, write_private

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
OVERHEAD_BYTES: Final = NONCE_BYTES + 16
"""What sealing adds to a record."""
FINGERPRINT_BYTES: Final = 8
_CONTEXT: Final = b"keymote/data-key"


class Tampered(CallerFault):
    """What the store holds is not what was put there; only a backup helps."""


class KeyEncryptionKey(Protocol):
    """Wraps data keys. `fingerprint` (8 bytes, public) tells two keys apart, `uri` tells a person where this one is."""

    @property
    def uri(self) -> str: ...

    @property
    def fingerprint(self) -> bytes: ...

    def wrap(self, key: Secret) -> bytes:
        """Return `key` wrapped; raises Unavailable when the key-encryption key is out of reach."""
        ...

    def unwrap(self, wrapped: bytes) -> Secret:
        """Return what `wrap` hid; raises CallerFault for what this key did not wrap, Unavailable as `wrap`."""
        ...


class FileKey:
    """A key-encryption key of 32 bytes, as 64 hex digits in a file for its owner only.

    Raises:
        CallerFault: the file is missing, readable by others, or not a key. With `create`, a missing one is made.
    """

    def __init__(self, path: Path, entropy: Entropy, *, create: bool = False) -> None:
        if create and not path.exists():
            write_private(path, entropy.draw(KEY_BYTES).hex().encode() + b"\n")
        self._key = _key_in(path)
        self._entropy = entropy
        self.uri: Final = file_uri(path)
        self.fingerprint: Final = sha256(extract(b"keymote/kek", self._key.expose()).expose())[:FINGERPRINT_BYTES]

    def wrap(self, key: Secret) -> bytes:
        """Return nonce, ciphertext and tag of `key`: 60 bytes for a key of 32."""
        nonce = self._entropy.draw(NONCE_BYTES)
        return nonce + self._key.parsed(AESGCMSIV).encrypt(nonce, key.expose(), _CONTEXT)

    def unwrap(self, wrapped: bytes) -> Secret:
        """Return what `wrap` hid; see the protocol."""
        try:
            opened = self._key.parsed(AESGCMSIV).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _CONTEXT)
        except (InvalidTag, ValueError) as error:
            raise CallerFault(
                f"the key of {self.uri} does not open this store", do="use the key that made it"
            ) from error
        return Secret(opened)


def _key_in(path: Path) -> Secret:
    text = read_private(path, "key-encryption key", do="restore it from where you keep it; nothing opens without it")
    try:
        raw = bytes.fromhex(text.decode("ascii").strip())
    except (ValueError, UnicodeDecodeError) as error:
        raise CallerFault(f"{path} is not a key file", do="it holds 64 hex digits") from error
    if len(raw) != KEY_BYTES:
        raise CallerFault(f"{path} holds {len(raw)} bytes, a key has {KEY_BYTES}")
    return Secret(raw)


# ------------------------------------------------------------------ which key


def file_uri(path: Path) -> str:
    """Return the URI of a key file; what `file_of` understands."""
    return f"file:{quote(str(path))}"


def file_of(uri: str) -> Path | None:
    """Return the file that holds the key of `uri`, None when it is no `file:` URI (RFC 8089, without an authority)."""
    parts = urlsplit(uri)
    if parts.scheme != "file" or not parts.path or parts.netloc or parts.query or parts.fragment:
        return None
    return Path(unquote(parts.path)).expanduser()


def located(uri: str, folder: Path) -> str:
    """Return where the key `uri` of a role in `folder` is: without a URI its file `key`; `file:NAME` is beside it, too.

    A role whose key lies in its directory names it so, and may be moved.
    """
    path = file_of(uri or "file:key")
    return uri if path is None else file_uri(folder.absolute() / path)


def open_key(uri: str, entropy: Entropy, *, create: bool = False) -> KeyEncryptionKey:
    """Return the key-encryption key that `uri` names; with `create`, a missing one is made, in its file or token.

    Raises:
        CallerFault: no such key, one that is not kept safe, a token's PIN that is not right, or a URI that names no key.
        Unavailable: its token does not answer.
    """
    path = file_of(uri)
    if path is not None:
        return FileKey(path, entropy, create=create)
    if uri.startswith("pkcs11:"):
        from keymote.storage.seal_pkcs11.key import TokenKey  # noqa: PLC0415  who has a key file starts without it

        return TokenKey(uri, create=create)
    raise CallerFault(
        f"{uri!r} names no key", do="write key_uri = 'file:/path/to/key' or 'pkcs11:token=...;object=...'"
    )


# ------------------------------------------------------------------ the key of one store


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
        return kek.fingerprint + kek.wrap(self._key)

    @classmethod
    def fresh(cls, entropy: Entropy) -> "DataKey":
        """Draw the key of a new store."""
        return cls(Secret(entropy.draw(KEY_BYTES)), entropy)

    @classmethod
    def unwrapped(cls, wrapped: bytes, kek: KeyEncryptionKey, entropy: Entropy, *, where: str) -> "DataKey":
        """Return the key that `wrapped_by` kept; `where` names the store for a person.

        Raises:
            CallerFault: `kek` is another key; the message names both fingerprints and where the wrong one came from.
            Unavailable: the token of `kek` does not answer.
        """
        if not is_wrapped_by(kek, wrapped):
            raise CallerFault(
                f"{where} was sealed under key {wrapped[:FINGERPRINT_BYTES].hex()},"
                f" but {kek.uri} holds {kek.fingerprint.hex()}",
                do="give the key that belongs to this store",
            )
        key = kek.unwrap(wrapped[FINGERPRINT_BYTES:])
        if len(key) != KEY_BYTES:
            raise Tampered(f"{where} has a data key of {len(key)} bytes", do="restore a backup")
        return cls(key, entropy)


def is_wrapped_by(kek: KeyEncryptionKey, wrapped: bytes) -> bool:
    """Return whether a data key says that `kek` wrapped it; only unwrapping shows that it did."""
    return wrapped[:FINGERPRINT_BYTES] == kek.fingerprint
