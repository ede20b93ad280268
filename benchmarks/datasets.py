"""The data sets: generated once per size by the project's generator, kept, and reused.

A data set is one database of a private server, with the platform's tables for a number of students and days of study.
Data sets of one directory share their server; `SNAPSHOT_*` variables that name a database are ignored. No student has
an invalid row (`--bad-rate 0`), so a contender need not look for such rows, and every student is published.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline.metrics.days import start_of_day
from snapshot_pipeline.platform.sample import SampleOptions, load_sample
from snapshot_pipeline.settings import Settings, load_settings

ZONE = ZoneInfo("Europe/Budapest")
"""A zone with daylight saving time: most measured ranges contain two clock changes."""

UNTIL = date(2026, 3, 2)
"""A Monday: the last day of a data set is a Sunday, and its last week is complete."""

DEFAULT_HOME = Path(".snapshot_pipeline/benchmarks")
_SEED = 1


@dataclass(frozen=True)
class Dataset:
    """A data set in a database.

    Attributes:
        days: Days of study.
        home: The directory of the server.
        bad_rate: The share of students with an invalid row.
    """

    students: int
    days: int
    url: URL
    home: Path
    bad_rate: float = 0.0

    @property
    def last_day(self) -> date:
        """The last day of study."""
        return UNTIL - timedelta(days=1)

    @property
    def week_start(self) -> date:
        """The Monday of the last week."""
        return UNTIL - timedelta(days=7)

    def first_day(self, days: int) -> date:
        """The first of the last `days` days."""
        return UNTIL - timedelta(days=days)

    def settings(self, store_schema: str, **others: Any) -> Settings:
        """Settings of an installation on this data set, with our tables in `store_schema`."""
        given = {
            "home": self.home,
            "database_url": self.url.render_as_string(hide_password=False),
            "dagster_database_url": self.dagster_url.render_as_string(hide_password=False),
            "timezone": ZONE.key,
            "start_date": date(2020, 1, 1),
            "platform_schema": "public",
            "store_schema": store_schema,
            **others,
        }
        return load_settings(**given)

    @property
    def dagster_url(self) -> URL:
        """The database of Dagster's records, which belong to one installation."""
        return self.url.set(database=f"{self.url.database}_dagster")


_SHORTEN = (
    """DELETE FROM user_lesson_progress AS progress
        USING (SELECT user_id, min(started_at) AS started_at FROM user_lesson_progress GROUP BY user_id) AS first_start
        WHERE progress.started_at < :first AND coalesce(progress.completed_at < :first, true)
          AND first_start.user_id = progress.user_id AND first_start.started_at <> progress.started_at""",
    "DELETE FROM quiz_attempts WHERE completed_at < :first",
    "DELETE FROM exercise_submissions WHERE created_at < :first",
)


class Datasets:
    """The data sets of one directory, and their server."""

    def __init__(self, home: Path) -> None:
        """Start nothing yet."""
        self.home = home.expanduser().absolute()
        self._server = EmbeddedServer(self.home)

    def start(self) -> None:
        """Start the server, without autovacuum and timed checkpoints, which would disturb a measurement."""
        self._server.start()
        with self._administration() as connection:
            connection.execute(text("ALTER SYSTEM SET autovacuum = off"))
            connection.execute(text("ALTER SYSTEM SET checkpoint_timeout = '1d'"))
            connection.execute(text("ALTER SYSTEM SET max_wal_size = '64GB'"))
            connection.execute(text("SELECT pg_reload_conf()"))

    def stop(self) -> None:
        """Stop the server; the data sets are kept."""
        self._server.stop()

    def delete(self) -> None:
        """Stop the server and delete all data sets."""
        self._server.delete()

    def find(
        self, students: int, days: int, bad_rate: float = 0.0, say: Callable[[str], None] = lambda _: None
    ) -> Dataset:
        """The data set of a size; generated if it does not exist, which takes minutes for a large one."""
        self.start()
        name = f"students_{students}_days_{days}" + (f"_bad_{bad_rate:g}" if bad_rate else "")
        dataset = Dataset(students, days, self._server.url(name), self.home, bad_rate)
        if name not in self._databases():
            say(f"generating {students:,} students over {days:,} days …")
            self._make(dataset, name, say)
        self._ensure_dagster_database(dataset)
        return dataset

    def shortened(self, dataset: Dataset, history_days: int, say: Callable[[str], None] = lambda _: None) -> Dataset:
        """The same data set with a shorter history.

        Older rows are deleted, except each student's first start, so that the same students have a snapshot. A data set
        generated with fewer days would have other students with other activity on the measured day.
        """
        name = f"{dataset.url.database}_last_{history_days}"
        shorter = Dataset(dataset.students, history_days, self._server.url(name), self.home, dataset.bad_rate)
        if name not in self._databases():
            say(f"keeping {history_days:,} of {dataset.days:,} days …")
            self._shorten(dataset, shorter.first_day(history_days), name)
        self._ensure_dagster_database(shorter)
        return shorter

    def _ensure_dagster_database(self, dataset: Dataset) -> None:
        if dataset.dagster_url.database not in self._databases():
            with self._administration() as connection:
                connection.execute(text(f'CREATE DATABASE "{dataset.dagster_url.database}"'))

    def _shorten(self, dataset: Dataset, first: date, name: str) -> None:
        unfinished = f"unfinished_{name}"
        with self._administration() as connection:
            connection.execute(text(f'DROP DATABASE IF EXISTS "{unfinished}" WITH (FORCE)'))
            connection.execute(text(f'CREATE DATABASE "{unfinished}" TEMPLATE "{dataset.url.database}"'))
        engine = create_engine(dataset.url.set(database=unfinished), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            for statement in _SHORTEN:
                connection.execute(text(statement), {"first": start_of_day(first, ZONE)})
            connection.execute(text("VACUUM (FULL, ANALYZE)"))
            connection.execute(text("VACUUM (ANALYZE)"))  # VACUUM FULL leaves no visibility map
        with self._administration() as connection:
            connection.execute(text(f'ALTER DATABASE "{unfinished}" RENAME TO "{name}"'))

    def _make(self, dataset: Dataset, name: str, say: Callable[[str], None]) -> None:
        """Generate it under a temporary name, so that an interrupted one is never used."""
        unfinished = f"unfinished_{name}"
        with self._administration() as connection:
            connection.execute(text(f'DROP DATABASE IF EXISTS "{unfinished}" WITH (FORCE)'))
            connection.execute(text(f'CREATE DATABASE "{unfinished}"'))
        url = dataset.url.set(database=unfinished)
        options = SampleOptions(dataset.students, dataset.days, _SEED, UNTIL, dataset.bad_rate, ZONE)
        load_sample(options, url, "public", lambda done: say(f"  {done:,} of {dataset.students:,} students"))
        engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(text("VACUUM (ANALYZE)"))
        with self._administration() as connection:
            connection.execute(text(f'ALTER DATABASE "{unfinished}" RENAME TO "{name}"'))

    def _databases(self) -> set[str]:
        with self._administration() as connection:
            return set(connection.execute(text("SELECT datname FROM pg_database")).scalars())

    def _administration(self) -> Any:
        return create_engine(self._server.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool).connect()
