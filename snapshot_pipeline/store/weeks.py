"""Which weeks were computed, when and by which run: `recommendation_weeks`, together with `at_risk_weeks`."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import Connection, func, select
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
    """Record that the recommendations of a week were computed completely, after all their batches."""
    figures = {"recipients": recipients, "failed": failed, "computed_at": computed_at, "run_id": run_id}
    statement = insert(tables.recommendation_weeks).values(week_start=week_start, **figures)
    connection.execute(statement.on_conflict_do_update(index_elements=["week_start"], set_=figures))


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
