"""The paper's figures 4, 5, 8 and 9 with what comes out here."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from keymote.bench.reproduce.figures import Drawing
from keymote.bench.reproduce.paper001.claims import POINTS, Evidence, own_energy_mj, own_latency_ms
from keymote.bench.reproduce.paper001.comparison import METER
from keymote.bench.reproduce.paper001.streets import SERIES, Street
from keymote.bench.reproduce.paper001.tables import FUNCTIONS
from keymote.lab.baselines import Event
from keymote.lab.energy import Traffic, cost

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#CC79A7", "#999999")
"""Okabe and Ito's, one a series."""
CLAIM: Final = "#D55E00"
SMALL: Final = 15
"""The case studies go to 15 members."""
SOURCE: Final = "every number and its source: paper-001.json beside this file"


def drawings(evidence: Evidence) -> Mapping[str, Drawing]:
    """Return the figures by the names of their files."""
    fillers: Mapping[str, Callable[[Evidence, Figure], None]] = {
        "paper-001-figure-4": _figure4,
        "paper-001-figure-5": _figure5,
        "paper-001-figure-8": _figure8,
        "paper-001-figure-9": _figure9,
    }
    return {name: partial(fill, evidence) for name, fill in fillers.items()}


def _of(evidence: Evidence, series: str, most: int = 1000) -> list[Street]:
    return [street for (name, n), street in evidence.streets.items() if name == series and n <= most]


def _lines(evidence: Evidence, axes: "Axes", names: Sequence[str], most: int = 1000) -> None:
    for number, series in enumerate(SERIES):
        streets = _of(evidence, series.name, most) if series.name in names else []
        if streets:
            means = [street.latency.mean_ms for street in streets]
            halves = [street.latency.ci95_ms for street in streets]
            axes.errorbar(
                [street.latency.n for street in streets],
                means,
                yerr=halves,
                color=COLOURS[number],
                label=f"{series.title} ({streets[0].latency.runs} runs)",
                marker="o",
                markersize=3,
                capsize=2,
                linewidth=1.4,
            )


def _own(axes: "Axes", ns: Sequence[int]) -> None:
    label = "the paper's own parts: 35 ms + 26 ms (n - 1), no radio"
    axes.plot(ns, [own_latency_ms(n) for n in ns], color=CLAIM, linestyle=":", linewidth=1.4, label=label)


def _figure4(evidence: Evidence, figure: "Figure") -> None:
    left, right = figure.subplots(1, 2)
    ns = evidence.sizes
    _lines(evidence, left, [series.name for series in SERIES])
    _own(left, ns)
    left.scatter(list(POINTS), list(POINTS.values()), color=CLAIM, marker="x", zorder=4, label="the paper's claims")
    _finish(left, "members", "START to the last member's ACTIVE, ms (95 % interval)")
    streets = _of(evidence, "suite1-v1")
    for mt, label, colour in ((33, "R1", COLOURS[0]), (35, "R2, proof included", COLOURS[2]), (36, "R3", COLOURS[3])):
        shown = [street for street in streets if mt in street.sizes]
        right.plot(
            [street.latency.n for street in shown],
            [street.sizes[mt] for street in shown],
            color=colour,
            marker="o",
            markersize=3,
            label=label,
        )
    right.plot([3, 30], [180, 212], color=CLAIM, linestyle="--", label="the paper: 180 to 212 B")
    right.axhline(127, color="black", linewidth=0.8, label="a frame of IEEE 802.15.4, headers included")
    _finish(right, "members", "bytes of a message")
    _title(figure, "Figure 4 re-measured: latency and message size by the number of meters")


def _figure5(evidence: Evidence, figure: "Figure") -> None:
    left, right = figure.subplots(1, 2)
    streets = _of(evidence, "suite1-v1")
    ns = [street.latency.n for street in streets]
    for key, label, colour in (
        ("record", "record, kept over reboots", COLOURS[0]),
        ("active", "cell, between runs", COLOURS[1]),
        ("peak", "cell, at most in a run", COLOURS[4]),
    ):
        left.plot(ns, [street.state[key] for street in streets], color=colour, marker="o", markersize=3, label=label)
    left.axhline(1536, color=CLAIM, linestyle="--", label="the paper: 1.5 KB kept a session")
    left.axhline(4096, color=CLAIM, linestyle=":", label="the paper: 4 KB for a while, 15 meters")
    _finish(left, "members", "bytes of a member's state")
    shown = [evidence.devices[name] for name in ("paper-001-curve25519", "cortex-m4")]
    bar = 0.8 / 3
    for number, device in enumerate(shown):
        spent = [cost(device, operations, Traffic()).total_j * 1e3 for operations, _ in FUNCTIONS.values()]
        places = [place + (number - 1) * bar for place in range(len(FUNCTIONS))]
        right.bar(places, spent, bar * 0.92, color=COLOURS[number * 2], label=device.title)
    printed = [(place, value) for place, (_, value) in enumerate(FUNCTIONS.values()) if value is not None]
    claimed = [value for _, value in printed]
    right.bar([place + bar for place, _ in printed], claimed, bar * 0.92, color=CLAIM, label="the paper (1.5: at most)")
    right.set_yscale("log")
    right.set_xticks(range(len(FUNCTIONS)), list(FUNCTIONS), rotation=20, fontsize=8)
    _finish(right, "", "mJ an execution (log)")
    _title(figure, "Figure 5 re-measured: state and energy by function")


def _figure8(evidence: Evidence, figure: "Figure") -> None:
    left, right = figure.subplots(1, 2)
    _lines(evidence, left, ("suite1-v1", "suite1-v0", "cortex-m4-v1"), SMALL)
    _own(left, [n for n in evidence.sizes if n <= SMALL])
    left.axhline(310, color=CLAIM, linestyle="--", label="the paper: 310 ms at most")
    _finish(left, "meters of the microgrid", "morning negotiation, ms (95 % interval)")
    device, n = evidence.devices[METER], evidence.most(SMALL)
    bars = {"TLS to each meter": evidence.others["tls-each", Event.FORM, n].energy(device).total_j * 1e3}
    for series in ("suite17-v1", "suite17-v0"):
        street = evidence.streets[series, n]
        bars[street.series.title.replace(", ", ",\n")] = cost(device, street.operations, street.carried).total_j * 1e3
    bars["LKH, at forming"] = evidence.others["lkh", Event.FORM, n].energy(device).total_j * 1e3
    bars["the paper's ECDHs\n(its own figure 5)"] = own_energy_mj(n)
    drawn = right.bar(range(len(bars)), list(bars.values()), 0.6, color=[*COLOURS[: len(bars) - 1], CLAIM])
    right.bar_label(drawn, [f"{value:.3g}" for value in bars.values()], fontsize=8, padding=2)
    right.axhline(0.82 * bars["TLS to each meter"], color=CLAIM, linestyle="--", label="the paper: 18 % below TLS")
    right.set_xticks(range(len(bars)), list(bars), fontsize=7)
    _finish(right, "", f"mJ of one meter each morning, {n} meters")
    _title(figure, "Figure 8 re-measured: the rural microgrid")


def _figure9(evidence: Evidence, figure: "Figure") -> None:
    left, right = figure.subplots(1, 2)
    _lines(evidence, left, ("suite1-v1", "suite1-v0", "cortex-m4-v1"), SMALL)
    left.axhline(400, color=CLAIM, linestyle="--", label="the paper: 400 ms at most")
    _finish(left, "homes", "rekeying when somebody joins or leaves, ms (95 % interval)")
    right.plot(list(evidence.delivered), list(evidence.delivered.values()), color=COLOURS[2], marker="o")
    _finish(right, "homes", "signed commands that all others validated, one cycle of 60 s", legend=False)
    _title(figure, "Figure 9 re-measured: the neighbourhood's energy exchange")


def _title(figure: "Figure", text: str) -> None:
    figure.suptitle(f"Paper 001. {text}", weight="bold")
    figure.supxlabel(SOURCE, fontsize=7.5)


def _finish(axes: "Axes", xlabel: str, ylabel: str, *, legend: bool = True) -> None:
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    if axes.get_yscale() == "linear":
        axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    if legend:
        axes.legend(fontsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
