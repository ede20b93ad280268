"""The three tables of the report, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from snapshot_pipeline.plots.text import count_noun, long_date
from snapshot_pipeline.report.figures import Cohort, GroupFigures, ReportFigures, cohort_name
from snapshot_pipeline.report.numbers import UNKNOWN, hours, percent, points, short_weekday_and_date, signed, whole

MAX_COHORTS = 15


@dataclass(frozen=True)
class ReportTable:
    """A table of text.

    Attributes:
        columns: The headings, including that of the row names.
        rows: Name and cells of each row.
        note: What is left out, if anything.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    note: str | None = None


def build_tables(figures: ReportFigures) -> list[ReportTable]:
    """The week compared with the week before, its days, its cohorts."""
    return [_week(figures), _days(figures), _cohorts(figures)]


def _week(figures: ReportFigures) -> ReportTable:
    now, before = figures.week, figures.before
    rows = [
        _compare_sundays(figures, "Students", "students"),
        _compare("Active in the week", now.active, before.active),
        _compare("Lessons completed", now.lessons, before.lessons),
        _compare("Hours spent", hours(now.minutes), hours(before.minutes)),
        _compare_sundays(figures, "Mean pace score, points", "pace_mean", 1),
        _compare_sundays(figures, "Median pace score, points", "pace_median", 1),
        _compare_sundays(figures, "Mean quiz average, %", "quiz_average_mean", 1),
        _compare_sundays(figures, "Inactive for 7 days or more", "inactive_7_days"),
        _compare_sundays(figures, "Inactive for 14 days or more", "inactive_14_days"),
        _compare("Recommendations", now.recommendations, before.recommendations),
        _compare("Shown the next lesson (default)", now.next_steps, before.next_steps),
    ]
    note = _not_computed([("this week", now.failed or 0), ("week before", before.failed or 0)])
    return ReportTable("The week compared with the week before", ("", "this week", "week before", "change"), rows, note)


def _not_computed(counts: Sequence[tuple[str, int]]) -> str | None:
    """The small print about student days that could not be computed."""
    listed = [f"{name} {whole(count)}" for name, count in counts if count]
    return f"Student days not computed (data errors): {', '.join(listed)}." if listed else None


def _compare_sundays(figures: ReportFigures, name: str, column: str, decimals: int = 0) -> tuple[str, Sequence[str]]:
    now, before = (getattr(week.end, column) if week.end else None for week in (figures.week, figures.before))
    return _compare(name, now, before, decimals)


def _compare(name: str, now: float | None, before: float | None, decimals: int = 0) -> tuple[str, Sequence[str]]:
    as_text = points if decimals else whole
    return name, (as_text(now), as_text(before), signed(now, before, decimals))


def _days(figures: ReportFigures) -> ReportTable:
    columns = ("day", "students", "active", "lessons", "hours", "mean pace", "quiz average, %")
    rows: list[tuple[str, Sequence[str]]] = []
    for day in figures.week.days:
        group = figures.days.get(day)
        if group is None:
            rows.append((f"{short_weekday_and_date(day)}, missing", (UNKNOWN,) * (len(columns) - 1)))
            continue
        cells = (
            whole(group.students),
            whole(group.active_students),
            whole(group.lessons_completed),
            whole(hours(group.minutes_spent)),
            points(group.pace_mean),
            points(group.quiz_average_mean),
        )
        rows.append((short_weekday_and_date(day), cells))
    known = [(short_weekday_and_date(day), figures.days[day].failed) for day in figures.week.known_days]
    return ReportTable("The days of the week", columns, rows, _not_computed(known))


def _cohorts(figures: ReportFigures) -> ReportTable:
    ranked = sorted(figures.week.cohorts.items(), key=lambda entry: (-entry[1].students, entry[0]))
    shown, left_out = ranked[:MAX_COHORTS], ranked[MAX_COHORTS:]
    columns = ("cohort", "students", "active", "median pace", "change", "quiz average, %", "inactive 7 days")
    notes = []
    if left_out:
        students = sum(group.students for _, group in left_out)
        notes.append(f"{count_noun(len(left_out), 'smaller cohort')} with {count_noun(students, 'student')} not shown.")
    if not_computed := _not_computed([(cohort_name(cohort), group.failed) for cohort, group in shown]):
        notes.append(not_computed)
    return ReportTable(
        f"The cohorts on Sunday, {long_date(figures.week.sunday)}",
        columns,
        [(cohort_name(cohort), _cohort_cells(figures, cohort, group)) for cohort, group in shown],
        " ".join(notes) or None if ranked else "No cohort has students on this day.",
    )


def _cohort_cells(figures: ReportFigures, cohort: Cohort, group: GroupFigures) -> Sequence[str]:
    before = figures.before.cohorts.get(cohort)
    return (
        whole(group.students),
        whole(group.active_students),
        points(group.pace_median),
        signed(group.pace_median, before.pace_median if before else None, 1),
        points(group.quiz_average_mean),
        percent(group.share(group.inactive_7_days)),
    )
