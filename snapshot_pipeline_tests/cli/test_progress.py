"""How far a command is: seen on a real terminal, in a pipe, and when somebody presses Ctrl-C."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from datetime import timedelta

import dagster as dg
import pytest

from snapshot_pipeline.cli.progress import At, Pace, _Lines
from snapshot_pipeline_tests.cli.terminals import Terminal
from snapshot_pipeline_tests.installation import TestInstallation

CLI = [sys.executable, "-m", "snapshot_pipeline.cli"]
DAYS = ["materialize", "--from", "2026-02-01", "--to", "2026-02-10"]
SMALL = {"SNAPSHOT_BATCH_ROWS": "400", "SNAPSHOT_DAYS_PER_RUN": "5"}
ESCAPE, HIDDEN_CURSOR = "\x1b", "\x1b[?25l"
COLOR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-9]|9[0-7])(?:;\d+)*m")


def test_on_a_terminal_a_bar_says_what_is_done_of_how_much_how_fast_and_what_is_left(installation: TestInstallation):
    with Terminal([*CLI, *DAYS], {**installation.environment, **SMALL}) as terminal:
        assert terminal.wait() == 0, terminal.seen
    assert "starting Dagster" in terminal.seen
    bar = re.search(
        r"2026-02-0[16] to 2026-02-[01][05] \S+ \d+/\d+ batches [\d,]+ rows/s \d:\d\d:\d\d left", terminal.text
    )
    assert bar, terminal.text
    assert HIDDEN_CURSOR not in terminal.seen
    assert len(bar.group()) <= 80
    # What remains is the result: the line of the bar is wiped out.
    assert "batches" not in terminal.screen()
    assert "Tue 2026-02-10" in terminal.screen()


def test_in_a_pipe_there_are_a_few_plain_lines_and_the_result_stays_clean(installation: TestInstallation):
    done = subprocess.run(
        [*CLI, *DAYS], env={**installation.environment, **SMALL}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    first, second, published, summarized = done.stderr.splitlines()
    assert (first, second) == ("2026-02-01 to 2026-02-05", "2026-02-06 to 2026-02-10")
    taken = r"[\d,]+ rows/s, \d:\d\d:\d\d taken"
    assert re.fullmatch(rf"{second}: (\d+)/\1 batches, {taken}", published)
    assert re.fullmatch(rf"{second}: (\d+)/\1 stretches, {taken}", summarized)
    assert [line.split()[1] for line in done.stdout.splitlines()[1:]] == [f"2026-02-{day:02}" for day in range(1, 11)]
    assert ESCAPE not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["recommend", "--week", "2026-02-02"],
        ["retry-failed", "--from", "2026-02-27", "--to", "2026-02-28"],
    ],
)
def test_the_other_runs_say_how_far_they_are_as_well(installation: TestInstallation, arguments: list[str]):
    days = ["materialize", "--from", "2026-02-07", "--to", "2026-02-28"]
    subprocess.run([*CLI, *days], env=installation.environment, check=True, capture_output=True)
    done = subprocess.run([*CLI, *arguments], env=installation.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r": (\d+)/\1 (batches|failures|stretches), [\d,]+ rows/s, ", done.stderr.splitlines()[-1])


def test_without_colors_there_is_a_bar_all_the_same(installation: TestInstallation):
    with Terminal([*CLI, "status"], {**installation.environment, "NO_COLOR": "1"}) as terminal:
        assert terminal.wait() == 3
    assert "missing" in terminal.seen
    assert not COLOR.search(terminal.seen)
    with Terminal([*CLI, *DAYS], {**installation.environment, **SMALL, "NO_COLOR": "1"}) as terminal:
        assert terminal.wait() == 0
    assert "batches" in terminal.seen
    assert not COLOR.search(terminal.seen)


def test_what_is_wrong_is_red_where_there_are_colors(installation: TestInstallation):
    with Terminal([*CLI, "status"], installation.environment) as terminal:
        assert terminal.wait() == 3
    assert re.search(r"\x1b\[31m\w{3} \d{4}-\d\d-\d\d", terminal.seen)
    assert "\x1b[31mNot well: 14 days are missing." in terminal.seen


def test_a_teletype_is_given_lines(installation: TestInstallation):
    with Terminal([*CLI, *DAYS], {**installation.environment, "TERM": "dumb"}) as terminal:
        assert terminal.wait() == 0
    assert ESCAPE not in terminal.seen
    assert "batches" in terminal.seen


def test_ctrl_c_leaves_the_terminal_as_it_was_and_the_run_canceled(installation: TestInstallation):
    slow = {"SNAPSHOT_BATCH_ROWS": "100", "SNAPSHOT_WORKERS": "1"}
    days = ["materialize", "--from", "2026-01-05", "--to", "2026-02-20"]
    with Terminal([*CLI, *days], {**installation.environment, **slow}) as terminal:
        terminal.wait_for(r" [1-9]\d*/\d+ batches", 60)
        terminal.type("\x03")
        assert terminal.wait() == 130
    assert HIDDEN_CURSOR not in terminal.seen
    assert [line.removeprefix("^C") for line in terminal.screen().splitlines() if line.strip()] == ["interrupted"]
    (run,) = installation.instance.get_runs(limit=1)
    assert run.status is dg.DagsterRunStatus.CANCELED, "a failed one would wake somebody"
    # The days are free again.
    again = subprocess.run([*CLI, "materialize", "--from", "2026-01-05", "--to", "2026-01-05"],
                           env=installation.environment, check=False, capture_output=True, text=True)  # fmt: skip
    assert again.returncode == 0, again.stderr


def test_a_thousand_batches_are_not_a_thousand_lines():
    log = io.StringIO()
    show = _Lines(log, "starting")
    for done in range(1001):
        show(At("days", done, 1000, "rows", f"{done}/1000 batches"))
    first, last = log.getvalue().splitlines()
    assert first == "days"
    assert last.startswith("days: 1000/1000 batches, ")


@pytest.mark.parametrize(
    ("at", "rate", "left"),
    [
        (At("days", 0, 100), "", None),
        (At("days", 25, 100), "2 rows/s", timedelta(seconds=30)),
        (At("days", 100, 100), "10 rows/s", None),
        (At("files", 5_000_000, 20_000_000, "bytes"), "500.0 kB/s", timedelta(seconds=30)),
        (At("keys and indexes"), "", None),
    ],
)
def test_the_rest_takes_as_long_as_what_is_done_did(at: At, rate: str, left: timedelta | None):
    pace = Pace(at, began=100.0, seconds=10.0)
    assert (pace.rate, pace.left(110.0)) == (rate, left)


def test_the_time_left_runs_down_between_two_batches():
    pace = Pace(At("days", 50, 100), began=100.0, seconds=10.0)
    assert pace.left(114.0) == timedelta(seconds=6)
    assert pace.left(190.0) == timedelta(0)


def test_what_comes_next_has_a_pace_of_its_own():
    pace = Pace(At("writing students", 100, 200, "students"), began=time.monotonic() - 60, seconds=60)
    assert pace.told(At("writing students", 150, 200, "students")).seconds >= 60
    assert pace.told(At("writing students", 0, 200, "students")).seconds < 1, "it is done again"
    assert pace.told(At("building keys and indexes")).seconds < 1


def test_a_second_run_is_as_fast_as_it_is_whatever_was_done_before_it():
    second = Pace(At("first run", 1_000, 2_000)).told(At("second run", 1_000, 2_000))
    half = Pace(At("second run", 1_500, 2_000), began=100.0, seconds=10.0, before=second.before)
    assert (half.rate, half.left(110.0)) == ("50 rows/s", timedelta(seconds=10))
