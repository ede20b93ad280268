"""The three tables of the page, cell by cell.

Put here: which figures stand in which row and column. Do not put here: how a number is written (`numbers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from snapshot_pipeline.report.figures import Cohort, Figures, Group, Week, cohort_name
from snapshot_pipeline.report.numbers import (
    NOT_KNOWN,
    counted,
    day_of_week,
    day_of_year,
    hours,
    percent,
    points,
    signed,
    whole,
)

MOST_COHORTS = 15


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        caption: What it shows.
        columns: The headings; the first is that of the rows' names.
        rows: The name of each row, and its cells.
        note: What is left out; None where nothing is.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    note: str | None = None


def tables_of(figures: Figures) -> list[Table]:
    """The week against the week before, its days, its cohorts."""
    return [_week(figures), _days(figures), _cohorts(figures)]


def _week(figures: Figures) -> Table:
    now, before = figures.week, figures.before
    rows = [
        _compared("Students", _of(now, "students"), _of(before, "students")),
        _compared("Active in the week", now.active, before.active),
        _compared("Lessons completed", now.lessons, before.lessons),
        _compared("Hours spent", hours(now.minutes), hours(before.minutes)),
        _compared("Mean pace score, points", _of(now, "pace_mean"), _of(before, "pace_mean"), 1),
        _compared("Median pace score, points", _of(now, "pace_median"), _of(before, "pace_median"), 1),
        _compared("Mean quiz average, %", _of(now, "quiz_average_mean"), _of(before, "quiz_average_mean"), 1),
        _compared("Inactive for 7 days or more", _of(now, "inactive_7_days"), _of(before, "inactive_7_days")),
        _compared("Inactive for 14 days or more", _of(now, "inactive_14_days"), _of(before, "inactive_14_days")),
        _compared("Recommendations", now.recommendations, before.recommendations),
        _compared("Student days that failed", now.failed, before.failed),
    ]
    return Table("The week against the week before", ("", "this week", "week before", "change"), rows)


def _of(week: Week, column: str) -> float | None:
    return None if week.end is None else getattr(week.end, column)


def _compared(name: str, now: float | None, before: float | None, decimals: int = 0) -> tuple[str, Sequence[str]]:
    written = points if decimals else whole
    return name, (written(now), written(before), signed(now, before, decimals))


def _days(figures: Figures) -> Table:
    columns = ("day", "students", "active", "lessons", "hours", "mean pace", "quiz average, %", "failed")
    rows: list[tuple[str, Sequence[str]]] = []
    for day in figures.week.days:
        group = figures.days.get(day)
        if group is None:
            rows.append((f"{day_of_week(day)}, missing", (NOT_KNOWN,) * (len(columns) - 1)))
            continue
        cells = (
            whole(group.students),
            whole(group.active_students),
            whole(group.lessons_completed),
            whole(hours(group.minutes_spent)),
            points(group.pace_mean),
            points(group.quiz_average_mean),
            whole(group.failed),
        )
        rows.append((day_of_week(day), cells))
    return Table("The days of the week", columns, rows)


def _cohorts(figures: Figures) -> Table:
    ranked = sorted(figures.week.cohorts.items(), key=lambda entry: (-entry[1].students, entry[0]))
    shown, left_out = ranked[:MOST_COHORTS], ranked[MOST_COHORTS:]
    columns = ("cohort", "students", "active", "median pace", "change", "quiz average, %", "inactive 7 days", "failed")
    note = None
    if left_out:
        students = sum(group.students for _, group in left_out)
        note = f"{counted(len(left_out), 'smaller cohort')} with {counted(students, 'student')} not shown."
    return Table(
        f"The cohorts on Sunday, {day_of_year(figures.week.sunday)}",
        columns,
        [(cohort_name(cohort), _cohort_cells(figures, cohort, group)) for cohort, group in shown],
        note if ranked else "No cohort has a student on this day.",
    )


def _cohort_cells(figures: Figures, cohort: Cohort, group: Group) -> Sequence[str]:
    before = figures.before.cohorts.get(cohort)
    return (
        whole(group.students),
        whole(group.active_students),
        points(group.pace_median),
        signed(group.pace_median, before.pace_median if before else None, 1),
        points(group.quiz_average_mean),
        percent(group.share(group.inactive_7_days)),
        whole(group.failed),
    )
