"""One student: what is published of the last days, and how the last day's pace score comes about.

Put here: the questions to our tables and to the platform, and how the answers are held against each other.
Do not put here: how they look (`cli.student`), or the arithmetic (`metrics.explanation`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

import pandas as pd

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.metrics.explanation import PaceExplanation, explain_pace
from snapshot_pipeline.metrics.snapshot import SnapshotBatch, compute_snapshots
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.snapshots import read_history
from snapshot_pipeline.pipeline.source import Source, open_source
from snapshot_pipeline.platform.reads import UserSet
from snapshot_pipeline.platform.users import User, read_user
from snapshot_pipeline.store.days import day_counts
from snapshot_pipeline.store.failures import StoredFailure, failures_of_student
from snapshot_pipeline.store.snapshot_queries import StoredSnapshot, count_snapshots_of_student, snapshots_of_student

SHOWN_DAYS = 30
"""How many days are shown: the longest window of a pace score."""

State = Literal["published", "failed", "missing", "not due"]

_FIGURES = (
    "pace_score",
    "learning_pace",
    "quiz_average",
    "lessons_completed_count",
    "time_spent_minutes_today",
    "quizzes_completed_count",
    "exercises_submitted_count",
    "last_activity_date",
)


class NoSuchStudentError(SnapshotPipelineError):
    """Nothing is computed for this id."""


@dataclass(frozen=True)
class StudentDay:
    """One day of a student as it stands in our tables.

    Attributes:
        day: The day.
        state: `missing` when the whole day was never computed, `not due` when it was and the student has no row of it.
        snapshot: What is published; of a failed day what an earlier run published.
        failure: The open failure.
    """

    day: date
    state: State
    snapshot: StoredSnapshot | None
    failure: StoredFailure | None


@dataclass(frozen=True)
class Difference:
    """A figure that is not what the platform's rows give now; None for nothing."""

    column: str
    published: Any
    now: Any


@dataclass(frozen=True)
class Remediation:
    """Why a day does not stand as it should, and the command that mends it."""

    why: str
    command: str


@dataclass(frozen=True)
class StudentReport:
    """What is known of a student and a day.

    Attributes:
        user_id: The student.
        user: Who it is.
        days: The last days, ascending; the last of them is the one that is explained.
        pace: How the day's pace score comes about by the platform's rows of now; None where no snapshot is due.
        differences: Published figures that are others now; [] where nothing is published.
        remediation: What to do; None when the day stands as it should.
    """

    user_id: int
    user: User
    days: list[StudentDay]
    pace: PaceExplanation | None
    differences: list[Difference]
    remediation: Remediation | None

    @property
    def last(self) -> StudentDay:
        """The day that is explained."""
        return self.days[-1]


def look_at_student(installation: Installation, user_id: int, day: date) -> StudentReport:
    """Look at a student's last days, from the start date on, and explain the pace score of the last one.

    Args:
        installation: Where.
        user_id: The student.
        day: The last day to show; it has ended.

    Raises:
        NoSuchStudentError: There is no such user, or it is no student, or not an active one.
        SnapshotPipelineError: Something else that the operator can mend.
    """
    source = open_source(installation, None)
    user = _user(installation, source, user_id)
    first = max(day - timedelta(days=SHOWN_DAYS - 1), installation.settings.start_date)
    days = _days(installation, user_id, first, day)
    local_day = LocalDays(day, day, installation.settings.zone)
    with source.session() as reader:
        history = read_history(reader, UserSet((user_id,)), local_day)
    pace = explain_pace(history, local_day) if len(history.students) else None
    differences = _differences(days[-1].snapshot, compute_snapshots(history, local_day))
    return StudentReport(user_id, user, days, pace, differences, _remedy(days[-1], pace, differences))


def _user(installation: Installation, source: Source, user_id: int) -> User:
    with source.session() as reader:
        user = read_user(reader, user_id)
    users = f"{installation.settings.platform_schema}.users"
    if user is None:
        raise NoSuchStudentError(f"{users} has no user {user_id}; expected the id of a student")
    if not user.is_student:
        raise NoSuchStudentError(f"user {user_id} of {users} is no student; expected one whose role is STUDENT")
    if not user.is_active:
        with installation.engine.connect() as connection:
            count, last = count_snapshots_of_student(connection, installation.store, user_id)
        kept = f"its {count:,} snapshots up to {last} stay as they are" if count else "it has no snapshots"
        raise NoSuchStudentError(f"student {user_id} is not active ({users}.is_active), so nothing is computed; {kept}")
    return user


def _days(installation: Installation, user_id: int, first: date, last: date) -> list[StudentDay]:
    with installation.engine.connect() as connection:
        computed = {count.day for count in day_counts(connection, installation.store, first, last)}
        snapshots = snapshots_of_student(connection, installation.store, user_id, first, last)
        failures = failures_of_student(connection, installation.store, user_id, first, last)

    def state(day: date) -> State:
        if day in failures:
            return "failed"
        if day in snapshots:
            return "published"
        return "not due" if day in computed else "missing"

    every = (first + timedelta(days=n) for n in range((last - first).days + 1))
    return [StudentDay(day, state(day), snapshots.get(day), failures.get(day)) for day in every]


def _differences(stored: StoredSnapshot | None, fresh: SnapshotBatch) -> list[Difference]:
    """What is published and is another figure now; a day that fails now publishes nothing to compare with."""
    if stored is None or len(fresh.failures):
        return []
    rows = fresh.published.to_dict("records")
    now = {name: _plain(value) for name, value in rows[0].items()} if rows else dict.fromkeys(_FIGURES)
    pairs = ((name, getattr(stored, name), now[str(name)]) for name in _FIGURES)
    return [Difference(name, published, fresh) for name, published, fresh in pairs if published != fresh]


def _plain(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return value.date()
    return None if pd.isna(value) else value


def _remedy(day: StudentDay, pace: PaceExplanation | None, differences: list[Difference]) -> Remediation | None:
    days = f"--from {day.day} --to {day.day}"
    retry, again = f"snapshot-pipeline retry-failed {days}", f"snapshot-pipeline materialize {days}"
    if pace is not None and pace.faults:
        command = retry if day.state == "failed" else again
        return Remediation(
            "rows that cannot be right keep the day from being published; mend them in the platform, then", command
        )
    if day.state == "failed":
        return Remediation("the day has failed, and its rows have been mended since", retry)
    if day.state == "missing":
        return Remediation("the day was never computed, for nobody", again)
    if day.state == "not due" and pace is not None:
        return Remediation("the platform's rows have changed since the day was computed: a snapshot is due now", again)
    if differences:
        return Remediation("the platform's rows have changed since the day was computed", again)
    return None
