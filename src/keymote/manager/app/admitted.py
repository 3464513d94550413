"""What a coordinator's refusal means to a service of the manager that asks it something."""

from collections.abc import Awaitable
from typing import TypeVar

from keymote.errors import ErrorCode, PeerFault, Unavailable

T = TypeVar("T")


async def admitted(call: Awaitable[T]) -> T:
    """Return the answer; Unavailable where we are not admitted now, because our certificate is being replaced (GS-28)."""
    try:
        return await call
    except PeerFault as fault:
        if fault.code in (ErrorCode.E_AUTH, ErrorCode.E_CRED):
            raise Unavailable(f"the coordinator does not admit this manager: {fault.what}", do=fault.do) from fault
        raise
