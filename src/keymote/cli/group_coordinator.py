"""`keymote group` at the coordinator: what should be of a group.

The manager that leads the group makes it so, and reports; `group_looks` shows what is.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keymote.cli.group_asking import (
    DEFAULT_URL,
    CoordinatorOption,
    DevicesArgument,
    GatewayOption,
    GroupArgument,
    UrlOption,
    at_coordinator,
    group_named,
    manager_named,
)
from keymote.cli.group_here import HereOption, add_here, evict_here, rekey_here
from keymote.cli.group_looks import tell
from keymote.cli.output import Output, OutputOption
from keymote.cli.settings import DataOption
from keymote.errors import CallerFault

if TYPE_CHECKING:
    from keymote.transports.http_operator import OperatorClient
    from keymote.wire.admin_groups import GroupView


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
    hedge: Annotated[
        bool,
        typer.Option("--hedge", help="Against who records now and has a quantum computer later: a key by LINK, too."),
    ] = False,
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
    keep_records: Annotated[
        int,
        typer.Option(
            "--keep-records", min=0, max=100_000, help="Newest records that are kept, sealed as they are; 0: none."
        ),
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

    policy = admin_groups.GroupPolicy(
        period_s=period, batch_s=batch, wake=sorted(map(seconds_of_day, wake or ())), keep_records=keep_records
    )

    async def work(client: "OperatorClient") -> "GroupView":
        wish = admin_groups.CreateGroup(
            name=name,
            gateway=await manager_named(client, gateway),
            members=member,
            allowed=allow or [],
            mode="edge" if edge else "relay",
            level=level,
            multicast=not unicast,
            compact=compact,
            central=central,
            telemetry=telemetry or ["telemetry"],
            policy=policy,
            hedge=hedge,
        )
        return await client.send("POST", "/groups", wish, admin_groups.GroupView)

    tell(at_coordinator(coordinator, url, work), output)


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
        path, body = (
            f"/groups/{await group_named(client, group)}/gateway",
            admin_groups.MoveGroup(await manager_named(client, gateway)),
        )
        return await client.send("POST", path, body, admin_groups.GroupView)

    tell(at_coordinator(coordinator, url, work), output)


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
        return await client.ask("DELETE", f"/groups/{await group_named(client, group)}", admin_groups.GroupView)

    tell(at_coordinator(coordinator, url, work), output)


def _wish(group: str, what: str, body: Any, coordinator: Path | None, url: str, output: Output) -> None:
    from keymote.wire import admin_groups

    async def work(client: "OperatorClient") -> "GroupView":
        return await client.send(
            "POST", f"/groups/{await group_named(client, group)}/{what}", body, admin_groups.GroupView
        )

    tell(at_coordinator(coordinator, url, work), output)


def seconds_of_day(text: str) -> int:
    """Return the seconds after midnight of HH:MM; CallerFault for anything else."""
    hours, colon, minutes = text.partition(":")
    if not (colon and hours.isdecimal() and minutes.isdecimal() and int(hours) < 24 and int(minutes) < 60):
        raise CallerFault(f"{text!r} is no time of the day", do="write it as HH:MM, in UTC")
    return int(hours) * 3600 + int(minutes) * 60
