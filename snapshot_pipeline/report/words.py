"""The sentences of the report: the week, and its changes from the week before. Plain text, escaped by the template."""

from __future__ import annotations

from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.report.figures import Cohort, GroupFigures, ReportFigures, cohort_name
from snapshot_pipeline.report.numbers import enumerate_names, hours, percent, points, weekday_and_date, whole

_MIN_COHORT = 10
"""Students; the median of fewer changes with each of them."""


def notices(figures: ReportFigures) -> list[str]:
    """Warnings about missing days, of the week and of the week before."""
    warnings = []
    if missing := figures.week.missing_days:
        names = enumerate_names([weekday_and_date(day) for day in missing])
        warnings.append(
            f"{names} {'is' if len(missing) == 1 else 'are'} missing, so sums of the week are unknown"
            f"{', and so are the figures of its Sunday' if figures.week.sunday in missing else ''}."
        )
    if figures.before.known_days and (missing := figures.before.missing_days):
        names = enumerate_names([weekday_and_date(day) for day in missing])
        warnings.append(f"Of the week before, {names} {'is' if len(missing) == 1 else 'are'} missing.")
    return warnings


def sentences(figures: ReportFigures) -> list[str]:
    """The week in words, the most important first."""
    if figures.week.end and not figures.week.end.students:
        return ["No student had a snapshot on the Sunday of this week."]
    parts = [_activity(figures), _work(figures), _pace(figures), _fast(figures), _inactive(figures), _cohorts(figures)]
    return [part for part in (*parts, _recommendations(figures)) if part]


def small_print(figures: ReportFigures) -> list[str]:
    """Sentences about the data rather than the students."""
    failures = _failures(figures)
    return [failures] if failures and not (figures.week.end and not figures.week.end.students) else []


def _activity(figures: ReportFigures) -> str | None:
    week, active = figures.week, figures.week.active
    if active is None or week.end is None:
        return None
    change = _change(active, figures.before.active, "the week before")
    if not active:
        return f"None of the {count_noun(week.end.students, 'student')} was active{change}."
    verb = "was" if active == 1 else "were"
    return f"{count_noun(active, 'student')} of {whole(week.end.students)} {verb} active{change}."


def _work(figures: ReportFigures) -> str | None:
    week, before = figures.week, figures.before
    if week.lessons is None or week.minutes is None:
        return None
    lessons = f"{count_noun(week.lessons, 'lesson')} {'was' if week.lessons == 1 else 'were'} completed"
    spent = count_noun(round(week.minutes / 60), "hour")
    return (
        f"{lessons}{_relative(week.lessons, before.lessons)}, in {spent} of study"
        f"{_relative(hours(week.minutes), hours(before.minutes))}."
    )


def _pace(figures: ReportFigures) -> str | None:
    now, before = figures.week.end, figures.before.end
    if now is None or now.pace_mean is None:
        return None
    half = f"; half of the students were between {points(now.pace_p25)} and {points(now.pace_p75)}"
    change = ""
    if before and before.pace_mean is not None:
        difference = round(round(now.pace_mean, 1) - round(before.pace_mean, 1), 1)
        moved = f"{abs(difference):.1f} points {'higher' if difference > 0 else 'lower'} than" if difference else "as"
        change = f", {moved} a week before"
    return f"The mean pace score on Sunday was {points(now.pace_mean)}{change}{half}."


def _fast(figures: ReportFigures) -> str | None:
    now, before = figures.week.end, figures.before.end
    if now is None:
        return None
    change = _change(_count_fast(now), _count_fast(before) if before else None, "a week before")
    fast = _count_fast(now)
    return (
        f"{count_noun(fast, 'student')} ({percent(now.share(fast))}) {'learns' if fast == 1 else 'learn'} at a fast or "
        f"an accelerated pace{change}."
    )


def _count_fast(group: GroupFigures) -> int:
    return group.fast_students + group.accelerated_students


def _inactive(figures: ReportFigures) -> str | None:
    now, before = figures.week.end, figures.before.end
    if now is None:
        return None
    inactive, longer = now.inactive_7_days, now.inactive_14_days
    if not inactive:
        return "No student has been inactive for 7 days or more."
    change = _change(inactive, before.inactive_7_days if before else None, "a week before")
    share = percent(now.share(inactive))
    verb = "has" if inactive == 1 else "have"
    return (
        f"{count_noun(inactive, 'student')} ({share}) {verb} been inactive for 7 days or more{change}; "
        f"{whole(longer)} for 14 days or more."
    )


def _cohorts(figures: ReportFigures) -> str | None:
    """The cohorts whose median rose and fell most."""
    changes = sorted(_median_changes(figures))
    if not changes:
        return None
    parts = []
    if changes[-1][0] > 0:
        parts.append(f"rose most in {_describe_change(changes[-1], 'up')}")
    if changes[0][0] < 0:
        parts.append(f"fell most in {_describe_change(changes[0], 'down')}")
    if not parts:
        return "The median pace of no cohort has changed."
    return f"By cohort, the median pace {' and '.join(parts)}."


def _median_changes(figures: ReportFigures) -> list[tuple[float, Cohort, float, int]]:
    """Change of each cohort's median in points, the cohort, its median now and its students."""
    return [
        (round(round(now.pace_median, 1) - round(before.pace_median, 1), 1), cohort, now.pace_median, now.students)
        for cohort, now in figures.week.cohorts.items()
        if (before := figures.before.cohorts.get(cohort))
        and now.pace_median is not None
        and before.pace_median is not None
        and min(now.students, before.students) >= _MIN_COHORT
    ]


def _describe_change(change: tuple[float, Cohort, float, int], direction: str) -> str:
    by, cohort, median, students = change
    return f"{cohort_name(cohort)} ({direction} {abs(by):.1f} to {points(median)}, {count_noun(students, 'student')})"


def _recommendations(figures: ReportFigures) -> str:
    week, next_steps = figures.week, figures.week.next_steps
    if week.recommendations is None or next_steps is None:
        return "There are no recommendations for this week."
    total, advice = week.recommendations, week.advice
    change = _change(total, figures.before.recommendations, "the week before")
    made = f"{count_noun(total, 'recommendation')} {'was' if total == 1 else 'were'} made{change}"
    if total:
        most = max(sorted(advice), key=lambda name: advice[name])
        made += f"; most often “{most.replace('_', ' ').lower()}” ({whole(advice[most])})"
    if not next_steps:
        return f"{made}."
    verb = "is" if next_steps == 1 else "are"
    return f"{made}. {count_noun(next_steps, 'student')} {verb} shown the next lesson, the default."


def _failures(figures: ReportFigures) -> str | None:
    failed = sum(figures.failures.values())
    if not failed:
        return None if figures.week.missing_days else "Every student was computed on every day."
    most = max(sorted(figures.failures), key=lambda reason: figures.failures[reason])
    reason = most.replace("_", " ")
    return (
        f"{count_noun(failed, 'student day')} not computed (data errors), most often because of “{reason}” "
        f"({whole(figures.failures[most])})."
    )


def _change(now: int, before: int | None, when: str) -> str:
    """`, 23 fewer than the week before`; empty if that is unknown."""
    if before is None:
        return ""
    if now == before:
        return f", as many as {when}"
    return f", {abs(now - before):,} {'more' if now > before else 'fewer'} than {when}"


def _relative(now: float | None, before: float | None) -> str:
    """` (12 % more)`; empty if unknown or zero before."""
    if now is None or not before:
        return ""
    by = round((now / before - 1) * 100)
    return f" ({abs(by):,}\N{NO-BREAK SPACE}% {'more' if by > 0 else 'less'})" if by else " (as before)"
