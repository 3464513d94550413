"""`keymote authority`: the offline root. Nothing here touches a network."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from keymote.cli.output import Output, OutputOption, note, show
from keymote.cli.settings import DataOption, KeyOption, made_directory, state_directory
from keymote.coordinator.authority import COORDINATOR_DAYS, Root, verified_request
from keymote.crypto.entropy import SystemEntropy
from keymote.crypto.secret import Secret
from keymote.errors import CallerFault
from keymote.host.hardening import harden
from keymote.storage import private_files as files
from keymote.storage.rotation import Place, Rewrap, refuse_unfinished
from keymote.storage.seal import DataKey, located, open_key
from keymote.wire import admin, admin_files

app = typer.Typer(help="Keep the offline root and certify coordinators.")

_SEED = "authority signing key"
_FILE = "authority.json"


@app.command()
def init(
    suite: Annotated[int, typer.Option(help="1, 2 or 3 (Ed25519) or 17 (P-256).")] = 1,
    key_uri: KeyOption = "",
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make the root key, sealed under a new key-encryption key, and its pin.

    \b
    Examples:
      keymote authority init --data /media/usb/authority
      cp /media/usb/authority/root.pin .     # devices, managers and coordinators pin this
    """
    harden()
    folder = made_directory(state_directory("authority", data))
    own = folder / _FILE
    if own.exists():
        raise CallerFault(f"{folder} holds an authority already", do="choose another directory by --data")
    entropy = SystemEntropy()
    kek = open_key(located(key_uri, folder), entropy, create=True)
    data_key = DataKey.fresh(entropy)
    root = Root.create(suite, entropy)
    pin = pin_file(root)
    wrapped, sealed = data_key.wrapped_by(kek), data_key.seal(root.key.seed.expose(), _SEED)
    held = admin_files.AuthorityFile(pin, key_uri, admin.to_base64url(wrapped), admin.to_base64url(sealed))
    files.write_private(own, admin_files.write_file(held))
    files.write_private(folder / "root.pin", admin_files.write_file(pin), mode=0o644)
    note("Keep this directory off line, and a copy of its key file elsewhere.")
    show({"id": pin.id, "suite": suite, "root_pin": str(folder / "root.pin")}, output)


@app.command()
def certify(
    request: Annotated[Path, typer.Option(help="nc.req of a coordinator.", metavar="FILE")],
    out: Annotated[Path, typer.Option(help="Where the credential goes, usually nc.cred beside it.", metavar="FILE")],
    days: Annotated[int, typer.Option(help="Life of the credential.")] = COORDINATOR_DAYS,
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Vouch for a coordinator whose request you have received from it by hand.

    \b
    Example:
      keymote authority certify --request nc.req --out nc.cred
    """
    harden()
    folder = state_directory("authority", data)
    root = load_root(folder)
    wanted = admin_files.read_file(files.read_file(request, "request"), admin_files.RequestFile, str(request))
    raw = admin.from_base64url(wanted.request)
    now, serial = int(time.time()), SystemEntropy().draw(8)
    credential = root.certify(raw, now, serial, days=days)
    issued = {"ts": now, "nc_id": credential.claims.sub.hex(), "serial": serial.hex(), "kid": credential.kid.hex()}
    with (folder / "issued.jsonl").open("a") as register:
        register.write(json.dumps({**issued, "exp": credential.claims.exp, "name": wanted.name}) + "\n")
    carried = admin_files.CredentialFile(admin.to_base64url(credential.raw), pin_file(root))
    files.write_private(out, admin_files.write_file(carried), mode=0o644)
    show({**issued, "name": wanted.name, "days": days, "credential": str(out)}, output)


@app.command("show")
def show_authority(
    request: Annotated[Path | None, typer.Option(help="Show what this request asks for.", metavar="FILE")] = None,
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the root's public part, or what a request asks for before you certify it."""
    if request is not None:
        wanted = admin_files.read_file(files.read_file(request, "request"), admin_files.RequestFile, str(request))
        claims = verified_request(admin.from_base64url(wanted.request))
        show({"name": wanted.name, "nc_id": claims.nc_id.hex(), "suite": claims.suite, "made": claims.ts}, output)
        return
    folder = state_directory("authority", data)
    pin = admin_files.read_file(files.read_file(folder / "root.pin", "root pin"), admin_files.RootPin, "root.pin")
    show({"id": pin.id, "suite": pin.suite, "sig_pk": pin.sig_pk}, output)


def pin_file(root: Root) -> admin_files.RootPin:
    """Return the pin of a root as it is carried about."""
    pin = root.pin
    return admin_files.RootPin(pin.suite, pin.id.hex(), admin.to_base64url(pin.sig_pk))


def load_root(folder: Path) -> Root:
    """Return the root that is kept in `folder`; CallerFault when there is none or its key does not open."""
    held, entropy = _held(folder), SystemEntropy()
    refuse_unfinished(folder)
    kek = open_key(located(held.key_uri, folder), entropy)
    data_key = DataKey.unwrapped(admin.from_base64url(held.wrapped_key), kek, entropy, where=str(folder / _FILE))
    return Root.load(held.root.suite, Secret(data_key.open(admin.from_base64url(held.sealed_seed), _SEED)))


def place(folder: Path) -> Place:
    """Return what hangs on the key-encryption key of the authority of `folder`."""

    def point(uri: str, rewrap: Rewrap) -> None:
        held = _held(folder)
        wrapped = rewrap(admin.from_base64url(held.wrapped_key), str(folder / _FILE))
        files.write_private(folder / _FILE, admin_files.write_file(held.under(uri, wrapped)))

    return Place(folder, _held(folder).key_uri, (), point)


def _held(folder: Path) -> admin_files.AuthorityFile:
    path = folder / _FILE
    data = files.read_private(path, "authority", do="make one with `keymote authority init`")
    return admin_files.read_file(data, admin_files.AuthorityFile, str(path))
