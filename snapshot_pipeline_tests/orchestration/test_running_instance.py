"""Web server, daemon, code server and run processes, used through GraphQL as the UI does.

One `dagster dev` serves all tests of this module; the last test kills it like a power cut.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import dagster as dg
import pytest
from sqlalchemy import Connection, create_engine, text

from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.running_dagster import RunningDagster
from snapshot_pipeline_tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SNAPSHOTS, SUMMARY = dg.AssetKey("performance_snapshots"), dg.AssetKey("cohort_summary")

BACKFILL_STATUS = """
query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }
"""


@pytest.fixture(scope="module")
def running(installation: TestInstallation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDagster]:
    log = tmp_path_factory.mktemp("dagster") / "dev.log"
    started = RunningDagster(installation.instance, installation.environment, log)
    yield started
    started.stop()


def published_days(installation: TestInstallation) -> set[str]:
    engine = create_engine(installation.url)
    with engine.connect() as connection:
        if not connection.execute(text("SELECT to_regclass('snapshot_days')")).scalar():
            return set()
        days = connection.execute(text("SELECT snapshot_date::text FROM snapshot_days")).scalars().all()
    engine.dispose()
    return set(days)


class HeldMonth:
    """Another run's lock on a month, at which a run waits."""

    def __init__(self, installation: TestInstallation, year: int, month: int) -> None:
        self._engine = create_engine(installation.url)
        self._connection: Connection = self._engine.connect()
        self._connection.execute(
            text("SELECT pg_advisory_lock(hashtext('public.performance_snapshots'), :month)"),
            {"month": year * 12 + month},
        )

    def is_awaited(self) -> bool | None:
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(self._connection.execute(waiting).scalar()) or None

    def release(self) -> None:
        self._connection.invalidate()
        self._engine.dispose()


def test_days_launched_from_the_ui_are_computed_one_after_the_other(
    installation: TestInstallation, running: RunningDagster
) -> None:
    """These are the first runs of a new instance: with a default limit alone the first two would overlap."""
    month = HeldMonth(installation, 2026, 2)
    run_ids = [running.launch_day(day) for day in ("2026-02-13", "2026-02-14")]
    wait_for(month.is_awaited, "the first run waits for the lock", 60)
    time.sleep(5)  # the daemon checks its queue every second
    assert sorted(running.status(run_id) for run_id in run_ids) == ["QUEUED", "STARTED"]
    month.release()
    for run_id in run_ids:
        assert wait_for(lambda run_id=run_id: running.finished(run_id), "the run has finished", 90) == "SUCCESS"
    assert {"2026-02-13", "2026-02-14"} <= published_days(installation)
    check = dg.AssetCheckKey(SNAPSHOTS, "success_rate")
    assert running.instance.get_latest_asset_check_evaluation_record(check) is not None


@pytest.mark.parametrize(
    ("days", "answer", "line"),
    [
        ({"first_day": "1 May"}, "PythonError", "first_day: '1 May' is not a date; expected a date such as 2026-11-22"),
        ({"first_day": "2999-01-01"}, "PythonError", "first_day 2999-01-01 has not ended yet in UTC; expected "),
        ({"first": "2026-02-01"}, "RunConfigValidationInvalid", 'Received unexpected config entry "first"'),
    ],
)
def test_days_that_cannot_be_computed_are_refused_before_a_run_is_created(
    running: RunningDagster, days: dict[str, str], answer: str, line: str
) -> None:
    before = running.instance.get_runs_count()
    config = {"ops": {"recompute_days_op": {"config": days}}}
    refused = running.try_to_launch("recompute_days_job", {}, config)
    assert refused["__typename"] == answer
    message = refused["message"] if answer == "PythonError" else refused["errors"][0]["message"]
    assert message.startswith(line)
    assert "\n" not in message.strip()
    assert not refused.get("stack")  # the dialog shows the line alone
    assert running.instance.get_runs_count() == before


def test_a_backfill_is_one_run_per_month_with_every_day_materialized(
    installation: TestInstallation, running: RunningDagster
) -> None:
    days = [f"2026-01-{n:02}" for n in range(20, 32)] + [f"2026-02-{n:02}" for n in range(1, 28)]
    backfill = running.launch_backfill([SNAPSHOTS, SUMMARY], days)

    def over() -> str | None:
        status = running.ask(BACKFILL_STATUS, {"id": backfill})["partitionBackfillOrError"]["status"]
        return status if status.startswith(("COMPLETED", "FAILED")) else None

    assert wait_for(over, "the backfill is over", 240) == "COMPLETED_SUCCESS"
    assert set(days) <= published_days(installation)
    for asset in (SNAPSHOTS, SUMMARY):
        assert set(days) <= set(running.instance.get_materialized_partitions(asset))
    runs = running.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill}))
    assert len(runs) == 2  # 39 days; the summaries are made by the same runs


def test_a_run_interrupted_by_a_power_cut_is_retried_after_the_restart(
    installation: TestInstallation, running: RunningDagster
) -> None:
    """Without our launcher's health check such a run stayed STARTED forever and kept its slot in the queue."""
    month = HeldMonth(installation, 2026, 1)
    run_id = running.launch_day("2026-01-05")
    wait_for(month.is_awaited, "the run waits for the lock", 60)
    running.kill_everything()
    assert running.status(run_id) == "STARTED"  # no daemon is left to notice
    assert "2026-01-05" not in published_days(installation)
    month.release()
    running.start_again()
    assert wait_for(lambda: running.finished(run_id), "the dead run is noticed", 90) == "FAILURE"

    def retried() -> str | None:
        retry = running.retry_of(run_id)
        return running.finished(retry) if retry else None

    assert wait_for(retried, "the run is retried", 90) == "SUCCESS"
    assert "2026-01-05" in published_days(installation)
