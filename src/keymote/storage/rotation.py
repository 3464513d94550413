"""Another key-encryption key for a role: every data key is wrapped anew, the rows stay as they are.

The role is stopped: its stores are locked meanwhile. `rotation.json` in its directory says from which key to which, before
the first wrapping changes; then each store is done by one atomic write of its own, then the role's own file names the new key,
then the old key's file is overwritten if it was in the directory, then the note goes. Every step may be repeated, so a kill
at any moment is mended by the same command, and until then the role does not start (rules KT-08 to KT-11).
"""

import json
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault
from keymote.storage.lock import lock_beside
from keymote.storage.private_files import read_private, write_private
from keymote.storage.seal import KEY_BYTES, DataKey, KeyEncryptionKey, file_of, is_wrapped_by, located, open_key
from keymote.storage.sealed_file import wipe

NOTE: Final = "rotation.json"
FORMAT: Final = "keymote-rotation/1"
_COMMAND: Final = "finish it: keymote storage rotate, with this --data or --config and without --to"


class StoreKey(Protocol):
    """The data key of one store as it is kept, locked until `close`; `wrapped` is empty when there is none yet."""

    @property
    def where(self) -> str: ...

    @property
    def wrapped(self) -> bytes: ...

    def keep(self, wrapped: bytes) -> None:
        """Keep it wrapped like this, by one atomic write that leaves nothing of the old wrapping."""
        ...

    def close(self) -> None: ...


Rewrap = Callable[[bytes, str], bytes]
"""From a wrapped data key and the name of its store to the same data key wrapped by the new key; may be repeated."""


@dataclass(frozen=True, slots=True)
class Place:
    """What of a role hangs on its key-encryption key.

    `key_uri` as the role's own file has it; `stores` open those that exist; `point` makes the role's own file name a new
    key (and wraps anew what that file holds itself) by one atomic write, and may be repeated.
    """

    folder: Path
    key_uri: str
    stores: Sequence[Callable[[], StoreKey]]
    point: Callable[[str, Rewrap], None]


@dataclass(frozen=True, slots=True)
class Rotated:
    """From where to where the key changed. `stores` are the files whose data keys the new key wraps.

    `old_remains`: the old key is still where it was, in a token or a file elsewhere, and serves old backups only.
    """

    old: str
    new: str
    fingerprint: bytes
    stores: tuple[str, ...]
    old_remains: bool
    resumed: bool


@dataclass(frozen=True, slots=True)
class _Note:
    old: str
    new: str


def rotate(place: Place, to: str, entropy: Entropy) -> Rotated:
    """Wrap every data key of `place` by the key `to`, made when there is none, or finish what was interrupted.

    `to` empty: a new file beside the old one; only for a role whose key is in its directory.

    Raises:
        CallerFault: the role runs, `to` is the key that it has, a rotation to another key is not finished, or a key is
            missing or unfit; nothing has changed, or what had begun can be continued.
        Unavailable: a disk or token does not answer; do it again.
    """
    path = place.folder / NOTE
    with ExitStack() as held:
        held.callback(lock_beside(path))
        stores = [held.enter_context(closing(open_store())) for open_store in place.stores]
        begun = _read(path)
        if begun is not None and to not in ("", begun.new):
            raise CallerFault(f"a rotation to {begun.new} is not finished", do=_COMMAND)
        note = begun or _begin(place, to, entropy)
        new = open_key(located(note.new, place.folder), entropy)
        wrapped: list[str] = []
        rewrap = _rewrapping(lambda: open_key(located(note.old, place.folder), entropy), new, entropy, wrapped.append)
        for store in stores:
            if store.wrapped:
                store.keep(rewrap(store.wrapped, store.where))
        place.point(note.new, rewrap)
        ours = _own_file(place.folder, note.old)
        if ours is not None:
            wipe(ours)
        path.unlink()
        was = located(note.old, place.folder)
        return Rotated(was, new.uri, new.fingerprint, tuple(wrapped), ours is None, begun is not None)


def refuse_unfinished(folder: Path) -> None:
    """Raise CallerFault when a rotation in `folder` was interrupted: its stores are under two keys."""
    if (folder / NOTE).exists():
        raise CallerFault(f"the change of the key-encryption key of {folder} was interrupted", do=_COMMAND)


def _begin(place: Place, to: str, entropy: Entropy) -> _Note:
    """Look at both keys, make the new one if need be, and note what is to be done."""
    old = open_key(located(place.key_uri, place.folder), entropy)
    target = to or _beside(place)
    new = open_key(located(target, place.folder), entropy, create=True)
    if new.fingerprint == old.fingerprint:
        raise CallerFault(f"{new.uri} holds the key that is used already", do="name another one by --to")
    trial = Secret(entropy.draw(KEY_BYTES))
    if new.unwrap(new.wrap(trial)) != trial:
        raise CallerFault(f"the key of {new.uri} does not open what it wraps", do="name another one by --to")
    note = _Note(place.key_uri, target)
    body = {"format": FORMAT, "from": note.old, "to": note.new}
    write_private(place.folder / NOTE, json.dumps(body).encode() + b"\n")
    return note


def _read(path: Path) -> _Note | None:
    if not path.exists():
        return None
    match json.loads(read_private(path, "rotation's note")):
        case {"format": "keymote-rotation/1", "from": str(old), "to": str(new)}:
            return _Note(old, new)
        case _:
            raise CallerFault(f"{path} is not a rotation's note of this version")


def _rewrapping(
    open_old: Callable[[], KeyEncryptionKey], new: KeyEncryptionKey, entropy: Entropy, done: Callable[[str], object]
) -> Rewrap:
    old = cache(open_old)  # opened when it is needed: when all is wrapped anew, it may be erased already

    def rewrap(wrapped: bytes, where: str) -> bytes:
        done(where)
        if is_wrapped_by(new, wrapped):
            return wrapped
        return DataKey.unwrapped(wrapped, old(), entropy, where=where).wrapped_by(new)

    return rewrap


def _own_file(folder: Path, uri: str) -> Path | None:
    """Return the key's file when it is in the role's directory, where nobody else has it from."""
    path = file_of(located(uri, folder))
    return path if path is not None and path.parent == folder.absolute() else None


def _beside(place: Place) -> str:
    """Return the URI of the next file beside the present one: `key`, `key-2`, `key-3`."""
    present = _own_file(place.folder, place.key_uri)
    if present is None:
        raise CallerFault(
            "the key-encryption key is not in the role's directory", do="say by --to where the new one is"
        )
    stem, number = re.fullmatch(r"(.*?)(?:-(\d+))?", present.name).groups()  # type: ignore[union-attr]  # fits anything
    return f"file:{stem}-{int(number or 1) + 1}"
