"""Different platform schemas with the same students give the same rows, and the platform is never changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.platform.tables import TABLE_NAMES
from snapshot_pipeline_tests.pipeline.installations import (
    MONDAY,
    SUNDAY,
    Tables,
    differences,
    execute,
    installation_on,
    new_database,
    published,
    recommended,
)

# Two weeks with the change of the clocks in the middle, on Sunday the 26th.
FIRST = MONDAY - timedelta(days=7)

TIMESTAMPS = {
    "user_lesson_progress": ("started_at", "completed_at"),
    "quiz_attempts": ("completed_at",),
    "exercise_submissions": ("created_at",),
}
IDS = {
    "users": ("id",),
    "lessons": ("id",),
    "user_lesson_progress": ("user_id", "lesson_id"),
    "quizzes": ("id", "lesson_id"),
    "quiz_attempts": ("id", "user_id", "quiz_id"),
    "exercise_submissions": ("id", "user_id"),
}
# Minutes before and after the midnights around the change of the clocks, in local time and summer or winter offset.
MIDNIGHTS = ("10-25 23:59+02", "10-26 00:01+02", "10-26 23:59+01", "10-27 00:01+01", "11-02 23:59+01", "11-03 00:01+01")


def _retyped(columns: dict[str, tuple[str, ...]], kind: str, using: str) -> list[str]:
    return [
        f"ALTER TABLE {table} " + ", ".join(f"ALTER {name} TYPE {kind} USING {using.format(name)}" for name in names)
        for table, names in columns.items()
    ]


def _naive(zone: str) -> list[str]:
    return _retyped(TIMESTAMPS, "timestamp", f"{{}} AT TIME ZONE '{zone}'")


def _in_schema(schema: str) -> list[str]:
    return [f"CREATE SCHEMA {schema}", *(f"ALTER TABLE {table} SET SCHEMA {schema}" for table in TABLE_NAMES)]


@dataclass(frozen=True)
class Variant:
    """A platform that stores the same rows in another way.

    Attributes:
        statements: Statements that convert the sample to it.
        settings: Settings that it needs.
    """

    statements: list[str]
    settings: dict[str, Any] = field(default_factory=dict)


VARIANTS = {
    "naive timestamps in UTC and integer ids": Variant([*_naive("UTC"), *_retyped(IDS, "integer", "{}")]),
    "naive timestamps in Budapest": Variant(_naive("Europe/Budapest"), {"naive_timezone": "Europe/Budapest"}),
    "other types of scores and minutes, an enum of roles and additional columns": Variant(
        [
            "ALTER TABLE quiz_attempts ALTER score TYPE numeric",
            "ALTER TABLE user_lesson_progress ALTER time_spent_minutes TYPE smallint",
            "CREATE TYPE user_role AS ENUM ('Student', 'Teacher', 'Admin')",
            "ALTER TABLE users ALTER role TYPE user_role USING initcap(role)::user_role",
            "ALTER TABLE users ADD email text DEFAULT 'a@example.org', ADD settings jsonb, ADD tags text[]",
            "ALTER TABLE quiz_attempts ADD created_at timestamptz DEFAULT now(), ADD answers xml",
        ]
    ),
    "numeric specializations and levels": Variant(
        [
            "ALTER TABLE users ALTER current_specialization TYPE integer USING length(current_specialization)",
            "ALTER TABLE lessons ALTER specialization_id TYPE bigint USING length(specialization_id)",
            "ALTER TABLE users ALTER current_level TYPE integer USING current_level::integer",
        ]
    ),
    "other schemas with names to quote": Variant(
        _in_schema('"Learning Platform"'),
        {"platform_schema": "Learning Platform", "store_schema": 'o"dd, 50% $1 ö'},
    ),
    "views and materialized views": Variant(
        [
            *_in_schema("hidden"),
            *(
                f"CREATE {kind} public.{table} AS SELECT * FROM hidden.{table}"  # noqa: S608
                for table, kind in zip(TABLE_NAMES, ["VIEW", "MATERIALIZED VIEW"] * 3, strict=True)
            ),
        ]
    ),
}


@dataclass(frozen=True)
class Base:
    """The sample with rows around midnight, and its published rows."""

    url: URL
    days: Tables
    recommendations: Tables


@pytest.fixture(scope="module")
def base(server_url: URL, sample_template: URL) -> Iterator[Base]:
    with new_database(server_url, sample_template) as url:
        execute(url, *_rows_around_midnight())
        yield Base(url, *_computed(url))


def _rows_around_midnight() -> list[str]:
    submissions = ", ".join(f"({9_000_000 + n}, '2025-{timestamp}')" for n, timestamp in enumerate(MIDNIGHTS))
    active = "SELECT id FROM users WHERE is_active AND upper(role) = 'STUDENT' ORDER BY id LIMIT 60"
    return [
        # A naive timestamp in the repeated hour is ambiguous.
        *(
            f"DELETE FROM {table} WHERE {name} >= '2025-10-26 00:00+00' AND {name} < '2025-10-26 02:00+00'"  # noqa: S608
            for table, names in TIMESTAMPS.items()
            for name in names
        ),
        f"INSERT INTO exercise_submissions (id, user_id, created_at) SELECT edge.id + 10 * student.id, student.id, "  # noqa: S608
        f"edge.at::timestamptz FROM (VALUES {submissions}) AS edge (id, at), ({active}) AS student",
        f"INSERT INTO quiz_attempts (id, user_id, quiz_id, score, completed_at) SELECT 9000000 + edge.id + 10 * "  # noqa: S608
        f"student.id, student.id, 1, 80, edge.at::timestamptz FROM (VALUES {submissions}) AS edge (id, at), "
        f"({active}) AS student",
    ]


def _computed(url: URL, **settings: Any) -> tuple[Tables, Tables]:
    with installation_on(url, **settings) as installation:
        run_days(installation, FIRST, SUNDAY, "variant")
        run_week(installation, MONDAY, "variant")
        days = published(installation)
        # Of the days' columns only this one names the zones.
        days["snapshot_days"] = days["snapshot_days"].drop_columns(["computed_with"])
        return days, recommended(installation)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", VARIANTS)
def test_equivalent_platform_schemas_give_the_same_rows(name: str, base: Base, server_url: URL):
    variant = VARIANTS[name]
    with new_database(server_url, base.url) as url:
        execute(url, *variant.statements)
        days, recommendations = _computed(url, **{"store_schema": "variant", **variant.settings})
    assert differences(days, base.days) == []
    assert differences(recommendations, base.recommendations) == []


def test_missing_exercise_table_equals_an_empty_one(base: Base, server_url: URL):
    with new_database(server_url, base.url) as url:
        execute(url, "DELETE FROM exercise_submissions")
        days, recommendations = _computed(url, store_schema="empty")
        execute(url, "DROP TABLE exercise_submissions")
        days_without, recommendations_without = _computed(url, store_schema="without")
    assert differences(days_without, days) == []
    assert differences(recommendations_without, recommendations) == []


def test_wrong_zone_for_naive_timestamps_moves_rows_to_other_days(base: Base, server_url: URL):
    """Proves that the equality above can fail."""
    with new_database(server_url, base.url) as url:
        execute(url, *_naive("Europe/Budapest"))
        days, _ = _computed(url, store_schema="variant", naive_timezone="UTC")
    assert differences(days, base.days) != []


def test_missing_table_is_named(base: Base, server_url: URL):
    with new_database(server_url, base.url) as url:
        execute(url, "DROP TABLE quizzes", "ALTER TABLE lessons RENAME TO courses")
        with (
            installation_on(url) as installation,
            pytest.raises(SnapshotPipelineError, match=r"has no table lessons, quizzes; .*snapshot-pipeline check"),
        ):
            run_days(installation, SUNDAY, SUNDAY, "missing")


def test_run_changes_nothing_in_the_platform(base: Base, server_url: URL):
    with new_database(server_url, base.url) as url:
        before = _checksums(url)
        _computed(url, store_schema="ours")
        assert _checksums(url) == before
        execute(url, "UPDATE lessons SET title = title || '!' WHERE id = (SELECT min(id) FROM lessons)")
        assert _checksums(url) != before


def _checksums(url: URL) -> dict[str, Any]:
    """Return a checksum of each table's rows, and the names of all relations."""
    queries = {
        table: f"SELECT count(*), sum(hashtextextended(whole::text, 0)) FROM {table} AS whole"  # noqa: S608
        for table in TABLE_NAMES
    }
    queries["relations"] = (
        "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return {name: connection.execute(text(query)).all() for name, query in queries.items()}


def test_select_permission_on_the_platform_is_enough(base: Base, server_url: URL):
    with new_database(server_url, base.url) as url:
        role = f"reader_{url.database}"
        execute(
            url,
            f"CREATE ROLE {role} LOGIN PASSWORD 'reader'",
            *(f"GRANT SELECT ON {table} TO {role}" for table in TABLE_NAMES),
            f"CREATE SCHEMA ours AUTHORIZATION {role}",
        )
        try:
            reader = url.set(username=role, password="reader")  # noqa: S106
            days, recommendations = _computed(reader, store_schema="ours")
        finally:
            execute(url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
    assert differences(days, base.days) == []
    assert differences(recommendations, base.recommendations) == []
