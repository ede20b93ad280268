"""Render the report as one HTML file without network access, scripts or fonts; the template escapes all text."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from snapshot_pipeline.plots.plot import Plot
from snapshot_pipeline.plots.text import long_date
from snapshot_pipeline.report.figures import ReportFigures
from snapshot_pipeline.report.numbers import MINUS, UNKNOWN, hours, points, signed, whole
from snapshot_pipeline.report.tables import build_tables
from snapshot_pipeline.report.words import notices, sentences, small_print


def render(figures: ReportFigures, plots: Sequence[Plot]) -> str:
    """The HTML of a report; the same figures and plots give the same bytes."""
    environment = Environment(
        loader=PackageLoader("snapshot_pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    week = figures.week
    return environment.get_template("week.html.jinja").render(
        title=f"Week of {long_date(week.start)} to {long_date(week.sunday)}",
        tiles=_tiles(figures),
        notices=notices(figures),
        sentences=sentences(figures),
        small_print=small_print(figures),
        plots=[Markup(plot.svg) for plot in plots],  # noqa: S704  # our own, with escaped texts
        tables=build_tables(figures),
    )


def _tiles(figures: ReportFigures) -> list[dict[str, str | None]]:
    """The figures at the top: name, value, and the change from the week before."""
    now, before = figures.week, figures.before
    pace_now, pace_before = (week.end.pace_mean if week.end else None for week in (now, before))
    return [
        _tile("active students", whole(now.active), signed(now.active, before.active)),
        _tile("lessons completed", whole(now.lessons), signed(now.lessons, before.lessons)),
        _tile("hours spent", whole(hours(now.minutes)), signed(hours(now.minutes), hours(before.minutes))),
        _tile("mean pace score", points(pace_now), signed(pace_now, pace_before, 1)),
    ]


def _tile(name: str, value: str, change: str) -> dict[str, str | None]:
    if not change.startswith(("+", MINUS)):
        change = "" if change == UNKNOWN else "unchanged"
    return {"name": name, "value": value, "change": change or None}
