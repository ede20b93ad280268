"""Fixtures: a real Dagster instance on a real PostgreSQL server, with a platform of sample students."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.platform.sample import SampleOptions, load_sample
from snapshot_pipeline.settings import Settings, load_settings
from snapshot_pipeline_tests.pipeline.installations import execute, new_database

PROJECT = Path(__file__).parents[1]

UNTIL = date(2026, 3, 1)
"""The sample ends before this day: a fixed date, so that the tests do not depend on the day they run."""


@dataclass(frozen=True)
class TestInstallation:
    """A platform of 200 sample students, a Dagster instance, and the environment variables that select both."""

    __test__ = False
    settings: Settings
    instance: dg.DagsterInstance
    url: URL
    dagster_url: URL
    environment: dict[str, str]


@pytest.fixture(scope="session")
def students_template(server_url: URL) -> Iterator[URL]:
    """A database with 200 sample students and 90 days, without our tables; only copied, never changed."""
    with new_database(server_url) as url:
        load_sample(SampleOptions(200, 90, 1, UNTIL, 0.05, ZoneInfo("UTC")), url, "public")
        yield url


@pytest.fixture(scope="session")
def dagster_template(server_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    """A database with Dagster's empty tables; only copied, never changed. A copy takes a tenth of the time."""
    with new_database(server_url) as url:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SNAPSHOT_HOME", str(tmp_path_factory.mktemp("dagster_template")))
            patch.setenv("SNAPSHOT_DATABASE_URL", server_url.render_as_string(hide_password=False))
            patch.setenv("SNAPSHOT_DAGSTER_DATABASE_URL", url.render_as_string(hide_password=False))
            with dg.DagsterInstance.from_config(str(PROJECT)):
                pass
        execute(url, "DELETE FROM kvs")  # the records of a copy belong to the installation that uses it
        end_sessions(url)  # our storage keeps a connection, and a database in use cannot be copied
        yield url


@pytest.fixture(scope="module")
def installation(
    server_url: URL, students_template: URL, dagster_template: URL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestInstallation]:
    """An installation for the tests of one file, on copies of both templates."""
    with (
        new_database(server_url, students_template) as url,
        new_database(server_url, dagster_template) as dagster_url,
        pytest.MonkeyPatch.context() as patch,
    ):
        variables = {
            "DAGSTER_HOME": str(PROJECT),
            "DAGSTER_EVENT_BATCH_SIZE": "50",
            "SNAPSHOT_HOME": str(tmp_path_factory.mktemp("installation")),
            "SNAPSHOT_DATABASE_URL": url.render_as_string(hide_password=False),
            "SNAPSHOT_DAGSTER_DATABASE_URL": dagster_url.render_as_string(hide_password=False),
            "SNAPSHOT_START_DATE": "2026-01-01",
            "SNAPSHOT_SCHEDULES": "off",
        }
        for name, value in variables.items():
            patch.setenv(name, value)
        with dg.DagsterInstance.from_config(str(PROJECT)) as instance:
            yield TestInstallation(load_settings(), instance, url, dagster_url, {**os.environ, **variables})


def end_sessions(url: URL) -> None:
    """End all sessions in a database."""
    engine = create_engine(url.set(database="postgres"), poolclass=NullPool)
    with engine.connect() as connection:
        end = text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name")
        connection.execute(end, {"name": url.database})
