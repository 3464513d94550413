"""What a provisioning file says: all that a client needs which holds nothing but symmetric keys (docs/decisions/0189)."""

import json
from dataclasses import dataclass
from typing import Any, Final, Self

from keymote.crypto.secret import Secret
from keymote.engine.base import Peer
from keymote.errors import CallerFault, Incompatible

PSS_SIZE: Final = 32
_ID_SIZE: Final = 8
_VERSION: Final = 1
AGAIN: Final = "keymote manager client add NAME --out FILE"
"""What makes such a file."""


@dataclass(frozen=True, slots=True)
class ClientFile:
    """`manager`: where its trusted system listens. `pss` None: the client has taken it."""

    name: str
    client_id: bytes
    suite: int
    manager: Peer
    pss: Secret | None

    def encode(self) -> bytes:
        """Return the content of the file, for its owner alone."""
        said: dict[str, object] = {
            "keymote": "client",
            "version": _VERSION,
            "name": self.name,
            "client_id": self.client_id.hex(),
            "suite": self.suite,
            "manager": self.manager,
        }
        if self.pss is not None:
            said["pss"] = self.pss.expose().hex()
        return json.dumps(said, indent=1).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes, where: str) -> Self:
        """Return what the file called `where` says.

        Raises:
            CallerFault: it is none.
            Incompatible: it is of another version.
        """
        try:
            said: Any = json.loads(data)
            if said["keymote"] != "client":
                raise ValueError
            if said["version"] != _VERSION:
                raise Incompatible(f"{where} is of version {said['version']!r}, not {_VERSION}", do="update Keymote")
            client_id, pss = bytes.fromhex(said["client_id"]), bytes.fromhex(said.get("pss", ""))
            name, suite, manager = said["name"], said["suite"], said["manager"]
            good = isinstance(name, str) and type(suite) is int and isinstance(manager, str)
            if not good or len(client_id) != _ID_SIZE or len(pss) not in (0, PSS_SIZE):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise CallerFault(f"{where} is no provisioning file", do=AGAIN) from None  # what it holds stays unsaid
        return cls(name, client_id, suite, manager, Secret(pss) if pss else None)
