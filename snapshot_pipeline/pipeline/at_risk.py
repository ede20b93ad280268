"""Compute and publish the students at risk of a week.

published scores ─────────────────────────────┐
history, attempts, completions ──▶ RiskFacts ─┴▶ states ─▶ compare_with_peers, reasons ──▶ replace_at_risk
(platform.reads, store: one batch)   (one cohort; metrics, recommendations: pure)  (store, one transaction)

A student is compared with the whole cohort, so cohorts are processed one after another: memory is that of the largest
one, or of a few batches.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from snapshot_pipeline.metrics.corrections import local_dates
from snapshot_pipeline.metrics.days import LocalDays, end_of_day
from snapshot_pipeline.metrics.engagement import (
    MAX_PRESENCE_DAYS,
    MIN_PEERS,
    WEIGHTS,
    members_of,
    peers_of,
    quiz_records,
)
from snapshot_pipeline.metrics.events import Events
from snapshot_pipeline.metrics.peer_comparison import compare_with_peers
from snapshot_pipeline.metrics.risk import points_lost
from snapshot_pipeline.pipeline.batches import (
    Batch,
    BatchExecutor,
    ProgressListener,
    ignore_progress,
    memory_per_student,
    one_line,
    open_local_executor,
    progress_per_batch,
    sample_students,
)
from snapshot_pipeline.pipeline.history import read_history
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.recommendations import missing_days, require_sunday
from snapshot_pipeline.pipeline.source import Source, open_source
from snapshot_pipeline.platform.reads import UserSet
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.recommendations.at_risk import (
    DORMANT,
    EARLIER_SUNDAYS,
    LISTED,
    NOT_STARTED,
    Reason,
    dormant_reason,
    not_started_reason,
    reasons,
    states,
)
from snapshot_pipeline.recommendations.cohorts import BEGUN_DAYS, mark_cohorts
from snapshot_pipeline.recommendations.next_lesson import has_course, next_lessons
from snapshot_pipeline.store.at_risk import AT_RISK_ROWS, AtRiskScope, replace_at_risk
from snapshot_pipeline.store.failures import failing_students
from snapshot_pipeline.store.locks import LeasedLock
from snapshot_pipeline.store.snapshot_queries import read_engagement
from snapshot_pipeline.store.tables import StoreTables

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_COURSE = ["specialization", "level"]
_COMPONENTS = tuple(WEIGHTS)
_JSON = json.JSONEncoder(ensure_ascii=False)


@dataclass
class AtRiskReport:
    """The result of a week, over all students.

    Attributes:
        students: Active students.
        with_score: Those of them with an engagement score.
        listed: Those of them with the state `listed`.
        listed_with_few_peers: Those of the listed whose cohort has too few peers, which must not happen.
        rows: Students in the table.
        changed: Those of them whose row is new or differs from the stored one, and those who are no longer in it.
        failed: Students whose computation raised, with the error; they are not in the table.
    """

    week_start: date
    students: int = 0
    with_score: int = 0
    listed: int = 0
    listed_with_few_peers: int = 0
    rows: int = 0
    changed: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def listed_share(self) -> float | None:
        """The listed, as a share of the students with a score; None without such students."""
        return self.listed / self.with_score if self.with_score else None


def run_at_risk(
    installation: Installation, week_start: date, run_id: str, progress: ProgressListener = ignore_progress
) -> AtRiskReport:
    """Compute and publish the students at risk for the Sunday of the week that begins on a Monday.

    Args:
        run_id: Recorded with the week, and shown to runs that wait for this one.

    Raises:
        MissingSundayError: The week's Sunday has no snapshots; the message says what to do.
    """
    started = time.monotonic()
    require_sunday(week_start, missing_days(installation, week_start))
    sunday = week_start + timedelta(days=6)
    zone = installation.settings.zone
    source = open_source(installation, end_of_day(sunday, zone))
    report = AtRiskReport(week_start)
    parts: list[pa.Table] = []
    with (
        installation.lock_recommendations(f"run {run_id}") as lock,
        open_local_executor(installation.settings) as executor,
    ):
        overview = retry_transient(_read_overview, installation, source, sunday)
        work = RiskWork(installation.uri, installation.settings.store_schema, source, sunday, zone, overview)
        groups = [executor.split(ids, overview.memory) for ids in overview.groups(executor)]
        batch_done = progress_per_batch(progress, [batch for group in groups for batch in group])
        for group in groups:
            facts = [
                part for part in executor.map_batches(group, work, lock.check_lock, batch_done) if part is not None
            ]
            for cohort, cohort_facts in RiskFacts.take_cohorts(facts, overview):
                rows = _rows(cohort_facts, cohort, overview.titles)
                parts.append(pa.Table.from_pylist(rows, AT_RISK_ROWS))
                _add(report, rows, cohort_facts)
        report.failed = work.failed
        rows_of_week = pa.concat_tables([AT_RISK_ROWS.empty_table(), *parts])
        report.rows, report.students = rows_of_week.num_rows, report.students + len(report.failed)
        scope = AtRiskScope(week_start, report.students, report.with_score, datetime.now(timezone.utc), run_id)
        report.changed = retry_transient(_publish, installation, lock, scope, rows_of_week)
    report.seconds = time.monotonic() - started
    return report


def _publish(installation: Installation, lock: LeasedLock, week: AtRiskScope, rows: pa.Table) -> int:
    lock.check_lock()
    with lock.lease.publication(installation.uri) as (connection, tables):
        return replace_at_risk(connection, tables, week, rows)


def _add(report: AtRiskReport, rows: Sequence[Mapping[str, Any]], facts: RiskFacts) -> None:
    listed = [row for row in rows if row["state"] == LISTED]
    report.students += len(facts.students)
    report.with_score += int(facts.students["score_0"].notna().sum())
    report.listed += len(listed)
    report.listed_with_few_peers += sum((row["peers"] or 0) < MIN_PEERS for row in listed)


@dataclass(frozen=True)
class Cohort:
    """The active students of one specialization and level, or those with the same lack of one.

    Attributes:
        exists: Whether there are both.
        has_begun: See `mark_cohorts`.
    """

    specialization: str | None
    level: str | None
    exists: bool
    has_begun: bool


@dataclass(frozen=True)
class RiskOverview:
    """What is read once for all batches.

    Attributes:
        user_ids: The active students, ascending, shape (students,).
        codes: The positions of their cohorts in `cohorts`, shape (students,).
        failed: The students who have failed on the Sunday, who are nobody's peers.
        lessons: The published lessons.
        titles: The titles of the quizzes by id.
        memory: See `memory_per_student`.
    """

    user_ids: Ints
    codes: Ints
    cohorts: Sequence[Cohort]
    failed: Ints
    lessons: pd.DataFrame
    titles: Mapping[int, str]
    memory: int

    def groups(self, executor: BatchExecutor) -> Iterator[Ints]:
        """Yield the students of whole cohorts, of as many as keep the executor busy or fill its memory, ascending."""
        sizes = np.bincount(self.codes, minlength=len(self.cohorts))
        wanted = max(1, executor.batch_rows * executor.min_batches // self.memory)
        of_students = ((np.cumsum(sizes) - sizes) // wanted)[self.codes]
        for number in np.unique(of_students):
            yield self.user_ids[of_students == number]

    def codes_of(self, user_ids: Ints) -> Ints:
        """Return the positions of the cohorts of some of the students."""
        return self.codes[np.searchsorted(self.user_ids, user_ids)]

    def students_of(self, user_ids: Ints) -> pd.DataFrame:
        """Return `user_id`, `specialization` and `level` (text or None) of some of the students."""
        codes = self.codes_of(user_ids)
        cohorts = {
            name: np.array([getattr(cohort, name) for cohort in self.cohorts], dtype=object)[codes] for name in _COURSE
        }
        return pd.DataFrame({"user_id": user_ids, **cohorts})


def _read_overview(installation: Installation, source: Source, sunday: date) -> RiskOverview:
    zone = installation.settings.zone
    end = end_of_day(sunday, zone)
    with source.session() as reader:
        user_ids = reader.active_student_ids()
        users = reader.cohorts().set_index("user_id")
        events = reader.events_per_student(sample_students(user_ids), None, end)
        starts = reader.cohort_starts(end, end)
        lessons, quizzes = reader.published_lessons(), reader.quiz_titles()
    students = users.reindex(user_ids)
    codes = students.groupby(_COURSE, dropna=False, observed=True).ngroup().to_numpy().astype(np.int64)
    _, first = np.unique(codes, return_index=True)
    pairs = students.iloc[first][_COURSE].astype(object)
    pairs = pairs.where(pairs.notna(), None)
    marked = mark_cohorts(pairs, starts, end_of_day(sunday - timedelta(days=BEGUN_DAYS), zone))
    failing = installation.transaction(failing_students, sunday, sunday).get(sunday, ())
    columns = (pairs["specialization"], pairs["level"], has_course(pairs), marked["cohort_has_begun"])
    return RiskOverview(
        user_ids,
        codes,
        [Cohort(*values) for values in zip(*(column.tolist() for column in columns), strict=True)],
        np.array(sorted(failing), dtype=np.int64),
        lessons,
        dict(zip(quizzes["quiz_id"].tolist(), quizzes["title"].tolist(), strict=True)),
        memory_per_student(MAX_PRESENCE_DAYS, events),
    )


@dataclass(frozen=True)
class RiskFacts:
    """What the list needs of some students.

    Attributes:
        students: One row per active student, ascending: `user_id`, `is_done` (whether the cohort has published lessons,
            all of which are completed), `score_0` … `score_4` (the published scores of the Sunday and of those one to
            four weeks before; NaN: none), and the published percentiles by component (NaN: none).
        members: See `engagement.members_of`.
        active: See `compare_with_peers`, shape (members, days).
        records: See `engagement.quiz_records`.
    """

    students: pd.DataFrame
    members: pd.DataFrame
    active: Flags
    records: pd.DataFrame

    @classmethod
    def take_cohorts(cls, parts: list[RiskFacts], overview: RiskOverview) -> Iterator[tuple[Cohort, RiskFacts]]:
        """Yield the facts of each cohort, `has_failed` added to the members; empty the parts, to free their memory.

        The parts have whole cohorts.
        """
        if not parts:
            return
        students = pd.concat([part.students for part in parts], ignore_index=True)
        members = pd.concat([part.members for part in parts], ignore_index=True)
        members["has_failed"] = np.isin(members["user_id"].to_numpy(np.int64), overview.failed)
        active = np.concatenate([part.active for part in parts])
        records = pd.concat([part.records for part in parts], ignore_index=True)
        parts.clear()
        codes = [overview.codes_of(frame["user_id"].to_numpy(np.int64)) for frame in (students, members, records)]
        for code in np.unique(codes[0]):
            of_students, of_members, of_records = (values == code for values in codes)
            if of_students.all():  # a large cohort is alone, and must not be copied
                yield overview.cohorts[code], cls(students, members, active, records)
                return
            facts = cls(students[of_students], members[of_members], active[of_members], records[of_records])
            yield overview.cohorts[code], facts


@dataclass(frozen=True)
class RiskWork:
    """Reads the facts of one batch of students.

    Attributes:
        uri: The database of our tables as a libpq URI; never shown.
        failed: The students whose computation raised, with the error.
    """

    uri: str = field(repr=False)
    schema: str
    source: Source
    sunday: date
    zone: ZoneInfo
    overview: RiskOverview = field(repr=False)
    failed: dict[int, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"students at risk {self.sunday}"

    def __call__(self, batch: Batch) -> RiskFacts | None:
        """Read and summarize the batch; writes nothing."""
        users, end = UserSet(tuple(batch.user_ids.tolist())), end_of_day(self.sunday, self.zone)
        days = LocalDays(self.sunday, self.sunday, self.zone)
        with self.source.session() as reader:
            history = read_history(reader, users, days, cohorts=self.overview.students_of(batch.user_ids))
            completions = reader.completions(users, end)
        attempts = history.counted_attempts
        assert attempts is not None  # noqa: S101  # read above
        events = Events.of(history, days)
        is_due = events.due[:, -1]
        day_numbers = local_dates(attempts["completed_at"], self.zone).astype("datetime64[D]").astype(np.int64)
        return RiskFacts(
            self._students(events.user_ids, completions),
            members_of(events, days),
            events.active[is_due, -MAX_PRESENCE_DAYS:],
            quiz_records(attempts.assign(day=day_numbers)).astype({"first_day": np.int32}),
        )

    def fail(self, batch: Batch, error: Exception) -> RiskFacts | None:
        """Record a student that raised."""
        self.failed.update({int(user_id): one_line(error) for user_id in batch.user_ids})
        return None

    def _students(self, user_ids: Ints, completions: pd.DataFrame) -> pd.DataFrame:
        """Return `RiskFacts.students`."""
        days = [self.sunday - timedelta(weeks=weeks) for weeks in range(EARLIER_SUNDAYS + 1)]
        with bulk.transaction(self.uri) as connection:
            published = read_engagement(connection, StoreTables.of(self.schema), user_ids, days)
        rows = np.searchsorted(user_ids, published["user_id"].to_numpy(np.int64))
        columns: dict[str, Any] = {"user_id": user_ids, "is_done": self._is_done(user_ids, completions)}
        for weeks, day in enumerate(days):
            of_day = (published["snapshot_date"] == pd.Timestamp(day)).to_numpy(bool)
            names = {"engagement_score": f"score_{weeks}", **({} if weeks else {name: name for name in _COMPONENTS})}
            for source, name in names.items():
                columns[name] = np.full(len(user_ids), np.nan)
                columns[name][rows[of_day]] = published[source].to_numpy(np.float64)[of_day]
        return pd.DataFrame(columns)

    def _is_done(self, user_ids: Ints, completions: pd.DataFrame) -> Flags:
        """Whether the cohort has published lessons, all of which are completed."""
        overview, lessons = self.overview, self.overview.lessons
        left = next_lessons(overview.students_of(user_ids), lessons, completions)
        has_next = np.isin(user_ids, left["user_id"].to_numpy(np.int64))
        courses = {*zip(lessons["specialization"], lessons["level"], strict=True)}
        has_lessons = [
            cohort.exists and (cohort.specialization, cohort.level) in courses for cohort in overview.cohorts
        ]
        done: Flags = np.array(has_lessons, dtype=bool)[overview.codes_of(user_ids)] & ~has_next
        return done


def _rows(facts: RiskFacts, cohort: Cohort, titles: Mapping[int, str]) -> list[dict[str, Any]]:
    """The rows of a cohort's students at risk, with the columns `AT_RISK_ROWS`."""
    of_cohort = {"specialization": cohort.specialization, "level": cohort.level}
    rows = list(_started_rows(facts, cohort, titles))
    if cohort.has_begun:
        waiting = ~facts.students["user_id"].isin(facts.members["user_id"])
        given = _as_json([not_started_reason()])
        rows += [{"user_id": id_, "state": NOT_STARTED, "reasons": given} for id_ in facts.students["user_id"][waiting]]
    return [{**of_cohort, **row} for row in rows]


def _started_rows(facts: RiskFacts, cohort: Cohort, titles: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    members = facts.members
    students = facts.students.set_index("user_id").loc[members["user_id"]]
    scores = students[[f"score_{weeks}" for weeks in range(EARLIER_SUNDAYS + 1)]].to_numpy(np.float64)
    percentiles = students[list(_COMPONENTS)].to_numpy(np.float64)
    since = members["days_since_activity"].to_numpy(np.int64)
    state = states(since, members["tenure"].to_numpy(np.int64), scores[:, 0], scores[:, 1:])
    is_at_risk = pd.notna(state) & ~students["is_done"].to_numpy(bool)
    is_compared = ~members["has_failed"].to_numpy(bool) & cohort.exists
    peers = int(peers_of(since[is_compared]).sum())
    compared = _compared(facts, is_compared, is_at_risk) if peers >= MIN_PEERS else {}
    for position in np.flatnonzero(is_at_risk).tolist():
        user_id = int(students.index[position])
        ranks = dict(zip(_COMPONENTS, percentiles[position].tolist(), strict=True))
        if user_id in compared:
            given = reasons(compared[user_id], ranks, points_lost(ranks), titles)
        else:
            given = [dormant_reason(int(since[position]))] if state[position] == DORMANT else []
        figures = {"score": float(scores[position, 0]), **ranks}
        yield {
            "user_id": user_id,
            "state": state[position],
            **{name: None if np.isnan(value) else value for name, value in figures.items()},
            "reasons": _as_json(given),
            "peers": peers if cohort.exists else None,
        }


def _compared(facts: RiskFacts, is_compared: Flags, is_at_risk: Flags) -> dict[int, dict[str, Any]]:
    """The facts for the reasons, by student at risk."""
    members = facts.members[is_compared]
    is_of_members = facts.records["user_id"].isin(members["user_id"])
    records = facts.records if is_of_members.all() else facts.records[is_of_members]
    compared = compare_with_peers(members, facts.active[is_compared], records)
    rows = compared[is_at_risk[is_compared]]
    return {int(row["user_id"]): {str(name): value for name, value in row.items()} for row in rows.to_dict("records")}


def _as_json(given: Sequence[Reason]) -> str:
    return _JSON.encode([{"code": reason.code, "text": reason.text, "numbers": reason.numbers} for reason in given])
