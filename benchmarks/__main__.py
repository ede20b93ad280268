"""`python -m benchmarks`: what the pipeline costs, beside other ways of computing the same.

Put here: the commands and their options. Do not put here: how anything is measured.
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.agreement import compare_snapshots, require
from benchmarks.contenders.ours import OursForDays
from benchmarks.contenders.protocol import Days
from benchmarks.contenders.sql import SqlForDays
from benchmarks.timing import take_turns
from benchmarks.worlds import DEFAULT_HOME, Worlds


@click.group()
@click.option(
    "--home",
    type=click.Path(path_type=Path),
    default=DEFAULT_HOME,
    envvar="BENCHMARKS_HOME",
    show_default=True,
    help="Where the data sets and their server are kept.",
)
@click.pass_context
def main(context: click.Context, home: Path) -> None:
    """Time the pipeline against other ways of computing the same rows."""
    context.obj = Worlds(home)


_STUDENTS = click.option("--students", type=int, default=10_000, show_default=True, help="How many students.")
_DAYS = click.option("--days", type=int, default=390, show_default=True, help="Over how many days they have studied.")
_ROUNDS = click.option("--rounds", type=int, default=5, show_default=True, help="How often each is run.")


@main.command(name="one-day")
@_STUDENTS
@_DAYS
@_ROUNDS
@click.pass_obj
def one_day(worlds: Worlds, students: int, days: int, rounds: int) -> None:
    """One day for all students."""
    _against_sql(worlds, students, days, 1, rounds)


@main.command(name="range")
@_STUDENTS
@_DAYS
@_ROUNDS
@click.option("--range-days", type=int, default=300, show_default=True, help="How many days are computed.")
@click.pass_obj
def days_range(worlds: Worlds, students: int, days: int, rounds: int, range_days: int) -> None:
    """A range of days for all students."""
    _against_sql(worlds, students, days, range_days, rounds)


def _against_sql(worlds: Worlds, students: int, days: int, range_days: int, rounds: int) -> None:
    world = worlds.find(students, days, say=click.echo)
    task = Days(world, world.first_day(range_days), world.last_day)
    contenders = [OursForDays(task), SqlForDays(task), SqlForDays(task, connections=2)]
    for contender in contenders:
        contender.prepare()
        contender.clean()
        contender.run()
    for contender in contenders[1:]:
        click.echo(require(compare_snapshots(world, contender.name, contender.schema)))
    timed = take_turns(world, contenders, rounds, click.echo)
    for one in timed:
        click.echo(f"{one.name:<20} {one.seconds:8.3f} s   ours takes {timed[0].ratio_to(one):5.2f} times as long")


if __name__ == "__main__":
    main()
