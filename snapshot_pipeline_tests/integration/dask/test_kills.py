"""Workers, schedulers and runs that die in the middle of a batch: nothing is lost, nothing is there twice."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from sqlalchemy import URL

from snapshot_pipeline.passing_errors import is_passing
from snapshot_pipeline.pipeline import executors
from snapshot_pipeline.pipeline.executors import ClusterError, ClusterLostError
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline_tests.integration.dask.clusters import cluster
from snapshot_pipeline_tests.integration.dask.runs import (
    FIRST,
    busy_worker,
    held_in_work,
    left_by,
    run,
    running,
    small_batches,
)
from snapshot_pipeline_tests.integration.faults.faults import waited_for
from snapshot_pipeline_tests.pipeline.installations import MONDAY, SUNDAY, Tables, differences, installation_on
from snapshot_pipeline_tests.pipeline.other_process import begin, other_process

__all__ = ["small_batches"]

pytestmark = pytest.mark.usefixtures("small_batches")


def assert_as_expected(url: URL, expected: Tables) -> None:
    """Compute the week here, and hold all against what one process leaves."""
    with installation_on(url) as installation:
        run_week(installation, MONDAY, "here")
        assert differences(left_by(installation), expected) == []


def test_a_worker_that_is_killed_in_its_batch_costs_nothing(url: URL, directory: Path, expected: Tables):
    """Once while it reads, once while it publishes."""
    with cluster(directory, "one", "two", "three") as dask:
        victims: list[str] = []
        with running(url, dask.address) as ours:
            for table in ("quiz_attempts", "snapshot_failures"):
                alive = [name for name in ("one", "two", "three") if name not in victims]
                with held_in_work(url, table, len(alive)) as arrived:
                    arrived()
                    victims.append(busy_worker(dask, *alive))
                    dask.kill(victims[-1])
        assert ours.result().reports[0].published > 0
        assert len(set(victims)) == 2
    assert_as_expected(url, expected)


def test_a_batch_that_kills_one_worker_after_the_other_is_named(url: URL, directory: Path, expected: Tables):
    with (
        cluster(directory, "one", DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1") as dask,
        held_in_work(url, "snapshot_failures", 1) as one_arrived,
        running(url, dask.address) as ours,
    ):
        one_arrived()
        dask.kill("one")
        dask.start_workers("two")
        busy_worker(dask, "two")
        dask.kill("two")
        with pytest.raises(ClusterError, match=r"2 workers of the Dask cluster .* died") as caught:
            ours.result(30)
    assert str(caught.value).startswith("snapshots 2025-11-01\u20262025-11-02, students ")
    assert not is_passing(caught.value)
    run(url, None)
    assert_as_expected(url, expected)


def test_a_scheduler_that_restarts_fails_the_run_in_a_way_that_passes_and_the_next_try_completes_it(
    url: URL, directory: Path, expected: Tables
):
    with cluster(directory, "one", "two") as dask:
        with running(url, dask.address) as ours, held_in_work(url, "snapshot_failures", 2) as arrived:
            arrived()
            dask.kill("scheduler")
            with pytest.raises(ClusterLostError, match="was lost") as caught:
                ours.result(30)
        assert is_passing(caught.value)
        dask.start_scheduler()
        for name in ("one", "two"):
            dask.processes[name].wait(
                60
            )  # a worker ends with its scheduler, and whoever looks after it starts it again
        dask.start_workers("one", "two")
        run(url, dask.address)
    assert_as_expected(url, expected)


def test_a_task_of_a_killed_run_is_not_published_after_the_next_run_has_begun(
    url: URL, directory: Path, expected: Tables
):
    """The worker is frozen in its batch, as a machine may be; it comes back when the next run has done its work."""
    with cluster(directory, "one") as dask:
        with (
            held_in_work(url, "quiz_attempts", 1) as arrived,
            other_process("days", url, FIRST, SUNDAY, dask.address) as killed,
        ):
            begin(killed)
            arrived()
            assert dask.processing()["one"]
            dask.kill("one", signal.SIGSTOP)
            killed.kill()
            killed.wait()
        with installation_on(url) as installation:
            run_days(installation, FIRST, SUNDAY, "the next")
        assert_as_expected(url, expected)
        dask.kill("one", signal.SIGCONT)
        waited_for(
            lambda: "does not hold the days 2025-11-01 to 2025-11-02 any more" in dask.log("one"), "it is refused"
        )
    assert_as_expected(url, expected)


def test_without_a_scheduler_or_a_worker_one_line_says_what_to_start(
    url: URL, directory: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(executors, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(executors, "WORKERS_SECONDS", 0.5)
    with pytest.raises(ClusterLostError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1 .*`dask scheduler`"):
        run(url, "tcp://127.0.0.1:1")
    monkeypatch.undo()
    monkeypatch.setattr(executors, "WORKERS_SECONDS", 0.5)
    with cluster(directory) as dask, pytest.raises(ClusterLostError, match=r"no worker for 0.5 s; .*`dask worker tcp:"):
        run(url, dask.address)


def test_a_run_whose_last_worker_has_gone_does_not_wait_for_ever(
    url: URL, directory: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(executors, "WORKERS_SECONDS", 1.0)
    with (
        cluster(directory, "one") as dask,
        held_in_work(url, "snapshot_failures", 1) as arrived,
        running(url, dask.address) as ours,
    ):
        arrived()
        dask.kill("one")
        with pytest.raises(ClusterLostError, match="has lost its last worker, and none has come back"):
            ours.result(30)
