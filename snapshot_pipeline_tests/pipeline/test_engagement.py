"""The engagement columns that a run publishes equal the slow reference, however it is split, and follow the cohort."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from snapshot_pipeline.pipeline import ranking
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.late_run import compute_late_data
from snapshot_pipeline.pipeline.recompute import recompute_day
from snapshot_pipeline.pipeline.retry import retry_failed
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.store.tables import ENGAGEMENT_COLUMNS
from snapshot_pipeline_tests.pipeline.comparison import compare_engagement
from snapshot_pipeline_tests.pipeline.installations import (
    COMPUTED,
    SUNDAY,
    execute,
    installation_on,
    published,
    raising_for,
    rows_of,
    students_started_before,
)
from snapshot_pipeline_tests.reference.reading import read_rows
from snapshot_pipeline_tests.reference.rows import PlatformRows


def platform_rows(installation: Installation) -> PlatformRows:
    settings = installation.settings
    return read_rows(installation.engine, settings.platform_schema, settings.naive_zone, settings.score_maximum)


def engagement(installation: Installation, day: date) -> dict[int, tuple[Any, ...]]:
    table = installation.store.performance_snapshots
    columns = (table.c.user_id, *(table.c[name] for name in ENGAGEMENT_COLUMNS))
    with installation.engine.connect() as connection:
        rows = connection.execute(select(*columns).where(table.c.snapshot_date == day))
        return {user_id: tuple(figures) for user_id, *figures in rows}


def restatement_columns(installation: Installation) -> set[str]:
    with installation.engine.connect() as connection:
        return set(connection.execute(select(installation.store.snapshot_restatements.c.column_name)).scalars())


def test_published_engagement_equals_the_reference(computed: Installation):
    rows = platform_rows(computed)
    for day in (COMPUTED[0], SUNDAY):
        assert compare_engagement(computed, rows, day).differences == []
    assert any(figures[0] is not None for figures in engagement(computed, SUNDAY).values())


def test_a_day_alone_in_small_batches_and_short_ranges_has_the_same_engagement(
    computed: Installation, sample_url: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(ranking, "MAX_RANKED", 600)  # two days of 300 students
    with installation_on(sample_url, batch_rows=3_000, workers=2) as other:
        run_days(other, SUNDAY, SUNDAY, "alone")
        assert engagement(other, SUNDAY) == engagement(computed, SUNDAY)
        run_days(other, COMPUTED[0], SUNDAY, "range")
        assert published(other) == published(computed)


def test_a_changed_rank_is_counted_and_not_restated(computed: Installation):
    """Half of the students leave, so the others are compared with fewer peers; one of these loses the cohort."""
    before = engagement(computed, SUNDAY)
    lost = min(user_id for user_id in before if user_id % 2)
    execute(
        computed.engine.url,
        "UPDATE users SET is_active = false WHERE id % 2 = 0",
        f"UPDATE users SET current_level = '' WHERE id = {lost}",  # noqa: S608  # an integer
    )
    run = run_days(computed, SUNDAY, SUNDAY, "again")
    after = engagement(computed, SUNDAY)
    changed = [user_id for user_id, figures in after.items() if figures != before[user_id]]
    assert run.reports[0].reranked == len(changed) > 0
    assert all(user_id % 2 for user_id in changed)  # the others keep the row of an earlier run
    assert restatement_columns(computed) == set()
    assert after[lost] == (None,) * len(ENGAGEMENT_COLUMNS)
    active = {user.id for user in platform_rows(computed).users if user.is_active}
    inactive = [user_id for user_id in after if user_id not in active]
    assert compare_engagement(computed, platform_rows(computed), SUNDAY, failed=inactive).differences == []


def test_a_student_that_raises_is_no_peer_until_a_retry_succeeds(computed: Installation):
    rows = platform_rows(computed)
    raising = students_started_before(computed.engine.url, COMPUTED[0], 6)
    with raising_for(raising):
        run_days(computed, SUNDAY, SUNDAY, "raises")
    assert compare_engagement(computed, rows, SUNDAY, failed=raising).differences == []
    without = engagement(computed, SUNDAY)
    retry_failed(computed, None, None, "retry")
    assert compare_engagement(computed, rows, SUNDAY).differences == []
    others = {user_id for user_id, figures in engagement(computed, SUNDAY).items() if figures != without[user_id]}
    assert others - set(raising)
    assert restatement_columns(computed) == set()


def test_a_student_that_raises_again_keeps_the_ranks_of_an_earlier_run(computed: Installation):
    before = engagement(computed, SUNDAY)
    raising = students_started_before(computed.engine.url, COMPUTED[0], 6)
    with raising_for(raising):
        run_days(computed, SUNDAY, SUNDAY, "raises")
    with raising_for(raising[:3]):
        retry_failed(computed, None, None, "retry")
    after = engagement(computed, SUNDAY)
    assert any(before[user_id][0] is not None for user_id in raising[:3])
    assert [after[user_id] for user_id in raising[:3]] == [before[user_id] for user_id in raising[:3]]
    assert compare_engagement(computed, platform_rows(computed), SUNDAY, failed=raising[:3]).differences == []


def test_late_data_and_recompute_matches_leave_ranks_alone(computed: Installation):
    before = engagement(computed, SUNDAY)
    with computed.engine.begin() as connection:
        moved = connection.execute(
            text(
                "UPDATE quiz_attempts SET score = 0 WHERE score > 50 AND completed_at >= :day AND completed_at < :end "
                "RETURNING user_id"
            ),
            {"day": COMPUTED[2], "end": COMPUTED[2] + timedelta(days=1)},
        ).scalars()
        assert set(moved) & before.keys()
    compute_late_data(computed, COMPUTED[0], "late")
    assert engagement(computed, SUNDAY) == before
    assert compare_engagement(computed, platform_rows(computed), SUNDAY).differences  # the ranks are history
    assert not recompute_day(computed, SUNDAY, "recompute").differs
    assert "quiz_average" in restatement_columns(computed)
    assert rows_of(computed, computed.store.snapshot_failures)["snapshot_failures"].num_rows == 0
