"""Judging an audit log from outside: chain, signed heads, and whose heads they are. No store, no network."""

from collections.abc import Iterable

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


def judge(links: Iterable[Link], heads: Iterable[bytes], coordinator: Credential | SignedCredential) -> Verdict:
    """Return the verdict over a log and the signed heads (type 14) that exist for it.

    Raises:
        PeerFault: a head was not signed by this coordinator: E_AUTH, or names another: E_CRED.
    """
    claims = coordinator.claims
    verifier = suite_by_id(claims.suite).verify_key(claims.sig_pk)
    signed_over: dict[int, bytes] = {}
    for raw in heads:
        head = signed.read(raw, signed.AuditHead).verified_by(verifier)
        if head.nc_id != claims.sub:
            raise PeerFault(ErrorCode.E_CRED, f"head over entry {head.seq} is of coordinator {head.nc_id.hex()}")
        if signed_over.setdefault(head.seq, head.h) != head.h:
            raise PeerFault(ErrorCode.E_CRED, f"two different heads were signed over entry {head.seq}")
    return recompute(links, signed_over)
