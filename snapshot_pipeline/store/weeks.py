"""The table `recommendation_weeks`: which weeks were computed, when and by which run."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from snapshot_pipeline.store.tables import StoreTables


def record_week(
    connection: Connection,
    tables: StoreTables,
    week_start: date,
    recipients: int,
    failed: int,
    computed_at: datetime,
    run_id: str,
) -> None:
    """Record that a week was computed completely, after all its batches."""
    figures = {"recipients": recipients, "failed": failed, "computed_at": computed_at, "run_id": run_id}
    statement = insert(tables.recommendation_weeks).values(week_start=week_start, **figures)
    connection.execute(statement.on_conflict_do_update(index_elements=["week_start"], set_=figures))


def computed_weeks(connection: Connection, tables: StoreTables, first: date, last: date) -> dict[date, datetime]:
    """When each computed week that starts on one of the days `first … last` was last computed."""
    weeks = tables.recommendation_weeks
    query = select(weeks.c.week_start, weeks.c.computed_at).where(weeks.c.week_start.between(first, last))
    return {week_start: computed_at for week_start, computed_at in connection.execute(query)}
