"""What the commands of `keymote topic` ask for, how a shell completes it, and how rules and clients are found by name."""

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import redirect_stderr, suppress
from enum import StrEnum
from io import StringIO
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from keymote.cli.group_asking import at_coordinator
from keymote.errors import CallerFault

if TYPE_CHECKING:
    from keymote.transports.http_operator import OperatorClient

PUBLISH: Final = 1
SUBSCRIBE: Final = 2
_ID: Final = re.compile("[0-9a-f]{16}")


class Cipher(StrEnum):
    """Ciphers of readings by their names."""

    ASCON = "ascon"
    AES_CCM_8 = "aes-ccm-8"
    CHACHA20 = "chacha20"
    AES_CCM_16 = "aes-ccm-16"
    HIGHT = "hight"
    TWINE = "twine"
    RECTANGLE = "rectangle"


NUMBERS: Final = {
    Cipher.ASCON: 1,
    Cipher.AES_CCM_8: 2,
    Cipher.CHACHA20: 3,
    Cipher.AES_CCM_16: 4,
    Cipher.HIGHT: 16,
    Cipher.TWINE: 17,
    Cipher.RECTANGLE: 18,
}
"""Their numbers cs (Triad-1 4.5)."""
BLOCKS_OF_64_BITS: Final = 16
"""The first number of the ciphers that clients run only if their owner says so."""


def complete_filters(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return filters of the coordinator that begin so; none where it cannot be asked."""

    async def work(client: "OperatorClient") -> list[str]:
        from keymote.wire import admin, admin_topics

        page = await client.get("/topics", admin_topics.TopicPage, limit=admin.MAX_PAGE)
        return [line.filter for line in page.items]

    return _completed(ctx, incomplete, work)


def complete_clients(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return ids of active devices, and of clients of provisioning files, that begin so."""

    async def work(client: "OperatorClient") -> list[str]:
        from keymote.wire import admin, admin_topics

        devices = await client.get("/devices", admin.DevicePage, limit=admin.MAX_PAGE, state="active")
        files = await client.get("/topics/clients", admin_topics.FileClientPage, limit=admin.MAX_PAGE)
        return [view.dev_id for view in devices.items] + [view.client for view in files.items]

    return _completed(ctx, incomplete, work)


def _completed(
    ctx: typer.Context, incomplete: str, work: "Callable[[OperatorClient], Awaitable[list[str]]]"
) -> list[str]:
    """Whoever presses TAB wants no error: what cannot be asked completes nothing."""
    found: list[str] = []
    with suppress(Exception), redirect_stderr(StringIO()):
        found = at_coordinator(ctx.params.get("coordinator"), ctx.params.get("url") or "", work)
    return [each for each in found if each.startswith(incomplete)]


FilterArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILTER", help="A filter as it was created, quoted, or its id.", autocompletion=complete_filters
    ),
]
ClientsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="CLIENT...",
        help="Devices by their dev_id; clients of provisioning files by id or name.",
        autocompletion=complete_clients,
    ),
]


async def topic_named(client: "OperatorClient", name: str) -> str:
    """Return the tid of a rule by its filter or tid; CallerFault when there is none."""
    from keymote.wire import admin_topics

    page = await client.get("/topics", admin_topics.TopicPage, filter=name)
    if page.items:
        return page.items[0].tid
    if _ID.fullmatch(name):
        return name
    raise CallerFault(
        f"there is no rule for {name!r}",
        do="see `keymote topic list`, and quote filters: to a shell # begins a comment",
    )


async def clients_named(client: "OperatorClient", names: Iterable[str]) -> Sequence[str]:
    """Return the ids of clients: themselves, or those of provisioning files with these names."""
    known: dict[str, str] | None = None
    found = []
    for name in names:
        if _ID.fullmatch(name):
            found.append(name)
            continue
        if known is None:
            known = await _file_clients(client)
        if name not in known:
            raise CallerFault(
                f"no client is called {name!r}", do="give a dev_id of 16 hex digits, or see `keymote topic clients`"
            )
        found.append(known[name])
    return found


async def _file_clients(client: "OperatorClient") -> dict[str, str]:
    from keymote.wire import admin_topics

    found: dict[str, str] = {}
    for view in await client.whole("/topics/clients", admin_topics.FileClientPage):
        if view.name in found:
            found.pop(view.name)  # two of this name: only their ids tell them apart
        else:
            found[view.name] = view.client
    return found


def roles_of(*, publish: bool, subscribe: bool) -> int:
    """Return the roles of a grant; CallerFault for none."""
    roles = PUBLISH * publish | SUBSCRIBE * subscribe
    if not roles:
        raise CallerFault("a grant lets clients do something", do="add --publish, --subscribe or both")
    return roles


def role_words(roles: int) -> str:
    """Return roles as people read them."""
    return " and ".join(word for bit, word in ((PUBLISH, "publish"), (SUBSCRIBE, "subscribe")) if roles & bit)


def cipher_word(cs: int) -> str:
    """Return a cipher as people read it."""
    return next((name.value for name, number in NUMBERS.items() if number == cs), str(cs))


def grants_of(clients: Sequence[str], roles: int) -> list[Any]:
    """Return grants of the same roles for these clients."""
    from keymote.wire.admin_topics import Grant

    return [Grant(client, roles) for client in clients]
