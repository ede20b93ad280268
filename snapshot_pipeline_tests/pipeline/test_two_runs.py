"""Concurrent runs on the same days, e.g. a retry and a run taken for dead, or the command line and Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from datetime import date, timedelta

import pytest
from sqlalchemy import URL

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.store.locks import LockedError, exclusive_days
from snapshot_pipeline_tests.pipeline.installations import (
    SUNDAY,
    Tables,
    differences,
    installation_on,
    new_database,
    published,
)
from snapshot_pipeline_tests.pipeline.other_process import begin, expect, other_process

FIRST = SUNDAY - timedelta(days=3)  # in October and November


@pytest.fixture(scope="module")
def rows_of_one_run(server_url: URL, sample_template: URL) -> Iterator[Tables]:
    with new_database(server_url, sample_template) as url, installation_on(url) as installation:
        run_days(installation, FIRST, SUNDAY, "only")
        yield published(installation)


def test_concurrent_processes_on_the_same_days_leave_the_rows_of_one(sample_url: URL, rows_of_one_run: Tables):
    """Two processes on the same range, a third on one of its days."""
    with (
        other_process("days", sample_url, FIRST, SUNDAY) as first,
        other_process("days", sample_url, FIRST, SUNDAY) as second,
        other_process("days", sample_url, SUNDAY, SUNDAY) as third,
    ):
        for process in (first, second, third):
            begin(process)
        for process in (first, second, third):
            expect(process, "done")
    with installation_on(sample_url) as installation:
        assert differences(published(installation), rows_of_one_run) == []


def test_second_run_waits_for_the_first_and_then_publishes(installation: Installation):
    with ThreadPoolExecutor(1) as pool:
        with exclusive_days(installation.engine, "public", SUNDAY, SUNDAY, "the test", 5):
            second = pool.submit(run_days, installation, SUNDAY, SUNDAY, "second")
            with pytest.raises(TimeoutError):
                second.result(1.0)
            assert published(installation)["performance_snapshots"].num_rows == 0
        assert second.result(30).reports[0].published > 0


def test_run_that_waits_too_long_names_the_holder_of_the_days(
    installation: Installation,
):
    with (
        installation_on(installation.engine.url, run_lock_seconds=0.3) as waiting,
        other_process("hold", installation.engine.url, date(2025, 9, 1), date(2025, 10, 31)) as other,
    ):
        begin(other)
        expect(other, "held")
        with pytest.raises(LockedError) as caught:
            run_days(waiting, FIRST, SUNDAY, "late")
        run_days(waiting, SUNDAY, SUNDAY, "november")
    message = str(caught.value)
    assert "another run is writing the days 2025-10-30 to 2025-11-02" in message
    assert "run of the other process" in message
    assert "waited 0.3 s" in message
    assert published(installation)["snapshot_days"]["snapshot_date"].to_pylist() == [SUNDAY]


def test_killed_process_releases_its_lock(installation: Installation):
    with other_process("hold", installation.engine.url, SUNDAY, SUNDAY) as other:
        begin(other)
        expect(other, "held")
        other.kill()
        other.wait()
        assert run_days(installation, SUNDAY, SUNDAY, "after").reports[0].published > 0
