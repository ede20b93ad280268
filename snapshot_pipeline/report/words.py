"""The sentences of the report: its headline, warnings, and one sentence per section. Escaped by the template."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from snapshot_pipeline.plots.text import count_noun, long_date
from snapshot_pipeline.report.figures import Cohort, GroupFigures, ReportFigures, WeekFigures, cohort_name
from snapshot_pipeline.report.numbers import enumerate_names, hours, signed, weekday_and_date, whole

MIN_CHANGE = 5
"""Students; a smaller change is no headline."""

MIN_SURPRISE = 1.0
"""Change divided by the square root of the earlier number, which is how far a count moves by chance."""


@dataclass(frozen=True)
class _Measure:
    """A number of students in two weeks, in all and by cohort, and how a headline says that it rose or fell."""

    now: int
    before: int
    cohorts_now: Mapping[Cohort, int]
    cohorts_before: Mapping[Cohort, int]
    rose: str
    fell: str
    noun: str = ""

    @property
    def change(self) -> int:
        return self.now - self.before

    @property
    def surprise(self) -> float:
        return abs(self.change) / math.sqrt(max(self.before, 1))

    @property
    def is_large(self) -> bool:
        return abs(self.change) >= MIN_CHANGE and self.surprise >= MIN_SURPRISE

    def sentence(self) -> str:
        """What changed, and the cohort in which it changed most."""
        said = self.rose if self.change > 0 else self.fell
        now = count_noun(self.now, self.noun) if self.noun else whole(self.now)
        return f"{said} from {whole(self.before)} to {now}{self._place()}."

    def _place(self) -> str:
        cohorts = sorted({*self.cohorts_now, *self.cohorts_before})
        if len(cohorts) < 2:
            return ""
        by_cohort = {name: self.cohorts_now.get(name, 0) - self.cohorts_before.get(name, 0) for name in cohorts}
        direction = 1 if self.change > 0 else -1
        most = max(cohorts, key=lambda name: direction * by_cohort[name])
        if direction * by_cohort[most] <= 0:
            return ""
        return f", most in {cohort_name(most)} ({signed(by_cohort[most], 0)})"


def title(figures: ReportFigures) -> str:
    return f"Week of {long_date(figures.week.start)} to {long_date(figures.week.sunday)}"


def headline(figures: ReportFigures) -> str:
    """What changed most since the week before, and where."""
    week, before = figures.week, figures.before
    if week.end is None:
        return f"{weekday_and_date(week.sunday)} is missing, so the students of this week cannot be counted."
    if not week.end.students:
        return "No student had a snapshot at the end of this week."
    if before.end is None or not before.end.students:
        first = "The week before is missing" if before.missing_days else "There is no earlier week"
        return f"{first}, so nothing is compared: {_state(week)}."
    large = [measure for measure in _measures(week, before) if measure.is_large]
    if not large:
        return f"Little has changed since last week: {_state(week)}."
    return max(large, key=lambda measure: measure.surprise).sentence()


def _measures(week: WeekFigures, before: WeekFigures) -> list[_Measure]:
    """What a headline may be about, the gravest first, which is taken if two are as surprising."""
    measures = []
    if week.end and before.end:
        measures.append(
            _Measure(
                week.end.inactive_14_days,
                before.end.inactive_14_days,
                {cohort: group.inactive_14_days for cohort, group in week.cohorts.items()},
                {cohort: group.inactive_14_days for cohort, group in before.cohorts.items()},
                "14-day inactivity rose",
                "14-day inactivity fell",
                "student",
            )
        )
    if week.at_risk and before.at_risk:
        measures.append(
            _Measure(
                week.at_risk.students,
                before.at_risk.students,
                week.at_risk.cohorts,
                before.at_risk.cohorts,
                "The number of students at risk rose",
                "The number of students at risk fell",
            )
        )
    if week.active is not None and before.active is not None:
        measures.append(
            _Measure(
                week.active,
                before.active,
                {cohort: _active(group) for cohort, group in week.cohorts.items()},
                {cohort: _active(group) for cohort, group in before.cohorts.items()},
                "The number of active students rose",
                "The number of active students fell",
            )
        )
    return measures


def _active(group: GroupFigures) -> int:
    """Every student is either active in the week or inactive for 7 days at its end."""
    return group.students - group.inactive_7_days


def _state(week: WeekFigures) -> str:
    """The week without a comparison, in half a sentence."""
    end, at_risk = week.end, week.at_risk
    counts = [(at_risk.students, "at risk")] if at_risk else []
    counts += [(end.inactive_14_days, "inactive for 14 days")] if end else []
    (first, state), *others = counts
    parts = [
        f"{count_noun(first, 'student')} {_be(first)} {state}",
        *(f"{whole(count)} {said}" for count, said in others),
    ]
    if end and week.active is not None:
        parts.append(f"{whole(week.active)} of {whole(end.students)} active in the week")
    return enumerate_names(parts)


def notices(figures: ReportFigures) -> list[str]:
    """Warnings about missing days, of the week and of the week before."""
    warnings = []
    if missing := figures.week.missing_days:
        names = enumerate_names([weekday_and_date(day) for day in missing])
        warnings.append(
            f"{names} {'is' if len(missing) == 1 else 'are'} missing, so weekly totals are unknown"
            f"{', and so are the figures of Sunday' if figures.week.sunday in missing else ''}."
        )
    if figures.before.known_days and (missing := figures.before.missing_days):
        names = enumerate_names([weekday_and_date(day) for day in missing])
        warnings.append(f"In the week before, {names} {'is' if len(missing) == 1 else 'are'} missing.")
    return warnings


def denominator(figures: ReportFigures) -> str:
    """Of whom the shares of the report are shares; empty without students."""
    end = figures.week.end
    if not end or not end.students:
        return ""
    return (
        f"All shares are of the {count_noun(end.students, 'student')} with a snapshot at the end of "
        f"{weekday_and_date(figures.week.sunday)}; a cohort's, of its own students."
    )


def work(figures: ReportFigures) -> str:
    """Lessons and hours of the week; empty if a day is missing."""
    week, before = figures.week, figures.before
    if week.lessons is None or week.minutes is None or not (week.end and week.end.students):
        return ""
    lessons = f"{count_noun(week.lessons, 'lesson')} {_was(week.lessons)} completed"
    spent = count_noun(round(week.minutes / 60), "hour")
    return (
        f"{lessons}{_relative(week.lessons, before.lessons)}, in {spent} of study"
        f"{_relative(hours(week.minutes), hours(before.minutes))}."
    )


def advice(figures: ReportFigures) -> str:
    """The recommendations of the week, and what became of those of the week before."""
    week = figures.week
    if week.recommendations is None or week.next_steps is None:
        made = "There are no recommendations for this week."
    else:
        total = week.recommendations
        made = f"{count_noun(total, 'recommendation')} {_be(total)} given for the coming week."
    outcomes = figures.outcomes.values()
    given, dismissed, naming, followed = (
        sum(getattr(outcome, name) for outcome in outcomes) for name in ("given", "dismissed", "naming", "followed")
    )
    if not given:
        return made
    became = f"Of last week's {whole(given)}, {whole(dismissed)} {_was(dismissed)} dismissed"
    if naming:
        name = "names" if naming == 1 else "name"
        became += (
            f"; of the {whole(naming)} that {name} a lesson to complete, {whole(followed)} {_was(followed)} followed"
        )
    return f"{made} {became}."


def small_print(figures: ReportFigures) -> str:
    """A sentence about the data rather than the students; empty if there is nothing to say."""
    failed = sum(figures.failures.values())
    if figures.week.end and not figures.week.end.students:
        return ""
    if not failed:
        return "" if figures.week.missing_days else "Every student has figures for every day."
    most = max(sorted(figures.failures), key=lambda reason: figures.failures[reason])
    return (
        f"{count_noun(failed, 'student-day')} could not be computed, most often because of "
        f"“{most.replace('_', ' ')}” ({whole(figures.failures[most])})."
    )


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _relative(now: float | None, before: float | None) -> str:
    """` (12 % more)`; empty if unknown or zero before."""
    if now is None or not before:
        return ""
    by = round((now / before - 1) * 100)
    return f" ({abs(by):,}\N{NO-BREAK SPACE}% {'more' if by > 0 else 'less'})" if by else " (as before)"
