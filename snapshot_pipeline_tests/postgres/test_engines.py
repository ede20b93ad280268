"""Which databases the settings name, the engines for them, and transactions that are repeated."""

from __future__ import annotations

import adbc_driver_manager
import adbc_driver_postgresql.dbapi as adbc
import pytest
import sqlalchemy.exc
from sqlalchemy import URL, Connection, create_engine, text

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline.postgres.engines import (
    check_connection,
    create_platform_engine,
    dagster_url,
    platform_url,
    run_transaction,
)
from snapshot_pipeline.postgres.urls import DatabaseUrlError, adbc_uri, masked_url
from snapshot_pipeline.settings import Settings, load_settings


def settings(**values: object) -> Settings:
    return load_settings(_env_file=None, **values)


def test_dagsters_database_is_on_the_platforms_server_unless_set() -> None:
    beside = settings(database_url="postgres://u:p@h:1/app?sslmode=require")
    assert masked_url(dagster_url(beside)) == "postgresql://u:***@h:1/app_dagster?sslmode=require"
    long = dagster_url(settings(database_url=f"postgres://u:p@h:1/{'ö' * 30}")).database
    assert long == f"{'ö' * 27}_dagster", "a name has at most 63 bytes, and no half character"
    separate = settings(database_url="postgres://u:p@h:1/app", dagster_database_url="postgres://v:q@i/own")
    assert dagster_url(separate).render_as_string(hide_password=False) == "postgresql+psycopg2://v:q@i/own"
    with pytest.raises(DatabaseUrlError, match=r"^SNAPSHOT_DATABASE_URL begins with"):
        platform_url(settings(database_url="sqlite:///x"))
    with pytest.raises(DatabaseUrlError, match=r"^SNAPSHOT_DAGSTER_DATABASE_URL begins with"):
        dagster_url(settings(dagster_database_url="sqlite:///x"))


def test_without_settings_both_databases_are_on_the_embedded_server(embedded_server: EmbeddedServer) -> None:
    nothing_set = settings(home=embedded_server.home)
    assert platform_url(nothing_set) == embedded_server.url("platform")
    check_connection(dagster_url(nothing_set))
    engine = create_platform_engine(nothing_set)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT current_database()")) == "platform"
    engine.dispose()


def test_sqlalchemy_and_adbc_connections_have_our_application_name(database: URL) -> None:
    engine = create_platform_engine(settings(database_url=database.render_as_string(hide_password=False)))
    query = "SELECT current_setting('application_name')"
    with engine.connect() as connection:
        assert connection.scalar(text(query)) == "snapshot_pipeline"
    with adbc.connect(adbc_uri(engine.url)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        assert cursor.fetchone() == ("snapshot_pipeline",)
    assert "application_name" not in masked_url(engine.url)
    engine.dispose()


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
