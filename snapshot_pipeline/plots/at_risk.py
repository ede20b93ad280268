"""The students at risk by state and by reason, compared with the weeks before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from snapshot_pipeline.plots.plot import Plot
from snapshot_pipeline.plots.text import display_name
from snapshot_pipeline.plots.weekly_columns import Groups, draw_weekly_columns


def draw_states(by_week: Mapping[date, Mapping[str, int]], states: Sequence[str]) -> Plot:
    """Draw the students by Monday and state, at least one week; see `draw_weekly_columns`."""
    return _draw(by_week, states, "Students at risk by state", "Number of students", "Students at risk")


def draw_reasons(by_week: Mapping[date, Mapping[str, int]], codes: Sequence[str]) -> Plot:
    """Draw the students by Monday and code of a reason, at least one week; see `draw_weekly_columns`."""
    unit = "Number of students, up to three reasons each"
    return _draw(by_week, codes, "Students at risk by reason", unit, "Reasons of the students at risk")


def _draw(by_week: Mapping[date, Mapping[str, int]], kinds: Sequence[str], title: str, unit: str, subject: str) -> Plot:
    names = {kind: display_name(kind) for kind in kinds}
    empty = "No student is at risk."
    return draw_weekly_columns(by_week, Groups(title, unit, "at_risk_students", empty, subject, names))
