"""The laboratory's door to files: the profiles of devices that come with the program."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files

from keymote.lab.energy import Profile

_FOLDER = "energy/profiles"


def profiles() -> Mapping[str, Profile]:
    """Return every profile by its name, the paper's platform first.

    Raises:
        CallerFault: a profile lacks a number, or a number lacks its source.
    """
    found = sorted(
        entry.name for entry in files(__package__).joinpath(_FOLDER).iterdir() if entry.name.endswith(".toml")
    )
    read = [
        Profile.read(tomllib.loads(files(__package__).joinpath(_FOLDER, name).read_text("utf-8"))) for name in found
    ]
    return {profile.name: profile for profile in read}
