"""Lasting faults: a one-line error, only complete batches published, and success once the fault is removed.

Each fault is injected after the first of three batches; after its removal the same run succeeds.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL
from sqlalchemy.exc import OperationalError

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.postgres.errors import is_transient
from snapshot_pipeline_tests.integration.database_faults.faults import after_first_batch, run, slowed
from snapshot_pipeline_tests.integration.embedded.servers import data_of
from snapshot_pipeline_tests.integration.embedded.servers import execute as execute_on
from snapshot_pipeline_tests.pipeline.installations import (
    Tables,
    differences,
    execute,
    installation_on,
    published,
)


def failure(url: URL, fault: list[str], *, published: bool = False, **settings: object) -> str:
    """Inject a fault after a run's first batch was computed, or published; return the error message of the run."""
    injected: list[bool] = []

    def inject() -> None:
        execute(url, *fault)
        injected.append(True)

    with pytest.raises(SnapshotPipelineError) as caught:
        run(url, after_first_batch(inject, published=published), **settings)
    assert injected == [True]
    assert not is_transient(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_first_batch_only(url: URL, faultless: Tables) -> None:
    """Assert that the published rows are correct and of complete students, and that no day is recorded as computed."""
    with installation_on(url) as installation:
        tables = published(installation)
    assert tables["snapshot_days"].num_rows == 0
    for name in ("performance_snapshots", "snapshot_failures"):
        rows, expected_rows = tables[name].to_pylist(), faultless[name].to_pylist()
        users = {row["user_id"] for row in tables["performance_snapshots"].to_pylist()}
        assert all(row in expected_rows for row in rows)
        if name == "performance_snapshots":
            assert 0 < len(rows) < len(expected_rows)
            assert rows == [row for row in expected_rows if row["user_id"] in users]


def assert_nothing_published(url: URL) -> None:
    """Assert that a run that failed while it computed has published nothing."""
    with installation_on(url) as installation:
        tables = published(installation)
    assert [tables[name].num_rows for name in ("snapshot_days", "performance_snapshots", "snapshot_failures")] == [
        0
    ] * 3


def assert_run_succeeds(url: URL, faultless: Tables) -> None:
    run(url)
    with installation_on(url) as installation:
        assert differences(published(installation), faultless) == []


DATABASE_FAULTS = {
    "a table is renamed": (
        ["ALTER TABLE quiz_attempts RENAME TO attempts"],
        ["ALTER TABLE attempts RENAME TO quiz_attempts"],
        r'a table or column in .* differs from what .*quiz_attempts" does not exist.*snapshot-pipeline check',
    ),
    "a column is renamed": (
        ["ALTER TABLE quiz_attempts RENAME score TO points"],
        ["ALTER TABLE quiz_attempts RENAME points TO score"],
        r"a table or column in .* differs from what .*score does not exist.*snapshot-pipeline check",
    ),
    "a column changes its type": (
        ["ALTER TABLE quiz_attempts ALTER completed_at TYPE text"],
        ["ALTER TABLE quiz_attempts ALTER completed_at TYPE timestamptz USING completed_at::timestamptz"],
        r"a table or column in .* differs from what .*operator does not exist: text.*snapshot-pipeline check",
    ),
    "one of our own tables is dropped": (
        ["ALTER TABLE performance_snapshots RENAME TO renamed"],
        ["ALTER TABLE renamed RENAME TO performance_snapshots"],
        r'"public.performance_snapshots" does not exist',
    ),
    "the disk is full": (
        [
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION "
            "'could not extend file \"base/1/2\": No space left on device' USING ERRCODE = '53100'; END $$",
            "CREATE TRIGGER full_disk AFTER INSERT ON performance_snapshots FOR EACH STATEMENT "
            "EXECUTE FUNCTION full_disk()",
        ],
        ["DROP FUNCTION full_disk CASCADE"],
        "the disk is full .*free space there",
    ),
}


@pytest.mark.parametrize("name", DATABASE_FAULTS)
def test_lasting_fault_fails_the_run_with_a_one_line_error(name: str, sample_url: URL, faultless: Tables):
    fault, fix, message_pattern = DATABASE_FAULTS[name]
    is_of_the_platform = "quiz_attempts" in fault[0]
    message = failure(sample_url, fault, published=not is_of_the_platform)
    assert re.search(message_pattern, message), message
    execute(sample_url, *fix)
    if is_of_the_platform:
        assert_nothing_published(sample_url)
    else:
        assert_first_batch_only(sample_url, faultless)
    assert_run_succeeds(sample_url, faultless)


def test_read_only_database_is_reported(sample_url: URL, faultless: Tables):
    name = sample_url.database
    message = failure(sample_url, [f"ALTER DATABASE {name} SET default_transaction_read_only = on"], published=True)
    assert "accepts no writes" in message
    assert "default_transaction_read_only" in message
    execute(sample_url, "SET TRANSACTION READ WRITE", f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert_first_batch_only(sample_url, faultless)
    assert_run_succeeds(sample_url, faultless)


def test_revoked_permission_is_reported_with_the_grant(sample_url: URL, faultless: Tables):
    role = f"reader_{sample_url.database}"
    execute(
        sample_url,
        f"CREATE ROLE {role} LOGIN PASSWORD 'reader'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
    )
    try:
        reader = sample_url.set(username=role, password="reader")  # noqa: S106
        revoke = f"REVOKE SELECT ON quiz_attempts FROM {role}"  # noqa: S608
        with pytest.raises(SnapshotPipelineError, match=rf"GRANT SELECT ON .*quiz_attempts TO {role}"):
            run(reader, after_first_batch(lambda: execute(sample_url, revoke)))
        assert_nothing_published(sample_url)
        assert_run_succeeds(sample_url, faultless)
    finally:
        execute(sample_url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def test_statement_timeout_is_not_retried(sample_url: URL, caplog: pytest.LogCaptureFixture):
    message = failure(sample_url, slowed("exercise_submissions", 30), statement_timeout_seconds=4)
    assert "SNAPSHOT_STATEMENT_TIMEOUT_SECONDS" in message
    assert "transient error" not in caplog.text


@pytest.fixture
def small_disk(own_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tablespace on a file system of eight megabytes; only root can mount one."""
    directory = Path(data_of(own_server)).parent / "small_disk"
    directory.mkdir(exist_ok=True)
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", directory], check=False, capture_output=True
        ).returncode
    )
    if not mounted:
        directory.rmdir()
        pytest.skip("a file system can be mounted by root only, and not in every container")
    owner = data_of(own_server).stat()
    os.chown(directory, owner.st_uid, owner.st_gid)
    execute_on(own_server, f"CREATE TABLESPACE small LOCATION '{directory}'")
    try:
        yield "small"
    finally:
        execute_on(own_server, "ALTER TABLE performance_snapshots SET TABLESPACE pg_default")  # of later partitions
        execute_on(own_server, "ALTER TABLE ALL IN TABLESPACE small SET TABLESPACE pg_default")
        execute_on(own_server, "DROP TABLE IF EXISTS ballast")
        execute_on(own_server, "DROP TABLESPACE small")
        subprocess.run(["umount", directory], check=True)
        directory.rmdir()


def test_full_disk_is_reported(own_server: EmbeddedServer, small_disk: str, faultless: Tables):
    url = own_server.url("platform")
    with installation_on(url):
        pass  # creates our tables
    execute(url, f"ALTER TABLE performance_snapshots SET TABLESPACE {small_disk}")

    def fill() -> None:
        execute(url, f"CREATE TABLE ballast (filling text STORAGE PLAIN) TABLESPACE {small_disk}")
        filled = 0
        while filled < 2:  # first with large inserts, then with small ones
            rows = 1 if filled else 140
            try:
                execute(url, f"INSERT INTO ballast SELECT repeat('x', 7000) FROM generate_series(1, {rows})")  # noqa: S608
            except OperationalError as error:
                if "No space left on device" not in str(error):
                    raise
                filled += 1

    with pytest.raises(SnapshotPipelineError, match=r"the disk is full .*No space left on device"):
        run(url, after_first_batch(fill, published=True), batch_rows=750)
    execute(url, "DROP TABLE ballast")
    assert_first_batch_only(url, faultless)
    assert_run_succeeds(url, faultless)
