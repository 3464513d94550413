"""`keymote group list|show|conflicts`: what is known of groups at the coordinator, and how people read it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keymote.cli.group_asking import (
    DEFAULT_URL,
    CoordinatorOption,
    GroupArgument,
    UrlOption,
    at_coordinator,
    group_named,
)
from keymote.cli.group_here import HereOption, show_here
from keymote.cli.moments import moment, until_safe
from keymote.cli.output import Output, OutputOption, note, show
from keymote.cli.settings import DataOption
from keymote.cli.watching import EveryOption, TimesOption, WatchOption, show_looks

if TYPE_CHECKING:
    from keymote.transports.http_operator import OperatorClient
    from keymote.wire.admin_groups import GroupView


def list_all(coordinator: Path | None, url: str, output: Output) -> None:
    """List the coordinator's groups."""
    from keymote.wire import admin_groups

    found = at_coordinator(coordinator, url, lambda client: client.whole("/groups", admin_groups.GroupPage))
    columns = ("name", "gid", "state", "gateway", "n", "epoch", "confirmed_ms", "waiting", "conflicts")
    rows = [{column: getattr(line, column) for column in columns} for line in found]
    if output is Output.TABLE:
        rows = [{**row, "confirmed_ms": moment(row["confirmed_ms"])} for row in rows]
    show({"groups": rows}, output)


def show_group(
    group: GroupArgument,
    watch: WatchOption = False,
    every: EveryOption = 1.0,
    times: TimesOption = 0,
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

    async def work(client: "OperatorClient") -> None:
        path = f"/groups/{await group_named(client, group)}"

        async def look() -> "GroupView":
            return await client.get(path, admin_groups.GroupView)

        await show_looks(look, as_json, for_people, again=watch, every=every, times=times, output=output)

    try:
        at_coordinator(coordinator, url, work)
    except KeyboardInterrupt:
        note("stopped")


def conflicts(
    everything: Annotated[bool, typer.Option("--all", help="Also those that later epochs have overtaken.")] = False,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """List what cannot be right: a revoked or unknown member, two rosters, two epochs, a device at two managers.

    \b
    Example:
      keymote group conflicts
    """
    from keymote.wire import admin_groups

    live = str(not everything).lower()
    found = at_coordinator(
        coordinator, url, lambda client: client.whole("/conflicts", admin_groups.ConflictPage, live=live)
    )
    show({"conflicts": [_conflict(view, output) for view in found]}, output)


# ------------------------------------------------------------------ how it is said


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
        + (", every roster by the coordinator" if view.central else "")
        + (", with a post-quantum hedge" if view.hedge else ""),
        "new_key": ", ".join([*([f"every {policy.period_s} s"] if policy.period_s else []), *wakes]) or "when wanted",
        "keeps": f"the newest {policy.keep_records} records" if policy.keep_records else None,
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
                "safe_after": until_safe(each.safe_after_ms),
                "who_has_not": each.waiting,
            }
            for each in view.removals
        ],
        "conflicts": [{"kind": each.kind, "since": moment(each.ts_ms), "what": each.text} for each in view.conflicts]
        or "none",
    }


def tell(view: "GroupView", output: Output) -> None:
    show(as_json(view) if output is Output.JSON else for_people(view), output)


def _conflict(view: Any, output: Output) -> Mapping[str, Any]:
    columns = ("id", "kind", "group", "subject", "number", "managers", "ts_ms", "settled_ms", "text")
    row = {column: getattr(view, column) for column in columns}
    if output is Output.JSON:
        return row
    since, settled = moment(view.ts_ms), moment(view.settled_ms)
    return {"kind": view.kind, "what": view.text, "since": since, "over": settled}
