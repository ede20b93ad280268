"""The engagement score of a day, as defined in `metrics.md`: exact fractions, one student at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from math import ceil, floor
from zoneinfo import ZoneInfo

from snapshot_pipeline_tests.reference.rows import DatedAttempt, PlatformRows, Student

HALF = Fraction(1, 2)


@dataclass(frozen=True)
class Engagement:
    """The engagement columns of a row of `performance_snapshots`; the components are exact."""

    results: Fraction | None
    presence: Fraction | None
    timeliness: Fraction | None
    recency: Fraction | None
    engagement_score: float | None
    days_since_activity: int


@dataclass(frozen=True)
class Member:
    """A student of a cohort with a snapshot on the day, and the attempts up to the day by quiz, newest first."""

    student: Student
    since: int
    tenure: int
    active: frozenset[date]
    attempts: dict[int, list[DatedAttempt]]

    def score(self, quiz_id: int) -> Fraction | None:
        """Return the latest graded score."""
        graded = (attempt.score for attempt in self.attempts.get(quiz_id, []))
        return next((score for score in graded if score is not None), None)

    def first_day(self, quiz_id: int) -> int | None:
        """Return the day of the first attempt, as a number."""
        days = [attempt.completed_on.toordinal() for attempt in self.attempts.get(quiz_id, [])]
        return min(days, default=None)


def reference_engagement(rows: PlatformRows, day: date, zone: ZoneInfo) -> dict[int, Engagement]:
    """Return the engagement of every student with a snapshot due on `day`, by id."""
    cohorts: dict[tuple[str, str], list[Member]] = {}
    found: dict[int, Engagement] = {}
    for student in rows.active_students(zone):
        if student.first_started_on is not None and student.first_started_on <= day:
            member = _member(student, day)
            specialization, level = student.user.current_specialization, student.user.current_level
            if specialization and level:
                cohorts.setdefault((specialization, level), []).append(member)
            else:
                found[student.user.id] = Engagement(None, None, None, None, None, member.since)
    for cohort, members in cohorts.items():
        found |= _engagement(members, _counted_quizzes(rows, cohort), day)
    return found


def _member(student: Student, day: date) -> Member:
    progress = [on for lesson in student.progress for on in (lesson.started_on, lesson.completed_on) if on is not None]
    days = [*progress, *(attempt.completed_on for attempt in student.attempts), *student.exercises]
    active = frozenset(on for on in days if on <= day)
    attempts: dict[int, list[DatedAttempt]] = {}
    for attempt in student.attempts:
        if attempt.completed_on <= day:
            attempts.setdefault(attempt.row.quiz_id, []).append(attempt)
    assert student.first_started_on is not None
    tenure = (day - student.first_started_on).days + 1
    return Member(student, (day - max(active)).days, tenure, active, attempts)


def _counted_quizzes(rows: PlatformRows, cohort: tuple[str, str]) -> list[int]:
    lessons = {
        lesson.id
        for lesson in rows.lessons
        if lesson.is_published and (lesson.specialization_id, lesson.level_id) == cohort
    }
    return [quiz.id for quiz in rows.quizzes if quiz.lesson_id is None or quiz.lesson_id in lessons]


def _engagement(members: list[Member], quizzes: list[int], day: date) -> dict[int, Engagement]:
    peers = [member for member in members if member.since < 28]
    if len(peers) < 10:
        peers = members
    raw: list[Callable[[Member], Fraction | None]] = [
        lambda member: _results(member, peers, quizzes),
        lambda member: _presence(member, day),
        lambda member: _timeliness(member, peers, _paced(members, quizzes)),
        lambda member: Fraction(-member.since),
    ]
    components = [_percentiles(members, peers, value) for value in raw]
    engagement: dict[int, Engagement] = {}
    for member in members:
        parts = [component[member.student.user.id] for component in components]
        exact = 100 * sum(
            weight * (HALF if part is None else part)
            for weight, part in zip((HALF, Fraction(1, 5), Fraction(1, 5), Fraction(1, 10)), parts, strict=True)
        )
        score = float(_rounded(exact, 2)) if len(peers) >= 10 else None
        engagement[member.student.user.id] = Engagement(*parts, score, member.since)
    return engagement


def _percentiles(
    members: list[Member], peers: list[Member], value: Callable[[Member], Fraction | None]
) -> dict[int, Fraction | None]:
    of_peers = [value(peer) for peer in peers]
    return {member.student.user.id: pct(value(member), of_peers) for member in members}


def pct(value: Fraction | None, peers: Sequence[Fraction | int | None]) -> Fraction | None:
    """Return the share of the peers' values below a value, and half of the share of equal ones."""
    known = [peer for peer in peers if peer is not None]
    if value is None or not known:
        return None
    return Fraction(2 * sum(peer < value for peer in known) + sum(peer == value for peer in known), 2 * len(known))


def _results(member: Member, peers: list[Member], quizzes: list[int]) -> Fraction | None:
    total = weights = Fraction(0)
    for quiz in quizzes:
        scores = [peer.score(quiz) for peer in peers]
        share = Fraction(sum(score is not None for score in scores), len(peers))
        score = member.score(quiz)
        if score is not None:
            rank = pct(_whole(score), [None if other is None else _whole(other) for other in scores])
            total += share * (score / 100 + (HALF if rank is None else rank)) / 2
        if score is not None or quiz not in member.attempts:
            weights += share
    return _rounded(total / weights, 9) if weights else None


def _presence(member: Member, day: date) -> Fraction:
    days = min(max(member.tenure, 7), 28)
    return Fraction(sum(0 <= (day - active).days < days for active in member.active), days)


def _paced(members: list[Member], quizzes: list[int]) -> list[int]:
    paced = []
    for quiz in quizzes:
        days = sorted(first for member in members if (first := member.first_day(quiz)) is not None)
        last = len(days) - 1
        if len(days) >= 10 and days[ceil(Fraction(3 * last, 4))] - days[floor(Fraction(last, 4))] <= 21:
            paced.append(quiz)
    return paced


def _timeliness(member: Member, peers: list[Member], paced: list[int]) -> Fraction | None:
    total = weights = Fraction(0)
    for quiz in paced:
        share = Fraction(sum(peer.score(quiz) is not None for peer in peers), len(peers))
        first = member.first_day(quiz)
        if first is not None:
            rank = pct(Fraction(first), [peer.first_day(quiz) for peer in peers])
            total += share * (1 - (HALF if rank is None else rank))
        weights += share
    return _rounded(total / weights, 9) if weights else None


def _whole(score: Fraction) -> Fraction:
    return Fraction(floor(score + HALF))


def _rounded(value: Fraction, decimals: int) -> Fraction:
    return Fraction(floor(value * 10**decimals + HALF), 10**decimals)
