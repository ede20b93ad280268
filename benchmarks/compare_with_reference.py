"""Compare every published figure of a data set with the slow reference: `python -m benchmarks.compare_with_reference`.

Loads a directory of CSV files into a private server, publishes a range of days and a week, computes all of it again
with the slow reference of the tests, and compares every figure of every row; exits with 1 on a difference. Takes a
minute for a thousand students: the reference is written to be read, not to be fast.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.command_line import run_command
from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline.pipeline.installation import Installation, open_installation
from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.platform.csv_files import find_csv_files, load_csv_files
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline_tests.pipeline.comparison import Comparison, compare_day, compare_week
from snapshot_pipeline_tests.reference.reading import read_rows
from snapshot_pipeline_tests.reference.snapshots import reference_day

SHOWN_DIFFERENCES = 20
_DAY = click.DateTime(formats=["%Y-%m-%d"])


@dataclass(frozen=True)
class Measured:
    """One line of the table.

    Attributes:
        what: The days or the week compared.
        pipeline_seconds: Wall time of the pipeline, publishing included.
        reference_seconds: Wall time of the reference.
    """

    what: str
    comparison: Comparison
    pipeline_seconds: float
    reference_seconds: float


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--timezone", default="UTC", show_default=True, help="The platform's time zone.")
@click.option("--from", "first", type=_DAY, required=True, help="The first day.")
@click.option("--to", "last", type=_DAY, required=True, help="The last day, included.")
@click.option("--week", type=_DAY, required=True, help="The Monday of a week that lies in the range.")
def command(directory: Path, timezone: str, first: datetime, last: datetime, week: datetime) -> None:
    """Compare every figure published from the CSV files in DIR with the slow reference."""
    with _installation(directory, timezone, first.date()) as installation:
        measured = _measure(installation, first.date(), last.date(), week.date())
    _print(measured)
    for sentence in [one for part in measured for one in part.comparison.differences][:SHOWN_DIFFERENCES]:
        click.echo(sentence)
    sys.exit(any(part.comparison.differences for part in measured))


@contextmanager
def _installation(directory: Path, timezone: str, start_date: date) -> Iterator[Installation]:
    """Load the files into a private server, deleted afterwards; ignores SNAPSHOT_* variables that name a database."""
    with tempfile.TemporaryDirectory(prefix="compare_with_reference-") as home:
        server = EmbeddedServer(Path(home))
        server.start()
        try:
            url = server.url("platform")
            settings = load_settings(
                home=Path(home),
                database_url=url.render_as_string(hide_password=False),
                timezone=timezone,
                start_date=start_date,
                platform_schema="public",
                store_schema="public",
            )
            load_csv_files(find_csv_files(directory), url, "public", settings.naive_zone)
            with open_installation(settings) as installation:
                yield installation
        finally:
            server.delete()


def _measure(installation: Installation, first: date, last: date, week_start: date) -> list[Measured]:
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    published = run_days(installation, first, last, "compare_with_reference").seconds
    recommended = run_week(installation, week_start, "compare_with_reference").seconds
    rows = read_rows(installation.engine, "public")
    zone = installation.settings.zone
    total, began = Comparison(0), time.monotonic()
    with click.progressbar(days, label="days compared", file=sys.stderr) as bar:
        for day in bar:
            total += compare_day(installation, reference_day(rows, day, zone), day)
    by_day = Measured(f"{len(days)} days from {first}", total, published, time.monotonic() - began)
    began = time.monotonic()
    of_week = compare_week(installation, rows, week_start)
    return [by_day, Measured(f"week of {week_start}", of_week, recommended, time.monotonic() - began)]


def _print(measured: list[Measured]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("compared")
    for name in ("rows", "differences", "pipeline, s", "reference, s"):
        table.add_column(name, justify="right")
    for part in measured:
        table.add_row(
            part.what,
            f"{part.comparison.rows:,}",
            f"{len(part.comparison.differences):,}",
            f"{part.pipeline_seconds:.1f}",
            f"{part.reference_seconds:.1f}",
        )
    Console().print(table)


if __name__ == "__main__":
    run_command(command)
