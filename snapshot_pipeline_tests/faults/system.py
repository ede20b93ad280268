"""A whole system to inject faults into: PostgreSQL server, platform, running Dagster and a receiver of alerts."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import psutil
import pytest
import requests
from sqlalchemy import URL, Engine, create_engine, select, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline.platform.sample import SampleOptions, load_sample
from snapshot_pipeline.settings import Settings, load_settings
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests.faults.publishing import publish
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.pipeline.comparison import published_engagement
from snapshot_pipeline_tests.receivers import WebReceiver, web_receiver
from snapshot_pipeline_tests.reference.engagement import reference_engagement
from snapshot_pipeline_tests.reference.reading import read_rows
from snapshot_pipeline_tests.reference.snapshots import reference_day
from snapshot_pipeline_tests.running_dagster import RunningDagster
from snapshot_pipeline_tests.waiting import wait_for

STUDENTS, SAMPLE_DAYS, DAYS = 300, 60, 14
EXPECTED_SCHEMA = "expected"
_OVER = {dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED}

ROLE = "snapshot_pipeline"
"""The role of the pipeline: it may only read the platform's tables and write its own."""

ZONE = ZoneInfo("UTC")

Figures = dict[tuple[int, date], tuple[Any, ...]]
"""Every published figure by student and day."""


@dataclass(frozen=True)
class FaultSystem:
    """The parts of the system.

    Attributes:
        server: The database server, which can be stopped and started.
        url: The platform's database, which holds our tables too; as its owner.
        settings: The installation's settings.
        dagster: Web server, daemon, code server.
        receiver: Web server that receives the alerts.
        first: The first of the days that the tests compute again and again.
        last: The last of these days: yesterday.
    """

    server: EmbeddedServer
    url: URL
    settings: Settings
    dagster: RunningDagster
    receiver: WebReceiver
    first: date
    last: date

    @property
    def engine(self) -> Engine:
        """An engine without a connection pool."""
        return create_engine(self.url, poolclass=NullPool)

    def execute(self, *statements: str) -> None:
        """Run statements as the owner of all tables, each in its own transaction."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                connection.execute(text(statement))

    def figures(self, schema: str = "public") -> Figures:
        """Return the published figures."""
        snapshots = StoreTables.of(schema).performance_snapshots
        columns = [column for column in snapshots.c if column.name != "computed_at"]
        query = select(*columns).where(snapshots.c.snapshot_date.between(self.first, self.last))
        with self.engine.connect() as connection:
            return {(row.user_id, row.snapshot_date): tuple(row) for row in connection.execute(query)}

    def change_source_rows(self, rng: random.Random) -> None:
        """Change source rows of computed days, so that old and new figures differ."""
        self.execute(
            f"""UPDATE user_lesson_progress SET time_spent_minutes = time_spent_minutes + {rng.randint(1, 50)}
                 WHERE time_spent_minutes >= 0 AND started_at >= '{self.first}' AND started_at < '{self.last}'
                   AND user_id % 3 = {rng.randint(0, 2)}""",  # noqa: S608
            f"""UPDATE quiz_attempts SET score = (score + {rng.randint(1, 50)})::int % 101
                 WHERE score BETWEEN 0 AND 100 AND user_id % 3 = {rng.randint(0, 2)}""",  # noqa: S608
        )

    def expected(self) -> Figures:
        """Return the figures to expect now, computed without faults by the same code into another schema.

        In one batch, which takes a fifth of the time of many small ones and changes no figure.
        """
        one_batch = {"store_schema": EXPECTED_SCHEMA, "batch_rows": Settings.model_fields["batch_rows"].default}
        publish(self.settings.model_copy(update=one_batch), self.first, self.last)
        return self.figures(EXPECTED_SCHEMA)

    def expected_by_reference(self) -> Figures:
        """Return the figures to expect now, computed by the slow reference, which shares no code with the pipeline.

        Only the last day has the engagement columns, which take the reference seconds a day.
        """
        with self.engine.connect() as connection:
            rows = read_rows(connection, "public", self.settings.naive_zone)
        figures: Figures = {}
        for number in range((self.last - self.first).days + 1):
            day = self.first + timedelta(days=number)
            for row in reference_day(rows, day, self.settings.zone).published:
                figures[row.user_id, row.snapshot_date] = tuple(vars(row).values())
        for user_id, engagement in reference_engagement(rows, self.last, self.settings.zone).items():
            figures[user_id, self.last] += published_engagement(engagement)
        return figures

    def launch(self) -> str:
        """Launch a run over all days; return its id."""
        tags = {
            "dagster/asset_partition_range_start": self.first.isoformat(),
            "dagster/asset_partition_range_end": self.last.isoformat(),
        }
        # Dagster's web server notices a lost database connection only when it uses it again.
        return wait_for(lambda: self._launched(tags), "a run can be launched", 60)

    def _launched(self, tags: dict[str, str]) -> str | None:
        try:
            launched = self.dagster.try_to_launch("daily_snapshots_job", tags)
        except requests.RequestException:
            return None
        return str(launched["run"]["runId"]) if launched["__typename"] == "LaunchRunSuccess" else None

    def has_no_unfinished_run(self) -> bool | None:
        """Return True if no run is queued or in progress."""
        unfinished = [status for status in dg.DagsterRunStatus if status not in _OVER]
        return not self.dagster.instance.get_runs(dg.RunsFilter(statuses=unfinished), limit=1) or None

    def error_message(self, run_id: str) -> str:
        """Return the error message of a failed run."""
        (entry,) = self.dagster.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        failure = entry.get_dagster_event().step_failure_data.user_failure_data
        assert failure is not None, entry.message
        return str(failure.description)

    def succeeded_eventually(self, run_id: str) -> bool | None:
        """Return True if a run, or its last retry, has succeeded."""
        while (status := self.dagster.finished(run_id)) == "FAILURE":
            retry = self.dagster.retry_of(run_id)
            if retry is None:
                return None
            run_id = retry
        return True if status == "SUCCESS" else None

    def notified_incident(self, run_id: str) -> int | None:
        """Return the number of the incident that was notified for a run; None if none was."""
        incidents = StoreTables.of(self.settings.store_schema).incidents
        with self.engine.connect() as connection:
            ids = connection.execute(select(incidents.c.id).where(incidents.c.run_id == run_id)).scalars()
            return next((incident for incident in ids if self.messages_about(incident)), None)

    def messages_about(self, incident: int) -> list[str]:
        """Return the titles of all messages that name an incident."""
        named = re.compile(rf"Incident {incident}\b")
        return [message["title"] for message in self.receiver.messages if named.search(message["message"])]

    def is_resolved(self, incident: int) -> bool:
        """Return whether the resolution of an incident was notified."""
        return any(title.startswith("Resolved: ") for title in self.messages_about(incident))

    def is_notified_of_failed_scan(self) -> bool | None:
        """Return True if it was notified that incidents cannot be recorded."""
        return "snapshot_pipeline cannot scan for incidents" in self.receiver.titles or None

    def terminate_connections(self) -> int:
        """Terminate all sessions of the pipeline in the platform's database; return their number."""
        terminate = text("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = :role")
        with self.engine.connect() as connection:
            return int(connection.execute(terminate, {"role": ROLE}).scalar_one())

    def is_publishing(self) -> bool | None:
        """Return True if a run holds the lock of its days."""
        locks = text(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE locktype = 'advisory' AND granted AND usename = :role"
        )
        with self.engine.connect() as connection:
            return bool(connection.execute(locks, {"role": ROLE}).scalar()) or None

    def waiting_for(self, table: str) -> bool | None:
        """Return True if a session of the pipeline waits for a lock on a table."""
        waiting = text(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE relation = CAST(:name AS regclass) AND NOT granted AND usename = :role"
        )
        # On a new connection, because within a transaction the statistics of sessions do not change.
        with self.engine.connect() as connection:
            return bool(connection.execute(waiting, {"name": table, "role": ROLE}).scalar()) or None

    def server_processes(self) -> list[psutil.Process]:
        """Return the processes of the database server: the postmaster and its children."""
        with self.engine.connect() as connection:
            backend = psutil.Process(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
            postmaster = backend.parent()
        assert postmaster is not None
        return [postmaster, *postmaster.children(recursive=True)]


def _limited(url: URL) -> URL:
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {ROLE} LOGIN PASSWORD 'secret'"))
        connection.execute(text(f"GRANT CREATE ON DATABASE platform TO {ROLE}"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {ROLE}"))
        connection.execute(text(f"GRANT USAGE, CREATE ON SCHEMA public TO {ROLE}"))
    return url.set(username=ROLE, password="secret")  # noqa: S106  # a server that lives for minutes


@contextmanager
def start_system(home: Path) -> Iterator[FaultSystem]:
    """Start the system; delete all of it at the end."""
    today = datetime.now(timezone.utc).date()
    with ExitStack() as stack:
        server = EmbeddedServer(home / "server")
        server.start()
        stack.callback(server.delete)
        url = server.url("platform")
        load_sample(SampleOptions(STUDENTS, SAMPLE_DAYS, 11, today, 0.02, ZONE), url, "public")
        receiver = stack.enter_context(web_receiver())
        pipeline_url = _limited(url)
        variables = {
            "DAGSTER_HOME": str(PROJECT),
            "DAGSTER_EVENT_BATCH_SIZE": "50",
            "SNAPSHOT_HOME": str(home / "pipeline"),
            "SNAPSHOT_DATABASE_URL": pipeline_url.render_as_string(hide_password=False),
            "SNAPSHOT_DAGSTER_DATABASE_URL": server.url("dagster").render_as_string(hide_password=False),
            "SNAPSHOT_START_DATE": str(today - timedelta(days=SAMPLE_DAYS)),
            # Four small batches, one after the other, so that a fault can hit a run in many states.
            "SNAPSHOT_BATCH_ROWS": "1050",
            "SNAPSHOT_WORKERS": "1",
            "SNAPSHOT_ALERT_URLS": f"json://{receiver.address}/",
            # Seconds instead of minutes in production.
            "SNAPSHOT_WATCH_SECONDS": "2",
            "SNAPSHOT_RETRY_SECONDS": "2",
            "SNAPSHOT_LOCK_TIMEOUT_SECONDS": "3",
            "SNAPSHOT_STATEMENT_TIMEOUT_SECONDS": "8",
        }
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in variables.items():
            patch.setenv(name, value)
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(PROJECT)))
        dagster = RunningDagster(instance, os.environ, home / "dagster.log")
        stack.callback(dagster.stop)
        first, last = today - timedelta(days=DAYS), today - timedelta(days=1)
        yield FaultSystem(server, url, load_settings(), dagster, receiver, first, last)
