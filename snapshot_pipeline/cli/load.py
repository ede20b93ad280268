"""`snapshot-pipeline load`: load a platform from six CSV files.

Put here: the argument, the progress shown and the summary printed.
Do not put here: how files are read (`platform.csv_files`), or how tables are replaced (`platform.ownership`).
"""

from __future__ import annotations

import time
from pathlib import Path

import click

from snapshot_pipeline.cli.progress import At, Show, shown_progress
from snapshot_pipeline.platform.csv_files import CsvFile, ProgressListener, find_csv_files, load_csv_files
from snapshot_pipeline.postgres.engines import platform_url
from snapshot_pipeline.settings import load_settings


@click.command(name="load", epilog="Example: snapshot-pipeline load exports/2025-06-01")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def command(directory: Path) -> None:
    """Load a platform from the CSV files in DIR: users, lessons, user_lesson_progress, quizzes, quiz_attempts and,
    where there are exercises, exercise_submissions, each as NAME.csv or NAME.csv.gz.

    Columns are found by name, in any order; others are ignored. Time stamps without an offset are read in
    SNAPSHOT_NAIVE_TIMEZONE. All or nothing: a bad value leaves the database as it was. Replaces the tables that an
    earlier `load` or `sample` made (grants on them go with them); tables made by anything else are refused.
    """  # noqa: D205  # click shows the first paragraph as it stands
    settings = load_settings()
    files = find_csv_files(directory)
    for file in files:
        if file.ignored:
            click.echo(f"{file.path.name}: ignoring {', '.join(name or '(no name)' for name in file.ignored)}")
    url = platform_url(settings)
    begin = time.monotonic()
    with shown_progress("reading files") as show:
        rows = load_csv_files(files, url, settings.platform_schema, settings.naive_zone, _reading(files, show))
    width = max(map(len, rows))
    for name, count in rows.items():
        click.echo(f"{name:<{width}}  {count:>12,} rows")
    seconds = time.monotonic() - begin
    click.echo(f"loaded into schema {settings.platform_schema} of database {url.database} in {seconds:.1f} s")


def _reading(files: list[CsvFile], show: Show) -> ProgressListener:
    """Show how many bytes of all files are read, whichever file it is."""
    number = {file.table_name: place for place, file in enumerate(files)}
    before = {file.table_name: sum(earlier.size for earlier in files[:place]) for place, file in enumerate(files)}
    size = sum(file.size for file in files)

    def tell(table: str, done: int, total: int) -> None:
        file = f"{table}, file {number[table] + 1}/{len(files)}"
        show(At("reading files", before[table] + done, size, "bytes", file))
        if done == total and number[table] == len(files) - 1:
            show(At("building keys and indexes"))

    return tell
