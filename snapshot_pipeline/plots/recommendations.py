"""The recommendations of a week by type, compared with the weeks before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from snapshot_pipeline.plots.plot import Plot
from snapshot_pipeline.plots.text import NEXT_STEP, ordered_types, type_name
from snapshot_pipeline.plots.weekly_columns import Groups, draw_weekly_columns


def draw_weeks(by_week: Mapping[date, Mapping[str, int]]) -> Plot:
    """Draw a group of columns per type, a column per week, without the default next step; see `draw_weekly_columns`.

    Args:
        by_week: Number of recommendations by Monday and type, at least one week; a missing type has none.
    """
    kinds = [kind for kind in ordered_types(by_week.values()) if kind != NEXT_STEP]
    groups = Groups(
        title="Recommendations by type",
        unit="Without the default next step",
        source="adaptive_recommendations",
        empty="There are no recommendations.",
        subject="Recommendations",
        names={kind: type_name(kind) for kind in kinds},
    )
    return draw_weekly_columns(by_week, groups)
