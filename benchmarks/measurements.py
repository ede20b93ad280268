"""The measurements: which contenders meet in which world, and in which order it is all done.

Each begins with one run of every contender that is not timed: its rows are held against ours, and nothing is timed
where they differ.

Put here: one function a measurement. Do not put here: contenders, or how results are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import text

from benchmarks.agreement import compare, require
from benchmarks.contenders.dagster_runs import DagsterForDays, DagsterForWeek
from benchmarks.contenders.floor import LoadFloor, ReadFloor
from benchmarks.contenders.loop import LoopForDays, LoopForWeek
from benchmarks.contenders.ours import OursForDays, OursForWeek
from benchmarks.contenders.protocol import OURS, Contender, Days, Run, Week
from benchmarks.contenders.sql import SqlForDays, SqlForWeek
from benchmarks.contenders.tables import SNAPSHOTS, connected, settle
from benchmarks.machine import describe
from benchmarks.results import Result
from benchmarks.timing import Timed, take_turns
from benchmarks.worlds import World, Worlds

Say = Callable[[str], None]

AGAINST = ("sql", "loop", "floor", "dagster")
"""Whom ours can be measured against."""

LOOPED = 1_000
"""How many students a loop works on, at the most; of a range of days, so many student's days, but no less than 2 %."""

_SLOW_ROUNDS = 2


def measure_days(
    world: World, computed_days: int, rounds: int, against: Sequence[str], say: Say, looped: int = LOOPED
) -> Result:
    """The last days of a world, all at once."""
    task = Days(world, world.first_day(computed_days), world.last_day)
    others: dict[str, list[Contender]] = {
        "sql": [SqlForDays(task), SqlForDays(task, connections=2)],
        "loop": [LoopForDays(task, max(looped // 50, looped // computed_days, 1))],
        "floor": [ReadFloor(task), LoadFloor(task)],
        "dagster": [DagsterForDays(task)],
    }
    say(f"{computed_days} days of {world.students:,} students over {world.days} days")
    contenders = [OursForDays(task), *(one for name in AGAINST if name in against for one in others[name])]
    return _compared("days", world, computed_days, contenders, rounds, say)


def measure_week(world: World, rounds: int, against: Sequence[str], say: Say, looped: int = LOOPED) -> Result:
    """The recommendations of a world's last week."""
    task = Week(world, world.week_start)
    others: dict[str, list[Contender]] = {
        "sql": [SqlForWeek(task)],
        "loop": [LoopForWeek(task, looped)],
        "floor": [ReadFloor(task), LoadFloor(task)],
        "dagster": [DagsterForWeek(task)],
    }
    say(f"the week of {world.students:,} students over {world.days} days")
    contenders = [OursForWeek(task), *(one for name in AGAINST if name in against for one in others[name])]
    return _compared("week", world, 0, contenders, rounds, say)


def _compared(
    kind: str, world: World, computed_days: int, contenders: Sequence[Contender], rounds: int, say: Say
) -> Result:
    agreements = rehearse(contenders, say)
    timed = take_turns(contenders, rounds, say, lambda contender: _rounds(contender, rounds))
    return Result(kind, world.students, world.days, computed_days, timed, agreements, describe(world))


def _rounds(contender: Contender, rounds: int) -> int:
    return min(rounds, _SLOW_ROUNDS) if contender.name == "loop" else rounds


def rehearse(contenders: Sequence[Contender], say: Say) -> list[str]:
    """Run each once, ours first, and hold the rows of the others against ours; returns a sentence each.

    Raises:
        DisagreementError: One has other rows.
    """
    agreements = []
    for contender in contenders:
        contender.prepare()
        contender.clean()
        contender.run()
        if contender.schema not in (None, OURS):
            agreements.append(str(require(compare(contender))))
            say(f"  {agreements[-1]}")
    return agreements


def measure_history(worlds: Worlds, world: World, years: Sequence[int], rounds: int, say: Say) -> Result:
    """One day of the same students with some years of history and with fewer; the contenders are the years."""
    say(f"one day of {world.students:,} students with {', '.join(map(str, years))} years of history")
    whole = max(years) * 365
    nights = []
    for number in years:
        past = world if number * 365 == whole else worlds.shortened(world, number * 365, say)
        task = Days(past, past.last_day, past.last_day)
        nights += [
            _Named(OursForDays(task), f"ours, {number} of {max(years)} years"),
            _Named(SqlForDays(task), f"sql, {number} of {max(years)} years"),
        ]
    for night in nights:
        night.prepare()
        night.clean()
        night.run()
    timed = take_turns(nights, rounds, say)
    return Result("history", world.students, world.days, 1, timed, [], describe(world))


@dataclass(frozen=True)
class _Named:
    """A contender under another name."""

    contender: Contender
    name: str

    @property
    def task(self) -> Days | Week:
        return self.contender.task

    @property
    def schema(self) -> str | None:
        return self.contender.schema

    @property
    def compared(self) -> str:
        return self.contender.compared

    def prepare(self) -> None:
        self.contender.prepare()

    def clean(self) -> None:
        self.contender.clean()

    def run(self) -> Run:
        return self.contender.run()


def measure_unchanged(world: World, rounds: int, say: Say) -> Result:
    """A day that is computed for the first time, and again with nothing changed: time, rows touched, WAL written."""
    say(f"one day of {world.students:,} students again, unchanged")
    ours = OursForDays(Days(world, world.last_day, world.last_day))
    ours.prepare()
    first, again = [], []
    figures: dict[str, float] = {}
    for _ in range(rounds):
        ours.clean()
        settle(world)
        first.append(ours.run())
        with connected(world) as connection:
            # The first look at a new row notes on its page that it is committed, which is no work of the second run.
            connection.execute(text(f"VACUUM (ANALYZE) {OURS}.{SNAPSHOTS}"))
        settle(world)
        before = _written(world)
        again.append(ours.run())
        figures = {name: after - before[name] for name, after in _written(world).items()}
        say(f"  first {first[-1].seconds:.3f} s, again {again[-1].seconds:.3f} s; {figures}")
    timed = [Timed("ours, for the first time", first), Timed("ours, again", again)]
    return Result("unchanged", world.students, world.days, 1, timed, [], describe(world), figures=figures)


def _written(world: World) -> dict[str, float]:
    """What has been written to our tables so far, and to the WAL."""
    query = """
        SELECT pg_current_wal_insert_lsn() - '0/0' AS wal_bytes,
               sum(n_tup_ins) AS rows_inserted, sum(n_tup_upd) AS rows_updated, sum(n_tup_del) AS rows_deleted,
               sum(n_dead_tup) AS dead_rows
          FROM pg_stat_all_tables WHERE schemaname = :schema
    """
    with connected(world) as connection:
        row = connection.execute(text(query), {"schema": OURS}).mappings().one()
    return {name: float(value) for name, value in row.items()}
