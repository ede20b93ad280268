"""Every session of both drivers has our settings, whatever server, role, environment and pooler say."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import psycopg2
import pytest
from sqlalchemy import URL, Engine, create_engine, literal, select, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.orchestration.instance.storage import _engine as create_dagster_engine
from snapshot_pipeline.platform.contract import check_platform
from snapshot_pipeline.platform.contract.sessions import session_findings
from snapshot_pipeline.postgres import bulk, sessions, urls
from snapshot_pipeline.postgres.engines import create_platform_engine
from snapshot_pipeline.postgres.errors import DatabaseError, is_transient
from snapshot_pipeline.postgres.sessions import (
    complete_url,
    is_transaction_pooled,
    open_engine,
    require_utf8,
    session_settings,
)
from snapshot_pipeline.postgres.urls import adbc_uri
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline_tests.pipeline.installations import execute, installation_on
from snapshot_pipeline_tests.proxies import proxy

OPTIONS = frozenset({"options"})
LIMITS = {"lock_timeout": "1s", "statement_timeout": "2s", "idle_in_transaction_session_timeout": "2s"}


def platform_engine(url: URL) -> Engine:
    shown = url.render_as_string(hide_password=False)
    return create_platform_engine(
        load_settings(_env_file=None, database_url=shown, lock_timeout_seconds=1, statement_timeout_seconds=2)
    )


@pytest.fixture
def engine(database_url: URL) -> Iterator[Engine]:
    engine = platform_engine(database_url)
    yield engine
    engine.dispose()


def in_both_drivers(engine: Engine, name: str) -> set[str]:
    """Return the values of a setting in sessions of SQLAlchemy and ADBC."""
    query = select(text(f"current_setting('{name}') AS value"))
    with engine.connect() as connection:
        first = connection.execute(query).scalar_one()
    with bulk.transaction(adbc_uri(engine.url)) as connection:
        return {first, bulk.fetch(connection, query)["value"][0].as_py()}


def database_setting(url: URL, assignment: str) -> None:
    execute(url, f'ALTER DATABASE "{url.database}" SET {assignment}')


# Encoding


@pytest.mark.parametrize("source", ["environment", "URL", "database"])
def test_texts_are_utf8_whatever_client_encoding_says(
    database_url: URL, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "environment":
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    elif source == "URL":
        database_url = database_url.update_query_dict(
            {"client_encoding": "latin1", "options": "-cclient_encoding=latin1"}
        )
    else:
        database_setting(database_url, "client_encoding = 'LATIN1'")
    plain = create_engine(database_url, poolclass=NullPool)
    with plain.connect() as connection:
        assert connection.execute(text("SHOW client_encoding")).scalar_one() == "LATIN1"  # without us
    engine = platform_engine(database_url)
    assert in_both_drivers(engine, "client_encoding") == {"UTF8"}
    name = "Őrült € lesson"
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE titles (title text)"))
        connection.execute(text("INSERT INTO titles VALUES (:title)"), {"title": name})
    with bulk.transaction(adbc_uri(engine.url)) as connection:
        rows = bulk.fetch(connection, select(text("title, octet_length(title) AS bytes FROM titles"))).to_pylist()
    assert rows == [{"title": name, "bytes": len(name.encode())}]
    engine.dispose()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_check_and_a_run_refuse_a_database_that_is_not_utf8(database_url: URL, encoding: str) -> None:
    name = f"{database_url.database}_{encoding.lower()}"
    admin = create_engine(database_url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with admin.connect() as connection:
        locale = "LOCALE_PROVIDER libc LOCALE 'C'" if connection.dialect.server_version_info >= (15,) else "LOCALE 'C'"
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' {locale}"))
        url = database_url.set(database=name)
        try:
            refusal = f"has the encoding {encoding}, .* expected UTF8: restore a dump"
            with pytest.raises(DatabaseError, match=refusal), installation_on(url):
                pytest.fail("the installation was opened")
            engine = open_engine(url, poolclass=NullPool)
            with engine.connect() as other:
                assert other.execute(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")).scalar() == 0
            messages = [finding.message for finding in check_platform(engine, "public")]
            assert any(f"has the encoding {encoding}" in message for message in messages)
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def test_a_database_in_utf8_is_accepted(engine: Engine) -> None:
    require_utf8(engine)


# Settings that change what a statement means


def test_settings_of_the_database_do_not_change_what_statements_mean(database_url: URL) -> None:
    """With `quote_all_identifiers` ADBC finds no type; without `standard_conforming_strings` it reads other texts."""
    for assignment in ("quote_all_identifiers = on", "standard_conforming_strings = off"):
        database_setting(database_url, assignment)
    with create_engine(database_url, poolclass=NullPool).connect() as connection:
        assert connection.execute(text("SELECT 'boolrecv'::regproc::text")).scalar_one() == '"boolrecv"'
    engine = platform_engine(database_url)
    assert in_both_drivers(engine, "quote_all_identifiers") == {"off"}
    assert in_both_drivers(engine, "standard_conforming_strings") == {"on"}
    with bulk.transaction(adbc_uri(engine.url)) as connection:
        assert bulk.fetch(connection, select(literal(r"\n").label("value")))["value"][0].as_py() == r"\n"
    engine.dispose()


def test_quoted_identifiers_behind_a_pooler_are_refused_in_one_line(database_url: URL) -> None:
    database_setting(database_url, "quote_all_identifiers = on")
    with proxy(database_url, drops=OPTIONS) as pooler:
        engine = platform_engine(pooler.url)
        with pytest.raises(DatabaseError, match=r"run ALTER ROLE .* SET quote_all_identifiers = off"), engine.connect():
            pytest.fail("the connection was accepted")
        assert pooler.dropped
        engine.dispose()


# Time limits


@pytest.mark.parametrize("drops", [frozenset(), OPTIONS], ids=["direct", "a pooler drops startup options"])
def test_both_drivers_have_the_time_limits(database_url: URL, drops: frozenset[str]) -> None:
    with proxy(database_url, drops=drops) as pooler:
        engine = platform_engine(pooler.url)
        assert {name: in_both_drivers(engine, name) for name in LIMITS} == {name: {LIMITS[name]} for name in LIMITS}
        assert set(pooler.dropped) == drops
        with bulk.shared_type_cache(adbc_uri(engine.url)):
            assert in_both_drivers(engine, "lock_timeout") == {"1s"}
        with engine.connect() as connection:
            assert sessions.settings_not_in_force(connection) == {}
            assert not is_transaction_pooled(connection)
        engine.dispose()


def test_options_of_the_users_url_replace_ours_also_behind_a_pooler(database_url: URL) -> None:
    options = r"-c lock_timeout=7s --statement-timeout=1min -csearch_path=a,\ b"
    with proxy(database_url.update_query_dict({"options": options}), drops=OPTIONS) as pooler:
        engine = platform_engine(pooler.url)
        assert in_both_drivers(engine, "lock_timeout") == {"7s"}
        assert in_both_drivers(engine, "statement_timeout") == {"1min"}
        assert in_both_drivers(engine, "search_path") == {"a, b"}
        assert in_both_drivers(engine, "idle_in_transaction_session_timeout") == {"2s"}
        engine.dispose()


def test_check_names_a_setting_that_is_not_in_force(engine: Engine) -> None:
    with engine.connect() as connection:
        assert list(session_findings(connection)) == []
        connection.execute(text("SET lock_timeout = 0"))
        connection.commit()
        (finding,) = session_findings(connection)
    assert (finding.severity, finding.table) == ("error", None)
    assert "the pipeline's session has lock_timeout = 0, expected 1s" in finding.message


def test_check_names_a_setting_that_bulk_reads_lack(database_url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "set_statement", lambda settings: "SELECT 1")
    with proxy(database_url, drops=OPTIONS) as pooler:
        engine = platform_engine(pooler.url)
        with engine.connect() as connection:
            messages = [finding.message for finding in session_findings(connection)]
        assert len(messages) == len(LIMITS)
        assert any("has lock_timeout = 0, expected 1s" in message for message in messages)
        engine.dispose()


def test_options_are_read_in_every_spelling() -> None:
    url = complete_url(URL.create("postgresql", host="h", query={"options": r"-c a=1 -cb=x\ y\\z --c-d='"}))
    settings = session_settings(adbc_uri(url))
    assert {name: settings[name] for name in ("a", "b", "c_d")} == {"a": "1", "b": r"x y\z", "c_d": "'"}


# Connections that are dropped without a word


def dagster_engine(url: URL) -> Engine:
    return create_dagster_engine(complete_url(url), -1)


def with_sqlalchemy(engine: Engine, ready: Callable[[], None]) -> None:
    with engine.connect() as connection:
        ready()
        connection.execute(text("SELECT 1"))


def with_adbc(engine: Engine, ready: Callable[[], None]) -> None:
    with bulk.transaction(adbc_uri(engine.url)) as connection:
        ready()
        bulk.fetch(connection, select(literal(1).label("value")))


@pytest.mark.skipif(sys.platform != "linux", reason="packets are dropped by a socket filter of Linux")
@pytest.mark.parametrize(
    ("make", "use"),
    [(platform_engine, with_sqlalchemy), (platform_engine, with_adbc), (dagster_engine, with_sqlalchemy)],
    ids=["SQLAlchemy", "ADBC", "Dagster"],
)
def test_a_silently_dropped_connection_is_noticed(
    database_url: URL,
    make: Callable[[URL], Engine],
    use: Callable[[Engine, Callable[[], None]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = {"keepalives_idle": "1", "keepalives_interval": "1", "keepalives_count": "1", "tcp_user_timeout": "1000"}
    assert times.keys() <= urls.CONNECTION_DEFAULTS.keys()
    monkeypatch.setattr(urls, "CONNECTION_DEFAULTS", urls.CONNECTION_DEFAULTS | times)
    monkeypatch.setattr(sessions, "CONNECTION_DEFAULTS", urls.CONNECTION_DEFAULTS)
    stalled_at: list[float] = []

    with proxy(database_url) as network:

        def stall() -> None:
            network.stall()
            stalled_at.append(time.monotonic())

        engine = make(network.url)
        with pytest.raises(Exception) as caught:  # noqa: PT011  # each driver has its own error class
            use(engine, stall)
        assert stalled_at, caught.value
        assert is_transient(caught.value), caught.value
        engine.dispose()


@pytest.fixture
def pooled(database_url: URL) -> Iterator[Engine]:
    """An engine with one connection that has just been used."""
    engine = open_engine(database_url, pool_size=1, max_overflow=0)
    sessions.replace_closed_connections(engine)
    backend(engine)
    yield engine
    engine.dispose()


def backend(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


def test_a_connection_that_the_server_has_just_closed_is_replaced(pooled: Engine) -> None:
    closed = backend(pooled)
    execute(pooled.url, f"SELECT pg_terminate_backend({closed}, 5000)")
    assert backend(pooled) != closed


def test_a_connection_that_was_closed_on_our_side_is_replaced(pooled: Engine) -> None:
    with pooled.connect() as connection:
        used = int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        driver_connection = connection.connection.driver_connection
    assert driver_connection is not None
    driver_connection.close()
    assert backend(pooled) != used


def test_a_used_connection_is_asked_only_after_it_was_idle(pooled: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    pings: list[object] = []
    monkeypatch.setattr(pooled.dialect, "do_ping", pings.append)
    used = backend(pooled)
    assert (backend(pooled), len(pings)) == (used, 0)
    monkeypatch.setattr(sessions, "_IDLE_SECONDS", 0.0)
    assert (backend(pooled), len(pings)) == (used, 1)


def test_an_idle_connection_that_was_cut_without_a_farewell_is_replaced(
    pooled: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(connection: object) -> None:
        raise psycopg2.OperationalError("could not receive data from server: Connection timed out")

    used = backend(pooled)
    monkeypatch.setattr(sessions, "_IDLE_SECONDS", 0.0)
    monkeypatch.setattr(pooled.dialect, "do_ping", cut)
    assert backend(pooled) != used
