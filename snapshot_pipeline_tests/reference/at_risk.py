"""The students at risk of a week, one student at a time, as defined in `metrics.md`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from snapshot_pipeline_tests.reference.engagement import Member, cohorts_of_members, peers_of, reference_reasons
from snapshot_pipeline_tests.reference.rows import PlatformRows, Student

Scores = Mapping[tuple[int, date], float]
"""The published engagement scores by student and day."""


@dataclass(frozen=True)
class AtRisk:
    """A row of `at_risk_students`; the reasons are codes and texts."""

    state: str
    reasons: tuple[tuple[str, str], ...]
    peers: int | None


def reference_at_risk(rows: PlatformRows, sunday: date, zone: ZoneInfo, scores: Scores) -> dict[int, AtRisk]:
    """Return the students at risk by id."""
    found: dict[int, AtRisk] = {}
    given = reference_reasons(rows, sunday, zone)
    for cohort, members in cohorts_of_members(rows, sunday, zone).items():
        for member in members:
            state = _state(member, sunday, scores)
            if state is not None and not _is_done(rows, member.student, sunday):
                peers = None if cohort is None else len(peers_of(members))
                user_id = member.student.user.id
                found[user_id] = AtRisk(state, tuple(given[user_id]), peers)
    for student in rows.active_students(zone):
        if not _has_started(student, sunday) and _has_begun(rows, student, sunday, zone):
            found[student.user.id] = AtRisk("not_started", (("NOT_STARTED", "Has not started a lesson."),), None)
    return found


def _state(member: Member, sunday: date, scores: Scores) -> str | None:
    if member.since >= 28:
        return "dormant"
    user_id = member.student.user.id
    score = scores.get((user_id, sunday))
    if member.tenure < 7 or score is None:
        return None
    if score < 20:
        return "listed"
    if score < 30:
        for weeks in (1, 2, 3, 4):
            earlier = scores.get((user_id, sunday - timedelta(weeks=weeks)))
            if earlier is not None and earlier >= 30:
                return None
            if earlier is not None and earlier < 20:
                return "listed"
    return None


def _is_done(rows: PlatformRows, student: Student, sunday: date) -> bool:
    cohort = _cohort(student)
    lessons = {
        lesson.id
        for lesson in rows.lessons
        if lesson.is_published and cohort is not None and (lesson.specialization_id, lesson.level_id) == cohort
    }
    done = {row.row.lesson_id for row in student.progress if row.completed_on and row.completed_on <= sunday}
    return bool(lessons) and lessons <= done


def _has_begun(rows: PlatformRows, student: Student, sunday: date, zone: ZoneInfo) -> bool:
    cohort = _cohort(student)
    others = [other for other in rows.active_students(zone) if _cohort(other) == cohort]
    starts = [other.first_started_on for other in others if _has_started(other, sunday)]
    return (
        cohort is None
        or 10 * len(starts) >= len(others)
        or any(day <= sunday - timedelta(days=28) for day in starts if day)
    )


def _has_started(student: Student, sunday: date) -> bool:
    return student.first_started_on is not None and student.first_started_on <= sunday


def _cohort(student: Student) -> tuple[str, str] | None:
    specialization, level = student.user.current_specialization, student.user.current_level
    return (specialization, level) if specialization and level else None
