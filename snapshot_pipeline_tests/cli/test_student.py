"""`snapshot-pipeline student`: the printed explanation, the JSON document and the exit status."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from snapshot_pipeline.cli import command
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline_tests.installation import PROJECT, TestInstallation
from snapshot_pipeline_tests.pipeline.installations import raising_for, students_started_before


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, ["student", *arguments], catch_exceptions=False)


def query_id(installation: TestInstallation, query: str) -> int:
    engine = create_engine(installation.url, poolclass=NullPool)
    with engine.connect() as connection:
        return int(connection.execute(text(query)).scalar_one())


@pytest.fixture(scope="module")
def computed(installation: TestInstallation) -> TestInstallation:
    arguments = ["materialize", "--from", "2026-02-20", "--to", "2026-02-28"]
    with raising_for(students_started_before(installation.url, date(2026, 2, 1), 1)):
        assert CliRunner().invoke(command, arguments, catch_exceptions=False).exit_code == 0
    return installation


BEST = "SELECT user_id FROM performance_snapshots WHERE snapshot_date = '2026-02-28' ORDER BY pace_score DESC LIMIT 1"
FAILED = "SELECT user_id FROM snapshot_failures WHERE snapshot_date = '2026-02-28' ORDER BY user_id LIMIT 1"
ISSUE = "SELECT user_id FROM data_issues WHERE issue = 'negative_minutes' LIMIT 1"


def test_thirty_days_and_the_terms_are_printed_in_80_columns(computed: TestInstallation) -> None:
    result = run(str(query_id(computed, BEST)), "--day", "2026-02-28")
    assert result.exit_code == 0
    assert result.output.count("missing") == 21
    assert "Pace score of 2026-02-28, computed from the platform's current rows" in result.output
    points = [float(number) for number in re.findall(r"\* 0\.[34] = +([\d.]+)", result.output)]
    total = re.search(r"^ +sum +([\d.]+)$", result.output, re.MULTILINE)
    assert len(points) == 3
    assert total is not None
    assert sum(points) == pytest.approx(float(total[1]), abs=2e-4)
    assert "The published snapshot, written on " in result.output
    assert [line for line in result.output.splitlines() if len(line) > 80] == []


def test_invalid_rows_are_listed_in_80_columns(computed: TestInstallation) -> None:
    result = run(str(query_id(computed, ISSUE)), "--day", "2026-02-28")
    assert result.exit_code == 0
    assert "Invalid rows, corrected or ignored:" in result.output
    assert "negative_minutes" in result.output
    assert [line for line in result.output.splitlines() if len(line) > 80] == []


def test_a_failed_day_shows_its_error_and_the_command_with_status_3(computed: TestInstallation) -> None:
    result = run(str(query_id(computed, FAILED)), "--day", "2026-02-28")
    assert result.exit_code == 3
    assert "ValueError: cannot compute" in result.output
    assert result.output.rstrip().endswith("snapshot-pipeline retry-failed --from 2026-02-28 --to 2026-02-28")
    assert [line for line in result.output.splitlines() if len(line) > 80] == []


def keys_of(document: object) -> set[str]:
    """Return all keys except those of `lessons_by_day`, which are days."""
    if isinstance(document, list):
        return set().union(*(keys_of(item) for item in document))
    if isinstance(document, dict):
        inner = (keys_of(value) for name, value in document.items() if name != "lessons_by_day")
        return set(document).union(*inner)
    return set()


def test_json_is_one_document_whose_keys_are_documented(computed: TestInstallation) -> None:
    documents = {}
    for query, status in ((BEST, 0), (ISSUE, 0), (FAILED, 3)):
        result = run(str(query_id(computed, query)), "--day", "2026-02-28", "--json")
        assert result.exit_code == status
        documents[query] = json.loads(result.output)
    best, invalid, failed = documents[BEST], documents[ISSUE], documents[FAILED]
    assert 0 <= best["days_since_activity"] < 30
    assert (best["state"], best["remediation"], best["differences"]) == ("published", None, [])
    assert best["pace"]["pace_score"] == best["days"][-1]["pace_score"]
    assert sum(term["points"] for term in best["pace"]["terms"].values()) == pytest.approx(best["pace"]["unrounded"])
    assert failed["state"] == "failed"
    assert [issue["issue"] for issue in invalid["pace"]["issues"]] == ["negative_minutes"]
    assert failed["remediation"]["command"].startswith("snapshot-pipeline retry-failed")
    page = (Path(PROJECT) / "docs" / "operations.md").read_text(encoding="utf-8")
    section = page.split("## One student as JSON")[1].split("\n## ")[0]
    assert keys_of(list(documents.values())) <= set(re.findall(r"`(\w+)`", section))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["987654321"], "public.users has no user 987654321"),
        (["1", "--day", "2025-12-31"], "--day 2025-12-31 is before SNAPSHOT_START_DATE=2026-01-01"),
        (["1", "--day", "2999-01-01"], "--day 2999-01-01 has not ended yet"),
    ],
)
def test_an_unknown_student_or_day_is_refused(computed: TestInstallation, arguments: list[str], message: str) -> None:
    with pytest.raises(SnapshotPipelineError, match=r"^[^\n]*$") as caught:
        run(*arguments)
    assert message in str(caught.value)
