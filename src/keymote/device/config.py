"""What a device is told before it first speaks: one TOML file, secrets by the name of their file only."""

import json
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote

from keymote.errors import CallerFault

GROUP: Final = ("224.0.1.187", 5683)
"""All CoAP nodes (RFC 7252 12.8)."""
PSK_FORMS: Final = ("text32", "binary16")
"""The names of `keymote.engine.exports.PskForm`, which is loaded when a device opens, not when it is imported."""
HANDSHAKES: Final = ("triad", "edhoc")
"""The names of `keymote.engine.context.Handshake`, loaded as late."""


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """`code_file` is needed until the device is enrolled; `manager` empty: the device asks the group for a HELLO.

    `key_uri` names the key-encryption key of `state`; `poll_s` above 0 fetches from the manager's inbox that often, for a
    device that cannot be reached. `post_quantum` refuses sessions without the managers' post-quantum shares. `handshake`
    is how it authenticates other devices, and they must do alike. `dtls` is
    where clients with a session's pre-shared key, of this `psk_form`, connect (extra `dtls`). `serve` names files that
    become CoAP resources, read at each request under a session's key.
    """

    id: bytes
    state: Path
    root: Path
    key_uri: str
    suite: int = 1
    code_file: Path | None = None
    manager_code_file: Path | None = None
    listen: tuple[str, int] = ("127.0.0.1", 0)
    manager: str = ""
    group: tuple[str, int] = GROUP
    interface: str = "127.0.0.1"
    poll_s: float = 0.0
    accept_compact: bool = False
    has_clock: bool = False
    post_quantum: bool = False
    handshake: str = "triad"
    dtls: tuple[str, int] | None = None
    psk_form: str = "text32"
    serve: Mapping[str, Path] = field(default_factory=dict)

    @property
    def socket(self) -> Path:
        """Where the running device takes its owner's commands."""
        return self.state / "control.sock"


_KEY_URI: Final = re.compile(r"^[ \t]*key_uri[ \t]*=.*$", re.MULTILINE)
_KNOWN: Final = frozenset(field.name for field in fields(DeviceConfig))


def read_config(path: Path) -> DeviceConfig:
    """Return the configuration in `path`; names of files are relative to it.

    Raises:
        CallerFault: the file cannot be read, lacks `id` or `root`, or a value has another form; names file and key.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise CallerFault(f"cannot read {path}: {error.strerror}", do="name the device's TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise CallerFault(f"{path} is not TOML: {error}") from error
    unknown = sorted(set(table) - _KNOWN)
    if unknown:
        raise CallerFault(f"{path}: {', '.join(unknown)} is not known", do=f"known are {', '.join(sorted(_KNOWN))}")
    return _Table(path, table).config()


def with_key_uri(text: str, uri: str) -> str:
    """Return the text of a device's TOML file with `key_uri` said anew and everything else as it stands.

    Raises:
        CallerFault: the file is written in a way that only its owner can change.
    """
    line = f"key_uri = {json.dumps(uri, ensure_ascii=False)}"
    changed = _KEY_URI.sub(lambda _: line, text, count=1) if _KEY_URI.search(text) else f"{line}\n{text}"
    try:
        fits = tomllib.loads(changed) == {**tomllib.loads(text), "key_uri": uri}
    except tomllib.TOMLDecodeError:
        fits = False
    if not fits:
        raise CallerFault(
            "the device's file cannot be changed by a program", do='let key_uri = "..." be one line of it'
        )
    return changed


class _Table:
    """Typed access to a TOML table that names file and key when a value has another form."""

    def __init__(self, path: Path, table: dict[str, Any]) -> None:
        self.path = path
        self.table = table

    def config(self) -> DeviceConfig:
        state = self.file("state") or self.path.absolute().with_suffix(".state")
        root = self.file("root")
        if root is None:
            raise self.wrong("root", "the file that the authority gave out (root.pin)")
        return DeviceConfig(
            id=self.id(),
            state=state,
            root=root,
            key_uri=self.key_uri(state),
            suite=self.number("suite", 1),
            code_file=self.file("code_file"),
            manager_code_file=self.file("manager_code_file"),
            listen=self.address("listen", ("127.0.0.1", 0)),
            manager=self.text("manager", ""),
            group=self.address("group", GROUP),
            interface=self.text("interface", "127.0.0.1"),
            poll_s=float(self.number("poll_s", 0)),
            accept_compact=self.flag("accept_compact"),
            has_clock=self.flag("has_clock"),
            post_quantum=self.flag("post_quantum"),
            handshake=self.one_of("handshake", HANDSHAKES),
            dtls=self.address("dtls", ("", 0)) if "dtls" in self.table else None,
            psk_form=self.one_of("psk_form", PSK_FORMS),
            serve=self.serve(),
        )

    def id(self) -> bytes:
        try:
            raw = bytes.fromhex(self.text("id", ""))
        except ValueError:
            raw = b""
        if len(raw) != 8:
            raise self.wrong("id", "the device's 16 hex digits")
        return raw

    def key_uri(self, state: Path) -> str:
        uri = self.text("key_uri", "")
        if not uri:
            return f"file:{quote(str(state / 'kek'))}"
        scheme, _, name = uri.partition(":")
        return f"file:{quote(str(self.path.absolute().parent / unquote(name)))}" if scheme == "file" else uri

    def one_of(self, key: str, known: tuple[str, ...]) -> str:
        """Return one of the `known` words, the first where the file says nothing."""
        word = self.text(key, known[0])
        if word not in known:
            raise self.wrong(key, f"one of {', '.join(known)}")
        return word

    def serve(self) -> dict[str, Path]:
        files = self.table.get("serve", {})
        if not isinstance(files, dict) or not all(isinstance(name, str) and name for name in files.values()):
            raise self.wrong("serve", 'a table of PATH = "FILE"')
        return {path: self.path.absolute().parent / Path(name).expanduser() for path, name in files.items()}

    def file(self, key: str) -> Path | None:
        name = self.text(key, "")
        return self.path.absolute().parent / Path(name).expanduser() if name else None

    def address(self, key: str, default: tuple[str, int]) -> tuple[str, int]:
        text = self.text(key, "")
        if not text:
            return default
        host, _, port = text.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise self.wrong(key, "ADDRESS:PORT")
        return host.strip("[]"), int(port)

    def text(self, key: str, default: str) -> str:
        value = self.table.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def number(self, key: str, default: int) -> int:
        value = self.table.get(key, default)
        if type(value) is not int or value < 0:
            raise self.wrong(key, "a number from 0")
        return value

    def flag(self, key: str) -> bool:
        value = self.table.get(key, False)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def wrong(self, key: str, expected: str) -> CallerFault:
        return CallerFault(f"{self.path}: {key} is missing or of another form", do=f"give {expected}")


def read_secret_text(path: Path) -> str:
    """Return the text of a file that holds a secret.

    Raises:
        CallerFault: it cannot be read, or others than its owner may read it.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno())
            if mode.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise CallerFault(f"{path} may be read by others", do=f"chmod 600 {path}")
            return file.read(4096).decode("ascii")
    except OSError as error:
        raise CallerFault(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CallerFault(f"{path} is not a text of one code") from error
