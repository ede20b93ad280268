"""`snapshot-pipeline status` for a monitoring script: the exit status and the JSON document."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from dagster._daemon.controller import get_daemon_statuses
from dagster._daemon.types import DaemonHeartbeat
from sqlalchemy import create_engine, delete, insert, update

from snapshot_pipeline.cli import command
from snapshot_pipeline.pipeline.periods import last_closed_day
from snapshot_pipeline.store.tables import StoreTables
from snapshot_pipeline_tests.commands import run_command
from snapshot_pipeline_tests.installation import TestInstallation

pytestmark = pytest.mark.clock

NOW = datetime(2026, 3, 1, 6, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def yesterday(installation: TestInstallation) -> date:
    """Yesterday, which has been computed; tests set it as the start date."""
    while datetime.now(timezone.utc).strftime("%H:%M") in ("23:57", "23:58", "23:59"):
        time.sleep(1)  # the day must not change while the tests of this file run
    day = last_closed_day(installation.settings)
    arguments = ["materialize", "--from", str(day), "--to", str(day)]
    done = CliRunner().invoke(command, arguments, env={"SNAPSHOT_START_DATE": str(day)}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return day


@dataclass(frozen=True)
class Done:
    """What `status` wrote, and its exit status."""

    returncode: int
    stdout: str
    stderr: str


def status(installation: TestInstallation, *options: str, **variables: str) -> Done:
    """Run `status` in this process, which takes a tenth of the time of its own."""
    done = CliRunner().invoke(command, ["status", *options], env=variables, catch_exceptions=False)
    return Done(done.exit_code, done.stdout, done.stderr)


def status_process(installation: TestInstallation, *options: str, **variables: str) -> Done:
    """Run `status` in a process of its own, with its exit status and both of its outputs."""
    environment = {**installation.environment, **variables}
    done = run_command(["status", *options], environment)
    return Done(done.returncode, done.stdout, done.stderr)


def document(
    installation: TestInstallation, expected_status: int, run: Callable[..., Done] = status, **variables: str
) -> dict[str, Any]:
    done = run(installation, "--json", **variables)
    assert (done.returncode, done.stderr) == (expected_status, ""), done.stdout
    read: dict[str, Any] = json.loads(done.stdout)
    assert read["ok"] is (expected_status == 0)
    assert bool(read["problems"]) is (expected_status != 0)
    return read


@pytest.fixture
def incident(installation: TestInstallation) -> Iterator[None]:
    engine, incidents = create_engine(installation.url), StoreTables.of("public").incidents
    columns = {"title": "a title", "detail": "a detail", "opened_at": NOW, "notified_at": NOW}
    with engine.begin() as connection:
        connection.execute(insert(incidents).values(kind="missing_day", subject="2026-02-28", **columns))
    yield
    with engine.begin() as connection:
        connection.execute(delete(incidents))
    engine.dispose()


def test_no_problems_is_status_0(installation: TestInstallation, yesterday: date) -> None:
    found = document(installation, 0, status_process, SNAPSHOT_START_DATE=str(yesterday))
    (day,) = found.pop("days")
    assert found == {
        "ok": True,
        "problems": [],
        "first_day": str(yesterday),
        "last_day": str(yesterday),
        "timezone": "UTC",
        "min_success_rate": 0.9,
        "open_failures": found["open_failures"],
        "newest_week": None,
        "incidents": [],
        "channels": [],
        "channel_problems": [],
        "daemon": {"state": "never started", "heartbeat_at": None, "age_seconds": None},
        "warnings": [],
    }
    assert day == {
        "day": str(yesterday),
        "state": "ok",
        "students": day["published"] + day["failed"],
        "published": day["published"],
        "failed": day["failed"],
        "success_rate": day["published"] / day["students"],
        "students_with_issues": day["students_with_issues"],
        "mean_pace": day["mean_pace"],
    }
    assert 0 < day["published"] == day["students"]
    assert 0 < day["mean_pace"] < 100
    assert sum(failure["student_days"] for failure in found["open_failures"]) == day["failed"]
    for failure in found["open_failures"]:
        assert set(failure) == {"reason", "student_days", "first_seen", "attempts"}
        assert datetime.fromisoformat(failure["first_seen"]).tzinfo is not None
    assert status_process(installation, SNAPSHOT_START_DATE=str(yesterday)).stdout.startswith("No problems.\n")


def test_a_missing_day_is_status_3_and_has_all_keys(installation: TestInstallation, yesterday: date) -> None:
    found = document(installation, 3)
    assert found["problems"] == ["13 days missing"]
    assert len(found["days"]) == 14
    missing = {
        name: None for name in ("students", "published", "failed", "success_rate", "students_with_issues", "mean_pace")
    }
    assert found["days"][0] == {"day": found["first_day"], "state": "missing", **missing}
    assert status(installation).stdout.startswith("Problems: 13 days missing.\n")


@pytest.mark.parametrize(
    ("column", "state", "problem"),
    [
        ("failed", "too few", "1 day with too few students published"),
        ("students_with_issues", "invalid", "1 day with many invalid rows"),
    ],
)
def test_a_day_below_a_limit_is_status_3(
    installation: TestInstallation, yesterday: date, column: str, state: str, problem: str
) -> None:
    engine = create_engine(installation.url)
    days = StoreTables.of("public").snapshot_days
    with engine.begin() as connection:
        connection.execute(update(days).values({column: days.c.published}))
    found = document(installation, 3, SNAPSHOT_START_DATE=str(yesterday))
    with engine.begin() as connection:
        connection.execute(update(days).values({column: 0}))
    engine.dispose()
    assert found["problems"] == [problem]
    assert found["days"][0]["state"] == state


@pytest.mark.usefixtures("incident")
def test_an_open_incident_is_status_3(installation: TestInstallation, yesterday: date) -> None:
    found = document(installation, 3, SNAPSHOT_START_DATE=str(yesterday), SNAPSHOT_TIMEZONE="UTC")
    assert found["problems"] == ["1 open incident"]
    (listed,) = found["incidents"]
    assert listed == {
        "id": listed["id"],
        "kind": "missing_day",
        "subject": "2026-02-28",
        "title": "a title",
        "detail": "a detail",
        "command": "",
        "days": {},
        "run_id": None,
        "opened_at": "2026-03-01T06:00:00+00:00",
    }


def test_days_computed_with_another_setting_are_a_warning(installation: TestInstallation, yesterday: date) -> None:
    found = document(installation, 0, SNAPSHOT_START_DATE=str(yesterday), SNAPSHOT_SCORE_MAXIMUM="20")
    assert found["warnings"] == [
        f"{yesterday} was computed with SNAPSHOT_SCORE_MAXIMUM=100, not with SNAPSHOT_SCORE_MAXIMUM=20: "
        f"`snapshot-pipeline materialize --from {yesterday} --to {yesterday}`"
    ]


def test_an_invalid_channel_is_status_3_and_stderr_stays_empty(installation: TestInstallation, yesterday: date) -> None:
    variables = {"SNAPSHOT_START_DATE": str(yesterday), "SNAPSHOT_ALERT_URLS": "nonsense://x json://[::"}
    found = document(installation, 3, status_process, **variables)
    assert len(found["channel_problems"]) == 2
    assert found["problems"] == ["2 invalid channel URLs"]


def test_an_unreachable_database_is_status_1_without_a_document(installation: TestInstallation) -> None:
    done = status_process(installation, "--json", SNAPSHOT_DATABASE_URL="postgresql://nobody:x@127.0.0.1:1/none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_help_explains_the_exit_status_and_every_key(installation: TestInstallation) -> None:
    help_text = status(installation, "--help").stdout
    for number in (0, 1, 3):
        assert f"\n    {number}  " in help_text
    found = document(installation, 3)
    for key in (*found, *found["days"][0]):
        assert key in help_text, key


DAEMON_TYPES = ("SCHEDULER", "SENSOR", "BACKFILL")


@pytest.fixture
def heartbeats(installation: TestInstallation) -> Iterator[Callable[[float], None]]:
    """Store heartbeats of a given age in seconds, as Dagster's daemon does; forget them at the end."""

    def store(age: float) -> None:
        for daemon_type in DAEMON_TYPES:
            installation.instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - age, daemon_type, "a-daemon"))

    yield store
    installation.instance.wipe_daemon_heartbeats()


def test_a_dead_daemon_is_a_problem_with_the_age_of_its_heartbeat(
    installation: TestInstallation, yesterday: date, heartbeats: Callable[[float], None]
) -> None:
    heartbeats(420)
    found = document(installation, 3, SNAPSHOT_START_DATE=str(yesterday))
    assert found["problems"] == ["daemon dead for 7 minutes"]
    assert found["daemon"]["state"] == "dead"
    assert 420 <= found["daemon"]["age_seconds"] < 500
    printed = status(installation, SNAPSHOT_START_DATE=str(yesterday)).stdout
    assert "\nDaemon: dead; last heartbeat 7 minutes ago: start `dagster-daemon run`" in printed
    # Dagster's own probe tolerates half an hour, unless it is set otherwise (docs/operations.md).
    assert all_daemons_live_for(installation, 1800)
    assert not all_daemons_live_for(installation, 90)


def all_daemons_live_for(installation: TestInstallation, tolerance: float) -> bool:
    return all(
        status.healthy
        for status in get_daemon_statuses(
            installation.instance, DAEMON_TYPES, ignore_errors=True, heartbeat_tolerance_seconds=tolerance
        ).values()
    )


def test_a_living_daemon_is_reported_and_no_problem(
    installation: TestInstallation, yesterday: date, heartbeats: Callable[[float], None]
) -> None:
    heartbeats(20)
    assert document(installation, 0, SNAPSHOT_START_DATE=str(yesterday))["daemon"]["state"] == "alive"


def test_a_dagster_database_that_cannot_be_read_is_a_problem(installation: TestInstallation, yesterday: date) -> None:
    missing = installation.dagster_url.set(database="missing").render_as_string(hide_password=False)
    variables = {"SNAPSHOT_START_DATE": str(yesterday), "SNAPSHOT_DAGSTER_DATABASE_URL": missing}
    found = document(installation, 3, status_process, **variables)
    assert (found["problems"], found["daemon"]["state"]) == (["Dagster's database cannot be read"], "unknown")


def test_the_second_line_says_which_database_and_which_dotenv_files_are_used(
    installation: TestInstallation, yesterday: date, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"SNAPSHOT_START_DATE={yesterday}\n")
    environment = {**installation.environment, "DAGSTER_HOME": str(tmp_path)}
    del environment["SNAPSHOT_START_DATE"]
    done = run_command(["status"], environment)
    assert done.returncode == 0, done.stderr
    _, second, *_ = done.stdout.splitlines()
    assert second.startswith("Database: postgresql://snapshot:***@")
    assert second.endswith(f"; settings from the environment and {tmp_path / '.env'}.")
