"""The asset `weekly_report`: its metadata, and that its failure affects nothing else."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from datetime import date, datetime, timezone
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr

from snapshot_pipeline.orchestration.assets import weekly_report
from snapshot_pipeline.orchestration.assets.weekly_report import _escape_markdown, queue_for_recipients
from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.partitions import range_tags
from snapshot_pipeline.orchestration.sensors import build_alert_delivery_sensor
from snapshot_pipeline.pipeline.installation import open_installation
from snapshot_pipeline.pipeline.periods import last_closed_week
from snapshot_pipeline.pipeline.weekly_report import write_report
from snapshot_pipeline.settings import Settings
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.receivers import web_receiver

WEEK = "2026-02-16"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run_job(installation: TestInstallation, settings: Settings, job: str, **how: object) -> dg.ExecuteInProcessResult:
    return (
        build_defs(settings)
        .resolve_job_def(job)
        .execute_in_process(instance=installation.instance, run_config=QUIET, raise_on_error=False, **how)  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def computed(installation: TestInstallation) -> TestInstallation:
    """A week with its snapshots, summaries and recommendations."""
    tags = range_tags(date(2026, 2, 16), date(2026, 2, 22))
    assert run_job(installation, installation.settings, "daily_snapshots_job", tags=tags).success
    assert run_job(installation, installation.settings, "weekly_recommendations_job", partition_key=WEEK).success
    return installation


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, dg.MetadataValue]:
    assert result.success
    (event,) = result.asset_materializations_for_node("weekly_report")
    assert event.partition == WEEK
    return dict(event.metadata)


def test_the_metadata_has_the_path_the_text_and_a_plot(computed: TestInstallation):
    metadata = metadata_of(run_job(computed, computed.settings, "weekly_report_job", partition_key=WEEK))
    page = computed.settings.home / "reports" / f"{WEEK}.html"
    assert metadata["page"] == dg.MetadataValue.url(f"/reports/{WEEK}.html")  # in the UI, whatever its host and port
    assert metadata["file"] == dg.MetadataValue.path(str(page))
    assert page.stat().st_size == metadata["bytes"].value
    words = str(metadata["in_words"].value)
    assert "nothing is compared" in words
    assert "Active in the week: " in words
    assert "given for the coming week" in words
    assert metadata["messages_queued"].value == 0
    plot = str(metadata["activity"].value)
    assert plot.startswith("![Active students by day")
    assert "data:image/svg+xml;base64," in plot
    assert sum(len(str(value.value)) for value in metadata.values()) < 24_000
    assert metadata["missing_days"].value == 0


def test_lists_of_students_are_written_beside_the_page_unless_they_are_off(computed: TestInstallation):
    students = computed.settings.home / "students"
    off = computed.settings.model_copy(update={"student_lists": False, "home": computed.settings.home / "other"})
    assert "student_lists" not in metadata_of(run_job(computed, off, "weekly_report_job", partition_key=WEEK))
    assert not (off.home / "students").exists()
    metadata = metadata_of(run_job(computed, computed.settings, "weekly_report_job", partition_key=WEEK))
    assert metadata["student_lists"] == dg.MetadataValue.path(str(students))
    lines = (students / f"{WEEK}.csv").read_text(encoding="utf-8-sig").splitlines()
    assert metadata["students_in_lists"].value == len(lines) - 1 > 0
    assert (students / f"{WEEK}.html").is_file()


def test_the_page_links_to_the_configured_report_url(computed: TestInstallation):
    settings = computed.settings.model_copy(update={"report_url": "https://reports.example.org/learning"})
    metadata = metadata_of(run_job(computed, settings, "weekly_report_job", partition_key=WEEK))
    assert metadata["page"] == dg.MetadataValue.url(f"https://reports.example.org/learning/{WEEK}.html")


def test_recipients_get_the_newest_report_once_and_no_older_one(computed: TestInstallation):
    """The message has the headline, the tiles and the page; no report is sent again when its week is written again."""
    with web_receiver() as receiver:
        settings = computed.settings.model_copy(
            update={
                "report_recipients": SecretStr(f"json://{receiver.address}/head"),
                "report_url": "https://reports.example.org",
            }
        )
        with open_installation(settings) as opened:
            written, now = write_report(opened, date.fromisoformat(WEEK)), datetime.now(timezone.utc)
            assert queue_for_recipients(opened, written, now) == 0  # newer weeks have ended
            report = replace(written, week_start=last_closed_week(settings, now))
            assert queue_for_recipients(opened, report, now) == 1
            assert queue_for_recipients(opened, report, now) == 0
        context = dg.build_sensor_context(instance=computed.instance)
        for expected in ("1 message sent", "no message to send"):
            skipped = build_alert_delivery_sensor(settings)(context)
            assert isinstance(skipped, dg.SkipReason)
            assert skipped.skip_message == expected
        (message,) = receiver.messages
    assert message["title"] == "Week of 16 Feb 2026 to 22 Feb 2026"
    lines = message["message"].splitlines()
    assert lines[0] == report.headline
    assert lines[2:7] == [f"- {tile}" for tile in report.tiles]
    assert f"The page: https://reports.example.org/{WEEK}.html" in lines
    (attachment,) = message["attachments"]
    assert b64decode(attachment["base64"]) == report.path.read_bytes()


def test_a_report_that_cannot_be_written_does_not_fail_recommendations(computed: TestInstallation, tmp_path: Path):
    (tmp_path / "reports").write_text("a file where the directory should be")
    settings = computed.settings.model_copy(update={"home": tmp_path})
    result = run_job(computed, settings, "weekly_report_job", partition_key=WEEK)
    assert not result.success
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert "cannot be written" in str(data.description)
    assert "\n" not in str(data.description)
    recommendations = build_defs(settings).resolve_job_def("weekly_recommendations_job")
    assert weekly_report.KEY not in recommendations.asset_layer.executable_asset_keys
    assert run_job(computed, settings, "weekly_recommendations_job", partition_key=WEEK).success


def test_a_week_without_summaries_fails_and_says_what_to_do(computed: TestInstallation):
    result = run_job(computed, computed.settings, "weekly_report_job", partition_key="2026-01-05")
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert "snapshot-pipeline materialize --from 2026-01-05 --to 2026-01-11" in str(data.description)


def test_markdown_in_the_name_of_a_cohort_is_escaped():
    assert _escape_markdown("[x](http://a) <b> *c* `d` | #1") == r"\[x\]\(http://a\) \<b\> \*c\* \`d\` \| \#1"
