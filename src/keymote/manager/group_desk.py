"""What an operator at a gateway may ask of its groups, over the control socket; it works without the coordinator."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from keymote.engine.group.ring_states import CollectR1, CollectR2, CollectR3, RingCell, Running
from keymote.engine.group.starting import positions_missing
from keymote.errors import CallerFault, RefusedByPolicy
from keymote.manager.groups import GroupSteward

Handler = Callable[[Mapping[str, Any]], Awaitable[object]]
_STAGES: Final = {CollectR1: "round 1", CollectR2: "round 2", CollectR3: "round 3", Running: "running"}


class Records(Protocol):
    """The encrypted log of each group: how many records are kept here, and how many gave way before they were handed in."""

    def waiting(self, gid: bytes) -> int: ...

    def dropped(self, gid: bytes) -> int: ...


class Groups(Protocol):
    """The groups of this manager; `do` does something after what happened before it."""

    @property
    def waiting(self) -> int: ...

    @property
    def records(self) -> "Records": ...

    def stewards(self) -> Sequence[GroupSteward]: ...

    async def do(self, job: Callable[[], Awaitable[None]]) -> None: ...


class GroupDesk:
    """Groups are named by their name or gid, devices by their id."""

    def __init__(self, groups: Groups) -> None:
        self._groups = groups

    def handlers(self) -> Mapping[str, Handler]:
        """Return what may be asked, by name."""
        return {
            "group.list": self._list,
            "group.show": self._show,
            "group.add": self._add,
            "group.evict": self._evict,
            "group.rekey": self._rekey,
        }

    async def _list(self, _request: Mapping[str, Any]) -> object:
        return [_line(steward) for steward in self._groups.stewards()]

    async def _show(self, request: Mapping[str, Any]) -> object:
        """`group`: how it stands here, and how many reports and records wait for the coordinator."""
        steward, records = self._named(request), self._groups.records
        kept = {"records_waiting": records.waiting(steward.gid), "records_dropped": records.dropped(steward.gid)}
        return {**_view(steward), "reports_waiting": self._groups.waiting, **kept}

    async def _add(self, request: Mapping[str, Any]) -> object:
        """`group`, `dev_id`: let a device in that is enrolled here."""
        steward, dev_id = self._led(request), _device(request)
        await self._groups.do(lambda: steward.add(dev_id))
        return {"gid": steward.gid.hex(), "dev_id": dev_id.hex(), "state": _soon(steward, "invited")}

    async def _evict(self, request: Mapping[str, Any]) -> object:
        """`group`, `dev_id`, `reason` 3 or 4: put a device out now."""
        steward, dev_id, reason = self._led(request), _device(request), _number(request, 3, 4)
        await self._groups.do(lambda: steward.evict(dev_id, reason))
        return {"gid": steward.gid.hex(), "dev_id": dev_id.hex(), "state": _soon(steward, "evicted")}

    async def _rekey(self, request: Mapping[str, Any]) -> object:
        """`group`, `reason` 1 to 4: a new epoch for the same members."""
        steward, reason = self._led(request), _number(request, 1, 4)
        await self._groups.do(lambda: steward.rekey(reason))
        return {"gid": steward.gid.hex(), "state": "asked"}

    def _led(self, request: Mapping[str, Any]) -> GroupSteward:
        """Return a group that this manager leads; RefusedByPolicy for one to which it only invites its devices."""
        steward, charter = self._named(request), self._named(request).record.charter
        if charter is not None and not steward.leads:
            raise RefusedByPolicy(
                f"group {charter.name} is led by manager {charter.nm_id}; its devices here are only invited by us",
                do="say it at that manager, or to the coordinator",
            )
        return steward

    def _named(self, request: Mapping[str, Any]) -> GroupSteward:
        name = request["group"]
        for steward in self._groups.stewards():
            charter = steward.record.charter
            if name == steward.gid.hex() or (charter is not None and name == charter.name):
                return steward
        raise CallerFault(f"group {name!r} is not led here", do="see keymote group list --here")


def _soon(steward: GroupSteward, state: str) -> str:
    """Return what a device is from now on: where the coordinator signs every roster, what it was until that has signed."""
    charter = steward.record.charter
    return "waits for the coordinator" if charter is not None and charter.central else state


def _line(steward: GroupSteward) -> dict[str, object]:
    charter, cell = steward.record.charter, steward.ring
    name, state, rev = ("", "unknown", 0) if charter is None else (charter.name, charter.state, charter.rev)
    line: dict[str, object] = {"gid": steward.gid.hex(), "name": name, "state": state, "rev": rev, "n": 0, "epoch": 0}
    line["leads"] = steward.leads
    if cell is not None:
        line |= {"n": len(cell.lasting.held.entries), "epoch": steward.record.epoch}
    return line


def _view(steward: GroupSteward) -> dict[str, object]:
    cell = steward.ring
    view = _line(steward)
    if cell is not None:
        lasting = cell.lasting
        epoch, attempt = lasting.number
        view |= {"roster_ver": lasting.held.ver, "run": f"{epoch}.{attempt}", "stage": _stage(cell)}
        view["confirmed"] = bool(lasting.commit)
        claims = lasting.started()
        view["hedge"] = None if claims is None or not claims.reason.psk_id else claims.reason.psk_id.hex()
    return {**view, "members": [dict(member) for member in steward.members()]}


def _stage(cell: RingCell) -> str:
    stage = cell.stage
    if isinstance(stage, (CollectR1, CollectR2, CollectR3)):
        return f"{_STAGES[type(stage)]}, {len(positions_missing(stage))} missing"
    return _STAGES.get(type(stage), "resting")


def _device(request: Mapping[str, Any]) -> bytes:
    text = request["dev_id"]
    try:
        raw = bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        raw = b""
    if len(raw) != 8:
        raise CallerFault("a device id is 16 hex digits")
    return raw


def _number(request: Mapping[str, Any], least: int, most: int) -> int:
    reason = request.get("reason", least)
    if type(reason) is not int or not least <= reason <= most:
        raise CallerFault(f"reason must be {least} to {most}")
    return reason
