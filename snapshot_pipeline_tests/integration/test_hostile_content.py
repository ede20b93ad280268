"""Hostile and random content of the platform: every student-day is computed."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date, timedelta
from typing import Any

import numpy as np
import psycopg2
import pytest
from sqlalchemy import URL, create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.pipeline.batches import one_line
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.platform.tables import ADVISED_INDEXES, TABLE_NAMES, platform_metadata
from snapshot_pipeline.postgres.urls import adbc_uri
from snapshot_pipeline_tests.pipeline.comparison import compare_day
from snapshot_pipeline_tests.pipeline.installations import execute, installation_on, new_database, recommended
from snapshot_pipeline_tests.reference.reading import read_rows
from snapshot_pipeline_tests.reference.snapshots import reference_day

ROWS = 10_000
SUNDAY = date(2026, 3, 15)
MONDAY = SUNDAY - timedelta(days=6)
MIN, MAX = -(2**63), 2**63 - 1
ZONE = "UTC"  # in other zones the year 9999 exceeds Python's range of dates

TEXTS = (
    "Fractions",
    "'; DROP TABLE users; --",
    '"quoted" \\ and \\N and %s and {lesson_title} and $1',
    "two\nlines\r\nand\ta tab\x01\x1b[31m\x7f",
    "\u202eesrever\u202c and \u2066isolated\u2069 and \u200frtl שלום",
    "<script>alert(1)</script> **bold** [link](javascript:alert(1)) ![](http://example.org/x)",
    '=cmd|"/C calc"!A0',
    "🧑‍🎓🎓 四字节 \U0001f9ff",
    "",
    "x" * 5_000,
)
# The reference also uses the days before and after, which must be within Python's range of dates.
UNUSUAL_TIMESTAMPS = ("0001-01-03 00:00+00", "0099-06-01 12:00+00", "9999-12-30 23:59:59.999999+00", None)
UNREPRESENTABLE_TIMESTAMPS = (
    "0001-01-01 00:00+00",
    "9999-12-31 23:59:59.999999+00",
    "infinity",
    "-infinity",
    "4713-01-01 12:00+00 BC",
    "294276-12-31 23:00+00",
)
ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
SCORES = ("NaN", "Infinity", "-Infinity", "-0.01", "100.01", "1e308", "-0", None)


def mixed(random: np.random.Generator, usual: Sequence[Any], unusual: Sequence[Any], share: float = 0.02) -> list[Any]:
    """Replace a share of the usual values by unusual ones."""
    picks = random.integers(0, len(unusual), len(usual))
    return [
        unusual[pick] if hit else value
        for value, pick, hit in zip(usual, picks, random.random(len(usual)) < share, strict=True)
    ]


def fuzzed(seed: int, unusual_timestamps: Sequence[str | None]) -> dict[str, list[tuple[Any, ...]]]:
    """Return ten thousand random rows of each table."""
    random = np.random.default_rng(seed)

    def ids(count: int) -> list[int]:
        chosen = {MIN, MIN + 1, -1, 0, 1, 2**31 - 1, 2**31, MAX - 1, MAX}
        while len(chosen) < count:
            chosen |= set(random.integers(MIN, MAX, count - len(chosen)).tolist())
        return sorted(chosen)

    def timestamps() -> list[Any]:
        days = random.exponential(25, ROWS)
        usual = [f"{np.datetime64('2026-03-17', 's') - int(day * 86_400)}+00" for day in days]
        return mixed(random, usual, unusual_timestamps)

    def texts() -> list[str]:
        return [TEXTS[n] for n in random.integers(0, len(TEXTS), ROWS)]

    users, lessons, quizzes, attempts = ids(ROWS), ids(ROWS), ids(ROWS), ids(ROWS)
    learners = [users[n] for n in random.integers(0, ROWS, ROWS)]
    roles = mixed(random, ["STUDENT"] * ROWS, ["student", "Student", *TEXTS], 0.2)
    few = [TEXTS[n] for n in random.integers(0, 3, ROWS)]
    minutes = mixed(random, random.integers(0, 200, ROWS).tolist(), [-1, 2**31 - 1, -(2**31), None])
    scores = mixed(random, random.integers(0, 101, ROWS).tolist(), SCORES)
    order = mixed(random, random.integers(0, 99, ROWS).tolist(), [None, 2**31 - 1, -(2**31)])
    pick = lambda values: [values[n] for n in random.integers(0, len(values), ROWS)]  # noqa: E731
    started = timestamps()
    submitted = [timestamp or "2026-03-10 00:00+00" for timestamp in timestamps()]
    progress = dict.fromkeys(zip(learners, pick(lessons), strict=True))
    return {
        "users": list(zip(users, roles, random.random(ROWS) < 0.95, few, pick(TEXTS), strict=True)),
        "lessons": list(zip(lessons, texts(), few, pick(TEXTS), order, random.random(ROWS) < 0.9, strict=True)),
        "user_lesson_progress": [
            (*key, *rest) for key, rest in zip(progress, zip(started, timestamps(), minutes, strict=True), strict=False)
        ],
        "quizzes": list(zip(quizzes, mixed(random, pick(lessons), [None, MIN, MAX]), texts(), strict=True)),
        "quiz_attempts": list(zip(attempts, pick(learners), pick(quizzes), scores, timestamps(), strict=True)),
        "exercise_submissions": list(zip(ids(ROWS), pick(learners), submitted, strict=True)),
    }


def load(url: URL, rows: dict[str, list[tuple[Any, ...]]]) -> None:
    platform_metadata("public").create_all(create_engine(url, poolclass=NullPool))
    execute(url, *(f"CREATE INDEX ON {index.table} ({', '.join(index.columns)})" for index in ADVISED_INDEXES))
    with closing(psycopg2.connect(adbc_uri(url))) as connection, connection.cursor() as cursor:
        for table, values in rows.items():
            lines = "\n".join("\t".join(map(copy_format, row)) for row in values)
            cursor.copy_expert(f"COPY {table} FROM STDIN", io.StringIO(lines + "\n"))
        connection.commit()
    execute(url, "ANALYZE")


def copy_format(value: Any) -> str:
    """Return a value in the text format of COPY."""
    return "\\N" if value is None else str(value).translate(ESCAPES)


@pytest.fixture(params=[UNUSUAL_TIMESTAMPS, UNREPRESENTABLE_TIMESTAMPS], ids=["years 1 to 9999", "infinity and BC"])
def computed(request: pytest.FixtureRequest, server_url: URL) -> Iterator[tuple[Installation, bool]]:
    """A fuzzed platform with a computed day and week, and whether Python can represent its timestamps."""
    with new_database(server_url) as url:
        load(url, fuzzed(3, request.param))
        with installation_on(url, timezone=ZONE) as installation:
            run_days(installation, SUNDAY, SUNDAY, "fuzzed")
            run_week(installation, MONDAY, "fuzzed")
            yield installation, request.param is UNUSUAL_TIMESTAMPS


def counts(installation: Installation, *queries: str) -> list[int]:
    with installation.engine.connect() as connection:
        return [connection.execute(text(query)).scalar_one() for query in queries]


def test_every_student_with_fuzzed_rows_is_published(
    computed: tuple[Installation, bool],
):
    installation, readable = computed
    zone = installation.settings.zone
    assert counts(installation, *(f"SELECT count(*) FROM {table}" for table in TABLE_NAMES))[0] == ROWS  # noqa: S608
    due, published, failed = counts(
        installation,
        "SELECT count(*) FROM users WHERE is_active AND upper(role) = 'STUDENT' AND EXISTS (SELECT FROM "
        "user_lesson_progress WHERE user_id = users.id AND least("
        "CASE WHEN started_at >= '2000-01-01 00:00+00' THEN started_at END, "
        "CASE WHEN completed_at >= '2000-01-01 00:00+00' THEN completed_at END) < '2026-03-16 00:00+00')",
        "SELECT count(*) FROM performance_snapshots",
        "SELECT count(*) FROM snapshot_failures",
    )
    assert (published, failed) == (due, 0)
    assert published > 1_000
    if readable:
        rows = read_rows(installation.engine, "public")
        day = reference_day(rows, SUNDAY, zone)
        assert compare_day(installation, day, SUNDAY).differences == []
    messages = recommended(installation)["adaptive_recommendations"]["message"].to_pylist()
    assert len(messages) > 1_000
    assert not any(set("\n\r\t\x01\x1b\x7f\u202e\u2066") & set(message) for message in messages)
    assert not any(message.startswith(("=", "+", "-", "@")) for message in messages)


def test_error_quotes_student_text_on_one_line_without_control_characters():
    for content in TEXTS:
        line = one_line(ValueError(content))
        assert len(line) <= 500
        assert not set("\n\r\t\x01\x1b\x7f\u202e\u202c\u2066\u2069\u200f") & set(line)
