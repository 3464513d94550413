"""How `keymote group` reaches the coordinator, and finds a group or a manager there by name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from keymote.cli.settings import state_directory
from keymote.errors import CallerFault, PeerFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from keymote.transports.http_operator import OperatorClient

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
MOST_NAMES: Final = 8
"""Names that an error offers."""


async def group_named(client: "OperatorClient", group: str) -> str:
    """Return the gid of a group by its name or gid; CallerFault when there is none."""
    from keymote.wire import admin, admin_groups

    page = await client.get("/groups", admin_groups.GroupPage, name=group)
    if page.items:
        return page.items[0].gid
    try:
        return admin.id_of(group).hex()
    except PeerFault:
        raise CallerFault(f"no group is called {group!r}", do="keymote group list") from None


async def manager_named(client: "OperatorClient", name: str) -> str:
    """Return the nm_id of a manager by its name or nm_id; CallerFault, with the names that there are, when there is none."""
    from keymote.wire import admin

    names: list[str] = []
    after: str | None = None
    while True:
        page = await client.get("/managers", admin.ManagerPage, after=after, limit=admin.MAX_PAGE)
        for view in page.items:
            if name in (view.name, view.nm_id):
                return view.nm_id
            names.append(view.name)
        after = page.next
        if after is None:
            raise CallerFault(f"no manager is called {name!r}", do=_choose(names))


def _choose(names: list[str]) -> str:
    """Return what to do when a name is none of these."""
    if not names:
        return "add one: keymote coordinator manager add"
    shown, more = sorted(names)[:MOST_NAMES], len(names) - MOST_NAMES
    return f"choose {' or '.join(shown)}" + (
        f", or one of {more} others: keymote coordinator manager list" if more > 0 else ""
    )


def at_coordinator(folder: Path | None, url: str, work: "Callable[[OperatorClient], Awaitable[Any]]") -> Any:
    """Return what `work` does as the operator of a coordinator."""
    from keymote.cli.coordinator import call

    return call(state_directory("coordinator", folder), url, work)
