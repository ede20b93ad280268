"""What was published, held against the slow reference: every figure of every row.

Put here: the comparison that the tests and `benchmarks.compare_with_reference` share.
Do not put here: the reference (`snapshot_pipeline_tests.reference`), or which days are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Any, TypeVar

from sqlalchemy import select

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline_tests.reference.reading import read_rows
from snapshot_pipeline_tests.reference.recommendations import Recommendation, Snapshots, reference_week
from snapshot_pipeline_tests.reference.rows import PlatformRows
from snapshot_pipeline_tests.reference.snapshots import Failure, ReferenceDay, Snapshot, reference_day

Row = TypeVar("Row", Snapshot, Failure, Recommendation)


@dataclass(frozen=True)
class Comparison:
    """What a comparison came to.

    Attributes:
        rows: Rows compared: those that are there and those that should be.
        differences: One sentence per row or figure that differs.
    """

    rows: int
    differences: list[str] = field(default_factory=list)

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(self.rows + other.rows, self.differences + other.differences)


def compare_day(installation: Installation, expected: ReferenceDay, day: date) -> Comparison:
    """Hold the snapshots and failures of a day against the reference's."""
    store = installation.store
    with installation.engine.connect() as connection:
        found = {
            kind: [
                kind(**row)
                for row in connection.execute(
                    select(*(table.columns[one.name] for one in fields(kind))).where(table.c.snapshot_date == day)
                ).mappings()
            ]
            for kind, table in ((Snapshot, store.performance_snapshots), (Failure, store.snapshot_failures))
        }
    return _compare(f"snapshot of {day}", found[Snapshot], expected.published) + _compare(
        f"failure of {day}", found[Failure], expected.failures
    )


def compare_days(installation: Installation, days: Sequence[date]) -> Comparison:
    """Hold the snapshots and failures of some days against the reference's, computed of the platform as it is now."""
    rows = read_rows(installation.engine, installation.settings.platform_schema, installation.settings.naive_zone)
    zone = installation.settings.zone
    return sum((compare_day(installation, reference_day(rows, day, zone), day) for day in days), Comparison(0))


def compare_week(
    installation: Installation, platform_rows: PlatformRows, snapshots: Snapshots, week_start: date
) -> Comparison:
    """Hold the active recommendations of a week against the reference's, which is given its own `snapshots`."""
    table = installation.store.adaptive_recommendations
    with installation.engine.connect() as connection:
        found = [
            Recommendation(**row)
            for row in connection.execute(
                select(*(table.columns[one.name] for one in fields(Recommendation))).where(
                    table.c.week_start == week_start, table.c.is_active
                )
            ).mappings()
        ]
    expected = reference_week(platform_rows, snapshots, week_start, installation.settings.zone)
    return _compare(f"recommendation of {week_start}", found, expected)


def _compare(what: str, found: list[Row], expected: list[Row]) -> Comparison:
    by_key, wanted = {_key(row): row for row in found}, {_key(row): row for row in expected}
    differences: list[str] = []
    for key in sorted(by_key.keys() | wanted.keys()):
        student = " ".join(map(str, key))
        if key not in wanted or key not in by_key:
            state = "is published and should not be" if key in by_key else "is missing"
            differences.append(f"{what}, student {student}: {state}")
        else:
            differences += [f"{what}, student {student}: {sentence}" for sentence in _figures(by_key[key], wanted[key])]
    return Comparison(len(by_key.keys() | wanted.keys()), differences)


def _key(row: Snapshot | Failure | Recommendation) -> tuple[Any, ...]:
    return (row.user_id, row.recommendation_type) if isinstance(row, Recommendation) else (row.user_id,)


def _figures(found: Row, expected: Row) -> list[str]:
    pairs = {one.name: (getattr(found, one.name), getattr(expected, one.name)) for one in fields(found)}
    return [f"{name} is {got!r}, expected {wanted!r}" for name, (got, wanted) in pairs.items() if got != wanted]
