"""One student: the published snapshots of the last days, and an explanation of the last pace score."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.metrics.engagement import WEIGHTS, members_of
from snapshot_pipeline.metrics.events import Events, StudentHistory
from snapshot_pipeline.metrics.explanation import PaceExplanation, explain_pace
from snapshot_pipeline.metrics.risk import points_lost, risk_level
from snapshot_pipeline.metrics.snapshot import SnapshotBatch, compute_snapshots
from snapshot_pipeline.pipeline.history import read_history
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.periods import days_between
from snapshot_pipeline.pipeline.source import Source, open_source
from snapshot_pipeline.platform.reads import User, UserSet
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.at_risk import StoredAtRisk, weeks_at_risk
from snapshot_pipeline.store.days import day_counts
from snapshot_pipeline.store.failures import StoredFailure, failures_of_student
from snapshot_pipeline.store.recommendations import ActiveRecommendation, active_recommendations
from snapshot_pipeline.store.snapshot_queries import (
    StoredSnapshot,
    count_snapshots_of_student,
    read_engagement,
    snapshots_of_student,
)

WEEKS_AT_RISK = 26
"""Number of weeks in which to look for the student among those at risk."""

SHOWN_DAYS = 30
"""Number of days to show: the longest window of a pace score."""

State = Literal["published", "failed", "missing", "not due"]

_FIGURES = [name for field in fields(StoredSnapshot) if (name := field.name) not in ("snapshot_date", "computed_at")]


class NoSuchStudentError(SnapshotPipelineError):
    """There is no active student with this id."""


@dataclass(frozen=True)
class StudentDay:
    """One day of a student in our tables.

    Attributes:
        state: `missing` if the day was never computed, `not due` if it was and the student has no row.
        snapshot: The published snapshot; on a failed day that of an earlier run.
        failure: The open failure.
    """

    day: date
    state: State
    snapshot: StoredSnapshot | None
    failure: StoredFailure | None


@dataclass(frozen=True)
class OutdatedFigure:
    """A published figure that would be different now, or None."""

    column: str
    published: Any
    now: Any


@dataclass(frozen=True)
class Remediation:
    """Why a day is not up to date, and the command that fixes it."""

    why: str
    command: str


@dataclass(frozen=True)
class ComponentRank:
    """A component of an engagement score.

    Attributes:
        percentile: As published; None without a value, which counts one half.
        weight: In points of 100.
    """

    percentile: float | None
    weight: int
    points_lost: float


@dataclass(frozen=True)
class StudentEngagement:
    """The published engagement of a day.

    Attributes:
        score: None without a cohort, or with fewer than 10 students in it.
        risk_level: See `metrics.risk.risk_level`.
        components: By name.
    """

    score: float | None
    risk_level: str | None
    components: dict[str, ComponentRank]


@dataclass(frozen=True)
class StudentReport:
    """A student's days, with an explanation of the last one.

    Attributes:
        days: Ascending; the last one is explained.
        pace: The explanation of the pace score by the platform's current rows; None if no snapshot is due.
        differences: Published figures that would be different now.
        remediation: None if the day is up to date.
        engagement: None without a snapshot of the day.
        at_risk: The student's rows in `at_risk_students` of the last `WEEKS_AT_RISK` weeks up to the day, ascending.
        recommendations: The active ones, the most urgent first.
    """

    user_id: int
    user: User
    days: list[StudentDay]
    pace: PaceExplanation | None
    differences: list[OutdatedFigure]
    remediation: Remediation | None
    engagement: StudentEngagement | None
    at_risk: list[StoredAtRisk]
    recommendations: list[ActiveRecommendation]

    @property
    def last(self) -> StudentDay:
        """The day that is explained."""
        return self.days[-1]


def read_student_report(installation: Installation, user_id: int, day: date) -> StudentReport:
    """Read a student's last days, not before the start date, and explain the last pace score.

    Args:
        day: The last day to show, which has ended.

    Raises:
        NoSuchStudentError: There is no such user, or it is not an active student.
    """
    source = open_source(installation, None)
    user = _read_active_student(installation, source, user_id)
    first = max(day - timedelta(days=SHOWN_DAYS - 1), installation.settings.start_date)
    days = _read_days(installation, user_id, first, day)
    local_day = LocalDays(day, day, installation.settings.zone)
    with source.session() as reader:
        history = read_history(reader, UserSet((user_id,)), local_day)
    pace = explain_pace(history, local_day) if len(history.students) else None
    differences = _differences(days[-1].snapshot, compute_snapshots(history, local_day))
    if history.students["first_started_at"].isna().all():
        differences = []  # a student whose progress was reset keeps the published snapshots
    return StudentReport(
        user_id,
        user,
        days,
        pace,
        differences,
        _remediation(days[-1], pace, differences),
        _read_engagement(installation, history, local_day),
        installation.transaction(weeks_at_risk, user_id, day - timedelta(weeks=WEEKS_AT_RISK), day),
        installation.transaction(active_recommendations, user_id),
    )


def _read_engagement(installation: Installation, history: StudentHistory, day: LocalDays) -> StudentEngagement | None:
    user_ids = history.students["user_id"].to_numpy(np.int64)
    with bulk.transaction(installation.uri) as connection:
        published = read_engagement(connection, installation.store, user_ids, [day.last]).to_dict("records")
    if not published:
        return None
    (row,) = published
    members = members_of(Events.of(history, day), day)
    tenure = int(members["tenure"].iloc[0]) if len(members) else None
    ranks = {name: float(row[name]) for name in WEIGHTS}
    lost = points_lost(ranks)
    score = _plain(row["engagement_score"])
    components = {name: ComponentRank(_plain(ranks[name]), weight, lost[name]) for name, weight in WEIGHTS.items()}
    return StudentEngagement(score, risk_level(score, tenure), components)


def _read_active_student(installation: Installation, source: Source, user_id: int) -> User:
    with source.session() as reader:
        user = reader.user(user_id)
    users = f"{installation.settings.platform_schema}.users"
    if user is None:
        raise NoSuchStudentError(f"{users} has no user {user_id}; expected the id of a student")
    if not user.is_student:
        raise NoSuchStudentError(f"user {user_id} of {users} is not a student; expected one whose role is STUDENT")
    if not user.is_active:
        count, last = installation.transaction(count_snapshots_of_student, user_id)
        kept = f"{count:,} snapshots up to {last} are kept" if count else "there are no snapshots"
        raise NoSuchStudentError(f"student {user_id} is not active ({users}.is_active), so nothing is computed; {kept}")
    return user


def _read_days(installation: Installation, user_id: int, first: date, last: date) -> list[StudentDay]:
    computed = {count.day for count in installation.transaction(day_counts, first, last)}
    snapshots = installation.transaction(snapshots_of_student, user_id, first, last)
    failures = installation.transaction(failures_of_student, user_id, first, last)

    def state(day: date) -> State:
        if day in failures:
            return "failed"
        if day in snapshots:
            return "published"
        return "not due" if day in computed else "missing"

    days = days_between(first, last)
    return [StudentDay(day, state(day), snapshots.get(day), failures.get(day)) for day in days]


def _differences(stored: StoredSnapshot | None, fresh: SnapshotBatch) -> list[OutdatedFigure]:
    """The published figures that would be different now."""
    if stored is None:
        return []
    rows = fresh.published.to_dict("records")
    now = {name: _plain(value) for name, value in rows[0].items()} if rows else dict.fromkeys(_FIGURES)
    pairs = ((name, getattr(stored, name), now[str(name)]) for name in _FIGURES)
    return [OutdatedFigure(name, published, fresh) for name, published, fresh in pairs if published != fresh]


def _plain(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return value.date()
    return None if pd.isna(value) else value


def _remediation(
    day: StudentDay, pace: PaceExplanation | None, differences: list[OutdatedFigure]
) -> Remediation | None:
    days = f"--from {day.day} --to {day.day}"
    retry, again = f"snapshot-pipeline retry-failed {days}", f"snapshot-pipeline materialize {days}"
    if day.state == "failed":
        return Remediation("the computation of the day raised an error; once its cause is fixed, run", retry)
    if day.state == "missing":
        return Remediation("the day was never computed", again)
    if day.state == "not due" and pace is not None:
        return Remediation("the platform's rows have changed since, and a snapshot is due now", again)
    if differences:
        return Remediation("the platform's rows have changed since the day was computed", again)
    return None
