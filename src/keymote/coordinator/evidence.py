"""Judging an audit log from outside: chain, signed heads, and whose heads they are. No store, no network."""

from collections.abc import Iterable, Sequence

from keymote.crypto.suite import VerifyKey
from keymote.crypto.suites import SUITES, suite_by_id
from keymote.engine.audit import Link, Verdict, recompute
from keymote.engine.chain import Pin, Trust
from keymote.errors import ErrorCode, PeerFault
from keymote.wire import signed
from keymote.wire.credential import Credential, Role, SignedCredential


def coordinator_of(raw: bytes, root: Pin | None) -> Credential | SignedCredential:
    """Return the credential under which heads were signed; with `root` only if it chains to it (dates not judged).

    Raises:
        PeerFault: E_CRED when the chain does not hold, E_FORMAT for what is no coordinator's credential.
    """
    if root is not None:
        return Trust((root,), SUITES).verify([raw], Role.COORDINATOR, None)
    found = SignedCredential.decode(raw)
    if found.claims.role is not Role.COORDINATOR:
        raise PeerFault(ErrorCode.E_CRED, "not the credential of a coordinator")
    return found


def judge(
    links: Iterable[Link],
    heads: Iterable[bytes],
    coordinator: Credential | SignedCredential,
    former: Sequence[Credential | SignedCredential] = (),
) -> Verdict:
    """Return the verdict over a log and the signed heads (type 14) that exist for it.

    `former` are the credentials of keys that the coordinator had before; heads of that time are signed by those.

    Raises:
        PeerFault: a head was not signed by this coordinator: E_AUTH, or it or one of `former` is of another: E_CRED.
    """
    claims = coordinator.claims
    held = [claims, *(each.claims for each in former)]
    if any(each.sub != claims.sub for each in held):
        raise PeerFault(ErrorCode.E_CRED, "a former credential is of another coordinator")
    verifiers = [suite_by_id(each.suite).verify_key(each.sig_pk) for each in held]
    signed_over: dict[int, bytes] = {}
    for raw in heads:
        head = _verified(raw, verifiers)
        if head.nc_id != claims.sub:
            raise PeerFault(ErrorCode.E_CRED, f"head over entry {head.seq} is of coordinator {head.nc_id.hex()}")
        if signed_over.setdefault(head.seq, head.h) != head.h:
            raise PeerFault(ErrorCode.E_CRED, f"two different heads were signed over entry {head.seq}")
    return recompute(links, signed_over)


def _verified(raw: bytes, verifiers: Iterable[VerifyKey]) -> signed.AuditHead:
    """Return the head in `raw` under the first of these keys that signed it; E_AUTH when none did."""
    found, refusal = signed.read(raw, signed.AuditHead), PeerFault(ErrorCode.E_AUTH, "head under no key")
    for verifier in verifiers:
        try:
            return found.verified_by(verifier)
        except PeerFault as fault:
            refusal = fault
    raise refusal
