"""`keymote group log`: the encrypted log of a group, as its gateways handed it in to the coordinator."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from keymote.cli.group_asking import (
    DEFAULT_URL,
    CoordinatorOption,
    GroupArgument,
    UrlOption,
    at_coordinator,
    group_named,
)
from keymote.cli.moments import moment
from keymote.cli.output import Output, OutputOption, note, show

if TYPE_CHECKING:
    from keymote.transports.http_operator import OperatorClient
    from keymote.wire.admin_records import RecordPage


def log(
    group: GroupArgument,
    after: Annotated[int, typer.Option(min=0, metavar="ID", help="Only records behind this one.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=500, help="Records of one page.")] = 100,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """List what passed a group's gateway, oldest first: from whom, for what, how long. Here nobody can open it.

    Nothing is kept unless the group was created with --keep-records.

    \b
    Example:
      keymote group log street-7
      keymote group log street-7 --after 4711 -o json
    """
    from keymote.wire import admin, admin_records

    async def work(client: "OperatorClient") -> "RecordPage":
        path = f"/groups/{await group_named(client, group)}/records"
        return await client.get(path, admin_records.RecordPage, after=after, limit=limit)

    page = at_coordinator(coordinator, url, work)
    if output is Output.JSON:
        show(json.loads(admin.encode(page)), output)
        return
    rows = [
        {
            "id": each.id,
            "passed": moment(each.ts_ms),
            "from": each.dev_id or f"kid {each.kid}",
            "resource": each.resource,
            "epoch": each.epoch,
            "number": each.number,
            "bytes": len(admin.from_base64url(each.record)),
        }
        for each in page.items
    ]
    show({"records": rows}, output)
    if page.next is not None:
        note(f"there may be more: --after {page.next}")
