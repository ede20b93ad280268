"""The life of a recommendation in our table: published, kept, dismissed, no longer held, superseded.

Put here: reading and writing of `adaptive_recommendations`; `metrics.md`, "The recommendations".
Do not put here: which recommendation a student gets (`recommendations`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import pandas as pd
import pyarrow as pa
from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    Integer,
    Text,
    and_,
    cast,
    column,
    exists,
    func,
    literal,
    select,
    table,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.tables import StoreTables

DISMISSAL_HOLDS = timedelta(days=14)
"""How long a type is not recommended again to a student who has dismissed it."""

_JSON = json.JSONEncoder(ensure_ascii=False)  # made once: `json.dumps` makes one for each call
_HELD = table(
    "held_recommendations",
    column("user_id", BigInteger),
    column("recommendation_type", Text),
    column("title", Text),
    column("message", Text),
    column("priority", Integer),
    column("metadata", Text),
)


@dataclass(frozen=True)
class Week:
    """The week that is published.

    Attributes:
        start: Its Monday.
        end: The instant at which it has ended, in UTC.
        is_newest: Whether no later week has been published.
        computed_at: When, with its zone.
    """

    start: date
    end: datetime
    is_newest: bool
    computed_at: datetime


def newest_week(connection: Connection, tables: StoreTables) -> date | None:
    """The Monday of the newest week that has recommendations."""
    newest: date | None = connection.execute(select(func.max(tables.adaptive_recommendations.c.week_start))).scalar()
    return newest


def active_counts(connection: Connection, tables: StoreTables, week_start: date) -> dict[str, int]:
    """How many recommendations of a week are active, by type, the most first."""
    recommendations = tables.adaptive_recommendations
    query = (
        select(recommendations.c.recommendation_type, func.count())
        .where(recommendations.c.week_start == week_start, recommendations.c.is_active)
        .group_by(recommendations.c.recommendation_type)
        .order_by(func.count().desc(), recommendations.c.recommendation_type)
    )
    return {kind: count for kind, count in connection.execute(query)}


def counts_by_week(
    connection: Connection, tables: StoreTables, week_start: date, weeks: int
) -> dict[date, dict[str, int]]:
    """How many recommendations were made, by week and type, of a week and of those before it.

    Those that were dismissed since, or no longer held when the week was computed again, count as well: older weeks are
    not active any more, so what is left of them cannot be told apart.

    Args:
        connection: An open transaction.
        tables: Our tables.
        week_start: The last week.
        weeks: How many weeks; those without any recommendation are left out.
    """
    recommendations = tables.adaptive_recommendations
    query = (
        select(recommendations.c.week_start, recommendations.c.recommendation_type, func.count())
        .where(recommendations.c.week_start.between(week_start - timedelta(weeks=weeks - 1), week_start))
        .group_by(recommendations.c.week_start, recommendations.c.recommendation_type)
        .order_by(recommendations.c.week_start)
    )
    found: dict[date, dict[str, int]] = {}
    for week, kind, count in connection.execute(query):
        found.setdefault(week, {})[kind] = count
    return found


def read_dismissals(
    connection: adbc.Connection, tables: StoreTables, first_user: int, last_user: int, week: Week
) -> pd.DataFrame:
    """`user_id`, `recommendation_type`: what must not be recommended again yet.

    Those of earlier weeks that were dismissed within 14 days before the week's end, or after it: a dismissal on Monday
    at 03:00 counts for the recommendations that are made at 06:00.
    """
    recommendations = tables.adaptive_recommendations
    query = (
        select(recommendations.c.user_id, recommendations.c.recommendation_type)
        .where(
            recommendations.c.user_id.between(first_user, last_user),
            recommendations.c.week_start < week.start,
            recommendations.c.dismissed_at > week.end - DISMISSAL_HOLDS,
        )
        .distinct()
    )
    frame: pd.DataFrame = bulk.fetch(connection, query).to_pandas()
    return frame


def replace_recommendations(
    connection: adbc.Connection, tables: StoreTables, first_user: int, last_user: int, week: Week, rows: pd.DataFrame
) -> None:
    """Publish a week for a range of students, inside the caller's transaction.

    A recommendation that still holds keeps its `id` and `created_at` and is updated; one that no longer holds is
    deactivated; one that the student has dismissed stays dismissed; older weeks give way to the newest.

    Args:
        connection: An open ADBC transaction.
        tables: Our tables.
        first_user: The first id of the range.
        last_user: The last id of the range, included.
        week: The week.
        rows: What holds, as `recommendations.recommend` returns it.
    """
    recommendations = tables.adaptive_recommendations
    bulk.create_temporary(connection, _HELD.name, _arrow(rows))
    in_range = recommendations.c.user_id.between(first_user, last_user)
    still_holds = exists().where(
        _HELD.c.user_id == recommendations.c.user_id,
        _HELD.c.recommendation_type == recommendations.c.recommendation_type,
    )
    gone = and_(recommendations.c.week_start == week.start, in_range, recommendations.c.is_active, ~still_holds)
    bulk.execute(connection, update(recommendations).where(gone).values(is_active=False))
    if week.is_newest:
        older = and_(recommendations.c.week_start < week.start, in_range, recommendations.c.is_active)
        bulk.execute(connection, update(recommendations).where(older).values(is_active=False))
    bulk.execute(connection, _upsert(tables, week))


def deactivate_older_weeks(connection: Connection, tables: StoreTables, week_start: date) -> None:
    """Let the newest week be the only active one, for users outside every batch as well."""
    recommendations = tables.adaptive_recommendations
    older = and_(recommendations.c.week_start < week_start, recommendations.c.is_active)
    connection.execute(update(recommendations).where(older).values(is_active=False))


def _upsert(tables: StoreTables, week: Week) -> Insert:
    recommendations = tables.adaptive_recommendations
    new = select(
        _HELD.c.user_id,
        literal(week.start, Date),
        _HELD.c.recommendation_type,
        _HELD.c.title,
        _HELD.c.message,
        _HELD.c.priority,
        cast(_HELD.c.metadata, JSONB),
        literal(week.is_newest, Boolean),
        literal(week.computed_at, DateTime(timezone=True)),
    )
    names = [
        "user_id",
        "week_start",
        "recommendation_type",
        "title",
        "message",
        "priority",
        "metadata",
        "is_active",
        "created_at",
    ]
    statement = insert(recommendations).from_select(names, new)
    updated: dict[str, ColumnElement[Any]] = {
        name: statement.excluded[name] for name in ("title", "message", "priority", "metadata")
    }
    updated["is_active"] = and_(statement.excluded.is_active, recommendations.c.dismissed_at.is_(None))
    return statement.on_conflict_do_update(
        index_elements=["user_id", "week_start", "recommendation_type"], set_=updated
    )


def _arrow(rows: pd.DataFrame) -> pa.Table:
    return pa.table(
        {
            "user_id": pa.array(rows["user_id"], pa.int64()),
            "recommendation_type": pa.array(rows["recommendation_type"], pa.string()),
            "title": pa.array(rows["title"], pa.string()),
            "message": pa.array(rows["message"], pa.string()),
            "priority": pa.array(rows["priority"], pa.int32()),
            "metadata": _json(rows["metadata"].tolist()),
        }
    )


def _json(metadata: Sequence[Mapping[str, Any]]) -> pa.Array:
    """Each as JSON; rows that share one object are encoded once, which most do."""
    distinct = {id(facts): facts for facts in metadata}
    written = {number: _JSON.encode(facts) for number, facts in distinct.items()}
    return pa.array([written[id(facts)] for facts in metadata], pa.string())
