"""The whole pipeline on sample students, with invalid rows and a clock change, against the slow reference.

The same comparison as on the real data set, which is not available everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sqlalchemy import URL, select

from snapshot_pipeline.pipeline.batches import Progress
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.platform.sample import generate, load_sample
from snapshot_pipeline_tests.pipeline.comparison import Comparison, compare_day, compare_week
from snapshot_pipeline_tests.pipeline.installations import (
    MONDAY,
    SAMPLE,
    SUNDAY,
    ZONE,
    Tables,
    differences,
    installation_on,
    new_database,
    published,
    recommended,
)
from snapshot_pipeline_tests.reference.reading import read_rows
from snapshot_pipeline_tests.reference.snapshots import reference_day

FIRST = MONDAY - timedelta(days=7)
DAYS = [FIRST + timedelta(days=n) for n in range((SUNDAY - FIRST).days + 1)]


@dataclass(frozen=True)
class Computed:
    """Two weeks of the sample, computed in one range, and the published tables."""

    installation: Installation
    days: Tables
    recommendations: Tables


@pytest.fixture(scope="module")
def computed(server_url: URL, sample_template: URL) -> Iterator[Computed]:
    with new_database(server_url, sample_template) as url, installation_on(url) as installation:
        run_days(installation, FIRST, SUNDAY, "range")
        run_week(installation, MONDAY, "range")
        yield Computed(installation, published(installation), recommended(installation))


def test_all_figures_and_invalid_rows_of_two_weeks_equal_the_reference(computed: Computed):
    rows = read_rows(computed.installation.engine, "public")
    expected = {day: reference_day(rows, day, ZONE) for day in DAYS}
    total = sum((compare_day(computed.installation, of_day, day) for day, of_day in expected.items()), Comparison(0))
    assert total.differences == []
    assert total.rows > 300 * len(DAYS) / 2
    assert {issue.issue for of_day in expected.values() for issue in of_day.issues} >= {
        "negative_minutes",
        "negative_score",
        "completed_before_started",
    }


def test_all_recommendations_of_a_week_equal_the_reference(computed: Computed):
    rows = read_rows(computed.installation.engine, "public")
    assert compare_week(computed.installation, rows, MONDAY).differences == []


def test_the_comparison_finds_a_wrong_figure_and_missing_and_extra_rows(computed: Computed):
    rows = read_rows(computed.installation.engine, "public")
    expected = reference_day(rows, SUNDAY, ZONE)
    first, second, *others = expected.published
    wrong = replace(expected, published=[replace(first, pace_score=100.5), replace(second, user_id=-1), *others])
    comparison: Comparison = compare_day(computed.installation, wrong, SUNDAY)
    assert len(comparison.differences) == 3
    assert any("pace_score" in sentence for sentence in comparison.differences)


def test_materializing_again_changes_no_row(computed: Computed):
    run_days(computed.installation, FIRST, SUNDAY, "again")
    run_week(computed.installation, MONDAY, "again")
    assert differences(published(computed.installation), computed.days) == []
    assert differences(recommended(computed.installation), computed.recommendations) == []


def test_single_days_in_reverse_order_equal_the_range(computed: Computed, sample_url: URL):
    clock_change_days = DAYS[5:9]
    with installation_on(sample_url) as installation:
        for day in reversed(clock_change_days):
            run_days(installation, day, day, "alone")
        alone = published(installation)
    days = pa.array(clock_change_days)
    expected = {name: rows.filter(pc.is_in(rows["snapshot_date"], days)) for name, rows in computed.days.items()}
    assert differences(alone, expected) == []


@pytest.mark.parametrize(("batch_rows", "workers"), [(1_500, 4), (4_000, 1)])
def test_batch_size_and_number_of_workers_change_no_row(
    computed: Computed, sample_url: URL, batch_rows: int, workers: int
):
    steps: list[Progress] = []
    with installation_on(sample_url, batch_rows=batch_rows, workers=workers) as installation:
        run_days(installation, FIRST, SUNDAY, "batches", steps.append)
        run_week(installation, MONDAY, "batches")
        assert differences(published(installation), computed.days) == []
        assert differences(recommended(installation), computed.recommendations) == []
    assert [step.done for step in steps] == list(range(steps[-1].total + 1))
    assert steps[-1].total > 1


@pytest.mark.parametrize("bad_rate", [0.05, 0.5])
def test_every_student_is_published_and_exactly_the_invalid_rows_are_listed(server_url: URL, bad_rate: float):
    options = replace(SAMPLE, students=400, days=20, bad_rate=bad_rate)
    invalid = generate(options).invalid_rows
    with new_database(server_url) as url:
        load_sample(options, url, "public")
        with installation_on(url) as installation:
            run = run_days(installation, SUNDAY, SUNDAY, "rate")
            snapshots = published(installation)["performance_snapshots"]
            columns = installation.store.data_issues.c
            with installation.engine.connect() as connection:
                listed = connection.execute(select(columns.user_id, columns.issue, columns.day)).all()
    assert sorted((row.user_id, row.issue) for row in listed) == sorted(
        zip(*invalid.dropna()[["user_id", "issue"]].to_numpy().T, strict=True)
    )
    assert len(invalid) == round(bad_rate * len(snapshots))
    assert set(invalid["user_id"]) <= set(snapshots["user_id"].to_pylist())
    (report,) = run.reports
    assert (report.published, report.failures.total()) == (len(snapshots), 0)
    assert report.with_issues == len({row.user_id for row in listed if row.day == SUNDAY}) > 0


def test_a_platform_where_all_students_were_active_lately_is_computed(server_url: URL):
    """No student's last activity has to be read; the server refused the query for an empty list of students."""
    with new_database(server_url) as url:
        load_sample(replace(SAMPLE, students=5, days=6, bad_rate=0.0), url, "public")
        with installation_on(url) as installation:
            run = run_days(installation, SUNDAY, SUNDAY, "lately")
    assert run.reports[0].published > 0


def test_a_day_without_students_has_no_success_rate(server_url: URL):
    with new_database(server_url) as url:
        load_sample(replace(SAMPLE, students=1, days=1, bad_rate=0.0), url, "public")
        with installation_on(url) as installation:
            day = date(2020, 1, 1)
            run = run_days(installation, day, day, "no students")
            assert published(installation)["snapshot_days"].num_rows == 1
    assert (run.reports[0].count.students, run.reports[0].count.success_rate, run.reports[0].paces.mean) == (
        0,
        None,
        None,
    )
