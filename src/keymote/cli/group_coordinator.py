"""`keymote group` at the coordinator: what should be of a group, and what is.

The coordinator says what should be; the manager that leads the group makes it so, and reports.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from keymote.cli.group_here import HereOption, add_here, evict_here, rekey_here, show_here
from keymote.cli.output import Output, OutputOption, note, show
from keymote.cli.settings import DataOption, state_directory
from keymote.errors import CallerFault, PeerFault

if TYPE_CHECKING:
    from keymote.transports.http_operator import OperatorClient
    from keymote.wire.admin_groups import GroupView

GroupArgument = Annotated[str, typer.Argument(metavar="GROUP", help="Its name, or its id of 16 hex digits.")]
DevicesArgument = Annotated[list[str], typer.Argument(metavar="DEV_ID...", help="16 hex digits each.")]
GatewayOption = Annotated[
    str, typer.Option("--gateway", metavar="MANAGER", help="Name or nm_id of the manager that leads.")
]
UrlOption = Annotated[
    str, typer.Option("--url", envvar="KEYMOTE_COORDINATOR_URL", help="Where the coordinator serves.", metavar="URL")
]
CoordinatorOption = Annotated[
    Path | None,
    typer.Option(
        "--coordinator",
        metavar="DIR",
        envvar="KEYMOTE_COORDINATOR_DATA",
        help="The coordinator's directory, or one that holds its ca.pem and token.",
        show_default="user data",
    ),
]
DEFAULT_URL: Final = "https://localhost:8443"
_CLOCK: Final = "%Y-%m-%d %H:%M:%S"


# ------------------------------------------------------------------ what should be


def create(
    name: Annotated[str, typer.Argument(help="A word for people.")],
    gateway: GatewayOption,
    member: Annotated[list[str], typer.Option("--member", metavar="DEV_ID", help="May be repeated, up to 32 in all.")],
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="DEV_ID", help="May join without the coordinator; repeatable."),
    ] = None,
    edge: Annotated[bool, typer.Option("--edge", help="The gateway is a member itself, and holds the key.")] = False,
    level: Annotated[int, typer.Option(min=0, max=2, help="What members verify themselves: V0, V1 or V2.")] = 1,
    unicast: Annotated[
        bool, typer.Option("--unicast", help="Rounds go through the gateway, not by multicast.")
    ] = False,
    compact: Annotated[
        bool, typer.Option("--compact", help="R1 without signature at first, for short frames.")
    ] = False,
    central: Annotated[bool, typer.Option("--central", help="The coordinator signs every roster.")] = False,
    telemetry: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Resource whose records need no signature; repeatable.")
    ] = None,
    period: Annotated[int, typer.Option(min=0, metavar="SECONDS", help="Longest life of a key; 0: no limit.")] = 86400,
    wake: Annotated[
        list[str] | None, typer.Option(metavar="HH:MM", help="UTC; the key is changed then; repeatable.")
    ] = None,
    batch: Annotated[
        int, typer.Option(min=0, metavar="SECONDS", help="How long joins and leaves wait for others.")
    ] = 0,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a group: its members, enrolled at the gateway, agree on a key as soon as that hears of it.

    \b
    Example:
      keymote group create street-7 --gateway gw-7 --member 00000000000000a1 --member 00000000000000a2
    """
    from keymote.wire import admin_groups

    policy = admin_groups.GroupPolicy(period_s=period, batch_s=batch, wake=sorted(map(seconds_of_day, wake or ())))

    async def work(client: "OperatorClient") -> "GroupView":
        wish = admin_groups.CreateGroup(
            name=name,
            gateway=await _manager(client, gateway),
            members=member,
            allowed=allow or [],
            mode="edge" if edge else "relay",
            level=level,
            multicast=not unicast,
            compact=compact,
            central=central,
            telemetry=telemetry or ["telemetry"],
            policy=policy,
        )
        return await client.send("POST", "/groups", wish, admin_groups.GroupView)

    _tell(_at_coordinator(coordinator, url, work), output)


def add(
    group: GroupArgument,
    devices: DevicesArgument,
    here: HereOption = False,
    data: DataOption = None,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take devices in: they get the key of the next epoch, and can read nothing of before.

    \b
    Example:
      keymote group add street-7 00000000000000a3
    """
    if here:
        add_here(data, group, devices, output)
        return
    from keymote.wire.admin_groups import ChangeMembers

    _wish(group, "members", ChangeMembers(add=devices), coordinator, url, output)


def evict(
    group: GroupArgument,
    devices: DevicesArgument,
    reason: Annotated[int, typer.Option(min=3, max=4, help="3 leave; 4 compromise: the old key ends at once.")] = 3,
    here: HereOption = False,
    data: DataOption = None,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put devices out: the others agree on a key without them; `show` says when that was so, and who has not got it.

    \b
    Example:
      keymote group evict street-7 00000000000000a2 --reason 4
      keymote group evict street-7 00000000000000a2 --here --data gw-7
    """
    if here:
        evict_here(data, group, devices, reason, output)
        return
    from keymote.wire.admin_groups import ChangeMembers

    _wish(group, "members", ChangeMembers(remove=devices, reason=reason), coordinator, url, output)


def allow(
    group: GroupArgument,
    devices: DevicesArgument,
    forbid: Annotated[bool, typer.Option("--forbid", help="They may not any more; members stay members.")] = False,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say which devices the gateway may let in by itself when they ask, coordinator or not.

    \b
    Example:
      keymote group allow street-7 00000000000000a4 00000000000000a5
    """
    from keymote.wire.admin_groups import AllowMembers

    body = AllowMembers(remove=devices) if forbid else AllowMembers(add=devices)
    _wish(group, "allowed", body, coordinator, url, output)


def rekey(
    group: GroupArgument,
    reason: Annotated[int, typer.Option(help="1 periodic; 4 compromise: the old key ends at once.")] = 1,
    here: HereOption = False,
    data: DataOption = None,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have the members agree on a new key.

    \b
    Example:
      keymote group rekey street-7
    """
    from keymote.wire.admin_groups import RekeyGroup

    if reason not in (1, 4):
        raise CallerFault(f"a key is changed for reason 1 or 4, not {reason}")
    if here:
        rekey_here(data, group, reason, output)
        return
    _wish(group, "rekey", RekeyGroup(reason), coordinator, url, output)


def move(
    group: GroupArgument,
    gateway: GatewayOption,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Hand a group to another manager; nothing that the one before has signed counts any more.

    \b
    Example:
      keymote group move street-7 --gateway gw-8
    """
    from keymote.wire import admin_groups

    async def work(client: "OperatorClient") -> "GroupView":
        gid, body = await _gid(client, group), admin_groups.MoveGroup(await _manager(client, gateway))
        return await client.send("POST", f"/groups/{gid}/gateway", body, admin_groups.GroupView)

    _tell(_at_coordinator(coordinator, url, work), output)


def close(
    group: GroupArgument,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a group for good; its name is not given again.

    \b
    Example:
      keymote group close street-7
    """
    from keymote.wire import admin_groups

    async def work(client: "OperatorClient") -> "GroupView":
        return await client.ask("DELETE", f"/groups/{await _gid(client, group)}", admin_groups.GroupView)

    _tell(_at_coordinator(coordinator, url, work), output)


# ------------------------------------------------------------------ what is


def list_all(coordinator: Path | None, url: str, output: Output) -> None:
    """List the coordinator's groups."""
    from keymote.wire import admin, admin_groups

    async def collect(client: "OperatorClient") -> list[admin_groups.GroupLine]:
        found: list[admin_groups.GroupLine] = []
        after: str | None = None
        while True:
            page = await client.get("/groups", admin_groups.GroupPage, after=after, limit=admin.MAX_PAGE)
            found += page.items
            after = page.next
            if after is None:
                return found

    found = _at_coordinator(coordinator, url, collect)
    columns = ("name", "gid", "state", "gateway", "n", "epoch", "confirmed_ms", "waiting", "conflicts")
    rows = [{column: getattr(line, column) for column in columns} for line in found]
    if output is Output.TABLE:
        rows = [{**row, "confirmed_ms": moment(row["confirmed_ms"])} for row in rows]
    show({"groups": rows}, output)


def show_group(
    group: GroupArgument,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again, until stopped.")] = False,
    every: Annotated[float, typer.Option(min=0.1, max=3600, metavar="SECONDS", help="Between two looks.")] = 1.0,
    times: Annotated[int, typer.Option(min=0, help="End after so many looks; 0: never.")] = 0,
    here: HereOption = False,
    data: DataOption = None,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a group: its members and who waits for the newest key, how long removals took to be safe, and conflicts.

    \b
    Example:
      keymote group show street-7 --watch
    """
    if here:
        show_here(data, group, output)
        return
    from keymote.wire import admin_groups

    async def look(client: "OperatorClient") -> None:
        gid = await _gid(client, group)
        path = f"/groups/{gid}"
        if not watch:
            _tell(await client.get(path, admin_groups.GroupView), output)
            return
        await _watch(lambda: client.get(path, admin_groups.GroupView), every, times, output)

    try:
        _at_coordinator(coordinator, url, look)
    except KeyboardInterrupt:
        note("stopped")


def conflicts(
    everything: Annotated[bool, typer.Option("--all", help="Also those that later epochs have overtaken.")] = False,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """List what cannot both be right: a revoked member, two rosters, two epochs, a device at two managers.

    \b
    Example:
      keymote group conflicts
    """
    from keymote.wire import admin, admin_groups

    async def collect(client: "OperatorClient") -> list[admin_groups.ConflictView]:
        found: list[admin_groups.ConflictView] = []
        after: int | None = 0
        while after is not None:
            query = {"after": after, "limit": admin.MAX_PAGE, "live": str(not everything).lower()}
            page = await client.get("/conflicts", admin_groups.ConflictPage, **query)
            found += page.items
            after = page.next
        return found

    rows = [_conflict(view, output) for view in _at_coordinator(coordinator, url, collect)]
    show({"conflicts": rows}, output)


async def _watch(look: "Callable[[], Awaitable[GroupView]]", every: float, times: int, output: Output) -> None:
    """Show a group `times` times (0: until interrupted): a table that changes in place, or a JSON object a line."""
    if output is Output.JSON:
        async for view in _looks(look, every, times):
            print(json.dumps(as_json(view)), flush=True)
        return
    from rich.console import Group
    from rich.live import Live

    from keymote.cli.output import tables

    with Live(auto_refresh=False) as live:
        async for view in _looks(look, every, times):
            live.update(Group(*tables(for_people(view))), refresh=True)


async def _looks(look: "Callable[[], Awaitable[GroupView]]", every: float, times: int) -> "Any":
    done = 0
    while True:
        yield await look()
        done += 1
        if done == times:
            return
        await asyncio.sleep(every)


# ------------------------------------------------------------------ how it is said


def seconds_of_day(text: str) -> int:
    """Return the seconds after midnight of HH:MM; CallerFault for anything else."""
    hours, colon, minutes = text.partition(":")
    if not (colon and hours.isdecimal() and minutes.isdecimal() and int(hours) < 24 and int(minutes) < 60):
        raise CallerFault(f"{text!r} is no time of the day", do="write it as HH:MM, in UTC")
    return int(hours) * 3600 + int(minutes) * 60


def moment(ms: int | None) -> str | None:
    """Return UTC milliseconds as people read them."""
    return None if ms is None else time.strftime(_CLOCK, time.gmtime(ms / 1000)) + "Z"


def as_json(view: "GroupView") -> Mapping[str, Any]:
    """Return a group as a program reads it."""
    from keymote.wire import admin

    return dict(json.loads(admin.encode(view)))


def for_people(view: "GroupView") -> Mapping[str, Any]:
    """Return a group as people read it: facts, members, removals and conflicts."""
    told = "" if view.acted else " (has not acted on the last change yet)"
    state = "" if view.gateway_state == "active" else f", which is {view.gateway_state}"
    policy = view.policy
    wakes = [f"{at // 3600:02}:{at % 3600 // 60:02}" for at in policy.wake]
    return {
        "group": f"{view.name} ({view.gid})",
        "state": view.state,
        "led_by": f"{view.gateway}{state}{told}",
        "how": f"{view.mode}, V{view.level}, {'multicast' if view.multicast else 'unicast'}, suite {view.suite}"
        + (", every roster by the coordinator" if view.central else ""),
        "new_key": ", ".join([*([f"every {policy.period_s} s"] if policy.period_s else []), *wakes]) or "when wanted",
        "epoch": f"{view.epoch} of key {view.key_id}, roster {view.roster_ver}" if view.epoch else "none yet",
        "confirmed": moment(view.confirmed_ms),
        "last_report": moment(view.reported_ms),
        "may_join": view.allowed or None,
        "members": [
            {"member": each.dev_id, "kid": each.kid, "state": each.state, "epoch": each.epoch or None, "lag": each.lag}
            for each in view.members
        ],
        "put_out": [
            {
                "device": each.dev_id,
                "because": each.cause,
                "at": moment(each.ts_ms),
                "safe_after": "not yet" if each.safe_after_ms is None else f"{each.safe_after_ms} ms",
                "who_has_not": each.waiting,
            }
            for each in view.removals
        ],
        "conflicts": [{"kind": each.kind, "since": moment(each.ts_ms), "what": each.text} for each in view.conflicts],
    }


def _tell(view: "GroupView", output: Output) -> None:
    show(as_json(view) if output is Output.JSON else for_people(view), output)


def _conflict(view: Any, output: Output) -> Mapping[str, Any]:
    columns = ("id", "kind", "group", "subject", "number", "managers", "ts_ms", "settled_ms", "text")
    row = {column: getattr(view, column) for column in columns}
    if output is Output.JSON:
        return row
    since, settled = moment(view.ts_ms), moment(view.settled_ms)
    return {"kind": view.kind, "what": view.text, "since": since, "over": settled}


# ------------------------------------------------------------------ asking


def _wish(group: str, what: str, body: Any, coordinator: Path | None, url: str, output: Output) -> None:
    from keymote.wire import admin_groups

    async def work(client: "OperatorClient") -> "GroupView":
        return await client.send("POST", f"/groups/{await _gid(client, group)}/{what}", body, admin_groups.GroupView)

    _tell(_at_coordinator(coordinator, url, work), output)


async def _gid(client: "OperatorClient", group: str) -> str:
    """Return the gid of a group by its name or gid; CallerFault when there is none."""
    from keymote.wire import admin, admin_groups

    page = await client.get("/groups", admin_groups.GroupPage, name=group)
    if page.items:
        return page.items[0].gid
    try:
        return admin.id_of(group).hex()
    except PeerFault:
        raise CallerFault(f"no group is called {group!r}", do="keymote group list") from None


async def _manager(client: "OperatorClient", name: str) -> str:
    """Return the nm_id of a manager by its name or nm_id; CallerFault when there is none."""
    from keymote.wire import admin

    after: str | None = None
    while True:
        page = await client.get("/managers", admin.ManagerPage, after=after, limit=admin.MAX_PAGE)
        for view in page.items:
            if name in (view.name, view.nm_id):
                return view.nm_id
        after = page.next
        if after is None:
            raise CallerFault(f"no manager is called {name!r}", do="keymote coordinator manager list")


def _at_coordinator(folder: Path | None, url: str, work: "Callable[[OperatorClient], Awaitable[Any]]") -> Any:
    """Return what `work` does as the operator of a coordinator."""
    from keymote.cli.coordinator import call

    return call(state_directory("coordinator", folder), url, work)
