"""Fixtures that many directories share (a PostgreSQL server, databases), the marker `system`, the order of files."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import adbc_driver_postgresql.dbapi as adbc
import hypothesis
import pytest
from dagster._core.execution import compute_logs
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.pool import NullPool
from xdist.remote import Producer

from snapshot_pipeline.embedded import EmbeddedServer, programs
from snapshot_pipeline.gc_settings import collect_less_often
from snapshot_pipeline.orchestration import build
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.platform.sample import load_sample
from snapshot_pipeline.plots import at_risk, pace, recommendations, success
from snapshot_pipeline.report import page
from snapshot_pipeline.store.migrate import migrate
from snapshot_pipeline.store.months import ensure_partitions
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests import order
from snapshot_pipeline_tests.installation import dagster_template, installation, students_template
from snapshot_pipeline_tests.pipeline.installations import (
    COMPUTED,
    SAMPLE,
    installation_on,
    new_database,
    raising_for,
    students_started_before,
)
from snapshot_pipeline_tests.shared_types import SharedTypes
from snapshot_pipeline_tests.temporary_files import directory_in_memory, keep_temporary_files_in_memory

__all__ = ["dagster_template", "installation", "students_template"]

Plots = TypeVar("Plots")

collect_less_often()
keep_temporary_files_in_memory()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs with SIGINT ignored; processes started by tests would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test depends on an idle machine.
hypothesis.settings.register_profile("without deadline", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("without deadline")

# Where the tests look for our tables unless they name a schema: as on the embedded server.
os.environ["SNAPSHOT_STORE_SCHEMA"] = "public"

if "FAKETIME" in os.environ:  # integration/test_faked_clocks.py: the server must have the same time as the tests
    programs._ENVIRONMENT += ("LD_PRELOAD", "FAKETIME", "DONT_FAKE_MONOTONIC", "FAKETIME_DONT_FAKE_MONOTONIC")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import the files of which `-m` selects no test."""
    return order.has_none_of(collection_path, config.option.markexpr) or None


@pytest.hookimpl(tryfirst=True)  # before pytest deselects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the system tests and sort the files."""
    order.prepare(items)


def pytest_collection_finish() -> None:
    """Exclude the imported modules from every later garbage collection."""
    gc.freeze()


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> order.Scheduler:
    """Distribute the tests by file."""
    return order.Scheduler(config, log)


@pytest.fixture(scope="session", autouse=True)
def cached_definitions() -> Iterator[None]:
    """Build the definitions of the same settings once in a session; nobody changes them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "_definitions", lru_cache(build._definitions))
        yield


@pytest.fixture(scope="session", autouse=True)
def cached_plots() -> Iterator[None]:
    """Draw the plots of a run once in a session: many runs draw them, and the same arguments give the same plot."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (success, "draw_calendar"),
            (pace, "draw_distribution"),
            (recommendations, "draw_weeks"),
            (at_risk, "draw_states"),
            (at_risk, "draw_reasons"),
            (page, "draw_plots"),
        ):
            patch.setattr(module, name, _cached(getattr(module, name)))
        yield


@pytest.fixture(scope="session", autouse=True)
def unmirrored_logs() -> Iterator[None]:
    """Capture the output of runs in this process only in their files: Dagster starts four processes to show it, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compute_logs, "tail_to_stream", lambda _path, _stream: nullcontext((None, None)))
        yield


@pytest.fixture(scope="session", autouse=True)
def shared_types() -> Iterator[None]:
    """Read the types of PostgreSQL once in a session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adbc, "connect", SharedTypes(adbc.connect).connect)
        yield


def _cached(draw: Callable[..., Plots]) -> Callable[..., Plots]:
    """Cache a function by the values of its arguments, which may be mappings."""
    plots: dict[bytes, Plots] = {}

    def draw_once(*arguments: object) -> Plots:
        key = pickle.dumps(arguments)
        if key not in plots:
            plots[key] = draw(*arguments)
        return plots[key]

    return draw_once


# The data of tests need not survive a power cut, and no database lives long enough to be vacuumed.
_SERVER_SETTINGS = ("fsync = off", "full_page_writes = off", "autovacuum = off", "max_wal_size = '128MB'")


@pytest.fixture(scope="session")
def embedded_server() -> Iterator[EmbeddedServer]:
    """A running server that all tests of a session share: no test may stop it."""
    directory = Path(tempfile.mkdtemp(prefix="snapshot-pipeline-tests-", dir=directory_in_memory()))
    directory.chmod(0o711)  # root's server runs as another account, which must pass through
    server = EmbeddedServer(directory)
    server.start()
    admin = create_engine(server.url("postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        for setting in _SERVER_SETTINGS:
            connection.execute(text(f"ALTER SYSTEM SET {setting}"))
        connection.execute(text("SELECT pg_reload_conf()"))
    admin.dispose()
    yield server
    server.delete()
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> URL:
    """A superuser's URL of a real server: `SNAPSHOT_TEST_SERVER_URL`, or one started for the session."""
    if named := os.environ.get("SNAPSHOT_TEST_SERVER_URL"):
        return make_url(named).set(drivername="postgresql+psycopg2")
    server: EmbeddedServer = request.getfixturevalue("embedded_server")
    return server.url("postgres")


@pytest.fixture
def database_url(server_url: URL) -> Iterator[URL]:
    """The URL of a new, empty database, dropped after the test."""
    with new_database(server_url) as url:
        yield url


@pytest.fixture(scope="module")
def module_database_url(server_url: URL) -> Iterator[URL]:
    """The URL of a new, empty database for all tests of a file."""
    with new_database(server_url) as url:
        yield url


# Templates: made once a session, never changed, only copied.


@pytest.fixture(scope="session")
def migrated_template(server_url: URL) -> Iterator[URL]:
    """A database with our empty tables, with partitions for 2025 and 2026."""
    with new_database(server_url) as url:
        engine = create_engine(url, poolclass=NullPool)
        migrate(engine, "public")
        ensure_partitions(engine, StoreTables.of("public"), date(2025, 1, 1), date(2026, 12, 31))
        yield url


@pytest.fixture(scope="session")
def sample_template(server_url: URL) -> Iterator[URL]:
    """A database with the students of `SAMPLE` and our empty tables."""
    with new_database(server_url) as url:
        load_sample(SAMPLE, url, "public")
        with installation_on(url):
            pass  # creates our tables
        yield url


@pytest.fixture(scope="session")
def computed_template(server_url: URL, sample_template: URL) -> Iterator[URL]:
    """The same with the snapshots of the days `COMPUTED`."""
    with new_database(server_url, sample_template) as url:
        with installation_on(url) as installation:
            run_days(installation, COMPUTED[0], COMPUTED[-1], "first")
        yield url


@pytest.fixture(scope="session")
def failed_template(server_url: URL, sample_template: URL) -> Iterator[URL]:
    """The same, except that the computation of six students raised on each of the days."""
    with new_database(server_url, sample_template) as url:
        with installation_on(url) as installation, raising_for(students_started_before(url, COMPUTED[0], 6)):
            run_days(installation, COMPUTED[0], COMPUTED[-1], "first")
        yield url


@pytest.fixture
def sample_url(server_url: URL, sample_template: URL) -> Iterator[URL]:
    """A copy of the sample's database, for one test."""
    with new_database(server_url, sample_template) as url:
        yield url
