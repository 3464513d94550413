"""Which key in which token: the part of RFC 7512 that names one secret key.

`pkcs11:token=km;object=kek?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/keymote/pin`

Attributes that we do not know are refused, not skipped: each one narrows which key is meant. So are the two ways to a PIN
that others could see or that run something: `pin-value`, and a `pin-source` that is a command.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote_to_bytes

from keymote.errors import CallerFault

SCHEME: Final = "pkcs11:"
PIN_FILE_VARIABLE: Final = "KEYMOTE_PIN_FILE"
"""Names the file of the PIN for a URI without `pin-source`."""
_PATH: Final = frozenset({"token", "serial", "manufacturer", "model", "object", "id", "type"})
_QUERY: Final = frozenset({"module-path", "pin-source"})
_VALUE: Final = re.compile(r"(?:[A-Za-z0-9_.~\-:\[\]@!$'()*+,=&/?|]|%[0-9A-Fa-f]{2})+")
_EXAMPLE: Final = (
    "pkcs11:token=km;object=kek?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/keymote/pin"
)


@dataclass(frozen=True, slots=True)
class TokenUri:
    """One AES key: `object` (its label) or `id` (CKA_ID), in the token that all of the other names fit.

    Empty names fit everything. `pin_file` is None when the environment says where the PIN is.
    """

    text: str
    module: Path
    token: str = ""
    serial: str = ""
    manufacturer: str = ""
    model: str = ""
    object: str = ""
    id: bytes = b""
    pin_file: Path | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `text` names.

        Raises:
            CallerFault: it is no PKCS#11 URI, has an attribute twice or one that we do not know, carries a PIN, or lacks
                the module's path, the token or the key.
        """
        path, _, query = text.removeprefix(SCHEME).partition("?")
        if not text.startswith(SCHEME):
            raise CallerFault(f"{text!r} is no PKCS#11 URI", do=f"for example {_EXAMPLE}")
        if "pin-value=" in query:
            raise CallerFault(
                "a PIN in a URI is seen by everybody who sees the URI", do="put it into a file: pin-source=file:/path"
            )
        named = _attributes(path, ";", _PATH)
        found = _attributes(query, "&", _QUERY)
        if named.get("type", b"secret-key") != b"secret-key":
            raise CallerFault(f"{text}: a key-encryption key has type=secret-key", do="leave the type away")
        if "token" not in named and "serial" not in named:
            raise CallerFault(f"{text} names no token", do="add token=LABEL or serial=NUMBER")
        if "object" not in named and "id" not in named:
            raise CallerFault(f"{text} names no key", do="add object=LABEL or id=%01%02")
        module = Path(_text(found.get("module-path", b""), "module-path"))
        if not module.is_absolute():
            raise CallerFault(
                f"{text} does not say by an absolute path which module to load",
                do="add ?module-path=/path/to/module.so, for example /usr/lib/softhsm/libsofthsm2.so",
            )
        words = {
            name: _text(named.get(name, b""), name) for name in ("token", "serial", "manufacturer", "model", "object")
        }
        return cls(text, module, id=named.get("id", b""), pin_file=_pin_file(found.get("pin-source")), **words)

    @property
    def name(self) -> str:
        """The key without the way to it, as messages name it."""
        return self.text.partition("?")[0]

    def pin_place(self) -> Path | None:
        """Return the file that holds the PIN: the URI's, else the one that KEYMOTE_PIN_FILE names, else None."""
        if self.pin_file is not None:
            return self.pin_file
        name = os.environ.get(PIN_FILE_VARIABLE, "")
        return Path(name) if name else None


def _attributes(text: str, between: str, known: frozenset[str]) -> dict[str, bytes]:
    """Return the attributes of one half of a URI, percent-decoded (RFC 7512 2.3)."""
    found: dict[str, bytes] = {}
    for part in text.split(between) if text else ():
        name, _, value = part.partition("=")
        if name not in known:
            raise CallerFault(
                f"{name!r} in a PKCS#11 URI is not known here", do=f"known are {', '.join(sorted(known))}"
            )
        if name in found:
            raise CallerFault(f"{name!r} stands twice in a PKCS#11 URI", do="leave one of them away")
        if not _VALUE.fullmatch(value):
            raise CallerFault(f"{name!r} in a PKCS#11 URI has no value that can be read", do="write odd bytes as %20")
        found[name] = unquote_to_bytes(value)
    return found


def _text(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise CallerFault(f"{name!r} in a PKCS#11 URI is not UTF-8") from error


def _pin_file(source: bytes | None) -> Path | None:
    """Return the file of a `pin-source`: `file:/path` or `/path` (RFC 7512 2.4 leaves the form open)."""
    if source is None:
        return None
    path = Path(_text(source, "pin-source").removeprefix("file:"))
    if not path.is_absolute():
        raise CallerFault(
            "pin-source in a PKCS#11 URI names no file by an absolute path",
            do="write pin-source=file:/path; no commands",
        )
    return path
