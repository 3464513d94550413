"""What lies in a device's directory, and hangs on its key-encryption key."""

import stat
from pathlib import Path
from typing import Final

from keymote.device.config import read_config, with_key_uri
from keymote.storage.private_files import write_private
from keymote.storage.rotation import Place, Rewrap
from keymote.storage.seal import file_of, file_uri, located
from keymote.storage.sealed_file import SealedFile

CELLS: Final = "cells"


def place(path: Path) -> Place:
    """Return what hangs on the key-encryption key of the device with the TOML file `path`."""
    config = read_config(path)
    cells, mode = config.state / CELLS, stat.S_IMODE(path.stat().st_mode)
    with_key_uri(path.read_text(), "file:trial")  # a file that we cannot change is found out before anything happens

    def point(uri: str, _rewrap: Rewrap) -> None:
        file = file_of(located(uri, config.state))
        home = path.absolute().parent
        if file is not None:
            uri = file_uri(file.relative_to(home) if file.is_relative_to(home) else file)
        write_private(path, with_key_uri(path.read_text(), uri).encode(), mode=mode)

    return Place(config.state, config.key_uri, [lambda: SealedFile(cells)] if cells.exists() else [], point)
