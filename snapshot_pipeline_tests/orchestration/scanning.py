"""Scans of a real installation, for the tests of incidents and sensors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

import dagster as dg
from dagster._core.loader import LoadingContextForTest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.pool import NullPool

from snapshot_pipeline.alerts.recording import IncidentChanges
from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.sensors import ScanCursor, build_incident_scan_sensor, scan_and_record
from snapshot_pipeline.pipeline.installation import open_installation
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.recommendations import record_week
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests.installation import TestInstallation

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

MARK = 700_000_000
"""Added to all ids of students, so that an id in any text is recognized."""


@dataclass
class Scanner:
    """Scans an installation from now on.

    Attributes:
        installation: The installation.
        settings: Its settings.
        since: Start of monitoring.
    """

    installation: TestInstallation
    settings: Settings
    since: datetime

    def scan(self, now: datetime | None = None, last_scan: datetime | None = None) -> IncidentChanges:
        """Scan once, with a channel that does not exist."""
        repository = build_defs(self.settings).get_repository_def()
        now = now or datetime.now(timezone.utc)
        cursor = ScanCursor(self.since, last_scan or self.since)
        with open_installation(self.settings) as opened:
            return scan_and_record(opened, self.installation.instance, repository, cursor, ["channel"], now)

    def run(
        self, tags: dict[str, str], job: str = "daily_snapshots_job", **settings: object
    ) -> dg.ExecuteInProcessResult:
        """Run a job, with other settings if given."""
        defs = build_defs(self.settings.model_copy(update=settings))
        return defs.resolve_job_def(job).execute_in_process(
            instance=self.installation.instance, tags=tags, run_config=QUIET, raise_on_error=False
        )

    def materialize(self, first: date, last: date) -> None:
        """Report materializations without computing anything."""
        days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        mark_computed(self.settings, *days)
        for day in map(str, days):
            for asset in ("performance_snapshots", "cohort_summary"):
                event = dg.AssetMaterialization(asset, partition=day)
                self.installation.instance.report_runless_asset_event(event)

    def execute(self, *statements: str) -> None:
        """Change the platform."""
        engine = create_engine(self.installation.url, poolclass=NullPool)
        with engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))


@contextmanager
def scanning(installation: TestInstallation) -> Iterator[Scanner]:
    """A scanner of an instance without records, and of a store without incidents."""
    installation.instance.wipe()
    with open_installation(installation.settings) as opened, opened.engine.begin() as connection:
        tables = StoreTables.of(installation.settings.store_schema)
        for table in (tables.incidents, tables.alert_messages, tables.snapshot_days):
            connection.execute(table.delete())
        _forget_weeks(connection, tables)
    yield Scanner(installation, installation.settings, datetime.now(timezone.utc) - timedelta(seconds=1))


def report_scan(installation: TestInstallation, cursor: str | None) -> tuple[str | None, list[type]]:
    """Tick `incident_scan_sensor`; store the asset events that it reports, as the daemon does.

    Returns:
        The new cursor, and the types of the events.
    """
    sensor = build_incident_scan_sensor(installation.settings)
    repository = build_defs(installation.settings).get_repository_def()
    with dg.build_sensor_context(instance=installation.instance, cursor=cursor, repository_def=repository) as context:
        data = sensor.evaluate_tick(context)
    for event in data.asset_events:
        installation.instance.report_runless_asset_event(event)
    return data.cursor, [type(event) for event in data.asset_events]


def shown_state(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> str:
    """The state of a check without partitions as the UI shows it, by Dagster's own rule."""
    record = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    is_shown = asyncio.run(record.targets_latest_materialization(LoadingContextForTest(instance)))
    return str(record.status.value) if is_shown else "NOT EVALUATED"


def mark_computed(settings: Settings, *days: date) -> None:
    """Record days as computed, without computing them."""
    now = datetime.now(timezone.utc)
    counts = {"published": 1, "failed": 0, "students_with_issues": 0}
    figures = {**counts, "computed_at": now, "run_id": "marked", "run_number": 1, "computed_with": {}}
    with open_installation(settings) as opened, opened.engine.begin() as connection:
        for day in days:
            row = insert(opened.store.snapshot_days).values(snapshot_date=day, **figures)
            connection.execute(row.on_conflict_do_nothing())


def mark_recommended(settings: Settings, week_start: date, computed_at: datetime | None = None) -> None:
    """Record a week as computed, without computing it."""
    with open_installation(settings) as opened, opened.engine.begin() as connection:
        computed_at = computed_at or datetime.now(timezone.utc)
        record_week(connection, opened.store, week_start, 1, 0, computed_at, "marked")
        figures = {"students": 1, "with_score": 1, "computed_at": computed_at, "run_id": "marked"}
        row = insert(opened.store.at_risk_weeks).values(week_start=week_start, **figures)
        connection.execute(row.on_conflict_do_update(index_elements=["week_start"], set_=figures))


def forget_computed(settings: Settings) -> None:
    """Delete the records of computed days and weeks."""
    with open_installation(settings) as opened, opened.engine.begin() as connection:
        connection.execute(opened.store.snapshot_days.delete())
        _forget_weeks(connection, opened.store)


def _forget_weeks(connection: Connection, tables: StoreTables) -> None:
    for table in (tables.recommendation_weeks, tables.at_risk_weeks):
        connection.execute(table.delete())


def spoil(first: str, last: str) -> str:
    """SQL that makes the minutes of lessons started on some days invalid; running it again restores them."""
    return (
        "UPDATE user_lesson_progress SET time_spent_minutes = -1 - time_spent_minutes "  # noqa: S608
        f"WHERE started_at >= '{first}' AND started_at < DATE '{last}' + 1"
    )
