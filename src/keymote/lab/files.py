"""The laboratory's door to files: profiles of devices and experiments that come with the program, and those that a user adds."""

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from keymote.errors import CallerFault
from keymote.lab.energy import Profile

_FOLDER = "energy/profiles"
_EXPERIMENTS = "experiments"


def profiles(further: Sequence[Path] = ()) -> Mapping[str, Profile]:
    """Return every profile by its name: those that come with the program, the paper's platform first, then `further`.

    Raises:
        CallerFault: a file cannot be read, a profile lacks a number, a number its source, or two have the same name.
    """
    folder = files(__package__).joinpath(_FOLDER)
    shipped = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    read = [Profile.read(tomllib.loads(folder.joinpath(name).read_text("utf-8"))) for name in shipped]
    found = {profile.name: profile for profile in read}
    for path in further:
        profile = Profile.read(_parsed(path))
        if profile.name in found:
            raise CallerFault(f"{path}: there is a profile {profile.name!r} already", do="give it another name")
        found[profile.name] = profile
    return found


def experiments() -> Sequence[str]:
    """Return the names of the experiments that come with the program."""
    folder = files(__package__).joinpath(_EXPERIMENTS)
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def experiment(name: str) -> tuple[str, Mapping[str, Any]]:
    """Return the name and the table of an experiment: one that comes with the program, or a user's file.

    Raises:
        CallerFault: there is none of that name, or the file cannot be read.
    """
    if name.endswith(".toml"):
        return Path(name).stem, _parsed(Path(name))
    if name not in experiments():
        raise CallerFault(f"no experiment {name!r} in this version", do=f"known are {', '.join(experiments())}")
    return name, tomllib.loads(files(__package__).joinpath(_EXPERIMENTS, f"{name}.toml").read_text("utf-8"))


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CallerFault(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CallerFault(f"{path} is not TOML: {error}") from error
