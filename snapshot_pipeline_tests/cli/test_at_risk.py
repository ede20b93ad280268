"""`snapshot-pipeline at-risk`: the table, the filters, the CSV file and the JSON document; `student` of one listed."""

from __future__ import annotations

import csv
import io
import json
import re
import stat
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from snapshot_pipeline.cli import command
from snapshot_pipeline.cli.tables import student_id
from snapshot_pipeline.pipeline.student_lists import NoListError
from snapshot_pipeline_tests.installation import PROJECT, TestInstallation
from snapshot_pipeline_tests.orchestration.test_materializing import run_days, run_week
from snapshot_pipeline_tests.pipeline.installations import execute

HOSTILE = '=cmd|"/C calc"!A0 <script>alert(1)</script> [red]\x1b[31m\nline'


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


@pytest.fixture(scope="module")
def computed(installation: TestInstallation) -> TestInstallation:
    """A week with listed students, a quiz title and a specialization of a hostile author."""
    quoted = HOSTILE.replace("'", "''")
    execute(
        installation.url,
        f"UPDATE quizzes SET title = E'{quoted}'",  # noqa: S608
        "UPDATE users SET current_specialization = '=web' WHERE current_specialization = "
        "(SELECT min(current_specialization) FROM users)",
        "UPDATE lessons SET specialization_id = '=web' WHERE specialization_id = "
        "(SELECT min(specialization_id) FROM lessons)",
    )
    assert run_days(installation, date(2026, 2, 22), date(2026, 2, 22)).success
    assert run_week(installation, "2026-02-16").success
    return installation


def document(*arguments: str) -> dict:
    result = run("at-risk", "--json", *arguments)
    assert result.exit_code == 0
    return json.loads(result.output)


def test_the_table_has_every_student_with_reasons_and_no_control_characters(computed: TestInstallation) -> None:
    students = document()["students"]
    result = run("at-risk")
    assert f"Students at risk, week of 2026-02-16: {len(students)} of " in result.output
    for student in students:
        assert re.search(rf"^ *{student['user_id']} +{student['state'].replace('_', ' ')}", result.output, re.MULTILINE)
    assert "\x1b" not in result.output
    assert "<script>" in result.output.replace("\n", "")  # the title is shown, as text


def test_json_has_documented_keys_and_filters_narrow_the_list(computed: TestInstallation) -> None:
    everyone = document("--week", "2026-02-16")
    page = (PROJECT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = page.split("## Students at risk as JSON and CSV")[1].split("\n## ")[0]
    keys = {*everyone, *(key for student in everyone["students"] for key in student), "code", "text"}
    assert keys <= set(re.findall(r"`(\w+)`", section))
    assert {student["state"] for student in everyone["students"]} >= {"listed", "dormant"}
    assert all(student["link"] is None for student in everyone["students"])
    web = document("--specialization", "=web")["students"]
    assert 0 < len(web) < len(everyone["students"])
    assert web == [student for student in everyone["students"] if student["specialization"] == "=web"]
    level = web[0]["level"]
    assert document("--specialization", "=web", "--level", level)["students"] == [
        student for student in web if student["level"] == level
    ]
    assert document("--level", "nowhere")["students"] == []


def test_csv_file_is_private_and_has_no_formulas(
    computed: TestInstallation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SNAPSHOT_STUDENT_URL", "https://lms.example.org/user/{user_id}")
    file = tmp_path / "students.csv"
    result = run("at-risk", "--csv", str(file))
    assert result.output == f"{len(document()['students'])} students at risk in {file}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes().startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines()))
    for row, student in zip(rows, document()["students"], strict=True):
        assert row["user_id"] == str(student["user_id"])
        assert row["link"] == f"https://lms.example.org/user/{student['user_id']}"
        assert row["reasons"].split() == [reason["code"] for reason in student["reasons"]]
        assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in row.values())
    assert {row["specialization"] for row in rows} & {"'=web"}
    assert result.exit_code == 0


def test_ids_are_links_in_a_terminal_if_an_address_is_set() -> None:
    terminal = Console(force_terminal=True, file=io.StringIO())
    terminal.print(student_id(4711, "https://lms.example.org/user/{user_id}"))
    terminal.print(student_id(4712, None))
    linked, plain = terminal.file.getvalue().splitlines()
    assert "\x1b]8;" in linked
    assert "https://lms.example.org/user/4711" in linked
    assert plain == "4712"


def test_a_week_that_was_not_computed_is_refused(computed: TestInstallation) -> None:
    with pytest.raises(NoListError, match=r"week of 2026-02-09 were not computed; see `snapshot-pipeline recommend"):
        run("at-risk", "--week", "2026-02-09")


def test_student_shows_the_score_its_components_the_reasons_and_recommendations(computed: TestInstallation) -> None:
    listed = next(student for student in document()["students"] if student["state"] == "listed")
    arguments = ("student", str(listed["user_id"]), "--day", "2026-02-22")
    result = run(*arguments)
    assert f"Engagement score of 2026-02-22, as published: {listed['score']:.2f}, risk: high" in result.output
    assert "At risk in the week of 2026-02-16: listed since the week of 2026-02-16" in result.output
    assert "Weeks at risk, of those computed in the last 26: 1" in result.output
    assert "Recommendations that the student sees" in result.output
    assert [line for line in result.output.splitlines() if len(line) > 80] == []
    assert "\x1b" not in result.output
    report = json.loads(run(*arguments, "--json").output)
    components = report["engagement"]["components"]
    assert 100 - sum(part["points_lost"] for part in components.values()) == pytest.approx(listed["score"], abs=0.01)
    assert [reason["code"] for reason in report["at_risk"][0]["reasons"]] == [
        reason["code"] for reason in listed["reasons"]
    ]
    assert report["recommendations"]
