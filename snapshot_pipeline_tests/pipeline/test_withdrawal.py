"""Withdrawn days are missing, as if they had never been computed; their restatements stay."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import func, select, text

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.pipeline.summaries import summarize_days
from snapshot_pipeline.pipeline.withdrawal import withdraw_days
from snapshot_pipeline.store.locks import LockedError, exclusive_days
from snapshot_pipeline_tests.pipeline.installations import (
    COMPUTED,
    differences,
    execute,
    installation_on,
    published,
    raising_for,
    students_started_before,
)

FIRST, LAST = COMPUTED[2], COMPUTED[4]


def rows_by_day(installation: Installation) -> dict[str, dict[date, int]]:
    store = installation.store
    tables = (
        store.performance_snapshots,
        store.snapshot_failures,
        store.snapshot_days,
        store.day_summary,
        store.cohort_summary,
        store.data_issues,
        store.snapshot_restatements,
    )
    counts = {}
    with installation.engine.connect() as connection:
        for table in tables:
            day = table.c.day if "day" in table.c else table.c.snapshot_date
            counts[table.name] = {
                found: rows for found, rows in connection.execute(select(day, func.count()).group_by(day))
            }
    return counts


def test_withdrawn_days_leave_no_row_but_their_restatements(failed: Installation):
    summarize_days(failed, COMPUTED[0], COMPUTED[-1], "summaries")
    execute(failed.engine.url, "UPDATE performance_snapshots SET pace_score = 1")
    with raising_for(students_started_before(failed.engine.url, COMPUTED[0], 6)):
        run_days(failed, FIRST, LAST, "restated")
    columns = "source_table, source_key, issue, user_id, day, detail, first_seen_at, last_seen_at"
    issue = f"'quiz_attempts', '{FIRST}', 'score_above_maximum', 1, '{FIRST}', 'score = 130', now(), now()"
    execute(failed.engine.url, f"INSERT INTO data_issues ({columns}) VALUES ({issue})")  # noqa: S608
    before = rows_by_day(failed)
    withdrawn = {FIRST, COMPUTED[3], LAST}
    assert [name for name, counts in before.items() if not withdrawn & counts.keys()] == []
    assert withdraw_days(failed, FIRST, LAST) == sum(before["performance_snapshots"][day] for day in withdrawn)
    after = rows_by_day(failed)
    assert after.pop("snapshot_restatements") == before.pop("snapshot_restatements")
    for name, counts in before.items():
        assert after[name] == {day: rows for day, rows in counts.items() if day not in withdrawn}


def test_a_withdrawn_day_is_computed_again_with_the_same_figures(computed: Installation):
    before = published(computed)
    withdraw_days(computed, FIRST, LAST)
    assert differences(published(computed), before) != []
    run_days(computed, FIRST, LAST, "again")
    assert differences(published(computed), before) == []


def test_a_day_that_a_run_writes_is_not_withdrawn(computed: Installation):
    with (
        installation_on(computed.engine.url, run_lock_seconds=0.2) as waiting,
        exclusive_days(computed.engine, "public", FIRST, FIRST, "another run", 1),
        pytest.raises(LockedError, match="another run"),
    ):
        withdraw_days(waiting, FIRST, LAST)
    with computed.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM snapshot_days")).scalar() == len(COMPUTED)
