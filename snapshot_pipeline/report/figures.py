"""The figures of a week and of the weeks before it, with sums, shares and differences.

A sum over a week is known only if all of its days are: an incomplete week is not compared with a complete one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from snapshot_pipeline.plots.text import NEXT_STEP

DAYS = 7
WEEKS_SHOWN = 8
"""Number of weeks in the report, including the week itself."""


@dataclass(frozen=True)
class GroupFigures:
    """All students of a day, or a cohort: the columns of `day_summary`, see docs/metrics.md.

    Scores and averages are 0 to 100, or None without students, or without students who have a quiz.
    """

    students: int
    failed: int
    active_students: int
    pace_mean: float | None
    pace_p25: float | None
    pace_median: float | None
    pace_p75: float | None
    slow_students: int
    medium_students: int
    fast_students: int
    accelerated_students: int
    quiz_average_mean: float | None
    minutes_spent: int
    lessons_completed: int
    inactive_7_days: int
    inactive_14_days: int

    def share(self, count: int) -> float | None:
        """A number of students as a share of all, 0 to 1; None without students."""
        return count / self.students if self.students else None


Cohort = tuple[str, str]
"""Specialization and level; '' for none."""


@dataclass(frozen=True)
class AtRiskFigures:
    """The students at risk of a week: those in `at_risk_students`.

    Attributes:
        states: Students by state: `listed`, `dormant`, `not_started`.
        reasons: Students by code of a reason; a student has up to three.
        new: Students who were not at risk a week before; None if that week was not computed.
        left: Students who were at risk a week before and are not now; None likewise.
        cohorts: Students by cohort.
    """

    states: Mapping[str, int]
    reasons: Mapping[str, int]
    new: int | None
    left: int | None
    cohorts: Mapping[Cohort, int]

    @property
    def students(self) -> int:
        return sum(self.states.values())


@dataclass(frozen=True)
class AdviceOutcome:
    """What became of the recommendations of a type by the end of the week in which they were shown.

    Attributes:
        given: All of them.
        dismissed: Those that students dismissed.
        naming: Those that name a lesson which the student had not completed before that week.
        followed: Those of which a named lesson was completed in that week.
    """

    given: int
    dismissed: int
    naming: int
    followed: int


@dataclass(frozen=True)
class ReportFigures:
    """All figures of a report.

    Attributes:
        week_start: The week's Monday.
        first_day: The first day that has a partition; earlier days are not missing.
        days: The summarized days of the last `WEEKS_SHOWN` weeks.
        cohorts: The cohorts on the week's Sunday and on the Sunday before; empty for a missing day.
        active: Number of students active in a week, by its Monday.
        recommendations: Number of recommendations by Monday and type; weeks without any are left out.
        failures: Failed student-days of the week, by reason.
        at_risk: The students at risk of this week and of the week before, by Monday; without those not computed.
        outcomes: The recommendations of the week before, which were shown in this week, by type.
    """

    week_start: date
    first_day: date
    days: Mapping[date, GroupFigures]
    cohorts: Mapping[date, Mapping[Cohort, GroupFigures]]
    active: Mapping[date, int]
    recommendations: Mapping[date, Mapping[str, int]]
    failures: Mapping[str, int]
    at_risk: Mapping[date, AtRiskFigures]
    outcomes: Mapping[str, AdviceOutcome]

    @property
    def week(self) -> WeekFigures:
        return WeekFigures(self, self.week_start)

    @property
    def before(self) -> WeekFigures:
        return WeekFigures(self, self.week_start - timedelta(days=DAYS))

    @property
    def weeks(self) -> list[WeekFigures]:
        """The weeks of the report, ascending, from the first one with a summarized day to the week itself."""
        first = self.week_start - timedelta(days=DAYS * (WEEKS_SHOWN - 1))
        weeks = [WeekFigures(self, first + timedelta(days=DAYS * number)) for number in range(WEEKS_SHOWN)]
        first_known = next((number for number, week in enumerate(weeks) if week.known_days), WEEKS_SHOWN - 1)
        return weeks[first_known:]


@dataclass(frozen=True)
class WeekFigures:
    """One week of the figures."""

    figures: ReportFigures
    start: date

    @property
    def sunday(self) -> date:
        """Its last day, at whose end the students are counted."""
        return self.start + timedelta(days=DAYS - 1)

    @property
    def days(self) -> list[date]:
        return [self.start + timedelta(days=number) for number in range(DAYS)]

    @property
    def known_days(self) -> list[date]:
        """Its summarized days."""
        return [day for day in self.days if day in self.figures.days]

    @property
    def missing_days(self) -> list[date]:
        """Its days that should have been summarized and were not."""
        return [day for day in self.days if day not in self.figures.days and day >= self.figures.first_day]

    @property
    def end(self) -> GroupFigures | None:
        """All students on its Sunday; None if that day is missing."""
        return self.figures.days.get(self.sunday)

    @property
    def active(self) -> int | None:
        """Number of students active in it; None if its Sunday is missing."""
        return self.figures.active.get(self.start) if self.end else None

    @property
    def cohorts(self) -> Mapping[Cohort, GroupFigures]:
        """The cohorts on its Sunday."""
        return self.figures.cohorts.get(self.sunday, {})

    @property
    def at_risk(self) -> AtRiskFigures | None:
        """Its students at risk; None if they were not computed."""
        return self.figures.at_risk.get(self.start)

    @property
    def lessons(self) -> int | None:
        """Completed lessons; None if a day is missing."""
        return self._sum("lessons_completed")

    @property
    def minutes(self) -> int | None:
        """Minutes spent; None if a day is missing."""
        return self._sum("minutes_spent")

    @property
    def failed(self) -> int | None:
        """Failed student-days; None if a day is missing."""
        return self._sum("failed")

    @property
    def advice(self) -> Mapping[str, int]:
        """Number of recommendations by type, without the default next step."""
        by_type = self.figures.recommendations.get(self.start, {})
        return {name: count for name, count in by_type.items() if name != NEXT_STEP}

    @property
    def recommendations(self) -> int | None:
        """Number of recommendations, without the default next step; None if the week has none of either."""
        return sum(self.advice.values()) if self.figures.recommendations.get(self.start) else None

    @property
    def next_steps(self) -> int | None:
        """Number of students who are shown their next lesson by default; None if the week has no recommendations."""
        by_type = self.figures.recommendations.get(self.start)
        return by_type.get(NEXT_STEP, 0) if by_type else None

    def _sum(self, column: str) -> int | None:
        if len(self.known_days) < DAYS:
            return None
        total: int = sum(getattr(self.figures.days[day], column) for day in self.days)
        return total


def cohort_name(cohort: Cohort) -> str:
    """A cohort as text."""
    specialization, level = cohort
    if not specialization and not level:
        return "No specialization"
    return " \N{MIDDLE DOT} ".join(part for part in (specialization or "No specialization", level) if part)
