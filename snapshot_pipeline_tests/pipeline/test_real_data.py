"""The pipeline on real data: 1,936 students of the Open University Learning Analytics Dataset, spring 2014.

A failure means that documented figures, or figures that the slow reference computes, have changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow.compute as pc
import pytest
from sqlalchemy import URL, func, select

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.recommendations import WeekReport, run_week
from snapshot_pipeline.pipeline.snapshots import SnapshotRun, run_days
from snapshot_pipeline.platform.csv_files import find_csv_files, load_csv_files
from snapshot_pipeline_tests.pipeline.comparison import compare_day, compare_week
from snapshot_pipeline_tests.pipeline.installations import (
    differences,
    installation_on,
    new_database,
    published,
    recommended,
)
from snapshot_pipeline_tests.reference.reading import read_rows
from snapshot_pipeline_tests.reference.rows import PlatformRows
from snapshot_pipeline_tests.reference.snapshots import reference_day

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "oulad_ccc_2014b"
FIRST, LAST = date(2014, 2, 1), date(2014, 5, 31)
DAY, WEEK = date(2014, 5, 15), date(2014, 5, 12)
CLOCKS_CHANGE = date(2014, 3, 30)

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data set is not next to the repository ({DATA})")


@dataclass(frozen=True)
class RealData:
    """The loaded data set, computed once for all tests of this file."""

    installation: Installation
    rows: PlatformRows
    run: SnapshotRun
    week: WeekReport


@pytest.fixture(scope="module")
def real(server_url: URL) -> Iterator[RealData]:
    with new_database(server_url) as url:
        load_csv_files(find_csv_files(DATA), url, "public", ZoneInfo("UTC"))
        with installation_on(url) as installation:
            run = run_days(installation, FIRST, LAST, "first")
            week = run_week(installation, WEEK, "first")
            yield RealData(installation, read_rows(installation.engine, "public"), run, week)


def test_known_day_has_the_known_students_and_paces(real: RealData):
    snapshots = real.installation.store.performance_snapshots
    pace = snapshots.c.learning_pace
    query = select(pace, func.count()).where(snapshots.c.snapshot_date == DAY).group_by(pace)
    with real.installation.engine.connect() as connection:
        paces = {name: count for name, count in connection.execute(query)}
    report = real.run.reports[(DAY - FIRST).days]
    assert (report.published, report.failures.total(), report.count.success_rate) == (1_017, 0, 1.0)
    assert paces == {"SLOW": 729, "MEDIUM": 263, "FAST": 22, "ACCELERATED": 3}


def test_known_week_has_the_known_recommendations(real: RealData):
    assert (real.week.recipients, real.week.with_recommendation, real.week.missing_days, real.week.failed) == (
        1_038,
        1_038,
        [],
        {},
    )
    assert real.week.types == {
        "CONTINUE_LEARNING": 754,
        "RESUME_LEARNING": 263,
        "PRACTICE_MORE": 172,
        "REVIEW_LESSON": 78,
        "START_LEARNING": 21,
    }


@pytest.mark.parametrize("day", [FIRST, CLOCKS_CHANGE, DAY, LAST])
def test_every_figure_of_a_day_equals_the_reference(real: RealData, day: date):
    expected = reference_day(real.rows, day, real.installation.settings.zone)
    comparison = compare_day(real.installation, expected, day)
    assert comparison.differences == []
    assert comparison.rows > 900


def test_every_recommendation_of_the_week_equals_the_reference(real: RealData):
    comparison = compare_week(real.installation, real.rows, WEEK)
    assert comparison.differences == []
    assert comparison.rows == 1_288


def test_materializing_again_writes_no_row(real: RealData):
    snapshots = real.installation.store.performance_snapshots
    with real.installation.engine.connect() as connection:
        before = connection.execute(select(func.max(snapshots.c.computed_at))).scalar_one()
    days, recommendations = published(real.installation), recommended(real.installation)
    run_days(real.installation, FIRST, LAST, "again")
    run_week(real.installation, WEEK, "again")
    assert differences(published(real.installation), days) == []
    assert differences(recommended(real.installation), recommendations) == []
    with real.installation.engine.connect() as connection:
        assert connection.execute(select(func.max(snapshots.c.computed_at))).scalar_one() == before


def test_single_days_and_other_ranges_give_the_same_rows(real: RealData):
    engine = real.installation.engine
    ranges = [(DAY, DAY), (LAST, LAST), (FIRST, FIRST), (DAY - timedelta(days=9), DAY - timedelta(days=2))]
    ranges += [(CLOCKS_CHANGE, CLOCKS_CHANGE)]
    with installation_on(engine.url, store_schema="one by one") as other:
        for first, last in ranges:
            run_days(other, first, last, "alone")
        alone = published(other)
    days = alone["snapshot_days"]["snapshot_date"].combine_chunks()
    whole = published(real.installation)
    assert len(days) == 12
    expected = {name: rows.filter(pc.is_in(rows["snapshot_date"], days)) for name, rows in whole.items()}
    assert differences(alone, expected) == []
