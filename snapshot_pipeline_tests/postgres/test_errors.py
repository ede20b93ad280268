"""What users read when a database refuses, and what is retried: with the errors of real servers and real drivers."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
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
from snapshot_pipeline.postgres import errors
from snapshot_pipeline.postgres.engines import check_connection
from snapshot_pipeline.postgres.errors import (
    MAX_ATTEMPTS,
    DatabaseError,
    is_transient,
    readable_database_errors,
    retry_transient,
)
from snapshot_pipeline.postgres.urls import DRIVER, adbc_uri
from snapshot_pipeline_tests.postgres.administration import PASSWORD, SECRET, administration

Execute = Callable[[str], object]
Driver = Callable[[URL], contextlib.AbstractContextManager[Execute]]


@contextlib.contextmanager
def psycopg2_driver(url: URL) -> Iterator[Execute]:
    with contextlib.closing(psycopg2.connect(adbc_uri(url))) as connection:
        yield lambda statement: connection.cursor().execute(statement)


@contextlib.contextmanager
def sqlalchemy_driver(url: URL) -> Iterator[Execute]:
    with create_engine(url, poolclass=NullPool).connect() as connection:
        yield lambda statement: connection.execute(text(statement))


@contextlib.contextmanager
def adbc_driver(url: URL) -> Iterator[Execute]:
    connection = adbc.connect(adbc_uri(url))

    def execute(statement: str) -> object:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetch_arrow_table()

    yield execute
    connection.close()


@contextlib.contextmanager
def adbc_copy_driver(url: URL) -> Iterator[Execute]:
    """COPY instead of pg_sleep: libpq itself notices the loss of the connection, and there is no SQLSTATE."""
    connection = adbc.connect(adbc_uri(url))

    def execute(statement: str) -> object:
        with connection.cursor() as cursor:
            if "pg_sleep" not in statement:
                cursor.execute(statement)
                return cursor.fetch_arrow_table()
            return cursor.adbc_ingest("numbers", pa.table({"n": pa.array([1], pa.int64())}), mode="create")

    yield execute
    connection.close()


THREE_DRIVERS = pytest.mark.parametrize("driver", [psycopg2_driver, sqlalchemy_driver, adbc_driver])
ALL_DRIVERS = pytest.mark.parametrize("driver", [psycopg2_driver, sqlalchemy_driver, adbc_driver, adbc_copy_driver])


# What a user reads


def refusal(driver: Driver, url: URL, statement: str = "SELECT 1") -> str | None:
    """Connect and execute; return the message of a `DatabaseError`, None if there is none."""
    try:
        with readable_database_errors(url), driver(url) as execute:
            execute(statement)
    except DatabaseError as error:
        line = str(error)
        assert "\n" not in line
        assert SECRET not in line
        assert PASSWORD not in line
        return line
    return None


@THREE_DRIVERS
def test_a_wrong_password_is_named_as_the_reason(role: URL, driver: Driver):
    message = refusal(driver, role.set(password=SECRET)) or ""
    assert "does not accept the user name and password" in message
    assert "percent-encoded" in message


@THREE_DRIVERS
def test_a_missing_database_comes_with_the_statement_that_creates_it(role: URL, driver: Driver):
    message = refusal(driver, role.set(database="No Such")) or ""
    assert "has no database 'No Such'" in message
    assert f'CREATE DATABASE "No Such" OWNER "{role.username}";' in message


def test_a_percent_sign_in_a_database_name_is_not_doubled(role: URL):
    """psycopg2's style of quoting doubles it, and the pasted statement would create another database."""
    with pytest.raises(DatabaseError) as caught:
        check_connection(role.set(database="50% Off"))
    assert 'CREATE DATABASE "50% Off" OWNER ' in str(caught.value)


@THREE_DRIVERS
def test_a_refused_connection_shows_the_url_without_its_password(role: URL, driver: Driver):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = role.set(host="127.0.0.1", port=closed.getsockname()[1], username="me")
    message = refusal(driver, url) or ""
    assert message.startswith(f"cannot connect to postgresql://me:***@127.0.0.1:{url.port}/")
    assert "refused" in message


def test_an_unknown_host_is_named_as_the_reason(role: URL):
    with pytest.raises(DatabaseError, match="could not translate host name"):
        check_connection(role.set(host="no-such-host.invalid"))


@THREE_DRIVERS
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM public.scores",
        "INSERT INTO public.scores VALUES (1)",
        'SELECT * FROM "My Schema".scores',
        'CREATE TABLE "My Schema".mine (a int)',
        'CREATE SCHEMA "snapshots of ours"',
    ],
)
def test_the_advised_grant_gives_the_missing_privilege(database: URL, role: URL, driver: Driver, statement: str):
    """Each grant is executed until the statement succeeds: one that did not help would be worse than none."""
    with administration(database) as administer:
        grants: list[str] = []
        while (message := refusal(driver, role, statement)) is not None:
            assert "lacks a privilege: permission denied for" in message
            grants.append(message.split("run as its owner: ")[1])
            assert len(grants) <= 2, grants
            administer(grants[-1])
        assert grants


@THREE_DRIVERS
def test_a_connection_that_the_server_ends_is_reported_as_lost(database: URL, driver: Driver):
    message = refusal(driver, database, "SELECT pg_terminate_backend(pg_backend_pid())") or ""
    assert message.startswith("the connection to postgresql://")
    assert "was lost: " in message
    assert "terminat" in message


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("53300", "the connection to {url} was lost: "),
        ("55P03", "a table in {url} was locked for longer than SNAPSHOT_LOCK_TIMEOUT_SECONDS: "),
        ("57014", "a statement in {url} was canceled: "),
        ("40P01", "two transactions in {url} were in conflict: "),
        ("25006", "{url} accepts no writes: "),
        ("53100", "the disk is full on the server of {url}: "),
        ("53200", "the server of {url} has reached one of its limits: "),
        ("42P01", "a table or column in {url} differs from what the pipeline needs: "),
    ],
)
@THREE_DRIVERS
def test_the_sqlstate_selects_the_message(database: URL, driver: Driver, code: str, expected: str):
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'raised here' USING ERRCODE = '{code}'; END $$"
    message = refusal(driver, database, raising) or ""
    url = database.set(drivername="postgresql").render_as_string()
    assert message.startswith(expected.format(url=url)), message
    assert "raised here" in message


def test_an_error_that_no_user_can_fix_passes_through_unchanged(database: URL):
    with pytest.raises(sqlalchemy.exc.ProgrammingError):
        refusal(sqlalchemy_driver, database, "SELEC 1")
    with pytest.raises(psycopg2.errors.DivisionByZero):
        refusal(psycopg2_driver, database, "SELECT 1 / 0")
    with pytest.raises(adbc.Error):
        refusal(adbc_driver, database, "SELEC 1")
    with pytest.raises(KeyError), readable_database_errors(database):
        raise KeyError("ours")


# What is transient


def terminate_other_sessions(url: URL) -> int:
    with contextlib.closing(psycopg2.connect(adbc_uri(url))) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        (count,) = cursor.fetchone() or (0,)
        return int(count)


@ALL_DRIVERS
def test_a_session_that_an_administrator_terminates_is_transient(database_url: URL, driver: Driver):
    with driver(database_url) as execute:
        execute("SELECT 1")
        assert terminate_other_sessions(database_url) == 1
        with pytest.raises(Exception) as caught:  # noqa: PT011  # each driver has its own error class
            execute("SELECT pg_sleep(0)")
        assert is_transient(caught.value)


def test_a_commit_that_gets_no_answer_is_transient(database_url: URL):
    connection = adbc.connect(adbc_uri(database_url))
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    terminate_other_sessions(database_url)
    with pytest.raises(adbc.Error) as caught:
        connection.commit()
    assert is_transient(caught.value)
    connection.close()


@ALL_DRIVERS
def test_a_refused_connection_is_transient_and_a_wrong_login_is_not(database_url: URL, driver: Driver):
    for url, expected in (
        (database_url.set(port=1), True),
        (database_url.set(password="wrong"), False),  # noqa: S106
        (database_url.set(database="nowhere"), False),
        (database_url.set(username="unknown user"), False),
    ):
        with pytest.raises(Exception) as caught, driver(url) as execute:  # noqa: PT011
            execute("SELECT 1")
        assert is_transient(caught.value) is expected, caught.value


@ALL_DRIVERS
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("08006", True),
        ("57P01", True),
        ("57P03", True),
        ("57P05", True),
        ("53300", True),
        ("40001", True),
        ("40P01", True),
        ("55P03", True),
        ("23505", True),
        ("25P03", True),
        ("25P04", False),
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
def test_the_sqlstate_decides_and_not_the_message(database_url: URL, driver: Driver, code: str, expected: bool):
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'connection refused' USING ERRCODE = '{code}'; END $$"
    with driver(database_url) as execute, pytest.raises(Exception) as caught:  # noqa: PT011
        execute(raising)
    assert is_transient(caught.value) is expected


def test_an_error_of_ours_is_transient_if_its_cause_is(database_url: URL):
    unreachable = database_url.set(port=1)
    with pytest.raises(SnapshotPipelineError) as caught, readable_database_errors(unreachable):
        psycopg2.connect(adbc_uri(unreachable))
    assert is_transient(caught.value)
    assert not is_transient(SnapshotPipelineError("a setting"))
    assert not is_transient(ValueError("server closed the connection"))
    assert not is_transient(None)


# Servers whose messages are not English


@contextlib.contextmanager
def refusing_server(message: str, sqlstate: str) -> Iterator[URL]:
    """A server that refuses every connection with a FATAL message, as PostgreSQL does before the login."""
    fields = b"".join(
        code + value.encode() + b"\0" for code, value in ((b"S", "FATAL"), (b"C", sqlstate), (b"M", message))
    )
    answer = b"E" + struct.pack("!I", len(fields) + 5) + fields + b"\0"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.recv(10_000)
                        client.sendall(answer)
                        client.shutdown(socket.SHUT_WR)
                        client.recv(10_000)

        threading.Thread(target=serve, daemon=True).start()
        url = URL.create(DRIVER, "me", "secret", "127.0.0.1", listener.getsockname()[1], "app")
        yield url.set(query={"sslmode": "disable", "gssencmode": "disable"})
        listener.shutdown(socket.SHUT_RDWR)


@ALL_DRIVERS
@pytest.mark.parametrize(
    ("message", "sqlstate", "expected"),
    [
        ("das Datenbanksystem startet gerade", "57P03", True),
        ("le système de bases de données s'arrête", "57P03", True),
        ("lo siento, ya tenemos demasiados clientes", "53300", True),
        # Not known, so it is reported after the retries.
        ("Passwort-Authentifizierung für Benutzer »me« fehlgeschlagen", "28P01", True),
        ('password authentication failed for user "me"', "28P01", False),
        ('no pg_hba.conf entry for host "127.0.0.1", user "me", database "app", no encryption', "28000", False),
        ('role "me" is not permitted to log in', "28000", False),
        ('database "app" does not exist', "3D000", False),
    ],
)
def test_a_refused_connection_is_transient_in_every_language(
    driver: Driver, message: str, sqlstate: str, expected: bool
):
    """A failed connection has no SQLSTATE in either driver, and the server writes its message in its language."""
    with refusing_server(message, sqlstate) as url:
        with pytest.raises(Exception) as caught, driver(url) as execute:  # noqa: PT011
            execute("SELECT 1")
        assert message in str(caught.value)
        assert errors.sqlstate(caught.value) is None
        assert is_transient(caught.value) is expected
        shown = refusal(driver, url) or ""
        assert (message in shown and "check" in shown) or "create it there (CREATE DATABASE app OWNER me;)" in shown


def test_a_missing_privilege_in_another_language_names_the_command(database: URL):
    raising = "DO $$ BEGIN RAISE EXCEPTION 'keine Berechtigung für Tabelle x' USING ERRCODE = '42501'; END $$"
    message = refusal(sqlalchemy_driver, database, raising) or ""
    assert "lacks a privilege: keine Berechtigung für Tabelle x" in message
    assert message.endswith("run `snapshot-pipeline check`, which names the GRANT")


# Retries


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each wait between attempts, none of which takes place."""
    seconds: list[float] = []
    monkeypatch.setattr("tenacity.nap.time.sleep", seconds.append)
    return seconds


def lost_connection() -> adbc_driver_manager.OperationalError:
    return adbc_driver_manager.OperationalError(
        "server closed the connection unexpectedly", status_code=adbc_driver_manager.AdbcStatusCode.IO
    )


def test_a_transient_error_is_retried_until_the_call_succeeds(waits: list[float]):
    pending = [lost_connection(), lost_connection()]

    def attempt(first: int, *, second: int) -> int:
        if pending:
            raise pending.pop()
        return first + second

    assert retry_transient(attempt, 1, second=2) == 3
    assert len(waits) == 2


def test_after_a_minute_of_retries_the_last_error_is_raised(waits: list[float]):
    raised: list[adbc_driver_manager.OperationalError] = []

    def attempt() -> None:
        raised.append(lost_connection())
        raise raised[-1]

    with pytest.raises(adbc_driver_manager.OperationalError) as caught:
        retry_transient(attempt)
    assert caught.value is raised[-1]
    assert len(raised) == MAX_ATTEMPTS
    assert 45 <= sum(waits) <= 60
    assert max(waits) <= errors.MAX_WAIT + errors.JITTER


def test_a_lasting_error_is_raised_at_once(waits: list[float]):
    def attempt() -> None:
        raise sqlalchemy.exc.ProgrammingError("SELECT 1", {}, psycopg2.ProgrammingError("no"))

    with pytest.raises(sqlalchemy.exc.ProgrammingError):
        retry_transient(attempt)
    assert waits == []
