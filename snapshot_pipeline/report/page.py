"""From words, pictures and tables to one HTML file that needs nothing else: no network, no script, no font.

Put here: what goes to the template. Do not put here: the layout (`templates/week.html.jinja`).
Whatever comes from the database is text: the template escapes it. Only the pictures go in as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from snapshot_pipeline.plots.plot import Plot
from snapshot_pipeline.report.figures import Figures
from snapshot_pipeline.report.numbers import MINUS, NOT_KNOWN, day_of_year, hours, points, signed, whole
from snapshot_pipeline.report.tables import tables_of
from snapshot_pipeline.report.words import notices, sentences


@dataclass(frozen=True)
class Tile:
    """One of the figures at the top.

    Attributes:
        name: What it counts.
        value: The figure.
        change: Against the week before, with its sign; None where that is not known.
    """

    name: str
    value: str
    change: str | None


def render(figures: Figures, plots: Sequence[Plot]) -> str:
    """The page of a week; the same figures and pictures give the same bytes."""
    environment = Environment(
        loader=PackageLoader("snapshot_pipeline.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    week, tables = figures.week, tables_of(figures)
    return environment.get_template("week.html.jinja").render(
        title=f"Week of {day_of_year(week.start)} to {day_of_year(week.sunday)}",
        tiles=_tiles(figures),
        notices=notices(figures),
        sentences=sentences(figures),
        plots=[Markup(plot.svg) for plot in plots],  # noqa: S704  # our own, and escaped where it is made
        tables=tables,
    )


def _tiles(figures: Figures) -> list[Tile]:
    now, before = figures.week, figures.before
    pace_now = now.end.pace_mean if now.end else None
    pace_before = before.end.pace_mean if before.end else None
    return [
        _tile("active students", whole(now.active), signed(now.active, before.active)),
        _tile("lessons completed", whole(now.lessons), signed(now.lessons, before.lessons)),
        _tile("hours spent", whole(hours(now.minutes)), signed(hours(now.minutes), hours(before.minutes))),
        _tile("mean pace score", points(pace_now), signed(pace_now, pace_before, 1)),
    ]


def _tile(name: str, value: str, change: str) -> Tile:
    if change == NOT_KNOWN:
        return Tile(name, value, None)
    return Tile(name, value, change if change.startswith(("+", MINUS)) else "unchanged")
