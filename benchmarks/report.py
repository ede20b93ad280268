"""Results as tables: on the terminal, and between the markers of README.md, where no figure is typed by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from benchmarks.machine import Machine
from benchmarks.plots import draw_all
from benchmarks.results import Result, load
from benchmarks.targets import TARGETS, seconds_text
from benchmarks.timing import Timed

README = Path(__file__).parent / "README.md"
BEGIN = "<!-- results: written by `python -m benchmarks report` -->"
END = "<!-- end of the results -->"

_HEADER = ("contender", "median, s", "rounds", "ours takes", "rows", "rows/s", "memory, MB", "whole process, s")
_FIGURES = {
    "wal_bytes": "bytes of WAL",
    "rows_inserted": "rows inserted",
    "rows_updated": "rows updated",
    "rows_deleted": "rows deleted",
    "dead_rows": "dead rows left behind",
}


class NoMarkersError(Exception):
    """The file has no markers for the results."""


def print_result(result: Result) -> None:
    """Print one result."""
    rows = [_HEADER, *(_row(result, timed) for timed in result.timed)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    click.secho(f"\n{_title(result)}", bold=True)
    for row in rows:
        cells = [f"{row[0]:<{widths[0]}}"]
        cells += [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        click.echo("  ".join(cells).rstrip())
    for line in _notes(result):
        click.echo(line)


def write_report(results: Path, readme: Path) -> list[Path]:
    """Write the tables into `readme`, and the plots beside the results; returns what was written.

    Raises:
        NoMarkersError: `readme` has no markers between which tables may be written.
    """
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise NoMarkersError(f"{readme} has no lines {BEGIN!r} and {END!r}, once each; put them where tables belong")
    found = load(results)
    plots = draw_all(found, results)
    images = [f"![{plot.stem.replace('_', ' ')}]({_relative(plot, readme)})" for plot in plots]
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    sections = [BEGIN, *_machines(found), _targets(found), *images, *map(_section, found), END]
    readme.write_text(before + "\n\n".join(sections) + after, encoding="utf-8")
    return [readme, *plots]


def _relative(path: Path, readme: Path) -> str:
    path, base = path.resolve(), readme.resolve().parent
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()


def _title(result: Result) -> str:
    world = f"{result.students:,} students, {result.days:,} days of study"
    of_range = "One day" if result.computed_days == 1 else f"A range of {result.computed_days} days"
    titles = {
        "days": f"{of_range}: {world}",
        "week": f"The recommendations of a week: {world}",
        "history": f"One day, by the years of history: {result.students:,} students",
        "unchanged": f"One day, computed again with nothing changed: {world}",
    }
    return titles[result.kind]


def _row(result: Result, timed: Timed) -> tuple[str, ...]:
    ours = result.of("ours")
    scaled = timed.runs[-1].scaled_from
    return (
        timed.name + (f" (scaled up from {scaled:,} students)" if scaled else ""),
        seconds_text(timed.seconds),
        str(len(timed.runs)),
        f"{ours.ratio_to(timed):.3g}×" if ours and timed is not ours else "",
        f"{timed.rows:,}",
        f"{timed.rows / timed.seconds:,.0f}",
        f"{timed.peak_bytes / 1e6:,.0f}" if timed.peak_bytes else "",
        seconds_text(timed.process_seconds) if timed.process_seconds else "",
    )


def _notes(result: Result) -> Iterator[str]:
    yield from result.agreements
    if result.figures:
        yield "Again: " + ", ".join(f"{result.figures[name]:,.0f} {what}" for name, what in _FIGURES.items())


def _section(result: Result) -> str:
    lines = [f"### {_title(result)}", "", _markdown([_HEADER, *(_row(result, timed) for timed in result.timed)])]
    notes = list(_notes(result))
    taken = f"Measured {result.taken_at} at revision {result.machine.revision}."
    return "\n".join([*lines, "", *(f"- {note}" for note in notes), *([""] if notes else []), taken])


def _targets(results: Sequence[Result]) -> str:
    rows = [("target", "at most", "measured", "")]
    for target in TARGETS:
        value = target.measured(results)
        verdict = "" if value is None else "met" if target.is_met(value) else "**not met**"
        rows.append((target.name, target.goal, "not measured" if value is None else target.shown(value), verdict))
    return _markdown(rows)


def _machines(results: Sequence[Result]) -> list[str]:
    """The distinct machines of the results."""
    seen: dict[str, None] = {}
    for result in results:
        seen[_machine(result.machine)] = None
    return list(seen)


def _machine(machine: Machine) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in machine.packages.items())
    return (
        f"{machine.processor}, {machine.cores} cores, {machine.memory_gib:g} GiB; {machine.system}; "
        f"Python {machine.python}; PostgreSQL {machine.postgresql}; {packages}."
    )


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    header, *body = rows
    lines = [header, ["---", *("--:" for _ in header[1:])], *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
