"""`keymote manager`: make, enrol, run, back up and restore a manager."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from keymote.cli.manager_broker import app as broker_app
from keymote.cli.manager_client import app as client_app
from keymote.cli.manager_topic import app as topic_app
from keymote.cli.output import Output, OutputOption, show
from keymote.cli.passphrase import PassphraseOption, passphrase_of
from keymote.cli.settings import DataOption, KeyOption, LogLevelOption, made_directory, state_directory
from keymote.errors import CallerFault

app = typer.Typer(help="Enrol devices and add a share to each of their keys.")
app.add_typer(client_app, name="client")
app.add_typer(topic_app, name="topic")
app.add_typer(broker_app, name="broker")


@app.command()
def init(
    label: Annotated[Path, typer.Option(metavar="FILE", help="From `keymote coordinator manager add`; mode 0600.")],
    suite: Annotated[int, typer.Option(help="Of the manager's own keys: 1, 2, 3 or 17.")] = 1,
    key_uri: KeyOption = "",
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a manager of this label.

    \b
    Examples:
      keymote manager init --label street-7.label --data street-7 --key-uri 'pkcs11:token=km;object=kek?module-path=
          /usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/keymote/pin'     # one line; the key is made in the token
      keymote manager init --label street-7.label --data street-7
      keymote manager enrol --data street-7
      keymote manager run --data street-7
    """
    from keymote.crypto.entropy import SystemEntropy
    from keymote.host.hardening import harden
    from keymote.manager.app.directory import Directory, read_label

    harden()
    folder = made_directory(state_directory("manager", data))
    made = Directory.create(folder, read_label(label), suite, key_uri, SystemEntropy())
    show({"nm_id": made.identity.nm_id, "name": made.identity.name, "key": made.kek.uri}, output)


@app.command()
def enrol(
    label: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Make the manager first, if there is none (see `init`).")
    ] = None,
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Enrol at the coordinator of the label and get a TLS certificate; again: a new certificate."""
    from keymote.crypto.entropy import SystemEntropy
    from keymote.host.hardening import harden
    from keymote.manager.app.directory import Directory, read_label
    from keymote.manager.app.enrol import enrol as enrol_manager

    harden()
    entropy = SystemEntropy()
    folder = made_directory(state_directory("manager", data))
    if label is not None and not (folder / "manager.json").exists():
        Directory.create(folder, read_label(label), 1, "", entropy)
    directory = Directory.open(folder, entropy)
    asyncio.run(enrol_manager(directory))
    held = directory.identity
    show({"nm_id": held.nm_id, "nc_id": held.nc_id, "enrolled": True}, output)


@app.command()
def run(
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address for CoAP; one, not all of them.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="UDP port for CoAP; 0 takes a free one.")] = 5683,
    group: Annotated[
        str, typer.Option(metavar="ADDRESS:PORT", help="Multicast group for HELLO; empty: unicast discovery only.")
    ] = "224.0.1.187:5683",
    interface: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address of the interface of the group.")
    ] = "127.0.0.1",
    announce: Annotated[
        str, typer.Option(metavar="URI", help="Our CoAP address as other managers see it, if it is not --listen.")
    ] = "",
    status_port: Annotated[
        int, typer.Option(help="TCP port for /health and /metrics on 127.0.0.1; 0: a free one.")
    ] = 0,
    post_quantum: Annotated[
        str,
        typer.Option(
            metavar="off|on|required",
            help="Post-quantum shares in session keys: with managers that have it, or always.",
        ),
    ] = "off",
    handshake: Annotated[
        str,
        typer.Option(metavar="triad|edhoc|either", help="How devices of ours may authenticate others in a session."),
    ] = "triad",
    credential_life: Annotated[
        int, typer.Option(metavar="SECONDS", help="Of the credentials of devices; renewed in time.", min=60)
    ] = 365 * 86400,
    groups_http: Annotated[
        str, typer.Option(metavar="ADDRESS:PORT", help="Where members of groups that speak HTTP post; empty: nowhere.")
    ] = "",
    groups_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM certificate for --groups-http: TLS then.")
    ] = None,
    groups_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM key of that certificate, readable by its owner alone.")
    ] = None,
    mqttsn: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS:PORT", help="UDP address of the MQTT-SN gateway, port 0: a free one; empty: none."
        ),
    ] = "",
    broker: Annotated[
        str, typer.Option(metavar="URL", help="Broker behind --mqttsn: mqtt://HOST:PORT or mqtts://HOST:PORT.")
    ] = "mqtt://127.0.0.1:1883",
    mqttsn_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML with further settings of --mqttsn.")
    ] = None,
    log_level: LogLevelOption = "info",
    data: DataOption = None,
) -> None:
    """Serve until stopped; prints one JSON line when ready.

    \b
    Example:
      keymote manager run --data street-7 --port 5683
      keymote manager run --data street-7 --groups-http 127.0.0.1:8080
      keymote manager run --data street-7 --mqttsn 127.0.0.1:1885 --broker mqtt://127.0.0.1:1883
    """
    from keymote.crypto.entropy import SystemEntropy
    from keymote.engine.context import Handshake, PostQuantum, RegistrarPolicy
    from keymote.host.hardening import harden
    from keymote.host.logs import configure
    from keymote.manager.app.directory import Directory
    from keymote.manager.app.group_http import GroupsHttp
    from keymote.manager.app.mqttsn import MqttSnOptions
    from keymote.manager.app.service import ManagerProcess, Options
    from keymote.manager.app.service import run as serve
    from keymote.transports.coap.multicast import Group

    harden()
    configure(log_level)
    where = None
    if group:
        address, _, group_port = group.rpartition(":")
        if not address or not group_port.isdigit():
            raise CallerFault(f"{group!r} is not ADDRESS:PORT", do="for example 224.0.1.187:5683")
        where = Group(address, int(group_port), interface)
    directory = Directory.open(state_directory("manager", data), SystemEntropy())
    if post_quantum not in list(PostQuantum):
        raise CallerFault(f"{post_quantum!r} is no post-quantum profile", do="say off, on or required")
    if handshake not in (*Handshake, "either"):
        raise CallerFault(f"{handshake!r} is no handshake", do="say triad, edhoc or either")
    handshakes = frozenset(Handshake) if handshake == "either" else frozenset({Handshake(handshake)})
    policy = RegistrarPolicy(
        credential_life_s=credential_life, post_quantum=PostQuantum(post_quantum), handshakes=handshakes
    )
    face = GroupsHttp.at(groups_http, groups_cert, groups_key) if groups_http else None
    motes = MqttSnOptions.of(mqttsn, broker, mqttsn_file) if mqttsn else None
    options = Options((listen, port), where, ("127.0.0.1", status_port), announce, policy, face, motes)
    process = ManagerProcess(directory, options)
    asyncio.run(serve(process, lambda said: print(json.dumps(said), flush=True)))


@app.command()
def renew(data: DataOption = None, output: OutputOption = Output.TABLE) -> None:
    """Renew the credential of a manager that is not running, if that is due, and its TLS certificate.

    A running manager does both by itself.

    \b
    Example:
      keymote manager renew --data street-7
    """
    from keymote.crypto.entropy import SystemEntropy
    from keymote.host.hardening import harden
    from keymote.manager.app.directory import Directory
    from keymote.manager.app.renewal import renew_all

    harden()
    directory = Directory.open(state_directory("manager", data), SystemEntropy())
    membership = asyncio.run(renew_all(directory))
    show({"nm_id": directory.identity.nm_id, "expires": membership.credential.claims.exp}, output)


@app.command()
def status(data: DataOption = None, output: OutputOption = Output.TABLE) -> None:
    """Say how the running manager of --data is."""
    from keymote.transports.control import ControlClient

    with ControlClient(state_directory("manager", data) / "control.sock") as manager:
        show(manager.ask("status"), output)


@app.command()
def backup(
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Where it goes; must not exist.")],
    passphrase_file: PassphraseOption = None,
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write the manager's keys and database to one encrypted file; it may be running.

    \b
    Example:
      keymote manager backup --data street-7 --to street-7.backup --passphrase-file pass
    """
    from keymote.crypto.entropy import SystemEntropy
    from keymote.host.hardening import harden
    from keymote.manager.app.backup import backup as write
    from keymote.manager.app.directory import Directory

    harden()
    entropy = SystemEntropy()
    directory = Directory.open(state_directory("manager", data), entropy)
    size = write(directory, to, passphrase_of(passphrase_file, new=True), entropy)
    show({"nm_id": directory.identity.nm_id, "file": str(to), "bytes": size}, output)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="From `manager backup`.")],
    key_uri: Annotated[
        str, typer.Option(metavar="URI", help="Where the token with its key-encryption key is, if not where it was.")
    ] = "",
    passphrase_file: PassphraseOption = None,
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Lay down a manager from its backup, on this or another machine; its devices go on by themselves.

    The machine that it ran on before must not run it again.

    \b
    Example:
      keymote manager restore street-7.backup --data street-7 --passphrase-file pass
    """
    from keymote.crypto.entropy import SystemEntropy
    from keymote.host.hardening import harden
    from keymote.manager.app.backup import restore as lay_down

    harden()
    folder = made_directory(state_directory("manager", data))
    passphrase = passphrase_of(passphrase_file, new=False)
    directory = lay_down(file, folder, passphrase, SystemEntropy(), key_uri=key_uri)
    held = directory.identity
    show({"nm_id": held.nm_id, "name": held.name, "generation": held.generation}, output)
