"""The passphrase of a backup: from a file, else of whoever sits at the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keymote.crypto.secret import Secret

PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        envvar="KEYMOTE_BACKUP_PASSPHRASE_FILE",
        help="First line of a file of mode 0600; without it the terminal is asked.",
    ),
]


def passphrase_of(path: Path | None, *, new: bool) -> "Secret":
    """Return the passphrase of a file, else of whoever sits at the terminal."""
    from keymote.crypto.secret import Secret
    from keymote.storage.private_files import read_private

    if path is not None:
        return Secret(read_private(path, "passphrase file").splitlines()[0].strip())
    entered: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=new)
    return Secret(entered.encode())
