"""The paper's figures 3, 4 and 5 with what comes out here, and what a move costs."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from keymote.bench.reproduce.figures import Drawing
from keymote.bench.reproduce.paper002.claims import BASELINE_H, LIFETIME_H, MEMORY, RATE, Evidence
from keymote.bench.reproduce.paper002.lifetime import RATES, Between
from keymote.bench.reproduce.paper002.schemes import READING, Session

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CPU, TX, RX, KEYS = "#0072B2", "#E69F00", "#56B4E9", "#999999"
CLAIM: Final = "#D55E00"
LINES: Final = (
    ("xor", Session.EACH, "#D55E00", "-"),
    ("triad1-ascon", Session.DAILY, "#0072B2", "-"),
    ("dtls-psk", Session.DAILY, "#009E73", "-"),
    ("dtls-cert", Session.DAILY, "#CC79A7", "-"),
    ("dtls-cert", Session.EACH, "#CC79A7", "--"),
    ("hip", Session.EACH, "#999999", "--"),
)
CUT_MJ: Final = 5.0
"""A bar beyond says its length and is cut."""
SOURCE: Final = "every number and its source: paper-002.json beside this file"


def drawings(evidence: Evidence) -> Mapping[str, Drawing]:
    """Return the figures by the names of their files."""
    fillers: Mapping[str, Callable[[Evidence, Figure], None]] = {
        "paper-002-energy": _energy,
        "paper-002-lifetime": _lifetime,
    }
    return {name: partial(fill, evidence) for name, fill in fillers.items()}


def _energy(evidence: Evidence, figure: "Figure") -> None:
    panels = figure.subplot_mosaic([["energy", "energy"], ["state", "moves"]], height_ratios=(1.2, 1.0))
    _readings(evidence, panels["energy"])
    _state(evidence, panels["state"])
    _moves(evidence, panels["moves"])
    figure.suptitle("Paper 002 re-measured: what a reading costs a Z1, idle listening left out", weight="bold")
    figure.supxlabel(SOURCE, fontsize=7.5)


def _readings(evidence: Evidence, axes: "Axes") -> None:
    schemes = list(evidence.schemes.values())
    spent = [evidence.device.spend(scheme.reading) for scheme in schemes]
    places = list(range(len(schemes)))
    left = [0.0] * len(schemes)
    for values, label, colour in (
        ([each.cpu_j * 1e3 for each in spent], "processor", CPU),
        ([each.tx_j * 1e3 for each in spent], "sending", TX),
        ([each.rx_j * 1e3 for each in spent], "receiving", RX),
    ):
        axes.barh(places, values, 0.6, left=left, color=colour, label=label)
        left = [before + value for before, value in zip(left, values, strict=True)]
    keys = [evidence.device.spend(scheme.keys).total_j * 1e3 for scheme in schemes]
    ends = [
        f"{total:.2g}   + {key:.3g} for keys" if key else f"{total:.2g}" for total, key in zip(left, keys, strict=True)
    ]
    longest = max(total for total in left if total < CUT_MJ)
    for place, total, text in zip(places, left, ends, strict=True):
        if total > longest:
            axes.text(longest * 1.01, place, text, va="center", fontsize=7.5, color="white")
        else:
            axes.text(total + longest * 0.01, place, text, va="center", fontsize=7.5)
    axes.set_yticks(places, [scheme.title for scheme in schemes], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.5)
    axes.set_xlabel(f"mJ for a reading of {READING} bytes, confirmed (longer bars are cut)")
    _finish(axes, "x")


def _state(evidence: Evidence, axes: "Axes") -> None:
    schemes = [evidence.schemes[name] for name in ("xor", "triad1-ascon", "dtls-psk", "dtls-cert", "hip")]
    sizes = [sum(scheme.state.values()) for scheme in schemes]
    bars = axes.barh(range(len(schemes)), sizes, 0.6, color=CPU)
    axes.bar_label(bars, [str(size) for size in sizes], fontsize=7.5, padding=3)
    axes.set_yticks(range(len(schemes)), [scheme.title for scheme in schemes], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(sizes) * 1.2)
    axes.set_xlabel(f"bytes of state at a mote (the paper's {MEMORY} B are code and all)")
    _finish(axes, "x", legend=False)


def _moves(evidence: Evidence, axes: "Axes") -> None:
    spent = {name: evidence.device.spend(step).total_j * 1e3 for name, step in evidence.hand_overs.items()}
    bars = axes.barh(range(len(spent)), list(spent.values()), 0.6, color=TX)
    axes.bar_label(bars, [f"{value:.3g}" for value in spent.values()], fontsize=7.5, padding=3)
    axes.set_yticks(range(len(spent)), list(spent), fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(1, max(spent.values()) * 3)
    axes.set_xlabel("mJ at the mote when it moves, or begins (log)")
    _finish(axes, "x", legend=False)


def _lifetime(evidence: Evidence, figure: "Figure") -> None:
    panels = figure.subplots(1, len(Between), sharey=True)
    for axes, between in zip(panels, Between, strict=True):
        for name, session, colour, style in LINES:
            hours = [evidence.hours(name, session, between, rate) for rate in RATES]
            label = f"{evidence.schemes[name].title}, {session}"
            axes.plot(RATES, hours, style, color=colour, label=label, linewidth=1.5)
        axes.plot([RATE], [LIFETIME_H], "x", color=CLAIM, markersize=8, label=f"the paper: {LIFETIME_H:,} h")
        axes.plot(
            [RATE], [BASELINE_H], "+", color="#CC79A7", markersize=9, label=f"the paper's CB-DTLS: {BASELINE_H:,} h"
        )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(RATES, [str(rate) for rate in RATES], fontsize=7)
        axes.minorticks_off()
        axes.set_title(str(between), fontsize=9)
        axes.set_xlabel("readings an hour")
        _finish(axes, "both", legend=False)
    panels[0].set_ylabel("hours on two AA batteries (log)")
    panels[0].yaxis.set_major_formatter(lambda value, _position: f"{value:,.0f}")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=7.5, title=SOURCE, title_fontsize=7.5)
    figure.suptitle("Paper 002 re-measured: figure 5, by what the radio does between readings", weight="bold")


def _finish(axes: "Axes", grid: "Literal['both', 'x', 'y']", *, legend: bool = True) -> None:
    axes.grid(axis=grid, alpha=0.3)
    axes.set_axisbelow(True)
    if legend:
        axes.legend(fontsize=7.5, loc="lower right")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
