"""`keymote agent`: make, enrol, run, back up and restore the agent of an MQTT broker."""

import asyncio
import json
import time
from pathlib import Path
from typing import Annotated

import typer

from keymote.cli.output import Output, OutputOption, show
from keymote.cli.passphrase import PassphraseOption, passphrase_of
from keymote.cli.settings import DataOption, KeyOption, LogLevelOption, made_directory, state_directory

app = typer.Typer(help="Let clients into an MQTT broker by ticket, and hand them over to other brokers.")


@app.command()
def init(
    name: Annotated[str, typer.Option(help="For people, such as ward-7.")],
    mqtt: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where clients reach the broker.")] = "127.0.0.1:1883",
    coap: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where clients reach the agent (UDP).")
    ] = "127.0.0.1:5684",
    agent: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where other agents reach it (HTTPS).")
    ] = "127.0.0.1:8484",
    broker: Annotated[
        str, typer.Option(metavar="embedded|mosquitto", help="In this process, or a Mosquitto of yours.")
    ] = "embedded",
    management: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Mosquitto's second listener, which only this machine reaches.")
    ] = "127.0.0.1:1884",
    key_uri: KeyOption = "",
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make an agent; its card goes to the manager whose clients it is to serve.

    \b
    Examples:
      keymote agent init --name ward-7 --data ward-7
      keymote agent init --name ward-8 --broker mosquitto --mqtt 10.0.8.1:1883 --coap 10.0.8.1:5684 --agent 10.0.8.1:8484
      mosquitto -c ward-8/mosquitto.conf
    """
    from keymote.agent.app.directory import Directory
    from keymote.agent.app.identity import Identity
    from keymote.crypto.entropy import SystemEntropy
    from keymote.host.hardening import harden

    harden()
    folder = made_directory(state_directory("agent", data))
    identity = Identity(name, "", coap, agent, mqtt, broker, management if broker == "mosquitto" else "", key_uri)
    made = Directory.create(folder, identity, SystemEntropy(), int(time.time()))
    said = {"broker_id": made.identity.broker_id, "name": name, "card": str(folder / "card")}
    made.close()
    if broker == "mosquitto":
        said["configuration"] = str(folder / "mosquitto.conf")
    show(said, output)


@app.command()
def enrol(
    given: Annotated[Path, typer.Argument(metavar="FILE", help="From `keymote manager broker add`; mode 0600.")],
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Belong to the manager that made FILE; remove the file afterwards.

    \b
    Example:
      keymote agent enrol ward-7.given --data ward-7
    """
    from keymote.agent.app.directory import Directory
    from keymote.crypto.entropy import SystemEntropy
    from keymote.host.hardening import harden
    from keymote.storage.broker_files import GivenFile

    harden()
    directory = Directory(state_directory("agent", data), SystemEntropy())
    try:
        listed = directory.enrol(GivenFile.read(given))
        said = {
            "broker_id": directory.identity.broker_id,
            "nm_id": directory.identity.nm_id,
            "brokers": len(listed.cards),
        }
    finally:
        directory.close()
    show(said, output)


@app.command()
def run(
    mqttsn: Annotated[
        str, typer.Option(metavar="ADDRESS:PORT", help="UDP address of an MQTT-SN gateway for motes; empty: none.")
    ] = "",
    log_level: LogLevelOption = "info",
    data: DataOption = None,
) -> None:
    """Serve until stopped; prints one JSON line when ready.

    \b
    Example:
      keymote agent run --data ward-7
    """
    from keymote.agent.app.directory import Directory
    from keymote.agent.app.service import AgentProcess
    from keymote.agent.app.service import run as serve
    from keymote.crypto.entropy import SystemEntropy
    from keymote.host.hardening import harden
    from keymote.host.logs import configure
    from keymote.transports.udp import address_of

    harden()
    configure(log_level)
    directory = Directory(state_directory("agent", data), SystemEntropy())
    try:
        motes = address_of(mqttsn, any_port=True) if mqttsn else None
        process = AgentProcess(directory, mqttsn=motes)
        asyncio.run(serve(process, lambda said: print(json.dumps(said), flush=True)))
    finally:
        directory.close()


@app.command("show")
def show_agent(data: DataOption = None, output: OutputOption = Output.TABLE) -> None:
    """Say how the running agent of --data is, and which brokers it knows."""
    from keymote.transports.control import ControlClient

    with ControlClient(state_directory("agent", data) / "control.sock") as agent:
        show(agent.ask("status"), output)


@app.command()
def update(
    file: Annotated[Path, typer.Argument(metavar="LIST", help="From `keymote manager broker list --out`.")],
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put a newer list of brokers in force in the running agent of --data.

    \b
    Example:
      keymote agent update brokers.json --data ward-7
    """
    from keymote.storage.private_files import read_file
    from keymote.transports.control import ControlClient

    text = read_file(file, "list of brokers").decode(errors="replace")
    with ControlClient(state_directory("agent", data) / "control.sock") as agent:
        show(agent.ask("update", file=text), output)


@app.command()
def where(
    client: Annotated[str, typer.Argument(metavar="CLIENT", help="Its id, 16 hex digits.")],
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say at which broker a client is; ask the agent of its home broker, for the others know their own visitors alone.

    \b
    Example:
      keymote agent where 70617469656e7437 --data ward-7
    """
    from keymote.transports.control import ControlClient

    with ControlClient(state_directory("agent", data) / "control.sock") as agent:
        show(agent.ask("where", client=client), output)


@app.command()
def moves(data: DataOption = None, output: OutputOption = Output.TABLE) -> None:
    """List the last moves of clients that are at home here, newest first, since the agent started; its log has them all."""
    from keymote.transports.control import ControlClient

    with ControlClient(state_directory("agent", data) / "control.sock") as agent:
        show(agent.ask("moves"), output)


@app.command()
def backup(
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where it goes; must not exist.")],
    passphrase_file: PassphraseOption = None,
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write the agent's keys, and nothing of its clients, to one encrypted file; it may be running.

    \b
    Example:
      keymote agent backup --data ward-7 --to ward-7.backup --passphrase-file pass
    """
    from keymote.agent.app.backup import backup as write
    from keymote.crypto.entropy import SystemEntropy
    from keymote.host.hardening import harden

    harden()
    passphrase = passphrase_of(passphrase_file, new=True)
    identity, size = write(state_directory("agent", data), to, passphrase, SystemEntropy())
    show({"broker_id": identity.broker_id, "file": str(to), "bytes": size}, output)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="From `agent backup`.")],
    key_uri: Annotated[
        str, typer.Option(metavar="URI", help="Where the token with its key-encryption key is, if not where it was.")
    ] = "",
    passphrase_file: PassphraseOption = None,
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Lay down an agent from its backup; it serves after `keymote manager broker add` of its card and `enrol`.

    The machine that it ran on before must not run it again.

    \b
    Example:
      keymote agent restore ward-7.backup --data ward-7 --passphrase-file pass
    """
    from keymote.agent.app.backup import restore as lay_down
    from keymote.crypto.entropy import SystemEntropy
    from keymote.host.hardening import harden

    harden()
    folder = made_directory(state_directory("agent", data))
    directory = lay_down(file, folder, passphrase_of(passphrase_file, new=False), SystemEntropy(), key_uri=key_uri)
    held = directory.identity
    directory.close()
    show({"broker_id": held.broker_id, "name": held.name, "card": str(folder / "card"), "enrolled": False}, output)
