"""`keymote audit`: what was done, and whether the record of it was changed."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from keymote.cli.output import Output, OutputOption, show
from keymote.cli.settings import DataOption, state_directory
from keymote.coordinator.app.directory import former_credentials
from keymote.coordinator.evidence import coordinator_of, judge
from keymote.engine.audit import Entry, Link
from keymote.engine.chain import Pin
from keymote.errors import PeerFault
from keymote.storage.private_files import read_file, write_private
from keymote.storage.sql_audit import read_audit
from keymote.wire import admin, admin_files
from keymote.wire.credential import Role

app = typer.Typer(help="Re-compute the chain of the audit log.")


@app.command()
def verify(
    file: Annotated[Path | None, typer.Option(help="An export instead of a directory.", metavar="FILE")] = None,
    head: Annotated[
        list[Path] | None, typer.Option(help="A head that you have kept; may be repeated.", metavar="FILE")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="root.pin that the signer must chain to.", metavar="FILE")] = None,
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Re-compute every hash and check every signed head; names the first bad entry and exits 1.

    \b
    Examples:
      keymote audit verify --data north
      keymote audit head --url https://nc.example:8443 > head.json     # keep it elsewhere
      keymote audit verify --file export.json --head head.json --root root.pin
    """
    if file is not None:
        export = admin_files.read_file(read_file(file, "export"), admin_files.AuditExport, str(file))
        links = [Link(v.seq, admin.from_base64url(v.entry), _hash(v.h)) for v in export.entries]
        heads = [admin.from_base64url(view.signed) for view in export.heads]
        raw, pin = admin.from_base64url(export.credential), None
        former = [admin.from_base64url(each) for each in export.former]
    else:
        folder = state_directory("coordinator", data)
        carried = admin_files.read_file(
            read_file(folder / "nc.cred", "credential"), admin_files.CredentialFile, "nc.cred"
        )
        rows, kept = read_audit(folder / "registry.db")
        links, heads = list(rows), [one.signed for one in kept]
        raw, pin = admin.from_base64url(carried.credential), _pin(carried.root)
        former = former_credentials(folder)
    for path in head or []:
        view = admin_files.read_file(read_file(path, "head"), admin.HeadView, str(path))
        heads.append(admin.from_base64url(view.signed))
    if root is not None:
        pin = _pin(admin_files.read_file(read_file(root, "root pin"), admin_files.RootPin, str(root)))
    try:
        coordinator = coordinator_of(raw, pin)
        verdict = judge(links, heads, coordinator, [coordinator_of(each, pin) for each in former])
        bad, why, entries = verdict.first_bad, verdict.why, verdict.entries
    except PeerFault as fault:
        bad, why, entries = 0, fault.what, 0
    facts: dict[str, object] = {"ok": not why, "entries": entries, "heads": len(heads)}
    show({**facts, "first_bad": bad or None, "why": why or None}, output)
    if why:
        raise typer.Exit(1)


@app.command("list")
def list_entries(
    after: Annotated[int, typer.Option(help="Only those behind this number.")] = 0,
    data: DataOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List entries of a coordinator's log, oldest first."""
    links, _ = read_audit(state_directory("coordinator", data) / "registry.db")
    show({"entries": [_row(link) for link in links if link.seq > after]}, output)


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="Where the export goes.", metavar="FILE")],
    url: Annotated[str, typer.Option(envvar="KEYMOTE_COORDINATOR_URL", metavar="URL")] = "https://localhost:8443",
    data: DataOption = None,
) -> None:
    """Fetch the whole log with all its heads from a running coordinator, for somebody else to verify."""
    from keymote.cli.coordinator import call

    folder = state_directory("coordinator", data)
    write_private(
        out, admin_files.write_file(call(folder, url, lambda c: c.get("/audit/export", admin_files.AuditExport)))
    )


@app.command("head")
def signed_head(
    url: Annotated[str, typer.Option(envvar="KEYMOTE_COORDINATOR_URL", metavar="URL")] = "https://localhost:8443",
    data: DataOption = None,
) -> None:
    """Print a head signed now, as JSON; kept elsewhere, it betrays a log that is rewritten later."""
    from keymote.cli.coordinator import call

    folder = state_directory("coordinator", data)
    print(admin.encode(call(folder, url, lambda c: c.get("/audit/head", admin.HeadView))).decode())


def _row(link: Link) -> dict[str, object]:
    entry = Entry.decode(link.entry)
    details = {name: value.hex() if isinstance(value, bytes) else value for name, value in entry.details.items()}
    when = datetime.fromtimestamp(entry.ts, UTC).isoformat(sep=" ", timespec="seconds")
    who = {"seq": link.seq, "when": when, "who": entry.actor, "did": entry.action, "to": entry.subject.hex()}
    return {**who, "with": details}


def _hash(text: str) -> bytes:
    """An `h` that is no hex is as wrong as one that differs: it must be named as a bad entry, not as a bad file."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""


def _pin(root: admin_files.RootPin) -> Pin:
    return Pin(admin.id_of(root.id), root.suite, admin.from_base64url(root.sig_pk), Role.AUTHORITY)
