"""Summaries of days, compared with PostgreSQL's own arithmetic and the slow reference."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import URL, Table, select, text

from snapshot_pipeline.pipeline import summaries as pipeline_summaries
from snapshot_pipeline.pipeline.batches import Progress
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.pipeline.summaries import MissingSnapshotsError, split_days, summarize_days
from snapshot_pipeline.store.days import DayCount
from snapshot_pipeline.store.locks import LeaseLostError, LockedError, exclusive_days
from snapshot_pipeline_tests.pipeline.installations import (
    COMPUTED,
    MONDAY,
    SUNDAY,
    execute,
    installation_on,
    new_database,
)
from snapshot_pipeline_tests.reference.summaries import FIGURES, Published, reference_summary

FIRST, LAST = COMPUTED[0], COMPUTED[-1]

# Computes the summaries in one statement, with the quartiles and the rounding of the database.
_BY_SQL = text(
    """
    WITH dated AS (
      SELECT p.*, coalesce(u.current_specialization::text, '') AS specialization,
             coalesce(u.current_level::text, '') AS level, p.snapshot_date - p.last_activity_date AS since_activity
        FROM performance_snapshots AS p LEFT JOIN users AS u ON u.id = p.user_id
    ), failed AS (
      SELECT f.snapshot_date, coalesce(u.current_specialization::text, '') AS specialization,
             coalesce(u.current_level::text, '') AS level, count(*) AS failed
        FROM snapshot_failures AS f LEFT JOIN users AS u ON u.id = f.user_id GROUP BY 1, 2, 3
    ), summarized AS (
      SELECT snapshot_date, specialization, level, count(*) AS students,
             count(*) FILTER (WHERE last_activity_date = snapshot_date) AS active_students,
             round(avg(pace_score::numeric), 2)::float AS pace_mean,
             round(percentile_cont(0.25) WITHIN GROUP (ORDER BY pace_score)::numeric, 2)::float AS pace_p25,
             round(percentile_cont(0.5) WITHIN GROUP (ORDER BY pace_score)::numeric, 2)::float AS pace_median,
             round(percentile_cont(0.75) WITHIN GROUP (ORDER BY pace_score)::numeric, 2)::float AS pace_p75,
             count(*) FILTER (WHERE learning_pace = 'SLOW') AS slow_students,
             count(*) FILTER (WHERE learning_pace = 'MEDIUM') AS medium_students,
             count(*) FILTER (WHERE learning_pace = 'FAST') AS fast_students,
             count(*) FILTER (WHERE learning_pace = 'ACCELERATED') AS accelerated_students,
             round(avg(quiz_average::numeric), 2)::float AS quiz_average_mean,
             sum(time_spent_minutes_today)::bigint AS minutes_spent, sum(lessons_completed_count) AS lessons_completed,
             count(*) FILTER (WHERE since_activity >= 7) AS inactive_7_days,
             count(*) FILTER (WHERE since_activity >= 14) AS inactive_14_days
        FROM dated GROUP BY 1, 2, 3
    )
    SELECT *, coalesce(failed, 0) AS failures
      FROM summarized FULL JOIN failed USING (snapshot_date, specialization, level)
     ORDER BY snapshot_date, specialization COLLATE "C", level COLLATE "C"
    """
)


@pytest.fixture(scope="module")
def summarized(server_url: URL, failed_template: URL) -> Iterator[Installation]:
    """The last days of the sample, with students without a specialization, summarized in one range."""
    with new_database(server_url, failed_template) as url:
        execute(
            url,
            "UPDATE users SET current_specialization = NULL WHERE id % 10 = 0",
            "UPDATE users SET current_level = NULL WHERE id % 15 = 0",
            "UPDATE users SET is_active = false WHERE id % 50 = 1",  # keeps the existing snapshots
            "DELETE FROM quiz_attempts WHERE user_id = 2",
            "DELETE FROM user_lesson_progress WHERE user_id = 2",
            "DELETE FROM users WHERE id = 2",
        )
        with installation_on(url) as installation:
            summarize_days(installation, FIRST, LAST, "range")
            yield installation


def rows(installation: Installation, table: Table) -> list[dict[str, Any]]:
    order = sorted(
        table.primary_key, key=lambda column: ("snapshot_date", "specialization", "level").index(column.name)
    )
    with installation.engine.connect() as connection:
        table_rows = [dict(row) for row in connection.execute(select(table).order_by(*order)).mappings()]
    return sorted(table_rows, key=lambda row: tuple(str(row[column.name]) for column in order))


def without_run_columns(table_rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in ("computed_at", "run_id")} for row in table_rows]


def test_every_cohort_equals_one_sql_statement(summarized: Installation):
    with summarized.engine.connect() as connection:
        expected = [dict(row) for row in connection.execute(_BY_SQL).mappings()]
    stored = rows(summarized, summarized.store.cohort_summary)
    assert len(stored) == len(expected) > 3 * len(COMPUTED)
    assert {row["specialization"] for row in stored} > {""}
    assert sum(row["failed"] for row in stored) > 20
    nothing = {name: 0 for name in FIGURES if not name.startswith(("pace", "quiz"))}
    for actual, wanted in zip(stored, expected, strict=True):
        wanted = {**wanted, "failed": wanted["failures"]}
        for name in ("snapshot_date", "specialization", "level", *FIGURES):
            assert actual[name] == (nothing.get(name) if wanted[name] is None else wanted[name]), (actual, wanted)


def test_every_day_equals_the_reference(summarized: Installation):
    snapshots, failures = summarized.store.performance_snapshots, summarized.store.snapshot_failures
    for row in rows(summarized, summarized.store.day_summary):
        day = row["snapshot_date"]
        with summarized.engine.connect() as connection:
            published = [
                Published(
                    snapshot["pace_score"],
                    snapshot["learning_pace"],
                    snapshot["quiz_average"],
                    snapshot["lessons_completed_count"],
                    snapshot["time_spent_minutes_today"],
                    snapshot["last_activity_date"],
                )
                for snapshot in connection.execute(select(snapshots).where(snapshots.c.snapshot_date == day)).mappings()
            ]
            failed = connection.execute(select(failures).where(failures.c.snapshot_date == day)).all()
        assert {name: row[name] for name in FIGURES} == reference_summary(day, published, len(failed))


def test_single_days_chunks_and_ranges_give_identical_rows(summarized: Installation, monkeypatch: pytest.MonkeyPatch):
    tables = (summarized.store.day_summary, summarized.store.cohort_summary)
    expected = [without_run_columns(rows(summarized, table)) for table in tables]
    with summarized.engine.begin() as connection:
        for table in tables:
            connection.execute(table.delete())
    for day in reversed(COMPUTED):
        summarize_days(summarized, day, day, "alone")
    assert [without_run_columns(rows(summarized, table)) for table in tables] == expected
    steps: list[Progress] = []
    monkeypatch.setattr(pipeline_summaries, "split_days", lambda counts, _: split_days(counts, 500))
    run = summarize_days(summarized, FIRST, LAST, "in chunks", steps.append)
    assert len(steps) > 2
    assert [step.done for step in steps] == list(range(steps[-1].total + 1))
    assert run.changed == 0
    assert [day.day for day in run.days] == COMPUTED
    assert {row["run_id"] for row in rows(summarized, summarized.store.cohort_summary)} == {"alone"}


def test_days_are_chunked_by_their_student_counts():
    counts = [DayCount(FIRST + timedelta(days=n), students, 0) for n, students in enumerate([4, 4, 2, 30, 1, 9])]
    assert [[count.students for count in chunk] for chunk in split_days(counts, 10)] == [[4, 4, 2], [30], [1, 9]]
    assert split_days([], 10) == []


def test_resume_recommendations_count_inactivity_as_the_summary_does(computed: Installation):
    """A student inactive for 7 days gets it with a low score, one without a score after 14 days."""
    summarize_days(computed, SUNDAY, SUNDAY, "summary")
    run_week(computed, MONDAY, "week")
    query = """
        SELECT count(*) FILTER (WHERE s.days_since_activity >= 14) AS inactive,
               count(r.user_id) AS resume,
               count(r.user_id) FILTER (
                   WHERE (r.metadata ->> 'days_inactive')::int <> s.days_since_activity
                      OR s.days_since_activity < 7
                      OR coalesce(s.engagement_score >= 35, s.days_since_activity < 14)) AS wrong
          FROM performance_snapshots AS s
          LEFT JOIN adaptive_recommendations AS r
            ON r.user_id = s.user_id AND r.recommendation_type = 'RESUME_LEARNING'
         WHERE s.snapshot_date = :sunday
    """
    with computed.engine.connect() as connection:
        counts = connection.execute(text(query), {"sunday": SUNDAY}).one()
    (day,) = rows(computed, computed.store.day_summary)
    assert day["inactive_14_days"] == counts.inactive
    assert counts.wrong == 0
    assert counts.resume > 3


def test_summary_follows_changed_snapshots(computed: Installation):
    summarize_days(computed, FIRST, LAST, "first")
    before = rows(computed, computed.store.day_summary)
    execute(
        computed.engine.url,
        "UPDATE user_lesson_progress SET time_spent_minutes = time_spent_minutes + 7 "
        "WHERE started_at >= '2025-11-02 12:00' AND time_spent_minutes >= 0",
    )
    run_days(computed, FIRST, LAST, "late")
    summarize_days(computed, FIRST, LAST, "late")
    after = rows(computed, computed.store.day_summary)
    assert after[:-1] == before[:-1]
    assert after[-1]["minutes_spent"] > before[-1]["minutes_spent"]
    assert after[-1]["run_id"] == "late"


def test_day_before_any_student_started_is_a_row_of_zeros(computed: Installation):
    long_ago = date(2015, 1, 1)
    run_days(computed, long_ago, long_ago, "empty")
    (day,) = summarize_days(computed, long_ago, long_ago, "empty").days
    assert (day.students, day.failed, day.cohorts, day.pace_median) == (0, 0, 0, None)
    (row,) = rows(computed, computed.store.day_summary)
    assert (row["snapshot_date"], row["students"], row["pace_mean"]) == (long_ago, 0, None)


def test_uncomputed_days_are_named_with_the_command_to_compute_them(computed: Installation):
    with pytest.raises(MissingSnapshotsError) as caught:
        summarize_days(computed, FIRST - timedelta(days=2), LAST, "summary")
    assert "\n" not in str(caught.value)
    assert "no snapshots of 2025-10-24 to 2025-10-25" in str(caught.value)
    assert "`snapshot-pipeline materialize --from 2025-10-24 --to 2025-10-25`" in str(caught.value)
    assert rows(computed, computed.store.day_summary) == []


def test_summary_waits_for_the_run_lock_and_fails_if_the_lease_is_lost(
    computed: Installation, monkeypatch: pytest.MonkeyPatch
):
    settings = computed.settings.model_copy(update={"run_lock_seconds": 0.2})
    waiting = Installation(settings, computed.engine, computed.uri, computed.source_engine)
    lock = (computed.engine, computed.settings.store_schema, LAST, LAST, "run that publishes", 1)
    with exclusive_days(*lock), pytest.raises(LockedError, match="run that publishes"):
        summarize_days(waiting, FIRST, LAST, "summary")

    def lose_lease(*arguments: Any) -> Any:
        execute(computed.engine.url, "DELETE FROM run_leases")  # as the next run would
        return split_days(*arguments)

    monkeypatch.setattr(pipeline_summaries, "split_days", lose_lease)
    with pytest.raises(LeaseLostError):
        summarize_days(computed, FIRST, LAST, "summary")
    assert rows(computed, computed.store.day_summary) == []
