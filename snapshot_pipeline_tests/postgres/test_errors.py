"""What is tried again and what is not, by the errors that real servers and real drivers raise."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import adbc_driver_manager
import adbc_driver_postgresql.dbapi as adbc
import psycopg2
import pyarrow as pa
import pytest
import sqlalchemy.exc
from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.postgres import errors as postgres_errors
from snapshot_pipeline.postgres.errors import MAX_ATTEMPTS, is_transient, readable_database_errors, retry_transient
from snapshot_pipeline.postgres.urls import adbc_uri


@contextlib.contextmanager
def by_psycopg2(url: URL) -> Iterator[Callable[[str], object]]:
    with contextlib.closing(psycopg2.connect(adbc_uri(url))) as connection:
        yield lambda statement: connection.cursor().execute(statement)


@contextlib.contextmanager
def by_sqlalchemy(url: URL) -> Iterator[Callable[[str], object]]:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        yield lambda statement: connection.execute(text(statement))


@contextlib.contextmanager
def by_adbc(url: URL) -> Iterator[Callable[[str], object]]:
    connection = adbc.connect(adbc_uri(url))

    def execute(statement: str) -> object:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetch_arrow_table()

    yield execute
    connection.close()


@contextlib.contextmanager
def by_adbc_in_bulk(url: URL) -> Iterator[Callable[[str], object]]:
    """COPY, where libpq itself notices the loss and there is no SQLSTATE."""
    connection = adbc.connect(adbc_uri(url))

    def execute(statement: str) -> object:
        with connection.cursor() as cursor:
            if "pg_sleep" not in statement:
                cursor.execute(statement)
                return cursor.fetch_arrow_table()
            return cursor.adbc_ingest("numbers", pa.table({"n": pa.array([1], pa.int64())}), mode="create")

    yield execute
    connection.close()


DRIVERS = pytest.mark.parametrize("driver", [by_psycopg2, by_sqlalchemy, by_adbc, by_adbc_in_bulk])


def end_all_sessions(url: URL) -> int:
    with contextlib.closing(psycopg2.connect(adbc_uri(url))) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        (ended,) = cursor.fetchone() or (0,)
        return int(ended)


@DRIVERS
def test_a_session_that_an_administrator_ends_passes(database_url: URL, driver):
    with driver(database_url) as execute:
        execute("SELECT 1")
        assert end_all_sessions(database_url) == 1
        with pytest.raises(Exception) as caught:  # noqa: PT011  # each driver has an error of its own
            execute("SELECT pg_sleep(0)")
        assert is_transient(caught.value)


def test_a_commit_whose_answer_never_comes_passes(database_url: URL):
    connection = adbc.connect(adbc_uri(database_url))
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    end_all_sessions(database_url)
    with pytest.raises(adbc.Error) as caught:
        connection.commit()
    assert is_transient(caught.value)
    connection.close()


@DRIVERS
def test_a_refused_connection_passes_and_a_wrong_password_does_not(database_url: URL, driver):
    for url, passes in (
        (database_url.set(port=1), True),
        (database_url.set(password="wrong"), False),  # noqa: S106
        (database_url.set(database="nowhere"), False),
        (database_url.set(username="nobody at all"), False),
    ):
        with pytest.raises(Exception) as caught, driver(url) as execute:  # noqa: PT011
            execute("SELECT 1")
        assert is_transient(caught.value) is passes, caught.value


@DRIVERS
@pytest.mark.parametrize(
    ("code", "passes"),
    [
        ("08006", True),
        ("57P01", True),
        ("57P03", True),
        ("53300", True),
        ("40001", True),
        ("40P01", True),
        ("55P03", True),
        ("23505", True),
        ("22P02", False),  # a student's data
        ("57014", False),  # it would take too long again
        ("53100", False),
        ("25006", False),
        ("42501", False),
        ("42P01", False),
        ("28P01", False),
        ("XX000", False),
    ],
)
def test_what_the_server_says_decides(database_url: URL, driver, code: str, passes: bool):
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'connection refused, said somebody' USING ERRCODE = '{code}'; END $$"
    with driver(database_url) as execute, pytest.raises(Exception) as caught:  # noqa: PT011
        execute(raising)
    assert is_transient(caught.value) is passes


def test_our_own_error_passes_when_what_it_was_raised_from_does(database_url: URL):
    unreachable = database_url.set(port=1)
    with pytest.raises(SnapshotPipelineError) as caught, readable_database_errors(unreachable):
        psycopg2.connect(adbc_uri(unreachable))
    assert is_transient(caught.value)
    assert not is_transient(SnapshotPipelineError("a setting"))
    assert not is_transient(ValueError("server closed the connection"))
    assert not is_transient(None)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that would have been made."""
    made: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", made.append)
    return made


def lost() -> adbc_driver_manager.OperationalError:
    return adbc_driver_manager.OperationalError(
        "server closed the connection unexpectedly", status_code=adbc_driver_manager.AdbcStatusCode.IO
    )


def test_what_passes_is_tried_again_until_it_succeeds(pauses: list[float]):
    left = [lost(), lost()]

    def attempt() -> str:
        if left:
            raise left.pop()
        return "done"

    assert retry_transient(attempt) == "done"
    assert len(pauses) == 2


def test_patience_ends_after_a_minute_with_the_last_error(pauses: list[float]):
    tries: list[adbc_driver_manager.OperationalError] = []

    def attempt() -> None:
        tries.append(lost())
        raise tries[-1]

    with pytest.raises(adbc_driver_manager.OperationalError) as caught:
        retry_transient(attempt)
    assert caught.value is tries[-1]
    assert len(tries) == MAX_ATTEMPTS
    assert 45 <= sum(pauses) <= 60
    assert max(pauses) <= postgres_errors.MAX_WAIT + postgres_errors.JITTER


def test_what_does_not_pass_is_raised_at_once(pauses: list[float]):
    def attempt() -> None:
        raise sqlalchemy.exc.ProgrammingError("SELECT 1", {}, psycopg2.ProgrammingError("no"))

    with pytest.raises(sqlalchemy.exc.ProgrammingError):
        retry_transient(attempt)
    assert pauses == []
