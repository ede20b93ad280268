"""A benchmark that times something else than our rows misleads everybody who reads its table.

Nothing here looks at a time: how fast something is depends on the machine.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from benchmarks.__main__ import main
from benchmarks.agreement import DisagreementError, compare, require
from benchmarks.contenders import dagster_runs
from benchmarks.contenders import ours as our_runs
from benchmarks.contenders.dagster_runs import DagsterForDays
from benchmarks.contenders.ours import OursForDays
from benchmarks.contenders.protocol import Days, Run
from benchmarks.contenders.sql import SqlForDays
from benchmarks.contenders.tables import connected
from benchmarks.datasets import Dataset, Datasets
from benchmarks.machine import describe
from benchmarks.measurements import compare_once, measure_days, measure_unchanged, measure_week
from benchmarks.report import BEGIN, END, NoMarkersError, write_report
from benchmarks.results import Result, load, save
from benchmarks.timing import Timed
from snapshot_pipeline_tests.commands import run_command

STUDENTS, STUDIED, RANGE = 150, 150, 130
CLOCKS_CHANGED = date(2025, 10, 26)
PNG = b"\x89PNG"


def nobody(_: str) -> None:
    """Whom a measurement tells how far it is."""


@pytest.fixture(scope="module", autouse=True)
def forked_runs() -> Iterator[None]:
    """Fork the processes of runs from one that has imported everything."""

    def run(
        command: Sequence[str], *, input: str = "", env: Mapping[str, str] = os.environ, **_: Any
    ) -> subprocess.CompletedProcess[str]:
        return run_command(command[3:], env, given=input, module=command[2])

    with pytest.MonkeyPatch.context() as patch:
        for module in (our_runs, dagster_runs):
            patch.setattr(module, "subprocess", SimpleNamespace(run=run))
        yield


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Datasets]:
    made = Datasets(tmp_path_factory.mktemp("datasets"))
    yield made
    made.delete()


@pytest.fixture(scope="module")
def dataset(datasets: Datasets) -> Dataset:
    return datasets.find(STUDENTS, STUDIED)


def test_every_contender_has_our_rows_for_a_day(dataset: Dataset):
    result = measure_days(dataset, 1, 1, ("sql", "loop", "floor"), nobody, looped=50)
    assert [timed.name for timed in result.timed] == [
        "ours",
        "sql",
        "sql, 2 connections",
        "loop",
        "floor: read",
        "floor: load",
    ]
    assert len(result.agreements) == 4, "sql, its two connections, the loop and the load"
    ours, looped = result.of("ours"), result.of("loop")
    assert ours is not None
    assert looped is not None
    assert 100 < ours.rows <= STUDENTS
    assert {timed.rows for timed in result.timed} - {looped.rows, result.timed[4].rows} == {ours.rows}
    assert looped.runs[0].scaled_from is not None, "the result says that only a part was worked on"
    assert 20 < looped.runs[0].scaled_from <= 50 < looped.rows, "and is scaled up to all"
    assert ours.peak_bytes is not None
    assert 50e6 < ours.peak_bytes < 1e9, "the run's process has NumPy, and not all of the database"


def test_a_run_through_dagster_publishes_all_rows(dataset: Dataset):
    """A command that ended early would look fast."""
    day = Days(dataset, dataset.last_day, dataset.last_day)
    ours, through_dagster = OursForDays(day), DagsterForDays(day)
    compare_once([ours], nobody)
    expected = ours.run().rows
    through_dagster.clean()
    assert through_dagster.run().rows == expected > 0


def test_every_contender_has_our_rows_for_a_range(dataset: Dataset):
    assert dataset.first_day(RANGE) < CLOCKS_CHANGED < dataset.last_day, "a day of 25 hours lies in the range"
    result = measure_days(dataset, RANGE, 1, ("sql", "loop", "floor"), nobody, looped=150)
    assert len(result.agreements) == 4


def test_every_contender_has_our_rows_for_a_week(dataset: Dataset):
    result = measure_week(dataset, 1, ("sql", "loop", "floor"), nobody)
    assert len(result.agreements) == 3
    ours, looped = result.of("ours"), result.of("loop")
    assert ours is not None
    assert looped is not None
    assert ours.rows > STUDENTS, "most students have several recommendations"
    assert looped.runs[0].scaled_from is None, "so few students are all looped over"


def test_a_contender_with_another_figure_is_not_timed(dataset: Dataset):
    """One cent in one row of one student would be enough."""
    day = Days(dataset, dataset.last_day, dataset.last_day)
    sql = SqlForDays(day)
    compare_once([OursForDays(day), sql], nobody)
    one = "WHERE user_id = (SELECT min(user_id) FROM performance_snapshots)"
    with connected(dataset, sql.schema) as connection:
        connection.execute(text(f"UPDATE performance_snapshots SET pace_score = pace_score + 0.01 {one}"))  # noqa: S608
    with pytest.raises(DisagreementError, match="pace_score differs in 1"):
        require(compare(sql))
    with connected(dataset, sql.schema) as connection:
        connection.execute(text(f"DELETE FROM performance_snapshots {one}"))  # noqa: S608
    with pytest.raises(DisagreementError, match="1 rows missing"):
        require(compare(sql))
    sql.clean()
    OursForDays(day).clean()
    with pytest.raises(DisagreementError, match="none found"):
        require(compare(sql))


def test_years_of_history_differ_in_history_only(datasets: Datasets):
    """Else a night with more years would be compared with another night."""
    whole = datasets.find(40, 730)
    shorter = datasets.shortened(whole, 365)
    of_window = "SELECT count(*) FROM user_lesson_progress WHERE completed_at >= '2026-01-31'"
    of_all = "SELECT count(*) FROM user_lesson_progress"
    who = "SELECT count(DISTINCT user_id) FROM user_lesson_progress"
    counts = {}
    for name, one in (("whole", whole), ("shorter", shorter)):
        with connected(one) as connection:
            counts[name] = [connection.execute(text(query)).scalar_one() for query in (of_window, who, of_all)]
    assert counts["whole"][:2] == counts["shorter"][:2]
    assert counts["whole"][2] > counts["shorter"][2] > counts["shorter"][0] > 0


def test_a_day_again_is_weighed(dataset: Dataset):
    result = measure_unchanged(dataset, 1, nobody)
    assert result.figures["wal_bytes"] > 0
    assert set(result.figures) == {"wal_bytes", "rows_inserted", "rows_updated", "rows_deleted", "dead_rows"}


def test_the_report_is_made_of_the_results(dataset: Dataset, datasets: Datasets, tmp_path: Path):
    """From the command line to README.md: tables, plots, and nothing else of the page touched."""
    results, readme = tmp_path / "results", tmp_path / "README.md"
    readme.write_text(f"before\n\n{BEGIN}\n\nold\n\n{END}\n\nafter\n", encoding="utf-8")
    places = ["--home", str(datasets.home), "--results", str(results)]
    size = ["--students", str(STUDENTS), "--days", str(STUDIED), "--rounds", "1", "--against", "floor"]
    for command in (["one-day", *size], ["range", *size, "--range-days", "5"]):
        done = CliRunner().invoke(main, [*places, *command], catch_exceptions=False)
        assert done.exit_code == 0
        assert "floor: load" in done.output
    CliRunner().invoke(main, [*places, "report", "--readme", str(readme)], catch_exceptions=False)
    page = readme.read_text(encoding="utf-8")
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "old" not in page
    assert f"One day: {STUDENTS} students" in page
    assert "not measured" in page, "no target is met by a dataset of this size"
    plot = results / "range_by_days.png"
    assert "(results/range_by_days.png)" in page
    assert plot.read_bytes().startswith(PNG)
    assert plot.stat().st_size < 60_000
    assert {result.computed_days for result in load(results)} == {1, 5}


def test_a_result_is_read_as_it_was_saved(dataset: Dataset, tmp_path: Path):
    timed = [
        Timed("ours", [Run(1.5, 10, peak_bytes=7, process_seconds=2.5)]),
        Timed("loop", [Run(9, 10, scaled_from=2)]),
    ]
    result = Result("days", STUDENTS, STUDIED, 1, timed, ["loop agrees"], describe(dataset), figures={"wal_bytes": 1.0})
    save(result, tmp_path)
    assert load(tmp_path) == [result]


def test_a_page_without_markers_stays_as_it_is(tmp_path: Path):
    page = tmp_path / "README.md"
    page.write_text("no place\n", encoding="utf-8")
    with pytest.raises(NoMarkersError, match="put them where tables belong"):
        write_report(tmp_path, page)
    assert page.read_text(encoding="utf-8") == "no place\n"


def test_ratios_are_taken_within_a_round():
    """A slow round slows both; a ratio of the medians would mix rounds."""
    ours = Timed("ours", [Run(1.0, 1), Run(10.0, 1), Run(3.0, 1)])
    others = Timed("others", [Run(2.0, 1), Run(20.0, 1), Run(2.0, 1)])
    assert ours.ratio_to(others) == 0.5
