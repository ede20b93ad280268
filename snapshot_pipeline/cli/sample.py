"""`snapshot-pipeline sample`: fill the database with life-like sample students.

Put here: the options, the progress shown and the summary printed.
Do not put here: what the sample consists of, or how it is written (`platform.sample`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import click

from snapshot_pipeline.cli.progress import At, Show, shown_progress
from snapshot_pipeline.platform.sample import SampleError, SampleOptions, load_sample
from snapshot_pipeline.postgres.engines import platform_url
from snapshot_pipeline.settings import Settings, load_settings


@click.command(name="sample", epilog="Example: snapshot-pipeline sample --students 10000 --days 120 --seed 7")
@click.option("--students", type=int, default=5_000, show_default=True, help="How many students.")
@click.option("--days", type=int, default=60, show_default=True, help="How many days of their studies.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed makes the same students.")
@click.option(
    "--until",
    type=click.DateTime(formats=["%Y-%m-%d"]),
    help="The first day that is not covered.  [default: today in SNAPSHOT_TIMEZONE]",
)
@click.option(
    "--bad-rate",
    type=float,
    default=0.01,
    show_default=True,
    help="The share of students given a row that cannot be right (a score of 130, minutes below 0, ...).",
)
def command(students: int, days: int, seed: int, until: datetime | None, bad_rate: float) -> None:
    """Fill the database with life-like sample students.

    Replaces the tables that an earlier `sample` or `load` made. A database whose tables were made by anything else is
    refused and stays as it is.
    """
    settings = load_settings()
    options = _options(settings, students, days, seed, until, bad_rate)
    url = platform_url(settings)
    begin = time.monotonic()
    with shown_progress("writing students") as show:
        rows = load_sample(options, url, settings.platform_schema, _writing(options.students, show))
    _print_summary(options, rows, time.monotonic() - begin)


def _options(
    settings: Settings, students: int, days: int, seed: int, until: datetime | None, bad_rate: float
) -> SampleOptions:
    today = datetime.now(settings.zone).date()
    first_left_out = today if until is None else until.date()
    if first_left_out > today:
        raise SampleError(
            f"until={first_left_out} is after today ({today} in {settings.timezone}): nobody has studied on days to "
            "come; expected today or an earlier day"
        )
    return SampleOptions(students, days, seed, first_left_out, bad_rate, settings.zone)


def _writing(students: int, show: Show) -> Callable[[int], None]:
    """Show how many students are written."""

    def tell(done: int) -> None:
        show(At("writing students", done, students, "students", f"{done:,}/{students:,}"))
        if done == students:
            show(At("building keys and indexes"))

    return tell


def _print_summary(options: SampleOptions, rows: dict[str, int], seconds: float) -> None:
    first, last = options.until - timedelta(days=options.days), options.until - timedelta(days=1)
    click.echo(
        f"{options.students:,} students from {first} to {last} ({options.zone.key}), seed {options.seed}; "
        f"{100 * options.bad_rate:.3g} % of them have a row that cannot be right."
    )
    width = max(map(len, rows))
    for name, count in rows.items():
        click.echo(f"  {name:<{width}}  {count:>12,}")
    click.echo(f"  {'written in':<{width}}  {seconds:>10.1f} s")
