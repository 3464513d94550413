"""Who calls: every request passes here before any route sees it.

Open are health, readiness, version, the introduction and the enrolment datagrams; whoever else comes without the
operator's token, a manager's certificate or a signed proof is refused, whatever the path.
"""

import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from keymote.coordinator import rules
from keymote.coordinator.api.problems import headers_of, problem_of
from keymote.coordinator.api.services import Services
from keymote.crypto.secret import equal
from keymote.errors import ErrorCode, KeymoteError, PeerFault
from keymote.transports.http_server import Application, Receive, Scope, Send
from keymote.transports.tls import ManagerName
from keymote.wire.admin import API, ENROLMENT, INTRODUCTION, PROBLEM_TYPE, Problem, encode, from_base64url

OPEN: Final = frozenset({"/health", "/ready", "/version", INTRODUCTION, ENROLMENT})
PROVABLE: Final = re.compile(rf"{API}/(managers/[^/]+/certificate|federation/(devices|managers)/[^/]+)")
"""What a signed proof may be shown for; the route checks it."""
UNLIMITED: Final = frozenset({"/health", "/ready", "/version"})
CALLERS: Final = 4096
"""Rate buckets and certificates kept; the longest idle one goes first."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Holds the bearer token."""


@dataclass(frozen=True, slots=True)
class ManagerCaller:
    """Has shown a certificate of a manager that is active now."""

    nm_id: bytes


@dataclass(frozen=True, slots=True)
class Prover:
    """Has sent signed objects in `Authorization: Keymote a.b`; the route checks them."""

    parts: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Stranger:
    """On an open path only."""


Caller = Operator | ManagerCaller | Prover | Stranger

RATES: Final[dict[type, tuple[float, float]]] = {
    Operator: (500.0, 1000.0),
    ManagerCaller: (1000.0, 2000.0),
    Prover: (100.0, 200.0),
    Stranger: (100.0, 200.0),
}
"""Requests a second, and how many at once; a manager counts by its id, the last two by their address."""


class Gate:
    """ASGI middleware; the caller goes on in `scope["user"]`."""

    def __init__(
        self, application: Application, services: Services, mono: Callable[[], float] = time.monotonic
    ) -> None:
        self._application, self._services, self._mono = application, services, mono
        self._buckets: OrderedDict[str, rules.Bucket] = OrderedDict()
        self._names: dict[bytes, ManagerName] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its caller, or refuse it as problem+json."""
        if scope["type"] != "http":
            return
        started, status = self._mono(), 500

        async def watched(message: Scope) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            caller = await self._identify(scope)
            wait_s = self._limit(scope, caller)
            if wait_s:
                raise _TooMany(wait_s)
            scope["user"] = caller
            await self._application(scope, receive, watched)
        except _TooMany as refused:
            problem = Problem("Too many requests", 429, code=ErrorCode.E_LIMIT.name)
            await _refuse(watched, problem, {"Retry-After": str(max(1, round(refused.wait_s)))})
        except KeymoteError as fault:
            self._services.counted.refusals.labels(fault.code.name if isinstance(fault, PeerFault) else "other").inc()
            await _refuse(watched, problem_of(fault), {})
        finally:
            spent = self._mono() - started
            self._services.counted.requests.labels(scope["method"], f"{status // 100}xx").observe(spent)

    async def _identify(self, scope: Scope) -> Caller:
        authorization = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, given = authorization.partition(b" ")
        match scheme.lower():
            case b"bearer":
                if not equal(given.strip(), self._services.token.expose()):
                    raise PeerFault(ErrorCode.E_AUTH, "the bearer token is not this coordinator's")
                return Operator()
            case b"keymote" if PROVABLE.fullmatch(scope["path"]):
                return Prover(tuple(from_base64url(part.decode("latin1")) for part in given.strip().split(b".")))
        certificate = scope.get("extensions", {}).get("tls", {}).get("client_cert")
        if certificate is not None:
            name = self._name_of(certificate)
            return ManagerCaller((await self._services.managers.admit(name.nm_id, name.kid)).nm_id)
        if scope["path"] in OPEN:
            return Stranger()
        raise PeerFault(
            ErrorCode.E_AUTH,
            "this route needs the operator's token or a manager's certificate",
            do="send `Authorization: Bearer` with the content of the token file",
        )

    def _name_of(self, certificate: bytes) -> ManagerName:
        """Return whom a certificate names; what our authority once signed, it has signed."""
        name = self._names.get(certificate)
        if name is None:
            name = self._names[certificate] = self._services.authority.manager_of(certificate)
            if len(self._names) > CALLERS:
                del self._names[next(iter(self._names))]
        return name

    def _limit(self, scope: Scope, caller: Caller) -> float:
        """Return the seconds to wait, 0 when the request may pass."""
        if scope["path"] in UNLIMITED:
            return 0
        client = scope.get("client") or ("", 0)
        match caller:
            case Operator():
                name = "operator"
            case ManagerCaller(nm_id=nm_id):
                name = nm_id.hex()
            case _:
                name = f"address {client[0]}"
        rate, burst = RATES[type(caller)]
        now = self._mono()
        before = self._buckets.pop(name, rules.Bucket(burst, now))
        after = before.taken(now, rate=rate, burst=burst)
        self._buckets[name] = before if isinstance(after, float) else after
        if len(self._buckets) > CALLERS:
            self._buckets.popitem(last=False)
        return after if isinstance(after, float) else 0


class _TooMany(Exception):  # never leaves this file
    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s


async def _refuse(send: Send, problem: Problem, headers: dict[str, str]) -> None:
    body = encode(problem)
    fields = {"Content-Type": PROBLEM_TYPE, "Content-Length": str(len(body)), **headers_of(problem), **headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
