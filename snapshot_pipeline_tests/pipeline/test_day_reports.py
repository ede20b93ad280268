"""The counts that a run adds up batch by batch equal those of the published rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from sqlalchemy import URL, text

from snapshot_pipeline.pipeline.day_reports import DayReport, read_day_details, success_rates
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.store.snapshot_queries import day_totals, pace_counts
from snapshot_pipeline_tests.pipeline.installations import (
    COMPUTED,
    installation_on,
    new_database,
    raising_for,
    students_started_before,
)

QUARTILES = text(
    "SELECT percentile_cont(ARRAY[0.25, 0.5, 0.75]) WITHIN GROUP (ORDER BY pace_score), avg(pace_score),"
    " avg(quiz_average) FROM performance_snapshots WHERE snapshot_date = :day"
)


@pytest.fixture(scope="module")
def computed(server_url: URL, sample_template: URL) -> Iterator[tuple[Installation, list[DayReport]]]:
    """The last days of the sample, computed in many small batches; the computation of six students raises."""
    with new_database(server_url, sample_template) as url, installation_on(url, batch_rows=3_000) as opened:
        with raising_for(students_started_before(url, COMPUTED[0], 6)):
            reports = run_days(opened, COMPUTED[0], COMPUTED[-1], "batches").reports
        yield opened, reports


def test_quartiles_over_all_batches_equal_percentile_cont_exactly(computed: tuple[Installation, list[DayReport]]):
    installation, reports = computed
    with installation.engine.connect() as connection:
        for report in reports:
            quartiles, mean, quiz = connection.execute(QUARTILES, {"day": report.day}).one()
            assert [report.paces.percentile(q) for q in (0.25, 0.5, 0.75)] == quartiles
            assert round(report.paces.mean or 0, 2) == round(mean, 2)
            assert report.mean_quiz_average == pytest.approx(quiz, abs=1e-9)


def test_counts_from_stored_rows_equal_the_counts_of_the_run(computed: tuple[Installation, list[DayReport]]):
    """A retry reports counts of the stored rows, a run those of its batches: the plotted series must be continuous."""
    installation, reports = computed
    with installation.engine.connect() as connection:
        for report in reports:
            totals = day_totals(connection, installation.store, report.day)
            assert pace_counts(connection, installation.store, report.day) == report.paces
            assert (totals.active, totals.lessons, totals.minutes) == (report.active, report.lessons, report.minutes)
            assert totals.students_with_average == report.students_with_average
            assert totals.quiz_total == pytest.approx(report.quiz_total)


def test_each_reason_names_its_first_student(computed: tuple[Installation, list[DayReport]]):
    installation, reports = computed
    query = text("SELECT reason, min(user_id) FROM snapshot_failures WHERE snapshot_date = :day GROUP BY reason")
    assert any(report.failures for report in reports)
    with installation.engine.connect() as connection:
        for report in reports:
            assert report.first_failed == {
                reason: first for reason, first in connection.execute(query, {"day": report.day})
            }


def test_details_have_quartiles_of_pace_changes_and_students_without_data(
    computed: tuple[Installation, list[DayReport]],
):
    installation, _ = computed
    day = COMPUTED[-1]
    details = read_day_details(installation, day)
    with installation.engine.connect() as connection:
        changes = connection.execute(
            text(
                "SELECT t.pace_score - y.pace_score FROM performance_snapshots t"
                "  JOIN performance_snapshots y USING (user_id)"
                "  WHERE t.snapshot_date = :day AND y.snapshot_date = CAST(:day AS date) - 1"
            ),
            {"day": day},
        ).scalars()
        lower, median, upper = np.percentile(list(changes), [25, 50, 75])
        unscored = connection.execute(
            text("SELECT count(*) FROM performance_snapshots WHERE snapshot_date = :day AND quiz_average IS NULL"),
            {"day": day},
        ).scalar_one()
    moved = details.pace_changes
    assert moved is not None
    assert (moved.lower, moved.median, moved.upper) == pytest.approx((lower, median, upper))
    assert details.without_data.unscored == unscored
    assert details.without_data.idle <= unscored
    assert details.earlier_paces.students == 0  # four weeks before, nothing was computed
    assert read_day_details(installation, COMPUTED[0]).pace_changes is None


def test_calendar_contains_the_computed_days(computed: tuple[Installation, list[DayReport]]):
    installation, reports = computed
    assert success_rates(installation, COMPUTED[-1]) == {report.day: report.count.success_rate for report in reports}
