"""Comparison of every published figure with the slow reference, for tests and `benchmarks.compare_with_reference`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime, timedelta, timezone
from fractions import Fraction
from math import floor
from typing import Any, TypeVar

from sqlalchemy import select

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.store.tables import ENGAGEMENT_COLUMNS
from snapshot_pipeline_tests.reference.engagement import Engagement, reference_engagement
from snapshot_pipeline_tests.reference.reading import read_rows
from snapshot_pipeline_tests.reference.recommendations import Recommendation, WeekRules, reference_week
from snapshot_pipeline_tests.reference.rows import Issue, PlatformRows
from snapshot_pipeline_tests.reference.snapshots import Failure, ReferenceDay, Snapshot, reference_day

Row = TypeVar("Row", Snapshot, Failure, Issue, Recommendation)


@dataclass(frozen=True)
class Comparison:
    """Result of a comparison.

    Attributes:
        rows: Number of compared rows, published or expected.
        differences: One sentence per row or figure that differs.
    """

    rows: int
    differences: list[str] = field(default_factory=list)

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(self.rows + other.rows, self.differences + other.differences)


def compare_day(installation: Installation, expected: ReferenceDay, day: date) -> Comparison:
    """Compare the snapshots, failures and invalid rows of a day with the reference."""
    store = installation.store
    issues, days = store.data_issues, store.snapshot_days
    with installation.engine.connect() as connection:
        stored = {
            kind: [
                kind(**row)
                for row in connection.execute(
                    select(*(table.columns[column.name] for column in fields(kind))).where(table.c.snapshot_date == day)
                ).mappings()
            ]
            for kind, table in ((Snapshot, store.performance_snapshots), (Failure, store.snapshot_failures))
        }
        listed = [
            Issue(*row)
            for row in connection.execute(
                select(
                    issues.c.source_table,
                    issues.c.source_key,
                    issues.c.issue,
                    issues.c.user_id,
                    issues.c.day,
                    issues.c.detail,
                ).where(issues.c.day == day)
            )
        ]
        with_issues = connection.execute(
            select(days.c.students_with_issues).where(days.c.snapshot_date == day)
        ).scalar_one_or_none()
    due = {snapshot.user_id for snapshot in expected.published}
    total = _compare(f"snapshot of {day}", stored[Snapshot], expected.published)
    total += _compare(f"failure of {day}", stored[Failure], expected.failures)
    total += _compare(f"issue of {day}", [issue for issue in listed if issue.user_id in due], expected.issues)
    total += _compare_details(listed, expected.issues)
    if with_issues != expected.students_with_issues:
        sentence = f"{day}: students_with_issues is {with_issues}, expected {expected.students_with_issues}"
        total += Comparison(0, [sentence])
    return total


def _compare_details(listed: list[Issue], expected: list[Issue]) -> Comparison:
    details = {_key(issue): issue.value for issue in listed}
    return Comparison(
        0,
        [
            f"issue {issue}: its detail is {details[_key(issue)]!r}"
            for issue in expected
            if issue.value not in details.get(_key(issue), issue.value)
        ],
    )


def compare_days(installation: Installation, days: Sequence[date]) -> Comparison:
    """Compare some days with the reference, computed from the current platform."""
    settings = installation.settings
    rows = read_rows(installation.engine, settings.platform_schema, settings.naive_zone, settings.score_maximum)
    zone = settings.zone
    return sum((compare_day(installation, reference_day(rows, day, zone), day) for day in days), Comparison(0))


def compare_engagement(
    installation: Installation, platform_rows: PlatformRows, day: date, *, failed: Collection[int] = ()
) -> Comparison:
    """Compare the engagement columns of a day, on which some students failed, with the reference."""
    table = installation.store.performance_snapshots
    users = [user for user in platform_rows.users if user.id not in failed]
    expected = reference_engagement(replace(platform_rows, users=users, _students={}), day, installation.settings.zone)
    columns = (table.c.user_id, *(table.c[name] for name in ENGAGEMENT_COLUMNS))
    query = select(*columns).where(table.c.snapshot_date == day, table.c.user_id.not_in(failed))
    with installation.engine.connect() as connection:
        stored = {user_id: tuple(figures) for user_id, *figures in connection.execute(query)}
    differences = [
        f"engagement of {day}, student {user_id}: {stored.get(user_id)}, expected {wanted}"
        for user_id, engagement in expected.items()
        if stored.get(user_id) != (wanted := published_engagement(engagement))
    ]
    differences += [f"student {user_id} has a snapshot of {day}" for user_id in sorted(stored.keys() - expected.keys())]
    return Comparison(len(expected), differences)


def published_engagement(engagement: Engagement) -> tuple[float | None, ...]:
    """Return the engagement columns as they are published: components with four decimals, rounded half away from 0."""
    components = (engagement.results, engagement.presence, engagement.timeliness, engagement.recency)
    rounded = (None if part is None else floor(part * 10_000 + Fraction(1, 2)) / 10_000 for part in components)
    return engagement.engagement_score, *rounded


def compare_week(installation: Installation, platform_rows: PlatformRows, week_start: date) -> Comparison:
    """Compare the active recommendations of a week with the reference; none was dismissed in an earlier week."""
    table = installation.store.adaptive_recommendations
    with installation.engine.connect() as connection:
        stored = [
            Recommendation(**row)
            for row in connection.execute(
                select(*(table.columns[column.name] for column in fields(Recommendation))).where(
                    table.c.week_start == week_start, table.c.is_active
                )
            ).mappings()
        ]
    settings = installation.settings
    rules = WeekRules(
        datetime.now(timezone.utc),
        review_below=settings.review_below_score,
        score_maximum=settings.score_maximum,
        engagement_scores=engagement_scores(installation, week_start + timedelta(days=6)),
    )
    expected = reference_week(platform_rows, week_start, settings.zone, rules)
    return _compare(f"recommendation of {week_start}", stored, expected)


def engagement_scores(installation: Installation, day: date) -> dict[int, float]:
    """Return the published scores of a day by student, of those who have one."""
    snapshots = installation.store.performance_snapshots
    query = select(snapshots.c.user_id, snapshots.c.engagement_score).where(
        snapshots.c.snapshot_date == day, snapshots.c.engagement_score.is_not(None)
    )
    with installation.engine.connect() as connection:
        return {user_id: score for user_id, score in connection.execute(query)}


def _compare(kind: str, stored: list[Row], expected: list[Row]) -> Comparison:
    stored_by_key, expected_by_key = {_key(row): row for row in stored}, {_key(row): row for row in expected}
    differences: list[str] = []
    for key in sorted(stored_by_key.keys() | expected_by_key.keys()):
        student = " ".join(map(str, key))
        if key not in expected_by_key or key not in stored_by_key:
            state = "is published and should not be" if key in stored_by_key else "is missing"
            differences.append(f"{kind}, student {student}: {state}")
        else:
            differences += [
                f"{kind}, student {student}: {sentence}"
                for sentence in _figures(stored_by_key[key], expected_by_key[key])
            ]
    return Comparison(len(stored_by_key.keys() | expected_by_key.keys()), differences)


def _key(row: Snapshot | Failure | Issue | Recommendation) -> tuple[Any, ...]:
    if isinstance(row, Recommendation):
        return row.user_id, row.recommendation_type
    return (row.user_id, row.source_key, row.issue) if isinstance(row, Issue) else (row.user_id,)


def _figures(stored: Row, expected: Row) -> list[str]:
    names = [column.name for column in fields(stored) if column.compare]
    pairs = {name: (getattr(stored, name), getattr(expected, name)) for name in names}
    return [
        f"{name} is {actual!r}, expected {wanted!r}" for name, (actual, wanted) in pairs.items() if actual != wanted
    ]
