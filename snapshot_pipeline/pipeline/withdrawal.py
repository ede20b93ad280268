"""Take back days or a week that should not have been published, such as days that had not ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.report_files import report_path, student_list_path
from snapshot_pipeline.store.at_risk import withdraw_at_risk
from snapshot_pipeline.store.days import delete_days
from snapshot_pipeline.store.recommendations import newest_week, withdraw_recommendations
from snapshot_pipeline.store.tables import StoreTables

_OWNER = "snapshot-pipeline withdraw"


@dataclass(frozen=True)
class WithdrawnWeek:
    """A week that was taken back.

    Attributes:
        recommendations: How many recommendations it had.
        newest: The newest week that remains, whose recommendations are active; None without one.
    """

    recommendations: int
    newest: date | None


def withdraw_days(installation: Installation, first: date, last: date) -> int:
    """Delete the days `first … last`, so that they are missing; returns the number of snapshots.

    Their restatements stay. A run that writes one of the days is waited for.

    Raises:
        LockedError: Another run writes one of the days, and did not finish in time.
    """
    with installation.lock_days(first, last, _OWNER) as lock:
        return installation.leased_transaction(lock, delete_days, first, last)


def withdraw_week(installation: Installation, week_start: date) -> WithdrawnWeek:
    """Delete a week's recommendations, students at risk and files; the newest week that remains becomes active again.

    Raises:
        LockedError: Another run writes recommendations, and did not finish in time.
    """
    with installation.lock_recommendations(_OWNER) as lock:
        withdrawn = installation.leased_transaction(lock, _withdraw, week_start)
    settings = installation.settings
    lists = [student_list_path(settings, week_start, suffix) for suffix in ("html", "csv")]
    for path in (report_path(settings, week_start), *lists):
        path.unlink(missing_ok=True)
    return withdrawn


def _withdraw(connection: Connection, tables: StoreTables, week_start: date) -> WithdrawnWeek:
    deleted = withdraw_recommendations(connection, tables, week_start)
    withdraw_at_risk(connection, tables, week_start)
    return WithdrawnWeek(deleted, newest_week(connection, tables))
