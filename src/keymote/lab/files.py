"""The laboratory's door to files: the profiles of devices that come with the program, and those that a user adds."""

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from keymote.errors import CallerFault
from keymote.lab.energy import Profile

_FOLDER = "energy/profiles"


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


def _parsed(path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CallerFault(f"cannot read profile {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CallerFault(f"{path} is not TOML: {error}") from error
