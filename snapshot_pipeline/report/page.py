"""Render the report as one HTML file without network access, scripts or fonts; the template escapes all text."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from snapshot_pipeline.plots.plot import Plot
from snapshot_pipeline.report.changes import tiles
from snapshot_pipeline.report.environment import environment
from snapshot_pipeline.report.figures import ReportFigures
from snapshot_pipeline.report.sections import advice_rows, cohort_table, reason_rows, week_rows
from snapshot_pipeline.report.words import advice, denominator, headline, notices, small_print, title, work


def render(figures: ReportFigures, plots: Sequence[Plot]) -> str:
    """The HTML of a report; the same figures and plots give the same bytes."""
    recommendations, *activity = (Markup(plot.svg) for plot in plots)  # noqa: S704  # our own, with escaped texts
    return (
        environment()
        .get_template("week.html.jinja")
        .render(
            title=title(figures),
            headline=headline(figures),
            notices=notices(figures),
            tiles=tiles(figures),
            denominator=denominator(figures),
            cohorts=cohort_table(figures),
            is_computed=figures.week.at_risk is not None,
            reasons=reason_rows(figures),
            advice=advice(figures),
            advice_rows=advice_rows(figures),
            recommendations=recommendations,
            work=work(figures),
            week_rows=week_rows(figures),
            activity=activity,
            small_print=small_print(figures),
        )
    )
