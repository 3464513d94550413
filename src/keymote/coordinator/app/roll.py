"""`keymote coordinator roll-key`: a coordinator takes a new signing key (docs/decisions/0123).

Two steps, with the authority between them. The first makes the next key, sealed beside the present one, and a request for
it; the coordinator may run meanwhile, and goes on with its present key. The second, when the authority has answered and the
coordinator is stopped, lets the old key sign its last word, the hand-over (CR-11), and replaces `coordinator.json`. That one
file is the commit: before it the old key stands, after it the old key is nowhere, and what is left to do may be done twice.
"""

from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from keymote.coordinator.app.directory import CREDENTIAL, NEXT_CREDENTIAL, REQUEST, Directory
from keymote.coordinator.authority import new_request
from keymote.coordinator.desk import OPERATOR
from keymote.coordinator.identity import FormerKey
from keymote.crypto.entropy import Entropy
from keymote.crypto.suites import suite_by_id
from keymote.engine.audit import Entry
from keymote.errors import CallerFault
from keymote.host.ledger import Transaction
from keymote.storage import private_files as files
from keymote.storage.sql_ledger import open_ledger
from keymote.wire import admin, admin_files
from keymote.wire.credential import kid_of

NEXT_REQUEST: Final = "nc.next.req"
ROLLED: Final = "coordinator.roll-key"
"""In the audit log: the subject is the coordinator, the details are the kids of its credentials before and after."""
_PAGE: Final = 1000


class Stage(StrEnum):
    """How far a roll has come."""

    REQUESTED = "requested"
    """The authority has to certify the next key; nothing else has changed."""
    ROLLED = "rolled"


class Roll(NamedTuple):
    """Where a roll stands: the request that waits for the authority, or the kid of the credential now in force."""

    stage: Stage
    request: Path | None = None
    kid: bytes = b""


async def roll_key(folder: Path, entropy: Entropy, now: int) -> Roll:
    """Go on with a roll as far as it can go now, or begin one (`now`: UTC seconds); after an interruption do it again.

    Raises:
        CallerFault: no coordinator there, or the authority's answer is not for the next key.
        Unavailable: the coordinator still runs, or the disk does not take it.
    """
    if not (folder / NEXT_CREDENTIAL).exists():
        _requested(Directory.open(folder, entropy), entropy, now)
        return Roll(Stage.REQUESTED, folder / NEXT_REQUEST)
    ledger = open_ledger(folder / "registry.db")  # and with it the lock that a running coordinator holds
    try:
        directory = Directory.open(folder, entropy)
        if directory.held.sealed_next:
            directory = _switched(directory, entropy, now)
        identity = directory.certified(directory.key, NEXT_CREDENTIAL, None)
        before, after = kid_of(identity.former[-1].credential), identity.credential.kid
        entry = Entry(now, OPERATOR, ROLLED, identity.nc_id, {"kid": after, "before": before})
        await ledger.write(lambda tx: _noted(tx, entry))
    finally:
        await ledger.close()
    _settle(folder)
    return Roll(Stage.ROLLED, kid=after)


def _requested(directory: Directory, entropy: Entropy, now: int) -> None:
    """Make the next key, unless there is one, and write the requests for it and for the present one as of now.

    The latter mends a `nc.cred` that the answer for the next key was written over by mistake.
    """
    held = directory.held
    if held.sealed_next:
        key = directory.next_key(entropy)
    else:
        key = suite_by_id(held.suite).generate_signing_key(entropy)
        directory.with_next_key(key, entropy)
    for name, asking in ((REQUEST, directory.key), (NEXT_REQUEST, key)):
        request = admin_files.RequestFile(held.name, admin.to_base64url(new_request(asking, directory.nc_id, now)))
        files.write_private(directory.folder / name, admin_files.write_file(request), mode=0o644)


def _switched(directory: Directory, entropy: Entropy, now: int) -> Directory:
    """Return the coordinator with its next key in force, after the present one has handed over to it: the commit."""
    key = directory.next_key(entropy)
    present = directory.certified(directory.key, CREDENTIAL, None)
    following = directory.certified(key, NEXT_CREDENTIAL, now)
    if (following.root, following.nc_id) != (present.root, present.nc_id):
        raise CallerFault(
            f"{NEXT_CREDENTIAL} is of another authority, or for another coordinator",
            do=f"have {NEXT_REQUEST} certified by the authority of {CREDENTIAL}",
        )
    handover = present.handed_over(following.credential, now, entropy.draw(8))
    return directory.rolled(key, FormerKey(present.credential.raw, handover))


def _noted(tx: Transaction, entry: Entry) -> None:
    """Enter the roll into the audit log, once however often it is tried."""
    after = 0
    while links := tx.audit(after, _PAGE):
        for link in links:
            held = Entry.decode(link.entry)
            if held.action == ROLLED and held.details == entry.details:
                return
        after = links[-1].seq
    tx.append_audit(entry.encode())


def _settle(folder: Path) -> None:
    """Let the files of the next key take the places of the present one's; the answer goes last, it shows what is undone."""
    answer = files.read_file(folder / NEXT_CREDENTIAL, "credential")
    files.write_private(folder / CREDENTIAL, answer, mode=0o644)
    request = folder / NEXT_REQUEST
    if request.exists():
        request.replace(folder / REQUEST)
    (folder / NEXT_CREDENTIAL).unlink()
