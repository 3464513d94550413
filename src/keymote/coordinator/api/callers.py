"""What a route demands of its caller, and the queries that lists share."""

from typing import Annotated, TypeVar

from litestar import Request
from litestar.datastructures import State
from litestar.params import Parameter

from keymote.coordinator.api.gate import Caller, ManagerCaller, Operator, Prover, Stranger
from keymote.coordinator.api.services import Services
from keymote.errors import ErrorCode, PeerFault, RefusedByPolicy
from keymote.wire.admin import MAX_PAGE

C = TypeVar("C", bound=Operator | ManagerCaller | Prover)

Call = Request[Caller, None, State]
Limit = Annotated[int, Parameter(ge=1, le=MAX_PAGE, description="Rows of a page.")]
AfterId = Annotated[str | None, Parameter(pattern="^[0-9a-f]{16}$", description="`next` of the page before.")]
AfterNumber = Annotated[int, Parameter(ge=0, description="`next` or `cursor` of the page before.")]
"""Types of query parameters."""


def services_of(request: Call) -> Services:
    """Provide the services to a route."""
    services: Services = request.app.state["services"]
    return services


def demand(request: Call, kind: type[C]) -> C:
    """Return the caller when it is of this kind; else 401 for a proof that is due, RefusedByPolicy for the rest."""
    caller = request.user
    if isinstance(caller, kind):
        return caller
    if kind is Prover:
        raise PeerFault(ErrorCode.E_AUTH, "this route needs `Authorization: Keymote` with a signed proof")
    who = "an operator" if kind is Operator else "a manager"
    raise RefusedByPolicy(f"this is for {who} to do")


def demand_reader(request: Call) -> None:
    """Return for operators and managers; a signed proof opens only the route that it is for."""
    if isinstance(request.user, Prover | Stranger):
        raise PeerFault(ErrorCode.E_AUTH, "this route needs the operator's token or a manager's certificate")


def page(rows: int, limit: int, last: str) -> str | None:
    """Return the cursor of the next page, None when this one was the last."""
    return last if rows == limit else None
