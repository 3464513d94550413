"""`keymote doctor`: look for what usually is wrong, and say what to do about it."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from keymote.cli import doctor_checks as checks
from keymote.cli.doctor_checks import Finding
from keymote.cli.output import Output, OutputOption, show
from keymote.engine.exports import PskForm
from keymote.errors import CallerFault, ErrorCode, KeymoteError, PeerFault, Unavailable
from keymote.storage.seal import located

if TYPE_CHECKING:
    from keymote.crypto.secret import Secret
    from keymote.manager.app.directory import Directory
    from keymote.storage.rotation import Place


def doctor(
    data: Annotated[
        list[Path] | None, typer.Option("--data", metavar="DIR", help="Directory of a role; may be repeated.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="A device's TOML file.")] = None,
    url: Annotated[str, typer.Option(metavar="URL", help="A coordinator, as others call it.")] = "",
    udp: Annotated[list[str] | None, typer.Option(metavar="ADDRESS:PORT", help="Must be free for CoAP.")] = None,
    tcp: Annotated[list[str] | None, typer.Option(metavar="ADDRESS:PORT", help="Must be free for HTTPS.")] = None,
    device: Annotated[
        str, typer.Option(metavar="DEV_ID", help="Ask the running manager of --data why this device does not enrol.")
    ] = "",
    psk_file: Annotated[Path | None, typer.Option(metavar="FILE", help="A pre-shared key for other software.")] = None,
    psk_form: Annotated[PskForm, typer.Option(help="The form that the other side was given.")] = PskForm.TEXT32,
    output: OutputOption = Output.TABLE,
) -> None:
    """Look at roles' directories, a device's file, a coordinator, ports and keys; ends with 1 if something is wrong.

    \b
    Examples:
      keymote doctor --data street-7
      keymote doctor --data ward-7
      keymote doctor --config meter.toml
      keymote doctor --data street-7 --device 00000000000000a1
      keymote doctor --psk-file psk.key --psk-form text32
    """
    found: list[Finding] = []
    for folder in data or ():
        found += _role(folder)
    if config is not None:
        found += _device(config)
    if url:
        found += _coordinator(url)
    found += [_port("udp", text) for text in udp or ()]
    found += [_port("tcp", text) for text in tcp or ()]
    if device:
        if not data:
            raise CallerFault("--device needs the manager's --data")
        found.append(_code(data[0], device))
    if psk_file is not None:
        found.append(checks.psk_form(str(psk_file), _read(psk_file), psk_form))
    if not found:
        raise CallerFault("nothing to look at", do="name a role by --data, or see keymote doctor --help")
    ok = all(finding.ok for finding in found)
    show({"ok": ok, "findings": [asdict(finding) for finding in found]}, output)
    if not ok:
        raise typer.Exit(1)


def _role(folder: Path) -> Iterator[Finding]:
    if (folder / "manager.json").exists():
        yield from _manager(folder)
    elif (folder / "coordinator.json").exists():
        yield from _key(lambda: _coordinator_place(folder))
        yield from _files(folder, "coordinator.json", "token", "ca.key", "tls.key", "registry.db", "cells.db")
        yield from _certificate(folder)
        yield from _own_credential(folder / "nc.cred")
        yield from _schemas(folder, {"registry.db": "registry", "cells.db": "cells"})
    elif (folder / "agent.json").exists():
        yield from _agent(folder)
    else:
        raise CallerFault(f"{folder} holds no role", do="name the directory of a manager, coordinator or agent")


def _agent(folder: Path) -> Iterator[Finding]:
    from keymote.agent.app.directory import place
    from keymote.agent.app.identity import Identity
    from keymote.cli import doctor_agent

    try:
        identity = Identity.of(folder)
    except CallerFault as fault:
        yield Finding("agent", ok=False, what=fault.what, do=fault.do)
        return
    yield from _key(lambda: place(folder))
    yield from _files(folder, "own.cells", "tls.key", "cells.db", "dynsec.json")
    yield from _schemas(folder, {"cells.db": "cells"})
    yield from _certificate(folder)
    yield from doctor_agent.findings(folder, identity)


def _own_credential(path: Path) -> Iterator[Finding]:
    from keymote.wire import admin, admin_files
    from keymote.wire.credential import SignedCredential

    if path.exists():
        carried = admin_files.read_file(_read(path), admin_files.CredentialFile, str(path))
        claims = SignedCredential.decode(admin.from_base64url(carried.credential)).claims
        yield checks.credential_dates(str(path), claims, int(time.time()))


def _manager(folder: Path) -> Iterator[Finding]:
    from keymote.crypto.entropy import SystemEntropy
    from keymote.manager.app.directory import Directory, place

    key = list(_key(lambda: place(folder)))
    yield from key
    yield from _files(folder, "label", "own.cells", "tls.key", "cells.db")
    yield from _schemas(folder, {"cells.db": "cells"})
    yield from _certificate(folder)
    if not all(finding.ok for finding in key):
        return  # what follows opens it again: a wrong PIN is not tried twice
    try:
        directory = Directory.open(folder, SystemEntropy())
    except KeymoteError as fault:
        yield Finding("manager", ok=False, what=fault.what, do=fault.do)
        return
    yield from _credential(directory)
    yield from _coordinator(directory.identity.coordinators[0])
    yield _known(directory)


def _credential(directory: "Directory") -> Iterator[Finding]:
    """Look at the manager's own credential, in its store when it does not run, else as it tells."""
    from keymote.crypto.entropy import SystemEntropy
    from keymote.manager.app.enrol import newcomer_context
    from keymote.manager.app.own import OwnStore
    from keymote.transports.control import ControlClient
    from keymote.wire.admin import from_base64url
    from keymote.wire.credential import SignedCredential

    try:
        with ControlClient(directory.control) as manager:
            raw = from_base64url(manager.ask("status")["credential"])
    except Unavailable:
        try:
            own = OwnStore(directory.folder / "own.cells", directory.kek, SystemEntropy())
        except KeymoteError:
            return
        try:
            raw = own.membership(newcomer_context(directory, own.signing_key(directory.suite))).credential.raw
        except KeymoteError:
            return  # not enrolled: the coordinator says so below
        finally:
            own.close()
    claims = SignedCredential.decode(raw).claims
    yield checks.credential_dates("the manager's credential", claims, int(time.time()))


def _known(directory: "Directory") -> Finding:
    """Ask the running manager how its coordinator treats it; when none runs, ask the coordinator as the manager."""
    from keymote.transports.control import ControlClient

    nm_id = directory.identity.nm_id
    try:
        with ControlClient(directory.control) as manager:
            standing = manager.ask("status")["coordinator"]
    except Unavailable:
        return checks.manager_known(nm_id, _refusal(directory))
    match standing:
        case "connected":
            return checks.manager_known(nm_id, None)
        case "refused":
            return checks.manager_known(nm_id, PeerFault(ErrorCode.E_NOSHARE, "its connection was refused"))
        case _:
            return checks.manager_known(nm_id, Unavailable("the running manager has no connection now"))


def _refusal(directory: "Directory") -> Exception | None:
    """Return how the coordinator refuses the manager's own question about itself, None when it answers."""
    from keymote.crypto.entropy import SystemEntropy
    from keymote.engine.queries import FindManager
    from keymote.manager.app.own import OwnStore
    from keymote.transports.http_client import CoordinatorClient

    async def ask(password: "Secret") -> None:
        folder = directory.folder
        client = CoordinatorClient(
            directory.identity.coordinators[0],
            (folder / "ca.pem").read_text(),
            certificate=folder / "tls.pem",
            key=folder / "tls.key",
            password=password,
        )
        try:
            await client.find_manager(FindManager(directory.nm_id))
        finally:
            await client.close()

    try:
        own = OwnStore(directory.folder / "own.cells", directory.kek, SystemEntropy())
        try:
            asyncio.run(ask(own.password()))
        finally:
            own.close()
    except (OSError, KeymoteError) as error:
        return error
    return None


def _device(config: Path) -> Iterator[Finding]:
    from keymote.device.app.identity import root_pin
    from keymote.device.config import read_config
    from keymote.engine.label import parse_code

    read = read_config(config)
    yield from checks.key(read.key_uri, read.state, needed=(read.state / "cells").exists())
    secrets = [path for path in (read.code_file, read.manager_code_file, read.state / "cells") if path]
    yield from checks.private_files(secrets)
    try:
        root_pin(read.root)
        if read.code_file is not None and read.code_file.exists():
            parse_code(_read(read.code_file).decode("ascii", "replace"))
    except KeymoteError as fault:
        yield Finding("device file", ok=False, what=fault.what, do=fault.do)
    else:
        yield Finding("device file", ok=True, what=f"{config}, its root and its code can be read")
    if read.listen[1]:
        yield checks.port("udp", *read.listen)


def _coordinator(url: str) -> Iterator[Finding]:
    pem = checks.served_certificate(url)
    if isinstance(pem, Finding):
        yield pem
        return
    name = f"the certificate of {url}"
    yield checks.certificate_dates(name, pem, int(time.time()))
    yield checks.certificate_names(name, pem, urlsplit(url).hostname or "")
    yield checks.clock(url, checks.served_date(url))


def _key(find: Callable[[], "Place"]) -> Iterator[Finding]:
    """Look at the key-encryption key of a role by what its own file says."""
    try:
        found = find()
    except KeymoteError as fault:
        yield Finding("key", ok=False, what=fault.what, do=fault.do)
    else:
        yield from checks.key(located(found.key_uri, found.folder), found.folder)


def _coordinator_place(folder: Path) -> "Place":
    from keymote.coordinator.app.directory import place

    return place(folder)


def _files(folder: Path, *names: str) -> Iterator[Finding]:
    yield from checks.private_files(folder / name for name in names)


def _schemas(folder: Path, histories: dict[str, str]) -> Iterator[Finding]:
    for name, history in histories.items():
        if (folder / name).exists():
            yield checks.schema(folder / name, history)


def _certificate(folder: Path) -> Iterator[Finding]:
    path = folder / "tls.pem"
    if path.exists():
        yield checks.certificate_dates(str(path), path.read_text(), int(time.time()))


def _port(kind: str, text: str) -> Finding:
    host, _, number = text.rpartition(":")
    if not host or not number.isdigit():
        raise CallerFault(f"{text!r} is not ADDRESS:PORT")
    return checks.port(kind, host.strip("[]"), int(number))


def _code(folder: Path, dev_id: str) -> Finding:
    from keymote.transports.control import ControlClient

    with ControlClient(folder / "control.sock") as manager:
        return checks.code(dev_id, manager.ask("device.examine", dev_id=dev_id))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CallerFault(f"cannot read {path}: {error.strerror}") from error
