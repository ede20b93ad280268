"""`python -m benchmarks`: time and memory of the pipeline, compared with other ways of computing the same rows."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.agreement import DisagreementError
from benchmarks.contenders.ours import RunFailedError
from benchmarks.datasets import DEFAULT_HOME, Datasets
from benchmarks.measurements import AGAINST, measure_days, measure_history, measure_unchanged, measure_week
from benchmarks.report import README, NoMarkersError, print_result, write_report
from benchmarks.results import RESULTS, Result, save
from snapshot_pipeline.errors import SnapshotPipelineError

_DATASET_DAYS = 390
_PATH = click.Path(path_type=Path)


@dataclass(frozen=True)
class Bench:
    """The directories of data sets and results."""

    datasets: Datasets
    results: Path

    def keep(self, result: Result) -> None:
        """Print and save a result."""
        print_result(result)
        click.echo(f"saved in {save(result, self.results)}\n")


@click.group()
@click.option(
    "--home",
    type=_PATH,
    default=DEFAULT_HOME,
    envvar="BENCHMARKS_HOME",
    show_default=True,
    help="Directory of the data sets and their server.",
)
@click.option("--results", type=_PATH, default=RESULTS, show_default=True, help="Directory of the results.")
@click.pass_context
def main(context: click.Context, home: Path, results: Path) -> None:
    """Time the pipeline against other ways of computing the same rows.

    The data sets are generated at the first use by `snapshot-pipeline sample`, in a private PostgreSQL server.
    """
    # Installations keep their bytecode; without it every timed process would compile the package again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    context.obj = Bench(Datasets(home), results)


_STUDENTS = click.option("--students", type=int, default=10_000, show_default=True, help="Number of students.")
_DAYS = click.option("--days", type=int, default=_DATASET_DAYS, show_default=True, help="Days of study.")
_ROUNDS = click.option("--rounds", type=int, default=5, show_default=True, help="Rounds.")
_AGAINST = click.option(
    "--against",
    type=click.Choice(AGAINST),
    multiple=True,
    default=AGAINST,
    show_default=True,
    help="Contenders to compare with.",
)


@main.command(name="one-day")
@_STUDENTS
@_DAYS
@_ROUNDS
@_AGAINST
@click.pass_obj
def one_day(bench: Bench, students: int, days: int, rounds: int, against: tuple[str, ...]) -> None:
    """One day for all students."""
    dataset = bench.datasets.find(students, days, say=click.echo)
    bench.keep(measure_days(dataset, 1, rounds, against, click.echo))


@main.command(name="range")
@_STUDENTS
@_DAYS
@_ROUNDS
@_AGAINST
@click.option("--range-days", type=int, default=300, show_default=True, help="Number of days to compute.")
@click.pass_obj
def days_range(bench: Bench, students: int, days: int, rounds: int, against: tuple[str, ...], range_days: int) -> None:
    """A range of days for all students."""
    dataset = bench.datasets.find(students, days, say=click.echo)
    bench.keep(measure_days(dataset, range_days, rounds, against, click.echo))


@main.command()
@_STUDENTS
@_DAYS
@_ROUNDS
@_AGAINST
@click.pass_obj
def week(bench: Bench, students: int, days: int, rounds: int, against: tuple[str, ...]) -> None:
    """The recommendations of a week for all students."""
    dataset = bench.datasets.find(students, days, say=click.echo)
    bench.keep(measure_week(dataset, rounds, against, click.echo))


@main.command()
@_STUDENTS
@_ROUNDS
@click.option("--years", type=int, multiple=True, default=(1, 2, 3), show_default=True, help="Years of history.")
@click.pass_obj
def history(bench: Bench, students: int, rounds: int, years: tuple[int, ...]) -> None:
    """One day of the same students with one year of history and with more."""
    dataset = bench.datasets.find(students, max(years) * 365, say=click.echo)
    bench.keep(measure_history(bench.datasets, dataset, years, rounds, click.echo))


@main.command()
@_STUDENTS
@_DAYS
@_ROUNDS
@click.pass_obj
def unchanged(bench: Bench, students: int, days: int, rounds: int) -> None:
    """Compute a day again when nothing has changed."""
    dataset = bench.datasets.find(students, days, say=click.echo)
    bench.keep(measure_unchanged(dataset, rounds, click.echo))


@main.command(name="all")
@click.option("--large", is_flag=True, help="Also a million students; takes an hour and 30 GB of disk.")
@click.pass_context
def everything(context: click.Context, large: bool) -> None:
    """Run all measurements, then the report."""
    run = context.invoke
    run(one_day, students=5_000, days=60, rounds=9, against=("dagster",))
    for students, rounds in ((1_000, 5), (10_000, 5), (50_000, 3)):
        run(one_day, students=students, rounds=rounds, against=AGAINST)
    for days in (10, 30, 100):
        run(days_range, students=10_000, range_days=days, rounds=3, against=("sql", "floor"))
    run(days_range, students=10_000, range_days=300, rounds=3, against=("sql", "floor", "dagster", "unranked"))
    for students in (10_000, 50_000):
        run(week, students=students, rounds=3, against=AGAINST)
    run(history, students=10_000, rounds=5, years=(1, 2, 3))
    run(unchanged, students=50_000, rounds=2)
    if large:
        run(days_range, students=50_000, range_days=300, rounds=3, against=("sql", "floor"))
        run(one_day, students=1_000_000, days=120, rounds=2, against=("sql", "floor", "unranked"))
        run(week, students=1_000_000, days=120, rounds=2, against=("sql", "floor"))
    run(report)


@main.command()
@click.option("--readme", type=_PATH, default=README, show_default=True, help="The file to write the tables into.")
@click.pass_obj
def report(bench: Bench, readme: Path) -> None:
    """Write the tables between the markers of README.md, and the plots, from the saved results."""
    for path in write_report(bench.results, readme):
        click.echo(f"wrote {path}")


@main.command()
@click.pass_obj
def delete(bench: Bench) -> None:
    """Delete all data sets and their server."""
    bench.datasets.delete()


if __name__ == "__main__":
    try:
        main()
    except (SnapshotPipelineError, DisagreementError, RunFailedError, NoMarkersError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
