"""The measurements: one function each.

Each starts with an untimed run of every contender, whose rows are compared with ours; nothing is timed if they differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import text

from benchmarks.agreement import compare, require
from benchmarks.contenders.dagster_runs import DagsterForDays, DagsterForWeek
from benchmarks.contenders.floor import LoadFloor, ReadFloor
from benchmarks.contenders.loop import LoopForDays, LoopForWeek
from benchmarks.contenders.ours import OursForDays, OursForWeek, unranked
from benchmarks.contenders.protocol import OURS, Contender, Days, Run, Week
from benchmarks.contenders.sql import SqlForDays, SqlForWeek
from benchmarks.contenders.tables import SNAPSHOTS, connected, flush_to_disk
from benchmarks.datasets import Dataset, Datasets
from benchmarks.machine import describe
from benchmarks.results import Result
from benchmarks.timing import Timed, run_rounds

Say = Callable[[str], None]

AGAINST = ("sql", "loop", "floor", "dagster", "unranked")
"""Whom ours can be measured against."""

LOOPED = 1_000
"""How many students a loop works on, at the most; of a range of days, so many student's days, but no less than 2 %."""

_SLOW_ROUNDS = 2


def measure_days(
    dataset: Dataset, computed_days: int, rounds: int, against: Sequence[str], say: Say, looped: int = LOOPED
) -> Result:
    """Measure the last days of a data set, computed as one range."""
    task = Days(dataset, dataset.first_day(computed_days), dataset.last_day)
    others: dict[str, list[Contender]] = {
        "sql": [SqlForDays(task), SqlForDays(task, connections=2)],
        "loop": [LoopForDays(task, max(looped // 50, looped // computed_days, 1))],
        "floor": [ReadFloor(task), LoadFloor(task)],
        "dagster": [DagsterForDays(task)],
        "unranked": [unranked(task)],
    }
    say(f"{computed_days} days of {dataset.students:,} students over {dataset.days} days")
    contenders = [OursForDays(task), *(one for name in AGAINST if name in against for one in others[name])]
    return _compared("days", dataset, computed_days, contenders, rounds, say)


def measure_week(dataset: Dataset, rounds: int, against: Sequence[str], say: Say, looped: int = LOOPED) -> Result:
    """Measure the recommendations of a data set's last week."""
    task = Week(dataset, dataset.week_start)
    others: dict[str, list[Contender]] = {
        "sql": [SqlForWeek(task)],
        "loop": [LoopForWeek(task, looped)],
        "floor": [ReadFloor(task), LoadFloor(task)],
        "dagster": [DagsterForWeek(task)],
        "unranked": [],
    }
    say(f"the week of {dataset.students:,} students over {dataset.days} days")
    contenders = [OursForWeek(task), *(one for name in AGAINST if name in against for one in others[name])]
    return _compared("week", dataset, 0, contenders, rounds, say)


def _compared(
    kind: str, dataset: Dataset, computed_days: int, contenders: Sequence[Contender], rounds: int, say: Say
) -> Result:
    agreements = compare_once(contenders, say)
    timed = run_rounds(contenders, rounds, say, lambda contender: _rounds(contender, rounds))
    return Result(kind, dataset.students, dataset.days, computed_days, timed, agreements, describe(dataset))


def _rounds(contender: Contender, rounds: int) -> int:
    return min(rounds, _SLOW_ROUNDS) if contender.name == "loop" else rounds


def compare_once(contenders: Sequence[Contender], say: Say) -> list[str]:
    """Run each contender once, ours first, and compare the rows; returns a sentence per contender.

    Raises:
        DisagreementError: A contender's rows differ from ours.
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


def measure_history(datasets: Datasets, dataset: Dataset, years: Sequence[int], rounds: int, say: Say) -> Result:
    """Measure one day of the same students with different years of history; the contenders are the years."""
    say(f"one day of {dataset.students:,} students with {', '.join(map(str, years))} years of history")
    whole = max(years) * 365
    nights = []
    for number in years:
        past = dataset if number * 365 == whole else datasets.shortened(dataset, number * 365, say)
        task = Days(past, past.last_day, past.last_day)
        nights += [
            _Named(OursForDays(task), f"ours, {number} of {max(years)} years"),
            _Named(SqlForDays(task), f"sql, {number} of {max(years)} years"),
        ]
    for night in nights:
        night.prepare()
        night.clean()
        night.run()
    timed = run_rounds(nights, rounds, say)
    return Result("history", dataset.students, dataset.days, 1, timed, [], describe(dataset))


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


def measure_unchanged(dataset: Dataset, rounds: int, say: Say) -> Result:
    """Measure a day computed for the first time and again with nothing changed: time, rows touched, WAL written."""
    say(f"one day of {dataset.students:,} students again, unchanged")
    ours = OursForDays(Days(dataset, dataset.last_day, dataset.last_day))
    ours.prepare()
    first, again = [], []
    figures: dict[str, float] = {}
    for _ in range(rounds):
        ours.clean()
        flush_to_disk(dataset)
        first.append(ours.run())
        with connected(dataset) as connection:
            # The first read of a new row sets its hint bits, which must not count as work of the second run.
            connection.execute(text(f"VACUUM (ANALYZE) {OURS}.{SNAPSHOTS}"))
        flush_to_disk(dataset)
        before = _written(dataset)
        again.append(ours.run())
        figures = {name: after - before[name] for name, after in _written(dataset).items()}
        say(f"  first {first[-1].seconds:.3f} s, again {again[-1].seconds:.3f} s; {figures}")
    timed = [Timed("ours, for the first time", first), Timed("ours, again", again)]
    return Result("unchanged", dataset.students, dataset.days, 1, timed, [], describe(dataset), figures=figures)


def _written(dataset: Dataset) -> dict[str, float]:
    """Rows written to our tables so far, and bytes of WAL."""
    query = """
        SELECT pg_current_wal_insert_lsn() - '0/0' AS wal_bytes,
               sum(n_tup_ins) AS rows_inserted, sum(n_tup_upd) AS rows_updated, sum(n_tup_del) AS rows_deleted,
               sum(n_dead_tup) AS dead_rows
          FROM pg_stat_all_tables WHERE schemaname = :schema
    """
    with connected(dataset) as connection:
        row = connection.execute(text(query), {"schema": OURS}).mappings().one()
    return {name: float(value) for name, value in row.items()}
