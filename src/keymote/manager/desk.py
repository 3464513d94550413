"""What an operator's commands may ask of a running manager, over its control socket."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from keymote.engine.base import CellKey, Command, Refused, Report
from keymote.engine.enrolment.registrar_cell import AwaitDone, AwaitRegistration, RegistrarCell
from keymote.engine.faces import (
    ExpectAgain,
    ExpectDevice,
    ResumeDevice,
    RevokeDevice,
    SuspendDevice,
    enrolment_of,
)
from keymote.engine.label import parse_code
from keymote.engine.member import ACTIVE, REVOKED, SUSPENDED
from keymote.errors import CallerFault, ErrorCode, KeymoteError, PeerFault, RefusedByPolicy

MAX_ROWS: Final = 1000
"""Labels of one request; the command sends a file in as many requests as it takes."""

Handler = Callable[[Mapping[str, Any]], Awaitable[object]]


class Registrar(Protocol):
    """The manager's cells: `command` returns the reports of the step when what it changed is durable."""

    async def command(self, key: CellKey, command: Command) -> Sequence[Report]: ...

    def peek(self, key: CellKey) -> object:
        """Return the newest state of a cell, None when there is none."""
        ...


class Desk:
    """`manager_code` is this manager's own special code, the second half of every PRS; usually empty.

    `changed` hears of devices that were suspended, taken back or revoked, before the answer is given.
    """

    def __init__(
        self,
        registrar: Registrar,
        status: Callable[[], Mapping[str, object]],
        manager_code: bytes = b"",
        changed: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> None:
        self._registrar = registrar
        self._status = status
        self._manager_code = manager_code
        self._changed = changed

    def handlers(self) -> Mapping[str, Handler]:
        """Return what may be asked, by name."""
        return {
            "labels.add": self._add_labels,
            "device.rejoin": self._rejoin,
            "device.suspend": self._suspend,
            "device.resume": self._resume,
            "device.revoke": self._revoke,
            "device.examine": self._examine,
            "status": self._report,
        }

    async def _add_labels(self, request: Mapping[str, Any]) -> object:
        """`rows`: [dev_id, code] each. Answer: for each row null, or why it was not taken; a row is taken whole or not."""
        rows = request["rows"]
        if len(rows) > MAX_ROWS:
            raise CallerFault(f"{len(rows)} labels in one request", do=f"send at most {MAX_ROWS}")
        return await asyncio.gather(*(self._add(dev_id, code) for dev_id, code in rows))

    async def _add(self, dev_id: str, code: str) -> str | None:
        try:
            device, parsed = _device(dev_id), parse_code(code)
            expect = ExpectDevice(device, parsed.prs(self._manager_code), parsed.weak)
            await self._order(device, expect)
        except KeymoteError as fault:
            return str(fault)
        return None

    async def _rejoin(self, request: Mapping[str, Any]) -> object:
        """`dev_id`, `code`: a new label for a device that is enrolled; its credential is superseded when it is used."""
        device, parsed = _device(request["dev_id"]), parse_code(request["code"])
        await self._order(device, ExpectAgain(device, parsed.prs(self._manager_code), parsed.weak))
        return {"dev_id": device.hex(), "state": "pending"}

    async def _suspend(self, request: Mapping[str, Any]) -> object:
        return await self._change(request, SuspendDevice(), "suspended")

    async def _resume(self, request: Mapping[str, Any]) -> object:
        return await self._change(request, ResumeDevice(), "active")

    async def _revoke(self, request: Mapping[str, Any]) -> object:
        """`dev_id`, `reason` 0 to 4: here and now, also while the coordinator cannot be reached."""
        reason = request.get("reason", 0)
        if type(reason) is not int or not 0 <= reason <= 4:
            raise CallerFault("reason must be 0 to 4")
        return await self._change(request, RevokeDevice(reason), "revoked")

    async def _change(self, request: Mapping[str, Any], command: Command, state: str) -> object:
        device = _device(request["dev_id"])
        await self._order(device, command)
        if self._changed is not None:
            await self._changed(device)
        return {"dev_id": device.hex(), "state": state}

    async def _examine(self, request: Mapping[str, Any]) -> object:
        """`dev_id`: what stands in the way of this device's enrolment, for `keymote doctor`; never its code."""
        cell = self._registrar.peek(enrolment_of(_device(request["dev_id"])))
        if not isinstance(cell, RegistrarCell):
            return {"known": False}
        used = cell.code is None or isinstance(cell.phase, AwaitRegistration | AwaitDone)
        return {
            "known": True,
            "code": "used" if used else "waits",
            "failures": 0 if cell.code is None else cell.code.failures,
            "state": _state(cell),
        }

    async def _report(self, _request: Mapping[str, Any]) -> object:
        return dict(self._status())

    async def _order(self, device: bytes, command: Command) -> None:
        for report in await self._registrar.command(enrolment_of(device), command):
            if isinstance(report, Refused):
                raise _refusal(device, report)


def _state(cell: RegistrarCell) -> str:
    if cell.member is None:
        return "pending"
    return {ACTIVE: "active", SUSPENDED: "suspended", REVOKED: "revoked"}[cell.member.status]


def _refusal(device: bytes, report: Refused) -> KeymoteError:
    """Return what an operator can act on, instead of a protocol's code."""
    name = device.hex()
    match report.code:
        case ErrorCode.E_OTC_USED:
            return RefusedByPolicy(
                f"device {name} has another code, or has used this one", do=f"keymote device rejoin {name}"
            )
        case ErrorCode.E_SUITE:
            return RefusedByPolicy(f"device {name}: {report.what}", do="give it a label with a code of 16 bytes")
        case ErrorCode.E_UNKNOWN_ID:
            return CallerFault(f"device {name} is not enrolled here", do="see keymote device list")
        case _:
            return PeerFault(report.code, report.what)


def _device(text: object) -> bytes:
    try:
        raw = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        raw = b""
    if len(raw) != 8:
        raise CallerFault("a device id is 16 hex digits")
    return raw
