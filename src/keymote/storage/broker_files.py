"""Files between a trusted system and its brokers' agents: the signed list, and what an agent is given with it (mode 0600)."""

import binascii
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from keymote.crypto.secret import Secret
from keymote.errors import CallerFault
from keymote.storage.private_files import read_file, read_private, write_private

LIST_FORMAT: Final = "keymote-federation/1"
GIVEN_FORMAT: Final = "keymote-broker/1"
_KEY: Final = 32


@dataclass(frozen=True, slots=True)
class ListFile:
    """The list of brokers as a file that may be public: the trusted system's statement, and the content that it is about."""

    statement: bytes
    content: bytes

    def encode(self) -> bytes:
        return _written(LIST_FORMAT, {"statement": _text(self.statement), "content": _text(self.content)})

    @classmethod
    def decode(cls, data: bytes, name: str) -> Self:
        """Return the file's content, which nobody has checked; CallerFault that names the file for anything else."""
        fields = _read(data, LIST_FORMAT, name)
        return cls(_bytes(fields, "statement", name), _bytes(fields, "content", name))

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls.decode(read_file(path, "list of brokers"), str(path))


@dataclass(frozen=True, slots=True)
class GivenFile:
    """What a trusted system gives one agent: whom to believe (`sig_pk` of its `suite`), the key that they share, and the list."""

    broker_id: bytes
    nm_id: bytes
    suite: int
    sig_pk: bytes
    shared: Secret
    listed: ListFile
    manager: str = ""
    """Where the trusted system hears of moves (coap://...); empty: it does not."""

    def write(self, path: Path) -> None:
        """Write the file, readable by its owner alone; CallerFault when there is one."""
        if path.exists():
            raise CallerFault(f"{path} exists already", do="name a file that does not")
        fields = {
            "broker_id": self.broker_id.hex(),
            "nm_id": self.nm_id.hex(),
            "suite": self.suite,
            "sig_pk": _text(self.sig_pk),
            "shared": _text(self.shared.expose()),
            "statement": _text(self.listed.statement),
            "content": _text(self.listed.content),
            "manager": self.manager,
        }
        write_private(path, _written(GIVEN_FORMAT, fields))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return what such a file says; CallerFault when others can read it or it is none."""
        name = str(path)
        fields = _read(read_private(path, "file for the agent"), GIVEN_FORMAT, name)
        try:
            broker_id, nm_id = bytes.fromhex(fields["broker_id"]), bytes.fromhex(fields["nm_id"])
            suite, manager = int(fields["suite"]), str(fields.get("manager", ""))
        except (KeyError, ValueError, TypeError) as error:
            raise CallerFault(f"{name} is no file for an agent", do="keymote manager broker add") from error
        shared = _bytes(fields, "shared", name)
        if len(shared) != _KEY:
            raise CallerFault(f"{name} is no file for an agent", do="keymote manager broker add")
        listed = ListFile(_bytes(fields, "statement", name), _bytes(fields, "content", name))
        return cls(broker_id, nm_id, suite, _bytes(fields, "sig_pk", name), Secret(shared), listed, manager)


def _written(form: str, fields: dict[str, Any]) -> bytes:
    return json.dumps({"format": form, **fields}, indent=2).encode() + b"\n"


def _read(data: bytes, form: str, name: str) -> dict[str, Any]:
    try:
        fields = json.loads(data)
        if fields["format"] == form:
            return dict(fields)
    except (ValueError, KeyError, TypeError):
        pass
    raise CallerFault(f"{name} is not of the form {form}", do="name the file that the manager wrote")


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode()


def _bytes(fields: dict[str, Any], key: str, name: str) -> bytes:
    try:
        return urlsafe_b64decode(fields[key])
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise CallerFault(f"{name} lacks {key}", do="name the file that the manager wrote") from error
