"""Drawings to PNG and SVG; the home of matplotlib, which only an extra installs and only a drawing imports."""

import json
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keymote.errors import CallerFault, Unavailable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Drawing = Callable[["Figure"], None]
"""Fills an empty figure."""

FORMATS: Final = ("png", "svg")
DPI: Final = 150
WIDTH_IN, HEIGHT_IN = 11.0, 8.0
"""Inches."""


def require() -> None:
    """Say before the work begins that figures cannot be drawn.

    Raises:
        Unavailable: matplotlib or numpy is not installed.
    """
    missing = [name for name in ("matplotlib", "numpy") if find_spec(name) is None]
    if missing:
        raise Unavailable(
            f"figures need {' and '.join(missing)}",
            do="install the extra: pip install 'keymote[lab]' (make test does), or leave them out by --no-figures",
        )


def save(drawings: Mapping[str, Drawing], directory: Path, about: Mapping[str, str]) -> Sequence[Path]:
    """Draw everything into `directory` and return the paths; `about` (seed, configuration) stands in each file.

    No window is opened and no global style is touched, and the same drawing gives the same bytes.

    Raises:
        CallerFault: a file cannot be written.
    """
    import matplotlib as mpl  # noqa: PLC0415  an extra, and half a second
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    text = json.dumps(dict(about), sort_keys=True)
    metadata = {"png": {"Description": text, "Software": None}, "svg": {"Description": text, "Date": None}}
    paths = []
    with mpl.rc_context({"svg.hashsalt": text, "svg.fonttype": "none", "font.size": 9.0}):
        for name, draw in drawings.items():
            figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
            FigureCanvasAgg(figure)
            draw(figure)
            for suffix in FORMATS:
                path = directory / f"{name}.{suffix}"
                try:
                    figure.savefig(path, dpi=DPI, format=suffix, metadata=metadata[suffix])
                except OSError as error:
                    raise CallerFault(f"cannot write {path}: {error.strerror}", do="choose another --to") from error
                paths.append(path)
    return paths
