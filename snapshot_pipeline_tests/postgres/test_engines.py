"""URLs in every spelling, and what a user reads when the database does not let them in."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from urllib.parse import quote

import adbc_driver_manager
import adbc_driver_postgresql.dbapi as adbc
import psycopg2
import pytest
import sqlalchemy.exc
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import parse_dsn
from sqlalchemy import URL, Connection, create_engine, text

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline.postgres.engines import (
    check_connection,
    create_platform_engine,
    dagster_url,
    platform_url,
    run_transaction,
)
from snapshot_pipeline.postgres.errors import DatabaseError, readable_database_errors
from snapshot_pipeline.postgres.urls import DatabaseUrlError, adbc_uri, masked_url, parse_url
from snapshot_pipeline.settings import Settings, load_settings

Execution = Callable[[URL, str], None]
Connect = Callable[[URL], None]
PASSWORD = "p@ss/w:rd%&#? ü'\"\\"  # noqa: S105
SECRET = "hunter2-secret"  # noqa: S105


def settings(**values: object) -> Settings:
    return load_settings(_env_file=None, **values)


@pytest.fixture(scope="module")
def database(server_url: URL) -> Iterator[URL]:
    """A database with tables in two schemas, for all tests of this module: each has a role of its own in it."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with administration(server_url) as execute:
        execute(f"CREATE DATABASE {name}")
        with administration(server_url.set(database=name)) as execute_there:
            execute_there("CREATE TABLE public.scores (a int)")
            execute_there('CREATE SCHEMA "My Schema"')
            execute_there('CREATE TABLE "My Schema".scores (a int)')
        yield server_url.set(database=name)
        execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def role(database: URL) -> Iterator[URL]:
    """A role with nothing but the right to connect, and a password that needs percent-encoding."""
    name = f"Reader {uuid.uuid4().hex[:12]}"
    with administration(database) as execute:
        quoted_password = PASSWORD.replace("'", "''")
        execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{quoted_password}'")
        yield database.set(username=name, password=PASSWORD)
        execute(f'DROP OWNED BY "{name}"')
        execute(f'DROP ROLE "{name}"')


@contextmanager
def administration(url: URL) -> Iterator[Callable[[str], object]]:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield lambda statement: connection.execute(text(statement))
    engine.dispose()


def written(url: URL, scheme: str) -> str:
    """The URL as a careful user writes it."""
    assert url.username is not None
    assert url.password is not None
    login = f"{quote(url.username, safe='')}:{quote(url.password, safe='')}"
    return f"{scheme}://{login}@{url.host}:{url.port}/{url.database}"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_a_password_of_special_characters_connects_in_every_spelling(role: URL, scheme: str) -> None:
    url = parse_url(written(role, scheme), "SNAPSHOT_DATABASE_URL")
    assert url.drivername == "postgresql+psycopg2"
    assert url.password == PASSWORD
    check_connection(url)
    with adbc.connect(adbc_uri(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_user::text")
        assert cursor.fetchone() == (role.username,)
    with closing(psycopg2.connect(adbc_uri(url))) as plain:
        assert plain.info.user == role.username


def test_what_is_shown_of_a_url_holds_no_password() -> None:
    url = parse_url(f"postgresql://me:{SECRET}@host/db?sslmode=require&sslpassword={SECRET}", "X")
    assert masked_url(url) == "postgresql://me:***@host/db?sslmode=require&sslpassword=%2A%2A%2A"


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (f"mysql://me:{SECRET}@host/db", "begins with mysql://"),
        (f"postgresql+asyncpg://me:{SECRET}@host/db", r"begins with postgresql\+asyncpg://"),
        (f"postgresql://me:{SECRET}@host", r"names no database \(postgresql://me:\*\*\*@host\)"),
        (f"postgresql://me:{SECRET}@host/", "names no database"),
        (f"postgresql://me:x@{SECRET}@host/db", "has more than one @"),
        (f"postgresql://me:x@y/{SECRET}@host/db", "has more than one @"),
        (f"postgresql://me:{SECRET}@host:port/db", "is not a valid URL"),
        (f"me:{SECRET}@host/db", "is not a valid URL"),
        (f"host=db password={SECRET}", "is not a valid URL"),
        (f"postgresql://me:{SECRET}@host/db?schema=public", "has the parameter 'schema'"),
    ],
)
def test_a_url_that_cannot_be_read_is_told_without_its_password(wrong: str, expected: str) -> None:
    with pytest.raises(DatabaseUrlError, match=f"^SNAPSHOT_DATABASE_URL {expected}") as caught:
        platform_url(settings(database_url=wrong))
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=12)


@given(user=TEXTS, password=TEXTS, database=TEXTS)
def test_libpq_reads_back_every_part_of_the_uri(user: str, password: str, database: str) -> None:
    url = URL.create("postgresql+psycopg2", user, password, "db.example.org", 5433, database)
    assert parse_dsn(adbc_uri(url)) == {
        "user": user,
        "password": password,
        "host": "db.example.org",
        "port": "5433",
        "dbname": database,
    }


@pytest.mark.parametrize(
    ("given_url", "expected"),
    [
        ("postgresql://u@[::1]:5433/db", {"user": "u", "host": "::1", "port": "5433", "dbname": "db"}),
        ("postgresql:///db", {"dbname": "db"}),
        ("postgresql:///db?host=/run/postgre%20sql", {"host": "/run/postgre sql", "dbname": "db"}),
        ("postgresql://u@/db?host=/run&port=6000", {"user": "u", "host": "/run", "port": "6000", "dbname": "db"}),
        ("postgresql:///db?host=a:1&host=b:2", {"host": "a,b", "port": "1,2", "dbname": "db"}),
        (
            "postgresql://h/db?sslmode=verify-full&options=-c%20search_path%3Dx",
            {"host": "h", "dbname": "db", "sslmode": "verify-full", "options": "-c search_path=x"},
        ),
    ],
)
def test_sockets_several_hosts_and_options_reach_libpq(given_url: str, expected: dict[str, str]) -> None:
    assert parse_dsn(adbc_uri(parse_url(given_url, "X"))) == expected


def test_parameters_of_the_driver_alone_do_not_reach_libpq() -> None:
    url = URL.create("postgresql+psycopg2", "u", "p", "h", database="d", query={"async_": "0", "sslmode": "disable"})
    assert adbc_uri(url) == "postgresql://u:p@h/d?sslmode=disable"


def test_dagster_s_database_is_found_beside_the_platform_s_or_named() -> None:
    one = settings(database_url="postgres://u:p@h:1/app?sslmode=require")
    assert masked_url(dagster_url(one)) == "postgresql://u:***@h:1/dagster?sslmode=require"
    two = settings(database_url="postgres://u:p@h:1/app", dagster_database_url="postgres://v:q@i/own")
    assert dagster_url(two).render_as_string(hide_password=False) == "postgresql+psycopg2://v:q@i/own"
    with pytest.raises(DatabaseUrlError, match=r"^SNAPSHOT_DAGSTER_DATABASE_URL begins with"):
        dagster_url(settings(dagster_database_url="sqlite:///x"))


def test_with_nothing_set_both_databases_are_on_the_embedded_server(embedded_server: EmbeddedServer) -> None:
    nothing_set = settings(home=embedded_server.home)
    assert platform_url(nothing_set) == embedded_server.url("platform")
    check_connection(dagster_url(nothing_set))
    engine = create_platform_engine(nothing_set)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT current_database()")) == "platform"
    engine.dispose()


def test_an_operator_recognizes_our_connections_of_both_kinds(database: URL) -> None:
    engine = create_platform_engine(settings(database_url=database.render_as_string(hide_password=False)))
    query = "SELECT current_setting('application_name')"
    with engine.connect() as connection:
        assert connection.scalar(text(query)) == "snapshot_pipeline"
    with adbc.connect(adbc_uri(engine.url)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        assert cursor.fetchone() == ("snapshot_pipeline",)
    assert "application_name" not in masked_url(engine.url)
    engine.dispose()


def connect_by_sqlalchemy(url: URL) -> None:
    check_connection(url)


def connect_by_psycopg2(url: URL) -> None:
    with readable_database_errors(url):
        psycopg2.connect(adbc_uri(url)).close()


def connect_by_adbc(url: URL) -> None:
    with readable_database_errors(url):
        adbc.connect(adbc_uri(url)).close()


WAYS = pytest.mark.parametrize("connect", [connect_by_sqlalchemy, connect_by_psycopg2, connect_by_adbc])


def the_line(caught: pytest.ExceptionInfo[DatabaseError]) -> str:
    line = str(caught.value)
    assert "\n" not in line
    assert SECRET not in line
    assert PASSWORD not in line
    return line


@WAYS
def test_a_wrong_password_is_told(role: URL, connect: Connect) -> None:
    with pytest.raises(DatabaseError, match="does not accept user and password") as caught:
        connect(role.set(password=SECRET))
    assert "percent-encoded" in the_line(caught)


@WAYS
def test_a_missing_database_is_told_with_the_statement_that_creates_it(role: URL, connect: Connect) -> None:
    with pytest.raises(DatabaseError, match="has no database 'No Such'") as caught:
        connect(role.set(database="No Such"))
    assert 'CREATE DATABASE "No Such";' in the_line(caught)


def test_a_percent_sign_in_a_name_stands_once_in_the_statement_to_paste(role: URL) -> None:
    """psycopg2's own way of quoting doubles it, and the pasted statement would create another database."""
    with pytest.raises(DatabaseError) as caught:
        connect_by_sqlalchemy(role.set(database="50% Off"))
    assert 'CREATE DATABASE "50% Off";' in the_line(caught)


@WAYS
def test_a_server_that_is_not_there_is_told(role: URL, connect: Connect) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = role.set(host="127.0.0.1", port=closed.getsockname()[1], username="me")
    with pytest.raises(DatabaseError, match=r"cannot connect to .*: .*refused") as caught:
        connect(url)
    assert f"postgresql://me:***@127.0.0.1:{url.port}/" in the_line(caught)


def test_a_host_that_does_not_exist_is_told(role: URL) -> None:
    with pytest.raises(DatabaseError, match="could not translate host name"):
        check_connection(role.set(host="no-such-host.invalid"))


def by_sqlalchemy(url: URL, statement: str) -> None:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


def by_psycopg2(url: URL, statement: str) -> None:
    with closing(psycopg2.connect(adbc_uri(url))) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        connection.commit()


def by_adbc(url: URL, statement: str) -> None:
    with adbc.connect(adbc_uri(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        cursor.fetch_arrow_table()


EXECUTIONS = [by_sqlalchemy, by_psycopg2, by_adbc]


@pytest.mark.parametrize("execute", EXECUTIONS)
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
def test_the_statement_that_is_advised_gives_the_right_that_is_missing(
    database: URL, role: URL, execute: Execution, statement: str
) -> None:
    """A grant in a message that does not work is worse than none: each is run, until the statement passes."""
    with administration(database) as administer:
        advice: list[str] = []
        while (line := complaint(execute, role, statement)) is not None:
            assert "lacks a privilege: permission denied for" in line
            advice.append(line.split("run as its owner: ")[1])
            assert len(advice) <= 2, advice
            administer(advice[-1])
        assert advice


def complaint(execute: Execution, role: URL, statement: str) -> str | None:
    try:
        with readable_database_errors(role):
            execute(role, statement)
    except DatabaseError as error:
        return str(error)
    return None


@pytest.mark.parametrize("execute", EXECUTIONS)
def test_a_connection_that_is_cut_is_told(database: URL, execute: Execution) -> None:
    with (
        pytest.raises(DatabaseError, match=r"was lost: .*terminat") as caught,
        readable_database_errors(database),
    ):
        execute(database, "SELECT pg_terminate_backend(pg_backend_pid())")
    the_line(caught)


def test_other_errors_of_the_database_stay_what_they_are(database: URL) -> None:
    with pytest.raises(sqlalchemy.exc.ProgrammingError), readable_database_errors(database):
        by_sqlalchemy(database, "SELEC 1")
    with pytest.raises(psycopg2.errors.DivisionByZero), readable_database_errors(database):
        by_psycopg2(database, "SELECT 1 / 0")
    with pytest.raises(adbc.Error), readable_database_errors(database):
        by_adbc(database, "SELEC 1")
    with pytest.raises(KeyError), readable_database_errors(database):
        raise KeyError("ours")


def lost_connection() -> adbc_driver_manager.OperationalError:
    return adbc_driver_manager.OperationalError(
        "server closed the connection unexpectedly", status_code=adbc_driver_manager.AdbcStatusCode.IO
    )


def test_run_transaction_repeats_the_whole_transaction(database_url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    engine = create_engine(database_url)
    errors = [lost_connection(), lost_connection()]

    def insert(connection: Connection, number: int, *, doubled: bool) -> int:
        connection.execute(text("INSERT INTO numbers VALUES (:number)"), {"number": number * (1 + doubled)})
        if errors:
            raise errors.pop()
        return number

    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE numbers (number int)"))
    assert run_transaction(engine, insert, 21, doubled=True) == 21
    with engine.connect() as connection:
        assert connection.execute(text("SELECT number FROM numbers")).scalars().all() == [42]  # once, and committed
    engine.dispose()


def test_run_transaction_rolls_back_and_raises_a_lasting_error(database_url: URL) -> None:
    engine = create_engine(database_url)
    attempts: list[int] = []

    def create_and_fail(connection: Connection) -> None:
        attempts.append(1)
        connection.execute(text("CREATE TABLE numbers (number int)"))
        connection.execute(text("SELECT 1 / 0"))

    with pytest.raises(sqlalchemy.exc.DataError, match="division by zero"):
        run_transaction(engine, create_and_fail)
    assert attempts == [1]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT to_regclass('numbers')")).scalar_one() is None
    engine.dispose()
