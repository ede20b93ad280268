"""The commands that start runs (materialize, retry-failed, recommend, report), and their errors."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import click
import dagster as dg
import pandas as pd
import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, text

from snapshot_pipeline.cli import command
from snapshot_pipeline.pipeline.periods import (
    PeriodError,
    last_closed_day,
    last_closed_week,
    require_closed_days,
    require_closed_week,
)
from snapshot_pipeline.recommendations import WeekFacts, recommend
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline_tests.commands import run_command
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.pipeline.installations import raising_for, students_started_before


def run(*arguments: str) -> str:
    """Run a command that succeeds; return its output."""
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def run_with_problems(*arguments: str) -> str:
    """Run a command that succeeds and finds a problem; return the line that names it."""
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 3, result.output
    return result.output.splitlines()[-1]


def refused(*arguments: str) -> str:
    """Run a command that is refused; return its error, one line."""
    with pytest.raises(Exception, match=r".") as error:
        CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_days_and_a_week_are_computed_printed_and_recorded_in_dagster(installation: TestInstallation) -> None:
    output = run("materialize", "--from", "2026-01-30", "--to", "2026-02-15")
    assert "Sun 2026-02-15" in output
    assert "100.00%" in output
    assert re.search(r"week of 2026-02-09 +active\nCONTINUE_LEARNING", run("recommend", "--week", "2026-02-09"))
    older_week = run("recommend", "--week", "2026-02-02")
    assert re.search(r"week of 2026-02-02 +not active: a newer week is shown\nCONTINUE_LEARNING +\d+", older_week)
    days = installation.instance.get_materialized_partitions(dg.AssetKey("performance_snapshots"))
    assert {"2026-01-30", "2026-02-15"} <= set(days)
    weeks = installation.instance.get_materialized_partitions(dg.AssetKey("adaptive_recommendations"))
    assert weeks == {"2026-02-02", "2026-02-09"}
    assert max(map(len, output.splitlines())) <= 80


def test_a_weeks_report_is_written_and_opened_in_the_browser(installation: TestInstallation, tmp_path: Path) -> None:
    run("materialize", "--from", "2026-02-09", "--to", "2026-02-15")
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s" "$1" > "{tmp_path}/opened"\n')
    browser.chmod(0o755)
    result = run_command(
        ["report", "--week", "2026-02-09", "--open"], {**installation.environment, "BROWSER": str(browser)}
    )
    assert result.returncode == 0, result.stderr
    page = installation.settings.home / "reports" / "2026-02-09.html"
    assert result.stdout == f"{page}\n"
    assert "Week of 9 Feb 2026 to 15 Feb 2026" in page.read_text(encoding="utf-8")
    assert (tmp_path / "opened").read_text() == page.as_uri()


def test_an_impossible_report_is_refused_with_one_line(installation: TestInstallation) -> None:
    assert "is a Tuesday" in refused("report", "--week", "2026-02-10")
    assert "none of the days 2026-01-05 to 2026-01-11 was summarized" in refused("report", "--week", "2026-01-05")


def test_status_shows_missing_days_and_the_newest_week(installation: TestInstallation) -> None:
    run("materialize", "--from", "2026-02-09", "--to", "2026-02-15")
    run("recommend", "--week", "2026-02-09")
    status = CliRunner().invoke(command, ["status", "--days", "3"], catch_exceptions=False)
    assert status.exit_code == 3
    # The sample ended long ago. In the first hour of a day, the day before is not due yet.
    states = re.findall(r"^\w{3} [-\d]{10} +(missing|not yet)$", status.output, re.MULTILINE)
    assert states in (["missing"] * 3, ["missing", "missing", "not yet"])
    assert status.output.startswith(f"Problems: {states.count('missing')} days missing.\n")
    assert "week of 2026-02-09" in status.output


def test_a_failed_run_is_one_line_with_a_remediation(installation: TestInstallation) -> None:
    line = refused("recommend", "--week", "2026-01-12")
    assert "no snapshots for its Sunday, 2026-01-18" in line
    assert "snapshot-pipeline materialize --from 2026-01-18" in line


@pytest.fixture
def few_students(installation: TestInstallation) -> Iterator[None]:
    """Only 20 students are active, because isolating one that fails takes some tenths of a second."""
    engine = create_engine(installation.url)
    others = "SELECT id FROM users WHERE is_active ORDER BY id OFFSET 20"
    update = "UPDATE users SET is_active = :is_active WHERE id = ANY(:ids)"
    with engine.begin() as connection:
        ids = list(connection.execute(text(others)).scalars())
        connection.execute(text(update), {"is_active": False, "ids": ids})
    yield
    with engine.begin() as connection:
        connection.execute(text(update), {"is_active": True, "ids": ids})
    engine.dispose()


@pytest.mark.usefixtures("few_students")
def test_a_day_in_which_many_students_fail_is_status_3(installation: TestInstallation) -> None:
    with raising_for(students_started_before(installation.url, date(2026, 2, 1), 10)):
        line = run_with_problems("materialize", "--from", "2026-02-17", "--to", "2026-02-18")
    assert line == "Problems: 2 days with too few students published."
    assert run("retry-failed", "--from", "2026-02-17", "--to", "2026-02-18")


def test_missing_days_are_those_that_status_calls_missing(installation: TestInstallation) -> None:
    run("materialize", "--from", "2026-01-20", "--to", "2026-01-20")
    output = run("materialize", "--missing", "--from", "2026-01-19", "--to", "2026-01-21")
    assert re.findall(r"^\w{3} (2026-\d\d-\d\d)", output, re.MULTILINE) == ["2026-01-19", "2026-01-21"]
    again = run("materialize", "--missing", "--from", "2026-01-19", "--to", "2026-01-21")
    assert again == "No day from 2026-01-19 to 2026-01-21 is missing; nothing to do.\n"


def test_days_without_a_bound_are_refused(installation: TestInstallation) -> None:
    result = CliRunner().invoke(command, ["materialize", "--from", "2026-02-01"])
    assert result.exit_code == 2
    assert "Missing option '--to'; expected both --from and --to, or --missing" in result.output


@pytest.mark.usefixtures("few_students")
@pytest.mark.parametrize("share", [1.0, 0.05], ids=["all", "one"])
def test_a_week_says_how_many_students_failed(
    installation: TestInstallation, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    run("materialize", "--from", "2026-02-15", "--to", "2026-02-15")
    run("recommend", "--week", "2026-02-09")
    before = active(installation)
    failed = students_started_before(installation.url, date(2026, 2, 1), 1)

    def raising(facts: WeekFacts) -> pd.DataFrame:
        if share == 1 or facts.students["user_id"].isin(failed).any():
            raise ValueError("injected")
        return recommend(facts)

    monkeypatch.setattr("snapshot_pipeline.pipeline.recommendations.recommend", raising)
    if share == 1:
        line = run_with_problems("recommend", "--week", "2026-02-09")
        assert re.fullmatch(
            r"Problems: week of 2026-02-09: 0 of (\d+) students computed \(0 %, at least 90 % expected\); \1 failed\.",
            line,
        )
    else:
        line = run("recommend", "--week", "2026-02-09").splitlines()[-1]
        assert re.fullmatch(r"week of 2026-02-09: \d+ of \d+ students computed \(.*\); 1 failed\.", line)
    assert active(installation) == before  # all students keep what they had


def active(installation: TestInstallation) -> list[tuple[int, str]]:
    engine = create_engine(installation.url)
    query = "SELECT user_id, recommendation_type FROM adaptive_recommendations WHERE is_active ORDER BY 1, 2"
    with engine.connect() as connection:
        rows = [(user_id, kind) for user_id, kind in connection.execute(text(query))]
    engine.dispose()
    return rows


def test_failures_and_issues_of_a_day_are_recorded(installation: TestInstallation) -> None:
    with raising_for(students_started_before(installation.url, date(2026, 2, 1), 3)):
        run("materialize", "--from", "2026-02-27", "--to", "2026-02-28")
    engine = create_engine(installation.url)
    with engine.connect() as connection:
        reasons = connection.execute(text("SELECT DISTINCT reason FROM snapshot_failures")).scalars().all()
        failed, with_issues = connection.execute(
            text("SELECT failed, students_with_issues FROM snapshot_days WHERE snapshot_date = '2026-02-28'")
        ).one()
    engine.dispose()
    assert reasons == ["unexpected_error"]
    assert failed == 3
    assert with_issues > 0


@pytest.mark.usefixtures("few_students")
def test_retry_failed_computes_only_failures_and_lists_what_is_still_open(installation: TestInstallation) -> None:
    first, *others = students_started_before(installation.url, date(2026, 2, 1), 3)
    with raising_for([first, *others]):
        run_with_problems("materialize", "--from", "2026-02-27", "--to", "2026-02-28")
    engine = create_engine(installation.url)
    with raising_for([first]):
        output = run("retry-failed", "--from", "2026-02-28")
    assert "2026-02-27" not in output.split("first seen")[0]
    assert "unexpected_error" in output
    header, *lines = output[output.index("open failures") :].splitlines()
    assert header.split() == ["open", "failures", "student-days", "first", "seen", "attempts"]
    assert all(int(line.split()[-1]) >= 2 for line in lines if line)
    assert max(map(len, output.splitlines())) <= 80
    with engine.connect() as connection:
        reasons = connection.execute(text("SELECT DISTINCT reason FROM snapshot_restatements")).scalars().all()
    engine.dispose()
    assert set(reasons) <= {"command line", "retry"}
    assert "nothing to do" in run("retry-failed", "--from", "2026-01-01", "--to", "2026-01-02")
    assert "--from 2026-02-02 is after --to 2026-02-01" in refused(
        "retry-failed", "--from", "2026-02-02", "--to", "2026-02-01"
    )


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("2026-02-02", "2026-02-01", "--from 2026-02-02 is after --to 2026-02-01"),
        ("2026-02-01", "2999-01-01", "--to 2999-01-01 has not ended yet in UTC; expected "),
        ("2025-12-31", "2026-01-01", "--from 2025-12-31 is before SNAPSHOT_START_DATE=2026-01-01"),
    ],
)
def test_days_that_cannot_be_computed_are_refused(first: str, last: str, message: str) -> None:
    settings = load_settings(start_date=date(2026, 1, 1))
    with pytest.raises(PeriodError, match=r"^[^\n]*$") as error:
        require_closed_days(settings, date.fromisoformat(first), date.fromisoformat(last))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("week", "message"),
    [
        ("2026-02-10", "--week 2026-02-10 is a Tuesday; expected the Monday of the week, 2026-02-09"),
        ("2998-12-31", "--week 2998-12-31 has not ended yet"),
        ("2025-12-29", "--week 2025-12-29 is before SNAPSHOT_START_DATE=2026-01-01"),
    ],
)
def test_weeks_that_cannot_be_computed_are_refused(week: str, message: str) -> None:
    settings = load_settings(start_date=date(2026, 1, 1))
    with pytest.raises(PeriodError, match=r"^[^\n]*$") as error:
        require_closed_week(settings, date.fromisoformat(week))
    assert message in str(error.value)


@pytest.mark.clock
def test_the_last_closed_week_is_a_monday_whose_sunday_has_ended() -> None:
    settings = load_settings()
    week = last_closed_week(settings)
    assert week.weekday() == 0
    assert week + timedelta(days=6) <= last_closed_day(settings) < week + timedelta(days=13)


@pytest.mark.clock
def test_an_error_is_one_line_on_stderr_and_exit_status_1(installation: TestInstallation) -> None:
    tomorrow = (datetime.now(installation.settings.zone) + timedelta(days=1)).date()
    arguments = [sys.executable, "-m", "snapshot_pipeline.cli", "materialize", "--from", str(tomorrow)]
    result = subprocess.run(
        [*arguments, "--to", str(tomorrow)], env=installation.environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: --to {tomorrow} has not ended yet")
    assert len(result.stderr.splitlines()) == 1


def test_an_invalid_date_is_refused_with_its_option(installation: TestInstallation) -> None:
    result = CliRunner().invoke(command, ["materialize", "--from", "2026-02-30", "--to", "2026-03-01"])
    assert result.exit_code == 2
    assert "Invalid value for '--from': '2026-02-30' is not a date; expected YYYY-MM-DD" in result.output


def test_every_help_has_an_example() -> None:
    listing = run("--help")
    context = click.Context(command)
    for name in command.list_commands(context):
        assert name in listing
        assert "Example:" in run(name, "--help")


@pytest.mark.usefixtures("few_students")
def test_a_run_of_a_command_belongs_to_its_job_and_says_what_it_achieved(installation: TestInstallation) -> None:
    run("materialize", "--from", "2026-02-14", "--to", "2026-02-15")
    # The UI's timeline and the page of a job ask for the runs of the repository, by this tag.
    of_job = dg.RunsFilter(
        job_name="daily_snapshots_job", tags={".dagster/repository": "__repository__@snapshot_pipeline"}
    )
    recorded = installation.instance.get_runs(of_job)[0]
    assert recorded.remote_job_origin is not None
    shown = {name: value for name, value in recorded.tags.items() if not name.startswith((".dagster/", "dagster/"))}
    assert shown == {
        "snapshot_pipeline/days": "2026-02-14 to 2026-02-15",
        "snapshot_pipeline/reason": "command line",
    }
    messages = [log.user_message for log in installation.instance.all_logs(recorded.run_id) if not log.is_dagster_event]
    assert re.fullmatch(
        r"2026-02-14 to 2026-02-15: 2 days summarized, [\d,]+ student-days published, 0 failed, \d+ with invalid rows, "
        r"[\d,]+ earlier figures? changed, [\d,]+ summary rows? written, in [\d.]+ s",
        messages[-1],
    )
    assert any(
        re.fullmatch(
            r"2026-02-14 to .*, [\d,]+ student-days published, 0 failed, .* earlier figures? changed, in [\d.]+ s",
            message,
        )
        for message in messages
    )
