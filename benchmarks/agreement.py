"""Compare the rows of the contenders with ours, to the last bit, before anything is timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from benchmarks.contenders.protocol import OURS, Contender, Week
from benchmarks.contenders.tables import RECOMMENDATIONS, SNAPSHOTS, connected
from benchmarks.datasets import Dataset

SNAPSHOT_KEY: tuple[str, ...] = ("user_id", "snapshot_date")
SNAPSHOT_FIGURES: tuple[str, ...] = (
    "pace_score",
    "learning_pace",
    "quiz_average",
    "lessons_completed_count",
    "time_spent_minutes_today",
    "quizzes_completed_count",
    "exercises_submitted_count",
    "last_activity_date",
    "days_since_activity",
)
RECOMMENDATION_KEY: tuple[str, ...] = ("user_id", "week_start", "recommendation_type")
RECOMMENDATION_FIGURES: tuple[str, ...] = ("title", "message", "priority", "metadata", "is_active")


class DisagreementError(Exception):
    """A contender's rows differ from ours."""


@dataclass(frozen=True)
class Agreement:
    """Result of a comparison with our rows.

    Attributes:
        missing: Number of our rows that the contender lacks.
        others: Number of the contender's rows that ours lack.
        differences: Number of rows in which a figure differs, by figure.
    """

    contender: str
    rows: int
    missing: int
    others: int
    differences: dict[str, int]

    @property
    def holds(self) -> bool:
        """Whether all rows are the same."""
        return self.rows > 0 and not (self.missing or self.others or any(self.differences.values()))

    def __str__(self) -> str:
        found = [f"{self.missing:,} rows missing"] if self.missing else []
        found += [f"{self.others:,} rows too many"] if self.others else []
        found += [f"{name} differs in {count:,}" for name, count in self.differences.items() if count]
        said = ", ".join(found) if found else "all the same to the last bit"
        return f"{self.contender}: {self.rows:,} rows compared with ours, {said if self.rows else 'none found'}"


def compare(contender: Contender) -> Agreement:
    """Compare the rows of a contender that has run with ours, restricted to the rows that it computes."""
    schema = contender.schema
    if schema is None:
        raise ValueError(f"{contender.name} makes no rows; expected a contender with a schema")
    of_week = (RECOMMENDATIONS, RECOMMENDATION_KEY, RECOMMENDATION_FIGURES)
    of_days = (SNAPSHOTS, SNAPSHOT_KEY, SNAPSHOT_FIGURES)
    table, key, figures = of_week if isinstance(contender.task, Week) else of_days
    return _compare(contender.task.dataset, contender.name, schema, table, key, figures, contender.compared)


def require(agreement: Agreement) -> Agreement:
    """Raise unless all rows are the same.

    Raises:
        DisagreementError: A row or a figure differs.
    """
    if not agreement.holds:
        raise DisagreementError(str(agreement))
    return agreement


def _compare(
    dataset: Dataset, contender: str, schema: str, table: str, key: Sequence[str], figures: Sequence[str], where: str
) -> Agreement:
    differing = ", ".join(
        f"count(*) FILTER (WHERE ours.{name} IS DISTINCT FROM theirs.{name}"
        f" AND ours.{key[0]} IS NOT NULL AND theirs.{key[0]} IS NOT NULL)"
        for name in figures
    )
    query = f"""
        SELECT count(*), count(*) FILTER (WHERE theirs.{key[0]} IS NULL), count(*) FILTER (WHERE ours.{key[0]} IS NULL),
               {differing}
          FROM (SELECT * FROM {OURS}.{table} WHERE {where}) AS ours
          FULL JOIN (SELECT * FROM {schema}.{table} WHERE {where}) AS theirs USING ({", ".join(key)})
    """  # noqa: S608 - names of our own
    with connected(dataset) as connection:
        rows, missing, others, *counts = connection.execute(text(query)).one()
    return Agreement(contender, rows, missing, others, dict(zip(figures, counts, strict=True)))
