"""`agent.json`: who an agent is, where it serves and whom it belongs to. Nothing secret."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from keymote.errors import CallerFault
from keymote.storage.private_files import read_file

FORMAT: Final = "keymote-agent/1"
OWN_FILE: Final = "agent.json"
BROKERS: Final = ("embedded", "mosquitto")
_ID: Final = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Identity:
    """The public part. Addresses are HOST:PORT; `management` is the broker's listener for this machine (Mosquitto).

    `manager` is where the trusted system hears of moves (coap://...); empty: it does not.
    """

    name: str
    broker_id: str
    coap: str
    agent: str
    mqtt: str
    broker: str = "embedded"
    management: str = ""
    key_uri: str = ""
    nm_id: str = ""
    suite: int = 0
    sig_pk: str = ""
    manager: str = ""

    def encode(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2).encode() + b"\n"

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Return who the agent of `folder` is; CallerFault when there is none."""
        path = folder / OWN_FILE
        return cls.decode(read_file(path, "agent", do="make one with `keymote agent init`"), str(path))

    @classmethod
    def decode(cls, data: bytes, name: str) -> Self:
        """Return what an agent.json says; CallerFault that names the file for anything else."""
        try:
            fields: dict[str, Any] = json.loads(data)
            if fields.pop("format") != FORMAT:
                raise ValueError
            made = cls(**fields)
            if not _ID.fullmatch(made.broker_id) or made.broker not in BROKERS:
                raise ValueError
        except (ValueError, TypeError, KeyError) as error:
            raise CallerFault(f"{name} is not an agent's file", do="make one with `keymote agent init`") from error
        return made


def address_of(text: str) -> tuple[str, int]:
    """Return (host, port) of HOST:PORT; CallerFault else."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise CallerFault(f"{text!r} is not HOST:PORT", do="for example 127.0.0.1:1883")
    return host, int(port)
