"""How far a command is: a bar on a terminal, a few plain lines in a log or a pipe; on standard error either way.

Put here: all that is drawn while a command works. Do not put here: what it works on, or what it prints when it is done.

Both are written past `sys.stderr`, on a descriptor of their own: while a step runs, Dagster sends the process's
standard error into the step's log.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, TextIO

import click
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

from snapshot_pipeline.cli.terminal import is_drawable

LINE_SECONDS = 10.0
"""How often a line is written where there is no terminal, while something is being done."""

_TO_DO = "bright_black"
"""The part of the bar that is still to come: a grey that is seen on a dark terminal and on a light one."""

Unit = Literal["rows", "students", "bytes"]


@dataclass(frozen=True)
class At:
    """How far a command is.

    Attributes:
        what: What is being done, e.g. `2026-11-01 to 2026-11-30`.
        done: How much of it is done.
        total: How much there is of it; None: nobody knows.
        unit: What both are counted in.
        parts: The same in the words of whoever does it, e.g. `3/12 batches`.
    """

    what: str
    done: int = 0
    total: int | None = None
    unit: Unit = "rows"
    parts: str = ""

    @property
    def is_done(self) -> bool:
        """Whether nothing of it is left."""
        return self.total is not None and self.done >= self.total


Show = Callable[[At], None]
"""Called whenever a command is further than before."""


@dataclass(frozen=True)
class Pace:
    """How fast something is being done, on average since its beginning.

    Attributes:
        at: How far it is.
        began: When it began, of `time.monotonic`.
        seconds: How long it had taken when it was that far.
        before: How much was done before it began.
    """

    at: At
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    before: int = 0

    def told(self, at: At) -> Pace:
        """The pace after it was said how far it is: a new one when something else is being done, or the same again."""
        now = time.monotonic()
        if at.what != self.at.what or at.done < self.at.done:
            return Pace(at, now, before=at.done)
        return Pace(at, self.began, now - self.began, self.before)

    @property
    def rate(self) -> str:
        """How much is done in a second; nothing where nothing is done yet."""
        if not self._done or not self.seconds:
            return ""
        amount = self._done / self.seconds
        return f"{decimal(int(amount))}/s" if self.at.unit == "bytes" else f"{amount:,.0f} {self.at.unit}/s"

    def left(self, now: float) -> timedelta | None:
        """How long the rest takes at this pace; None where that is not known."""
        if not self._done or self.at.total is None or self.at.is_done:
            return None
        seconds = self.seconds / self._done * (self.at.total - self.at.done) - (now - self.began - self.seconds)
        return timedelta(seconds=max(round(seconds), 0))

    @property
    def _done(self) -> int:
        return self.at.done - self.before


@contextmanager
def shown_progress(what: str) -> Iterator[Show]:
    """Show how far a command is while it works; nothing of a bar remains afterwards.

    Args:
        what: What the bar says until the first is known. In a log that is no line yet: a command that is refused at
            once leaves the reason alone.
    """
    with _own_standard_error() as stream:
        if not is_drawable(sys.stderr):
            yield _Lines(stream, what)
            return
        with _bar(stream, what) as show:
            yield show


@contextmanager
def _own_standard_error() -> Iterator[TextIO]:
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):  # it is no file: a test's
        yield sys.stderr
        return
    with os.fdopen(descriptor, "w", encoding=sys.stderr.encoding, errors="replace") as stream:
        yield stream


class _TerminalConsole(Console):
    """A console whose cursor is never hidden: a command that is killed could not show it again."""

    def show_cursor(self, show: bool = True) -> bool:
        """Leave it as it is."""
        return False


@contextmanager
def _bar(terminal: TextIO, what: str) -> Iterator[Show]:
    fitting = Column(no_wrap=True, overflow="ellipsis")
    columns = (
        TextColumn("{task.description}", markup=False, table_column=fitting),
        BarColumn(None, style=_TO_DO, complete_style="default", finished_style="default", pulse_style=_TO_DO),
        TextColumn("{task.fields[pace].at.parts}", markup=False, table_column=fitting),
        TextColumn("{task.fields[pace].rate}", markup=False, table_column=fitting),
        _Time(table_column=fitting),
    )
    console = _TerminalConsole(file=terminal, force_terminal=True)
    with Progress(*columns, console=console, transient=True, expand=True) as bar:
        task_id = bar.add_task(what, total=None, pace=Pace(At(what)))
        (task,) = bar.tasks

        def show(at: At) -> None:
            task.total = at.total  # `update` takes None for "as before"
            pace = task.fields["pace"].told(at)
            bar.update(task_id, description=at.what, completed=at.done, pace=pace)

        yield show


class _Time(ProgressColumn):
    """The time that is left, or, while that is not known, the time that has passed."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """One of the two, in hours, minutes and seconds."""
        pace: Pace = task.fields["pace"]
        now = time.monotonic()
        left = pace.left(now)
        return Text(str(timedelta(seconds=int(now - pace.began))) if left is None else f"{left} left")


class _Lines:
    """A line when something begins, every ten seconds, and when it is done."""

    def __init__(self, log: TextIO, what: str) -> None:
        self._log = log
        self._pace = Pace(At(what))
        self._announced = ""
        self._written = 0.0

    def __call__(self, at: At) -> None:
        """Write a line, when it is time for one."""
        now = time.monotonic()
        if at.what != self._announced:
            self._announced = at.what
            self._write(at.what, now)
        self._pace = self._pace.told(at)
        if at.done and (at.is_done or now - self._written >= LINE_SECONDS):
            self._write(self._line(now), now)

    def _line(self, now: float) -> str:
        left = self._pace.left(now)
        time_said = f"{left} left" if left is not None else f"{timedelta(seconds=round(self._pace.seconds))} taken"
        said = (self._pace.at.parts, self._pace.rate, time_said)
        return f"{self._pace.at.what}: {', '.join(part for part in said if part)}"

    def _write(self, line: str, now: float) -> None:
        self._written = now
        click.echo(line, file=self._log)
