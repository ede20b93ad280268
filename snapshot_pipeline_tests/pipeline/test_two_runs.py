"""Runs at the same time: a retry beside a run that was given up for dead, the command line beside Dagster."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from sqlalchemy import URL

from snapshot_pipeline.pipeline import snapshots
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
def left_by_one_run(server_url: URL, sample_template: URL) -> Iterator[Tables]:
    with new_database(server_url, sample_template) as url, installation_on(url) as installation:
        run_days(installation, FIRST, SUNDAY, "only")
        yield published(installation)


@pytest.mark.parametrize("days_of_the_second", [(FIRST, SUNDAY), (SUNDAY, SUNDAY)], ids=["same range", "day in range"])
def test_two_processes_on_the_same_days_leave_what_one_would_have_left(
    sample_url: URL, left_by_one_run: Tables, days_of_the_second: tuple[date, date]
):
    with (
        other_process("days", sample_url, FIRST, SUNDAY) as one,
        other_process("days", sample_url, *days_of_the_second) as two,
    ):
        begin(one)
        begin(two)
        expect(one, "done")
        expect(two, "done")
    with installation_on(sample_url) as installation:
        assert differences(published(installation), left_by_one_run) == []


def test_a_second_run_waits_for_the_first_and_then_does_its_work(sample_url: URL):
    with other_process("days", sample_url, SUNDAY, SUNDAY) as other, installation_on(sample_url) as installation:
        with exclusive_days(installation.engine, "public", SUNDAY, SUNDAY, "the test", 5):
            begin(other)
            waiting = threading.Event()
            waiting.wait(1.0)
            assert published(installation)["performance_snapshots"].num_rows == 0
        expect(other, "done")
        assert published(installation)["performance_snapshots"].num_rows > 0


def test_a_run_that_has_waited_long_enough_says_who_holds_the_days(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(snapshots, "LOCK_SECONDS", 0.3)
    with other_process("hold", installation.engine.url, FIRST, SUNDAY) as other:
        begin(other)
        expect(other, "held")
        with pytest.raises(LockedError) as caught:
            run_days(installation, SUNDAY, SUNDAY, "late")
    message = str(caught.value)
    assert "the days 2025-11-02 to 2025-11-02 are being written by another run" in message
    assert "run of the other process" in message
    assert "waited 0.3 s" in message
    assert published(installation)["snapshot_days"].num_rows == 0


def test_runs_of_different_months_do_not_hold_each_other_up(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(snapshots, "LOCK_SECONDS", 0.3)
    with other_process("hold", installation.engine.url, date(2025, 9, 1), date(2025, 10, 31)) as other:
        begin(other)
        expect(other, "held")
        run_days(installation, SUNDAY, SUNDAY, "november")
        with pytest.raises(LockedError):
            run_days(installation, FIRST, SUNDAY, "october too")


def test_a_process_that_is_killed_holds_nobody_up(installation: Installation, monkeypatch: pytest.MonkeyPatch):
    with other_process("hold", installation.engine.url, SUNDAY, SUNDAY) as other:
        begin(other)
        expect(other, "held")
        other.kill()
        other.wait()
        monkeypatch.setattr(snapshots, "LOCK_SECONDS", 5)
        assert run_days(installation, SUNDAY, SUNDAY, "after").reports[0].published > 0
