"""`keymote topic` at the coordinator: what should be of topics.

The manager that leads a topic makes it so, and reports; `topic_looks` shows what is.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keymote.cli.group_asking import DEFAULT_URL, CoordinatorOption, UrlOption, at_coordinator, manager_named
from keymote.cli.output import Output, OutputOption, note
from keymote.cli.topic_asking import (
    BLOCKS_OF_64_BITS,
    NUMBERS,
    PUBLISH,
    SUBSCRIBE,
    Cipher,
    ClientsArgument,
    FilterArgument,
    clients_named,
    complete_clients,
    grants_of,
    roles_of,
    topic_named,
)
from keymote.cli.topic_looks import tell

if TYPE_CHECKING:
    from keymote.transports.http_operator import OperatorClient
    from keymote.wire.admin_topics import TopicView

ManagerOption = Annotated[
    str, typer.Option("--manager", metavar="MANAGER", help="Name or nm_id of the trusted system that leads the topics.")
]
PublishersOption = Annotated[
    list[str] | None,
    typer.Option("--publish", metavar="CLIENT", help="May publish; repeatable.", autocompletion=complete_clients),
]
SubscribersOption = Annotated[
    list[str] | None,
    typer.Option("--subscribe", metavar="CLIENT", help="May subscribe; repeatable.", autocompletion=complete_clients),
]


def create(
    filter_: Annotated[
        str, typer.Argument(metavar="FILTER", help="An MQTT filter, quoted: 'ward/7/#', 'ward/+/alarm'.")
    ],
    manager: ManagerOption,
    publish: PublishersOption = None,
    subscribe: SubscribersOption = None,
    signed: Annotated[bool, typer.Option("--signed", help="Publishers sign each reading: alarms, actuators.")] = False,
    emergency: Annotated[
        bool, typer.Option("--emergency", help="A broker that a patient visits may forward before it knows the mote.")
    ] = False,
    cipher: Annotated[Cipher, typer.Option(help="What protects the readings.")] = Cipher.ASCON,
    messages: Annotated[int, typer.Option(min=1, max=1 << 20, help="Of one publisher, until the next epoch.")] = 1
    << 20,
    life: Annotated[
        int, typer.Option(min=1, max=366 * 86400, metavar="SECONDS", help="Longest life of an epoch.")
    ] = 86400,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make the rule of a filter: who leads its topics, how readings are protected, who may publish and subscribe.

    The most specific filter that a topic has is its only rule: 'ward/7/#' shuts out whom 'ward/#' lets in.

    \b
    Example:
      keymote topic create 'ward/7/#' --manager ts-1 --publish 00000000000000a1 --subscribe 00000000000000b1
      keymote topic create 'ward/+/alarm' --manager ts-1 --signed --emergency
    """
    from keymote.wire import admin_topics

    async def work(client: "OperatorClient") -> "TopicView":
        roles: dict[str, int] = {}
        for names, role in ((publish, PUBLISH), (subscribe, SUBSCRIBE)):
            for each in await clients_named(client, names or ()):
                roles[each] = roles.get(each, 0) | role
        wish = admin_topics.CreateTopic(
            filter_,
            await manager_named(client, manager),
            "signed" if signed else "mac",
            emergency,
            NUMBERS[cipher],
            messages,
            life,
            [grant for each, role in roles.items() for grant in grants_of([each], role)],
        )
        return await client.send("POST", "/topics", wish, admin_topics.TopicView)

    if NUMBERS[cipher] >= BLOCKS_OF_64_BITS:
        note(f"{cipher.value} has blocks of 64 bits: clients run it only where their owner has enabled it")
    tell(at_coordinator(coordinator, url, work), output)


def grant(
    topic: FilterArgument,
    clients: ClientsArgument,
    publish: Annotated[bool, typer.Option("--publish", help="They may publish.")] = False,
    subscribe: Annotated[bool, typer.Option("--subscribe", help="They may subscribe.")] = False,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let clients do exactly this in the topics of a rule, from the next epoch on: they can read nothing of before.

    \b
    Example:
      keymote topic grant 'ward/7/#' 00000000000000b2 --subscribe
      keymote topic grant 'ward/7/#' pump-4 --publish --subscribe
    """
    from keymote.wire.admin_topics import GrantTopic

    roles = roles_of(publish=publish, subscribe=subscribe)

    async def body(client: "OperatorClient") -> GrantTopic:
        return GrantTopic(grants_of(await clients_named(client, clients), roles))

    _wish(topic, "grants", body, coordinator, url, output)


def revoke(
    topic: FilterArgument,
    clients: ClientsArgument,
    compromised: Annotated[
        bool, typer.Option("--compromised", help="Their keys may be in other hands: everybody goes on at once.")
    ] = False,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take the grants of clients away: the others get a key without them; `show` says when that was so, and who has not got it.

    Without --compromised subscribers get the new key first, so that no reading is lost. A device that is to lose everything,
    and everywhere, is revoked by `keymote device revoke`.

    \b
    Example:
      keymote topic revoke 'ward/7/#' 00000000000000b2
      keymote topic revoke 'ward/7/#' pump-4 --compromised
    """
    from keymote.wire.admin_topics import RevokeTopic

    async def body(client: "OperatorClient") -> RevokeTopic:
        return RevokeTopic(list(await clients_named(client, clients)), compromised)

    _wish(topic, "revoked", body, coordinator, url, output)


def rotate(
    topic: FilterArgument,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Have a new key in every topic of a rule: subscribers first, then publishers.

    \b
    Example:
      keymote topic rotate 'ward/7/#'
    """
    _ask("POST", topic, "/rotation", coordinator, url, output)


def close(
    topic: FilterArgument,
    coordinator: CoordinatorOption = None,
    url: UrlOption = DEFAULT_URL,
    output: OutputOption = Output.TABLE,
) -> None:
    """Forget a rule: its topics are those of a wider filter from now on, or nobody gets keys for them.

    \b
    Example:
      keymote topic close 'ward/7/#'
    """
    _ask("DELETE", topic, "", coordinator, url, output)


def _ask(method: str, topic: str, what: str, coordinator: Path | None, url: str, output: Output) -> None:
    from keymote.wire import admin_topics

    async def work(client: "OperatorClient") -> "TopicView":
        return await client.ask(method, f"/topics/{await topic_named(client, topic)}{what}", admin_topics.TopicView)

    tell(at_coordinator(coordinator, url, work), output)


def _wish(topic: str, what: str, body: Any, coordinator: Path | None, url: str, output: Output) -> None:
    from keymote.wire import admin_topics

    async def work(client: "OperatorClient") -> "TopicView":
        path = f"/topics/{await topic_named(client, topic)}/{what}"
        return await client.send("POST", path, await body(client), admin_topics.TopicView)

    tell(at_coordinator(coordinator, url, work), output)
