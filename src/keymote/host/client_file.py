"""What a provisioning file says: all that a client needs which holds nothing but symmetric keys (docs/decisions/0189)."""

import json
from dataclasses import dataclass
from typing import Any, Final, Self

from keymote.crypto.secret import Secret
from keymote.engine.base import Peer
from keymote.errors import CallerFault, Incompatible, PeerFault
from keymote.wire.admin import from_base64url, to_base64url

PSS_SIZE: Final = 32
_ID_SIZE: Final = 8
FORMAT: Final = "keymote-client/1"
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
            "format": FORMAT,
            "name": self.name,
            "client_id": self.client_id.hex(),
            "suite": self.suite,
            "manager": self.manager,
        }
        if self.pss is not None:
            said["pss"] = to_base64url(self.pss.expose())
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
            if said["format"] != FORMAT:
                raise Incompatible(f"{where} has the format {said['format']!r}, not {FORMAT}", do="update Keymote")
            client_id, pss = bytes.fromhex(said["client_id"]), from_base64url(said.get("pss", ""))
            name, suite, manager = said["name"], said["suite"], said["manager"]
            good = isinstance(name, str) and type(suite) is int and isinstance(manager, str)
            if not good or len(client_id) != _ID_SIZE or len(pss) not in (0, PSS_SIZE):
                raise ValueError
        except (ValueError, KeyError, TypeError, PeerFault):
            raise CallerFault(f"{where} is no provisioning file", do=AGAIN) from None  # what it holds stays unsaid
        return cls(name, client_id, suite, manager, Secret(pss) if pss else None)
