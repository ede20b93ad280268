"""Literals in a statement mean the same as parameters; one connection per database is kept for its types."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import pytest
from sqlalchemy import (
    URL,
    BigInteger,
    Connection,
    Date,
    DateTime,
    String,
    column,
    create_engine,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.sql.elements import ColumnElement

from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.urls import adbc_uri
from snapshot_pipeline_tests.waiting import wait_for

EAST = timezone(timedelta(hours=5, minutes=30))


def fetch_value(url: URL, value: ColumnElement[Any]) -> Any:
    with bulk.transaction(adbc_uri(url)) as connection:
        return bulk.fetch(connection, select(value.label("value")))["value"][0].as_py()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (datetime(2026, 3, 29, 2, 30, 0, 5, EAST), DateTime(timezone=True)),
        (datetime(1, 1, 1), DateTime()),  # noqa: DTZ001  # a wall clock
        (datetime(9999, 12, 31, 23, 59, 59, 999_999), DateTime()),  # noqa: DTZ001  # a wall clock
        (date(2028, 2, 29), Date()),
        (-(2**63), BigInteger()),
        (r"it's \n %s :x $1 " "\\", String()),
    ],
)
def test_a_literal_arrives_unchanged(server_url: URL, value: Any, kind: Any):
    fetched = fetch_value(server_url, literal(value, kind))
    assert fetched == (value.astimezone(timezone.utc) if getattr(value, "tzinfo", None) else value)


def test_a_list_of_integers_arrives_unchanged_also_if_empty(server_url: URL):
    assert fetch_value(server_url, func.cardinality(bulk.integers([]))) == 0
    assert fetch_value(server_url, func.array_to_string(bulk.integers([2**63 - 1, -1]), ",")) == f"{2**63 - 1},-1"


@pytest.mark.parametrize("value", [datetime(2026, 1, 1, tzinfo=timezone.utc), date(2026, 1, 1)])
def test_a_time_is_never_compared_with_a_column_of_text(server_url: URL, value: Any):
    """The comparison of two texts would raise no error, and select wrong rows."""
    rows = text("SELECT '2026'::text AS moment").columns(column("moment", DateTime(timezone=True))).subquery()
    query = select(rows).where(rows.c.moment < literal(value))
    with (
        pytest.raises(adbc.ProgrammingError, match="operator does not exist: text"),
        bulk.transaction(adbc_uri(server_url)) as connection,
    ):
        bulk.fetch(connection, query)


def test_an_error_does_not_repeat_a_long_statement(server_url: URL):
    query = select(func.no_such_function(bulk.integers(range(100_000))))
    with (
        pytest.raises(adbc.ProgrammingError, match="no_such_function") as caught,
        bulk.transaction(adbc_uri(server_url)) as connection,
    ):
        bulk.fetch(connection, query)
    assert len(str(caught.value)) < 5_000
    assert caught.value.sqlstate == "42883"


def test_connections_are_opened_and_closed_one_at_a_time(server_url: URL, monkeypatch: pytest.MonkeyPatch):
    """The driver counts the connections of a database without a lock: after a lost count, the last close would fail."""
    locked = []
    connect, close = adbc.connect, adbc.Connection.close
    monkeypatch.setattr(adbc, "connect", lambda uri: (locked.append(bulk._LOCK.locked()), connect(uri))[1])
    monkeypatch.setattr(adbc.Connection, "close", lambda opened: (locked.append(bulk._LOCK.locked()), close(opened)))
    assert fetch_value(server_url, literal(1, BigInteger())) == 1
    with pytest.raises(ValueError, match="in a transaction"), bulk.transaction(adbc_uri(server_url)):
        raise ValueError("in a transaction")
    assert locked == [True] * 4


def has_sessions(connection: Connection, number: int) -> bool | None:
    """Return True if so many other sessions exist, None if not: a closed session exists for a moment longer."""
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'"
    )
    return connection.execute(text(others)).scalar_one() == number or None


def test_shared_type_cache_keeps_one_session_and_survives_its_loss(database_url: URL):
    """Reading the types takes each connection 60 ms: more than all queries of a small batch."""
    uri, engine = adbc_uri(database_url), create_engine(database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        with bulk.shared_type_cache(uri), bulk.shared_type_cache(uri, uri):
            assert has_sessions(connection, 0)
            for _ in range(3):
                assert fetch_value(database_url, literal(1, BigInteger())) == 1
                wait_for(lambda: has_sessions(connection, 1), "one session", 10)
            others = "datname = current_database() AND pid <> pg_backend_pid()"
            terminate = text(f"SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE {others}")  # noqa: S608
            assert connection.execute(terminate).scalar_one() == 1
            assert fetch_value(database_url, literal(1, BigInteger())) == 1  # although the kept session is lost
        wait_for(lambda: has_sessions(connection, 0), "no session", 10)
    engine.dispose()
