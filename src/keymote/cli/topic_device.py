"""What `keymote topic` does as a client of topics, an enrolled device or a provisioned one: publish, subscribe, tail."""

import asyncio
import sys
from collections.abc import Coroutine, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any

import typer

from keymote.cli.output import Output, OutputOption, show
from keymote.cli.topic_connection import (
    BrokerOption,
    CaOption,
    ClientOption,
    ConfigOption,
    PasswordOption,
    QosOption,
    UserOption,
    VersionOption,
    WaitOption,
    broker_at,
    connected,
)
from keymote.cli.topic_streams import publish_lines, seen
from keymote.errors import CallerFault

CountOption = Annotated[int, typer.Option("--count", min=0, help="End after so many; 0: never.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0, help="End after so many seconds; 0: never.")]
FiltersArgument = Annotated[
    list[str], typer.Argument(metavar="FILTER...", help="Such as ward/7/hr, ward/+/hr, ward/#.")
]


def publish(
    topic: Annotated[str, typer.Argument(metavar="TOPIC")],
    broker: BrokerOption,
    config: ConfigOption = None,
    client: ClientOption = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="What to publish.")] = None,
    stdin: Annotated[bool, typer.Option("--stdin", help="Publish each line of standard input.")] = False,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Publish this file's bytes.")] = None,
    signed: Annotated[bool, typer.Option("--signed", help="Sign, where the topic's policy is signed.")] = False,
    retain: Annotated[bool, typer.Option("--retain", help="The broker keeps it for later subscribers.")] = False,
    qos: QosOption = 1,
    user: UserOption = "",
    password_file: PasswordOption = None,
    ca: CaOption = None,
    mqtt_version: VersionOption = "3.1.1",
    wait: WaitOption = 30,
    output: OutputOption = Output.TABLE,
) -> None:
    """Publish readings of at most 1024 bytes that no broker can read.

    \b
    Example:
      keymote topic publish ward/7/hr -m "72" --broker mqtt://localhost --config meter.toml
      sensor | keymote topic publish ward/7/hr --stdin --broker mqtts://broker --client bed-7.client
    """
    if [message is not None, stdin, file is not None].count(True) != 1:
        raise CallerFault("nothing to publish, or more than one thing", do="give one of --message, --stdin, --file")
    at = broker_at(broker, user, password_file, ca, mqtt_version)
    one = b"" if stdin else _bytes_of(message, file)

    async def work() -> Mapping[str, object]:
        async with connected(at, config, client, wait) as (topics, mqtt):
            await topics.ready_to_publish(topic, wait, signed=signed)
            if stdin:
                published = await publish_lines(mqtt, topic, qos=qos, retain=retain)
            else:
                await mqtt.publish(topic, one, qos=qos, retain=retain)
                published = 1
            standing = next(each for each in topics.keys.standings() if each.publishes and each.topic == topic)
            return {"topic": topic, "published": published, "epoch": standing.epoch, "next": standing.n}

    show(_run(work()), output)


def subscribe(
    filters: FiltersArgument,
    broker: BrokerOption,
    config: ConfigOption = None,
    client: ClientOption = None,
    qos: QosOption = 1,
    user: UserOption = "",
    password_file: PasswordOption = None,
    ca: CaOption = None,
    mqtt_version: VersionOption = "3.1.1",
    wait: WaitOption = 30,
    count: CountOption = 0,
    timeout: TimeoutOption = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print readings as they come; with -o json one object a line. What does not open is counted: see `tail --rejects`.

    \b
    Example:
      keymote topic subscribe "ward/#" --broker mqtt://localhost --client nurse.client
    """
    at = broker_at(broker, user, password_file, ca, mqtt_version)

    async def work() -> None:
        async with aclosing(seen(at, config, client, filters, qos, wait, timeout)) as arrivals:
            async for entry in arrivals:
                if entry.reading is not None and entry.say(output) and entry.number == count:
                    return

    _run(work())


def tail(
    filters: FiltersArgument,
    broker: BrokerOption,
    config: ConfigOption = None,
    client: ClientOption = None,
    rejects: Annotated[bool, typer.Option("--rejects", help="Also what was refused, and why, line by line.")] = False,
    qos: QosOption = 1,
    user: UserOption = "",
    password_file: PasswordOption = None,
    ca: CaOption = None,
    mqtt_version: VersionOption = "3.1.1",
    wait: WaitOption = 30,
    count: CountOption = 0,
    timeout: TimeoutOption = 0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show topics as readings come: epoch, number, what is missing, what was refused. With -o json one object a line.

    With --rejects, or where no terminal is, a line for each. --count counts readings, and refusals with --rejects.

    \b
    Example:
      keymote topic tail "ward/#" --broker mqtt://localhost --client nurse.client
      keymote topic tail "ward/#" --rejects -o json --broker mqtt://localhost --client nurse.client
    """
    from keymote.cli.topic_tail import Board

    at = broker_at(broker, user, password_file, ca, mqtt_version)

    async def work() -> None:
        counted = 0
        live = output is Output.TABLE and not rejects and sys.stdout.isatty()
        with Board(live=live) as board:
            async with aclosing(seen(at, config, client, filters, qos, wait, timeout)) as arrivals:
                async for entry in arrivals:
                    board.show(entry)
                    if entry.reading is None and not rejects:
                        continue
                    if not live:
                        entry.say(output)
                    counted += 1
                    if counted == count:
                        return

    _run(work())


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _bytes_of(message: str | None, file: Path | None) -> bytes:
    if file is None:
        return (message or "").encode()
    try:
        return file.read_bytes()
    except OSError as error:
        raise CallerFault(f"cannot read {file}: {error.strerror}") from error
