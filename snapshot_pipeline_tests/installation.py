"""A real Dagster instance on a real PostgreSQL, with a platform of sample students beside it."""

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

from snapshot_pipeline.platform.sample import SampleOptions, load_sample
from snapshot_pipeline.settings import Settings, load_settings

PROJECT = Path(__file__).parents[1]

UNTIL = date(2026, 3, 1)
"""The sample ends before this day: a fixed date, so that the tests do not depend on the day they run."""


@dataclass(frozen=True)
class TestInstallation:
    """A platform of 200 sample students, a Dagster instance, and the environment that finds both."""

    __test__ = False
    settings: Settings
    instance: dg.DagsterInstance
    url: URL
    environment: dict[str, str]


@pytest.fixture(scope="module")
def installation(server_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestInstallation]:
    """Databases `orchestration_platform` and `orchestration_dagster`, dropped after the module."""
    home = tmp_path_factory.mktemp("installation")
    url = server_url.set(database="orchestration_platform")
    dagster_url = server_url.set(database="orchestration_dagster")
    admin = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for name in (url.database, dagster_url.database):
            connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
            connection.execute(text(f"CREATE DATABASE {name}"))
    load_sample(SampleOptions(200, 90, 1, UNTIL, 0.05, ZoneInfo("UTC")), url, "public")
    variables = {
        "DAGSTER_HOME": str(PROJECT),
        "DAGSTER_EVENT_BATCH_SIZE": "50",
        "SNAPSHOT_HOME": str(home),
        "SNAPSHOT_DATABASE_URL": url.render_as_string(hide_password=False),
        "SNAPSHOT_DAGSTER_DATABASE_URL": dagster_url.render_as_string(hide_password=False),
        "SNAPSHOT_START_DATE": "2026-01-01",
        "SNAPSHOT_SCHEDULES": "off",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        with dg.DagsterInstance.from_config(str(PROJECT)) as instance:
            yield TestInstallation(load_settings(), instance, url, {**os.environ, **variables})
    with admin.connect() as connection:
        for name in (url.database, dagster_url.database):
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()
