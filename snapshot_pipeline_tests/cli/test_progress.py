"""Progress of a command: on a terminal, in a pipe, and when Ctrl-C is pressed."""

from __future__ import annotations

import io
import re
import time
from datetime import date, timedelta

import dagster as dg
import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from snapshot_pipeline.cli import command
from snapshot_pipeline.cli.progress import ProgressUpdate, Speed, _LineDisplay
from snapshot_pipeline.store.migrate import migrate
from snapshot_pipeline_tests.cli.terminals import Terminal
from snapshot_pipeline_tests.commands import run_command
from snapshot_pipeline_tests.installation import TestInstallation
from snapshot_pipeline_tests.pipeline.installations import raising_for, students_started_before

DAYS = ["materialize", "--from", "2026-02-01", "--to", "2026-02-10"]
SMALL = {"SNAPSHOT_BATCH_ROWS": "1000", "SNAPSHOT_DAYS_PER_RUN": "5"}
ESCAPE, HIDDEN_CURSOR = "\x1b", "\x1b[?25l"
COLOR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-9]|9[0-7])(?:;\d+)*m")


@pytest.fixture(scope="module", autouse=True)
def _our_tables(installation: TestInstallation) -> None:
    migrate(create_engine(installation.url, poolclass=NullPool), "public")


def test_a_terminal_shows_a_bar_with_parts_speed_and_time_left(installation: TestInstallation):
    with Terminal(["snapshot-pipeline", *DAYS], {**installation.environment, **SMALL}) as terminal:
        assert terminal.wait() == 0, terminal.output
    assert "starting Dagster" in terminal.output
    bar = re.search(
        r"2026-02-0[16] to 2026-02-[01][05] \S+ \d+/\d+ batches [\d,]+ rows/s \d:\d\d:\d\d left", terminal.text
    )
    assert bar, terminal.text
    assert HIDDEN_CURSOR not in terminal.output
    assert len(bar.group()) <= 80
    # Only the result remains: the bar is erased.
    assert "batches" not in terminal.screen()
    assert "Tue 2026-02-10" in terminal.screen()


def test_a_file_gets_a_few_plain_lines_on_stderr_and_a_clean_result(installation: TestInstallation):
    done = run_command(DAYS, {**installation.environment, **SMALL})
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    first, second = "2026-02-01 to 2026-02-05", "2026-02-06 to 2026-02-10"
    assert [line for line in lines if ": " not in line] == [first, second]
    *_, published, summarized = lines
    elapsed = r"[\d,]+ rows/s, \d:\d\d:\d\d elapsed"
    assert re.fullmatch(rf"{second}: (\d+)/\1 batches, {elapsed}", published)
    assert re.fullmatch(rf"{second}: (\d+)/\1 chunks of days, {elapsed}", summarized)
    assert [line.split()[1] for line in done.stdout.splitlines()[1:]] == [f"2026-02-{day:02}" for day in range(1, 11)]
    assert ESCAPE not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def days_with_failures(installation: TestInstallation) -> None:
    days = ["materialize", "--from", "2026-02-07", "--to", "2026-02-28"]
    with raising_for(students_started_before(installation.url, date(2026, 2, 1), 3)):
        CliRunner().invoke(command, days, catch_exceptions=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ["recommend", "--week", "2026-02-02"],
        ["retry-failed", "--from", "2026-02-27", "--to", "2026-02-28"],
    ],
)
@pytest.mark.usefixtures("days_with_failures")
def test_other_runs_show_their_progress_too(installation: TestInstallation, arguments: list[str]):
    done = run_command(arguments, installation.environment)
    assert done.returncode == 0, done.stderr
    assert re.search(r": (\d+)/\1 (batches|failures|chunks of days), [\d,]+ rows/s, ", done.stderr.splitlines()[-1])


def test_no_color_keeps_the_bar_without_colors(installation: TestInstallation):
    with Terminal(["snapshot-pipeline", "status"], {**installation.environment, "NO_COLOR": "1"}) as terminal:
        assert terminal.wait() == 3
    assert "missing" in terminal.output
    assert not COLOR.search(terminal.output)
    with Terminal(["snapshot-pipeline", *DAYS], {**installation.environment, **SMALL, "NO_COLOR": "1"}) as terminal:
        assert terminal.wait() == 0
    assert "batches" in terminal.output
    assert not COLOR.search(terminal.output)


@pytest.mark.clock
def test_problems_are_red_on_a_terminal_with_colors(installation: TestInstallation):
    with Terminal(["snapshot-pipeline", "status"], installation.environment) as terminal:
        assert terminal.wait() == 3
    assert re.search(r"\x1b\[31m\w{3} \d{4}-\d\d-\d\d", terminal.output)
    assert re.search(r"\x1b\[31mProblems: 1[34] days missing\.", terminal.output)  # yesterday may not be due yet


def test_a_dumb_terminal_gets_lines_instead_of_a_bar(installation: TestInstallation):
    with Terminal(["snapshot-pipeline", *DAYS], {**installation.environment, "TERM": "dumb"}) as terminal:
        assert terminal.wait() == 0
    assert ESCAPE not in terminal.output
    assert "batches" in terminal.output


def test_ctrl_c_restores_the_terminal_and_cancels_the_run(installation: TestInstallation):
    slow = {"SNAPSHOT_BATCH_ROWS": "100", "SNAPSHOT_WORKERS": "1"}
    days = ["materialize", "--from", "2026-01-05", "--to", "2026-02-20"]
    with Terminal(["snapshot-pipeline", *days], {**installation.environment, **slow}) as terminal:
        terminal.wait_for(r" [1-9]\d*/\d+ batches", 60)
        terminal.type("\x03")
        assert terminal.wait() == 130
    assert HIDDEN_CURSOR not in terminal.output
    assert [line.removeprefix("^C") for line in terminal.screen().splitlines() if line.strip()] == ["interrupted"]
    (run,) = installation.instance.get_runs(limit=1)
    assert run.status is dg.DagsterRunStatus.CANCELED, "a failed run would open an incident"
    # The days are not locked any more.
    again = run_command(["materialize", "--from", "2026-01-05", "--to", "2026-01-05"], installation.environment)
    assert again.returncode == 0, again.stderr


def test_a_thousand_batches_are_two_lines():
    log = io.StringIO()
    show = _LineDisplay(log, "starting")
    for done in range(1001):
        show(ProgressUpdate("days", done, 1000, "rows", f"{done}/1000 batches"))
    show(ProgressUpdate("days", 1000, 1000, "rows", "1000/1000 batches"))
    first, last = log.getvalue().splitlines()
    assert first == "days"
    assert last.startswith("days: 1000/1000 batches, ")


@pytest.mark.parametrize(
    ("update", "speed", "left"),
    [
        (ProgressUpdate("days", 0, 100), "", None),
        (ProgressUpdate("days", 25, 100), "2 rows/s", timedelta(seconds=30)),
        (ProgressUpdate("days", 100, 100), "10 rows/s", None),
        (ProgressUpdate("files", 5_000_000, 20_000_000, "bytes"), "500.0 kB/s", timedelta(seconds=30)),
        (ProgressUpdate("keys and indexes"), "", None),
    ],
)
def test_speed_and_time_left_are_averages(update: ProgressUpdate, speed: str, left: timedelta | None):
    average = Speed(update, start=100.0, seconds=10.0)
    assert (average.text, average.time_left(110.0)) == (speed, left)


def test_the_time_left_decreases_between_updates():
    speed = Speed(ProgressUpdate("days", 50, 100), start=100.0, seconds=10.0)
    assert speed.time_left(114.0) == timedelta(seconds=6)
    assert speed.time_left(190.0) == timedelta(0)


def test_another_task_or_a_restarted_one_starts_anew():
    speed = Speed(ProgressUpdate("writing students", 100, 200, "students"), start=time.monotonic() - 60, seconds=60)
    assert speed.after(ProgressUpdate("writing students", 150, 200, "students")).seconds >= 60
    assert speed.after(ProgressUpdate("writing students", 0, 200, "students")).seconds < 1, "restarted"
    assert speed.after(ProgressUpdate("building keys and indexes")).seconds < 1


def test_the_speed_of_a_second_run_excludes_the_first():
    second = Speed(ProgressUpdate("first run", 1_000, 2_000)).after(ProgressUpdate("second run", 1_000, 2_000))
    half = Speed(
        ProgressUpdate("second run", 1_500, 2_000), start=100.0, seconds=10.0, done_at_start=second.done_at_start
    )
    assert (half.text, half.time_left(110.0)) == ("50 rows/s", timedelta(seconds=10))
