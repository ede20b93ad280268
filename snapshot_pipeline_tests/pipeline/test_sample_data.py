"""The whole way of the data on made-up students, wrong rows and a change of the clocks included.

The same equality as on the real data set, which is not everywhere; these run wherever the tests do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sqlalchemy import URL

from snapshot_pipeline.pipeline.batches import Progress
from snapshot_pipeline.pipeline.day_reports import EXAMPLES
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import SnapshotRun, run_days
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
    """Two weeks of the sample, computed once in one range, and what was published."""

    installation: Installation
    days: Tables
    recommendations: Tables


@pytest.fixture(scope="module")
def computed(server_url: URL, sample_template: URL) -> Iterator[Computed]:
    with new_database(server_url, sample_template) as url, installation_on(url) as installation:
        run_days(installation, FIRST, SUNDAY, "range")
        run_week(installation, MONDAY, "range")
        yield Computed(installation, published(installation), recommended(installation))


def test_every_figure_of_two_weeks_and_every_recommendation_is_that_of_the_reference(computed: Computed):
    rows = read_rows(computed.installation.engine, "public")
    expected = {day: reference_day(rows, day, ZONE) for day in DAYS}
    snapshots = {(row.user_id, row.snapshot_date): row for day in expected.values() for row in day.published}
    total = compare_week(computed.installation, rows, snapshots, MONDAY)
    total = sum((compare_day(computed.installation, one, day) for day, one in expected.items()), total)
    assert total.differences == []
    assert total.rows > 300 * len(DAYS) / 2
    assert sum(len(day.failures) for day in expected.values()) > 50


def test_the_comparison_notices_a_figure_a_missing_row_and_a_row_too_many(computed: Computed):
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


def test_days_one_by_one_backwards_give_the_rows_of_the_range(computed: Computed, sample_url: URL):
    around_the_change_of_the_clocks = DAYS[5:9]
    with installation_on(sample_url) as installation:
        for day in reversed(around_the_change_of_the_clocks):
            run_days(installation, day, day, "alone")
        alone = published(installation)
    days = pa.array(around_the_change_of_the_clocks)
    of_these_days = {name: rows.filter(pc.is_in(rows["snapshot_date"], days)) for name, rows in computed.days.items()}
    assert differences(alone, of_these_days) == []


@pytest.mark.parametrize(("batch_rows", "workers"), [(1_500, 4), (4_000, 1)])
def test_no_size_of_batches_and_no_number_of_workers_changes_a_row(
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


@pytest.mark.parametrize("bad_rate", [0.05, 0.15])
def test_the_success_rate_of_yesterday_is_exact_and_no_good_student_is_missing(server_url: URL, bad_rate: float):
    options = replace(SAMPLE, students=400, days=20, bad_rate=bad_rate)
    planted = generate(options).planted
    with new_database(server_url) as url:
        load_sample(options, url, "public")
        with installation_on(url) as installation:
            run = run_days(installation, SUNDAY, SUNDAY, "rate")
            tables = published(installation)
            due = reference_day(read_rows(installation.engine, "public"), SUNDAY, ZONE)
    good, bad = tables["performance_snapshots"], tables["snapshot_failures"]
    assert dict(zip(bad["user_id"].to_pylist(), bad["reason"].to_pylist(), strict=True)) == dict(
        zip(planted["user_id"], planted["reason"], strict=True)
    )
    assert good["user_id"].to_pylist() == [row.user_id for row in due.published]
    _assert_report_counts(run, published=len(good), failed=len(bad))
    students = len(good) + len(bad)
    assert len(bad) == round(bad_rate * students)
    assert run.reports[0].count.success_rate == len(good) / students


def _assert_report_counts(run: SnapshotRun, published: int, failed: int) -> None:
    (report,) = run.reports
    assert (report.published, report.failures.total()) == (published, failed)
    examples = [example.user_id for example in report.examples]
    assert examples == sorted(examples)
    assert len(examples) == min(EXAMPLES, failed)


def test_a_platform_on_which_everybody_was_active_lately_is_computed(server_url: URL):
    """Nobody's last activity had to be looked up; the query for no student at all was one that the server refused."""
    with new_database(server_url) as url:
        load_sample(replace(SAMPLE, students=5, days=6, bad_rate=0.0), url, "public")
        with installation_on(url) as installation:
            run = run_days(installation, SUNDAY, SUNDAY, "lately")
    assert run.reports[0].published > 0


def test_a_platform_without_any_student_has_no_rate(server_url: URL):
    with new_database(server_url) as url:
        load_sample(replace(SAMPLE, students=1, days=1, bad_rate=0.0), url, "public")
        with installation_on(url) as installation:
            day = date(2020, 1, 1)
            run = run_days(installation, day, day, "nobody")
            assert published(installation)["snapshot_days"].num_rows == 1
    assert (run.reports[0].count.students, run.reports[0].count.success_rate, run.reports[0].paces.mean) == (
        0,
        None,
        None,
    )
