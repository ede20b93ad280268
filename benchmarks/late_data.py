"""What late data cost: `python -m benchmarks.late_data [STUDENTS]`.

Computes 56 days of sample students on a private server, changes lessons of the first days of a few students so that no
figure changes, and times the run that `late_data_sensor` launches against the computation of all 56 days of all
students with their summaries, each three times. Prints the medians and their ratio; takes a minute for 5,000 students.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

import click
from sqlalchemy import Engine, text

from benchmarks.command_line import run_command
from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline.pipeline.installation import Installation, open_installation
from snapshot_pipeline.pipeline.late_run import LateRun, compute_late_data
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.pipeline.summaries import summarize_days
from snapshot_pipeline.platform.sample import SampleOptions, load_sample
from snapshot_pipeline.settings import load_settings

DAYS = 56
REPETITIONS = 3
UNTIL = date(2026, 3, 1)
FIRST, LAST = UNTIL - timedelta(days=DAYS), UNTIL - timedelta(days=1)

# Moves the completion of a lesson by a microsecond, for so many active students: nothing is restated.
_CHANGE = text(
    """
    UPDATE user_lesson_progress AS p SET completed_at = completed_at + interval '1 microsecond'
      FROM (SELECT DISTINCT ON (user_id) user_id, lesson_id FROM user_lesson_progress JOIN users ON users.id = user_id
             WHERE is_active AND completed_at BETWEEN :start AND :until
             ORDER BY user_id, completed_at LIMIT :students) AS first
     WHERE p.user_id = first.user_id AND p.lesson_id = first.lesson_id
    """
)


@click.command()
@click.argument("students", type=int, default=5_000)
def command(students: int) -> None:
    """Time the computation of late data with STUDENTS sample students."""
    with tempfile.TemporaryDirectory(prefix="late_data-") as home:
        server = EmbeddedServer(Path(home))
        server.start()
        try:
            url = server.url("platform")
            load_sample(SampleOptions(students, DAYS + 60, 1, UNTIL, 0.0, ZoneInfo("UTC")), url, "public")
            settings = load_settings(
                home=Path(home),
                database_url=url.render_as_string(hide_password=False),
                timezone="UTC",
                start_date=FIRST,
            )
            with open_installation(settings) as installation:
                _measure(installation, students)
        finally:
            server.delete()


def _measure(installation: Installation, students: int) -> None:
    run_days(installation, FIRST, LAST, "first")
    computed = median(_seconds(lambda: run_days(installation, FIRST, LAST, "all students")) for _ in range(REPETITIONS))
    summarized = median(_seconds(lambda: summarize_days(installation, FIRST, LAST, "all")) for _ in range(REPETITIONS))
    whole = computed + summarized
    click.echo(f"all {DAYS} days of all students: {computed:.2f} s, and their summaries {summarized:.2f} s")
    for changed in (1, students // 100, students // 10, students // 2):
        runs = [_late(installation, changed) for _ in range(REPETITIONS)]
        seconds, last = median(run.seconds for run in runs), runs[-1]
        if last.reports:
            sys.exit(f"{len(last.reports)} days have changed, expected none")
        click.echo(
            f"{changed:,} changed students: {last.students:,} computed, {last.student_days:,} student-days, "
            f"{seconds:.2f} s, ratio {seconds / whole:.3f}"
        )


def _late(installation: Installation, students: int) -> LateRun:
    _change(installation.engine, students)
    return compute_late_data(installation, FIRST, "late")


def _change(engine: Engine, students: int) -> None:
    parameters = {"start": FIRST, "until": FIRST + timedelta(days=7), "students": students}
    with engine.begin() as connection:
        connection.execute(_CHANGE, parameters)


def _seconds(function: Callable[[], object]) -> float:
    started = time.monotonic()
    function()
    return time.monotonic() - started


if __name__ == "__main__":
    run_command(command)
