"""The migration creates our tables, whatever else is in the database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Column, Engine, Integer, MetaData, Table, create_engine, inspect, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.settings import load_settings
from snapshot_pipeline.store.migrate import (
    HEAD,
    VERSION_TABLE,
    NotMigratedError,
    NotOursError,
    UnknownRevisionError,
    _revision,
    migrate,
    require_tables,
)
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests.pipeline.other_process import begin, expect, other_process

QUOTED_NAMES = ["learning data", 'the "best" one', "50%", "o'clock", "Größe.öffentlich", "select"]


@pytest.fixture
def engine(database_url: URL) -> Engine:
    return create_engine(database_url, poolclass=NullPool)


def names(engine: Engine, schema: str) -> set[str]:
    return set(inspect(engine).get_table_names(schema))


def our_names(schema: str) -> set[str]:
    return {table.name for table in StoreTables.of(schema).metadata.tables.values()} | {VERSION_TABLE}


def everything(engine: Engine) -> list[str]:
    """All relations, columns, constraints and types outside the catalogs."""
    query = """
        SELECT format('%s %s %s', c.oid::regclass, c.relkind, a) FROM pg_class c
            LEFT JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.oid >= 16384
        UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
        UNION ALL SELECT format('%s %s', oid::regtype, typtype) FROM pg_type WHERE oid >= 16384
        ORDER BY 1
    """
    with engine.connect() as connection:
        return list(connection.execute(text(query)).scalars())


def test_migrating_again_finds_nothing_to_do(engine: Engine):
    assert migrate(engine, "public") == migrate(engine, "public") != ""
    assert names(engine, "public") == our_names("public")


def test_the_head_constant_is_the_newest_migration():
    """A newer migration would never run."""
    config = Config()
    config.set_main_option("script_location", "snapshot_pipeline.store:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_any_schema_name_works(engine: Engine):
    for schema in QUOTED_NAMES:
        migrate(engine, schema)
        migrate(engine, schema)
        assert names(engine, schema) == our_names(schema)
        with engine.connect() as connection:
            assert _revision(connection, schema) == HEAD
    assert names(engine, "public") == set()


def test_two_processes_that_migrate_at_once_take_turns(database_url: URL, engine: Engine):
    with (
        other_process("migrate", database_url, "new") as first,
        other_process("migrate", database_url, "new") as second,
    ):
        begin(first)
        begin(second)
        expect(first, "done")
        expect(second, "done")
    assert names(engine, "new") == our_names("new")


def test_the_migration_creates_the_tables_of_the_code(engine: Engine):
    migrate(engine, "ours")

    def is_ours(name: str | None, kind: str, parents: object) -> bool:
        return name == "ours" if kind == "schema" else name != VERSION_TABLE

    options = {"include_schemas": True, "include_name": is_ours, "compare_type": True, "compare_server_default": True}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, StoreTables.of("ours").metadata) == []


@pytest.mark.parametrize("revision", ["9999", "0005"])
def test_an_unknown_revision_is_refused_with_the_statement_to_recreate(engine: Engine, revision: str):
    """Newer or older than this version: no upgrade exists before the first release."""
    migrate(engine, "quoted name")
    with engine.begin() as connection:
        statement = text(f'UPDATE "quoted name".{VERSION_TABLE} SET version_num = :revision')  # noqa: S608
        connection.execute(statement, {"revision": revision})
    with pytest.raises(UnknownRevisionError, match=f"at revision {revision}, expected {HEAD}") as caught:
        migrate(engine, "quoted name")
    message = str(caught.value)
    assert "\n" not in message
    with engine.begin() as connection:
        connection.exec_driver_sql(message[message.index("DROP TABLE") :])
    assert names(engine, "quoted name") == set()
    assert migrate(engine, "quoted name") == HEAD


@pytest.fixture
def limited_url(database_url: URL, engine: Engine) -> Iterator[URL]:
    """A role that may only connect."""
    role = f"limited_{database_url.database}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'limited'"))
    yield database_url.set(username=role, password="limited")  # noqa: S106
    with engine.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))


def test_a_role_that_may_not_create_the_schema_gets_the_statement(limited_url: URL, engine: Engine):
    limited = create_engine(limited_url, poolclass=NullPool)
    with pytest.raises(NotMigratedError, match="may not create it; create it and the roles with") as caught:
        migrate(limited, "new")
    with engine.begin() as connection:
        connection.exec_driver_sql(str(caught.value.statement))
    assert migrate(limited, "new") == HEAD


def test_a_role_that_may_not_create_tables_is_sent_to_the_role_that_may(limited_url: URL, engine: Engine):
    """Regression: the remedy was a GRANT, which undid the separation of the roles of docs/roles.sql."""
    migrator = f"{limited_url.username}_migrator"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {migrator} LOGIN"))
        connection.execute(text(f"CREATE SCHEMA ours AUTHORIZATION {migrator}"))
    with pytest.raises(NotMigratedError) as caught:
        migrate(create_engine(limited_url, poolclass=NullPool), "ours")
    assert f"run `snapshot-pipeline db migrate` with the URL of a role that may ({migrator})" in str(caught.value)
    assert "GRANT" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with engine.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {migrator}"))
        connection.execute(text(f"DROP ROLE {migrator}"))


@pytest.mark.parametrize(
    "theirs",
    [
        "CREATE TABLE public.performance_snapshots (id int PRIMARY KEY, snapshot_date date)",
        "CREATE VIEW public.incidents AS SELECT 1 AS id",
        "CREATE SEQUENCE public.day_summary",
        "CREATE TYPE public.incidents AS ENUM ('open', 'closed')",
        "CREATE TABLE public.own (a int); CREATE INDEX data_issues_day_idx ON public.own (a)",
    ],
)
def test_a_schema_with_one_of_our_names_is_refused_and_not_changed(engine: Engine, theirs: str):
    with engine.begin() as connection:
        connection.exec_driver_sql(theirs)
    before = everything(engine)
    for function in (migrate, require_tables):
        with pytest.raises(
            NotOursError, match="did not create and does not change; set SNAPSHOT_STORE_SCHEMA to"
        ) as caught:
            function(engine, "public")
        assert "\n" not in str(caught.value)
    assert everything(engine) == before
    assert migrate(engine, "snapshots") == HEAD


def test_reading_requires_our_tables_and_creates_nothing(engine: Engine):
    with pytest.raises(NotMigratedError, match="run `snapshot-pipeline db migrate`"):
        require_tables(engine, "snapshots")
    assert "snapshots" not in inspect(engine).get_schema_names()
    migrate(engine, "snapshots")
    require_tables(engine, "snapshots")


def test_the_migrations_of_the_application_do_not_see_our_tables(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """Regression: `alembic revision --autogenerate` of the application proposed to drop our tables in `public`."""
    application = MetaData()
    Table("users", application, Column("id", Integer, primary_key=True))
    application.create_all(engine)
    monkeypatch.delenv("SNAPSHOT_STORE_SCHEMA")
    migrate(engine, load_settings(database_url="postgresql://host/platform").store_schema)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), application) == []


def test_the_owner_of_the_database_is_named_where_only_a_superuser_may_create(limited_url: URL, engine: Engine):
    owner = engine.url.username
    with pytest.raises(NotMigratedError, match=rf"with the URL of a role that may \({owner}\)"):
        migrate(create_engine(limited_url, poolclass=NullPool), "public")


def test_a_role_that_may_only_read_can_check_the_revision(limited_url: URL, engine: Engine):
    migrate(engine, "public")
    with engine.begin() as connection:
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {limited_url.username}"))
    assert migrate(create_engine(limited_url, poolclass=NullPool), "public")
