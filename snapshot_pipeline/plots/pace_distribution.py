"""The distribution of students over the pace labels on a day, compared with an earlier day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from snapshot_pipeline.plots.plot import Plot, to_plot
from snapshot_pipeline.plots.style import (
    INK,
    MUTED,
    PACE_COLORS,
    add_empty_message,
    add_grid,
    new_figure,
    plot_style,
)
from snapshot_pipeline.plots.text import count_noun, display_name, long_date


@dataclass(frozen=True)
class PaceDistribution:
    """The distributions of a day and, if known, of an earlier day.

    Attributes:
        counts: Number of students by pace label (`SLOW`, `MEDIUM`, `FAST`, `ACCELERATED`); a missing label counts as 0.
    """

    day: date
    counts: Mapping[str, int]
    earlier_day: date | None = None
    earlier_counts: Mapping[str, int] | None = None


def draw(figures: PaceDistribution) -> Plot:
    """Draw the share of students per label as a bar, with a mark for the earlier day."""
    title = f"Students by pace, {long_date(figures.day)}"
    now, before = _shares(figures.counts), _shares(figures.earlier_counts or {})
    comparison = f"; the mark is {long_date(figures.earlier_day)}" if before and figures.earlier_day else ""
    with plot_style():
        figure = new_figure(236, title, f"Share of students in percent{comparison}", "performance_snapshots")
        if not now:
            add_empty_message(figure, "No student has a snapshot of this day.")
            return to_plot(figure, title, "No student has a snapshot of this day.")
        axes = figure.add_subplot()
        for row, (label, color) in enumerate(PACE_COLORS.items()):
            axes.barh(row, now[label], 0.62, color=color)
            if before:
                axes.plot([before[label]] * 2, [row - 0.42, row + 0.42], color=INK, solid_capstyle="butt")
            end = max(now[label], before.get(label, 0))
            label_style: dict[str, Any] = {"xy": (end, row), "textcoords": "offset points", "va": "center"}
            axes.annotate(f"{now[label]:.1f} %", xytext=(6, 0), fontweight="bold", **label_style)
            axes.annotate(
                f"{figures.counts.get(label, 0):,}", xytext=(54, 0), color=MUTED, fontsize=8.25, **label_style
            )
        axes.set_yticks(range(len(PACE_COLORS)), [display_name(label) for label in PACE_COLORS])
        axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
        longest = max(*now.values(), *before.values())
        axes.set(xlim=(0, longest * 1.36), xticks=range(0, int(longest) + 1, 10 if longest > 20 else 5))
        axes.set_xlabel("% of students")
        add_grid(axes, "x")
        return to_plot(figure, title, _alt_text(figures, now, before))


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Percent by label; empty without students."""
    total = sum(counts.get(label, 0) for label in PACE_COLORS)
    return {label: 100 * counts.get(label, 0) / total for label in PACE_COLORS} if total else {}


def _alt_text(figures: PaceDistribution, now: Mapping[str, float], before: Mapping[str, float]) -> str:
    parts = [
        f"{display_name(label)} {now[label]:.1f} % ({count_noun(figures.counts.get(label, 0), 'student')})"
        + (f", earlier {before[label]:.1f} %" if before else "")
        for label in PACE_COLORS
    ]
    return f"Students by pace on {long_date(figures.day)}: {'; '.join(parts)}."
