"""The definitions: they load, and have descriptions, metadata and partitions as expected."""

from __future__ import annotations

import re
import warnings
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from pydantic import SecretStr

from snapshot_pipeline.orchestration import build
from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.partitions import (
    daily_freshness,
    daily_partitions,
    range_tags,
    run_ranges,
    weekly_freshness,
    weekly_partitions,
)
from snapshot_pipeline.orchestration.resources import build_resources
from snapshot_pipeline.orchestration.table_metadata import public_address
from snapshot_pipeline.platform.tables import TABLE_NAMES
from snapshot_pipeline.settings import Settings, load_settings


@pytest.fixture
def settings() -> Settings:
    return load_settings(timezone="Europe/Budapest", start_date=date(2026, 1, 1))


@pytest.fixture
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build the definitions anew."""
    monkeypatch.setattr(build, "_definitions", build._definitions.__wrapped__)


@pytest.mark.usefixtures("uncached")
def test_the_definitions_load_without_warnings(settings: Settings) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        defs = build_defs(settings)
    # Only this finds jobs that mix daily and weekly partitions.
    dg.Definitions.validate_loadable(defs)


NOT_TABLES = {"weekly_report", "recomputed_day"}


def descriptions(repository: dg.RepositoryDefinition) -> dict[str, str | None]:
    """What the UI says of everything that is defined, by kind and name."""
    graph = repository.asset_graph
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    return {
        **{f"asset {key.to_user_string()}": graph.get(key).description for key in graph.get_all_asset_keys()},
        **{f"check {key.name}": graph.get_check_spec(key).description for key in graph.asset_check_keys},
        **{f"job {job.name}": job.description for job in jobs},
        **{f"schedule {schedule.name}": schedule.description for schedule in repository.schedule_defs},
        **{f"sensor {sensor.name}": sensor.description for sensor in repository.sensor_defs},
    }


def test_everything_is_described_in_at_most_three_sentences(settings: Settings) -> None:
    by_name = descriptions(build_defs(settings).get_repository_def())
    assert {name.split()[0] for name in by_name} == {"asset", "check", "job", "schedule", "sensor"}
    for name, description in by_name.items():
        assert description, name
        assert 20 < len(description) < 400, name
        assert description.endswith("."), name
        assert len(re.findall(r"\.(?: |$)", description)) <= 3, name
        assert not name.startswith("schedule") or description.count(". ") == 0, name
        # The pages of schedules and sensors show Markdown as it is typed.
        assert name.split()[0] not in ("schedule", "sensor") or not set("*`") & set(description), name


def test_names_of_jobs_schedules_and_sensors_end_in_their_kind(settings: Settings) -> None:
    names = [name.split() for name in descriptions(build_defs(settings).get_repository_def())]
    for kind in ("job", "schedule", "sensor"):
        assert all(name.endswith(f"_{kind}") for named_kind, name in names if named_kind == kind)


def test_assets_have_group_owners_kinds_grain_and_table_name(settings: Settings) -> None:
    settings = settings.model_copy(update={"owners": ("team:data", "ana@example.org"), "store_schema": "ours"})
    graph = build_defs(settings).get_repository_def().asset_graph
    groups = {
        "performance_snapshots": "snapshots",
        "cohort_summary": "snapshots",
        "adaptive_recommendations": "recommendations",
        "at_risk_students": "recommendations",
        "weekly_report": "reports",
        "incidents": "monitoring",
        "recomputed_day": "monitoring",
    }
    for key in graph.get_all_asset_keys():
        node, name = graph.get(key), key.path[-1]
        assert node.group_name == groups.get(name, "learning_platform")
        assert tuple(node.owners) == (settings.owners if name in groups else ())
        assert ("html" if name == "weekly_report" else "postgres") in node.kinds
        assert "snapshot_pipeline/grain" in node.tags
        if name not in NOT_TABLES:
            assert node.metadata["dagster/table_name"] == f"{'ours' if name in groups else 'public'}.{name}"


def test_the_storage_uri_shows_no_user_or_password(settings: Settings) -> None:
    url = SecretStr("postgresql://user:Marked%40Secret@db.example.org:5433/learning?sslpassword=MarkedSecret")
    defs = build_defs(settings.model_copy(update={"database_url": url}))
    for spec in defs.resolve_all_asset_specs():
        of_a_table = spec.metadata.get("dagster/uri") == "postgresql://db.example.org:5433/learning"
        assert of_a_table is (spec.key.path[0] not in NOT_TABLES)
        assert "Marked" not in str(spec.metadata)
    replica = settings.model_copy(
        update={"database_url": url, "source_database_url": SecretStr("postgresql://replica.example.org/learning")}
    )
    uris = {
        str(spec.key.path[-1]): spec.metadata.get("dagster/uri")
        for spec in build_defs(replica).resolve_all_asset_specs()
    }
    assert uris["users"] == "postgresql://replica.example.org/learning"
    assert uris["performance_snapshots"] == "postgresql://db.example.org:5433/learning"
    assert str(uris["weekly_report"]).startswith("file:///")
    assert public_address(None) is None  # the embedded server, whose port changes
    assert public_address(SecretStr("mysql://u:MarkedSecret@h/d")) is None


@pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition.environment_vars` is deprecated")  # Dagster's own use
def test_the_resources_are_both_databases_with_their_addresses_and_everything_that_opens_them(
    settings: Settings,
) -> None:
    url = SecretStr("postgresql://user:Marked%40Secret@db.example.org:5433/learning?sslpassword=MarkedSecret")
    replica = SecretStr("postgresql://user:MarkedSecret@replica.example.org/learning")
    changed = {"database_url": url, "source_database_url": replica, "platform_schema": "lms", "store_schema": "ours"}
    repository = build_defs(settings.model_copy(update=changed)).get_repository_def()
    shown = {resource.name: resource for resource in RepositorySnap.from_def(repository).resources}
    assert {name: resource.configured_values for name, resource in shown.items()} == {
        "learning_platform": {"address": '"postgresql://replica.example.org/learning"', "schema_name": '"lms"'},
        "store": {"address": '"postgresql://db.example.org:5433/learning"', "schema_name": '"ours"'},
    }
    graph = repository.asset_graph
    jobs = {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")}
    for resource in shown.values():
        assert "Marked" not in str(resource)
        assert set(resource.asset_keys_using) == graph.materializable_asset_keys
        assert {usage.job_name for usage in resource.job_ops_using} == jobs
    embedded = build_resources(settings)["store"]  # whose port changes
    assert str(embedded) == f"the embedded server in {settings.home}, schema {settings.store_schema}"


def test_every_column_has_description_type_values_and_sources(settings: Settings) -> None:
    graph = build_defs(settings).get_repository_def().asset_graph
    for key in graph.get_all_asset_keys() - {dg.AssetKey(name) for name in NOT_TABLES}:
        columns = graph.get(key).metadata["dagster/column_schema"].columns
        assert columns
        assert all(column.description and column.description.endswith(".") and column.type for column in columns)
    schema = graph.get(dg.AssetKey("performance_snapshots")).metadata["dagster/column_schema"]
    pace = {column.name: column for column in schema.columns}["pace_score"]
    # Only Dagster's cloud draws the lineage of columns, so the sentence must say it too.
    assert (
        "Computed from `quiz_attempts.completed_at`, `quiz_attempts.score`, `user_lesson_progress" in pace.description
    )
    assert (pace.type, pace.constraints.nullable, pace.constraints.other) == ("double precision", False, ["0 to 100"])
    assert schema.constraints.other == ["unique together: user_id, snapshot_date"]


def test_a_long_list_of_source_columns_is_written_once(settings: Settings) -> None:
    graph = build_defs(settings).get_repository_def().asset_graph
    schema = graph.get(dg.AssetKey("adaptive_recommendations")).metadata["dagster/column_schema"]
    described = {column.name: str(column.description) for column in schema.columns}
    assert described["recommendation_type"].count("`") > 20
    assert described["title"].endswith("Computed from the same columns as `recommendation_type` and `lessons.title`.")


def test_column_lineage_refers_to_existing_columns(settings: Settings) -> None:
    graph = build_defs(settings).get_repository_def().asset_graph
    for name in ("performance_snapshots", "cohort_summary", "at_risk_students", "adaptive_recommendations"):
        node = graph.get(dg.AssetKey(name))
        lineage = node.metadata["dagster/column_lineage"].deps_by_column
        for dep in (dep for deps in lineage.values() for dep in deps):
            assert dep.asset_key in node.parent_keys, dep
            schema = graph.get(dep.asset_key).metadata["dagster/column_schema"]
            assert dep.column_name in {column.name for column in schema.columns}, dep
    lessons_from = lineage["message"]
    assert dg.TableColumnDep(dg.AssetKey(["learning_platform", "lessons"]), "title") in lessons_from


def test_freshness_deadlines_are_an_hour_after_the_schedules(settings: Settings) -> None:
    graph = build_defs(settings).get_repository_def().asset_graph
    for name, cron in (
        ("performance_snapshots", "0 1 * * *"),
        ("cohort_summary", "0 1 * * *"),
        ("adaptive_recommendations", "0 7 * * 1"),
        ("at_risk_students", "0 7 * * 1"),
        ("weekly_report", "30 7 * * 1"),
        ("recomputed_day", "0 4 * * *"),
        *((f"learning_platform/{table}", "0 4 * * *") for table in TABLE_NAMES),
    ):
        policy = graph.get(dg.AssetKey(name.split("/"))).freshness_policy
        assert (policy.deadline_cron, policy.timezone) == (cron, "Europe/Budapest")
        assert policy.lower_bound_delta == timedelta(hours=1)
    a_day = settings.model_copy(update={"overdue_minutes": 1440})
    assert daily_freshness(a_day).deadline_cron == "0 0 * * *"
    assert weekly_freshness(a_day).deadline_cron == "0 6 * * 2"


@pytest.mark.usefixtures("uncached")
def test_only_a_checkout_links_to_the_source(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = dg.AssetKey("performance_snapshots")
    (link,) = build_defs(settings).resolve_asset_graph().get(key).metadata["dagster/code_references"].code_references
    assert Path(link.file_path).name == "performance_snapshots.py"
    assert "@dg.asset(" in Path(link.file_path).read_text().splitlines()[link.line_number - 1]
    monkeypatch.setattr(build, "_CHECKOUT", tmp_path)
    assert "dagster/code_references" not in build_defs(settings).resolve_asset_graph().get(key).metadata


def test_the_weekly_asset_depends_on_the_daily_one_and_the_platform(settings: Settings) -> None:
    graph = build_defs(settings).get_repository_def().asset_graph
    parents = graph.get(dg.AssetKey("adaptive_recommendations")).parent_keys
    assert dg.AssetKey("performance_snapshots") in parents
    assert dg.AssetKey(["learning_platform", "lessons"]) in parents
    assert not graph.get(dg.AssetKey(["learning_platform", "users"])).is_materializable


def test_a_week_begins_on_monday_and_depends_on_its_seven_days(settings: Settings) -> None:
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


def test_a_day_has_a_partition_once_it_has_ended_locally(settings: Settings) -> None:
    days = daily_partitions(settings)
    before = datetime(2026, 7, 1, 21, 59, tzinfo=timezone.utc)
    assert days.get_partition_keys(before)[-1] == "2026-06-30"
    assert days.get_partition_keys(before + timedelta(minutes=1))[-1] == "2026-07-01"


def test_days_are_grouped_into_contiguous_runs_of_at_most_a_month(settings: Settings) -> None:
    first = date(2026, 1, 1)
    january_and_more = [first + timedelta(days=n) for n in range(40)]
    assert run_ranges(january_and_more, settings) == [
        (first, date(2026, 1, 31)),
        (date(2026, 2, 1), date(2026, 2, 9)),
    ]
    assert run_ranges(january_and_more[:4], settings.model_copy(update={"days_per_run": 3})) == [
        (first, date(2026, 1, 3)),
        (date(2026, 1, 4), date(2026, 1, 4)),
    ]
    assert run_ranges([first, date(2026, 1, 3), date(2026, 1, 4)], settings) == [
        (first, first),
        (date(2026, 1, 3), date(2026, 1, 4)),
    ]
    assert run_ranges([], settings) == []
    assert range_tags(first, first)["dagster/asset_partition_range_end"] == "2026-01-01"
