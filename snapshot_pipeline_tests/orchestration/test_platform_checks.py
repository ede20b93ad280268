"""The check `contract` of the platform's tables: its severity, its metadata, the reported state, and its incident."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone

import dagster as dg
import pytest

from snapshot_pipeline.orchestration.platform_checks import check_contract, state_metadata
from snapshot_pipeline.platform.contract import Finding, TableState
from snapshot_pipeline.platform.tables import TABLE_NAMES
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.orchestration.scanning import Scanner, scanning

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
NOTE = Finding("note", "users", "2 rows are ignored", detail="e.g. user_id 4711")
ADVICE = Finding("advice", "users", "no index", "CREATE INDEX ...;")
PROBLEM = Finding("error", "users", "no user has a role", detail="e.g. user_id 4711")


def test_notes_pass_with_the_note_in_the_description() -> None:
    result = check_contract("users", [NOTE], exists=True)
    assert result.passed
    assert result.description == "note: 2 rows are ignored."
    assert result.asset_key == dg.AssetKey(["learning_platform", "users"])


def test_advice_is_a_warning_and_a_problem_an_error() -> None:
    advice = check_contract("users", [ADVICE, NOTE], exists=True)
    assert (advice.passed, advice.severity) == (False, WARN)
    problem = check_contract("users", [PROBLEM, ADVICE, NOTE], exists=True)
    assert (problem.passed, problem.severity) == (False, ERROR)
    found, others, _, command = str(problem.description).split("\n\n")
    assert found == "error: no user has a role, and 2 more findings."
    assert others == "advice: no index; note: 2 rows are ignored."
    assert command == "`snapshot-pipeline check`"
    records = problem.metadata["findings"].records
    assert [record.data["severity"] for record in records] == ["error", "advice", "note"]
    assert records[1].data["statement"] == "CREATE INDEX ...;"


def test_examples_are_in_the_metadata_and_never_in_the_description() -> None:
    result = check_contract("users", [PROBLEM, NOTE], exists=True)
    assert "4711" not in str(result.description)
    assert result.metadata["findings"].records[0].data["detail"] == "e.g. user_id 4711"


def test_a_missing_optional_table_passes() -> None:
    result = check_contract("exercise_submissions", [], exists=False)
    assert result.passed
    assert result.description == "the platform has no such table."


def test_the_state_has_only_what_is_known() -> None:
    newest = datetime(2026, 2, 28, 20, tzinfo=timezone.utc)
    assert state_metadata(TableState(None)) == {}
    metadata = state_metadata(TableState(5, newest))
    assert metadata == {"row_estimate": 5, "newest_row": dg.MetadataValue.timestamp(newest)}
    assert str(state_metadata(TableState(5, is_newest_unread=True))["newest_row"]).startswith("not read, because")


@pytest.fixture
def scanner(installation: TestInstallation) -> Iterator[Scanner]:
    with scanning(installation) as scanner:
        yield scanner


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {
        evaluation.asset_key.path[-1]: evaluation
        for evaluation in result.get_asset_check_evaluations()
        if evaluation.check_name == "contract"
    }


@pytest.mark.clock
def test_the_daily_checks_report_every_table_with_its_contract(scanner: Scanner) -> None:
    """The UI shows a check for the latest materialization only, so both must come from one run."""
    scanner.execute("ANALYZE")
    result = scanner.run({}, "daily_checks_job")
    assert set(evaluations(result)) == set(TABLE_NAMES)
    logs = scanner.installation.instance.all_logs(result.run_id)
    lines = [entry.user_message for entry in logs if entry.level == 20]
    assert any(line.startswith("6 tables of the platform checked: ") for line in lines)
    for name, evaluation in evaluations(result).items():
        key = dg.AssetKey(["learning_platform", name])
        event = scanner.installation.instance.get_latest_materialization_event(key)
        assert event is not None
        assert event.run_id == result.run_id
        assert evaluation.target_materialization_data is not None
        assert evaluation.target_materialization_data.run_id == result.run_id
        metadata = event.asset_materialization.metadata
        assert metadata["row_estimate"].value > 0
        assert ("newest_row" in metadata) is (name in ("user_lesson_progress", "quiz_attempts", "exercise_submissions"))
    assert evaluations(result)["users"].passed
    assert evaluations(result)["lessons"].passed


@pytest.mark.clock
def test_a_failing_contract_is_one_incident_without_students(scanner: Scanner) -> None:
    scanner.execute("UPDATE users SET role = 'PUPIL-' || role")
    scanner.run({}, "daily_checks_job")
    opened = [incident for incident in scanner.scan().opened if incident.subject.endswith("/contract")]
    assert [(incident.kind, incident.subject) for incident in opened] == [
        ("failed_check", "learning_platform/users/contract")
    ]
    assert "name those of students in SNAPSHOT_STUDENT_ROLES" in opened[0].title
    scanner.execute("UPDATE users SET role = replace(role, 'PUPIL-', '')")
    scanner.run({}, "daily_checks_job")
    assert "learning_platform/users/contract" in [incident.subject for incident in scanner.scan().closed]


@pytest.mark.clock
def test_platform_without_exercises_has_no_failing_contract(scanner: Scanner) -> None:
    scanner.execute("ALTER TABLE exercise_submissions RENAME TO kept")
    result = scanner.run({}, "daily_checks_job")
    scanner.execute("ALTER TABLE kept RENAME TO exercise_submissions")
    evaluation = evaluations(result)["exercise_submissions"]
    assert (evaluation.passed, evaluation.description) == (True, "the platform has no such table.")
    key = dg.AssetKey(["learning_platform", "exercise_submissions"])
    assert scanner.installation.instance.get_latest_materialization_event(key) is None


def test_schema_that_does_not_exist_is_one_error(scanner: Scanner) -> None:
    """The other tables cannot have passed, but one cause is one incident."""
    result = scanner.run({}, "daily_checks_job", platform_schema="nowhere")
    severities = {name: (each.passed, each.severity) for name, each in evaluations(result).items()}
    assert severities == {name: (False, ERROR if name == "users" else WARN) for name in TABLE_NAMES}
    assert "set SNAPSHOT_PLATFORM_SCHEMA" in str(evaluations(result)["users"].description)
    assert "see the check of users" in str(evaluations(result)["quizzes"].description)
