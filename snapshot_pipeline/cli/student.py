"""`snapshot-pipeline student`: one student's last days, how a day's scores are computed, and the reasons."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from snapshot_pipeline.cli.terminal import DAY, PROBLEM_STATUS, BoundedInteger, print_json
from snapshot_pipeline.pipeline.periods import days_text, last_closed_day, require_closed_day
from snapshot_pipeline.plots.text import count_noun, plain
from snapshot_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from snapshot_pipeline.metrics.explanation import PaceExplanation
    from snapshot_pipeline.pipeline.student import StudentDay, StudentReport

_STUDENT_ID = BoundedInteger(-(2**63), 2**63 - 1, "student id")
"""An id that fits PostgreSQL's bigint."""


@click.command(epilog="Example: snapshot-pipeline student 4711 --day 2026-11-22")
@click.argument("user_id", metavar="ID", type=_STUDENT_ID)
@click.option("--day", type=DAY, help="The day to explain.  [default: the last day that has ended]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; its keys are in docs/operations.md.")
def student(user_id: int, day: date | None, as_json: bool) -> None:
    """Show 30 days of student ID, how the last day's scores are computed, and why the student is at risk.

    The pace score is computed from the platform's current rows, by the same code as in the nightly run. If it differs
    from the published one, the command that updates it is shown. The engagement score, the reasons and the
    recommendations are those that are published.

    \b
    Exit status:
      0  the day is published and up to date
      1  there is no such active student, or the day is out of range
      3  the day is missing, has failed, or would be computed differently now
    """  # noqa: D301  # click keeps the line breaks of a paragraph that starts with a backspace
    from snapshot_pipeline.pipeline.installation import open_for_reading
    from snapshot_pipeline.pipeline.student import read_student_report

    settings = load_settings()
    explained_day = day or last_closed_day(settings)
    require_closed_day(settings, explained_day)
    with open_for_reading(settings) as installation:
        report = read_student_report(installation, user_id, explained_day)
    if as_json:
        print_json(as_document(report, settings))
    else:
        _print(report, settings)
    if report.remediation:
        raise click.exceptions.Exit(PROBLEM_STATUS)


def as_document(report: StudentReport, settings: Settings) -> dict[str, Any]:
    """Return the document that `--json` prints; times are in the platform's time zone."""
    return {
        "user_id": report.user_id,
        "specialization": report.user.specialization,
        "level": report.user.level,
        "day": report.last.day,
        "state": report.last.state,
        "days_since_activity": _days_since_activity(report),
        "days": [_day_document(day) for day in report.days],
        "pace": _pace_document(report.pace, settings) if report.pace else None,
        "differences": [asdict(difference) for difference in report.differences],
        "remediation": asdict(report.remediation) if report.remediation else None,
        "engagement": asdict(report.engagement) if report.engagement else None,
        "at_risk": [asdict(week) for week in report.at_risk],
        "recommendations": [asdict(recommendation) for recommendation in report.recommendations],
    }


def _days_since_activity(report: StudentReport) -> int | None:
    """Days from the last activity to the last day; None without a snapshot of it."""
    snapshot = report.last.snapshot
    return (report.last.day - snapshot.last_activity_date).days if snapshot else None


def _day_document(day: StudentDay) -> dict[str, Any]:
    snapshot, failure = day.snapshot, day.failure
    return {
        "day": day.day,
        "state": day.state,
        "pace_score": snapshot.pace_score if snapshot else None,
        "learning_pace": snapshot.learning_pace if snapshot else None,
        "quiz_average": snapshot.quiz_average if snapshot else None,
        "lessons_completed": snapshot.lessons_completed_count if snapshot else None,
        "minutes_spent": snapshot.time_spent_minutes_today if snapshot else None,
        "reason": failure.reason if failure else None,
        "detail": failure.detail if failure else None,
    }


def _pace_document(pace: PaceExplanation, settings: Settings) -> dict[str, Any]:
    return {
        "window": {"first": pace.first, "last": pace.last, "days": pace.days},
        "lessons": sum(pace.lessons.values()),
        "lesson_days": len(pace.lessons),
        "lessons_by_day": {day.isoformat(): count for day, count in pace.lessons.items()},
        "attempts": [
            {
                "attempt_id": attempt.attempt_id,
                "completed_at": attempt.completed_at.astimezone(settings.zone),
                "score": attempt.score,
                "weight": attempt.weight / 100,
            }
            for attempt in pace.attempts
        ],
        "quiz_average": pace.quiz_average,
        "terms": {
            name: {"value": term.value, "weight": term.weight, "points": term.points}
            for name, term in (("velocity", pace.velocity), ("consistency", pace.consistency), ("quiz", pace.quiz))
        },
        "unrounded": pace.unrounded,
        "pace_score": pace.pace_score,
        "learning_pace": pace.learning_pace,
        "issues": [{**asdict(issue), "day": str(issue.day)} for issue in pace.issues],
    }


def _print(report: StudentReport, settings: Settings) -> None:
    from snapshot_pipeline.cli.tables import print_student, print_student_days

    specialization, level = report.user.specialization or "none", report.user.level or "none"
    print_student(report.user_id, settings.student_url, f", specialization: {specialization}, level: {level}")
    if (days := _days_since_activity(report)) is not None:
        click.echo(
            f"Last activity: {count_noun(days, 'day')} before {report.last.day}"
            if days
            else f"Active on {report.last.day}"
        )
    click.echo()
    print_student_days(report.days)
    sections = (
        _failures(report),
        _engagement(report),
        _at_risk(report),
        _recommendations(report),
        _pace(report, settings),
        _published_against_current(report, settings),
        _remediation(report),
    )
    for lines in sections:
        if lines:
            click.echo("\n" + "\n".join(lines))


def _failures(report: StudentReport) -> list[str]:
    """List the open failures of the shown days with their invalid rows; one row may fail many days."""
    from snapshot_pipeline.metrics.days import contiguous_ranges

    days: dict[tuple[str, str], list[date]] = {}
    for day in report.days:
        if day.failure:
            days.setdefault((day.failure.reason, day.failure.detail), []).append(day.day)
    lines = []
    for (reason, detail), failed in days.items():
        ranges = ", ".join(days_text(first, last) for first, last in contiguous_ranges(failed))
        lines += _wrapped(f"{reason} on {ranges}: {detail}")
    return lines


def _engagement(report: StudentReport) -> list[str]:
    engagement = report.engagement
    if engagement is None:
        return []
    score = "none" if engagement.score is None else f"{engagement.score:.2f}"
    level = f", risk: {engagement.risk_level.replace('_', ' ')}" if engagement.risk_level else ""
    ranks = (
        f"  {name:<13} {'no value, counts 0.5' if part.percentile is None else f'rank {part.percentile:.4f}':<22}"
        f"{f'weight {part.weight} %':<14}{part.points_lost:>6.2f} points lost"
        for name, part in engagement.components.items()
    )
    heading = f"Engagement score of {report.last.day}, as published: {score}{level}"
    return [heading, "Ranks are those among the peers of the cohort; 1 is best.", "", *ranks]


def _at_risk(report: StudentReport) -> list[str]:
    """The newest week at risk with its reasons, and the number of weeks."""
    from snapshot_pipeline.pipeline.student import WEEKS_AT_RISK
    from snapshot_pipeline.report.student_list import NO_SINGLE_REASON

    if not report.at_risk:
        return []
    newest = report.at_risk[-1]
    since = f" since the week of {newest.listed_since}" if newest.listed_since else ""
    lines = _wrapped(f"At risk in the week of {newest.week_start}: {newest.state.replace('_', ' ')}{since}")
    for text in [plain(reason["text"], 400) for reason in newest.reasons] or [NO_SINGLE_REASON]:
        lines += _wrapped(f"- {text}")
    return [*lines, f"Weeks at risk, of those computed in the last {WEEKS_AT_RISK}: {len(report.at_risk)}"]


def _recommendations(report: StudentReport) -> list[str]:
    lines = []
    for recommendation in report.recommendations:
        lines += _wrapped(f"- {recommendation.recommendation_type}: {plain(recommendation.message, 400)}")
    return ["Recommendations that the student sees", "", *lines] if lines else []


def _pace(report: StudentReport, settings: Settings) -> list[str]:
    pace, day = report.pace, report.last.day
    if pace is None and report.last.snapshot and not report.differences:
        return _wrapped("The platform has no lesson of the student any more; the published snapshots are kept.")
    if pace is None:
        return _wrapped(f"The student started no lesson by the end of {day}, so there is no snapshot.")
    return [
        f"Pace score of {day}, computed from the platform's current rows",
        "",
        f"Window: {pace.first} to {pace.last}, {count_noun(pace.days, 'day')} (since the first start, 7 to 30 days)",
        *_terms(pace),
        *_attempts(pace, settings),
        *_issues(pace),
    ]


def _issues(pace: PaceExplanation) -> list[str]:
    """The invalid rows that were read, one line each."""
    if not pace.issues:
        return []
    lines = (
        _wrapped(f"  {issue.day} {issue.source_table} {issue.source_key}: {issue.issue} ({issue.detail})")
        for issue in pace.issues
    )
    return ["", "Invalid rows, corrected or ignored:", *(line for wrapped in lines for line in wrapped)]


def _terms(pace: PaceExplanation) -> list[str]:
    lessons, active, full_score = sum(pace.lessons.values()), len(pace.lessons), pace.days * 2 / 3
    velocity = f"{count_noun(lessons, 'lesson')} / {count_noun(pace.days, 'day')}"
    velocity += ", at most 1" if lessons > pace.days else ""
    consistency = f"{count_noun(active, 'active day')} / {full_score:.4g}"
    consistency += ", at most 1" if active > full_score else ""
    rows = [
        ("velocity", velocity, pace.velocity),
        ("consistency", consistency, pace.consistency),
        ("quiz average", "see below" if pace.attempts else "no scored attempts", pace.quiz),
    ]
    return [
        *(
            f"  {name:<13} {inputs:<32} {term.value:>9.4f} * {term.weight:.1f} = {term.points:>9.4f}"
            for name, inputs, term in rows
        ),
        f"  {'sum':<64} {pace.unrounded:>9.4f}",
        f"  {'rounded, ' + pace.learning_pace:<64} {pace.pace_score:>7.2f}",
    ]


def _attempts(pace: PaceExplanation, settings: Settings) -> list[str]:
    if not pace.attempts:
        return []
    weights = sum(attempt.weight for attempt in pace.attempts)
    weighted_sum = sum(attempt.weight * attempt.score for attempt in pace.attempts)
    number = len(pace.attempts)
    return [
        "",
        f"Quiz average of {count_noun(number, 'scored attempt')} (at most the last 10), newest first",
        *(
            f"  attempt {attempt.attempt_id:<19} {attempt.completed_at.astimezone(settings.zone):%Y-%m-%d %H:%M}"
            f"{attempt.score:>16.2f} * {attempt.weight / 100:.2f} = {attempt.weight * attempt.score / 100:>7.4f}"
            for attempt in pace.attempts
        ),
        f"  {'sum / sum of weights':<48} {weighted_sum / 100:.4f} / {weights / 100:.2f} = {pace.quiz_average:>8.4f}",
    ]


def _published_against_current(report: StudentReport, settings: Settings) -> list[str]:
    snapshot = report.last.snapshot
    if snapshot is None or report.pace is None:
        return []
    written = f"{snapshot.computed_at.astimezone(settings.zone):%Y-%m-%d %H:%M}"
    if not report.differences:
        return [f"The published snapshot, written on {written}, has the same figures."]
    return [
        f"The published snapshot, written on {written}, differs:",
        *(
            f"  {difference.column}: {difference.published} published, {difference.now} now"
            for difference in report.differences
        ),
    ]


def _remediation(report: StudentReport) -> list[str]:
    if report.remediation is None:
        return []
    return [*_wrapped(f"{report.last.day}: {report.remediation.why}:"), f"  {report.remediation.command}"]


def _wrapped(text: str) -> list[str]:
    return click.wrap_text(text, 80, subsequent_indent="  ").splitlines()
