"""Who a device is: its suite, its signature key, and the authority that it pins."""

import asyncio
from pathlib import Path
from typing import Final

from keymote.crypto.entropy import Entropy
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey, Suite, VerifyKey
from keymote.crypto.suites import SUITES, suite_by_id
from keymote.engine.base import CellKey
from keymote.engine.chain import Pin
from keymote.errors import CallerFault, PeerFault
from keymote.host.ports import Store, Write
from keymote.wire import admin, admin_files
from keymote.wire.credential import Role

SIGNING_SEED: Final = CellKey("identity", b"")
"""Row of the device's own store that holds the seed of its signature key; no cell of the protocols has this kind."""
_P256_BYTES: Final = 33


def root_pin(path: Path) -> Pin:
    """Return the authority's key that the device pins; CallerFault when the file is not a root.pin."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CallerFault(f"cannot read root {path}: {error.strerror}", do="copy the authority's root.pin") from error
    root = admin_files.read_file(data, admin_files.RootPin, str(path))
    try:
        return Pin(admin.id_of(root.id), root.suite, admin.from_base64url(root.sig_pk), Role.AUTHORITY)
    except PeerFault as fault:
        raise CallerFault(f"{path} is not a root.pin: {fault.what}") from fault


async def signing_key(store: Store, suite: Suite, entropy: Entropy) -> SigningKey:
    """Return the signature key of this store's owner, made and saved the first time.

    Raises:
        CallerFault: the saved one is of another suite's kind.
        Unavailable: it cannot be saved.
    """
    saved = store.load(SIGNING_SEED)
    if saved is not None:
        suite_id, seed = saved[0], Secret(saved[1:])
        if suite_by_id(suite_id).signatures is not suite.signatures:
            raise CallerFault(
                f"the store belongs to a device of suite {suite_id}", do="use that suite, or another state directory"
            )
        return suite.signing_key(seed)
    key = suite.generate_signing_key(entropy)
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def saved_or_not(error: Exception | None) -> None:
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    store.commit([Write(SIGNING_SEED, bytes((suite.id,)) + key.seed.expose())], saved_or_not)
    await done
    return key


def verify_key(public: bytes) -> VerifyKey:
    """Return the key that checks a publisher's countersignatures: its length tells the curve."""
    return suite_by_id(17 if len(public) == _P256_BYTES else 1).verify_key(public)


def suite_of(suite_id: int) -> Suite:
    try:
        return suite_by_id(suite_id)
    except PeerFault as fault:
        raise CallerFault(f"suite {suite_id} is not run here", do=f"choose one of {sorted(SUITES)}") from fault
