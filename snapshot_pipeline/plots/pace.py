"""The plot of the pace: students by label."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from snapshot_pipeline.plots import style
from snapshot_pipeline.plots.plot import Plot, empty_plot, to_plot
from snapshot_pipeline.plots.style import INK, MUTED, SHOWN
from snapshot_pipeline.plots.text import count_noun, display_name, long_date

LABELS = ("SLOW", "MEDIUM", "FAST", "ACCELERATED")
"""The slowest first."""


def draw_distribution(
    day: date,
    counts: Mapping[str, int],
    earlier_day: date | None = None,
    earlier_counts: Mapping[str, int] | None = None,
) -> Plot:
    """Draw the share of students per label as a bar, with a mark for an earlier day if it is known.

    Args:
        counts: Number of students by pace label (`SLOW`, `MEDIUM`, `FAST`, `ACCELERATED`); a missing label counts as 0.
    """
    title = f"Students by pace, {long_date(day)}"
    now, before = _shares(counts), _shares(earlier_counts or {})
    comparison = f"; the mark is {long_date(earlier_day)}" if before and earlier_day else ""
    with style.plot_style():
        subtitle = f"Share of students in percent{comparison}"
        figure = style.new_figure(236, title, subtitle, "performance_snapshots")
        if not now:
            return empty_plot(figure, title, "No student has a snapshot of this day.")
        axes = figure.add_subplot()
        for row, label in enumerate(LABELS):
            axes.barh(row, now[label], 0.62, color=SHOWN)
            if before:
                axes.plot([before[label]] * 2, [row - 0.42, row + 0.42], color=INK, solid_capstyle="butt")
            end = max(now[label], before.get(label, 0))
            label_style: dict[str, Any] = {"xy": (end, row), "textcoords": "offset points", "va": "center"}
            axes.annotate(f"{now[label]:.1f} %", xytext=(6, 0), fontweight="bold", **label_style)
            axes.annotate(f"{counts.get(label, 0):,}", xytext=(54, 0), color=MUTED, fontsize=8.25, **label_style)
        axes.set_yticks(range(len(LABELS)), [display_name(label) for label in LABELS])
        axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
        longest = max(*now.values(), *before.values())
        axes.set(xlim=(0, longest * 1.36), xticks=range(0, int(longest) + 1, 10 if longest > 20 else 5))
        axes.set_xlabel("% of students")
        style.add_grid(axes, "x")
        parts = [
            f"{display_name(label)} {now[label]:.1f} % ({count_noun(counts.get(label, 0), 'student')})"
            + (f", earlier {before[label]:.1f} %" if before else "")
            for label in LABELS
        ]
        return to_plot(figure, title, f"Students by pace on {long_date(day)}: {'; '.join(parts)}.")


def _shares(counts: Mapping[str, int]) -> dict[str, float]:
    """Percent by label; empty without students."""
    total = sum(counts.get(label, 0) for label in LABELS)
    return {label: 100 * counts.get(label, 0) / total for label in LABELS} if total else {}
