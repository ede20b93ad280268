"""Months come and go without anybody waiting: a reader of the application never notices."""

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
    ON_ITS_WAY_OUT,
    PartitionError,
    drop_partitions_before,
    ensure_partitions,
    read_partitions,
)
from snapshot_pipeline.store.retention import Keep, remove_old_rows
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests.pipeline.installations import execute
from snapshot_pipeline_tests.pipeline.other_process import begin, expect, other_process
from snapshot_pipeline_tests.store.conftest import Store
from snapshot_pipeline_tests.store.months import names, put_snapshots
from snapshot_pipeline_tests.store.test_migrate import ODD_NAMES

JANUARY, MARCH = date(2026, 1, 15), date(2026, 3, 15)
PARENT = "performance_snapshots"


@pytest.fixture
def bare(database_url: URL) -> Store:
    """Our tables without a single month; whoever waits for a lock gives up after two seconds."""
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
    """The application in the middle of a transaction, in which it has read all snapshots."""
    with three_months.engine.connect() as connection:
        assert connection.execute(text(f"SELECT count(*) FROM {PARENT}")).scalar_one() == 6  # noqa: S608
        yield connection


# What is made


def test_the_table_is_partitioned_by_the_day(bare: Store):
    with bare.engine.connect() as connection:
        key = connection.execute(text(f"SELECT pg_get_partkeydef('{PARENT}'::regclass)")).scalar_one()
    assert key == "RANGE (snapshot_date)"


@pytest.mark.parametrize("schema", ["public", *ODD_NAMES, "s" * 63])
def test_the_months_of_the_days_are_made_once(database_url: URL, schema: str):
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
    assert (january.first, january.end) == (date(2026, 1, 1), date(2026, 2, 1))


def test_where_all_months_are_there_one_query_tells(three_months: Store):
    asked: list[str] = []
    event.listen(three_months.engine, "before_cursor_execute", lambda *arguments: asked.append(arguments[2]))
    assert ensure_partitions(three_months.engine, three_months.tables, JANUARY, MARCH) == []
    assert len(asked) == 1


def test_a_backfill_into_the_past_makes_its_months_and_not_those_in_between(three_months: Store):
    ensure_partitions(three_months.engine, three_months.tables, date(2019, 12, 31), date(2020, 1, 1))
    assert names(three_months.engine, three_months.tables) == ["2019_12", "2020_01", "2026_01", "2026_02", "2026_03"]


def test_partitions_made_by_hand_cover_their_days_whatever_their_names(bare: Store):
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


def test_beside_a_default_partition_nothing_is_made_and_old_months_are_dropped_all_the_same(three_months: Store):
    run(three_months, f"CREATE TABLE all_others PARTITION OF {PARENT} DEFAULT")
    assert ensure_partitions(three_months.engine, three_months.tables, date(2010, 1, 1), date(2030, 1, 1)) == []
    put_snapshots(three_months.engine, three_months.tables, date(2010, 1, 1), date(2026, 12, 1))
    dropped = drop_partitions_before(three_months.engine, three_months.tables, date(2026, 3, 1))
    assert dropped == [f"{PARENT}_2026_01", f"{PARENT}_2026_02"]
    assert days_in(three_months) == [date(2010, 1, 1), MARCH, date(2026, 12, 1)]


def test_a_name_that_is_taken_is_told(bare: Store):
    run(bare, f"CREATE TABLE {PARENT}_2026_02 (anything int)")
    with pytest.raises(PartitionError, match="need the partition performance_snapshots_2026_02, and something else"):
        ensure_partitions(bare.engine, bare.tables, JANUARY, MARCH)
    assert names(bare.engine, bare.tables) == ["2026_01"]


def test_a_table_that_is_not_partitioned_is_told(bare: Store):
    run(bare, f"DROP TABLE {PARENT}")
    with pytest.raises(PartitionError, match="snapshot-pipeline db migrate"):
        ensure_partitions(bare.engine, bare.tables, JANUARY, MARCH)


def test_dates_are_understood_however_the_server_writes_them(three_months: Store, database_url: URL):
    run(three_months, f"ALTER DATABASE {database_url.database} SET datestyle = 'German, DMY'")
    assert ensure_partitions(three_months.engine, three_months.tables, JANUARY, date(2026, 4, 1)) == [
        f"{PARENT}_2026_04"
    ]


def test_a_column_that_the_installation_has_added_is_in_every_month(bare: Store):
    run(bare, f"ALTER TABLE {PARENT} ADD marks int DEFAULT 3")
    ensure_partitions(bare.engine, bare.tables, JANUARY, JANUARY)
    put_snapshots(bare.engine, bare.tables, JANUARY)
    with bare.engine.connect() as connection:
        marks = connection.execute(text(f"SELECT DISTINCT marks FROM {PARENT}_2026_01")).scalars().all()  # noqa: S608
    assert marks == [3]


# Nobody waits


def test_a_reader_in_a_transaction_holds_up_no_new_month(three_months: Store, reader: Connection):
    made = ensure_partitions(three_months.engine, three_months.tables, MARCH, date(2026, 5, 1))
    assert made == [f"{PARENT}_2026_04", f"{PARENT}_2026_05"]
    # The proof that the reader would have been in the way: PostgreSQL's plain statement waits for it.
    with pytest.raises(OperationalError, match="lock timeout"), three_months.engine.begin() as connection:
        connection.execute(
            text(f"CREATE TABLE plain PARTITION OF {PARENT} FOR VALUES FROM ('2030-01-01') TO ('2030-02-01')")
        )


def test_a_month_that_is_being_made_holds_up_no_reader_and_no_writer(three_months: Store):
    call = "SELECT make_snapshot_partition('performance_snapshots', '2026-04-01', '2026-05-01', :name)"
    with three_months.engine.begin() as maker:
        maker.execute(text(call), {"name": f"{PARENT}_2026_04"})
        modes = text("SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = :table ::regclass")
        held = set(maker.execute(modes, {"table": PARENT}).scalars())
        assert held == {"AccessShareLock", "ShareUpdateExclusiveLock"}
        put_snapshots(three_months.engine, three_months.tables, date(2026, 2, 16))
        assert date(2026, 2, 16) in days_in(three_months)


def test_processes_that_make_the_same_months_take_turns(bare: Store, database_url: URL):
    arguments = ("make months", database_url, date(2025, 1, 1), date(2026, 12, 31))
    with other_process(*arguments) as one, other_process(*arguments) as two:
        begin(one)
        begin(two)
        ensure_partitions(bare.engine, bare.tables, date(2026, 6, 1), date(2027, 1, 31))
        expect(one, "done")
        expect(two, "done")
    assert len(names(bare.engine, bare.tables)) == 25


# What is dropped


def test_months_that_are_entirely_too_old_go_as_a_whole_and_of_the_one_that_is_cut_the_rows(three_months: Store):
    put_snapshots(three_months.engine, three_months.tables, date(2026, 2, 16), date(2026, 2, 17))
    keep = Keep(restatements=_ever(), incidents=_ever(), snapshots=date(2026, 2, 17))
    removed = remove_old_rows(three_months.engine, three_months.tables, keep)
    assert (removed["performance_snapshots_partitions"], removed[PARENT]) == (1, 4)
    assert names(three_months.engine, three_months.tables) == ["2026_02", "2026_03"]
    assert days_in(three_months) == [date(2026, 2, 17), MARCH]
    with three_months.engine.connect() as connection:
        assert connection.execute(text(f"SELECT to_regclass('{PARENT}_2026_01')")).scalar_one() is None


def _ever() -> date:
    return date(2000, 1, 1)


def test_a_partition_made_by_hand_goes_when_its_last_day_has_had_its_time(bare: Store):
    run(
        bare,
        f"CREATE TABLE {PARENT}_2001_01 PARTITION OF {PARENT} FOR VALUES FROM ('2026-01-01') TO ('2026-04-01')",
        f"CREATE TABLE old PARTITION OF {PARENT} FOR VALUES FROM (MINVALUE) TO ('2026-01-01')",
    )
    put_snapshots(bare.engine, bare.tables, date(2024, 5, 5), JANUARY)
    assert drop_partitions_before(bare.engine, bare.tables, date(2026, 3, 31)) == ["old"]
    assert days_in(bare) == [JANUARY]
    assert drop_partitions_before(bare.engine, bare.tables, date(2026, 4, 1)) == [f"{PARENT}_2001_01"]


def test_a_month_that_somebody_has_taken_out_to_keep_it_stays(three_months: Store):
    run(three_months, f"ALTER TABLE {PARENT} DETACH PARTITION {PARENT}_2026_01")
    assert drop_partitions_before(three_months.engine, three_months.tables, MARCH) == [f"{PARENT}_2026_02"]
    with three_months.engine.connect() as connection:
        kept = connection.execute(text(f"SELECT count(*) FROM {PARENT}_2026_01")).scalar_one()  # noqa: S608
    assert kept == 2


def test_a_month_that_a_run_is_filling_stays(three_months: Store, caplog: pytest.LogCaptureFixture):
    with exclusive_days(three_months.engine, "public", JANUARY, JANUARY, "run of a backfill", 1):
        assert drop_partitions_before(three_months.engine, three_months.tables, MARCH) == [f"{PARENT}_2026_02"]
    assert "run of a backfill" in caplog.text
    assert drop_partitions_before(three_months.engine, three_months.tables, MARCH) == [f"{PARENT}_2026_01"]


def is_pending(store: Store) -> bool:
    with store.engine.connect() as connection:
        pending = text("SELECT bool_or(inhdetachpending) FROM pg_inherits WHERE inhparent = :table ::regclass")
        return bool(connection.execute(pending, {"table": PARENT}).scalar_one())


def test_dropping_waits_for_a_long_reader_without_holding_up_others_and_goes_on_the_next_day(
    three_months: Store, reader: Connection
):
    assert drop_partitions_before(three_months.engine, three_months.tables, date(2026, 2, 1)) == []
    assert is_pending(three_months)
    put_snapshots(three_months.engine, three_months.tables, date(2026, 2, 16))  # others read and write
    assert days_in(three_months) == [date(2026, 2, 15), date(2026, 2, 16), MARCH]
    with pytest.raises(PartitionError, match="performance_snapshots_2026_01, which is being detached"):
        ensure_partitions(three_months.engine, three_months.tables, JANUARY, JANUARY)
    reader.rollback()
    assert drop_partitions_before(three_months.engine, three_months.tables, date(2026, 2, 1)) == [f"{PARENT}_2026_01"]
    assert ensure_partitions(three_months.engine, three_months.tables, JANUARY, JANUARY) == [f"{PARENT}_2026_01"]


def test_dropping_that_is_killed_in_the_middle_is_brought_to_its_end(
    three_months: Store, reader: Connection, database_url: URL
):
    with other_process("drop months", database_url, date(2026, 2, 1)) as killed:
        begin(killed)
        deadline = time.monotonic() + 20
        while not is_pending(three_months):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        killed.kill()
        # The server's own process would wait for the reader; as with a power cut it goes as well.
        ends = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%DETACH PARTITION%CONCURRENTLY'"
        )
        run(three_months, ends)
    assert is_pending(three_months)
    reader.rollback()
    assert drop_partitions_before(three_months.engine, three_months.tables, date(2026, 2, 1)) == [f"{PARENT}_2026_01"]
    assert names(three_months.engine, three_months.tables) == ["2026_02", "2026_03"]
    assert not is_pending(three_months)


def test_a_month_that_was_detached_before_the_kill_is_dropped(three_months: Store):
    run(
        three_months,
        f"COMMENT ON TABLE {PARENT}_2026_01 IS '{ON_ITS_WAY_OUT}'",
        f"ALTER TABLE {PARENT} DETACH PARTITION {PARENT}_2026_01",
    )
    assert drop_partitions_before(three_months.engine, three_months.tables, date(2026, 1, 1)) == [f"{PARENT}_2026_01"]
    assert drop_partitions_before(three_months.engine, three_months.tables, date(2026, 1, 1)) == []


def test_the_mark_of_a_month_that_is_kept_after_all_is_taken_away(three_months: Store):
    """It was to be dropped, the process was killed before that, and the setting was changed."""
    run(three_months, f"COMMENT ON TABLE {PARENT}_2026_01 IS '{ON_ITS_WAY_OUT}'")
    assert drop_partitions_before(three_months.engine, three_months.tables, date(2026, 1, 1)) == []
    with three_months.engine.connect() as connection:
        assert not any(one.is_on_its_way_out for one in read_partitions(connection, three_months.tables).partitions)


def test_an_unfinished_detach_of_somebody_else_is_left_alone(
    three_months: Store, reader: Connection, caplog: pytest.LogCaptureFixture
):
    with pytest.raises(OperationalError, match="lock timeout"):
        _autocommit(three_months.engine, f"ALTER TABLE {PARENT} DETACH PARTITION {PARENT}_2026_01 CONCURRENTLY")
    reader.rollback()
    assert is_pending(three_months)
    # One at a time can be pending, so the other month waits for the administrator as well.
    assert drop_partitions_before(three_months.engine, three_months.tables, MARCH) == []
    assert f"while {PARENT}_2026_01 is half detached" in caplog.text
    _autocommit(three_months.engine, f"ALTER TABLE {PARENT} DETACH PARTITION {PARENT}_2026_01 FINALIZE")
    assert drop_partitions_before(three_months.engine, three_months.tables, MARCH) == [f"{PARENT}_2026_02"]
    with three_months.engine.connect() as connection:
        assert connection.execute(text(f"SELECT to_regclass('{PARENT}_2026_01')")).scalar_one()


def _autocommit(engine: Engine, statement: str) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))


# Rights


@pytest.fixture
def role(three_months: Store) -> Iterator[str]:
    """A role that may connect, and hold days."""
    name = f"role_{three_months.engine.url.database}"
    run(
        three_months,
        f"CREATE ROLE {name} LOGIN PASSWORD 'role'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON run_leases TO {name}",  # whoever holds days says so there
    )
    yield name
    run(three_months, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def as_role(store: Store, role: str) -> Engine:
    return create_engine(store.engine.url.set(username=role, password="role"), poolclass=NullPool)  # noqa: S106


def test_reading_takes_a_right_on_the_parent_only(three_months: Store, role: str):
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


def test_who_may_write_makes_and_drops_months_without_being_the_owner(three_months: Store, role: str):
    run(three_months, f"GRANT SELECT, INSERT, DELETE ON {PARENT} TO {role}")
    writer = as_role(three_months, role)
    assert ensure_partitions(writer, three_months.tables, MARCH, date(2026, 4, 1)) == [f"{PARENT}_2026_04"]
    put_snapshots(writer, three_months.tables, date(2026, 4, 1))
    for refused in (f"CREATE TABLE own PARTITION OF {PARENT} DEFAULT", f"DROP TABLE {PARENT}_2026_01"):
        with pytest.raises(ProgrammingError, match=r"must be owner|permission denied"):
            _autocommit(writer, refused)
    assert drop_partitions_before(writer, three_months.tables, date(2026, 2, 1)) == [f"{PARENT}_2026_01"]
    assert days_in(three_months) == [date(2026, 2, 15), MARCH, date(2026, 4, 1)]


def test_a_role_that_is_not_the_owner_gives_way_to_a_long_reader(three_months: Store, role: str, reader: Connection):
    run(three_months, f"GRANT SELECT, INSERT, DELETE ON {PARENT} TO {role}")
    began = time.monotonic()
    assert drop_partitions_before(as_role(three_months, role), three_months.tables, date(2026, 2, 1)) == []
    assert 1.5 < time.monotonic() - began < 4.5
    reader.rollback()
    assert len(drop_partitions_before(as_role(three_months, role), three_months.tables, date(2026, 2, 1))) == 1


def test_the_functions_touch_nothing_but_months_of_this_table(three_months: Store, role: str):
    """They act as the owner: another table, or an odd name, must not get anywhere with them."""
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
        with pytest.raises(DBAPIError, match=r"must be owner|no name of a partition"):
            _autocommit(writer, f"SELECT {call}")
