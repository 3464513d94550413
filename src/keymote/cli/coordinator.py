"""`keymote coordinator`: make, run and operate a coordinator."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from keymote.cli.output import Output, OutputOption, note, show
from keymote.cli.settings import DataOption, KeyOption, LogLevelOption, made_directory, state_directory
from keymote.crypto.entropy import SystemEntropy
from keymote.transports.http_operator import OperatorClient
from keymote.wire import admin, admin_files

app = typer.Typer(help="Run the registry, the revocation list and the REST API.")
manager_app = typer.Typer(help="Managers of this coordinator.")
app.add_typer(manager_app, name="manager", no_args_is_help=True)

T = TypeVar("T")
CODE_SIZE = 16

UrlOption = Annotated[
    str, typer.Option("--url", envvar="KEYMOTE_COORDINATOR_URL", help="Where the coordinator serves.", metavar="URL")
]
DEFAULT_URL = "https://localhost:8443"


@app.command()
def init(
    name: Annotated[str, typer.Option(help="A word for people.")] = "coordinator",
    host: Annotated[
        list[str] | None, typer.Option(help="Name or address in the server certificate; may be repeated.")
    ] = None,
    suite: Annotated[int, typer.Option(help="1, 2 or 3 (Ed25519) or 17 (P-256).")] = 1,
    key_uri: KeyOption = "",
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make keys, certificates and the request that the authority has to certify.

    \b
    Example:
      keymote coordinator init --name north --host nc.example --data north
      keymote authority certify --request north/nc.req --out north/nc.cred
      keymote coordinator run --data north
    """
    from keymote.coordinator.app.directory import Directory
    from keymote.host.hardening import harden

    harden()
    folder = made_directory(state_directory("coordinator", data))
    hosts = host or ["localhost", "127.0.0.1", "::1"]
    made = Directory.create(folder, name, suite, hosts, SystemEntropy(), int(time.time()), key_uri=key_uri)
    note("Have nc.req certified: keymote authority certify --request nc.req --out nc.cred")
    show(
        {"nc_id": made.held.nc_id, "name": name, "hosts": hosts, "request": str(folder / "nc.req")},
        output,
    )


@app.command()
def run(
    listen: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8443,
    peer: Annotated[
        list[str] | None, typer.Option(help="URL of a federated coordinator; may be repeated.", metavar="URL")
    ] = None,
    credential_life: Annotated[
        int, typer.Option(metavar="SECONDS", help="Of the credentials of managers; renewed in time.", min=60)
    ] = 365 * 86400,
    log_level: LogLevelOption = "info",
    data: DataOption = None,
) -> None:
    """Serve until stopped; prints one JSON line when ready.

    \b
    Example:
      keymote coordinator run --data north --peer https://south.example:8443
    """
    from dataclasses import replace

    from keymote.coordinator.app.directory import Directory
    from keymote.coordinator.app.enrolment import POLICY
    from keymote.coordinator.app.service import CoordinatorProcess
    from keymote.coordinator.app.service import run as serve
    from keymote.host.hardening import harden
    from keymote.host.logs import configure

    harden()
    configure(log_level)
    folder = state_directory("coordinator", data)
    policy = replace(POLICY, credential_life_s=credential_life)
    process = CoordinatorProcess(Directory.open(folder, SystemEntropy()), listen, port, tuple(peer or ()), policy)

    def ready(url: str) -> None:
        paths = {"ca": str(folder / "ca.pem"), "token": str(folder / "token")}
        print(json.dumps({"ready": True, "url": url, "nc_id": process.directory.held.nc_id, **paths}), flush=True)

    asyncio.run(serve(process, ready))


@app.command("roll-key")
def roll_key(data: DataOption = None, output: OutputOption = Output.TABLE) -> None:
    """Take a new signing key: once to ask the authority, once more, with the coordinator stopped, when it has answered.

    Managers follow by themselves; sessions, devices and what the old key signed stay good. Interrupted, do it again.

    \b
    Example:
      keymote coordinator roll-key --data north          # makes nc.next.req; the coordinator may run
      keymote authority certify --request north/nc.next.req --out north/nc.next.cred
      keymote coordinator roll-key --data north          # stopped: the new key is in force, the old one is erased
    """
    from keymote.coordinator.app.roll import roll_key as go_on
    from keymote.host.hardening import harden

    harden()
    done = asyncio.run(go_on(state_directory("coordinator", data), SystemEntropy(), int(time.time())))
    if done.request is not None:
        note(
            f"Have it certified: keymote authority certify --request {done.request.name} --out nc.next.cred; then again."
        )
    request = None if done.request is None else str(done.request)
    show({"stage": done.stage.value, "request": request, "kid": done.kid.hex() or None}, output)


@manager_app.command()
def add(
    name: Annotated[str, typer.Argument(help="A word for people, one per manager.")],
    out: Annotated[Path | None, typer.Option(help="Where the label goes.", metavar="FILE")] = None,
    url: UrlOption = DEFAULT_URL,
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a manager enrol: writes its label, mode 0600, with a registration code that works once.

    \b
    Example:
      keymote coordinator manager add street-7 --data north
      keymote manager enrol --label street-7.label
    """
    _label(SystemEntropy().draw(8).hex(), name, out, url, state_directory("coordinator", data), output)


@manager_app.command()
def rejoin(
    nm_id: Annotated[str, typer.Argument(help="16 hex digits.")],
    out: Annotated[Path | None, typer.Option(help="Where the label goes.", metavar="FILE")] = None,
    url: UrlOption = DEFAULT_URL,
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a new label for a manager that lost its keys; its old credential dies when the new one is issued."""
    folder = state_directory("coordinator", data)
    view = call(folder, url, lambda client: client.get(f"/managers/{nm_id}", admin.ManagerView))
    _label(view.nm_id, view.name, out, url, folder, output)


def _label(nm_id: str, name: str, out: Path | None, url: str, folder: Path, output: Output) -> None:
    """Tell the coordinator a new code, then write it down: a label without a coordinator that knows it is of no use."""
    from keymote.storage.private_files import read_file, write_private

    path = out or folder / f"{name}.label"
    carried = admin_files.read_file(read_file(folder / "nc.cred", "credential"), admin_files.CredentialFile, "nc.cred")
    held = admin_files.read_file(
        read_file(folder / "coordinator.json", "coordinator"), admin_files.CoordinatorFile, "coordinator.json"
    )
    code = admin.to_base64url(SystemEntropy().draw(CODE_SIZE))
    body = admin.AddManager(nm_id, name, code)
    view = call(folder, url, lambda client: client.send("POST", "/managers", body, admin.ManagerView))
    write_private(
        path, admin_files.write_file(admin_files.ManagerLabel(nm_id, name, code, held.nc_id, [url], carried.root))
    )
    show({"nm_id": view.nm_id, "name": name, "state": view.state, "label": str(path)}, output)


@manager_app.command("list")
def list_managers(url: UrlOption = DEFAULT_URL, data: DataOption = None, output: OutputOption = Output.TABLE) -> None:
    """List managers, their state, endpoint and the last event that they acted on."""
    found = call(state_directory("coordinator", data), url, lambda client: client.whole("/managers", admin.ManagerPage))
    columns = ("nm_id", "name", "state", "endpoint", "acknowledged")
    show({"managers": [{column: getattr(view, column) for column in columns} for view in found]}, output)


@manager_app.command("revoke")
def revoke_manager(
    nm_id: Annotated[str, typer.Argument(help="16 hex digits.")],
    reason: Annotated[int, typer.Option(help="0 unspecified, 1 key lost, 2 compromise, 3 superseded, 4 retired.")] = 0,
    url: UrlOption = DEFAULT_URL,
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Revoke a manager: its certificate is refused at once, and its devices start no more sessions."""
    body = admin.Revoke("manager", nm_id, reason)
    folder = state_directory("coordinator", data)
    view = call(folder, url, lambda client: client.send("POST", "/revocations", body, admin.RevocationView))
    show({"id": view.id, "nm_id": nm_id, "reason": view.reason, "status_epoch": view.status_epoch}, output)


@app.command()
def revocations(
    after: Annotated[int, typer.Option(help="Only those behind this number.")] = 0,
    url: UrlOption = DEFAULT_URL,
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List what was revoked, who has not acted on it yet, and how long it took until all had: managers, groups and topics."""
    page = call(
        state_directory("coordinator", data),
        url,
        lambda client: client.get("/revocations", admin.RevocationPage, after=after, limit=admin.MAX_PAGE),
    )
    columns = ("id", "kind", "subject", "reason", "ts", "by", "waiting", "safe_after_ms")
    said = _reach_in_words if output is Output.TABLE else _reach
    lines = [{**{column: getattr(view, column) for column in columns}, **said(view)} for view in page.items]
    show({"status_epoch": page.status_epoch, "revocations": lines}, output)


def _reach(view: admin.RevocationView) -> dict[str, object]:
    """Return how far a revocation has come in groups and topics, as a program reads it."""
    written = json.loads(admin.encode(view))
    return {"groups": written["groups"], "topics": written["topics"]}


def _reach_in_words(view: admin.RevocationView) -> dict[str, object]:
    """Return the same as people read it: `street-7 850 ms, ward/7/# not yet`."""
    gaps = [(each.group, each.safe_after_ms) for each in view.groups]
    reaches = [(each.filter, each.safe_after_ms) for each in view.topics]
    return {
        "groups": [f"{name} {'not yet' if ms is None else f'{ms} ms'}" for name, ms in gaps],
        "topics": [f"{name} {'not yet' if ms is None else f'{ms} ms'}" for name, ms in reaches],
    }


def call(folder: Path, url: str, work: Callable[[OperatorClient], Awaitable[T]]) -> T:
    """Return what `work` does as the operator of the coordinator in `folder`."""
    from keymote.coordinator.app.directory import token_in

    async def calling() -> T:
        client = OperatorClient(url, folder / "ca.pem", token_in(folder / "token"))
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(calling())
