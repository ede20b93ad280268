"""Late rows are found and reach every figure that depends on them."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import delete, select, update

from snapshot_pipeline.pipeline.batches import Progress
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.late_data import SLICE_DAYS, changed_days, scan_for_late_data
from snapshot_pipeline.pipeline.reasons import LATE_DATA
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline_tests.pipeline.comparison import compare_days
from snapshot_pipeline_tests.pipeline.installations import COMPUTED, SUNDAY, execute

FIRST, LAST = COMPUTED[0], COMPUTED[-1]
CHANGED = COMPUTED[3]


def change_a_past_day(installation: Installation, day: date = CHANGED) -> None:
    """Change the scores of a third of the day's attempts, and delete three of its lessons."""
    on_the_day = f"completed_at::date = '{day}'"
    execute(
        installation.engine.url,
        f"UPDATE quiz_attempts SET score = 100 - score WHERE id % 3 = 0 AND score BETWEEN 0 AND 100 AND {on_the_day}",  # noqa: S608
        f"DELETE FROM user_lesson_progress WHERE ctid IN (SELECT ctid FROM user_lesson_progress WHERE {on_the_day} "  # noqa: S608
        "ORDER BY user_id, lesson_id LIMIT 3)",
    )


def test_unchanged_platform_has_no_changed_day(computed: Installation):
    assert changed_days(computed, FIRST, LAST) == []
    assert changed_days(computed, FIRST - timedelta(days=400), FIRST - timedelta(days=300)) == []


def test_recompute_from_the_changed_day_corrects_and_restates_every_figure(computed: Installation):
    change_a_past_day(computed)
    assert compare_days(computed, [CHANGED]).differences  # the change has an effect
    changed = changed_days(computed, FIRST, LAST)
    assert CHANGED in changed
    run = run_days(computed, changed[0], LAST, "late", reason=LATE_DATA)
    assert compare_days(computed, COMPUTED).differences == []
    assert changed_days(computed, FIRST, LAST) == []
    table = computed.store.snapshot_restatements
    with computed.engine.connect() as connection:
        restatements = connection.execute(select(table)).mappings().all()
    assert {(row["run_id"], row["reason"]) for row in restatements} == {("late", LATE_DATA)}
    assert {row["snapshot_date"] for row in restatements} > {CHANGED, LAST}  # the change affects later days too
    by_day = {report.day: report.restated for report in run.reports}
    assert by_day == {day: sum(row["snapshot_date"] == day for row in restatements) for day in by_day}


def test_recomputing_only_the_changed_day_keeps_later_days_pending(computed: Installation):
    change_a_past_day(computed)
    first = changed_days(computed, FIRST, LAST)[0]
    run_days(computed, first, CHANGED, "alone")
    assert changed_days(computed, FIRST, LAST)[0] == CHANGED + timedelta(days=1)
    run_days(computed, CHANGED + timedelta(days=1), LAST, "the rest")
    assert compare_days(computed, COMPUTED).differences == []
    assert changed_days(computed, FIRST, LAST) == []


def test_rows_changed_while_a_run_reads_are_found_by_the_next_scan(computed: Installation):
    """The fingerprint describes the state before the batches read; here the batches have already read the change."""

    def change_after_first_batch(progress: Progress) -> None:
        if progress.done == 1:
            change_a_past_day(computed)

    run_days(computed, FIRST, LAST, "disturbed", change_after_first_batch)
    assert CHANGED in changed_days(computed, FIRST, LAST)


@pytest.mark.parametrize("is_first", [True, False], ids=["days without a row", "days computed before"])
def test_late_row_between_ranges_that_overlap_in_time_is_not_lost(computed: Installation, is_first: bool):
    """A run of later days has read; a row of an earlier day changes, and another run on the earlier days finds it."""
    days = computed.store.snapshot_days
    if is_first:
        with computed.engine.begin() as connection:
            connection.execute(delete(days).where(days.c.snapshot_date > CHANGED))
    overlapping = []

    def change_and_compute_earlier_days(progress: Progress) -> None:
        if progress.done == progress.total:
            change_a_past_day(computed)
            overlapping.append(run_days(computed, FIRST, CHANGED, "earlier days").reports)

    run_days(computed, CHANGED + timedelta(days=1), LAST, "later days", change_and_compute_earlier_days)
    assert len(overlapping) == 1
    assert any(report.restated for report in overlapping[0])  # the change has an effect
    assert compare_days(computed, [LAST]).differences  # and the later run has missed it
    assert changed_days(computed, FIRST, LAST) == [CHANGED + timedelta(days=1)]
    run_days(computed, CHANGED + timedelta(days=1), LAST, "late data")
    assert compare_days(computed, COMPUTED).differences == []
    assert changed_days(computed, FIRST, LAST) == []


def test_day_without_a_fingerprint_counts_as_changed_once(computed: Installation):
    days = computed.store.snapshot_days
    with computed.engine.begin() as connection:
        connection.execute(update(days).where(days.c.snapshot_date == SUNDAY).values(source_fingerprint=None))
    assert changed_days(computed, FIRST, LAST) == [SUNDAY]
    run_days(computed, SUNDAY, SUNDAY, "once")
    assert changed_days(computed, FIRST, LAST) == []


def test_scan_out_of_time_ends_with_newest_days_and_resumes_before_them(computed: Installation):
    noon = f"created_at BETWEEN '{FIRST} 10:00+00' AND '{FIRST} 14:00+00'"  # within this local day only
    execute(computed.engine.url, f"DELETE FROM exercise_submissions WHERE {noon}")  # noqa: S608
    newest = scan_for_late_data(computed, COMPUTED, seconds=0)
    assert (newest.changed, newest.scanned_from) == ([], COMPUTED[-SLICE_DAYS])
    rest = scan_for_late_data(computed, COMPUTED[:-SLICE_DAYS], seconds=0)
    assert (rest.changed, rest.scanned_from) == ([FIRST], FIRST)
    assert scan_for_late_data(computed, COMPUTED, seconds=60) == rest
