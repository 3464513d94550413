"""Keys of a session in the forms in which other programs read them: files for their owner alone, never on a screen.

An OSCORE context and a PSK are handed over, not shared: the session that they came from is not used by us again.
"""

import json
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

from keymote.engine.faces import SessionKeys
from keymote.errors import CallerFault

ALGORITHM: Final = "AES-CCM-16-64-128"
"""The AEAD of our OSCORE contexts, the one that RFC 8613 makes mandatory."""
INITIATOR_ID: Final = b"\x00"
RESPONDER_ID: Final = b"\x01"
"""Sender ids by role (Triad-1 2.8); the ID Context is the psid."""


class Target(StrEnum):
    AIOCOAP = "aiocoap"
    LIBCOAP = "libcoap"
    WIRESHARK = "wireshark"


class PskForm(StrEnum):
    """`text32`: 32 hex characters, which command lines and psk files can carry; `binary16`: the 16 bytes they stand for."""

    TEXT32 = "text32"
    BINARY16 = "binary16"


def psk_identity(psid: bytes, keys: SessionKeys) -> str:
    """Return hex(psid)||hex(key_id), 32 ASCII characters (Triad-1 8)."""
    return psid.hex() + keys.key_id.hex()


def psk(keys: SessionKeys, form: PskForm) -> bytes:
    """Return dtls_psk[0:16] in one of its two forms."""
    raw = keys.dtls_psk.expose()[:16]
    return raw if form is PskForm.BINARY16 else raw.hex().encode()


def oscore_ids(*, initiator: bool) -> tuple[bytes, bytes]:
    """Return (Sender ID, Recipient ID) of a role."""
    return (INITIATOR_ID, RESPONDER_ID) if initiator else (RESPONDER_ID, INITIATOR_ID)


def aiocoap_files(psid: bytes, keys: SessionKeys, *, initiator: bool, peer: str, directory: Path) -> dict[str, bytes]:
    """Return a context directory and a credentials file for `aiocoap-client --credentials`.

    `peer` is the URI of the other device (`coap://ADDRESS:PORT`); the context is the one for requests to it, or by it.
    """
    sender, recipient = oscore_ids(initiator=initiator)
    context = f"context-{psid.hex()}"
    base = str(directory / context)
    credentials = {f"{peer}/*": {"oscore": {"basedir": base}}, f":{psid.hex()}": {"oscore": {"basedir": base}}}
    settings = {
        "sender-id_hex": sender.hex(),
        "recipient-id_hex": recipient.hex(),
        "id-context_hex": psid.hex(),
        "algorithm": ALGORITHM,
        "kdf-hashfun": "sha256",
    }
    secret = {"secret_hex": keys.oscore_ms.expose().hex(), "salt_hex": keys.oscore_salt.hex()}
    return {
        "credentials.json": _json(credentials),
        f"{context}/settings.json": _json(settings),
        f"{context}/secret.json": _json(secret),
    }


def libcoap_files(psid: bytes, keys: SessionKeys, form: PskForm) -> dict[str, bytes]:
    """Return identity and key for `coap-client -u IDENTITY -k KEY` and their like; no line end after either."""
    return {"psk.identity": psk_identity(psid, keys).encode(), "psk.key": psk(keys, form)}


def wireshark_files(psid: bytes, keys: SessionKeys, form: PskForm) -> dict[str, bytes]:
    """Return a configuration directory (`WIRESHARK_CONFIG_DIR`) with which tshark reads the session's traffic."""
    values = (INITIATOR_ID, RESPONDER_ID, keys.oscore_ms.expose(), keys.oscore_salt, psid)
    row = ",".join(f'"{value.hex()}"' for value in values) + f',"{ALGORITHM} (CCM*)"\n'
    return {"oscore_contexts": row.encode(), "preferences": f"dtls.psk: {psk(keys, form).hex()}\n".encode()}


def write_files(directory: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write `files` below `directory` (0700), each for its owner alone (0600); nothing is overwritten.

    Raises:
        CallerFault: one of them exists, or cannot be written; what was written before is removed again.
    """
    written: list[Path] = []
    try:
        for name, content in files.items():
            path = directory / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            written.append(path)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
    except OSError as error:
        for path in written:
            path.unlink()
        raise CallerFault(
            f"cannot write {error.filename or directory}: {error.strerror}", do="name a directory of its own"
        ) from error
    return written


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"
