"""What a session's key opens besides records: OSCORE requests and DTLS connections. It shuts with the session."""

from dataclasses import dataclass
from typing import Final

from keymote.crypto.secret import Secret
from keymote.engine.exports import PskForm, oscore_parameters, psk, psk_identity
from keymote.engine.faces import KeyReady
from keymote.host.resources import Connections, Party, Resources


@dataclass(frozen=True, slots=True)
class _Open:
    """One session as others may use it: its identity and key for DTLS stand ready for the handshake."""

    ready: KeyReady
    identity: str
    psk: Secret

    @property
    def party(self) -> Party:
        return Party(self.ready.psid, self.ready.peer_id.hex())


class Doors:
    """Every door follows the sessions: opened with each of them, shut when it ends or is handed over."""

    def __init__(self, form: PskForm = PskForm.TEXT32) -> None:
        self._form: Final = form
        self._by_psid: dict[bytes, _Open] = {}
        self._by_identity: dict[str, _Open] = {}
        self._resources: Resources | None = None
        self._connections: Connections | None = None

    def attach_resources(self, resources: Resources) -> None:
        """Let the sessions of now and later through to `resources`."""
        self._resources = resources
        for opened in self._by_psid.values():
            self._admit(resources, opened)

    def attach_connections(self, connections: Connections) -> None:
        """Shut `connections` with their session from now on; they ask for keys by `key_of`."""
        self._connections = connections

    def open(self, ready: KeyReady) -> None:
        """Open every door to the holder of this session's key."""
        opened = _Open(ready, psk_identity(ready.psid, ready.keys), psk(ready.keys, self._form))
        self._by_psid[ready.psid] = opened
        self._by_identity[opened.identity] = opened
        if self._resources is not None:
            self._admit(self._resources, opened)

    def shut(self, psid: bytes) -> None:
        """End the session's OSCORE context, its observations and its DTLS connections at once."""
        opened = self._by_psid.pop(psid, None)
        if opened is None:
            return
        del self._by_identity[opened.identity]  # before connections end: a handshake under way asks once more
        if self._resources is not None:
            self._resources.dismiss(psid)
        if self._connections is not None:
            self._connections.end(opened.identity)

    def was_used(self, psid: bytes) -> bool:
        """Return whether we have protected a message by the session's OSCORE context."""
        return self._resources is not None and self._resources.was_used(psid)

    def key_of(self, identity: str) -> Secret | None:
        """Return the pre-shared key of an open session, in this device's form."""
        opened = self._by_identity.get(identity)
        return None if opened is None else opened.psk

    def party_of(self, identity: str) -> Party | None:
        """Return whose session an identity names."""
        opened = self._by_identity.get(identity)
        return None if opened is None else opened.party

    @staticmethod
    def _admit(resources: Resources, opened: _Open) -> None:
        ready = opened.ready
        resources.admit(oscore_parameters(ready.psid, ready.keys, initiator=ready.initiator), opened.party.peer)
