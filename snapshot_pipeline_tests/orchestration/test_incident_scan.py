"""What a scan finds in a real instance with real runs: bad days, failed and slow runs, missing days and weeks."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from uuid import uuid4

import dagster as dg
import pytest
from dagster import DagsterEvent, DagsterEventType
from dagster._core.errors import DagsterAssetBackfillDataLoadError, DagsterLaunchFailedError
from dagster._core.events import EngineEventData
from dagster._utils.error import serializable_error_info_from_exc_info
from psycopg2 import OperationalError
from sqlalchemy import create_engine, text

from snapshot_pipeline.orchestration.build import build_defs
from snapshot_pipeline.orchestration.commands import command_for, materialize_command
from snapshot_pipeline.orchestration.incident_scan.periods import day_due_at, week_due_at
from snapshot_pipeline.orchestration.instance.dagster_internals import (
    WILL_RETRY_TAG,
    BulkActionStatus,
    PartitionBackfill,
    SerializableErrorInfo,
)
from snapshot_pipeline.orchestration.manual_jobs import recompute_run_config
from snapshot_pipeline.orchestration.partitioned_checks import description
from snapshot_pipeline.orchestration.partitions import range_tags
from snapshot_pipeline.pipeline.installation import open_installation
from snapshot_pipeline.pipeline.withdrawal import withdraw_days
from snapshot_pipeline.settings import SettingsError, load_settings
from snapshot_pipeline.store.incidents import Incident, open_incidents
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.orchestration.scanning import (
    MARK,
    QUIET,
    Scanner,
    mark_computed,
    mark_recommended,
    scanning,
    spoil,
)

DAY = date(2026, 2, 10)
SECOND = timedelta(seconds=1)
DATA_QUALITY = "performance_snapshots/data_quality: negative_minutes"
BOTH = "performance_snapshots, cohort_summary"
"""The assets of a nightly run, as an incident names them."""


@pytest.fixture(scope="module")
def marked(installation: TestInstallation) -> TestInstallation:
    """The installation, with ids of students that cannot be mistaken for another number."""
    engine = create_engine(installation.url)
    with engine.begin() as connection:
        connection.execute(text("SET session_replication_role = replica"))  # no foreign key is looked at
        connection.execute(text(f"UPDATE users SET id = id + {MARK}"))  # noqa: S608
        for table in ("user_lesson_progress", "quiz_attempts", "exercise_submissions"):
            connection.execute(text(f"UPDATE {table} SET user_id = user_id + {MARK}"))  # noqa: S608
    engine.dispose()
    return installation


@pytest.fixture
def scanner(marked: TestInstallation) -> Iterator[Scanner]:
    with scanning(marked) as scanner:
        yield scanner


def days(first: date, last: date | None = None) -> dict[str, str]:
    return range_tags(first, last or first)


def reported(scanner: Scanner, *events: DagsterEventType, first: date = DAY, last: date | None = None) -> str:
    """A run of some days with nothing but these events."""
    instance = scanner.installation.instance
    job = build_defs(scanner.settings).resolve_job_def("daily_snapshots_job")
    run = instance.create_run_for_job(job, tags=days(first, last), status=dg.DagsterRunStatus.NOT_STARTED)
    for event in events:
        instance.report_dagster_event(DagsterEvent(event.value, job_name=job.name), run.run_id)
    return run.run_id


def opened_later(scanner: Scanner) -> list[Incident]:
    """The failed runs that a scan opens once it is too late for a retry; a day or week may become due meanwhile."""
    opened = scanner.scan(datetime.now(timezone.utc) + timedelta(minutes=6)).opened
    return [incident for incident in opened if incident.kind == "failed_run"]


def test_a_bad_day_is_one_incident_with_figures_and_without_students(scanner: Scanner) -> None:
    scanner.execute(spoil("2026-02-01", "2026-02-10"))
    bad = scanner.run(days(DAY))
    assert bad.success  # a failed check fails no run
    changes = scanner.scan()
    (incident,) = changes.opened
    assert (incident.kind, incident.subject) == ("failed_check", DATA_QUALITY)
    assert list(incident.partitions) == ["2026-02-10"]
    assert incident.command == "snapshot-pipeline materialize --from 2026-02-10 --to 2026-02-10"
    assert incident.run_id == bad.run_id
    (message,) = changes.messages
    assert "of 1" in message.title
    assert "students have invalid rows" in message.title
    assert "at most 10 % allowed" in message.title
    assert "http://127.0.0.1:3000/assets/performance_snapshots?view=checks&checkDetail=data_quality" in message.body
    assert "tab Partitions: 2026-02-10" in message.body
    assert re.match(r"Rows by kind: negative_minutes [1-9]\d*[.,]", message.body)
    assert f"Command: {incident.command}\n" in message.body
    assert bad.run_id not in message.body
    assert str(MARK)[:4] not in message.body
    assert not scanner.scan().messages

    scanner.execute(spoil("2026-02-01", "2026-02-10"))  # fixes it
    scanner.run(days(DAY))
    recovered = scanner.scan()
    assert [closed.id for closed in recovered.closed] == [incident.id]
    assert "0 of 1" in recovered.messages[0].body
    assert not scanner.scan().messages


def test_bad_days_of_one_cause_are_one_incident_until_the_last_of_them_passes(scanner: Scanner) -> None:
    scanner.execute(spoil("2026-02-01", "2026-02-10"))
    scanner.run(days(date(2026, 2, 5), date(2026, 2, 7)))
    (incident,) = scanner.scan().opened
    assert incident.subject == DATA_QUALITY
    assert list(incident.partitions) == ["2026-02-05", "2026-02-06", "2026-02-07"]
    assert incident.title.startswith(
        "performance_snapshots, 3 days from 2026-02-05 to 2026-02-07, the last 2026-02-07: "
    )
    assert incident.command == "snapshot-pipeline materialize --from 2026-02-05 --to 2026-02-07"
    scanner.run(days(date(2026, 2, 8), DAY))  # more days of the same cause
    assert not scanner.scan().messages
    assert open_partitions(scanner) == [[f"2026-02-{day:02}" for day in range(5, 11)]]
    scanner.execute(spoil("2026-02-01", "2026-02-10"))
    scanner.run(days(date(2026, 2, 6), DAY))
    now = datetime.now(timezone.utc)
    assert not scanner.scan().closed
    assert open_partitions(scanner) == [["2026-02-05"]]
    # What failed longer ago than a scan reaches back is still known.
    assert not scanner.scan(now + timedelta(hours=1), last_scan=now + timedelta(hours=1)).closed
    scanner.run(days(date(2026, 2, 5)))
    assert [closed.id for closed in scanner.scan().closed] == [incident.id]


def test_another_cause_of_the_same_check_is_another_incident(scanner: Scanner) -> None:
    scanner.execute(spoil("2026-02-01", "2026-02-10"))
    scanner.run(days(date(2026, 2, 9)))
    scanner.execute(spoil("2026-02-01", "2026-02-10"))
    scanner.execute("UPDATE quiz_attempts SET score = score - 1000")
    scanner.run(days(DAY))
    scanner.execute("UPDATE quiz_attempts SET score = score + 1000")
    causes = {opened.subject: list(opened.partitions) for opened in scanner.scan().opened}
    other = causes.keys() - {DATA_QUALITY}
    assert causes[DATA_QUALITY] == ["2026-02-09"]
    assert [causes[subject] for subject in other] == [["2026-02-10"]]


def evaluate(scanner: Scanner, check: str, day: date, passed: bool, command: str = "") -> None:
    """Report a result of a check, as the run of a day does."""
    paragraphs = [f"{day}: found."] if passed else [f"{day}: found.", "Fix the cause, then run:"]
    evaluation = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("performance_snapshots"),
        check_name=check,
        passed=passed,
        metadata={},
        partition=str(day),
        description=description(paragraphs, "" if passed else command),
    )
    event_type = DagsterEventType.ASSET_CHECK_EVALUATION.value
    event = DagsterEvent(event_type, job_name="daily_snapshots_job", event_specific_data=evaluation)
    scanner.installation.instance.report_dagster_event(event, uuid4().hex)


def test_the_command_of_an_incident_is_that_of_its_check_for_the_days_that_fail(scanner: Scanner) -> None:
    materialize, retry = "snapshot-pipeline materialize", "snapshot-pipeline retry-failed"
    for day in range(5, 10):
        on = date(2026, 2, day)
        evaluate(scanner, "data_quality", on, day in (6, 8), f"{materialize} --from {on} --to {on}")
        evaluate(scanner, "success_rate", on, day in (6, 8), f"{retry} --from {on} --to {on}")
    opened = {incident.subject.partition("/")[2]: incident for incident in scanner.scan().opened}
    assert [*opened["data_quality"].partitions] == ["2026-02-05", "2026-02-07", "2026-02-09"]
    assert opened["data_quality"].command == "; ".join(
        f"{materialize} --from 2026-02-0{day} --to 2026-02-0{day}" for day in (5, 7, 9)
    )
    assert opened["success_rate"].command == f"{retry} --from 2026-02-05 --to 2026-02-09"
    evaluate(scanner, "data_quality", date(2026, 2, 7), True)
    scanner.scan()
    with open_installation(scanner.settings) as installation:
        commands = [incident.command for incident in installation.transaction(open_incidents)]
    assert "; ".join(f"{materialize} --from 2026-02-0{day} --to 2026-02-0{day}" for day in (5, 9)) in commands


def test_fewer_students_than_the_day_before_are_an_incident_until_the_next_day_passes(scanner: Scanner) -> None:
    """Nothing can be computed again if students have left: the message says that nothing is to be done."""
    fewer, after = DAY, DAY + timedelta(days=1)
    evaluate(scanner, "student_count_stable", fewer, False)
    (incident,) = scanner.scan().opened
    assert incident.command == ""
    evaluate(scanner, "student_count_stable", after, True)
    changes = scanner.scan()
    assert [closed.id for closed in changes.closed] == [incident.id]
    assert f"{after}: found" in changes.messages[0].body
    for day, passed in ((fewer, False), (after, True)):  # the next nightly run computes the last days again
        evaluate(scanner, "student_count_stable", day, passed)
    assert not scanner.scan().opened


def open_partitions(scanner: Scanner, kind: str = "failed_check") -> list[list[str]]:
    with open_installation(scanner.settings) as opened:
        incidents = opened.transaction(open_incidents)
    return [list(incident.partitions) for incident in incidents if incident.kind == kind]


def test_the_check_of_open_incidents_is_never_an_incident(scanner: Scanner) -> None:
    check = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("incidents"), check_name="no_open_incidents", passed=False, metadata={}
    )
    scanner.installation.instance.report_runless_asset_event(check)
    assert not scanner.scan().opened


def test_a_day_fixed_before_the_next_scan_is_not_an_incident(scanner: Scanner) -> None:
    scanner.execute(spoil("2026-02-01", "2026-02-10"))
    scanner.run(days(DAY))
    scanner.execute(spoil("2026-02-01", "2026-02-10"))
    scanner.run(days(DAY))
    assert not scanner.scan().messages


def test_foreign_checks_and_warnings_are_not_incidents(scanner: Scanner) -> None:
    instance = scanner.installation.instance
    for asset, severity in (
        ("other", dg.AssetCheckSeverity.ERROR),
        ("performance_snapshots", dg.AssetCheckSeverity.WARN),
    ):
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=dg.AssetKey(asset),
                check_name="success_rate",
                passed=False,
                metadata={},
                severity=severity,
                partition="2026-02-10",
            )
        )
    assert not scanner.scan().opened


def test_a_failed_run_is_an_incident_until_its_day_is_computed(scanner: Scanner) -> None:
    failed = scanner.run(days(DAY), platform_schema="nowhere")
    assert not failed.success
    changes = scanner.scan()
    (incident,) = changes.opened
    assert (incident.kind, [*incident.partitions.items()]) == ("failed_run", [("2026-02-10", failed.run_id)])
    assert incident.title == f"{BOTH}, 2026-02-10: the run has failed"
    assert "schema 'nowhere'" in changes.messages[0].body
    assert failed.run_id in changes.messages[0].body
    reported(scanner, DagsterEventType.RUN_START, DagsterEventType.RUN_FAILURE)  # it fails again: the same incident
    assert not scanner.scan().messages
    scanner.materialize(date(2026, 2, 5), date(2026, 2, 9))  # not its day
    assert not scanner.scan().closed
    scanner.run(days(date(2026, 2, 8), date(2026, 2, 12)))
    (over,) = scanner.scan().closed
    assert over.id == incident.id
    assert not scanner.scan().messages


def test_a_failed_range_is_an_incident_until_all_its_days_are_computed(scanner: Scanner) -> None:
    reported(scanner, DagsterEventType.RUN_START, DagsterEventType.RUN_FAILURE, last=date(2026, 2, 12))
    (incident,) = opened_later(scanner)
    assert incident.title == f"{BOTH}, 3 days from 2026-02-10 to 2026-02-12: the run has failed"
    scanner.materialize(DAY, date(2026, 2, 11))
    assert not scanner.scan().closed
    scanner.materialize(date(2026, 2, 12), date(2026, 2, 12))
    assert scanner.scan().closed


def test_failed_runs_of_one_cause_are_one_incident_until_all_days_are_computed(scanner: Scanner) -> None:
    def fail(first: date, last: date, host: int) -> str:
        return launch_failure(scanner, SettingsError(f"the host 10.0.0.{host} is away since {first}"), first, last)

    later = datetime.now(timezone.utc) + timedelta(minutes=6)
    fail(date(2026, 2, 3), date(2026, 2, 4), 7)
    fail(date(2026, 2, 6), date(2026, 2, 6), 8)
    (incident,) = opened_later(scanner)
    newest = fail(DAY, DAY, 9)
    other = launch_failure(scanner, KeyError("x"), date(2026, 2, 8))
    changes = scanner.scan(later)
    assert [[*opened.partitions.items()] for opened in changes.opened] == [[("2026-02-08", other)]]
    assert open_partitions(scanner, "failed_run")[0] == ["2026-02-03", "2026-02-04", "2026-02-06", "2026-02-10"]
    with open_installation(scanner.settings) as installation:
        (grown, _) = (i for i in installation.transaction(open_incidents) if i.kind == "failed_run")
    assert (grown.id, grown.run_id) == (incident.id, newest)
    assert grown.title == f"{BOTH}, 4 days from 2026-02-03 to 2026-02-10: the runs have failed"
    assert grown.detail == "the host 10.0.0.9 is away since 2026-02-10"
    assert grown.command == "; ".join(
        f"snapshot-pipeline materialize --from {first} --to {last}"
        for first, last in (("2026-02-03", "2026-02-04"), ("2026-02-06", "2026-02-06"), ("2026-02-10", "2026-02-10"))
    )
    launch_failure(scanner, KeyError("x"), DAY)  # a day that fails again for another cause stays in its incident
    assert not scanner.scan(later).messages
    scanner.materialize(date(2026, 2, 4), date(2026, 2, 8))
    assert [closed.partitions for closed in scanner.scan(later).closed] == [{"2026-02-08": other}]
    assert open_partitions(scanner, "failed_run") == [["2026-02-03", "2026-02-10"]]
    scanner.materialize(date(2026, 2, 3), DAY)
    assert [closed.id for closed in scanner.scan(later).closed] == [incident.id]
    assert not scanner.scan(later).messages


def test_a_failed_summary_is_an_incident_until_the_summary_is_computed(scanner: Scanner) -> None:
    """The snapshots of that run are computed, so the incident must not ask for them."""
    scanner.run(days(date(2026, 2, 5)))  # makes the tables, on the first run of all
    refuses = "ALTER TABLE day_summary ADD CONSTRAINT refuses CHECK (students < 0) NOT VALID"
    scanner.execute("DELETE FROM day_summary", refuses)  # a row that is there would not be written again
    try:
        assert not scanner.run(days(DAY)).success
    finally:
        scanner.execute("ALTER TABLE day_summary DROP CONSTRAINT refuses")
    (incident,) = scanner.scan().opened
    assert (incident.kind, incident.subject) == ("failed_run", f"cohort_summary: {incident.detail}")
    assert incident.title == "cohort_summary, 2026-02-10: the run has failed"
    job = build_defs(scanner.settings).resolve_job_def("daily_snapshots_job")
    alone = job.execute_in_process(
        instance=scanner.installation.instance,
        tags=days(DAY),
        asset_selection=[dg.AssetKey("cohort_summary")],
        run_config=QUIET,
    )
    assert alone.success
    assert [closed.id for closed in scanner.scan().closed] == [incident.id]


def test_the_message_of_an_unexpected_error_is_not_sent(scanner: Scanner, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_: object, **__: object) -> None:
        raise ValueError(f"student {MARK + 17} cannot be")

    monkeypatch.setattr("snapshot_pipeline.orchestration.assets.performance_snapshots.run_days", raises)
    assert not scanner.run(days(DAY)).success
    (message,) = scanner.scan().messages
    assert "raised ValueError" in message.body
    assert str(MARK)[:4] not in message.body


def test_retried_and_canceled_runs_are_not_incidents(scanner: Scanner) -> None:
    failed = reported(scanner, DagsterEventType.RUN_START, DagsterEventType.RUN_FAILURE)
    scanner.installation.instance.add_run_tags(failed, {WILL_RETRY_TAG: "true"})
    reported(scanner, DagsterEventType.RUN_START, DagsterEventType.RUN_CANCELED)
    assert not scanner.scan().opened
    # A retry that was promised and never came is a failure after all.
    (incident,) = opened_later(scanner)
    assert incident.run_id == failed


@pytest.mark.clock
def test_a_run_launched_with_impossible_days_is_not_an_incident(scanner: Scanner) -> None:
    """Whoever launched it sees the line; nobody is called at night for a typing error."""
    tomorrow = datetime.now(timezone.utc).date() + timedelta(days=2)
    assert not scanner.run({"dagster/partition": tomorrow.isoformat()}).success
    job = build_defs(scanner.settings).resolve_job_def("recompute_days_job")
    with pytest.raises(dg.DagsterError, match="is not a date"):
        job.execute_in_process(
            instance=scanner.installation.instance,
            run_config={**QUIET, **recompute_run_config("02/20/2026")},
            raise_on_error=False,
        )
    # A day may become overdue meanwhile.
    assert [incident for incident in scanner.scan().opened if incident.kind != "missing_day"] == []
    job = build_defs(scanner.settings.model_copy(update={"platform_schema": "nowhere"})).resolve_job_def(job.name)
    failed = job.execute_in_process(
        instance=scanner.installation.instance,
        run_config={**QUIET, **recompute_run_config("2026-02-10")},
        raise_on_error=False,
    )
    opened = scanner.scan().opened
    assert [incident.run_id for incident in opened if incident.kind != "missing_day"] == [failed.run_id]


def recorded(error: Exception) -> SerializableErrorInfo:
    """An error as Dagster records it."""
    try:
        raise error
    except Exception:  # noqa: BLE001
        return serializable_error_info_from_exc_info(sys.exc_info())


def launch_failure(scanner: Scanner, cause: Exception, first: date = DAY, last: date | None = None) -> str:
    """A run whose process could not start, as the daemon records it."""
    error = DagsterLaunchFailedError("Error during RPC setup for executing run")
    error.__cause__ = cause
    run = reported(scanner, first=first, last=last)
    instance = scanner.installation.instance
    data = EngineEventData.engine_error(recorded(error))
    dagster_run = instance.get_run_by_id(run)
    assert dagster_run is not None
    instance.report_engine_event("Caught an unrecoverable error while dequeuing the run.", dagster_run, data)
    instance.report_run_failed(dagster_run)
    return run


@pytest.mark.parametrize(
    ("cause", "detail"),
    [
        (
            OperationalError("connection to server at 10.0.0.7 failed: FATAL:  sorry, too many clients already"),
            "the run could not start: its process found no free connection to Dagster's database",
        ),
        (
            OperationalError("connection to server at 10.0.0.7 failed: Connection refused"),
            "the run could not start: its process could not connect to Dagster's database",
        ),
        (SettingsError("SNAPSHOT_WORKERS=x is not a number"), "SNAPSHOT_WORKERS=x is not a number"),
        (KeyError("student 4711"), "the run could not start: its process raised KeyError; see its log"),
    ],
)
def test_the_incident_of_a_run_that_could_not_begin_says_why(scanner: Scanner, cause: Exception, detail: str) -> None:
    launch_failure(scanner, cause)
    (incident,) = opened_later(scanner)
    assert incident.detail == detail


def backfill(scanner: Scanner, status: BulkActionStatus, first: date, last: date, error: Exception | None) -> str:
    """A backfill of some days that has ended, as the daemon records it."""
    instance = scanner.installation.instance
    graph = build_defs(scanner.settings).get_repository_def().asset_graph
    asset = dg.AssetKey("performance_snapshots")
    now = datetime.now(timezone.utc).timestamp()
    keys = [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    begun = PartitionBackfill.from_asset_partitions(
        backfill_id=uuid4().hex[:8],
        asset_graph=graph,
        partition_names=keys,
        asset_selection=[asset],
        backfill_timestamp=now,
        tags={},
        dynamic_partitions_store=instance,
        all_partitions=False,
        title=None,
        description=None,
        run_config=None,
    )
    info = recorded(error) if error else None
    ended = begun.with_status(status).with_error(info)
    instance.add_backfill(ended if status is BulkActionStatus.FAILING else ended.with_end_timestamp(now))
    return begun.backfill_id


@pytest.mark.parametrize("status", [BulkActionStatus.FAILED, BulkActionStatus.FAILING])
def test_a_backfill_that_dagster_gave_up_is_an_incident_until_its_days_are_computed(
    scanner: Scanner, status: BulkActionStatus
) -> None:
    scanner.materialize(DAY, DAY)  # before the backfill, so it does not count
    error = DagsterAssetBackfillDataLoadError("Targeted partitions have been removed since this backfill was stored")
    failed = backfill(scanner, status, DAY, date(2026, 2, 12), error)
    changes = scanner.scan()
    (incident,) = changes.opened
    assert (incident.kind, incident.subject) == ("failed_backfill", failed)
    assert incident.detail == "Targeted partitions have been removed since this backfill was stored"
    assert "relaunch the partitions that are left." in " ".join(changes.messages[0].body.split())
    assert not scanner.scan().messages
    scanner.materialize(DAY, date(2026, 2, 11))
    assert not scanner.scan().closed
    scanner.settings = scanner.settings.model_copy(update={"start_date": date(2026, 2, 11)})
    scanner.materialize(date(2026, 2, 12), date(2026, 2, 12))
    assert [closed.id for closed in scanner.scan().closed] == [incident.id]


def test_a_backfill_is_no_incident_beside_those_of_its_runs(scanner: Scanner) -> None:
    instance = scanner.installation.instance
    for status in (BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.CANCELED):
        backfill(scanner, status, DAY, DAY, None)
    with_canceled_run = backfill(scanner, BulkActionStatus.COMPLETED_FAILED, DAY, DAY, None)
    run = reported(scanner, DagsterEventType.RUN_START, DagsterEventType.RUN_CANCELED)
    instance.add_run_tags(run, {"dagster/backfill": with_canceled_run})
    assert not scanner.scan().opened
    stalled = backfill(scanner, BulkActionStatus.COMPLETED_FAILED, DAY, DAY, ValueError("student 4711"))
    (incident,) = scanner.scan().opened
    assert incident.subject == stalled
    assert "4711" not in incident.detail


def test_deleting_a_failed_run_closes_its_incident(scanner: Scanner) -> None:
    failed = reported(scanner, DagsterEventType.RUN_START, DagsterEventType.RUN_FAILURE)
    later = datetime.now(timezone.utc) + timedelta(minutes=6)
    assert scanner.scan(later).opened
    scanner.installation.instance.delete_run(failed)
    assert scanner.scan(later).closed


@pytest.mark.clock
def test_a_run_in_progress_over_the_maximum_is_an_incident(scanner: Scanner) -> None:
    slow = reported(scanner, DagsterEventType.RUN_START)
    assert not scanner.scan().opened
    later = datetime.now(timezone.utc) + timedelta(seconds=scanner.settings.max_run_seconds)
    opened = scanner.scan(later).opened
    (incident,) = (incident for incident in opened if incident.kind == "slow_run")  # a day may be overdue an hour later
    assert (incident.kind, incident.subject, incident.run_id) == ("slow_run", BOTH, slow)
    assert incident.title.endswith(" 2026-02-10: the run is still running, expected at most 300 s")
    assert not scanner.scan(later + SECOND).messages
    scanner.installation.instance.delete_run(slow)


def test_a_slow_run_is_an_incident_until_the_next_fast_run(scanner: Scanner) -> None:
    reported(scanner, DagsterEventType.RUN_START, DagsterEventType.RUN_SUCCESS)
    scanner.settings = scanner.settings.model_copy(update={"max_run_seconds": 1e-9})
    (incident,) = scanner.scan().opened
    assert incident.kind == "slow_run"
    assert "the run took " in incident.title
    assert not scanner.scan().messages
    scanner.settings = scanner.installation.settings
    reported(scanner, DagsterEventType.RUN_START, DagsterEventType.RUN_SUCCESS)
    assert [closed.id for closed in scanner.scan().closed] == [incident.id]


def test_a_missing_day_is_an_incident_when_overdue_until_it_is_computed(scanner: Scanner) -> None:
    scanner.since = datetime(2026, 2, 11, 0, 30, tzinfo=timezone.utc)
    due_at = day_due_at(DAY, scanner.settings)
    assert due_at == datetime(2026, 2, 11, 1, tzinfo=timezone.utc)
    assert not scanner.scan(due_at - SECOND).opened
    changes = scanner.scan(due_at)
    (incident,) = changes.opened
    assert (incident.kind, incident.subject) == ("missing_day", "performance_snapshots")
    assert incident.title == "performance_snapshots, 2026-02-10: the day is missing"
    assert "it was due by 2026-02-11 01:00 UTC" in changes.messages[0].body
    assert "snapshot-pipeline materialize --missing --from 2026-02-10 --to 2026-02-10" in changes.messages[0].body
    assert not scanner.scan(due_at + timedelta(hours=20)).messages
    scanner.run(days(DAY))
    (over,) = scanner.scan(due_at + timedelta(hours=21)).closed
    assert over.id == incident.id


def test_the_missing_days_since_monitoring_started_are_one_incident(scanner: Scanner) -> None:
    scanner.since = datetime(2026, 2, 9, 12, tzinfo=timezone.utc)
    noon = datetime(2026, 2, 13, 12, tzinfo=timezone.utc)
    changes = scanner.scan(noon, last_scan=scanner.since)
    (incident,) = (opened for opened in changes.opened if opened.kind == "missing_day")
    assert [*incident.partitions] == ["2026-02-09", "2026-02-10", "2026-02-11", "2026-02-12"]
    assert incident.title == "performance_snapshots, 4 days from 2026-02-09 to 2026-02-12: the days are missing"
    assert incident.command == "snapshot-pipeline materialize --missing --from 2026-02-09 --to 2026-02-12"
    assert "Partitions: 2026-02-09, 2026-02-10, 2026-02-11, 2026-02-12" in changes.messages[0].body
    mark_computed(scanner.settings, date(2026, 2, 9), DAY, date(2026, 2, 12))
    assert not scanner.scan(noon + SECOND).closed
    assert open_partitions(scanner, "missing_day") == [["2026-02-11"]]
    mark_computed(scanner.settings, date(2026, 2, 11))
    (over,) = scanner.scan(noon + SECOND).closed
    assert over.id == incident.id


def test_a_missed_week_is_an_incident_until_it_is_computed(scanner: Scanner) -> None:
    scanner.since = datetime(2026, 2, 16, 5, tzinfo=timezone.utc)
    week, due_at = date(2026, 2, 9), week_due_at(date(2026, 2, 9), scanner.settings)
    assert due_at == datetime(2026, 2, 16, 7, tzinfo=timezone.utc)
    assert not [opened for opened in scanner.scan(due_at - SECOND).opened if opened.kind == "missed_week"]
    (incident,) = [opened for opened in scanner.scan(due_at).opened if opened.kind == "missed_week"]
    assert [*incident.partitions] == [week.isoformat()]
    assert incident.command == "snapshot-pipeline recommend --week 2026-02-09"
    scanner.run(days(date(2026, 2, 9), date(2026, 2, 15)))
    assert scanner.run({"dagster/partition": week.isoformat()}, "weekly_recommendations_job").success
    assert incident.id in [closed.id for closed in scanner.scan(due_at + SECOND).closed]


def test_a_newer_week_closes_the_incident_of_a_missed_week(scanner: Scanner) -> None:
    scanner.since = datetime(2026, 2, 16, 5, tzinfo=timezone.utc)
    scanner.scan(datetime(2026, 2, 16, 8, tzinfo=timezone.utc))
    mark_recommended(scanner.settings, date(2026, 2, 16))
    closed = scanner.scan(datetime(2026, 2, 23, 8, tzinfo=timezone.utc)).closed
    assert "missed_week" in [incident.kind for incident in closed]


def test_a_withdrawn_day_is_missing_although_dagster_calls_it_materialized(scanner: Scanner) -> None:
    scanner.since = datetime(2026, 2, 11, 0, 30, tzinfo=timezone.utc)
    due_at = day_due_at(DAY, scanner.settings)
    scanner.run(days(DAY))
    assert not scanner.scan(due_at).opened
    with open_installation(scanner.settings) as opened:
        withdraw_days(opened, DAY, DAY)
    assert DAY.isoformat() in scanner.installation.instance.get_materialized_partitions(
        dg.AssetKey("performance_snapshots")
    )
    (incident,) = scanner.scan(due_at).opened
    assert (incident.kind, [*incident.partitions]) == ("missing_day", [DAY.isoformat()])


def test_a_failed_check_of_a_day_that_no_longer_exists_is_resolved(scanner: Scanner) -> None:
    scanner.execute(spoil("2026-02-01", "2026-02-10"))
    scanner.run(days(DAY))
    assert scanner.scan().opened
    scanner.execute(spoil("2026-02-01", "2026-02-10"))  # restores the rows
    scanner.settings = scanner.settings.model_copy(update={"start_date": date(2026, 2, 11)})
    (closed,) = scanner.scan().closed
    assert closed.subject == DATA_QUALITY
    assert not scanner.scan().messages


def test_due_times_follow_daylight_saving() -> None:
    settings = load_settings(timezone="Europe/Budapest", start_date=date(2026, 1, 1), overdue_minutes=90)
    assert day_due_at(date(2026, 3, 29), settings) == datetime(2026, 3, 29, 23, 30, tzinfo=timezone.utc)  # 23 hours
    assert day_due_at(date(2026, 3, 28), settings) == datetime(2026, 3, 29, 0, 30, tzinfo=timezone.utc)
    assert week_due_at(date(2026, 3, 23), settings) == datetime(2026, 3, 30, 5, 30, tzinfo=timezone.utc)
    assert week_due_at(date(2026, 3, 16), settings) == datetime(2026, 3, 23, 6, 30, tzinfo=timezone.utc)


def test_a_week_that_began_before_the_start_date_is_never_missed(scanner: Scanner) -> None:
    """SNAPSHOT_START_DATE is Thursday, 2026-01-01: the week of 2025-12-29 has no partition."""
    scanner.since = datetime(2026, 1, 1, tzinfo=timezone.utc)
    changes = scanner.scan(datetime(2026, 1, 5, 12, tzinfo=timezone.utc))
    assert [opened.subject for opened in changes.opened if opened.kind == "missed_week"] == []
    assert next(min(opened.partitions) for opened in changes.opened if opened.kind == "missing_day") == "2026-01-01"


MATERIALIZE = "snapshot-pipeline materialize"


@pytest.mark.parametrize(
    ("asset", "partitions", "command"),
    [
        (
            "cohort_summary",
            ["2026-02-05", "2026-02-04", "2026-02-03"],
            f"{MATERIALIZE} --from 2026-02-03 --to 2026-02-05",
        ),
        (
            "performance_snapshots",
            ["2026-02-03", "2026-02-04", "2026-02-09"],
            f"{MATERIALIZE} --from 2026-02-03 --to 2026-02-04; {MATERIALIZE} --from 2026-02-09 --to 2026-02-09",
        ),
        (
            "performance_snapshots",
            ["2026-02-01", "2026-02-03", "2026-02-05", "2026-02-07"],  # the days in between, too
            f"{MATERIALIZE} --from 2026-02-01 --to 2026-02-07",
        ),
        (
            "weekly_report",
            ["2026-02-02", "2026-02-09"],
            "snapshot-pipeline report --week 2026-02-02; snapshot-pipeline report --week 2026-02-09",
        ),
        ("adaptive_recommendations", ["2026-02-02"], "snapshot-pipeline recommend --week 2026-02-02"),
        ("at_risk_students", ["2026-02-02"], "snapshot-pipeline recommend --week 2026-02-02"),
        ("weekly_report", ["2026-02-02"], "snapshot-pipeline report --week 2026-02-02"),
        ("learning_platform/users", [""], "snapshot-pipeline check"),
        ("recomputed_day", [""], ""),
    ],
)
def test_an_incident_names_the_command_of_its_asset(asset: str, partitions: list[str], command: str) -> None:
    assert materialize_command(dg.AssetKey(asset.split("/")), partitions) == command


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            "snapshot-pipeline retry-failed --from 2026-02-01 --to 2026-02-01",
            "snapshot-pipeline retry-failed --from 2026-02-03 --to 2026-02-09",  # only what has failed, in any case
        ),
        (f"{MATERIALIZE} --from 2026-01-01 --to 2026-01-01; {MATERIALIZE} --from 2026-01-03 --to 2026-01-03", None),
        ("snapshot-pipeline check", "snapshot-pipeline check"),
        ("", ""),
    ],
)
def test_the_command_of_a_check_for_other_days(command: str, expected: str | None) -> None:
    both = f"{MATERIALIZE} --from 2026-02-03 --to 2026-02-03; {MATERIALIZE} --from 2026-02-09 --to 2026-02-09"
    assert command_for(command, ["2026-02-09", "2026-02-03"]) == (both if expected is None else expected)
