"""Months are created and dropped without blocking the application."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import date

import pytest
from sqlalchemy import URL, Connection, Engine, create_engine, event, select, text
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.pool import NullPool

from snapshot_pipeline.postgres.urls import adbc_uri
from snapshot_pipeline.store.locks import exclusive_days
from snapshot_pipeline.store.migrate import migrate
from snapshot_pipeline.store.months import (
    PartitionError,
    drop_partitions_before,
    ensure_partitions,
    has_snapshots,
    read_partitions,
    refresh_statistics,
)
from snapshot_pipeline.store.retention import RetentionLimits, delete_expired_rows
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests.pipeline.installations import execute
from snapshot_pipeline_tests.pipeline.other_process import begin, expect, other_process
from snapshot_pipeline_tests.store.conftest import Store
from snapshot_pipeline_tests.store.months import names, put_snapshots
from snapshot_pipeline_tests.store.test_migrate import QUOTED_NAMES

JANUARY, FEBRUARY, MARCH = (date(2026, month, 15) for month in (1, 2, 3))
PARENT = "performance_snapshots"


@pytest.fixture
def bare(database_url: URL) -> Store:
    """Our tables without any month, with a lock timeout of two seconds."""
    engine = create_engine(database_url, poolclass=NullPool, connect_args={"options": "-c lock_timeout=2s"})
    migrate(engine, "public")
    return Store(engine, adbc_uri(database_url), StoreTables.of("public"))


@pytest.fixture
def three_months(bare: Store) -> Store:
    """January to March, with two students' snapshots in each."""
    ensure_partitions(bare.engine, bare.tables, JANUARY, MARCH)
    put_snapshots(bare.engine, bare.tables, JANUARY, date(2026, 2, 15), MARCH)
    return bare


def days_in(store: Store) -> list[date]:
    snapshots = store.tables.performance_snapshots
    with store.engine.connect() as connection:
        query = select(snapshots.c.snapshot_date).distinct().order_by(snapshots.c.snapshot_date)
        return list(connection.execute(query).scalars())


def run(store: Store, *statements: str) -> None:
    execute(store.engine.url, *statements)


@pytest.fixture
def reader(three_months: Store) -> Iterator[Connection]:
    """The application in an open transaction that has read all snapshots."""
    with three_months.engine.connect() as connection:
        assert connection.execute(text(f"SELECT count(*) FROM {PARENT}")).scalar_one() == 6  # noqa: S608
        yield connection


# Creation


def test_the_table_is_partitioned_by_the_day(bare: Store):
    with bare.engine.connect() as connection:
        key = connection.execute(text(f"SELECT pg_get_partkeydef('{PARENT}'::regclass)")).scalar_one()
    assert key == "RANGE (snapshot_date)"


@pytest.mark.parametrize("schema", ["public", *QUOTED_NAMES, "s" * 63])
def test_months_are_created_once(database_url: URL, schema: str):
    engine, tables = create_engine(database_url, poolclass=NullPool), StoreTables.of(schema)
    migrate(engine, schema)
    made = ensure_partitions(engine, tables, date(2025, 11, 30), JANUARY)
    assert made == [f"{PARENT}_{month}" for month in ("2025_11", "2025_12", "2026_01")]
    assert ensure_partitions(engine, tables, date(2025, 11, 30), JANUARY) == []
    put_snapshots(engine, tables, date(2025, 11, 1), date(2025, 12, 31), date(2026, 1, 31))
    assert drop_partitions_before(engine, tables, date(2025, 12, 1)) == [f"{PARENT}_2025_11"]
    with engine.connect() as connection:
        december, january = read_partitions(connection, tables).partitions
        indexes = text("SELECT count(*) FROM pg_index WHERE indrelid = :oid AND indisvalid")
        assert connection.execute(indexes, {"oid": january.oid}).scalar_one() == 2
    assert {december.schema, january.schema} == {schema}
    assert (january.days.first, january.days.end) == (date(2026, 1, 1), date(2026, 2, 1))


def test_one_query_finds_that_no_month_is_missing(three_months: Store):
    statements: list[str] = []
    event.listen(three_months.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    assert ensure_partitions(three_months.engine, three_months.tables, JANUARY, MARCH) == []
    assert len(statements) == 1


def test_a_backfill_creates_its_own_months_only(three_months: Store):
    ensure_partitions(three_months.engine, three_months.tables, date(2019, 12, 31), date(2020, 1, 1))
    assert names(three_months.engine, three_months.tables) == ["2019_12", "2020_01", "2026_01", "2026_02", "2026_03"]


def test_manual_partitions_cover_their_days_whatever_their_names(bare: Store):
    run(
        bare,
        f"CREATE TABLE quarter PARTITION OF {PARENT} FOR VALUES FROM ('2026-04-01') TO ('2026-07-01')",
        # The name of a whole month for ten days in the middle of it.
        f"CREATE TABLE {PARENT}_2026_03 PARTITION OF {PARENT} FOR VALUES FROM ('2026-03-10') TO ('2026-03-20')",
        f"CREATE TABLE before_2020 PARTITION OF {PARENT} FOR VALUES FROM (MINVALUE) TO ('2020-01-01')",
        "CREATE SCHEMA archive",
        f"CREATE TABLE archive.later PARTITION OF {PARENT} FOR VALUES FROM ('2026-08-01') TO (MAXVALUE)",
    )
    assert ensure_partitions(bare.engine, bare.tables, date(2010, 1, 1), date(2015, 1, 1)) == []
    made = ensure_partitions(bare.engine, bare.tables, date(2026, 3, 15), date(2026, 9, 1))
    assert made == [f"{PARENT}_2026_03_20", f"{PARENT}_2026_07"]
    assert ensure_partitions(bare.engine, bare.tables, date(2026, 3, 1), date(2026, 3, 5)) == [f"{PARENT}_2026_03_01"]
    put_snapshots(bare.engine, bare.tables, *(date(2026, month, day) for month in range(3, 13) for day in (1, 15, 28)))


def test_with_a_default_partition_months_are_dropped_but_not_created(three_months: Store):
    run(three_months, f"CREATE TABLE all_others PARTITION OF {PARENT} DEFAULT")
    assert ensure_partitions(three_months.engine, three_months.tables, date(2010, 1, 1), date(2030, 1, 1)) == []
    put_snapshots(three_months.engine, three_months.tables, date(2010, 1, 1), date(2026, 12, 1))
    dropped = drop_partitions_before(three_months.engine, three_months.tables, date(2026, 3, 1))
    assert dropped == [f"{PARENT}_2026_01", f"{PARENT}_2026_02"]
    assert days_in(three_months) == [date(2010, 1, 1), MARCH, date(2026, 12, 1)]


def test_a_taken_name_is_reported(bare: Store):
    run(bare, f"CREATE TABLE {PARENT}_2026_02 (anything int)")
    with pytest.raises(PartitionError, match="need the partition performance_snapshots_2026_02, but another relation"):
        ensure_partitions(bare.engine, bare.tables, JANUARY, MARCH)
    assert names(bare.engine, bare.tables) == ["2026_01"]


def test_a_table_without_partitions_is_reported(bare: Store):
    run(bare, f"DROP TABLE {PARENT}")
    with pytest.raises(PartitionError, match="snapshot-pipeline db migrate"):
        ensure_partitions(bare.engine, bare.tables, JANUARY, MARCH)


def test_bounds_are_parsed_with_any_datestyle(three_months: Store, database_url: URL):
    run(three_months, f"ALTER DATABASE {database_url.database} SET datestyle = 'German, DMY'")
    assert ensure_partitions(three_months.engine, three_months.tables, JANUARY, date(2026, 4, 1)) == [
        f"{PARENT}_2026_04"
    ]


def test_a_column_added_by_the_installation_is_in_every_month(bare: Store):
    run(bare, f"ALTER TABLE {PARENT} ADD marks int DEFAULT 3")
    ensure_partitions(bare.engine, bare.tables, JANUARY, JANUARY)
    put_snapshots(bare.engine, bare.tables, JANUARY)
    with bare.engine.connect() as connection:
        marks = connection.execute(text(f"SELECT DISTINCT marks FROM {PARENT}_2026_01")).scalars().all()  # noqa: S608
    assert marks == [3]


# Locking


def test_an_open_reader_does_not_block_a_new_month(three_months: Store, reader: Connection):
    made = ensure_partitions(three_months.engine, three_months.tables, MARCH, date(2026, 5, 1))
    assert made == [f"{PARENT}_2026_04", f"{PARENT}_2026_05"]
    # To prove that the reader would have blocked it: PostgreSQL's plain statement waits for the reader.
    with pytest.raises(OperationalError, match="lock timeout"), three_months.engine.begin() as connection:
        connection.execute(
            text(f"CREATE TABLE plain PARTITION OF {PARENT} FOR VALUES FROM ('2030-01-01') TO ('2030-02-01')")
        )


def test_creating_a_month_blocks_neither_readers_nor_writers(three_months: Store):
    call = "SELECT make_snapshot_partition('performance_snapshots', '2026-04-01', '2026-05-01', :name)"
    with three_months.engine.begin() as maker:
        maker.execute(text(call), {"name": f"{PARENT}_2026_04"})
        modes = text("SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = :table ::regclass")
        lock_modes = set(maker.execute(modes, {"table": PARENT}).scalars())
        assert lock_modes == {"AccessShareLock", "ShareUpdateExclusiveLock"}
        put_snapshots(three_months.engine, three_months.tables, date(2026, 2, 16))
        assert date(2026, 2, 16) in days_in(three_months)


def test_processes_that_create_the_same_months_take_turns(bare: Store, database_url: URL):
    arguments = ("make months", database_url, date(2025, 1, 1), date(2026, 12, 31))
    with other_process(*arguments) as first, other_process(*arguments) as second:
        begin(first)
        begin(second)
        ensure_partitions(bare.engine, bare.tables, date(2026, 6, 1), date(2027, 1, 31))
        expect(first, "done")
        expect(second, "done")
    assert len(names(bare.engine, bare.tables)) == 25


# Dropping


def test_expired_months_are_dropped_and_rows_of_the_cut_month_deleted(three_months: Store):
    put_snapshots(three_months.engine, three_months.tables, date(2026, 2, 16), date(2026, 2, 17))
    limits = RetentionLimits(restatements=_keep_all(), incidents=_keep_all(), snapshots=date(2026, 2, 17))
    deleted = delete_expired_rows(three_months.engine, three_months.tables, limits)
    assert (deleted["performance_snapshots_partitions"], deleted[PARENT]) == (1, 4)
    assert names(three_months.engine, three_months.tables) == ["2026_02", "2026_03"]
    assert days_in(three_months) == [date(2026, 2, 17), MARCH]
    with three_months.engine.connect() as connection:
        assert connection.execute(text(f"SELECT to_regclass('{PARENT}_2026_01')")).scalar_one() is None


def _keep_all() -> date:
    return date(2000, 1, 1)


def test_a_manual_partition_is_dropped_when_its_last_day_expires(bare: Store):
    run(
        bare,
        f"CREATE TABLE {PARENT}_2001_01 PARTITION OF {PARENT} FOR VALUES FROM ('2026-01-01') TO ('2026-04-01')",
        f"CREATE TABLE old PARTITION OF {PARENT} FOR VALUES FROM (MINVALUE) TO ('2026-01-01')",
    )
    put_snapshots(bare.engine, bare.tables, date(2024, 5, 5), JANUARY)
    assert drop_partitions_before(bare.engine, bare.tables, date(2026, 3, 31)) == ["old"]
    assert days_in(bare) == [JANUARY]
    assert drop_partitions_before(bare.engine, bare.tables, date(2026, 4, 1)) == [f"{PARENT}_2001_01"]


def test_a_detached_month_is_kept(three_months: Store):
    run(three_months, f"ALTER TABLE {PARENT} DETACH PARTITION {PARENT}_2026_01")
    assert drop_partitions_before(three_months.engine, three_months.tables, MARCH) == [f"{PARENT}_2026_02"]
    with three_months.engine.connect() as connection:
        rows = connection.execute(text(f"SELECT count(*) FROM {PARENT}_2026_01")).scalar_one()  # noqa: S608
    assert rows == 2


def test_a_month_that_a_run_is_writing_is_kept(three_months: Store, caplog: pytest.LogCaptureFixture):
    with exclusive_days(three_months.engine, "public", JANUARY, JANUARY, "run of a backfill", 1):
        assert drop_partitions_before(three_months.engine, three_months.tables, MARCH) == [f"{PARENT}_2026_02"]
    assert "run of a backfill" in caplog.text
    assert drop_partitions_before(three_months.engine, three_months.tables, MARCH) == [f"{PARENT}_2026_01"]


def test_a_long_reader_keeps_the_month_and_its_rows_are_deleted(three_months: Store, reader: Connection):
    limits = RetentionLimits(restatements=_keep_all(), incidents=_keep_all(), snapshots=date(2026, 2, 1))
    started = time.monotonic()
    deleted = delete_expired_rows(three_months.engine, three_months.tables, limits)
    assert 1.5 < time.monotonic() - started < 30  # it waited two seconds for the table
    assert (deleted["performance_snapshots_partitions"], deleted[PARENT]) == (0, 2)
    put_snapshots(three_months.engine, three_months.tables, date(2026, 2, 16))  # others read and write
    assert days_in(three_months) == [date(2026, 2, 15), date(2026, 2, 16), MARCH]
    reader.rollback()
    assert drop_partitions_before(three_months.engine, three_months.tables, date(2026, 2, 1)) == [f"{PARENT}_2026_01"]


def _autocommit(engine: Engine, statement: str) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))


# Permissions


@pytest.fixture
def role(three_months: Store) -> Iterator[str]:
    """A role that may connect and acquire leases."""
    name = f"role_{three_months.engine.url.database}"
    run(
        three_months,
        f"CREATE ROLE {name} LOGIN PASSWORD 'role'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON run_leases TO {name}",
    )
    yield name
    run(three_months, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def as_role(store: Store, role: str) -> Engine:
    return create_engine(store.engine.url.set(username=role, password="role"), poolclass=NullPool)  # noqa: S106


def test_reading_needs_a_permission_on_the_parent_only(three_months: Store, role: str):
    run(three_months, f"GRANT SELECT ON {PARENT} TO {role}")
    ensure_partitions(three_months.engine, three_months.tables, date(2026, 4, 1), date(2026, 4, 1))
    put_snapshots(three_months.engine, three_months.tables, date(2026, 4, 1))
    reader = as_role(three_months, role)
    with reader.connect() as connection:
        assert connection.execute(text(f"SELECT count(*) FROM {PARENT}")).scalar_one() == 8  # noqa: S608
    for refused in (ensure_partitions, drop_partitions_before):
        days = (date(2027, 1, 1), date(2027, 1, 1)) if refused is ensure_partitions else (date(2027, 1, 1),)
        with pytest.raises(ProgrammingError, match=f"permission denied for table {PARENT}"):
            refused(reader, three_months.tables, *days)  # type: ignore[operator]


def test_a_writer_creates_and_drops_months_without_owning_them(three_months: Store, role: str):
    run(three_months, f"GRANT SELECT, INSERT, DELETE ON {PARENT} TO {role}")
    writer = as_role(three_months, role)
    assert ensure_partitions(writer, three_months.tables, MARCH, date(2026, 4, 1)) == [f"{PARENT}_2026_04"]
    put_snapshots(writer, three_months.tables, date(2026, 4, 1))
    for refused in (f"CREATE TABLE own PARTITION OF {PARENT} DEFAULT", f"DROP TABLE {PARENT}_2026_01"):
        with pytest.raises(ProgrammingError, match=r"must be owner|permission denied"):
            _autocommit(writer, refused)
    assert drop_partitions_before(writer, three_months.tables, date(2026, 2, 1)) == [f"{PARENT}_2026_01"]
    assert days_in(three_months) == [date(2026, 2, 15), MARCH, date(2026, 4, 1)]


def test_a_writer_gives_up_after_two_seconds_of_a_long_reader(three_months: Store, role: str, reader: Connection):
    run(three_months, f"GRANT SELECT, INSERT, DELETE ON {PARENT} TO {role}")
    started = time.monotonic()
    assert drop_partitions_before(as_role(three_months, role), three_months.tables, date(2026, 2, 1)) == []
    assert 1.5 < time.monotonic() - started < 30
    reader.rollback()
    assert len(drop_partitions_before(as_role(three_months, role), three_months.tables, date(2026, 2, 1))) == 1


def test_the_functions_touch_only_months_of_this_table(three_months: Store, role: str):
    """The functions run as the owner, so they must reject other tables and unexpected names."""
    run(three_months, f"GRANT SELECT, INSERT, DELETE ON {PARENT} TO {role}", "CREATE TABLE precious (id int)")
    run(three_months, f"CREATE SCHEMA own AUTHORIZATION {role}")
    writer = as_role(three_months, role)
    _autocommit(writer, f"CREATE TABLE own.{PARENT} (snapshot_date date) PARTITION BY RANGE (snapshot_date)")
    for call in (
        "make_snapshot_partition('performance_snapshots', '2030-01-01', '2030-02-01', 'precious')",
        f"make_snapshot_partition('own.{PARENT}', '2030-01-01', '2030-02-01', '{PARENT}_2030_01')",
        "drop_snapshot_partition('performance_snapshots', 'precious')",
        f"drop_snapshot_partition('own.{PARENT}', '{PARENT}_2026_01')",
    ):
        with pytest.raises(DBAPIError, match=r"must be owner|not the name of this partition"):
            _autocommit(writer, f"SELECT {call}")


@pytest.mark.parametrize(
    ("first", "until", "name"),
    [
        ("2030-01-01", "2030-03-01", "2030_01"),
        ("2030-01-01", "2031-01-01", "2030_01"),
        ("2030-01-01", "2030-01-02", "2030_01_01"),
        ("2030-01-15", "2030-02-01", "2030_01_15"),
        ("2030-01-15", "2030-02-15", "2030_01_15"),
        ("2030-01-01", "2030-01-01", "2030_01_01"),
        ("2030-02-01", "2030-01-01", "2030_02"),
        ("2030-01-01", "infinity", "2030_01"),
        ("-infinity", "2026-01-01", "2025_12"),
        ("2030-01-01", "2030-02-01", "2031_01"),
        ("2030-01-01", "2030-02-01", "2030_01_01"),
    ],
)
def test_a_writer_cannot_create_a_partition_that_is_not_a_month(
    three_months: Store, role: str, first: str, until: str, name: str
):
    """A partition for all years to come would keep every later month from being created."""
    run(three_months, f"GRANT SELECT, INSERT ON {PARENT} TO {role}")
    before = names(three_months.engine, three_months.tables)
    call = f"SELECT make_snapshot_partition('{PARENT}', '{first}', '{until}', '{PARENT}_{name}')"
    with pytest.raises(DBAPIError, match=r"not a month, or the rest of one|not the name of this partition"):
        _autocommit(as_role(three_months, role), call)
    assert names(three_months.engine, three_months.tables) == before


def test_a_writer_creates_what_other_partitions_left_of_a_month(three_months: Store, role: str):
    run(
        three_months,
        f"GRANT SELECT, INSERT ON {PARENT} TO {role}",
        f"CREATE TABLE days PARTITION OF {PARENT} FOR VALUES FROM ('2026-05-10') TO ('2026-05-20')",
    )
    made = ensure_partitions(as_role(three_months, role), three_months.tables, date(2026, 5, 1), date(2026, 5, 31))
    assert made == [f"{PARENT}_2026_05_01", f"{PARENT}_2026_05_20"]


# Statistics: the planner must know the rows of days that have snapshots


def estimated_rows(bare: Store, name: str) -> int:
    with bare.engine.connect() as connection:
        return int(connection.execute(text(f"SELECT reltuples FROM pg_class WHERE relname = '{name}'")).scalar_one())  # noqa: S608


def test_has_snapshots_tells_days_with_from_days_without(bare: Store):
    ensure_partitions(bare.engine, bare.tables, JANUARY, FEBRUARY)
    assert not has_snapshots(bare.engine, bare.tables, JANUARY, FEBRUARY)
    put_snapshots(bare.engine, bare.tables, JANUARY)
    assert has_snapshots(bare.engine, bare.tables, JANUARY, FEBRUARY)
    assert not has_snapshots(bare.engine, bare.tables, date(2026, 1, 16), FEBRUARY)


def test_only_stale_months_of_the_days_are_analyzed(bare: Store):
    ensure_partitions(bare.engine, bare.tables, JANUARY, FEBRUARY)
    put_snapshots(bare.engine, bare.tables, JANUARY)
    put_snapshots(bare.engine, bare.tables, FEBRUARY)
    assert estimated_rows(bare, "performance_snapshots_2026_01") == -1
    assert refresh_statistics(bare.engine, bare.tables, JANUARY, JANUARY) == ["performance_snapshots_2026_01"]
    assert estimated_rows(bare, "performance_snapshots_2026_01") == 2
    assert estimated_rows(bare, "performance_snapshots_2026_02") == -1
    assert refresh_statistics(bare.engine, bare.tables, JANUARY, JANUARY) == []
