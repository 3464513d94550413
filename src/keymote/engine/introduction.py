"""How a stranger comes to trust a coordinator's X.509 authority: by the pinned root alone (docs/decisions/0030)."""

from keymote.crypto.kdf import sha256
from keymote.crypto.suites import SUITES
from keymote.engine.chain import Pin, Trust
from keymote.errors import ErrorCode, PeerFault
from keymote.wire import signed
from keymote.wire.credential import Credential, Role


def introduced(credential: bytes, authority_der: bytes, binding: bytes, root: Pin, now: int) -> Credential:
    """Return the coordinator that an X.509 authority belongs to, trusting nothing but the pinned `root`.

    Raises:
        PeerFault: E_CRED when credential, binding and authority do not belong together or have expired.
    """
    coordinator = Trust((root,), SUITES).verify([credential], Role.COORDINATOR, now)
    found = signed.read(binding, signed.CertificateAuthority)
    suite = SUITES[coordinator.claims.suite]
    claims = found.verified_by(suite.verify_key(coordinator.claims.sig_pk))
    if (found.kid, claims.nc_id, claims.digest) != (coordinator.kid, coordinator.claims.sub, sha256(authority_der)):
        raise PeerFault(ErrorCode.E_CRED, "certificate authority is not the one that this coordinator signed")
    if now > claims.not_after:
        raise PeerFault(ErrorCode.E_CRED, f"binding of the certificate authority expired at {claims.not_after}")
    return coordinator
