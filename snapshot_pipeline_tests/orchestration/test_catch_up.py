"""What `catch_up_sensor` requests after an outage, and that it stops once everything is computed."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import dagster as dg
import pytest

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.catch_up import build_catch_up_sensor, request_missing
from snapshot_pipeline.orchestration.partitions import range_tags
from snapshot_pipeline.pipeline.installation import open_installation
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.orchestration.scanning import QUIET, forget_computed, mark_computed, mark_recommended

WEEK, SUNDAY = date(2026, 2, 16), date(2026, 2, 22)
MONDAY = datetime(2026, 2, 23, tzinfo=timezone.utc)
BEFORE = MONDAY - timedelta(days=2)
"""When the sensor was first switched on: two days before the night that was missed."""

DAILY, WEEKLY, REPORT = "daily_snapshots_job", "weekly_recommendations_job", "weekly_report_job"
HOUR = timedelta(hours=1)


@pytest.fixture
def stopped(installation: TestInstallation) -> TestInstallation:
    """An installation whose daemon stops on Sunday, after Saturday was computed."""
    installation.instance.wipe()
    forget_computed(installation.settings)
    mark_computed(installation.settings, *(SUNDAY - timedelta(days=n) for n in range(1, 20)))
    return installation


def asked(installation: TestInstallation, now: datetime, since: datetime = BEFORE) -> list[dg.RunRequest]:
    with open_installation(installation.settings) as opened:
        result = request_missing(opened, installation.instance, since, now)
    return [] if isinstance(result, dg.SkipReason) else result


def skipped(installation: TestInstallation, now: datetime) -> str:
    with open_installation(installation.settings) as opened:
        result = request_missing(opened, installation.instance, BEFORE, now)
    assert isinstance(result, dg.SkipReason)
    return str(result.skip_message)


def execute(installation: TestInstallation, request: dg.RunRequest) -> bool:
    """Execute what was requested; the tags of a partition are what Dagster makes of the key."""
    job = build_defs(installation.settings).resolve_job_def(str(request.job_name))
    partition = {"dagster/partition": request.partition_key} if request.partition_key else {}
    tags = {**request.tags, **partition}
    return job.execute_in_process(
        instance=installation.instance, tags=tags, run_config=QUIET, raise_on_error=False
    ).success


def test_after_an_outage_over_monday_morning_everything_heals_by_itself(stopped: TestInstallation) -> None:
    """The daemon is down from Sunday to Monday, 08:00; nobody does anything afterwards."""
    now = MONDAY + 8 * HOUR
    (day,) = asked(stopped, now)  # neither the week, whose Sunday is missing, nor the report of the week
    assert (day.job_name, day.tags["dagster/asset_partition_range_start"]) == (DAILY, "2026-02-22")
    assert execute(stopped, day)
    (week,) = asked(stopped, now)
    assert (week.job_name, week.partition_key) == (WEEKLY, "2026-02-16")
    assert execute(stopped, week)
    (report,) = asked(stopped, now)
    assert (report.job_name, report.partition_key) == (REPORT, "2026-02-16")
    assert execute(stopped, report)
    assert skipped(stopped, now) == "everything that is due is computed or in progress"
    assert {request.tags["dagster/priority"] for request in (day, week, report)} == {"2"}


def test_a_week_without_its_sunday_is_not_requested_and_says_why(stopped: TestInstallation) -> None:
    stopped.instance.create_run_for_job(  # the run of Sunday is in the queue
        build_defs(stopped.settings).get_repository_def().get_job(DAILY),
        tags=range_tags(SUNDAY, SUNDAY),
        status=dg.DagsterRunStatus.NOT_STARTED,
    )
    reason = skipped(stopped, MONDAY + 8 * HOUR)
    assert "the week of 2026-02-16 waits for its Sunday, 2026-02-22" in reason
    assert "the report waits for the recommendations of the week of 2026-02-16" in reason


def test_what_is_still_missing_is_requested_again_every_hour(stopped: TestInstallation) -> None:
    keys = [asked(stopped, MONDAY + 8 * HOUR + timedelta(minutes=minutes))[0].run_key for minutes in (0, 2, 58, 60)]
    assert keys[0] == keys[1] == keys[2] != keys[3]  # Dagster launches one run for a key


def test_the_schedules_have_their_time_first(stopped: TestInstallation) -> None:
    assert asked(stopped, MONDAY + timedelta(minutes=59)) == []  # Sunday is due an hour after midnight
    mark_computed(stopped.settings, SUNDAY)
    assert asked(stopped, MONDAY + timedelta(hours=6, minutes=9)) == []
    assert [request.job_name for request in asked(stopped, MONDAY + timedelta(hours=6, minutes=10))] == [WEEKLY]
    mark_recommended(stopped.settings, WEEK)
    assert asked(stopped, MONDAY + timedelta(hours=6, minutes=39)) == []
    assert [request.job_name for request in asked(stopped, MONDAY + timedelta(hours=6, minutes=40))] == [REPORT]


def test_what_was_due_before_the_sensor_ran_is_left_alone(stopped: TestInstallation) -> None:
    """The first start on a platform with a long history computes nothing by itself."""
    forget_computed(stopped.settings)
    now = MONDAY + 8 * HOUR
    assert asked(stopped, now, since=now) == []
    days = [request.tags["dagster/asset_partition_range_start"] for request in asked(stopped, now)]
    assert days == ["2026-02-20"]  # due on the 21st at 01:00; the later days are in the same run
    assert [request.job_name for request in asked(stopped, now, since=MONDAY + 2 * HOUR)] == []


def test_a_tick_keeps_the_time_of_the_first_tick(stopped: TestInstallation) -> None:
    sensor = build_catch_up_sensor(stopped.settings)
    with dg.build_sensor_context(instance=stopped.instance) as context:
        first = sensor.evaluate_tick(context)
    assert not first.run_requests  # the sample ended long ago, and nothing of it is requested
    with dg.build_sensor_context(instance=stopped.instance, cursor=first.cursor) as context:
        assert sensor.evaluate_tick(context).cursor == first.cursor
