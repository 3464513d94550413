"""The figure: energy of a session by scheme and device, beside the paper's claims; and what each scheme sends and keeps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from keymote.bench.reproduce.paper000.claims import Verdict
from keymote.bench.reproduce.paper000.scheme import Scheme
from keymote.bench.reproduce.paper000.tables import by_name
from keymote.lab.energy import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#CC79A7", "#F0E442", "#999999")
"""Okabe and Ito's, told apart by colour-blind readers: one a profile."""
CLAIM: Final = "#D55E00"
FLOOR: Final = "#000000"
SENT, RECEIVED, DURABLE, SESSION = "#0072B2", "#56B4E9", "#332288", "#CC79A7"
GROUP: Final = 0.8
"""Width of the bars of one scheme together, where the next one begins at 1."""


def draw(schemes: Sequence[Scheme], profiles: Sequence[Profile], verdicts: Sequence[Verdict], figure: "Figure") -> None:
    """Fill an empty figure."""
    panels = figure.subplot_mosaic([["energy", "energy"], ["messages", "state"]], height_ratios=(1.25, 1.0))
    _energy(schemes, profiles, verdicts, panels["energy"])
    _messages(schemes, panels["messages"])
    _state(schemes, panels["state"])
    figure.supxlabel("every number and its source: paper-000.json beside this file", fontsize=7.5)
    figure.suptitle("Paper 000 re-measured: one pairwise session at one device, idle listening left out", weight="bold")


def _energy(schemes: Sequence[Scheme], profiles: Sequence[Profile], verdicts: Sequence[Verdict], axes: "Axes") -> None:
    named = list(by_name(schemes).values())
    bar = GROUP / len(profiles)
    for number, profile in enumerate(profiles):
        fitting = [next(scheme for scheme in same if scheme.fits(profile)) for same in named]
        values = [scheme.session_cost(profile).total_j * 1e3 for scheme in fitting]
        places = [place + (number - (len(profiles) - 1) / 2) * bar for place in range(len(named))]
        title = f"{profile.title}, {'P-256' if profile.group == 'P-256' else 'Curve25519'}"
        bars = axes.bar(places, values, bar * 0.92, color=COLOURS[number % len(COLOURS)], label=title)
        axes.bar_label(
            bars, [f"{value:.2g}" if value < 10 else f"{value:.0f}" for value in values], fontsize=6.5, padding=1
        )
    claimed = sum(verdict.claim.value for verdict in verdicts) / 1e3
    terms = " + ".join(f"{verdict.claim.value:g}" for verdict in verdicts)
    rulings = " and ".join(dict.fromkeys(str(verdict.ruling) for verdict in verdicts))
    label = f"the paper's claim, {terms} uJ: {rulings}"
    axes.axhline(claimed, color=CLAIM, linestyle="--", linewidth=1.4, label=label)
    least = sum(verdict.floor for verdict in verdicts) / 1e3
    floor = f"least for its multiplications on its platform: {least:.2g} mJ"
    own = sum(profile.name.startswith("cc2538") for profile in profiles)
    axes.hlines(least, -GROUP / 2 - bar / 4, -GROUP / 2 + own * bar, color=FLOOR, linewidth=2.0, label=floor, zorder=3)
    axes.set_yscale("log")
    axes.set_ylim(claimed / 2.5, axes.get_ylim()[1] * 9)
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
    axes.set_xticks(range(len(named)), [same[0].title for same in named])
    axes.set_ylabel("energy of a session, mJ (log)")
    axes.grid(axis="y", which="major", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(ncols=3, fontsize=8, loc="upper center", framealpha=0.95)
    _frame(axes)


def _messages(schemes: Sequence[Scheme], axes: "Axes") -> None:
    rows = [same[-1] for same in by_name(schemes).values()]
    sent = [sum(scheme.session_messages.sent) for scheme in rows]
    received = [sum(scheme.session_messages.received) for scheme in rows]
    places = range(len(rows))
    axes.barh(places, sent, 0.62, color=SENT, label="sent")
    ends = axes.barh(places, received, 0.62, left=sent, color=RECEIVED, label="received")
    axes.bar_label(ends, [str(one + other) for one, other in zip(sent, received, strict=True)], fontsize=7, padding=3)
    _horizontal(axes, rows, "bytes of messages, one session (ours: suite 17)")


def _state(schemes: Sequence[Scheme], axes: "Axes") -> None:
    rows = [same[-1] for same in by_name(schemes).values()]
    states = [scheme.state for scheme in rows]
    durable = [0 if state is None else sum(state.durable.values()) for state in states]
    session = [0 if state is None else sum(state.session.values()) for state in states]
    places = range(len(rows))
    axes.barh(places, durable, 0.62, color=DURABLE, label="kept for good")
    ends = axes.barh(places, session, 0.62, left=durable, color=SESSION, label="per open session")
    labels = ["not told" if state is None else str(d + s) for state, d, s in zip(states, durable, session, strict=True)]
    axes.bar_label(ends, labels, fontsize=7, padding=3)
    _horizontal(axes, rows, "bytes of state at a device")


def _horizontal(axes: "Axes", rows: Sequence[Scheme], label: str) -> None:
    axes.set_yticks(range(len(rows)), [scheme.title for scheme in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.set_xlim(0, axes.get_xlim()[1] * 1.12)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(fontsize=7.5, loc="lower right")
    _frame(axes)


def _frame(axes: "Axes") -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
