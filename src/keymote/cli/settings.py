"""Where options come from (a TOML file, then `KEYMOTE_*`, then flags) and where a role keeps its state."""

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from keymote.errors import CallerFault

DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", envvar="KEYMOTE_DATA", help="Keep state there.", show_default="user data"),
]


KeyOption = Annotated[
    str,
    typer.Option(
        metavar="URI",
        help="Key-encryption key, file:/path or pkcs11:token=...;object=...; made when absent.",
        show_default="file `key` beside",
    ),
]


LogLevelOption = Annotated[str, typer.Option(help="debug, info, warning or error.")]


def state_directory(role: str, data: Path | None) -> Path:
    """Return where a role keeps its state: `data`, else below the platform's user data directory; not created here."""
    if data is not None:
        return data.expanduser().absolute()
    import platformdirs

    return platformdirs.user_data_path("keymote", appauthor=False) / role


def made_directory(path: Path) -> Path:
    """Create `path` for its owner only (0700) and return it; CallerFault when it cannot be made."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CallerFault(f"cannot create {path}: {error.strerror}", do="choose another directory by --data") from error
    return path


def root(
    context: typer.Context,
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="KEYMOTE_CONFIG",
            metavar="FILE",
            help="TOML file of options: a table per command, e.g. [coordinator.run] port = 8443. "
            "Environment (KEYMOTE_COORDINATOR_RUN_PORT) and flags win over it.",
        ),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    """Key service for fleets of constrained devices: pair, group and topic keys, and their revocation."""
    context.auto_envvar_prefix = "KEYMOTE"  # from here down: KEYMOTE_VERSION in an environment is not our --version
    if version:
        from importlib.metadata import version as version_of

        print(version_of("keymote"))
        raise typer.Exit
    if config is not None:
        context.default_map = read_configuration(config)


def read_configuration(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file; CallerFault that names the file and the place when it cannot be read."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise CallerFault(f"cannot read configuration {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise CallerFault(f"{path} is not TOML: {error}") from error
