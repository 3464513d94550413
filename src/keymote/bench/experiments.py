"""Pictures of `keymote lab run`: one for each case, drawn from the rows that stand in its JSON."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from keymote.bench.reproduce.figures import Drawing
from keymote.engine.policy.group_faces import DAY_S
from keymote.lab.experiment import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, SKY, GREEN, ORANGE, RED = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00"
"""Okabe and Ito's, told apart by colour-blind readers."""
REASONS: Final = {
    0: ("formed", SKY),
    1: ("morning", BLUE),
    2: ("join", GREEN),
    3: ("leave", ORANGE),
    4: ("revoked", RED),
}

WAYS: Final = {"hand-over": "handed over", "home": "back home", "full": "over the trusted system"}

Rows = Sequence[Mapping[str, Any]]


def drawing(outcome: Outcome) -> Drawing:
    """Return what draws an outcome into an empty figure."""
    return partial(_DRAWN[outcome.experiment.case], outcome)


def _headed(outcome: Outcome, figure: "Figure") -> None:
    figure.suptitle(outcome.experiment.title, weight="bold")
    figure.supxlabel(
        f"seed {outcome.seed!r}; every number: {outcome.experiment.name}.json beside this file", fontsize=7.5
    )


# ------------------------------------------------------------------ microgrid


def _microgrid(outcome: Outcome, figure: "Figure") -> None:
    panels = figure.subplot_mosaic([["log"], ["runs"]], height_ratios=(1.0, 1.0))
    _log(outcome, panels["log"])
    _runs(outcome.tables["epochs"], panels["runs"])
    _headed(outcome, figure)


def _log(outcome: Outcome, axes: "Axes") -> None:
    rows: Rows = outcome.tables["waiting"]
    days = [row["at"] / DAY_S for row in rows]
    axes.step(days, [row["items"] for row in rows], where="post", color=BLUE, label="items that wait at the gateway")
    window, end = outcome.experiment.uplink, outcome.experiment.days * DAY_S
    up, first = window.next_up(0.0), True
    while up < end and window.for_s < DAY_S:
        label = "uplink" if first else None
        axes.axvspan(up / DAY_S, (up + window.for_s) / DAY_S, color=GREEN, alpha=0.35, linewidth=0, label=label)
        up, first = window.next_up(up + window.for_s + 1.0), False
    axes.set_ylabel("sealed records and reports")
    axes.set_xlabel("day")
    axes.set_title("buffered without an uplink, sent in batches when there is one", fontsize=9)
    axes.legend(loc="upper left", fontsize=7.5)
    axes.grid(alpha=0.3)


def _runs(rows: Rows, axes: "Axes") -> None:
    places = range(len(rows))
    colours = [REASONS[int(row["reason"])][1] for row in rows]
    bars = axes.bar(places, [row["ready_ms"] / 1e3 for row in rows], color=colours)
    axes.bar_label(bars, [f"n={row['n']}" for row in rows], fontsize=6.5, padding=1)
    shown = sorted({int(row["reason"]) for row in rows})
    for reason in shown:
        axes.bar(0, 0, color=REASONS[reason][1], label=REASONS[reason][0])
    axes.set_xticks(list(places), [f"{row['epoch']}\nday {row['day']:.1f}" for row in rows], fontsize=7)
    axes.set_ylabel("first START to last ACTIVE, s")
    axes.set_title("every key of the group, by why it was agreed on", fontsize=9)
    axes.legend(loc="upper right", fontsize=7.5)
    axes.grid(axis="y", alpha=0.3)


# ------------------------------------------------------------------ exchange


def _exchange(outcome: Outcome, figure: "Figure") -> None:
    panels = figure.subplot_mosaic([["n"], ["sessions"]])
    rows: Rows = outcome.tables["per_n"]
    axes, homes = panels["n"], [row["n"] for row in rows]
    axes.bar(homes, [row["commands"] for row in rows], color=SKY, label="signed commands of a session")
    axes.set_ylabel("commands sent")
    axes.set_xlabel("homes")
    other = axes.twinx()
    other.plot(homes, [row["rekey_ms"] for row in rows], color=RED, marker="o", label="time to a new key, air alone")
    other.set_ylabel("first START to last ACTIVE, ms")
    other.set_ylim(0.0, 1.6 * max(row["rekey_ms"] for row in rows))
    handles, labels = (first + second for first, second in zip(_legend(axes), _legend(other), strict=True))
    axes.legend(handles, labels, loc="upper left", fontsize=7.5)
    axes.set_title("commands and rekeying by the number of homes (paper 001, figure 9)", fontsize=9)
    _sessions(outcome.tables["sessions"], panels["sessions"])
    _headed(outcome, figure)


def _legend(axes: "Axes") -> tuple[list[Any], list[Any]]:
    handles, labels = axes.get_legend_handles_labels()
    return handles, labels


def _sessions(rows: Rows, axes: "Axes") -> None:
    numbers = [row["session"] for row in rows]
    axes.step(numbers, [row["n"] for row in rows], where="mid", color=BLUE, label="homes")
    axes.bar(numbers, [row["trades"] for row in rows], color=GREEN, alpha=0.6, label="trades")
    axes.set_xlabel("session")
    axes.set_title("homes that come and go, and what they sell each other", fontsize=9)
    axes.legend(loc="lower right", fontsize=7.5)
    axes.grid(axis="y", alpha=0.3)


# ------------------------------------------------------------------ city


def _city(outcome: Outcome, figure: "Figure") -> None:
    axes = figure.subplots()
    rows: Rows = outcome.tables["acts"]
    places = range(len(rows))
    axes.bar([at - 0.2 for at in places], [row["messages"] for row in rows], 0.38, color=BLUE, label="counted")
    axes.bar([at + 0.2 for at in places], [row["formula"] for row in rows], 0.38, color=ORANGE, label="formula")
    axes.set_yscale("log")
    axes.set_xticks(list(places), [str(row["act"]) for row in rows])
    axes.set_ylabel("messages (log)")
    axes.legend(fontsize=7.5)
    axes.grid(axis="y", alpha=0.3)
    _headed(outcome, figure)


# ------------------------------------------------------------------ ward


def _ward(outcome: Outcome, figure: "Figure") -> None:
    rows: Rows = outcome.tables["losses"]
    panels = figure.subplots(len(rows) + 1, 1)
    for row, axes in zip(rows, panels, strict=False):
        _arrivals(outcome.tables[f"arrivals at {row['loss']:.0%} loss"], row, axes)
    _counts(rows, panels[-1])
    _headed(outcome, figure)


def _arrivals(rows: Rows, row: Mapping[str, Any], axes: "Axes") -> None:
    places = range(len(rows))
    below = [0] * len(rows)
    for way, colour in (("hand-over", BLUE), ("home", GREEN), ("full", RED)):
        values = [each[way] for each in rows]
        axes.bar(places, values, 0.8, bottom=below, color=colour, label=WAYS[way])
        below = [before + value for before, value in zip(below, values, strict=True)]
    axes.set_yscale("symlog", linthresh=10)
    axes.set_ylim(0, 10 * max(1, *(sum(each[way] for way in WAYS) for each in rows)))
    axes.set_xticks(list(places), [f"{each['at_most_ms']:g}" for each in rows], fontsize=7)
    axes.set_ylabel("arrivals (log)")
    axes.set_xlabel("at most so many ms until a caregiver had opened the reading that waited")
    axes.set_title(f"{row['loss']:.0%} of datagrams lost: {row['moves']} moves", fontsize=9)
    axes.legend(loc="upper right", fontsize=7)
    axes.grid(axis="y", alpha=0.3)


def _counts(rows: Rows, axes: "Axes") -> None:
    words = {
        "logged": "logged",
        "repeated_by_patients": "sent again",
        "replays_dropped": "repetitions\ndropped",
        "held_for_order": "held for\norder",
        "lost": "lost",
        "twice": "opened\ntwice",
        "out_of_order": "out of\norder",
    }
    places, width = range(len(words)), 0.8 / len(rows)
    for number, row in enumerate(rows):
        at = [place + (number - (len(rows) - 1) / 2) * width for place in places]
        bars = axes.bar(
            at, [row[word] for word in words], width, color=(SKY, ORANGE)[number % 2], label=f"{row['loss']:.0%} loss"
        )
        axes.bar_label(bars, fontsize=6.5, padding=1)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, 20 * max(row["logged"] for row in rows))
    axes.set_xticks(list(places), list(words.values()), fontsize=7)
    axes.set_ylabel("readings (log)")
    axes.legend(loc="upper right", fontsize=7)


_DRAWN: Final[Mapping[str, Callable[[Outcome, "Figure"], None]]] = {
    "microgrid": _microgrid,
    "exchange": _exchange,
    "city": _city,
    "ward": _ward,
}
