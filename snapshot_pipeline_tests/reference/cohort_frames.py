"""Convert plain rows to the input of the engagement score: the members of each cohort and their attempts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.metrics.engagement import (
    MAX_PRESENCE_DAYS,
    CohortRanking,
    Members,
    Participation,
    QuizBlock,
    members_of,
    quiz_records,
)
from snapshot_pipeline.metrics.events import Events
from snapshot_pipeline_tests.reference.history_frames import INSTANT, frame_of, full_history
from snapshot_pipeline_tests.reference.rows import PlatformRows


@dataclass(frozen=True)
class CohortFrames:
    """A cohort, or the students without one.

    Attributes:
        active: Whether each member was active on the last 28 days.
        titles: The titles of the counted quizzes.
    """

    exists: bool
    members: pd.DataFrame
    active: NDArray[np.bool_]
    records: pd.DataFrame
    titles: dict[int, str]


def ranked(
    rows: PlatformRows, first: date, last: date, zone: ZoneInfo, batches: int = 1, blocks: int = 1
) -> dict[date, dict[int, dict[str, float | None]]]:
    """Rank all cohorts on some days with the code under test, in batches and blocks as a run does.

    Returns:
        By day and student the figures by column of `performance_snapshots`, of the students who have a snapshot.
    """
    days = LocalDays(first, last, zone)
    users = np.array_split(np.array(sorted(user.id for user in rows.users)), batches)
    parts = [_participation(rows, days, set(part.tolist())) for part in users]
    members = Members(parts)
    records = [part.records.split(blocks) for part in parts]
    ranking = CohortRanking(members, [QuizBlock.of(block, members) for block in zip(*records, strict=True)], first)
    for number in range(days.count):
        ranking.rank_day(number)
    user_ids = np.concatenate([part.user_ids for part in parts])
    since = np.concatenate([part.days_since_activity for part in parts])
    found: dict[date, dict[int, dict[str, float | None]]] = {}
    for number, day in enumerate(days.dates.tolist()):
        due = np.flatnonzero(since[:, number] >= 0)
        columns = ranking.engagement.columns(due, np.full(len(due), number))
        found[day] = {
            int(user_ids[row]): {
                "days_since_activity": int(since[row, number]),
                **{name: None if np.isnan(values[n]) else float(values[n]) for name, values in columns.items()},
            }
            for n, row in enumerate(due)
        }
    return found


def _participation(rows: PlatformRows, days: LocalDays, user_ids: set[int]) -> Participation:
    part = replace(rows, users=[user for user in rows.users if user.id in user_ids], _students={})
    users = pd.DataFrame(
        [(user.id, user.current_specialization, user.current_level) for user in part.users],
        columns=["user_id", "specialization", "level"],
    )
    cohorts = {(user.current_specialization, user.current_level) for user in part.users}
    attempts = [
        _attempts(
            part,
            {user.id for user in part.users if (user.current_specialization, user.current_level) == cohort},
            _counted(rows, cohort),
            days.last,
            days.zone,
        )
        for cohort in sorted(cohorts, key=str)
        if all(cohort)
    ]
    frame = pd.concat(attempts) if attempts else _attempts(part, set(), set(), days.last, days.zone)
    frame["is_scored"] = frame["score"].notna()
    return Participation.of(Events.of(full_history(part, days.zone), days), days, users, frame)


def cohorts_of(rows: PlatformRows, day: date, zone: ZoneInfo) -> Iterator[CohortFrames]:
    """Yield the cohorts that have a student due on `day`."""
    days = LocalDays(day, day, zone)
    events = Events.of(full_history(rows, zone), days)
    members = members_of(events, days)
    active = events.active[events.due[:, -1], -MAX_PRESENCE_DAYS:]
    users = {user.id: (user.current_specialization, user.current_level) for user in rows.users}
    of_members = [users[user_id] for user_id in members["user_id"]]
    for cohort in sorted(set(of_members), key=str):
        selected = np.array([other == cohort for other in of_members])
        quizzes = _counted(rows, cohort)
        attempts = _attempts(rows, set(members.loc[selected, "user_id"]), quizzes, day, zone)
        titles = {quiz.id: quiz.title or f"Quiz {quiz.id}" for quiz in rows.quizzes if quiz.id in quizzes}
        yield CohortFrames(all(cohort), members[selected], active[selected], quiz_records(attempts), titles)


def _counted(rows: PlatformRows, cohort: tuple[str | None, str | None]) -> set[int]:
    lessons = {lesson.id: lesson for lesson in rows.lessons if lesson.is_published}
    return {
        quiz.id
        for quiz in rows.quizzes
        if quiz.lesson_id is None
        or (
            quiz.lesson_id in lessons
            and (lessons[quiz.lesson_id].specialization_id, lessons[quiz.lesson_id].level_id) == cohort
        )
    }


def _attempts(rows: PlatformRows, users: set[int], quizzes: set[int], day: date, zone: ZoneInfo) -> pd.DataFrame:
    students = [student for student in rows.active_students(zone) if student.user.id in users]
    return frame_of(
        [
            (
                attempt.row.user_id,
                attempt.row.quiz_id,
                attempt.row.id,
                attempt.row.completed_at,
                attempt.completed_on.toordinal(),
                None if attempt.score is None else float(attempt.score),
            )
            for student in students
            for attempt in student.attempts
            if attempt.completed_on <= day and attempt.row.quiz_id in quizzes
        ],
        {
            "user_id": "int64",
            "quiz_id": "int64",
            "attempt_id": "int64",
            "completed_at": INSTANT,
            "day": "int64",
            "score": "float64",
        },
    )
