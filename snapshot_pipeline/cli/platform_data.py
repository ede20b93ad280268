"""Commands that fill a platform's tables: `load` from CSV files, `sample` with generated students."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from snapshot_pipeline.cli.terminal import DAY
from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:  # imported late: each command imports only what it needs
    from snapshot_pipeline.cli.progress import ShowProgress
    from snapshot_pipeline.platform.csv_files import CsvFile, ProgressListener
    from snapshot_pipeline.platform.sample import SampleOptions


@click.command(epilog="Example: snapshot-pipeline load exports/2025-06-01")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def load(directory: Path) -> None:
    """Load a platform from the CSV files in DIR.

    The tables are users, lessons, user_lesson_progress, quizzes, quiz_attempts and, optionally, exercise_submissions.
    Each is read from NAME.csv or NAME.csv.gz.

    Columns are found by name, in any order; unknown columns are ignored. Timestamps without an offset are in
    SNAPSHOT_NAIVE_TIMEZONE. All or nothing: an invalid value leaves the database unchanged. Tables that an earlier
    `load` or `sample` created are replaced, including their grants; any other table of the same name is refused.
    """
    from snapshot_pipeline.cli.progress import progress_display
    from snapshot_pipeline.platform.csv_files import find_csv_files, load_csv_files
    from snapshot_pipeline.postgres.engines import platform_url

    settings = load_settings()
    files = find_csv_files(directory)
    for file in files:
        if file.ignored:
            columns = ", ".join(name or "(no name)" for name in file.ignored)
            click.echo(f"{file.path.name}: ignored column{'' if len(file.ignored) == 1 else 's'}: {columns}")
    url = platform_url(settings)
    begin = time.monotonic()
    with progress_display("reading files") as show:
        rows = load_csv_files(files, url, settings.platform_schema, settings.naive_zone, _load_progress(files, show))
    _print_row_counts(rows)
    seconds = time.monotonic() - begin
    click.echo(f"Loaded into schema {settings.platform_schema} of database {url.database} in {seconds:.1f} s.")


def _load_progress(files: list[CsvFile], show: ShowProgress) -> ProgressListener:
    """Return a listener that shows how many bytes of all files together have been read."""
    from snapshot_pipeline.cli.progress import ProgressUpdate

    positions = {file.table_name: position for position, file in enumerate(files)}
    bytes_before = {file.table_name: sum(earlier.size for earlier in files[:n]) for n, file in enumerate(files)}
    size = sum(file.size for file in files)

    def update(table: str, done: int, total: int) -> None:
        detail = f"{table}, file {positions[table] + 1}/{len(files)}"
        show(ProgressUpdate("reading files", bytes_before[table] + done, size, "bytes", detail))
        if done == total and positions[table] == len(files) - 1:
            show(ProgressUpdate("building keys and indexes"))

    return update


@click.command(epilog="Example: snapshot-pipeline sample --students 10000 --days 120 --seed 7")
@click.option("--students", type=int, default=5_000, show_default=True, help="How many students to generate.")
@click.option("--days", type=int, default=60, show_default=True, help="How many days of activity to generate.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed generates the same students.")
@click.option("--until", type=DAY, help="End before this day.  [default: today in SNAPSHOT_TIMEZONE]")
@click.option(
    "--bad-rate",
    type=float,
    default=0.01,
    show_default=True,
    help="The share of students with an invalid or unusual row (extra credit, negative minutes, the year 1970, ...).",
)
@click.option(
    "--story", is_flag=True, help="Also make one cohort lose its students, and add many invalid rows on two days."
)
def sample(students: int, days: int, seed: int, until: date | None, bad_rate: float, *, story: bool) -> None:
    """Generate a platform with realistic sample students.

    Some get a row that a real platform might have: a score above 100 or below 0, more minutes than passed, a completion
    before the start or in the year 2200, ... Snapshots are computed from corrected rows; those to fix on the platform
    are listed in the table data_issues and counted by the check data_quality.

    Tables that an earlier `sample` or `load` created are replaced. A database whose tables were created by anything
    else is refused and not changed.
    """
    from snapshot_pipeline.cli.progress import progress_display
    from snapshot_pipeline.platform.sample import load_sample
    from snapshot_pipeline.postgres.engines import platform_url

    settings = load_settings()
    options = _sample_options(settings, students, days, seed, until, bad_rate, story)
    url = platform_url(settings)
    begin = time.monotonic()
    with progress_display("writing students") as show:
        rows = load_sample(options, url, settings.platform_schema, _sample_progress(options.students, show))
    _print_sample_summary(options, rows, time.monotonic() - begin)


def _sample_options(
    settings: Settings, students: int, days: int, seed: int, until: date | None, bad_rate: float, story: bool
) -> SampleOptions:
    from snapshot_pipeline.platform.sample import SampleError, SampleOptions

    today = datetime.now(settings.zone).date()
    end = today if until is None else until
    if end > today:
        raise SampleError(f"--until {end} is after today ({today} in {settings.timezone}); expected today or earlier")
    return SampleOptions(students, days, seed, end, bad_rate, settings.zone, story)


def _sample_progress(students: int, show: ShowProgress) -> Callable[[int], None]:
    """Return a listener that shows how many students have been written."""
    from snapshot_pipeline.cli.progress import ProgressUpdate

    def update(done: int) -> None:
        show(ProgressUpdate("writing students", done, students, "students", f"{done:,}/{students:,}"))
        if done == students:
            show(ProgressUpdate("building keys and indexes"))

    return update


def _print_sample_summary(options: SampleOptions, rows: dict[str, int], seconds: float) -> None:
    first, last = options.until - timedelta(days=options.days), options.until - timedelta(days=1)
    click.echo(
        f"{count_noun(options.students, 'student')}, {first} to {last} ({options.zone.key}), seed {options.seed};\n"
        f"{100 * options.bad_rate:.3g} % have an invalid or unusual row:"
    )
    _print_row_counts(rows)
    click.echo(f"Written in {seconds:.1f} s.")


def _print_row_counts(rows: dict[str, int]) -> None:
    width = max(map(len, rows))
    for name, count in rows.items():
        click.echo(f"  {name:<{width}}  {count:>13,} row{'' if count == 1 else 's'}")
