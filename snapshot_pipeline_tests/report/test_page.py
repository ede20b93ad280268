"""The rendered page: well-formed, safe, deterministic, accessible, and printed on two sheets."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest

from snapshot_pipeline.plots.style import BAD, GOOD, SHOWN
from snapshot_pipeline.plots.text import RECOMMENDATION_TYPES
from snapshot_pipeline.report.figures import AtRiskFigures, ReportFigures
from snapshot_pipeline.report.page import draw_plots, render
from snapshot_pipeline.report.sections import REASON_NAMES
from snapshot_pipeline.report.words import headline
from snapshot_pipeline_tests.contrast import contrast
from snapshot_pipeline_tests.needed_programs import needed_program
from snapshot_pipeline_tests.report.example_figures import SUNDAY, first_week, group, no_students, two_weeks, without

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)> {{ 7*7 }}')
FOREIGN = ("\N{HEBREW LETTER ALEF}量🎓", "$x_1^2$")

WEEKS = {
    "two weeks": two_weeks(),
    "first week": first_week(),
    "no students": no_students(),
    "missing days": without(two_weeks(), SUNDAY, SUNDAY.replace(month=2, day=25)),
    "hostile": replace(
        two_weeks(), cohorts={SUNDAY: {HOSTILE: group(), ("\N{HEBREW LETTER ALEF}量🎓", "$x_1^2$"): group()}}
    ),
}

every_week = pytest.mark.parametrize("week", WEEKS)

VOID = {"meta", "link"}


class Page(HTMLParser):
    """A parsed page; raises an error if a tag is not closed correctly."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]

    def text_of(self, name: str) -> list[str]:
        return [text for tag, text in self.texts if tag == name]


def rendered(figures: ReportFigures) -> str:
    return render(figures, draw_plots(figures))


@cache
def page_of(week: str) -> str:
    """Return the page of one of `WEEKS`, rendered once for all tests: drawing takes most of a second."""
    return rendered(WEEKS[week])


@every_week
def test_the_page_is_well_formed_and_opens_with_headline_and_tiles(week: str):
    page = Page(page_of(week))
    assert len(page.all("svg")) == 3
    assert len(page.all("dt")) == 5
    assert page.text_of("h2") == [
        "Cohorts, worst first",
        "Why students are at risk",
        "Recommendations",
        "Activity",
        "The week in figures",
    ]
    texts = [text for _, text in page.texts]
    assert texts.index(headline(WEEKS[week])) < texts.index("At risk") < texts.index("Cohorts, worst first")
    identities = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identities) == len(set(identities))


@every_week
def test_the_page_needs_no_network_and_no_script(week: str):
    html = page_of(week)
    page = Page(html)
    assert not page.all("script", "iframe", "object", "embed", "img", "form", "base", "a")
    targets = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href")
    ]
    assert all(target == "data:," or (target or "").startswith("#") for target in targets)
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert set(re.findall(r"https?://[^\"'\s<)]+", html)) == {"http://www.w3.org/2000/svg"}  # the XML namespace
    assert "@import" not in html
    assert set(re.findall(r"url\((.)", html)) <= {"#"}
    assert len(html) < 200_000


def test_markup_in_a_specialization_is_escaped():
    html = page_of("hostile")
    assert "<script" not in html
    assert "<img" not in html
    page = Page(html)
    name = f"{HOSTILE[0]} · {HOSTILE[1]}"
    assert name in page.text_of("th")
    assert "49" not in page.text_of("th")


@every_week
def test_rendering_is_deterministic(week: str):
    assert rendered(WEEKS[week]) == page_of(week)


@every_week
def test_the_page_is_accessible_to_screen_readers(week: str):
    """Headings, captions and descriptions; the browser tests check the rules of axe-core."""
    page = Page(page_of(week))
    assert page.all("html") == [{"lang": "en"}]
    assert page.text_of("title")[0] == page.text_of("h1")[0] == "Week of 23 Feb 2026 to 1 Mar 2026"
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert headings == [1, 2, 2, 2, 2, 2]
    assert len(page.all("main")) == 1
    assert {attributes.get("scope") for attributes in page.all("th")} <= {"col", "row"}
    named = {attributes.get("id") for _, attributes in page.tags}
    for plot in page.all("svg"):
        assert plot["role"] == "img"
    for labelled in page.all("svg", "table"):
        assert set((labelled["aria-labelledby"] or "").split()) <= named
    assert len(page.text_of("desc")) == 3
    assert all(len(text) > 15 for text in page.text_of("desc"))


def themes() -> dict[str, dict[str, str]]:
    """Return the colors in the style sheet of the page, by theme."""
    style = page_of("first week").split("<style>")[1].split("</style>")[0]
    blocks = re.findall(r":root \{([^}]*--ink[^}]*)\}", style)
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks)
    return {"light": light, "dark": {**light, **dark}}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_enough_contrast_in_both_themes(theme: str):
    colors = themes()[theme]
    for ground in ("page", "card", "notice"):
        assert contrast(colors["ink"], colors[ground]) >= 7
    for ground in ("page", "card"):
        assert contrast(colors["muted"], colors[ground]) >= 4.5
        assert contrast(colors["better"], colors[ground]) >= 4.5
        assert contrast(colors["worse"], colors[ground]) >= 4.5
    for text in ("plot-ink", "plot-muted"):
        assert contrast(colors[text], colors["plot-card"]) >= 4.5
    assert themes()["light"] != themes()["dark"]


def test_a_judgment_is_a_sign_and_a_word_and_not_only_a_color():
    texts = Page(page_of("two weeks")).texts
    signs = {text for tag, text in texts if tag == "span" and text[0] in "+\N{MINUS SIGN}"}
    assert signs
    assert {text for tag, text in texts if tag == "small" and text != "than last week"} <= {"better", "worse"}
    judged = re.findall(r'class="(better|worse)">[+\N{MINUS SIGN}][\d.,]+ <small>(\w+)</small>', page_of("two weeks"))
    assert judged
    assert all(color == word for color, word in judged)


def test_the_colors_of_the_page_are_those_of_the_plots():
    colors = themes()["light"]
    assert (colors["shown"], colors["good"], colors["bad"]) == (SHOWN, GOOD, BAD)


@pytest.fixture(scope="module")
def chromium() -> str:
    return needed_program("chromium", "apt-get install chromium")


def long_page() -> ReportFigures:
    """Return the longest page: many large cohorts with long names, and notices."""
    weeks = without(two_weeks(), SUNDAY.replace(month=2, day=25), SUNDAY.replace(month=2, day=18))
    names = [(f"Foundations of the history of science and technology {n:02}", "Upper intermediate") for n in range(30)]
    cohorts = {
        day: {
            name: group(students=100 + n + day.day, pace_median=40.0 + n % 7 * day.day / 9, inactive_14_days=n)
            for n, name in enumerate(names)
        }
        for day in weeks.cohorts
    }
    reasons = dict.fromkeys(REASON_NAMES, 30)
    at_risk = {
        monday: AtRiskFigures({"listed": 300, "dormant": 50, "not_started": 12}, reasons, 25, 30, {})
        for monday in weeks.at_risk
    }
    types = dict.fromkeys(RECOMMENDATION_TYPES, 30)
    return replace(weeks, cohorts=cohorts, at_risk=at_risk, recommendations=dict.fromkeys(weeks.recommendations, types))


@pytest.mark.parametrize(
    "figures", [two_weeks(), no_students(), long_page()], ids=["two weeks", "no students", "long page"]
)
def test_the_page_prints_on_two_sheets(figures: ReportFigures, chromium: str, tmp_path: Path):
    (tmp_path / "week.html").write_text(rendered(figures), encoding="utf-8")
    printed = tmp_path / "week.pdf"
    subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--no-pdf-header-footer",
            f"--print-to-pdf={printed}",
            (tmp_path / "week.html").as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert len(re.findall(rb"/Type\s*/Page\b", printed.read_bytes())) == 2
