"""`snapshot-pipeline student`: one student's last days, and how a day's pace score comes about.

Put here: the table, the terms and the JSON document. Do not put here: what is looked at (`pipeline.student`).
"""

from __future__ import annotations

import json
import sys
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import click

from snapshot_pipeline.cli.periods import DAY, last_closed_day, require_closed_day
from snapshot_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from snapshot_pipeline.metrics.explanation import PaceExplanation
    from snapshot_pipeline.pipeline.student import StudentDay, StudentReport

SOMETHING_TO_DO = 3
"""The exit status when the day does not stand as it should; 2 is click's for a wrong option."""


@click.command(name="student", epilog="Example: snapshot-pipeline student 4711 --day 2026-11-22")
@click.argument("user_id", metavar="ID", type=click.IntRange(-(2**63), 2**63 - 1))
@click.option("--day", type=DAY, help="The day that is explained; left out, the last one that has ended.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead; its keys are in docs/operations.md.")
def command(user_id: int, day: datetime | None, as_json: bool) -> None:
    """Show the last 30 days of the student ID, and how the last one's pace score comes about, term by term.

    The score is computed from the platform's rows as they are now, by the code of the nightly run; where it is not what
    is published, that is said, and what to do.

    \b
    Exit status:
      0  the day stands as it should
      1  there is no such active student, or the day cannot be asked for
      3  the day is missing, has failed, or would come out otherwise now
    """  # noqa: D301  # the backspace tells click to keep the lines that follow
    from snapshot_pipeline.pipeline.installation import open_installation
    from snapshot_pipeline.pipeline.student import read_student_report

    settings = load_settings()
    asked = day.date() if day else last_closed_day(settings)
    require_closed_day(settings, asked)
    with open_installation(settings) as installation:
        report = read_student_report(installation, user_id, asked)
    if as_json:
        click.echo(json.dumps(as_document(report, settings), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _print(report, settings)
    sys.exit(SOMETHING_TO_DO if report.remediation else 0)


def as_document(report: StudentReport, settings: Settings) -> dict[str, Any]:
    """The report as it is printed by `--json`; instants in the platform's time zone."""
    return {
        "user_id": report.user_id,
        "specialization": report.user.specialization,
        "level": report.user.level,
        "day": report.last.day.isoformat(),
        "state": report.last.state,
        "days": [_day_document(day) for day in report.days],
        "pace": _pace_document(report.pace, settings) if report.pace else None,
        "differences": [
            {"column": one.column, "published": _json_value(one.published), "now": _json_value(one.now)}
            for one in report.differences
        ],
        "remedy": {"why": report.remediation.why, "command": report.remediation.command}
        if report.remediation
        else None,
    }


def _day_document(day: StudentDay) -> dict[str, Any]:
    snapshot, failure = day.snapshot, day.failure
    return {
        "day": day.day.isoformat(),
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
        "window": {"first": pace.first.isoformat(), "last": pace.last.isoformat(), "days": pace.days},
        "lessons": sum(pace.lessons.values()),
        "lesson_days": len(pace.lessons),
        "lessons_by_day": {day.isoformat(): count for day, count in pace.lessons.items()},
        "attempts": [
            {
                "attempt_id": one.attempt_id,
                "completed_at": one.completed_at.astimezone(settings.zone).isoformat(),
                "score": _json_value(one.score),
                "weight": one.weight / 100,
            }
            for one in pace.attempts
        ],
        "quiz_average": _json_value(pace.quiz_average),
        "terms": {
            name: {"value": _json_value(term.value), "weight": term.weight, "points": _json_value(term.points)}
            for name, term in (("velocity", pace.velocity), ("consistency", pace.consistency), ("quiz", pace.quiz))
        },
        "unrounded": _json_value(pace.unrounded),
        "pace_score": _json_value(pace.pace_score),
        "learning_pace": pace.learning_pace,
        "faults": [{"reason": one.reason, "detail": one.detail} for one in pace.faults],
    }


def _json_value(value: Any) -> Any:
    """JSON has no dates, and neither NaN nor infinity: a score that cannot be right may be one."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not -1e308 <= value <= 1e308:
        return str(value)
    return value


def _print(report: StudentReport, settings: Settings) -> None:
    from snapshot_pipeline.cli.tables import print_student_days

    specialization, level = report.user.specialization or "none", report.user.level or "none"
    click.echo(f"Student {report.user_id}, specialization {specialization}, level {level}\n")
    print_student_days(report.days)
    for lines in (_failures(report), _pace(report, settings), _against_published(report, settings), _remedy(report)):
        if lines:
            click.echo("\n" + "\n".join(lines))


def _failures(report: StudentReport) -> list[str]:
    """The open failures of all days shown, with the row that is to blame; a row may fail many days."""
    from snapshot_pipeline.metrics.days import contiguous_ranges

    days: dict[tuple[str, str], list[date]] = {}
    for day in report.days:
        if day.failure:
            days.setdefault((day.failure.reason, day.failure.detail), []).append(day.day)
    named = {key: ", ".join(_range(*one) for one in contiguous_ranges(failed)) for key, failed in days.items()}
    return [line for (reason, detail), when in named.items() for line in _wrapped(f"{reason} on {when}: {detail}")]


def _range(first: date, last: date) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _pace(report: StudentReport, settings: Settings) -> list[str]:
    pace, day = report.pace, report.last.day
    if pace is None:
        return _wrapped(f"No lesson was started before the end of {day}, so no snapshot is due.")
    if pace.faults:
        faults = (line for one in pace.faults for line in _wrapped(f"{one.reason}: {one.detail}"))
        return [f"The pace score of {day} cannot be computed from the platform's rows of now:", *faults]
    return [
        f"How the pace score of {day} comes about, by the platform's rows of now",
        "",
        f"{pace.days} days, {pace.first} to {pace.last} (since the first start; 7 to 30)",
        *_terms(pace),
        *_attempts(pace, settings),
    ]


def _terms(pace: PaceExplanation) -> list[str]:
    lessons, active, wanted = sum(pace.lessons.values()), len(pace.lessons), pace.days * 2 / 3
    capped = ", at most 1"
    rows = [
        ("velocity", f"{lessons} lessons / {pace.days}{capped if lessons > pace.days else ''}", pace.velocity),
        ("consistency", f"{active} days with one / {wanted:.4g}{capped if active > wanted else ''}", pace.consistency),
        ("quiz average", "see below" if pace.attempts else "no scored attempt", pace.quiz),
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
    weights, total = sum(one.weight for one in pace.attempts), sum(one.weight * one.score for one in pace.attempts)
    return [
        "",
        f"Quiz average of the last {len(pace.attempts)} scored attempts (at most 10), newest first",
        *(
            f"  attempt {one.attempt_id:<19} {one.completed_at.astimezone(settings.zone):%Y-%m-%d %H:%M}"
            f"{one.score:>16.2f} * {one.weight / 100:.2f} = {one.weight * one.score / 100:>7.4f}"
            for one in pace.attempts
        ),
        f"  {'sum / weights':<48} {total / 100:.4f} / {weights / 100:.2f} = {pace.quiz_average:>8.4f}",
    ]


def _against_published(report: StudentReport, settings: Settings) -> list[str]:
    snapshot = report.last.snapshot
    if snapshot is None or report.pace is None or report.pace.faults:
        return []
    written = f"{snapshot.computed_at.astimezone(settings.zone):%Y-%m-%d %H:%M}"
    if not report.differences:
        return [f"That is what is published, written on {written}."]
    return [
        f"What is published, written on {written}, is something else:",
        *(f"  {one.column}: {one.published} published, {one.now} now" for one in report.differences),
    ]


def _remedy(report: StudentReport) -> list[str]:
    if report.remediation is None:
        return []
    return [*_wrapped(f"{report.last.day}: {report.remediation.why}:"), f"  {report.remediation.command}"]


def _wrapped(text: str) -> list[str]:
    return click.wrap_text(text, 80, subsequent_indent="  ").splitlines()
