"""One encrypted file that holds others: a role's database and keys, for the day its machine is gone.

Layout: `"KMB1" | log2 of scrypt's N (1) | salt (16)`, then chunks `length (4, big-endian) | ciphertext`. The key is
scrypt(passphrase, salt, N, r = 8, p = 1); chunk i is sealed as record i with the header, and whether it is the last, as
associated data: chunks cannot be left out, moved, repeated or cut off. Plaintext: for each file the CBOR array
[name, size], its length in one byte before it, then its bytes.
"""

import hashlib
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

from keymote import cbor
from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.crypto.suites import suite_by_id
from keymote.errors import CallerFault, PeerFault
from keymote.storage.private_files import write_private

MAGIC: Final = b"KMB1"
LOG_N: Final = 16
"""scrypt with 64 MiB and a fifth of a second."""
MAX_LOG_N: Final = 20
CHUNK: Final = 1 << 20
SHORTEST_PASSPHRASE: Final = 12
_SALT: Final = 16
_TAG: Final = 16
_SEALING_SUITE: Final = 1


def write_backup(path: Path, files: Iterable[tuple[str, bytes]], passphrase: Secret, entropy: Entropy) -> int:
    """Write `files` to `path` (mode 0600), whole or not at all; return its length in bytes.

    Raises:
        CallerFault: `path` exists, or the passphrase is short.
        Unavailable: the disk does not take it.
    """
    if path.exists():
        raise CallerFault(f"{path} exists already", do="name another file; backups are not overwritten")
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise CallerFault(
            f"a passphrase of {len(passphrase)} characters",
            do=f"take {SHORTEST_PASSPHRASE} or more: this file holds every key",
        )
    header = MAGIC + bytes((LOG_N,)) + entropy.draw(_SALT)
    key = _key(passphrase, header)
    suite = suite_by_id(_SEALING_SUITE)
    out = BytesIO()
    out.write(header)
    plain = _framed(files)
    chunks = [plain[start : start + CHUNK] for start in range(0, len(plain), CHUNK)] or [b""]
    for number, chunk in enumerate(chunks):
        sealed = suite.seal_record(key, number, _aad(header, last=number == len(chunks) - 1), chunk)
        out.write(len(sealed).to_bytes(4, "big") + sealed)
    write_private(path, out.getvalue())
    return out.tell()


def read_backup(path: Path, passphrase: Secret) -> dict[str, bytes]:
    """Return the files in a backup.

    Raises:
        CallerFault: it cannot be read, is no backup, was changed or cut off, or the passphrase is wrong.
    """
    try:
        with path.open("rb") as file:
            header = file.read(len(MAGIC) + 1 + _SALT)
            if len(header) != len(MAGIC) + 1 + _SALT or header[:4] != MAGIC or header[4] > MAX_LOG_N:
                raise CallerFault(f"{path} is not a backup", do="name a file made by `backup`")
            plain = _opened(file, _key(passphrase, header), header, path)
    except OSError as error:
        raise CallerFault(f"cannot read {path}: {error.strerror}") from error
    return dict(_unframed(plain, path))


def _opened(file: BinaryIO, key: Secret, header: bytes, path: Path) -> bytes:
    suite = suite_by_id(_SEALING_SUITE)
    plain = bytearray()
    number, sealed = 0, _chunk(file, path)
    while sealed is not None:
        following = _chunk(file, path)
        try:
            plain += suite.open_record(key, number, _aad(header, last=following is None), sealed)
        except PeerFault as fault:
            what = "the passphrase is wrong" if number == 0 else "it was changed or cut off"
            raise CallerFault(f"{path} does not open: {what}", do="nothing was restored from it") from fault
        number, sealed = number + 1, following
    if number == 0:
        raise CallerFault(f"{path} is empty", do="name a file made by `backup`")
    return bytes(plain)


def _chunk(file: BinaryIO, path: Path) -> bytes | None:
    length = file.read(4)
    if not length:
        return None
    size = int.from_bytes(length, "big")
    sealed = file.read(size) if size <= CHUNK + _TAG else b""
    if len(length) != 4 or len(sealed) != size:
        raise CallerFault(f"{path} is cut off", do="take another copy of it")
    return sealed


def _key(passphrase: Secret, header: bytes) -> Secret:
    n = 1 << header[4]
    derived = hashlib.scrypt(passphrase.expose(), salt=header[5:], n=n, r=8, p=1, maxmem=256 * n * 8, dklen=32)
    return Secret(derived)


def _aad(header: bytes, *, last: bool) -> bytes:
    return cbor.encode_array("keymote/backup", header, last)


def _framed(files: Iterable[tuple[str, bytes]]) -> bytes:
    out = bytearray()
    for name, content in files:
        frame = cbor.encode_array(name, len(content))
        out += len(frame).to_bytes(1, "big") + frame + content
    return bytes(out)


def _unframed(plain: bytes, path: Path) -> Iterator[tuple[str, bytes]]:
    at = 0
    while at < len(plain):
        end = at + 1 + plain[at]
        match cbor.decode_array(plain[at + 1 : end]):
            case [str(name), int(size)] if "/" not in name and name not in ("", ".", "..") and end + size <= len(plain):
                yield name, plain[end : end + size]
                at = end + size
            case _:
                raise CallerFault(f"{path} holds something else than files")
