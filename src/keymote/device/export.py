"""Keys of a session in the forms in which other programs read them: files for their owner alone, never on a screen.

An OSCORE context and a PSK are handed over, not shared: the session that they came from is not used by us again.
"""

import json
import os
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path

from keymote.engine.exports import (
    INITIATOR_ID,
    OSCORE_ALGORITHM,
    RESPONDER_ID,
    PskForm,
    oscore_parameters,
    psk,
    psk_identity,
)
from keymote.engine.faces import SessionKeys
from keymote.errors import CallerFault


class Target(StrEnum):
    AIOCOAP = "aiocoap"
    LIBCOAP = "libcoap"
    WIRESHARK = "wireshark"


def aiocoap_files(psid: bytes, keys: SessionKeys, *, initiator: bool, peer: str, directory: Path) -> dict[str, bytes]:
    """Return a context directory and a credentials file for `aiocoap-client --credentials`.

    `peer` is the URI of the other device (`coap://ADDRESS:PORT`); the context is the one for requests to it, or by it.
    """
    parameters = oscore_parameters(psid, keys, initiator=initiator)
    context = f"context-{psid.hex()}"
    # named once: aiocoap takes a lock on the directory for each mention of it
    credentials = {f"{peer}/*": {"oscore": {"basedir": str(directory / context)}}}
    settings = {
        "sender-id_hex": parameters.sender_id.hex(),
        "recipient-id_hex": parameters.recipient_id.hex(),
        "id-context_hex": psid.hex(),
        "algorithm": OSCORE_ALGORITHM,
        "kdf-hashfun": "sha256",
    }
    secret = {"secret_hex": parameters.secret.expose().hex(), "salt_hex": parameters.salt.hex()}
    return {
        "credentials.json": _json(credentials),
        f"{context}/settings.json": _json(settings),
        f"{context}/secret.json": _json(secret),
    }


def libcoap_files(psid: bytes, keys: SessionKeys, form: PskForm) -> dict[str, bytes]:
    """Return identity and key for `coap-client -u IDENTITY -k KEY` and their like; no line end after either."""
    return {"psk.identity": psk_identity(psid, keys).encode(), "psk.key": psk(keys, form).expose()}


def wireshark_files(psid: bytes, keys: SessionKeys, form: PskForm) -> dict[str, bytes]:
    """Return a configuration directory (`WIRESHARK_CONFIG_DIR`) with which tshark reads the session's traffic."""
    values = (INITIATOR_ID, RESPONDER_ID, keys.oscore_ms.expose(), keys.oscore_salt, psid)
    row = ",".join(f'"{value.hex()}"' for value in values) + f',"{OSCORE_ALGORITHM} (CCM*)"\n'
    return {"oscore_contexts": row.encode(), "preferences": f"dtls.psk: {psk(keys, form).expose().hex()}\n".encode()}


def write_files(directory: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write `files` below `directory` (0700), each for its owner alone (0600) and whole or not at all; none is replaced.

    Raises:
        CallerFault: one of them exists, or cannot be written; what was written before is removed again.
    """
    written: list[Path] = []
    try:
        for name, content in files.items():
            path = directory / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create(path, content)
            written.append(path)
    except OSError as error:
        remove_files(written)
        what = error.filename2 or error.filename or directory
        raise CallerFault(f"cannot write {what}: {error.strerror}", do="name a directory of its own") from error
    return written


def remove_files(files: Iterable[Path]) -> None:
    """Remove exported files; who has read them keeps what he read."""
    for path in files:
        path.unlink(missing_ok=True)


def _create(path: Path, content: bytes) -> None:
    """Let `path` appear with all its content; FileExistsError when it is there already."""
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, path)  # unlike a rename it never replaces
    finally:
        part.unlink()


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"
