"""The common style of all plots: sizes, fonts, colors, and helpers for axes, legends and lines with gaps.

The colors of data are those of Okabe and Ito, which people with color vision deficiency can distinguish. Each has one
meaning in all plots and on the weekly page, and what it says is also written beside it. Text and grid have colors of
the theme, which `plot` adapts to a dark page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from threading import Lock
from typing import Any
from warnings import catch_warnings, filterwarnings

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from snapshot_pipeline.plots.text import plain, short_date

Series = Sequence[float | None]
"""One number per day or week; None if unknown, drawn as a gap and never as zero."""

WIDTH = 420
"""Pixels; text is 12 pixels high, legible on a phone, where a plot is 330 pixels wide."""

HEIGHT = 320
"""Pixels, of plots that are shown beside each other; others have their own height."""

PIXEL = 1 / 96
"""Inches."""

INK, MUTED, GRID, CARD = "#17212b", "#54606c", "#d5dbe1", "#ffffff"
"""Text, secondary text, grid and background on a light page."""

DARK = {INK: "#e8edf2", MUTED: "#a3afbb", GRID: "#37424d", CARD: "#151c23"}
"""The same on a dark page."""

SHOWN = "#0072b2"
"""The figures of the day or week that the plot is about; pale: those of the weeks before."""

GOOD, WATCH, BAD = "#009e73", "#e69f00", "#d55e00"
"""As it should be, or better than before; to be watched; failed, inactive for long, or worse than before."""

ON_COLOR: Mapping[str, str] = {GOOD: "#000001", WATCH: "#000001", BAD: "#000001"}
"""Text colors on a color of data; not those of the theme, because they stay the same on a dark page."""

_STYLE: dict[Any, Any] = {
    "figure.dpi": 96,
    "font.family": ["DejaVu Sans"],  # Matplotlib's own, used to estimate widths
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
    "svg.fonttype": "none",  # text stays text: accessible, searchable and small
}


_LOCK = Lock()
"""Matplotlib's parameters and Python's warning filters are shared by all threads."""


@contextmanager
def plot_style() -> Iterator[None]:
    """Draw in our style, whatever Matplotlib's configuration on this machine; one thread at a time."""
    with _LOCK, mpl.rc_context(), catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        # Names may use any script: the browser has the glyphs; only their width is estimated here.
        filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        yield


def new_figure(height: int, title: str, subtitle: str, source: str) -> Figure:
    """An empty figure of a height in pixels, with title, subtitle and the name of the source table."""
    figure = Figure(figsize=(WIDTH * PIXEL, height * PIXEL))
    left = 14 / WIDTH
    figure.text(left, 1 - 12 / height, plain(title, 60), va="top", fontsize=10.5, fontweight="bold")
    figure.text(left, 1 - 31 / height, subtitle, va="top", fontsize=8.25, color=MUTED)
    figure.text(left, 11 / height, f"Source: {source}", va="bottom", fontsize=7.5, color=MUTED)
    _set_layout(figure, above=54)
    return figure


def _set_layout(figure: Figure, above: int) -> None:
    """Let the axes fill the figure, except `above` pixels at the top and a margin on the other sides."""
    height = figure.get_figheight() / PIXEL
    left, below, right = 14, 30, 14
    rect = (left / WIDTH, below / height, 1 - (left + right) / WIDTH, 1 - (above + below) / height)
    figure.set_layout_engine("constrained", rect=rect, w_pad=0, h_pad=0, hspace=0.05)


def add_grid(axes: Axes, axis: str) -> None:
    """Add grid lines across one axis, `x` or `y`."""
    axes.grid(visible=True, axis="y" if axis == "y" else "x")
    axes.spines["bottom"].set_visible(axis == "y")
    axes.tick_params(axis="x", length=3 if axis == "y" else 0)


def add_legend(figure: Figure, colors: Mapping[str, str]) -> None:
    """Add a line that names each color, below the subtitle."""
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
    _set_layout(figure, above=70)


def label_days(axes: Axes, days: Sequence[date], max_labels: int = 6) -> None:
    """Label an x axis whose positions 0, 1, … are `days`: a few at equal distances, including the last one."""
    step = max(1, -(-len(days) // max_labels))
    labeled = list(range(len(days) - 1, -1, -step))[::-1]
    axes.set_xticks(labeled, [short_date(days[position]) for position in labeled])


def as_array(series: Series) -> NDArray[np.float64]:
    """The numbers, with NaN for None."""
    return np.array([np.nan if number is None else number for number in series], dtype=np.float64)


def isolated(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which values have no neighbor, so that a line would not show them."""
    known = np.concatenate([[False], ~np.isnan(values), [False]])
    is_isolated: NDArray[np.bool_] = known[1:-1] & ~known[:-2] & ~known[2:]
    return is_isolated


def draw_line(
    axes: Axes, values: NDArray[np.float64], color: str, dashes: str | tuple[int, tuple[float, float]] = "-"
) -> None:
    """Draw a line with gaps, and a point for each isolated value."""
    positions = range(len(values))
    axes.plot(positions, values, color=color, linestyle=dashes)
    axes.plot(positions, values, "o", color=color, markersize=3, markevery=isolated(values).nonzero()[0].tolist())


def last_known(series: Series) -> tuple[int, float] | None:
    """Position and value of the last known number."""
    known = [(position, number) for position, number in enumerate(series) if number is not None]
    return known[-1] if known else None
