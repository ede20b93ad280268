"""The plots: small, deterministic, legible in both themes, and safe with any name."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from functools import cache
from xml.etree import ElementTree

import pytest

from snapshot_pipeline.plots.activity import draw_activity, draw_inactivity
from snapshot_pipeline.plots.pace import draw_distribution
from snapshot_pipeline.plots.plot import Plot
from snapshot_pipeline.plots.recommendations import draw_weeks
from snapshot_pipeline.plots.style import BAD, CARD, DARK, GOOD, INK, MUTED, ON_COLOR, SHOWN, WATCH
from snapshot_pipeline.plots.success import draw_calendar, draw_failures
from snapshot_pipeline.plots.text import RECOMMENDATION_TYPES
from snapshot_pipeline_tests.contrast import contrast

SUNDAY = date(2026, 3, 1)
WEEK = [SUNDAY - timedelta(days=6 - n) for n in range(7)]
SUNDAYS = [SUNDAY - timedelta(weeks=7 - n) for n in range(8)]
QUARTER = [SUNDAY - timedelta(days=n) for n in range(91)]

PLOTS: dict[str, Callable[[], Plot]] = {
    "pace": lambda: draw_distribution(
        SUNDAY,
        {"SLOW": 2310, "MEDIUM": 1404, "FAST": 812, "ACCELERATED": 214},
        date(2026, 2, 1),
        {"SLOW": 1910, "MEDIUM": 1604, "FAST": 712, "ACCELERATED": 114},
    ),
    "calendar": lambda: draw_calendar(
        QUARTER[-1], SUNDAY, {day: 0.999 - n / 1000 for n, day in enumerate(QUARTER)}, 0.9
    ),
    "recommendations": lambda: draw_weeks(
        {date(2026, 1, 5) + timedelta(weeks=n): dict.fromkeys(RECOMMENDATION_TYPES, 100 * n + 7) for n in range(8)}
    ),
    "failures": lambda: draw_failures(SUNDAY, {"unexpected_error": 12, "another_error": 31}),
    "activity": lambda: draw_activity(
        WEEK, [5, 4, None, 2, 1, 0, 3], [9] * 7, [600] * 7, before=([4] * 7, [None] * 7, [660] * 7)
    ),
    "inactivity": lambda: draw_inactivity(
        SUNDAYS, [0.3, None, 0.3, None, None, 0.3, 0.31, 0.35], [0.1, None, 0.1, None, None, 0.1, 0.11, 0.12]
    ),
    "missing week": lambda: draw_activity(WEEK, *([[None] * 7] * 3), before=([None] * 7,) * 3),
    "week of zeros": lambda: draw_activity(WEEK, *([[0] * 7] * 3), before=([0] * 7,) * 3),
    "inactivity without students": lambda: draw_inactivity(SUNDAYS, [None] * 8, [None] * 8),
    "pace without students": lambda: draw_distribution(SUNDAY, {}),
    "no recommendation": lambda: draw_weeks({date(2026, 2, 23): {}}),
    "no failure": lambda: draw_failures(SUNDAY, {}),
    "no day computed": lambda: draw_calendar(SUNDAY, SUNDAY, {}, 0.9),
}

every_plot = pytest.mark.parametrize("name", PLOTS)


@cache
def plot_of(name: str) -> Plot:
    """Return one of `PLOTS`, drawn once for all tests."""
    return PLOTS[name]()


def texts_of(plot: Plot) -> list[str]:
    """Return the visible texts of a plot."""
    root = ElementTree.fromstring(plot.svg)  # noqa: S314
    return [element.text or "" for element in root.iter() if element.tag.endswith("}text")]


@every_plot
def test_a_plot_is_small_and_has_title_source_and_alt_text(name: str):
    plot = plot_of(name)
    root = ElementTree.fromstring(plot.svg)  # noqa: S314
    assert root.get("role") == "img"
    named = {element.get("id"): element.text for element in root.iter() if element.get("id")}
    assert [named[name] for name in root.get("aria-labelledby", "").split()] == [plot.title, plot.alt]
    texts = texts_of(plot)
    assert plot.title in texts
    assert any(text.startswith("Source: ") for text in texts)
    assert len(plot.alt) > 15
    assert len(plot.markdown()) < 24_000


@every_plot
def test_drawing_is_deterministic(name: str):
    assert PLOTS[name]() == plot_of(name)


def test_drawing_is_deterministic_across_processes():
    code = (
        "from datetime import date\n"
        "from snapshot_pipeline.plots.success import draw_failures\n"
        "print(draw_failures(date(2026, 3, 1), {'a': 2, 'b': 2}).svg)"
    )
    printed = {subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(printed) == 1


@every_plot
def test_a_plot_is_self_contained_and_does_not_affect_its_page(name: str):
    svg = plot_of(name).svg
    assert "<style" not in svg
    assert "<script" not in svg
    assert svg.count("http") == 1  # the XML namespace
    used = {part.split(")")[0].split('"')[0] for part in svg.split("#p")[1:]}
    defined = {part.split('"')[0] for part in svg.split('id="p')[1:]}
    assert used <= defined


def test_ids_are_unique_across_plots():
    names = [identity for name in PLOTS for identity in ids_of(plot_of(name))]
    assert len(names) == len(set(names))


def ids_of(plot: Plot) -> list[str]:
    return [name for element in ElementTree.fromstring(plot.svg).iter() if (name := element.get("id"))]  # noqa: S314


@every_plot
def test_markdown_is_one_line_with_the_plot_for_both_themes(name: str):
    plot = plot_of(name)
    markdown = plot.markdown()
    assert "\n" not in markdown
    begin, data = markdown.split("](data:image/svg+xml;base64,")
    assert begin.startswith("![")
    assert "]" not in begin
    svg = base64.b64decode(data.removesuffix(")")).decode()
    ElementTree.fromstring(svg)  # noqa: S314
    assert "prefers-color-scheme:dark" in svg
    assert all(color in svg for color in (CARD, DARK[CARD], DARK[INK], DARK[MUTED]))


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "$x^2$ & \\frac", "a\x01b\nc\u202ed", "量子 🎓 ‏עברית", "]({"]
)
def test_markup_in_a_name_is_shown_as_text(name: str):
    plot = draw_failures(SUNDAY, {name: 3})
    root = ElementTree.fromstring(plot.svg)  # noqa: S314
    assert not [element for element in root.iter() if "script" in str(element.tag)]
    shown = " ".join(name.replace("\x01", " ").replace("\u202e", " ").split()).replace("_", " ").capitalize()
    assert shown in texts_of(plot)
    assert plot.markdown().count("](") == 1


def test_text_has_enough_contrast_on_backgrounds_and_colors():
    for color in (INK, MUTED):
        assert contrast(color, CARD) >= 4.5
        assert contrast(DARK[color], DARK[CARD]) >= 4.5
    for ground, ink in ON_COLOR.items():
        assert contrast(ground, ink) >= 4.5


def test_success_rates_in_the_calendar_are_rounded_down():
    plot = draw_calendar(SUNDAY, SUNDAY, {SUNDAY: 0.99999}, 0.9)
    assert "99.9" in texts_of(plot)
    plot = draw_calendar(SUNDAY, SUNDAY, {SUNDAY: 0.89999}, 0.9)
    assert "89.9" in texts_of(plot)
    assert "days below 90 %: 1;" in plot.alt


def test_a_missing_day_differs_from_a_day_of_zero():
    plot = plot_of("activity")
    assert texts_of(plot).count("missing") == 1
    assert "0" in texts_of(plot)  # Saturday, without activity
    assert "fewest 0 on 28 Feb 2026" in plot.alt


def test_a_line_has_gaps_for_missing_weeks_and_a_dot_for_a_single_week():
    """The weeks 1, 3 and 4 of 8 are missing: both lines have three parts, and the weeks 0 and 2 are dots."""
    root = ElementTree.fromstring(plot_of("inactivity").svg)  # noqa: S314
    lines = [element.get("d", "") for element in root.iter() if "stroke-width:1.75" in element.get("style", "")]
    assert [line.count("M") for line in lines] == [3, 3]
    dots = [element for element in root.iter() if element.tag.endswith("}use") and "x" in element.attrib]
    assert len(dots) >= 2 * (2 + 1)  # of each line two dots, and the labeled end


@pytest.mark.parametrize(
    ("name", "colors"),
    [
        ("pace", {SHOWN}),
        ("activity", {SHOWN}),
        ("recommendations", {SHOWN}),
        ("inactivity", {WATCH, BAD}),
        ("failures", {BAD}),
        ("calendar", {GOOD, WATCH, BAD}),
    ],
)
def test_each_color_has_one_meaning_in_all_plots(name: str, colors: set[str]):
    """Figures are blue; green, orange and red are reserved for a judgment."""
    texts = set(ON_COLOR.values()) | {INK, MUTED, CARD} | set(DARK)
    assert set(re.findall(r"#[0-9a-f]{6}\b", plot_of(name).svg)) - texts == colors


def test_a_type_that_the_plot_does_not_know_is_drawn_after_the_others():
    plot = draw_weeks({date(2026, 2, 23): {"KEEP_GOING": 3, "TAKE_BREAK": 1, "CONTINUE_LEARNING": 9}})
    assert plot.alt.endswith("Practice more 0; Keep going 3.")
