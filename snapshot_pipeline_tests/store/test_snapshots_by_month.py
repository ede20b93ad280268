"""Migration 0003: an installation that has snapshots keeps every one, and whatever else belongs to the table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool
from sqlalchemy.sql import quoted_name

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.store.migrate import migrate
from snapshot_pipeline.store.months import ensure_partitions, read_partitions
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests.pipeline.installations import execute
from snapshot_pipeline_tests.store.months import fill, put_snapshots

FIRST, LAST = date(2025, 11, 1), date(2026, 3, 15)
TABLES = StoreTables.of("public")
ALL_ROWS = text("SELECT md5(string_agg(s::text, E'\\n' ORDER BY user_id, snapshot_date)) FROM performance_snapshots s")
TODAY = datetime.now(timezone.utc).date()
END = (TODAY.replace(day=1) + timedelta(days=31)).replace(day=1)
"""The partition of the old rows ends here: the first of the month after the last day, and after today."""


def at_revision(engine: Engine, schema: str, revision: str) -> None:
    """Our tables as an earlier version of the code has left them."""
    config = Config()
    config.set_main_option("script_location", "snapshot_pipeline.store:migrations")
    with engine.begin() as connection:
        config.attributes.update(connection=connection, schema=quoted_name(schema, quote=True))
        command.upgrade(config, revision)


@pytest.fixture
def old(database_url: URL) -> Engine:
    """The tables of revision 0002, with five months of snapshots."""
    engine = create_engine(database_url, poolclass=NullPool, connect_args={"options": "-c lock_timeout=2s"})
    at_revision(engine, "public", "0002")
    fill(engine, 20, FIRST, LAST)
    return engine


def value(engine: Engine, query: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(text(query)).scalar_one()


def all_rows(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.execute(ALL_ROWS).scalar_one())


def test_every_row_is_kept_in_one_partition_that_was_not_written_anew(old: Engine):
    before = all_rows(old)
    files = (
        "SELECT array_agg(pg_relation_filenode(indexrelid) ORDER BY 1) FROM pg_index WHERE indrelid = '{}'::regclass"
    )
    place = "SELECT pg_relation_filenode('{}')"
    was = [value(old, query.format("performance_snapshots")) for query in (files, place)]
    assert migrate(old, "public") == migrate(old, "public")
    with old.connect() as connection:
        (partition,) = read_partitions(connection, TABLES).partitions
    assert (partition.first, partition.end) == (date.min, END)
    assert partition.name == f"performance_snapshots_before_{END:%Y_%m}"
    assert [value(old, query.format(partition.name)) for query in (files, place)] == was
    assert all_rows(old) == before
    assert value(old, "SELECT count(*) FROM pg_constraint WHERE conname = 'performance_snapshots_before'") == 0
    assert ensure_partitions(old, TABLES, date(2019, 1, 1), END) == [f"performance_snapshots_{END:%Y_%m}"]
    put_snapshots(old, TABLES, date(2019, 1, 1), END)


def test_the_rows_are_not_looked_through_while_the_table_is_locked(old: Engine):
    """PostgreSQL itself says, at the lowest level of its messages, that the proof made beforehand saves it the look."""
    said: list[str] = []
    talkative = create_engine(
        old.url, poolclass=NullPool, connect_args={"options": "-c client_min_messages=debug1 -c lock_timeout=2s"}
    )
    event.listen(talkative, "after_cursor_execute", lambda *args: said.extend(args[1].connection.notices))
    migrate(talkative, "public")
    assert any("is implied by existing constraints" in line for line in said)


def test_where_there_is_no_row_there_is_no_partition(database_url: URL):
    engine = create_engine(database_url, poolclass=NullPool)
    migrate(engine, "public")
    with engine.connect() as connection:
        assert read_partitions(connection, TABLES).partitions == []
    assert value(engine, "SELECT count(*) FROM pg_class WHERE relname LIKE 'performance_snapshots_before%'") == 0


def test_an_odd_name_of_a_schema_does_not_matter(database_url: URL):
    engine, schema = create_engine(database_url, poolclass=NullPool), 'Größe.50% "o\'clock" :select'
    execute(database_url, "CREATE SCHEMA other")
    at_revision(engine, "other", "0002")
    execute(database_url, f'''ALTER SCHEMA other RENAME TO "{schema.replace('"', '""').replace(":", chr(92) + ":")}"''')
    tables = StoreTables.of(schema)
    put_snapshots(engine, tables, FIRST, LAST)
    migrate(engine, schema)
    assert ensure_partitions(engine, tables, END, END) == [f"performance_snapshots_{END:%Y_%m}"]
    put_snapshots(engine, tables, END)


@pytest.fixture
def application(old: Engine) -> Iterator[URL]:
    """A role that has been given the table to read, and what it has made of it: views, an index, a column."""
    role = f"application_{old.url.database}"
    execute(
        old.url,
        f"CREATE ROLE {role} LOGIN PASSWORD 'application'",
        f"GRANT SELECT ON performance_snapshots TO {role} WITH GRANT OPTION",
        f"GRANT UPDATE (computed_at) ON performance_snapshots TO {role}",
        "GRANT SELECT ON performance_snapshots TO PUBLIC",
        "ALTER TABLE performance_snapshots ADD note text DEFAULT 'none'",
        "CREATE INDEX by_pace ON performance_snapshots (pace_score)",
        "COMMENT ON COLUMN performance_snapshots.pace_score IS 'of the day'",
        "CREATE SCHEMA shown",
        'CREATE VIEW shown."Newest" WITH (security_barrier = true) AS '
        "SELECT user_id, max(snapshot_date) AS newest FROM performance_snapshots GROUP BY user_id",
        'CREATE VIEW of_a_view AS SELECT max(newest) AS newest FROM shown."Newest"',
        f'GRANT USAGE ON SCHEMA shown TO {role}; GRANT SELECT ON shown."Newest" TO {role}',
    )
    yield old.url.set(username=role, password="application")  # noqa: S106
    execute(old.url, f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def test_rights_views_indexes_and_columns_of_the_application_are_those_of_the_new_table(old: Engine, application: URL):
    """A view that had stayed with the old rows would show no new day, and nobody would notice."""
    migrate(old, "public")
    ensure_partitions(old, TABLES, END, END)
    put_snapshots(old, TABLES, END)
    reader = create_engine(application, poolclass=NullPool)
    assert value(reader, "SELECT max(snapshot_date) FROM performance_snapshots") == END
    assert value(reader, 'SELECT max(newest) FROM shown."Newest"') == END
    assert value(old, "SELECT newest FROM of_a_view") == END
    assert value(old, "SELECT reloptions FROM pg_class WHERE relname = 'Newest'") == ["security_barrier=true"]
    rights = (
        "SELECT string_agg(right_, ' ') FROM unnest(ARRAY['SELECT WITH GRANT OPTION', 'UPDATE', 'INSERT', 'DELETE']) "
        "AS right_ WHERE has_table_privilege('performance_snapshots', right_)"
    )
    assert value(reader, rights) == "SELECT WITH GRANT OPTION"
    assert value(reader, "SELECT has_column_privilege('performance_snapshots', 'computed_at', 'UPDATE')")
    month = f"performance_snapshots_{END:%Y_%m}"
    assert value(old, f"SELECT count(*) FROM pg_index WHERE indrelid = '{month}'::regclass") == 3  # noqa: S608
    assert value(old, f"SELECT DISTINCT note FROM {month}") == "none"  # noqa: S608
    assert value(old, "SELECT col_description('performance_snapshots'::regclass, 3)") == "of the day"


STAYS_BEHIND = {
    "the trigger told": (
        "CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
        "CREATE TRIGGER told AFTER INSERT ON performance_snapshots EXECUTE FUNCTION told()",
        "DROP TRIGGER told ON performance_snapshots",
    ),
    "the materialized view best": (
        "CREATE MATERIALIZED VIEW best AS SELECT max(pace_score) FROM performance_snapshots",
        "DROP MATERIALIZED VIEW best",
    ),
    "row-level security": (
        "ALTER TABLE performance_snapshots ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE performance_snapshots DISABLE ROW LEVEL SECURITY",
    ),
    "the publication changes": (
        "CREATE PUBLICATION changes FOR TABLE performance_snapshots",
        "DROP PUBLICATION changes",
    ),
    "the foreign key notes_fkey": (
        "CREATE TABLE notes (id bigint, day date, "
        "CONSTRAINT notes_fkey FOREIGN KEY (id, day) REFERENCES performance_snapshots)",
        "DROP TABLE notes",
    ),
    r"the function newest\(\)": (
        "CREATE FUNCTION newest() RETURNS date BEGIN ATOMIC SELECT max(snapshot_date) FROM performance_snapshots; END",
        "DROP FUNCTION newest",
    ),
}


@pytest.mark.parametrize("what", STAYS_BEHIND)
def test_what_cannot_be_brought_along_is_told_before_anything_is_done(old: Engine, what: str):
    made, gone = STAYS_BEHIND[what]
    before = all_rows(old)
    execute(old.url, made)
    with pytest.raises(SnapshotPipelineError, match=f"has .*{what}.*db migrate") as caught:
        migrate(old, "public")
    assert "\n" not in str(caught.value)
    assert value(old, "SELECT relkind FROM pg_class WHERE relname = 'performance_snapshots'") == "r"
    assert value(old, "SELECT count(*) FROM pg_constraint WHERE conname = 'performance_snapshots_before'") == 0
    execute(old.url, gone)
    migrate(old, "public")
    assert all_rows(old) == before


def test_an_error_at_the_last_step_leaves_all_as_it_was_and_the_next_attempt_goes_on(old: Engine):
    """The function that the migration makes near its end is there already: what went before is taken back."""
    before = all_rows(old)
    arguments = "(regclass, regclass)"
    made = f"CREATE FUNCTION drop_snapshot_partition{arguments} RETURNS void LANGUAGE sql AS ''"
    execute(old.url, made)
    with pytest.raises(ProgrammingError, match="already exists with same argument types"):
        migrate(old, "public")
    assert value(old, "SELECT relkind FROM pg_class WHERE relname = 'performance_snapshots'") == "r"
    assert value(old, "SELECT convalidated FROM pg_constraint WHERE conname = 'performance_snapshots_before'")
    assert all_rows(old) == before
    fill(old, 20, LAST + timedelta(days=1), TODAY)  # the older version works on
    before = all_rows(old)
    execute(old.url, f"DROP FUNCTION drop_snapshot_partition{arguments}")
    migrate(old, "public")
    assert all_rows(old) == before


def test_a_kill_between_the_constraint_and_its_proof_is_made_up_for(old: Engine):
    execute(
        old.url,
        "ALTER TABLE performance_snapshots "
        f"ADD CONSTRAINT performance_snapshots_before CHECK (snapshot_date < '{END}') NOT VALID",
    )
    before = all_rows(old)
    migrate(old, "public")
    assert all_rows(old) == before


def test_a_long_reader_makes_the_migration_give_way(old: Engine):
    """After the lock timeout, which the settings name: the application comes first."""
    with old.connect() as reader:
        read = text("SELECT count(*) FROM performance_snapshots")
        count = reader.execute(read).scalar_one()
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate(old, "public")
        assert reader.execute(read).scalar_one() == count
    migrate(old, "public")


def test_a_table_of_another_owner_keeps_its_owner(old: Engine, application: URL):
    """A superuser migrates what the pipeline's role owns: that role makes the months."""
    role = application.username
    execute(old.url, f"ALTER TABLE performance_snapshots OWNER TO {role}", f"GRANT CREATE ON SCHEMA public TO {role}")
    migrate(old, "public")
    owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'performance_snapshots'"
    assert value(old, owner) == role
    for engine in (old, create_engine(application, poolclass=NullPool)):
        assert len(ensure_partitions(engine, TABLES, *_another_month(engine))) == 1


def _another_month(engine: Engine) -> tuple[date, date]:
    with engine.connect() as connection:
        day = max(partition.end for partition in _partitions(connection))
    return day, day


def _partitions(connection: Connection) -> Any:
    return read_partitions(connection, TABLES).partitions


def test_every_revision_that_prepares_can_be_asked_twice(old: Engine):
    config = Config()
    config.set_main_option("script_location", "snapshot_pipeline.store:migrations")
    modules = [script.module for script in ScriptDirectory.from_config(config).walk_revisions()]
    preparing = [module for module in modules if hasattr(module, "prepare")]
    assert preparing
    for module in preparing * 2:
        module.prepare(old, "public")
