"""The connections and queries of a run, and that it survives the loss of a pooled connection.

Counted, never timed: a connection costs the server a process, and a run of a month once opened six hundred.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import dagster as dg
import pytest
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.orchestration.instance.database import has_dagster_tables
from snapshot_pipeline.orchestration.instance.storage import SnapshotStorage, _engine
from snapshot_pipeline.orchestration.names import POOLS
from snapshot_pipeline.orchestration.partitioned_checks import last_materializations
from snapshot_pipeline_tests.commands import run_command
from snapshot_pipeline_tests.installation import PROJECT, UNTIL, TestInstallation
from snapshot_pipeline_tests.pipeline.installations import execute, new_database
from snapshot_pipeline_tests.waiting import wait_for

LAST = UNTIL - timedelta(days=1)
MONTH = [LAST - timedelta(days=number) for number in reversed(range(30))]
KEY = dg.AssetKey("performance_snapshots")
BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE"
MOST_CONNECTIONS = 20
"""Two to Dagster's database, one to the platform's, the run's lock, four bulk transfers of ADBC, which opens two for
each, those of the summary, and one for the table that is printed; and room for what two threads ask at a time."""


@pytest.fixture(scope="module")
def admin(installation: TestInstallation) -> Iterator[Engine]:
    """A connection to neither of the two databases, so that it does not count."""
    engine = create_engine(installation.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


def names(installation: TestInstallation) -> list[str]:
    return [str(installation.url.database), str(installation.dagster_url.database)]


def sessions(admin: Engine, installation: TestInstallation) -> int:
    """How many connections were ever opened to both databases, once those of other processes have ended."""
    living = text("SELECT count(*) FROM pg_stat_activity WHERE datname = ANY(:names)")
    opened = text("SELECT sum(sessions)::bigint FROM pg_stat_database WHERE datname = ANY(:names)")
    with admin.connect() as connection:
        wait_for(
            lambda: connection.execute(living, {"names": names(installation)}).scalar_one() == 0 or None,
            "all connections have ended",
            30,
        )
        return int(connection.execute(opened, {"names": names(installation)}).scalar_one())


def end_all_sessions(admin: Engine, installation: TestInstallation) -> int:
    end = text("SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = ANY(:names)")
    with admin.connect() as connection:
        return int(connection.execute(end, {"names": names(installation)}).scalar_one())


def materialize(installation: TestInstallation, first: date, last: date) -> None:
    run_command(["materialize", "--from", str(first), "--to", str(last)], installation.environment).check_returncode()


def test_the_number_of_connections_does_not_grow_with_the_days_of_a_run(installation: TestInstallation, admin: Engine):
    materialize(installation, LAST, LAST)  # makes the tables, which the others find
    opened = {}
    for days in (MONTH[-1:], MONTH):
        end_all_sessions(admin, installation)  # those that this process keeps open
        before = sessions(admin, installation)
        materialize(installation, days[0], days[-1])
        opened[len(days)] = sessions(admin, installation) - before
    assert 0 < opened[1] <= MOST_CONNECTIONS
    assert opened[30] <= MOST_CONNECTIONS


def test_finding_materializations_takes_the_same_queries_for_any_range(
    installation: TestInstallation,
):
    """After the run of the month above."""
    statements: list[str] = []

    @event.listens_for(Engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    asked = {}
    for days in (MONTH[-1:], MONTH):
        statements.clear()
        targets = last_materializations(installation.instance, KEY, days)
        assert set(targets) == set(days)
        asked[len(days)] = len(statements)
    event.remove(Engine, "before_cursor_execute", note)
    assert asked[1] == asked[30] > 0


def test_each_day_of_a_range_refers_to_its_own_materialization(installation: TestInstallation):
    """After the same run: the newest materialization of the day, not the newest of the run."""
    for day, target in last_materializations(installation.instance, KEY, MONTH).items():
        newest = installation.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=KEY, asset_partitions=[day.isoformat()]), limit=1
        ).records[0]
        assert (target.storage_id, target.run_id, target.timestamp) == (
            newest.storage_id,
            newest.run_id,
            newest.timestamp,
        )


def test_a_day_that_was_never_materialized_has_no_materialization(installation: TestInstallation):
    assert last_materializations(installation.instance, KEY, [date(2020, 1, 1)]) == {}


def test_a_closed_connection_is_replaced_silently(installation: TestInstallation, admin: Engine):
    """A restart of the database between two queries must not fail a run, as it did not without a pool."""
    before = installation.instance.get_runs_count()
    assert end_all_sessions(admin, installation) > 0
    assert installation.instance.get_runs_count() == before


def test_an_empty_storage_can_be_opened_by_several_processes_at_once(
    installation: TestInstallation, server_url: URL, monkeypatch: pytest.MonkeyPatch
):
    """Web server, daemon and a command start together; each finds no table, and each would create them."""
    openers = 4
    all_have_looked = threading.Barrier(openers)
    found: list[bool] = []
    waiting = threading.local()

    def look(connection: Connection, url: URL) -> bool:
        has_tables = has_dagster_tables(connection, url)
        if not getattr(waiting, "is_over", False):
            waiting.is_over = True
            found.append(has_tables)
            all_have_looked.wait(60)
        return has_tables

    monkeypatch.setattr("snapshot_pipeline.orchestration.instance.storage.has_dagster_tables", look)
    with new_database(server_url) as url:
        monkeypatch.setenv("SNAPSHOT_DAGSTER_DATABASE_URL", url.render_as_string(hide_password=False))
        with ThreadPoolExecutor(openers) as threads:
            opened = [threads.submit(SnapshotStorage.from_config_value, None, {}) for _ in range(openers)]
            storages = [future.result() for future in opened]
        assert found == [False] * openers  # the fault was injected: all of them have seen an empty database
        assert {tuple(storage.run_storage.get_runs()) for storage in storages} == {()}
        assert set(POOLS) <= storages[0].event_log_storage.get_concurrency_keys()


def test_a_process_waits_for_a_free_connection(
    installation: TestInstallation, server_url: URL, monkeypatch: pytest.MonkeyPatch
):
    """A run launched while all connections are in use begins when one is free, instead of failing for good."""
    refused: list[str] = []

    def until_free(seconds: float) -> None:
        """Called after each refusal; the other session ends after the second one."""
        refused.append(f"waits {seconds} s")
        if len(refused) == 2:
            other.close()

    monkeypatch.setattr("snapshot_pipeline.orchestration.instance.storage.time.sleep", until_free)
    role = f"limited_{uuid.uuid4().hex[:8]}"
    with new_database(server_url) as url:
        execute(url, f"CREATE ROLE {role} LOGIN PASSWORD '{role}' CONNECTION LIMIT 1")
        limited = url.set(username=role, password=role)
        engine = _engine(limited, 0)
        other = create_engine(limited, poolclass=NullPool).connect()
        try:
            with engine.connect() as connection:
                assert connection.execute(text("SELECT current_user")).scalar_one() == role
            assert refused == ["waits 0.5 s"] * 2
        finally:
            other.close()
            engine.dispose()
            execute(url, f"DROP ROLE {role}")


def test_a_forked_process_uses_its_own_connection(installation: TestInstallation):
    """Two processes on one connection read each other's answers."""
    code = (
        "import os, dagster as dg\n"
        "def ask():\n"
        "    with dg.DagsterInstance.get() as instance:\n"
        "        return [instance.get_runs_count() for _ in range(50)]\n"
        "before = ask()\n"
        "child = os.fork()\n"
        "answers = ask()\n"
        "if child == 0:\n"
        "    os._exit(answers != before)\n"
        "_, status = os.waitpid(child, 0)\n"
        "assert answers == before and status == 0, (answers, before, status)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], env=installation.environment, cwd=PROJECT, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr[-2000:]


@pytest.mark.parametrize(("set_to", "expected"), [(None, "50"), ("7", "7")])
def test_events_are_written_in_batches_of_the_default_or_configured_size(
    installation: TestInstallation, set_to: str | None, expected: str
):
    """Under a bare `dagster dev` as under ours; what the operator has set is left as it is."""
    environment = {name: value for name, value in installation.environment.items() if name != BATCH_SIZE}
    if set_to:
        environment[BATCH_SIZE] = set_to
    code = f"import os, dagster as dg\ndg.DagsterInstance.get()\nprint(os.environ['{BATCH_SIZE}'])"
    finished = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert finished.stdout.split() == [expected]
