"""The authority's one act: vouching for coordinators. Off line; no network, no store."""

from dataclasses import dataclass
from typing import Final, Self

from keymote.crypto.entropy import Entropy
from keymote.crypto.kdf import sha256
from keymote.crypto.secret import Secret
from keymote.crypto.suite import SigningKey
from keymote.crypto.suites import suite_by_id
from keymote.engine.chain import CLOCK_SKEW_S, Pin
from keymote.errors import CallerFault, ErrorCode, PeerFault
from keymote.wire import signed
from keymote.wire.credential import Claims, Credential, Role, issue

COORDINATOR_DAYS: Final = 730
MAX_DAYS: Final = 3650
REQUEST_LIFE_S: Final = 30 * 86400
"""A request older than this is refused: it lay about for too long to say who wrote it."""


@dataclass(frozen=True, slots=True)
class Root:
    """The authority's signature key; its id is the first 8 bytes of the SHA-256 of the public key."""

    key: SigningKey

    @classmethod
    def create(cls, suite: int, entropy: Entropy) -> Self:
        """Return a new root of this suite; PeerFault E_SUITE for one that we do not run."""
        return cls(suite_by_id(suite).generate_signing_key(entropy))

    @classmethod
    def load(cls, suite: int, seed: Secret) -> Self:
        """Return the root of a stored 32-byte seed."""
        return cls(suite_by_id(suite).signing_key(seed))

    @property
    def pin(self) -> Pin:
        """What everybody pins."""
        return Pin(sha256(self.key.public)[:8], self.key.suite_id, self.key.public, Role.AUTHORITY)

    def certify(
        self, request: bytes, now: int, serial: bytes, *, days: int = COORDINATOR_DAYS, status_epoch: int = 0
    ) -> Credential:
        """Return the credential (role 2) that a coordinator asked for; it starts at `now` (UTC seconds).

        Raises:
            PeerFault: E_FORMAT, E_SUITE or E_POINT for a malformed request or key, E_AUTH when it is not signed by the
                key that it names, E_CRED when its date is more than 30 days past or beyond the clock skew.
            CallerFault: `days` is not 1 to 3650.
        """
        if not 0 < days <= MAX_DAYS:
            raise CallerFault(f"a coordinator's credential lasts 1 to {MAX_DAYS} days, not {days}")
        wanted = verified_request(request)
        if not now - REQUEST_LIFE_S <= wanted.ts <= now + CLOCK_SKEW_S:
            raise PeerFault(
                ErrorCode.E_CRED,
                f"request was made at {wanted.ts}, now is {now}",
                do="make a new one with `keymote coordinator init`, or set the clock",
            )
        claims = Claims(
            iss=self.pin.id,
            sub=wanted.nc_id,
            exp=now + days * 86400,
            iat=now,
            serial=serial,
            suite=wanted.suite,
            nc_id=wanted.nc_id,
            E1=None,
            E2=None,
            sig_pk=wanted.sig_pk,
            status_epoch=status_epoch,
            role=Role.COORDINATOR,
        )
        return issue(self.key, claims)


def new_request(key: SigningKey, nc_id: bytes, now: int) -> bytes:
    """Return a coordinator's request, signed by the key that it asks a credential for."""
    return signed.write(key, signed.CoordinatorRequest(nc_id, key.suite_id, key.public, now))


def verified_request(request: bytes) -> signed.CoordinatorRequest:
    """Return what a request asks for, after checking that its own key signed it."""
    found = signed.read(request, signed.CoordinatorRequest)
    return found.verified_by(suite_by_id(found.claims.suite).verify_key(found.claims.sig_pk))
