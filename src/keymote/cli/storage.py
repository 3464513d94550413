"""`keymote storage`: the key-encryption key of any role."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keymote.cli.output import Output, OutputOption, note, show
from keymote.errors import CallerFault

if TYPE_CHECKING:
    from keymote.storage.rotation import Place

app = typer.Typer(help="Change the key that wraps the keys of a role's stores.")


@app.callback()
def _storage() -> None:
    """Keep `rotate` a word of its own."""


@app.command()
def rotate(
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory of an authority, coordinator, manager or agent.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A device's TOML file; its key_uri follows.")
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="URI", help="file:/path, file:NAME in the directory, or pkcs11:...; made if absent."
        ),
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Wrap all data keys of a stopped role by another key-encryption key; the rows stay as they are.

    Without --to it is a new file beside the old one, which is erased. After an interruption the same command goes on
    where it was; until then the role does not start.

    \b
    Examples:
      keymote storage rotate --data street-7
      keymote storage rotate --data street-7 --to 'pkcs11:token=km;object=kek?module-path=
          /usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/keymote/pin'     # one line
      keymote storage rotate --config meter.toml --to file:/run/keys/meter
    """
    from keymote.crypto.entropy import SystemEntropy
    from keymote.host.hardening import harden
    from keymote.storage.rotation import rotate as rotate_key

    harden()
    done = rotate_key(_place(data, config), to, SystemEntropy())
    if done.old_remains:
        note(f"{done.old} was not touched: older backups need it, the stores do not.")
    show(
        {
            "key": done.new,
            "fingerprint": done.fingerprint.hex(),
            "stores": list(done.stores),
            "old_key": done.old if done.old_remains else "erased",
            "resumed": done.resumed,
        },
        output,
    )


def _place(data: Path | None, config: Path | None) -> "Place":
    """Return what hangs on the key of the role that is named, whichever it is."""
    if (data is None) == (config is None):
        raise CallerFault("one role at a time", do="name its directory by --data, or a device's file by --config")
    if config is not None:
        from keymote.device.app.directory import place as device_place

        return device_place(config)
    folder = (data or Path()).expanduser().absolute()
    if (folder / "manager.json").exists():
        from keymote.manager.app.directory import place as manager_place

        return manager_place(folder)
    if (folder / "coordinator.json").exists():
        from keymote.coordinator.app.directory import place as coordinator_place

        return coordinator_place(folder)
    if (folder / "agent.json").exists():
        from keymote.agent.app.directory import place as agent_place

        return agent_place(folder)
    if (folder / "authority.json").exists():
        from keymote.cli.authority import place as authority_place

        return authority_place(folder)
    raise CallerFault(f"{folder} holds no role", do="name the directory that was the role's --data")
