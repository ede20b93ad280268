"""The migration creates our tables, whatever else is in the database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Engine, create_engine, inspect, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.postgres.errors import DatabaseError, readable_database_errors
from snapshot_pipeline.store.migrate import HEAD, VERSION_TABLE, UnknownRevisionError, _revision, migrate
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


@pytest.mark.parametrize(("schema", "remediation"), [("public", "CREATE ON SCHEMA"), ("new", "GRANT CREATE ON")])
def test_a_missing_create_permission_is_named(limited_url: URL, schema: str, remediation: str):
    limited = create_engine(limited_url, poolclass=NullPool)
    with pytest.raises(DatabaseError) as caught, readable_database_errors(limited_url):
        migrate(limited, schema)
    assert "permission denied for" in str(caught.value)
    assert remediation in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_role_that_may_only_read_can_check_the_revision(limited_url: URL, engine: Engine):
    migrate(engine, "public")
    with engine.begin() as connection:
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {limited_url.username}"))
    assert migrate(create_engine(limited_url, poolclass=NullPool), "public")
