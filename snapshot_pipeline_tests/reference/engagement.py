"""The engagement score of a day and the reasons of students at risk, as defined in `metrics.md`, in exact fractions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from math import ceil, floor
from zoneinfo import ZoneInfo

from snapshot_pipeline_tests.reference.rows import PlatformRows, Student

HALF = Fraction(1, 2)
Number = Fraction | int


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
    """A student of a cohort with a snapshot on the day.

    Attributes:
        scores: The latest graded score by quiz, of the attempts up to the day.
        whole_scores: The same, rounded to whole percents.
        first_days: The day of the first of these attempts by quiz, as a number.
    """

    student: Student
    since: int
    tenure: int
    active: frozenset[date]
    scores: dict[int, Fraction]
    whole_scores: dict[int, int]
    first_days: dict[int, int]


def reference_engagement(rows: PlatformRows, day: date, zone: ZoneInfo) -> dict[int, Engagement]:
    """Return the engagement of every student with a snapshot due on `day`, by id."""
    cohorts = cohorts_of_members(rows, day, zone)
    found = {
        member.student.user.id: Engagement(None, None, None, None, None, member.since)
        for member in cohorts.pop(None, [])
    }
    for cohort, members in cohorts.items():
        assert cohort is not None
        found |= _engagement(members, _counted_quizzes(rows, cohort), day)
    return found


def reference_reasons(rows: PlatformRows, day: date, zone: ZoneInfo) -> dict[int, list[tuple[str, str]]]:
    """Return code and text of the reasons that each student with a snapshot would have on the list, by id."""
    titles = {quiz.id: quiz.title or f"Quiz {quiz.id}" for quiz in rows.quizzes}
    found: dict[int, list[tuple[str, str]]] = {}
    for cohort, members in cohorts_of_members(rows, day, zone).items():
        peers = peers_of(members)
        quizzes = [] if cohort is None else _counted_quizzes(rows, cohort)
        ranked = {} if cohort is None else _engagement(members, quizzes, day)
        paced = _paced(members, quizzes)
        for member in members:
            user_id = member.student.user.id
            reasons = [("DORMANT", f"No activity for {_days(member.since)}.")] if member.since >= 28 else []
            if cohort is not None and len(peers) >= 10:
                reasons += _reasons(member, members, quizzes, paced, titles, ranked[user_id], day)
            found[user_id] = reasons[:3]
    return found


def cohorts_of_members(rows: PlatformRows, day: date, zone: ZoneInfo) -> dict[tuple[str, str] | None, list[Member]]:
    """Return the members by cohort; None are the students without one."""
    cohorts: dict[tuple[str, str] | None, list[Member]] = {}
    for student in rows.active_students(zone):
        if student.first_started_on is not None and student.first_started_on <= day:
            specialization, level = student.user.current_specialization, student.user.current_level
            cohort = (specialization, level) if specialization and level else None
            cohorts.setdefault(cohort, []).append(_member(student, day))
    return cohorts


def peers_of(members: list[Member]) -> list[Member]:
    """Return the members with whom all members are compared."""
    peers = [member for member in members if member.since < 28]
    return members if len(peers) < 10 else peers


def _reasons(
    member: Member,
    members: list[Member],
    quizzes: list[int],
    paced: list[int],
    titles: dict[int, str],
    ranked: Engagement,
    day: date,
) -> list[tuple[str, str]]:
    peers = peers_of(members)
    results, presence, timeliness, recency = (
        None if part is None else _rounded(part, 4)
        for part in (ranked.results, ranked.presence, ranked.timeliness, ranked.recency)
    )
    reasons: list[tuple[str, str]] = []
    if 14 <= member.since < 28 and recency is not None and recency <= Fraction(1, 4):
        within = sorted(peer.since for peer in peers)[(len(peers) - 1) // 2] + 1
        last = "on the last day" if within == 1 else f"in the last {_days(within)}"
        reasons.append(("INACTIVE", f"No activity for {_days(member.since)}; half of the peers were active {last}."))
    others: list[tuple[Fraction, str, str]] = []

    def add(weight: int, percentile: Fraction | None, code: str, text: str) -> None:
        others.append((weight * (1 - (HALF if percentile is None else percentile)), code, text))

    common = [quiz for quiz in quizzes if 2 * sum(quiz in peer.scores for peer in peers) >= len(peers)]
    missed = [titles[quiz] for quiz in sorted(common) if quiz not in member.first_days]
    if missed:
        more = f" and {len(missed) - 3} more" if len(missed) > 3 else ""
        noun, verb = "quiz" if len(common) == 1 else "quizzes", "is" if len(missed) == 1 else "are"
        add(
            50,
            results,
            "MISSED_QUIZZES",
            f"{len(missed)} of {len(common)} {noun} that at least half of the peers have taken {verb} missing: "
            f"{', '.join(missed[:3])}{more}.",
        )
    means = sorted(mean for peer in peers if (mean := _mean_score(peer, quizzes)) is not None)
    own = _mean_score(member, quizzes)
    rank = pct(own, means)
    if own is not None and rank is not None and rank <= Fraction(1, 4):
        low = means[ceil(Fraction(len(means), 4)) - 1]
        text = (
            f"Mean quiz score {float(_rounded(own, 2)):.2f}; a quarter of the peers have {float(_rounded(low, 2)):.2f}"
        )
        add(50, results, "LOW_RESULTS", f"{text} or less.")
    length = min(max(member.tenure, 7), 28)
    if presence is not None and presence <= Fraction(1, 5):
        counts = sorted(_active_days(peer, length, day) for peer in peers)
        text = f"Active on {_active_days(member, length, day)} of the last {_days(length)}"
        add(20, presence, "FEW_ACTIVE_DAYS", f"{text}; half of the peers on {counts[len(counts) // 2]} or more.")
    behind = []
    for quiz in paced:
        first = member.first_days.get(quiz)
        firsts = sorted(peer.first_days[quiz] for peer in peers if quiz in peer.first_days)
        if first is not None and firsts:
            behind.append(first - firsts[(len(firsts) - 1) // 2])
    distance = Fraction(sum(behind), len(behind)) if behind else Fraction(0)
    if distance >= 3 and timeliness is not None and timeliness <= Fraction(1, 4):
        add(20, timeliness, "BEHIND_PEERS", f"Takes quizzes {_days(floor(distance + HALF))} later than most.")
    others.sort(key=lambda other: -other[0])
    return reasons + [(code, text) for _, code, text in others]


def _mean_score(member: Member, quizzes: list[int]) -> Fraction | None:
    scores = [member.scores[quiz] for quiz in quizzes if quiz in member.scores]
    return _rounded(Fraction(sum(scores), len(scores)), 9) if scores else None


def _active_days(member: Member, length: int, day: date) -> int:
    return sum(0 <= (day - active).days < length for active in member.active)


def _days(number: int) -> str:
    return f"{number} day" if number == 1 else f"{number} days"


def _member(student: Student, day: date) -> Member:
    progress = [on for lesson in student.progress for on in (lesson.started_on, lesson.completed_on) if on is not None]
    days = [*progress, *(attempt.completed_on for attempt in student.attempts), *student.exercises]
    active = frozenset(on for on in days if on <= day)
    scores: dict[int, Fraction] = {}
    first_days: dict[int, int] = {}
    for attempt in student.attempts:  # the newest first
        if attempt.completed_on <= day:
            quiz, on = attempt.row.quiz_id, attempt.completed_on.toordinal()
            first_days[quiz] = min(on, first_days.get(quiz, on))
            if attempt.score is not None:
                scores.setdefault(quiz, attempt.score)
    assert student.first_started_on is not None
    tenure = (day - student.first_started_on).days + 1
    whole_scores = {quiz: floor(score + HALF) for quiz, score in scores.items()}
    return Member(student, (day - max(active)).days, tenure, active, scores, whole_scores, first_days)


def _counted_quizzes(rows: PlatformRows, cohort: tuple[str, str]) -> list[int]:
    lessons = {
        lesson.id
        for lesson in rows.lessons
        if lesson.is_published and (lesson.specialization_id, lesson.level_id) == cohort
    }
    return [quiz.id for quiz in rows.quizzes if quiz.lesson_id is None or quiz.lesson_id in lessons]


def _engagement(members: list[Member], quizzes: list[int], day: date) -> dict[int, Engagement]:
    peers = peers_of(members)
    paced = _paced(members, quizzes)
    raw: list[Callable[[Member], Number | None]] = [
        lambda member: _results(member, peers, quizzes),
        lambda member: _presence(member, day),
        lambda member: _timeliness(member, peers, paced),
        lambda member: -member.since,
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
    members: list[Member], peers: list[Member], value: Callable[[Member], Number | None]
) -> dict[int, Fraction | None]:
    of_peers = [value(peer) for peer in peers]
    return {member.student.user.id: pct(value(member), of_peers) for member in members}


def pct(value: Number | None, peers: Sequence[Number | None]) -> Fraction | None:
    """Return the share of the peers' values below a value, and half of the share of equal ones."""
    known = [peer for peer in peers if peer is not None]
    if value is None or not known:
        return None
    return Fraction(2 * sum(peer < value for peer in known) + sum(peer == value for peer in known), 2 * len(known))


def _results(member: Member, peers: list[Member], quizzes: list[int]) -> Fraction | None:
    total = weights = Fraction(0)
    for quiz in quizzes:
        share = Fraction(sum(quiz in peer.scores for peer in peers), len(peers))
        score = member.scores.get(quiz)
        if score is not None:
            rank = pct(member.whole_scores[quiz], [peer.whole_scores.get(quiz) for peer in peers])
            total += share * (score / 100 + (HALF if rank is None else rank)) / 2
        if score is not None or quiz not in member.first_days:
            weights += share
    return _rounded(total / weights, 9) if weights else None


def _presence(member: Member, day: date) -> Fraction:
    length = min(max(member.tenure, 7), 28)
    return Fraction(_active_days(member, length, day), length)


def _paced(members: list[Member], quizzes: list[int]) -> list[int]:
    paced = []
    for quiz in quizzes:
        days = sorted(member.first_days[quiz] for member in members if quiz in member.first_days)
        last = len(days) - 1
        if len(days) >= 10 and days[ceil(Fraction(3 * last, 4))] - days[floor(Fraction(last, 4))] <= 21:
            paced.append(quiz)
    return paced


def _timeliness(member: Member, peers: list[Member], paced: list[int]) -> Fraction | None:
    total = weights = Fraction(0)
    for quiz in paced:
        share = Fraction(sum(quiz in peer.scores for peer in peers), len(peers))
        first = member.first_days.get(quiz)
        if first is not None:
            rank = pct(first, [peer.first_days.get(quiz) for peer in peers])
            total += share * (1 - (HALF if rank is None else rank))
        weights += share
    return _rounded(total / weights, 9) if weights else None


def _rounded(value: Fraction, decimals: int) -> Fraction:
    return Fraction(floor(value * 10**decimals + HALF), 10**decimals)
