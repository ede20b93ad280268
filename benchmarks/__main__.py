"""`python -m benchmarks`: what the pipeline costs, beside other ways of computing the same.

Put here: the commands and their options. Do not put here: how anything is measured.
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.agreement import compare_snapshots, require
from benchmarks.contenders.one_day import SqlForDay
from benchmarks.contenders.ours import OursForDays
from benchmarks.contenders.protocol import Days
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


@main.command(name="one-day")
@click.option("--students", type=int, default=10_000, show_default=True)
@click.option("--days", type=int, default=390, show_default=True)
@click.option("--rounds", type=int, default=5, show_default=True)
@click.pass_obj
def one_day(worlds: Worlds, students: int, days: int, rounds: int) -> None:
    """One day for all students."""
    world = worlds.find(students, days, say=click.echo)
    task = Days(world, world.last_day, world.last_day)
    contenders = [OursForDays(task), SqlForDay(task)]
    for contender in contenders:
        contender.prepare()
        contender.clean()
        contender.run()
    click.echo(require(compare_snapshots(world, "sql", "benchmark_sql")))
    timed = take_turns(world, contenders, rounds, click.echo)
    for one in timed:
        click.echo(f"{one.name:<12} {one.seconds:8.3f} s   {timed[0].ratio_to(one):6.2f}")


if __name__ == "__main__":
    main()
