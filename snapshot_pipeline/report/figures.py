"""The figures of a week and of the weeks before it, and what follows from them.

Put here: sums, shares and differences. Do not put here: sentences (`words`), or the shape of a table (`tables`).

A sum over a week is known only where all of its days are: a week with a day missing is not compared with a whole one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

DAYS = 7
WEEKS_SHOWN = 8
"""How many weeks the page looks back, the week itself included."""


@dataclass(frozen=True)
class Group:
    """Some students on a day: all of them, or a cohort; the columns of `day_summary`, see `metrics.md`.

    Scores and averages are 0 to 100, and None where there is no student, or none with a quiz.
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

    @property
    def paces(self) -> dict[str, int]:
        """Students by pace label, the slowest first."""
        return {
            "SLOW": self.slow_students,
            "MEDIUM": self.medium_students,
            "FAST": self.fast_students,
            "ACCELERATED": self.accelerated_students,
        }

    def share(self, count: int) -> float | None:
        """A count of students as a share of all of them, 0 to 1; None with no student."""
        return count / self.students if self.students else None


Cohort = tuple[str, str]
"""A specialization and a level; '' for none."""


@dataclass(frozen=True)
class Figures:
    """All that the page of a week is made of.

    Attributes:
        week_start: The week's Monday.
        first_day: The first day that has a partition; no day before it is missed.
        days: The days of the last `WEEKS_SHOWN` weeks that were summarized.
        cohorts: The cohorts on the week's Sunday, and on the Sunday before; empty where the day is missing.
        active: Students that were active in the week that begins on this Monday, as known on its Sunday.
        recommendations: Recommendations by Monday and type; a week without any is left out.
        failures: Student days of the week that failed, by reason.
    """

    week_start: date
    first_day: date
    days: Mapping[date, Group]
    cohorts: Mapping[date, Mapping[Cohort, Group]]
    active: Mapping[date, int]
    recommendations: Mapping[date, Mapping[str, int]]
    failures: Mapping[str, int]

    @property
    def week(self) -> Week:
        """The week itself."""
        return Week(self, self.week_start)

    @property
    def before(self) -> Week:
        """The week before it."""
        return Week(self, self.week_start - timedelta(days=DAYS))

    @property
    def weeks(self) -> list[Week]:
        """The weeks that the page looks at, ascending, from the first with a day on; the last is the week itself."""
        first = self.week_start - timedelta(days=DAYS * (WEEKS_SHOWN - 1))
        weeks = [Week(self, first + timedelta(days=DAYS * number)) for number in range(WEEKS_SHOWN)]
        begun = next((number for number, week in enumerate(weeks) if week.known_days), WEEKS_SHOWN - 1)
        return weeks[begun:]


@dataclass(frozen=True)
class Week:
    """One week of the figures."""

    figures: Figures
    start: date

    @property
    def sunday(self) -> date:
        """Its last day, on whose evening its students are counted."""
        return self.start + timedelta(days=DAYS - 1)

    @property
    def days(self) -> list[date]:
        """Its seven days, from Monday on."""
        return [self.start + timedelta(days=number) for number in range(DAYS)]

    @property
    def known_days(self) -> list[date]:
        """Those of its days that were summarized."""
        return [day for day in self.days if day in self.figures.days]

    @property
    def missing_days(self) -> list[date]:
        """Those of its days that should have been summarized and were not."""
        return [day for day in self.days if day not in self.figures.days and day >= self.figures.first_day]

    @property
    def end(self) -> Group | None:
        """All students on its Sunday; None where that day is missing."""
        return self.figures.days.get(self.sunday)

    @property
    def active(self) -> int | None:
        """Students that did something in it; None where its Sunday is missing."""
        return self.figures.active.get(self.start) if self.end else None

    @property
    def cohorts(self) -> Mapping[Cohort, Group]:
        """The cohorts on its Sunday."""
        return self.figures.cohorts.get(self.sunday, {})

    @property
    def lessons(self) -> int | None:
        """Lessons completed in it; None where a day is missing."""
        return self._sum("lessons_completed")

    @property
    def minutes(self) -> int | None:
        """Minutes spent in it; None where a day is missing."""
        return self._sum("minutes_spent")

    @property
    def failed(self) -> int | None:
        """Student days of it that failed; None where a day is missing."""
        return self._sum("failed")

    @property
    def recommendations(self) -> int | None:
        """How many recommendations were made for it; None where it has none."""
        by_type = self.figures.recommendations.get(self.start)
        return sum(by_type.values()) if by_type else None

    def _sum(self, column: str) -> int | None:
        if len(self.known_days) < DAYS:
            return None
        return sum(getattr(self.figures.days[day], column) for day in self.days)


def cohort_name(cohort: Cohort) -> str:
    """A cohort as a person reads it."""
    specialization, level = cohort
    if not specialization and not level:
        return "No specialization"
    return " \N{MIDDLE DOT} ".join(part for part in (specialization or "No specialization", level) if part)
