"""Figures: the same drawing gives the same bytes, says its seed, and fails with words."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from keymote.bench.reproduce.figures import save
from keymote.errors import CallerFault

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _drawing(figure: "Figure") -> None:
    figure.text(0.5, 0.5, "drawn")


def test_the_same_drawing_gives_the_same_bytes_and_says_its_seed(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    one, other = (save({"d": _drawing}, folder, {"seed": "7"}) for folder in folders)
    assert [path.name for path in one] == ["d.png", "d.svg"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    assert b'{"seed": "7"}' in one[0].read_bytes()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CallerFault, match="cannot write"):
        save({"d": _drawing}, tmp_path / "nowhere", {})
