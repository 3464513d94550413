"""What engines ask of the services around them (`Ask.query`) and what comes back (`Answer.result`).

A service that says no answers with a PeerFault, one that does not answer with an Unavailable.
"""

from dataclasses import dataclass

from keymote.engine.base import Peer


@dataclass(frozen=True, slots=True)
class RegisterCredential:
    """Registrar -> its coordinator: I vouch for this credential. `replaces` names the serial that a rejoin supersedes.

    Idempotent: the same bytes again give the same receipt. PeerFault E_CRED: dev_id or serial is taken (HTTP 409).
    """

    credential: bytes
    replaces: bytes = b""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The coordinator's answer to `RegisterCredential`: a COSE_Sign1 of mt 12, may be empty."""

    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class FindDevice:
    """Manager -> its coordinator, and from there to the others: who manages this device?

    PeerFault E_UNKNOWN_ID: nobody knows it; E_NOSHARE: it is suspended or revoked.
    """

    dev_id: bytes


@dataclass(frozen=True, slots=True)
class DeviceFound:
    """The device's credential, its manager's, that manager's coordinator's, and where the manager listens.

    `hybrid_key`: what that manager has published for the post-quantum profile, empty where it has not.
    """

    credential: bytes
    cred_NM: bytes
    cred_NC: bytes
    manager: Peer
    hybrid_key: bytes = b""


@dataclass(frozen=True, slots=True)
class FindManager:
    """Manager -> its coordinator, and from there to the others: who is this manager?

    PeerFault E_UNKNOWN_ID: nobody knows it; E_CRED: it is revoked.
    """

    nm_id: bytes


@dataclass(frozen=True, slots=True)
class ManagerFound:
    """The manager's credential, its coordinator's, where it listens, and what it has published as its hybrid key."""

    cred_NM: bytes
    cred_NC: bytes
    manager: Peer
    hybrid_key: bytes = b""


@dataclass(frozen=True, slots=True)
class ReportRevocation:
    """Manager -> its coordinator: a session was revoked (REVNOTE bytes); answered by True."""

    revnote: bytes
