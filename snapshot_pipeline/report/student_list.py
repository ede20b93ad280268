"""The list of the students at risk of a week, for the people who contact them: as HTML and as CSV.

Everything that comes from the platform (names of cohorts, titles in reasons) is text of strangers: HTML is escaped by
the template, and no cell of the CSV is a formula.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from snapshot_pipeline.plots.text import count_noun, display_name, long_date, plain
from snapshot_pipeline.report.environment import environment

BYTE_ORDER_MARK = "\ufeff"
"""Begins the CSV: without it Excel does not read it as UTF-8."""

NO_SINGLE_REASON = "Low engagement score; no single reason stands out."
"""Shown for a listed student whose figures are low, but none of them low enough for a reason."""

_MAX_TEXT = 400
_STATES = {
    "listed": "The engagement score is low for the cohort: below 20, or below 20 on one of the four Sundays before and "
    "not yet 30 again. Scores of different cohorts cannot be compared.",
    "dormant": "No activity for four weeks or more.",
    "not_started": "The cohort has begun, and the student has not started a lesson.",
}
_COLUMNS = (
    "week_start",
    "user_id",
    "link",
    "state",
    "score",
    "results",
    "presence",
    "timeliness",
    "recency",
    "listed_since",
    "weeks",
    "specialization",
    "level",
    "peers",
    "reasons",
    "reason_1",
    "reason_2",
    "reason_3",
)


@dataclass(frozen=True)
class ListedStudent:
    """A student at risk.

    Attributes:
        reasons: Codes and texts, the most important first.
        weeks: In how many consecutive weeks the student has had the state; None for `not_started`.
    """

    user_id: int
    state: str
    score: float | None
    results: float | None
    presence: float | None
    timeliness: float | None
    recency: float | None
    reasons: Sequence[tuple[str, str]]
    listed_since: date | None
    weeks: int | None
    specialization: str | None
    level: str | None
    peers: int | None

    @property
    def cohort(self) -> str:
        """Specialization and level, or what there is of them."""
        return " · ".join(plain(name) for name in (self.specialization, self.level) if name) or "none"

    @property
    def texts(self) -> list[str]:
        """The texts of the reasons, each in one line; at least one."""
        return [plain(text, _MAX_TEXT) for _, text in self.reasons] or [NO_SINGLE_REASON]


@dataclass(frozen=True)
class StudentList:
    """The students at risk of a week.

    Attributes:
        students: By state, then the lowest score first.
        active: Number of active students.
        student_url: The address of a student's page, with `{user_id}`; None: ids are no links.
    """

    week_start: date
    students: Sequence[ListedStudent]
    active: int
    student_url: str | None = None

    def link(self, student: ListedStudent) -> str | None:
        return self.student_url.replace("{user_id}", str(student.user_id)) if self.student_url else None

    def of_state(self, state: str) -> list[ListedStudent]:
        return [student for student in self.students if student.state == state]


def as_csv(listed: StudentList) -> str:
    """One line per student, after the names of the columns."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for student in listed.students:
        codes, texts = " ".join(code for code, _ in student.reasons), student.texts
        figures = (student.score, student.results, student.presence, student.timeliness, student.recency)
        writer.writerow(
            [
                listed.week_start,
                student.user_id,
                listed.link(student) or "",
                student.state,
                *("" if figure is None else figure for figure in figures),
                student.listed_since or "",
                "" if student.weeks is None else student.weeks,
                _cell(student.specialization or ""),
                _cell(student.level or ""),
                "" if student.peers is None else student.peers,
                codes,
                *map(_cell, [*texts, "", "", ""][:3]),
            ]
        )
    return BYTE_ORDER_MARK + text.getvalue()


def as_html(listed: StudentList) -> str:
    """One page without scripts and network access."""
    sections = [
        {"name": display_name(state), "explanation": explanation, "students": listed.of_state(state)}
        for state, explanation in _STATES.items()
    ]
    return (
        environment()
        .get_template("students.html.jinja")
        .render(
            title=f"Students at risk, week of {long_date(listed.week_start)}",
            summary=f"{len(listed.students):,} of {count_noun(listed.active, 'active student')}",
            sections=sections,
            link=listed.link,
        )
    )


def _cell(text: str) -> str:
    """A text in one line that no spreadsheet evaluates."""
    line = plain(text, _MAX_TEXT)
    return f"'{line}" if line.startswith(("=", "+", "-", "@", "|", "%")) else line
