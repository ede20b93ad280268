"""The days and weeks that the schedules request: in summer, in winter, after missed nights."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.pipeline.installation import open_installation
from snapshot_pipeline.pipeline.withdrawal import withdraw_days
from snapshot_pipeline.settings import Settings, load_settings
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.orchestration.scanning import forget_computed, mark_computed, mark_recommended

ZONE = ZoneInfo("Europe/Budapest")
START_DATE = date(2025, 1, 1)
KEY, SUMMARY = dg.AssetKey("performance_snapshots"), dg.AssetKey("cohort_summary")
DAILY, CHECKS = "daily_snapshots_schedule", "daily_checks_schedule"
WEEKLY, REPORT = "weekly_recommendations_schedule", "weekly_report_schedule"
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@pytest.fixture
def settings() -> Settings:
    return load_settings(timezone="Europe/Budapest", start_date=START_DATE, schedules=True)


@pytest.fixture
def instance(installation: TestInstallation) -> dg.DagsterInstance:
    """A real instance in which no day has been computed."""
    installation.instance.wipe_assets([KEY, SUMMARY])
    forget_computed(installation.settings)
    return installation.instance


def schedule_of(settings: Settings, name: str) -> dg.ScheduleDefinition:
    return build_defs(settings).get_repository_def().get_schedule_def(name)


def tick(schedule: dg.ScheduleDefinition, instance: dg.DagsterInstance, at: datetime) -> dg.ScheduleExecutionData:
    repository = build_defs(load_settings(timezone="Europe/Budapest", start_date=START_DATE)).get_repository_def()
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at, repository_def=repository)
    return schedule.evaluate_tick(context)


def materialized(instance: dg.DagsterInstance, *days: date, assets: tuple[dg.AssetKey, ...] = (KEY, SUMMARY)) -> None:
    if KEY in assets:
        mark_computed(load_settings(), *days)
    for day in days:
        for asset in assets:
            instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=day.isoformat()))


def requested_ranges(data: dg.ScheduleExecutionData) -> list[tuple[str, str]]:
    return [(request.tags[START], request.tags[END]) for request in data.run_requests]


@pytest.mark.parametrize(
    ("midnight", "day"),
    [
        (datetime(2026, 7, 15, tzinfo=ZONE), "2026-07-14"),  # summer, 22:00 UTC
        (datetime(2026, 1, 15, tzinfo=ZONE), "2026-01-14"),  # winter, 23:00 UTC
        (datetime(2026, 3, 30, tzinfo=ZONE), "2026-03-29"),  # after the day of 23 hours
        (datetime(2025, 10, 27, tzinfo=ZONE), "2025-10-26"),  # after the day of 25 hours
        (datetime(2026, 1, 1, tzinfo=ZONE), "2025-12-31"),
    ],
)
def test_midnight_requests_the_day_that_ended_and_three_late_days(
    settings: Settings, instance: dg.DagsterInstance, midnight: datetime, day: str
) -> None:
    earlier = [date.fromisoformat(day) - timedelta(days=n) for n in range(1, 20)]
    materialized(instance, *earlier)
    first = (date.fromisoformat(day) - timedelta(days=3)).isoformat()
    assert requested_ranges(tick(schedule_of(settings, DAILY), instance, midnight)) == [(first, day)]


def test_four_missed_nights_are_requested_in_one_run(settings: Settings, instance: dg.DagsterInstance) -> None:
    materialized(instance, *(date(2026, 7, 1) + timedelta(days=n) for n in range(10)))
    data = tick(schedule_of(settings, DAILY), instance, datetime(2026, 7, 15, tzinfo=ZONE))
    assert requested_ranges(data) == [("2026-07-11", "2026-07-14")]


def test_a_missing_day_is_requested_unless_it_is_too_old(settings: Settings, instance: dg.DagsterInstance) -> None:
    present = [date(2026, 6, 1) + timedelta(days=n) for n in range(43)]
    present.remove(date(2026, 7, 5))
    present.remove(date(2026, 6, 20))
    materialized(instance, *present)
    data = tick(schedule_of(settings, DAILY), instance, datetime(2026, 7, 15, tzinfo=ZONE))
    assert requested_ranges(data) == [("2026-07-05", "2026-07-05"), ("2026-07-11", "2026-07-14")]


def test_a_night_without_missing_or_late_days_is_skipped(instance: dg.DagsterInstance) -> None:
    settings = load_settings(timezone="Europe/Budapest", start_date=START_DATE, late_days=0)
    materialized(instance, *(date(2026, 7, 1) + timedelta(days=n) for n in range(14)))
    data = tick(schedule_of(settings, DAILY), instance, datetime(2026, 7, 15, tzinfo=ZONE))
    assert not data.run_requests
    assert "the last 14 days are all computed or in progress" in str(data.skip_message)


def test_late_days_are_requested_even_beyond_the_catch_up_days(
    instance: dg.DagsterInstance,
) -> None:
    settings = load_settings(timezone="Europe/Budapest", start_date=date(2026, 7, 10), late_days=31, catch_up_days=1)
    materialized(instance, *(date(2026, 7, 10) + timedelta(days=n) for n in range(5)))
    data = tick(schedule_of(settings, DAILY), instance, datetime(2026, 7, 15, tzinfo=ZONE))
    assert requested_ranges(data) == [("2026-07-10", "2026-07-13")]  # the 14th is computed; the 10th is the first day
    assert {request.tags["snapshot_pipeline/reason"] for request in data.run_requests or []} == {"nightly"}


def test_the_daily_checks_use_the_tick_as_seed(settings: Settings, instance: dg.DagsterInstance) -> None:
    morning = datetime(2026, 7, 15, 3, tzinfo=ZONE)
    (request,) = tick(schedule_of(settings, CHECKS), instance, morning).run_requests or []
    assert request.tags["snapshot_pipeline/seed"] == "2026-07-15T03:00:00+02:00"


def test_summaries_older_than_their_snapshots_are_requested_alone(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    """Otherwise a summary that failed, or a backfill of the snapshots alone, would stay wrong forever."""
    materialized(instance, *(date(2026, 4, 1) + timedelta(days=n) for n in range(105)))  # to 2026-07-14
    materialized(instance, date(2026, 4, 20), date(2026, 6, 1), date(2026, 6, 2), date(2026, 7, 13), assets=(KEY,))
    data = tick(schedule_of(settings, DAILY), instance, datetime(2026, 7, 15, tzinfo=ZONE))
    requests = [
        (request.asset_selection, request.tags[START], request.tags[END]) for request in data.run_requests or []
    ]
    # The run of the late days summarizes 2026-07-13; 2026-04-20 is outside the window.
    assert requests == [(None, "2026-07-11", "2026-07-13"), ([SUMMARY], "2026-06-01", "2026-06-02")]
    materialized(instance, date(2026, 6, 1), date(2026, 6, 2), assets=(SUMMARY,))
    data = tick(schedule_of(settings, DAILY), instance, datetime(2026, 7, 15, tzinfo=ZONE))
    assert [request.asset_selection for request in data.run_requests or []] == [None]


def test_a_failed_day_is_requested_again_the_next_night(settings: Settings, instance: dg.DagsterInstance) -> None:
    schedule = schedule_of(settings, DAILY)
    first = tick(schedule, instance, datetime(2026, 7, 15, tzinfo=ZONE)).run_requests
    second = tick(schedule, instance, datetime(2026, 7, 16, tzinfo=ZONE)).run_requests
    assert first is not None
    assert second is not None
    assert {request.run_key for request in first}.isdisjoint({request.run_key for request in second})


def test_catching_up_is_split_into_runs_of_a_month(instance: dg.DagsterInstance) -> None:
    settings = load_settings(timezone="Europe/Budapest", start_date=START_DATE, catch_up_days=60)
    data = tick(schedule_of(settings, DAILY), instance, datetime(2026, 7, 15, tzinfo=ZONE))
    assert requested_ranges(data) == [("2026-05-16", "2026-06-15"), ("2026-06-16", "2026-07-14")]


@pytest.mark.parametrize(
    ("monday", "week"),
    [
        (datetime(2026, 7, 13, 6, tzinfo=ZONE), "2026-07-06"),
        (datetime(2026, 1, 12, 6, tzinfo=ZONE), "2026-01-05"),
        (datetime(2026, 3, 30, 6, tzinfo=ZONE), "2026-03-23"),
        (datetime(2025, 10, 27, 6, tzinfo=ZONE), "2025-10-20"),
    ],
)
def test_monday_requests_the_week_that_has_just_ended(
    settings: Settings, instance: dg.DagsterInstance, monday: datetime, week: str
) -> None:
    mark_computed(settings, monday.date() - timedelta(days=1))
    (request,) = tick(schedule_of(settings, WEEKLY), instance, monday).run_requests or []
    assert request.partition_key == week
    mark_recommended(settings, date.fromisoformat(week))
    (page,) = tick(schedule_of(settings, REPORT), instance, monday + timedelta(minutes=30)).run_requests or []
    assert page.partition_key == week


def test_the_week_waits_for_its_sunday_and_the_report_for_its_week(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    """After an outage the ticks of Monday come within seconds, long before the missing days are computed."""
    monday = datetime(2026, 7, 13, 6, tzinfo=ZONE)
    mark_computed(settings, date(2026, 7, 11))
    week = tick(schedule_of(settings, WEEKLY), instance, monday)
    assert not week.run_requests
    assert "the week of 2026-07-06 waits for its Sunday, 2026-07-12" in str(week.skip_message)
    report = tick(schedule_of(settings, REPORT), instance, monday + timedelta(minutes=30))
    assert not report.run_requests
    assert "the report waits for the recommendations of the week of 2026-07-06" in str(report.skip_message)


def test_a_withdrawn_day_is_requested_although_dagster_calls_it_materialized(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    materialized(instance, *(date(2026, 6, 20) + timedelta(days=n) for n in range(25)))  # to 2026-07-14
    with open_installation(settings) as opened:
        withdraw_days(opened, date(2026, 7, 6), date(2026, 7, 6))
    data = tick(schedule_of(settings, DAILY), instance, datetime(2026, 7, 15, tzinfo=ZONE))
    assert requested_ranges(data) == [("2026-07-06", "2026-07-06"), ("2026-07-11", "2026-07-13")]


def test_scheduled_runs_start_before_those_of_a_backfill(settings: Settings, instance: dg.DagsterInstance) -> None:
    """A run of a backfill has no priority, which counts as 0; Dagster starts a higher number first."""
    mark_computed(settings, date(2026, 7, 12))
    mark_recommended(settings, date(2026, 7, 6))
    monday = datetime(2026, 7, 13, 6, 30, tzinfo=ZONE)
    schedules = build_defs(settings).get_repository_def().schedule_defs
    assert len(schedules) == 5
    for schedule in schedules:
        requests = tick(schedule, instance, monday).run_requests or []
        assert requests, schedule.name
        assert {request.tags["dagster/priority"] for request in requests} == {"2"}


def test_a_week_that_began_before_the_start_date_is_skipped_with_a_reason(
    settings: Settings, instance: dg.DagsterInstance
) -> None:
    data = tick(schedule_of(settings, WEEKLY), instance, datetime(2025, 1, 6, 6, tzinfo=ZONE))
    assert "SNAPSHOT_START_DATE=2025-01-01" in str(data.skip_message)


def test_schedules_run_in_the_configured_zone_unless_switched_off(settings: Settings) -> None:
    stopped = load_settings(schedules=False)
    for schedule in build_defs(settings).get_repository_def().schedule_defs:
        assert schedule.execution_timezone == "Europe/Budapest"
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    for schedule in build_defs(stopped).get_repository_def().schedule_defs:
        assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED


TICKS = [
    ("America/Sao_Paulo", date(2018, 11, 4)),  # its midnight does not exist
    ("America/Santiago", date(2025, 9, 7)),  # nor does this one
    ("America/Havana", date(2025, 11, 2)),  # its midnight comes twice
    ("Australia/Lord_Howe", date(2026, 4, 5)),  # half an hour
    ("Asia/Kolkata", date(2024, 2, 29)),
    ("Asia/Kathmandu", date(2026, 1, 1)),
]


@pytest.mark.parametrize(("name", "changing"), TICKS, ids=[name for name, _ in TICKS])
def test_each_night_requests_its_day_across_a_clock_change(
    name: str, changing: date, instance: dg.DagsterInstance
) -> None:
    """Ticks as the daemon makes them, not as we would: Dagster itself says when the nights of a week are."""
    settings = load_settings(timezone=name, start_date=changing - timedelta(days=20), catch_up_days=1, late_days=0)
    repository = build_defs(settings).get_repository_def()
    schedule = repository.get_schedule_def(DAILY)
    begin = datetime.combine(changing - timedelta(days=1), datetime.min.time(), ZoneInfo(name)) + timedelta(hours=2)
    nights = schedule_execution_time_iterator(begin.timestamp(), "0 0 * * *", name)
    asked: list[str] = []
    for _ in range(4):
        at = next(nights)
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at, repository_def=repository)
        ((first, last),) = requested_ranges(schedule.evaluate_tick(context))
        assert first == last
        asked.append(first)
    assert asked == [(changing + timedelta(days=n)).isoformat() for n in range(-1, 3)]


@pytest.mark.parametrize(("name", "changing"), TICKS, ids=[name for name, _ in TICKS])
def test_each_monday_requests_its_week_across_a_clock_change(
    name: str, changing: date, instance: dg.DagsterInstance
) -> None:
    settings = load_settings(timezone=name, start_date=changing - timedelta(days=40))
    forget_computed(settings)
    mark_computed(settings, *(changing + timedelta(days=n) for n in range(-20, 20)))
    schedule, repository = (
        schedule_of(settings, WEEKLY),
        build_defs(settings).get_repository_def(),
    )
    begin = datetime.combine(changing - timedelta(days=10), datetime.min.time(), ZoneInfo(name)) + timedelta(hours=2)
    mondays = schedule_execution_time_iterator(begin.timestamp(), "0 6 * * 1", name)
    weeks: list[date] = []
    for _ in range(3):
        at = next(mondays)
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at, repository_def=repository)
        (request,) = schedule.evaluate_tick(context).run_requests or []
        weeks.append(date.fromisoformat(str(request.partition_key)))
        assert weeks[-1] == at.date() - timedelta(days=7)
    assert [week.weekday() for week in weeks] == [0, 0, 0]
    assert {(after - before).days for before, after in pairwise(weeks)} == {7}
