"""One look for all pictures: sizes, fonts, colours, and the frame of title, subtitle and source.

The colours of data are Okabe and Ito's, which are told apart without seeing colour well; each pace label and each type
of recommendation has one of them everywhere, and is named in words beside it. Text and grid are in colours of the
theme: `plot` makes them follow a dark page.

Put here: what two pictures share. Do not put here: what only one draws.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from threading import Lock
from typing import Any
from warnings import catch_warnings, filterwarnings

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

WIDTH = 420
"""Pixels; text is 12 of them high, so that it can still be read on a phone, where a picture is 330 wide."""

HEIGHT = 320
"""Pixels, of pictures that stand beside each other; others are as high as their figures need."""

PIXEL = 1 / 96
"""Inches."""

INK, MUTED, GRID, CARD = "#17212b", "#54606c", "#d5dbe1", "#ffffff"
"""Text, lesser text, lines in the background, the background itself: on a light page."""

DARK = {INK: "#e8edf2", MUTED: "#a3afbb", GRID: "#37424d", CARD: "#151c23"}
"""What stands for them on a dark page."""

ORANGE, SKY, GREEN = "#e69f00", "#56b4e9", "#009e73"
BLUE, VERMILION, PURPLE = "#0072b2", "#d55e00", "#cc79a7"

PACE_COLORS: Mapping[str, str] = {"SLOW": VERMILION, "MEDIUM": ORANGE, "FAST": SKY, "ACCELERATED": BLUE}
"""One colour per pace label, slowest first: from warm to cold."""

RECOMMENDATION_COLORS: Mapping[str, str] = {
    "TAKE_BREAK": PURPLE,
    "RESUME_LEARNING": VERMILION,
    "REVIEW_LESSON": ORANGE,
    "START_LEARNING": GREEN,
    "PRACTICE_MORE": SKY,
    "CONTINUE_LEARNING": BLUE,
}
"""One colour per type of recommendation, the most urgent first."""

ON_COLOR: Mapping[str, str] = {ORANGE: "#000001", SKY: "#000001", BLUE: "#fffffe", VERMILION: "#000001"}
"""The colour of text that stands on a colour of data; not one of the theme's, since it stays on a dark page."""

GOOD, BAD = BLUE, VERMILION
"""What is as it should be, and what is not."""

_LONGEST_NAME = 28

# Control characters and line ends, marks that reverse the direction of writing, and what XML does not allow.
_NOT_TEXT = "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"

_STYLE: dict[Any, Any] = {
    "figure.dpi": 96,
    "font.family": ["DejaVu Sans"],  # Matplotlib's own, by which widths are guessed; looked for once, not in a dozen
    "font.size": 9,  # points: 12 pixels
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.titlesize": 9,
    "axes.labelsize": 8.25,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.linewidth": 0.75,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.75,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.25,
    "ytick.labelsize": 8.25,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 1.75,
    "lines.solid_capstyle": "round",
    "hatch.linewidth": 0.75,
    "svg.fonttype": "none",  # text stays text: it is read aloud, found and copied, and is small
}


_ONE_AT_A_TIME = Lock()
"""Matplotlib's parameters, and what is warned of, are one for all threads of a process."""


@contextmanager
def styled() -> Iterator[None]:
    """Everything that is drawn inside looks like our pictures, whatever Matplotlib is configured to on this machine."""
    with _ONE_AT_A_TIME, mpl.rc_context(), catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        # Names in any script: a browser finds the letters; only their width is guessed here.
        filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        yield


def framed(height: int, title: str, subtitle: str, source: str) -> Figure:
    """An empty picture of so many pixels: its title, what is counted in which unit, where the figures come from."""
    figure = Figure(figsize=(WIDTH * PIXEL, height * PIXEL))
    left = 14 / WIDTH
    figure.text(left, 1 - 12 / height, plain(title, 60), va="top", fontsize=10.5, fontweight="bold")
    figure.text(left, 1 - 31 / height, subtitle, va="top", fontsize=8.25, color=MUTED)
    figure.text(left, 11 / height, f"Source: {source}", va="bottom", fontsize=7.5, color=MUTED)
    _lay_out(figure, above=54)
    return figure


def _lay_out(figure: Figure, above: int) -> None:
    """Let the axes have the picture, but for so many pixels above them and a margin on the other sides."""
    height = figure.get_figheight() / PIXEL
    left, below, right = 14, 30, 14
    rect = (left / WIDTH, below / height, 1 - (left + right) / WIDTH, 1 - (above + below) / height)
    figure.set_layout_engine("constrained", rect=rect, w_pad=0, h_pad=0, hspace=0.05)


def gridded(axes: Axes, axis: str) -> None:
    """Lines behind the figures across one axis, `x` or `y`; the other one has a line of its own."""
    axes.grid(visible=True, axis="y" if axis == "y" else "x")
    axes.spines["bottom"].set_visible(axis == "y")
    axes.tick_params(axis="x", length=3 if axis == "y" else 0)


def legend(figure: Figure, colors: Mapping[str, str]) -> None:
    """A line that names each colour, between the subtitle and the figures, in the order given."""
    height = figure.get_figheight() / PIXEL
    figure.legend(
        handles=[Patch(color=color, label=label) for label, color in colors.items()],
        loc="upper left",
        bbox_to_anchor=(14 / WIDTH, 1 - 49 / height),
        ncols=len(colors),
        frameon=False,
        fontsize=8.25,
        handlelength=0.8,
        handleheight=0.8,
        handletextpad=0.4,
        columnspacing=1.1,
        borderpad=0,
        borderaxespad=0,
    ).set_in_layout(False)
    _lay_out(figure, above=70)


def empty_message(figure: Figure, sentence: str) -> None:
    """What a picture without any figures says in their place."""
    figure.text(0.5, 0.48, sentence, ha="center", va="center", color=MUTED)


def dated(axes: Axes, days: Sequence[date], most: int = 6) -> None:
    """Name days below an axis whose positions 0, 1, … are `days`: a few at equal distances, the last one among them."""
    step = max(1, -(-len(days) // most))
    named = list(range(len(days) - 1, -1, -step))[::-1]
    axes.set_xticks(named, [short(days[number]) for number in named])


def short(day: date) -> str:
    """A day in a few letters: `9 Mar`."""
    return f"{day.day} {_MONTHS[day.month - 1]}"


def long(day: date) -> str:
    """A day with its year: `9 Mar 2026`."""
    return f"{short(day)} {day.year}"


def period(first: date, last: date) -> str:
    """Days from the first to the last, both included: `2 Mar to 8 Mar 2026`."""
    if first == last:
        return long(last)
    return f"{short(first) if first.year == last.year else long(first)} to {long(last)}"


def counted(number: int, thing: str) -> str:
    """A number with the thing that it counts: `1 student`, `1,204 students`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


# Not `%b`, which depends on the locale of the machine.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def words(name: str) -> str:
    """A name of the code as a person writes it: `RESUME_LEARNING` is `Resume learning`."""
    return plain(name.replace("_", " ").capitalize())


def plain(text: str, longest: int = _LONGEST_NAME) -> str:
    """A text from outside on one line, `longest` characters at most, without what breaks the text around it."""
    line = " ".join(re.sub(_NOT_TEXT, " ", text).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"
