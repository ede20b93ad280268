"""The week in sentences: what it was, and what changed against the week before.

Put here: every sentence of the page that has a figure in it; plain text, escaped by whoever shows it.
Do not put here: arithmetic (`figures`), or how a number is written (`numbers`).
"""

from __future__ import annotations

from snapshot_pipeline.report.figures import Cohort, Figures, Group, cohort_name
from snapshot_pipeline.report.numbers import counted, day_name, hours, listed, percent, points, whole

_SMALLEST_COHORT = 10
"""Students; the median of fewer moves with every one of them."""


def notices(figures: Figures) -> list[str]:
    """What the reader must know before the figures: days that are missing, in the week and in the one before."""
    said = []
    if missing := figures.week.missing_days:
        named = listed([day_name(day) for day in missing])
        said.append(
            f"{named} {'is' if len(missing) == 1 else 'are'} missing: sums over the week cannot be given"
            f"{', nor what is counted on its Sunday' if figures.week.sunday in missing else ''}."
        )
    if figures.before.known_days and (missing := figures.before.missing_days):
        named = listed([day_name(day) for day in missing])
        said.append(f"Of the week before, {named} {'is' if len(missing) == 1 else 'are'} missing.")
    return said


def sentences(figures: Figures) -> list[str]:
    """The week in words, the most important first."""
    if figures.week.end and not figures.week.end.students:
        return ["No student had a snapshot on the Sunday of this week."]
    said = [_activity(figures), _work(figures), _pace(figures), _fast(figures), _away(figures), _cohorts(figures)]
    return [one for one in (*said, _recommendations(figures), _failures(figures)) if one]


def _activity(figures: Figures) -> str | None:
    week, active = figures.week, figures.week.active
    if active is None or week.end is None:
        return None
    change = _change(active, figures.before.active, "the week before")
    if not active:
        return f"None of the {counted(week.end.students, 'student')} was active{change}."
    verb = "was" if active == 1 else "were"
    return f"{counted(active, 'student')} of {whole(week.end.students)} {verb} active{change}."


def _work(figures: Figures) -> str | None:
    week, before = figures.week, figures.before
    if week.lessons is None or week.minutes is None:
        return None
    lessons = f"{counted(week.lessons, 'lesson')} {'was' if week.lessons == 1 else 'were'} completed"
    spent = counted(round(week.minutes / 60), "hour")
    return (
        f"{lessons}{_relative(week.lessons, before.lessons)}, in {spent} of study"
        f"{_relative(hours(week.minutes), hours(before.minutes))}."
    )


def _pace(figures: Figures) -> str | None:
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


def _fast(figures: Figures) -> str | None:
    now, before = figures.week.end, figures.before.end
    if now is None:
        return None
    change = _change(_quick(now), _quick(before) if before else None, "a week before")
    quick = _quick(now)
    return (
        f"{counted(quick, 'student')} ({percent(now.share(quick))}) {'learns' if quick == 1 else 'learn'} at a fast or "
        f"an accelerated pace{change}."
    )


def _quick(group: Group) -> int:
    return group.fast_students + group.accelerated_students


def _away(figures: Figures) -> str | None:
    now, before = figures.week.end, figures.before.end
    if now is None:
        return None
    away, longer = now.inactive_7_days, now.inactive_14_days
    if not away:
        return "No student has been inactive for 7 days or more."
    change = _change(away, before.inactive_7_days if before else None, "a week before")
    return (
        f"{counted(away, 'student')} ({percent(now.share(away))}) {'has' if away == 1 else 'have'} been inactive for "
        f"7 days or more{change}; {whole(longer)} for 14 days or more."
    )


def _cohorts(figures: Figures) -> str | None:
    """The cohorts whose median moved most, up and down."""
    moved = sorted(_moves(figures))
    if not moved:
        return None
    parts = []
    if moved[-1][0] > 0:
        parts.append(f"rose most in {_moved(moved[-1], 'up')}")
    if moved[0][0] < 0:
        parts.append(f"fell most in {_moved(moved[0], 'down')}")
    if not parts:
        return "The median pace of no cohort has moved."
    return f"By cohort, the median pace {' and '.join(parts)}."


def _moves(figures: Figures) -> list[tuple[float, Cohort, float, int]]:
    """By how many points the median of each cohort moved, the cohort, its median now and its students."""
    return [
        (round(round(now.pace_median, 1) - round(before.pace_median, 1), 1), cohort, now.pace_median, now.students)
        for cohort, now in figures.week.cohorts.items()
        if (before := figures.before.cohorts.get(cohort))
        and now.pace_median is not None
        and before.pace_median is not None
        and min(now.students, before.students) >= _SMALLEST_COHORT
    ]


def _moved(move: tuple[float, Cohort, float, int], direction: str) -> str:
    by, cohort, median, students = move
    return f"{cohort_name(cohort)} ({direction} {abs(by):.1f} to {points(median)}, {counted(students, 'student')})"


def _recommendations(figures: Figures) -> str:
    by_type = figures.recommendations.get(figures.week_start, {})
    total = sum(by_type.values())
    if not total:
        return "There are no recommendations of this week."
    change = _change(total, figures.before.recommendations, "the week before")
    most = max(sorted(by_type), key=lambda kind: by_type[kind])
    name = most.replace("_", " ").lower()
    verb = "was" if total == 1 else "were"
    return f"{counted(total, 'recommendation')} {verb} made{change}; most often “{name}” ({whole(by_type[most])})."


def _failures(figures: Figures) -> str | None:
    failed = sum(figures.failures.values())
    if not failed:
        return None if figures.week.missing_days else "Every student was computed on every day."
    most = max(sorted(figures.failures), key=lambda reason: figures.failures[reason])
    reason = most.replace("_", " ")
    return (
        f"{counted(failed, 'time')} a student's day could not be computed, most often because of “{reason}” "
        f"({whole(figures.failures[most])})."
    )


def _change(now: int, before: int | None, when: str) -> str:
    """`, 23 fewer than the week before`; nothing where that is not known."""
    if before is None:
        return ""
    if now == before:
        return f", as many as {when}"
    return f", {abs(now - before):,} {'more' if now > before else 'fewer'} than {when}"


def _relative(now: float | None, before: float | None) -> str:
    """` (12 % more)`; nothing where it is not known, or there was nothing before."""
    if now is None or not before:
        return ""
    by = round((now / before - 1) * 100)
    return f" ({abs(by):,}\N{NO-BREAK SPACE}% {'more' if by > 0 else 'less'})" if by else " (as before)"
