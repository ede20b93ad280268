"""The tables `adaptive_recommendations` and `recommendation_weeks`: publication, dismissal and supersession of a week.

Source: docs/metrics.md.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    and_,
    any_,
    case,
    cast,
    column,
    delete,
    exists,
    func,
    literal,
    select,
    table,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, Insert, insert

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.store.tables import StoreTables

DISMISSAL_PERIOD = timedelta(days=14)
"""How long a dismissed type, or lesson to review, is not recommended to the same student again."""

_REVIEW_LESSON = "REVIEW_LESSON"

_JSON = json.JSONEncoder(ensure_ascii=False)  # created once: `json.dumps` creates one for each call
_PUBLISHED_TYPES = {
    "user_id": pa.int64(),
    "recommendation_type": pa.string(),
    "title": pa.string(),
    "message": pa.string(),
    "priority": pa.int32(),
    "metadata": pa.string(),  # JSON
}
_PUBLISHED = table("published_recommendations", *map(column, _PUBLISHED_TYPES))


@dataclass(frozen=True)
class WeekScope:
    """The week whose recommendations are replaced.

    Attributes:
        start: Its Monday.
        end: The instant at which it ends, in UTC.
        is_newest: Whether no later week has been published.
    """

    start: date
    end: datetime
    is_newest: bool
    computed_at: datetime


@dataclass(frozen=True)
class ActiveRecommendation:
    """A recommendation that the student sees."""

    recommendation_type: str
    week_start: date
    title: str
    message: str


def active_recommendations(connection: Connection, tables: StoreTables, user_id: int) -> list[ActiveRecommendation]:
    """The active recommendations of a student, the most urgent first."""
    recommendations = tables.adaptive_recommendations
    columns = (recommendations.c[column.name] for column in fields(ActiveRecommendation))
    query = select(*columns).where(recommendations.c.user_id == user_id, recommendations.c.is_active)
    rows = connection.execute(query.order_by(recommendations.c.priority.desc())).mappings()
    return [ActiveRecommendation(**row) for row in rows]


def newest_week(connection: Connection, tables: StoreTables) -> date | None:
    """The Monday of the newest week that has recommendations."""
    newest: date | None = connection.execute(select(func.max(tables.adaptive_recommendations.c.week_start))).scalar()
    return newest


def computed_weeks(connection: Connection, tables: StoreTables, first: date, last: date) -> dict[date, datetime]:
    """When each computed week that starts on one of the days `first … last` was last computed.

    A week is computed when its recommendations and its students at risk are.
    """
    weeks, at_risk = tables.recommendation_weeks, tables.at_risk_weeks
    query = (
        select(weeks.c.week_start, func.greatest(weeks.c.computed_at, at_risk.c.computed_at))
        .join(at_risk, at_risk.c.week_start == weeks.c.week_start)
        .where(weeks.c.week_start.between(first, last))
    )
    return {week_start: computed_at for week_start, computed_at in connection.execute(query)}


def active_counts(connection: Connection, tables: StoreTables, week_start: date) -> dict[str, int]:
    """The number of active recommendations of a week by type, the most frequent first."""
    return _counts_by_type(connection, tables, week_start, tables.adaptive_recommendations.c.is_active)


def counts_by_week(connection: Connection, tables: StoreTables, first: date, last: date) -> dict[date, dict[str, int]]:
    """The number of recommendations by week and type, for the weeks that start on the days `first … last`.

    Includes those that were dismissed or superseded since: recommendations of older weeks are no longer active, so the
    cases cannot be distinguished.
    """
    recommendations = tables.adaptive_recommendations
    key = (recommendations.c.week_start, recommendations.c.recommendation_type)
    query = select(*key, func.count()).where(key[0].between(first, last)).group_by(*key).order_by(*key)
    counts: dict[date, dict[str, int]] = {}
    for week, recommendation_type, count in connection.execute(query):
        counts.setdefault(week, {})[recommendation_type] = count
    return counts


def dismissed_counts(connection: Connection, tables: StoreTables, week_start: date, before: datetime) -> dict[str, int]:
    """The number of recommendations of a week that were dismissed before an instant, by type."""
    is_dismissed = tables.adaptive_recommendations.c.dismissed_at < before
    return _counts_by_type(connection, tables, week_start, is_dismissed)


def _counts_by_type(
    connection: Connection, tables: StoreTables, week_start: date, condition: ColumnElement[bool]
) -> dict[str, int]:
    recommendations = tables.adaptive_recommendations
    query = (
        select(recommendations.c.recommendation_type, func.count())
        .where(recommendations.c.week_start == week_start, condition)
        .group_by(recommendations.c.recommendation_type)
        .order_by(func.count().desc(), recommendations.c.recommendation_type)
    )
    return {recommendation_type: count for recommendation_type, count in connection.execute(query)}


def read_named_lessons(
    connection: adbc.Connection, tables: StoreTables, week_start: date, types: Collection[str]
) -> pd.DataFrame:
    """The lessons that a week's recommendations of some types name: `user_id`, `recommendation_type`, `lesson_id`."""
    recommendations = tables.adaptive_recommendations
    metadata = recommendations.c["metadata"]
    one = func.jsonb_build_array(func.jsonb_extract_path(metadata, "lesson_id"))
    lesson_ids = func.jsonb_array_elements_text(func.coalesce(func.jsonb_extract_path(metadata, "lesson_ids"), one))
    lesson = lesson_ids.table_valued("id").render_derived("lesson")
    query = (
        select(
            recommendations.c.user_id,
            recommendations.c.recommendation_type,
            cast(lesson.c.id, BigInteger).label("lesson_id"),
        )
        .select_from(recommendations.join(lesson, true()))
        .where(
            recommendations.c.week_start == week_start,
            recommendations.c.recommendation_type.in_(types),
            lesson.c.id.is_not(None),
        )
        .order_by(recommendations.c.user_id)
    )
    return bulk.fetch_frame(connection, query)


def read_dismissals(
    connection: adbc.Connection, tables: StoreTables, first_user: int, last_user: int, week: WeekScope
) -> pd.DataFrame:
    """The types that must not be recommended again yet: `user_id`, `recommendation_type`.

    These are recommendations of earlier weeks that were dismissed in the 14 days before the week's end, or after it: a
    dismissal on Monday at 03:00 counts for the recommendations computed at 06:00. `REVIEW_LESSON` is not one of them;
    see `read_dismissed_lessons`.
    """
    recommendations = tables.adaptive_recommendations
    query = (
        select(recommendations.c.user_id, recommendations.c.recommendation_type)
        .where(
            _is_dismissed(tables, first_user, last_user, week),
            recommendations.c.recommendation_type != _REVIEW_LESSON,
        )
        .distinct()
    )
    return bulk.fetch_frame(connection, query)


def read_dismissed_lessons(
    connection: adbc.Connection, tables: StoreTables, first_user: int, last_user: int, week: WeekScope
) -> pd.DataFrame:
    """The lessons that must not be recommended for review again yet: `user_id`, `lesson_id`.

    These are the lessons of dismissed recommendations; for how long, see `read_dismissals`.
    """
    recommendations = tables.adaptive_recommendations
    lesson_ids = func.jsonb_array_elements_text(func.jsonb_extract_path(recommendations.c["metadata"], "lesson_ids"))
    lesson = lesson_ids.table_valued("id").render_derived("lesson")
    query = (
        select(recommendations.c.user_id, cast(lesson.c.id, BigInteger).label("lesson_id"))
        .select_from(recommendations.join(lesson, true()))
        .where(
            _is_dismissed(tables, first_user, last_user, week),
            recommendations.c.recommendation_type == _REVIEW_LESSON,
        )
        .distinct()
    )
    return bulk.fetch_frame(connection, query)


def _is_dismissed(tables: StoreTables, first_user: int, last_user: int, week: WeekScope) -> ColumnElement[bool]:
    recommendations = tables.adaptive_recommendations
    return and_(
        recommendations.c.user_id.between(first_user, last_user),
        recommendations.c.week_start < week.start,
        recommendations.c.dismissed_at > week.end - DISMISSAL_PERIOD,
    )


def count_added(connection: Connection, tables: StoreTables, week: WeekScope) -> int:
    """How many recommendations the computation has added to its week; those that it kept are older."""
    recommendations = tables.adaptive_recommendations
    is_new = and_(recommendations.c.week_start == week.start, recommendations.c.created_at == week.computed_at)
    return int(connection.execute(select(func.count()).where(is_new)).scalar_one())


def replace_recommendations(
    connection: adbc.Connection,
    tables: StoreTables,
    first_user: int,
    last_user: int,
    week: WeekScope,
    rows: pd.DataFrame,
) -> None:
    """Publish a week for a range of students, inside the caller's transaction.

    A recommendation that still applies keeps its `id` and `created_at` and is updated; one that no longer applies is
    deactivated; one that the student dismissed stays as it was dismissed; the newest week deactivates older ones.

    Args:
        last_user: The last id of the range, included.
        rows: The result of `recommendations.recommend`.
    """
    recommendations = tables.adaptive_recommendations
    columns = {**rows, "metadata": _json(rows["metadata"].tolist())}
    published = {name: pa.array(columns[name], kind) for name, kind in _PUBLISHED_TYPES.items()}
    bulk.create_temporary(connection, _PUBLISHED.name, pa.table(published))
    in_range = recommendations.c.user_id.between(first_user, last_user)
    still_applies = exists().where(
        _PUBLISHED.c.user_id == recommendations.c.user_id,
        _PUBLISHED.c.recommendation_type == recommendations.c.recommendation_type,
    )
    outdated = and_(recommendations.c.week_start == week.start, in_range, recommendations.c.applies, ~still_applies)
    bulk.execute(connection, update(recommendations).where(outdated).values(is_active=False, applies=False))
    if week.is_newest:
        older = and_(recommendations.c.week_start < week.start, in_range, recommendations.c.is_active)
        bulk.execute(connection, update(recommendations).where(older).values(is_active=False))
    bulk.execute(connection, _upsert(tables, week))


def finish_week(
    connection: Connection,
    tables: StoreTables,
    week: WeekScope,
    recipients: NDArray[np.int64],
    failed: Collection[int],
) -> None:
    """Deactivate recommendations of users who are outside the range of ids of every batch.

    Of this week these are the recommendations of users who are no longer active students; the newest week also
    deactivates those of older weeks, except for the students whose computation failed, who keep them.

    Args:
        recipients: The active students, int64, ascending.
        failed: Those of them whose computation failed.
    """
    recommendations = tables.adaptive_recommendations
    of_this_week = and_(recommendations.c.week_start == week.start, recommendations.c.applies)
    holders = connection.execute(select(recommendations.c.user_id).where(of_this_week).distinct()).scalars().all()
    others = np.setdiff1d(np.array(holders, dtype=np.int64), recipients).tolist()
    is_other = recommendations.c.user_id == any_(cast(others, ARRAY(BigInteger)))
    withdrawn = {"is_active": False, "applies": False}
    connection.execute(update(recommendations).where(of_this_week, is_other).values(withdrawn))
    if week.is_newest:
        keeps = recommendations.c.user_id == any_(cast(list(failed), ARRAY(BigInteger)))
        older = and_(recommendations.c.week_start < week.start, recommendations.c.is_active, ~keeps)
        connection.execute(update(recommendations).where(older).values(is_active=False))


def record_week(
    connection: Connection,
    tables: StoreTables,
    week_start: date,
    recipients: int,
    failed: int,
    computed_at: datetime,
    run_id: str,
) -> None:
    """Record that the recommendations of a week were computed completely, after all their batches."""
    figures = {"recipients": recipients, "failed": failed, "computed_at": computed_at, "run_id": run_id}
    statement = insert(tables.recommendation_weeks).values(week_start=week_start, **figures)
    connection.execute(statement.on_conflict_do_update(index_elements=["week_start"], set_=figures))


def withdraw_recommendations(connection: Connection, tables: StoreTables, week_start: date) -> int:
    """Delete a week; the newest week that remains becomes active again. Returns how many recommendations it had.

    What was dismissed, and what a later computation of the remaining week no longer gave, stays inactive.
    """
    recommendations, weeks = tables.adaptive_recommendations, tables.recommendation_weeks
    deleted = connection.execute(delete(recommendations).where(recommendations.c.week_start == week_start)).rowcount
    connection.execute(delete(weeks).where(weeks.c.week_start == week_start))
    newest = newest_week(connection, tables)
    if newest is not None and newest < week_start:
        is_open = and_(recommendations.c.applies, recommendations.c.dismissed_at.is_(None))
        shown = and_(recommendations.c.week_start == newest, is_open)
        connection.execute(update(recommendations).where(shown).values(is_active=True))
    return deleted


def _upsert(tables: StoreTables, week: WeekScope) -> Insert:
    recommendations = tables.adaptive_recommendations
    values: dict[str, ColumnElement[Any]] = {
        **dict(_PUBLISHED.c.items()),
        "metadata": cast(_PUBLISHED.c.metadata, JSONB),
        "week_start": literal(week.start, Date),
        "is_active": literal(week.is_newest, Boolean),
        "applies": literal(True, Boolean),
        "created_at": literal(week.computed_at, DateTime(timezone=True)),
    }
    statement = insert(recommendations).from_select(list(values), select(*values.values()))
    # A dismissed recommendation stays what the student has dismissed.
    is_open = recommendations.c.dismissed_at.is_(None)
    updated: dict[str, ColumnElement[Any]] = {
        name: case((is_open, statement.excluded[name]), else_=recommendations.c[name])
        for name in ("title", "message", "priority", "metadata")
    }
    updated["is_active"] = and_(statement.excluded.is_active, is_open)
    updated["applies"] = statement.excluded.applies
    return statement.on_conflict_do_update(
        index_elements=["user_id", "week_start", "recommendation_type"], set_=updated
    )


def _json(metadata: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each as JSON; rows often share an object, which is encoded once."""
    distinct = {id(facts): facts for facts in metadata}
    encoded = {number: _JSON.encode(facts) for number, facts in distinct.items()}
    return [encoded[id(facts)] for facts in metadata]
