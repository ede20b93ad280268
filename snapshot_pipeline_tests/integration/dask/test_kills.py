"""Workers, schedulers and runs killed during a batch: no row is lost and none is duplicated."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import URL

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.partitions import range_tags
from snapshot_pipeline.pipeline.dask_cluster import cluster as dask_cluster
from snapshot_pipeline.pipeline.dask_cluster.cluster import ClusterError, ClusterLostError
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.postgres.errors import is_transient
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline_tests.integration.dask.clusters import TIMEOUT_SECONDS, Cluster, cluster
from snapshot_pipeline_tests.integration.dask.runs import (
    FIRST,
    busy_worker,
    comparable_rows,
    locked_table,
    run,
    running,
    small_batches,
)
from snapshot_pipeline_tests.integration.database_faults.faults import wait_for
from snapshot_pipeline_tests.pipeline.installations import MONDAY, SUNDAY, ZONE, Tables, differences, installation_on
from snapshot_pipeline_tests.pipeline.other_process import begin, other_process

__all__ = ["small_batches"]

NO_CONSOLE_LOG = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

pytestmark = pytest.mark.usefixtures("small_batches")


def assert_as_expected(url: URL, expected: Tables) -> None:
    """Compute the week locally, and compare all rows with those of one process."""
    with installation_on(url) as installation:
        run_week(installation, MONDAY, "here")
        assert differences(comparable_rows(installation), expected) == []


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler, for tests that start the workers they need and kill them."""
    with cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


def test_batch_of_a_killed_worker_is_computed_by_another(url: URL, dask: Cluster, expected: Tables):
    """One worker is killed while it reads, another while it publishes."""
    names = ["one", "two", "three"]
    dask.have_workers(*names)
    with running(url, dask.address) as future:
        # The run itself also reads `exercise_submissions`, to compute fingerprints.
        for table, others in (("exercise_submissions", 1), ("snapshot_failures", 0)):
            with locked_table(url, table, len(names) + others) as wait_for_batches:
                wait_for_batches()
                killed_worker = busy_worker(dask, *names)
                dask.kill(killed_worker)
                names.remove(killed_worker)
    assert future.result().reports[0].published > 0
    assert len(names) == 1
    assert_as_expected(url, expected)


def test_batch_that_kills_several_workers_is_named(url: URL, directory: Path, expected: Tables):
    with (
        cluster(directory, "one", DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1") as dask,
        locked_table(url, "snapshot_failures", 1) as wait_for_batch,
        running(url, dask.address) as future,
    ):
        wait_for_batch()
        dask.kill("one")
        dask.have_workers("two")
        busy_worker(dask, "two")
        dask.kill("two")
        with pytest.raises(ClusterError, match=r"2 workers of the Dask cluster .* died") as caught:
            future.result(TIMEOUT_SECONDS)
    assert str(caught.value).startswith("publication 2025-11-01\u20262025-11-02, students ")
    assert not is_transient(caught.value)
    run(url, None)
    assert_as_expected(url, expected)


def test_restarted_scheduler_makes_dagster_retry_and_complete_the_run(url: URL, dask: Cluster, expected: Tables):
    dask.have_workers("one", "two")
    settings = load_settings(
        database_url=url.render_as_string(hide_password=False),
        dask_scheduler=dask.address,
        timezone=ZONE.key,
        start_date=FIRST,
        retry_seconds=3,
    )

    def restart(wait_for_batches: Callable[[], None]) -> None:
        wait_for_batches()
        dask.kill("scheduler")
        dask.start_scheduler()
        for name in ("one", "two"):
            dask.processes[name].wait(TIMEOUT_SECONDS)  # a worker ends with its scheduler; supervisors restart both
        dask.start_workers("one", "two")

    with ThreadPoolExecutor(1) as pool, locked_table(url, "snapshot_failures", 2) as wait_for_batches:
        restarted = pool.submit(restart, wait_for_batches)
        restarted.add_done_callback(lambda _: wait_for_batches.release())
        job = build_defs(settings).resolve_job_def("daily_snapshots_job")
        with dg.DagsterInstance.ephemeral() as instance:
            result = job.execute_in_process(
                instance=instance, tags=range_tags(FIRST, SUNDAY), run_config=NO_CONSOLE_LOG, raise_on_error=False
            )
            log = "\n".join(entry.user_message for entry in instance.all_logs(result.run_id))
    restarted.result()
    assert result.success
    assert [event.step_key for event in result.filter_events(lambda event: event.is_step_up_for_retry)] == [
        "performance_snapshots"
    ]
    # The number of batches depends on the workers that have joined the new scheduler by then.
    assert re.search(r"\b([0-9]+) of \1 batches are done, [0-9,]+ rows a second", log)
    assert_as_expected(url, expected)


def test_task_of_a_killed_run_is_not_published_after_the_next_run_started(url: URL, dask: Cluster, expected: Tables):
    """The worker is frozen during its batch, as a suspended machine is, and resumes after the next run has finished."""
    run(url, None)
    dask.have_workers("one")
    with (
        locked_table(url, "quizzes", 1) as wait_for_batches,
        other_process("week", url, MONDAY, dask.address) as killed,
    ):
        begin(killed)
        wait_for_batches()
        busy_worker(dask, "one")
        dask.kill("one", signal.SIGSTOP)
        killed.kill()
        killed.wait()
    assert_as_expected(url, expected)  # the next run
    dask.kill("one", signal.SIGCONT)
    wait_for(lambda: "may no longer write" in dask.log("one"), "the worker's publication is refused", TIMEOUT_SECONDS)
    with installation_on(url) as installation:
        assert differences(comparable_rows(installation), expected) == []


def test_run_without_its_last_worker_fails_after_a_time_limit(url: URL, dask: Cluster, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dask_cluster, "WORKERS_SECONDS", 1.0)
    dask.have_workers("one")
    with locked_table(url, "snapshot_failures", 1) as wait_for_batches, running(url, dask.address) as future:
        wait_for_batches()
        dask.kill("one")
        with pytest.raises(ClusterLostError, match="has lost its last worker, and has had none for 1 s") as caught:
            future.result(TIMEOUT_SECONDS)
    assert is_transient(caught.value)


def test_missing_scheduler_or_worker_is_a_one_line_error_with_the_command(
    url: URL, dask: Cluster, monkeypatch: pytest.MonkeyPatch
):
    dask.have_workers()
    monkeypatch.setattr(dask_cluster, "WORKERS_SECONDS", 0.5)
    with pytest.raises(ClusterLostError, match=r"no worker for 0.5 s; .*`dask worker tcp:"):
        run(url, dask.address)
    monkeypatch.setattr(dask_cluster, "CONNECT_SECONDS", 0.5)
    with pytest.raises(ClusterLostError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1 .*`dask scheduler`"):
        run(url, "tcp://127.0.0.1:1")
