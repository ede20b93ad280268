"""Runs on several workers: a backfill of many months during which a worker is killed still computes every day.

A real Redis, two real Celery workers, the daemon and the web server, started as in `deploy/celery/README.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta

import dagster as dg
import psutil
import pytest
from sqlalchemy import URL, create_engine, func, select
from sqlalchemy.pool import NullPool

from snapshot_pipeline.pipeline.installation import open_installation
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline_tests.integration.celery.deployment import (
    FIRST,
    LAST,
    PASSWORD,
    Deployment,
    Worker,
    new_deployment,
)
from snapshot_pipeline_tests.pipeline.installations import differences, published
from snapshot_pipeline_tests.waiting import wait_for, wait_until_ended

pytestmark = pytest.mark.timeout(600)

SNAPSHOTS = dg.AssetKey("performance_snapshots")
DAYS = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
MONTHS = sorted({day.year * 12 + day.month for day in DAYS})

TERMINATE = "mutation ($run: String!) { terminateRun(runId: $run) { __typename } }"


@pytest.fixture(scope="module")
def deployment(server_url: URL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with new_deployment(server_url, tmp_path_factory.mktemp("celery")) as started:
        yield started


@contextmanager
def all_months_locked(url: URL) -> Iterator[None]:
    """Lock every month as another run would, so that our runs wait before their first row."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        for month in MONTHS:
            space = func.hashtext("public.performance_snapshots")
            connection.execute(select(func.pg_advisory_lock(space, month)))
        yield


def launch_backfill(deployment: Deployment) -> str:
    return deployment.dagster.launch_backfill([SNAPSHOTS], [day.isoformat() for day in DAYS])


def kill(worker: Worker, child: psutil.Process) -> None:
    """Kill a worker and its child that executes a run, as when their machine loses power."""
    worker.process.kill()
    child.kill()
    wait_until_ended([worker.process, child], 10)


def published_days(deployment: Deployment) -> set[date]:
    with open_installation(deployment.settings) as installation, installation.engine.connect() as connection:
        return set(connection.execute(select(installation.store.snapshot_days.c.snapshot_date)).scalars())


def test_terminated_run_ends_on_its_worker_and_is_not_retried(deployment: Deployment) -> None:
    """The launcher of dagster-celery would leave the run STARTED; it would count as crashed and be retried."""
    dagster = deployment.dagster
    with all_months_locked(deployment.url):
        run_id = dagster.launch_day("2026-01-15")
        executing = wait_for(
            lambda: next(filter(None, map(deployment.executed_by, deployment.workers)), None),
            "a worker executes the run",
            60,
        )
        assert executing[0] == run_id
        ended = dagster.ask(TERMINATE, {"run": run_id})["terminateRun"]
        assert ended["__typename"] == "TerminateRunSuccess", ended
        assert wait_for(lambda: dagster.finished(run_id), "the run has ended", 60) == "CANCELED"
        wait_until_ended([executing[1]], 30)
    assert dagster.retry_of(run_id) is None
    assert date(2026, 1, 15) not in published_days(deployment)


def test_killed_worker_in_a_backfill_loses_no_day(deployment: Deployment) -> None:
    dagster = deployment.dagster
    with all_months_locked(deployment.url):
        backfill = launch_backfill(deployment)
        with open_installation(deployment.settings.model_copy(update={"store_schema": "expected"})) as uninterrupted:
            run_days(uninterrupted, FIRST, LAST, "the test's own")
            expected = published(uninterrupted)
        runs = [
            wait_for(lambda worker=worker: deployment.executed_by(worker), "the worker executes a run", 90)
            for worker in deployment.workers
        ]
        (killed_run, child), (other, _) = runs
        assert killed_run != other
        assert published_days(deployment).isdisjoint(DAYS)
        kill(deployment.workers[0], child)
        assert dagster.status(killed_run) == "STARTED"  # not detected yet

    assert wait_for(lambda: dagster.finished(killed_run), "the killed run is detected", 120) == "FAILURE"
    retry = wait_for(lambda: dagster.retry_of(killed_run), "it is retried", 60)

    def ended() -> str | None:
        state = dagster.instance.get_backfill(backfill)
        assert state is not None
        return state.status.value if state.status.value.startswith(("COMPLETED", "FAILED")) else None

    assert wait_for(ended, "the backfill has ended", 300) == "COMPLETED_SUCCESS"
    assert published_days(deployment) == set(DAYS)
    assert {day.isoformat() for day in DAYS} == set(dagster.instance.get_materialized_partitions(SNAPSHOTS))
    with open_installation(deployment.settings) as installation:
        assert differences(published(installation), expected) == []
    runs_of_backfill = dagster.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill}))
    assert {run.run_id: run.status.value for run in runs_of_backfill} == {
        run.run_id: "FAILURE" if run.run_id == killed_run else "SUCCESS" for run in runs_of_backfill
    }
    assert retry in {run.run_id for run in runs_of_backfill}
    assert len(runs_of_backfill) == len(MONTHS) + 1
    for run in runs_of_backfill:  # no run was executed twice
        events = dagster.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        assert len([event for event in events if event.message.startswith("Started process for run")]) == 1


def test_redis_password_is_in_no_log_and_no_command_line(deployment: Deployment) -> None:
    for file in deployment.logs.glob("*.log"):
        assert PASSWORD not in file.read_text(), file
    command_lines = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert not any(PASSWORD in " ".join(line or []) for line in command_lines)
    for run in deployment.runs():
        assert PASSWORD not in str(deployment.dagster.instance.all_logs(run.run_id)), run.run_id
