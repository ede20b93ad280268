"""The data sets that are measured on: made once per size by the project's own generator, kept, and used again.

A *world* is one database of a private server: the platform's tables of so many students over so many days. Worlds of
one directory share their server, and nobody else's data is touched: `SNAPSHOT_*` variables that name a database are not
looked at. No student of a world has a row that cannot be right (`--bad-rate 0`), so that a contender need not look for
such rows, and every student is published.

Put here: where worlds are kept, and how one comes about. Do not put here: what is done in them (`contenders`).
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
"""A zone with clock changes: two lie in most ranges that are measured."""

UNTIL = date(2026, 3, 2)
"""A Monday: the last day of a world is a Sunday, and its last week is whole."""

DEFAULT_HOME = Path(".snapshot_pipeline/benchmarks")
_SEED = 1


@dataclass(frozen=True)
class World:
    """A data set in a database that is ready.

    Attributes:
        students: How many.
        days: Over how many days they have studied.
        url: The database.
        home: The directory of the server.
        bad_rate: The share of students with a row that cannot be right.
    """

    students: int
    days: int
    url: URL
    home: Path
    bad_rate: float = 0.0

    @property
    def last_day(self) -> date:
        """The last day that the students have studied on."""
        return UNTIL - timedelta(days=1)

    @property
    def week_start(self) -> date:
        """The Monday of the last week."""
        return UNTIL - timedelta(days=7)

    def first_day(self, days: int) -> date:
        """The first of the last `days` days."""
        return UNTIL - timedelta(days=days)

    def settings(self, store_schema: str, **others: Any) -> Settings:
        """The settings of an installation in this world whose tables are in a schema of their own."""
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
        """The database of Dagster's records."""
        return self.url.set(database="dagster")


_SHORTEN = (
    """DELETE FROM user_lesson_progress AS progress
        USING (SELECT user_id, min(started_at) AS started_at FROM user_lesson_progress GROUP BY user_id) AS first_start
        WHERE progress.started_at < :first AND coalesce(progress.completed_at < :first, true)
          AND first_start.user_id = progress.user_id AND first_start.started_at <> progress.started_at""",
    "DELETE FROM quiz_attempts WHERE completed_at < :first",
    "DELETE FROM exercise_submissions WHERE created_at < :first",
)


class Worlds:
    """The worlds of one directory, and their server."""

    def __init__(self, home: Path) -> None:
        """Nothing is started yet."""
        self.home = home.expanduser().absolute()
        self._server = EmbeddedServer(self.home)

    def start(self) -> None:
        """Start the server; nothing happens on it by itself while something is timed."""
        self._server.start()
        with self._administration() as connection:
            connection.execute(text("ALTER SYSTEM SET autovacuum = off"))
            connection.execute(text("ALTER SYSTEM SET checkpoint_timeout = '1d'"))
            connection.execute(text("ALTER SYSTEM SET max_wal_size = '64GB'"))
            connection.execute(text("SELECT pg_reload_conf()"))

    def stop(self) -> None:
        """Stop the server; the worlds stay."""
        self._server.stop()

    def delete(self) -> None:
        """Stop the server, and remove all worlds."""
        self._server.delete()

    def find(
        self, students: int, days: int, bad_rate: float = 0.0, say: Callable[[str], None] = lambda _: None
    ) -> World:
        """The world of a size; made when it is not there yet, which takes minutes for a large one."""
        self.start()
        name = f"students_{students}_days_{days}" + (f"_bad_{bad_rate:g}" if bad_rate else "")
        world = World(students, days, self._server.url(name), self.home, bad_rate)
        if name not in self._databases():
            say(f"making {students:,} students over {days:,} days …")
            self._make(world, name, say)
        return world

    def shortened(self, world: World, history_days: int, say: Callable[[str], None] = lambda _: None) -> World:
        """The same world, had its students begun no more than so many days ago: all else is the same.

        What is older goes, but for each student's first start, so that the same students have a snapshot. A world that
        is made with fewer days would hold other students, who do other things on the day that is measured.
        """
        name = f"{world.url.database}_last_{history_days}"
        shorter = World(world.students, history_days, self._server.url(name), self.home, world.bad_rate)
        if name not in self._databases():
            say(f"leaving {history_days:,} of {world.days:,} days …")
            self._shorten(world, shorter.first_day(history_days), name)
        return shorter

    def _shorten(self, world: World, first: date, name: str) -> None:
        unfinished = f"unfinished_{name}"
        with self._administration() as connection:
            connection.execute(text(f'DROP DATABASE IF EXISTS "{unfinished}" WITH (FORCE)'))
            connection.execute(text(f'CREATE DATABASE "{unfinished}" TEMPLATE "{world.url.database}"'))
        engine = create_engine(world.url.set(database=unfinished), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            for statement in _SHORTEN:
                connection.execute(text(statement), {"first": start_of_day(first, ZONE)})
            connection.execute(text("VACUUM (FULL, ANALYZE)"))
            connection.execute(text("VACUUM (ANALYZE)"))  # a full one leaves no visibility map
        with self._administration() as connection:
            connection.execute(text(f'ALTER DATABASE "{unfinished}" RENAME TO "{name}"'))

    def _make(self, world: World, name: str, say: Callable[[str], None]) -> None:
        """Under another name until it is whole, so that an interrupted one never counts."""
        unfinished = f"unfinished_{name}"
        with self._administration() as connection:
            connection.execute(text(f'DROP DATABASE IF EXISTS "{unfinished}" WITH (FORCE)'))
            connection.execute(text(f'CREATE DATABASE "{unfinished}"'))
        url = world.url.set(database=unfinished)
        options = SampleOptions(world.students, world.days, _SEED, UNTIL, world.bad_rate, ZONE)
        load_sample(options, url, "public", lambda done: say(f"  {done:,} of {world.students:,} students"))
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
