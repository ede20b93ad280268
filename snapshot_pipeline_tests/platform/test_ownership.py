"""The platform's tables are replaced all or nothing, and only if the pipeline created them."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from sqlalchemy import URL, Engine, create_engine, inspect, text

from snapshot_pipeline.platform.ownership import (
    MARKER,
    DuplicateKeyError,
    PlatformNotOursError,
    PlatformWriteError,
    replace_platform,
)
from snapshot_pipeline.platform.tables import ADVISED_INDEXES, TABLE_NAMES
from snapshot_pipeline.postgres.errors import DatabaseError

SCHEMA = 'the "school" %s'
"""A schema name that breaks whatever is not quoted."""


@pytest.fixture
def engine(database_url: URL) -> Iterator[Engine]:
    engine = create_engine(database_url)
    yield engine
    engine.dispose()


def _users(*ids: int) -> pa.Table:
    return pa.table({"id": list(ids), "role": ["student"] * len(ids), "is_active": [True] * len(ids)})


def _replace(url: URL, schema: str, *users: pa.Table, then: Exception | None = None) -> None:
    with replace_platform(url, schema) as writer:
        for rows in users:
            writer.append("users", rows)
        if then:
            raise then


def _count(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608


def test_an_empty_database_gets_schema_tables_keys_indexes_and_markers(database_url: URL, engine: Engine) -> None:
    with replace_platform(database_url, SCHEMA) as writer:
        writer.append("users", _users(1, 2))
        writer.append("users", _users(3))
    assert writer.rows["users"] == 3
    inspector = inspect(engine)
    assert set(inspector.get_table_names(SCHEMA)) == set(TABLE_NAMES)
    assert inspector.get_pk_constraint("users", SCHEMA)["constrained_columns"] == ["id"]
    unique = inspector.get_unique_constraints("user_lesson_progress", SCHEMA)
    assert [key["column_names"] for key in unique] == [["user_id", "lesson_id"]]
    indexes = {index["name"] for table in TABLE_NAMES for index in inspector.get_indexes(table, SCHEMA)}
    assert {advised.name for advised in ADVISED_INDEXES} <= indexes
    for table in TABLE_NAMES:
        assert str(inspector.get_table_comment(table, SCHEMA)["text"]).startswith(MARKER)


def test_tables_created_by_the_pipeline_are_replaced(database_url: URL, engine: Engine) -> None:
    _replace(database_url, "public", _users(1, 2))
    _replace(database_url, "public", _users(1), _users(2, 3, 4, 5))
    assert _count(engine, "users") == 5


def test_tables_of_a_platform_are_refused_by_name_and_unchanged(database_url: URL, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE users AS SELECT 1 AS id"))
        connection.execute(text("CREATE VIEW quizzes AS SELECT 1 AS id"))
    with pytest.raises(PlatformNotOursError, match=r"has users, quizzes, which snapshot-pipeline did") as refusal:
        _replace(database_url, "public")
    assert "SNAPSHOT_PLATFORM_SCHEMA" in str(refusal.value)
    assert inspect(engine).get_table_names() == ["users"]
    assert _count(engine, "users") == 1


def test_failure_half_way_changes_nothing(database_url: URL, engine: Engine) -> None:
    _replace(database_url, "public", _users(1))
    with pytest.raises(ZeroDivisionError):
        _replace(database_url, "public", _users(1, 2, 3), then=ZeroDivisionError())
    assert _count(engine, "users") == 1


def test_duplicate_key_is_reported_and_nothing_changes(database_url: URL, engine: Engine) -> None:
    with pytest.raises(DuplicateKeyError, match=r"users: Key \(id\)=\(7\) is duplicated") as refusal:
        _replace(database_url, "public", _users(7, 8), _users(7))
    assert refusal.value.columns == ["id"]
    assert inspect(engine).get_table_names() == []


def test_null_in_a_required_column_is_reported_in_one_line(database_url: URL) -> None:
    rows = pa.table({"id": [1], "role": pa.array([None], pa.string()), "is_active": [True]})
    with pytest.raises(PlatformWriteError, match='"role"') as refusal:
        _replace(database_url, "public", rows)
    assert "\n" not in str(refusal.value)


def test_a_table_left_out_is_absent_afterwards(database_url: URL, engine: Engine) -> None:
    _replace(database_url, "public")
    with replace_platform(database_url, "public", [name for name in TABLE_NAMES if name != "exercise_submissions"]):
        pass
    assert set(inspect(engine).get_table_names()) == set(TABLE_NAMES) - {"exercise_submissions"}


def test_view_on_an_old_table_is_reported_instead_of_dropped(database_url: URL, engine: Engine) -> None:
    _replace(database_url, "public")
    with engine.begin() as connection:
        connection.execute(text("CREATE VIEW report AS SELECT * FROM users"))
    with pytest.raises(PlatformWriteError, match="view report depends on table users") as refusal:
        _replace(database_url, "public")
    assert "\n" not in str(refusal.value)
    assert inspect(engine).get_view_names() == ["report"]


def test_concurrent_load_is_refused_immediately(database_url: URL) -> None:
    with (
        replace_platform(database_url, "public"),
        pytest.raises(PlatformWriteError, match="another `load` or `sample` is running"),
    ):
        _replace(database_url, "public")


def test_unreachable_database_is_reported_without_its_password(database_url: URL) -> None:
    elsewhere = database_url.set(port=1, password="hush")  # noqa: S106
    with pytest.raises(DatabaseError, match="cannot connect to") as refusal:
        _replace(elsewhere, "public")
    assert "hush" not in str(refusal.value)
    assert "\n" not in str(refusal.value)
