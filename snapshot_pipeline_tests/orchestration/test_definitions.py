"""What Dagster loads: that it is valid, and that it says to a person what they need to know."""

from __future__ import annotations

import warnings
from datetime import date, datetime, timedelta, timezone

import dagster as dg
import pytest

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.partitions import (
    daily_partitions,
    range_tags,
    ranges,
    weekly_partitions,
)
from snapshot_pipeline.settings import Settings, load_settings


@pytest.fixture
def settings() -> Settings:
    return load_settings(timezone="Europe/Budapest", start_date=date(2026, 1, 1))


def test_the_definitions_are_valid_and_loading_them_warns_of_nothing(settings: Settings) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        defs = build_defs(settings)
    # Only this finds jobs that mix daily and weekly partitions.
    dg.Definitions.validate_loadable(defs)


def test_every_asset_check_job_schedule_and_sensor_says_what_it_is(settings: Settings) -> None:
    repository = build_defs(settings).get_repository_def()
    for spec in repository.asset_graph.get_all_asset_keys():
        assert repository.asset_graph.get(spec).description
    for key in repository.asset_graph.asset_check_keys:
        assert repository.asset_graph.get_check_spec(key).description
    assert all(job.description for job in repository.get_all_jobs() if not job.name.startswith("__"))
    assert all(schedule.description for schedule in repository.schedule_defs)
    assert all(sensor.description for sensor in repository.sensor_defs)


def test_the_weekly_asset_stands_downstream_of_the_daily_one_and_of_the_platform(settings: Settings) -> None:
    graph = build_defs(settings).get_repository_def().asset_graph
    parents = graph.get(dg.AssetKey("adaptive_recommendations")).parent_keys
    assert dg.AssetKey("performance_snapshots") in parents
    assert dg.AssetKey(["learning_platform", "lessons"]) in parents
    assert not graph.get(dg.AssetKey(["learning_platform", "users"])).is_materializable


def test_a_week_begins_on_monday_and_needs_exactly_its_seven_days(settings: Settings) -> None:
    weeks, days = weekly_partitions(settings), daily_partitions(settings)
    assert weeks.get_first_partition_key() == "2026-01-05"
    mapping = dg.TimeWindowPartitionMapping()
    for monday in ("2026-01-05", "2026-03-23", "2026-10-19"):  # the last two hold a day of 23 and one of 25 hours
        subset = weeks.empty_subset().with_partition_keys([monday])
        upstream = mapping.get_upstream_mapped_partitions_result_for_partitions(
            subset, weeks, days, datetime(2027, 1, 1, tzinfo=timezone.utc)
        )
        first = date.fromisoformat(monday)
        expected = [(first + timedelta(days=n)).isoformat() for n in range(7)]
        assert sorted(upstream.partitions_subset.get_partition_keys()) == expected


def test_a_day_is_there_once_it_has_ended_in_the_platforms_zone(settings: Settings) -> None:
    days = daily_partitions(settings)
    before = datetime(2026, 7, 1, 21, 59, tzinfo=timezone.utc)
    assert days.get_partition_keys(before)[-1] == "2026-06-30"
    assert days.get_partition_keys(before + timedelta(minutes=1))[-1] == "2026-07-01"


def test_days_are_joined_into_runs_of_neighbours_of_a_month_at_the_most(settings: Settings) -> None:
    first = date(2026, 1, 1)
    january_and_more = [first + timedelta(days=n) for n in range(40)]
    assert ranges(january_and_more, settings) == [
        (first, date(2026, 1, 31)),
        (date(2026, 2, 1), date(2026, 2, 9)),
    ]
    assert ranges(january_and_more[:4], settings.model_copy(update={"days_per_run": 3})) == [
        (first, date(2026, 1, 3)),
        (date(2026, 1, 4), date(2026, 1, 4)),
    ]
    assert ranges([first, date(2026, 1, 3), date(2026, 1, 4)], settings) == [
        (first, first),
        (date(2026, 1, 3), date(2026, 1, 4)),
    ]
    assert ranges([], settings) == []
    assert range_tags(first, first)["dagster/asset_partition_range_end"] == "2026-01-01"
