"""Progress of a command: a bar on a terminal, a few plain lines in a log or a pipe; both on standard error.

Both write to a duplicate of the descriptor of standard error: while a step runs, Dagster redirects the process's
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
"""How often a line is written without a terminal."""

_EMPTY_BAR_STYLE = "bright_black"
"""A gray that is visible on dark and on light terminals."""

Unit = Literal["rows", "students", "bytes"]


@dataclass(frozen=True)
class ProgressUpdate:
    """How much of a task is done.

    Attributes:
        task: What is being done, e.g. `2026-11-01 to 2026-11-30`.
        done: How much is done, in `unit`.
        total: How much there is, in `unit`; None if unknown.
        detail: The same in parts, e.g. `3/12 batches`.
    """

    task: str
    done: int = 0
    total: int | None = None
    unit: Unit = "rows"
    detail: str = ""

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.total is not None and self.done >= self.total


ShowProgress = Callable[[ProgressUpdate], None]


@dataclass(frozen=True)
class Speed:
    """The average speed of a task since its first update.

    Attributes:
        update: The last update.
        start: The time of the first update, as `time.monotonic`.
        seconds: From the first to the last update.
        done_at_start: How much was done at the first update.
    """

    update: ProgressUpdate
    start: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    done_at_start: int = 0

    def after(self, update: ProgressUpdate) -> Speed:
        """Return the speed after an update; an update of another task, or of a restarted one, starts anew."""
        now = time.monotonic()
        if update.task != self.update.task or update.done < self.update.done:
            return Speed(update, now, done_at_start=update.done)
        return Speed(update, self.start, now - self.start, self.done_at_start)

    @property
    def text(self) -> str:
        """The amount per second, e.g. `1,200 rows/s`; empty while nothing is done."""
        if not self._done or not self.seconds:
            return ""
        amount = self._done / self.seconds
        return f"{decimal(int(amount))}/s" if self.update.unit == "bytes" else f"{amount:,.0f} {self.update.unit}/s"

    def time_left(self, now: float) -> timedelta | None:
        """Return the estimated time for the rest; None if it cannot be estimated or nothing is left."""
        if not self._done or self.update.total is None or self.update.is_done:
            return None
        rest = self.seconds / self._done * (self.update.total - self.update.done)
        return timedelta(seconds=max(round(rest - (now - self.start - self.seconds)), 0))

    @property
    def _done(self) -> int:
        return self.update.done - self.done_at_start


@contextmanager
def progress_display(task: str) -> Iterator[ShowProgress]:
    """Show the progress of a command while it works; the bar is removed at the end.

    Args:
        task: The text of the bar until the first update. Not written to a log: if the command is refused at once, the
            log contains the reason only.
    """
    with _own_standard_error() as stream:
        if not is_drawable(sys.stderr):
            yield _LineDisplay(stream, task)
            return
        with _bar_display(stream, task) as show:
            yield show


@contextmanager
def _own_standard_error() -> Iterator[TextIO]:
    try:
        descriptor = os.dup(sys.stderr.fileno())
    except (OSError, ValueError):  # not a file, e.g. captured by a test
        yield sys.stderr
        return
    with os.fdopen(descriptor, "w", encoding=sys.stderr.encoding, errors="replace") as stream:
        yield stream


class _ConsoleWithCursor(Console):
    """A console that never hides the cursor: a command that is killed could not show it again."""

    def show_cursor(self, show: bool = True) -> bool:
        """Do nothing."""
        return False


@contextmanager
def _bar_display(terminal: TextIO, first_task: str) -> Iterator[ShowProgress]:
    one_line = Column(no_wrap=True, overflow="ellipsis")
    columns = (
        TextColumn("{task.description}", markup=False, table_column=one_line),
        BarColumn(
            None,
            style=_EMPTY_BAR_STYLE,
            complete_style="default",
            finished_style="default",
            pulse_style=_EMPTY_BAR_STYLE,
        ),
        TextColumn("{task.fields[speed].update.detail}", markup=False, table_column=one_line),
        TextColumn("{task.fields[speed].text}", markup=False, table_column=one_line),
        _TimeColumn(table_column=one_line),
    )
    console = _ConsoleWithCursor(file=terminal, force_terminal=True)
    with Progress(*columns, console=console, transient=True, expand=True) as bar:
        task_id = bar.add_task(first_task, total=None, speed=Speed(ProgressUpdate(first_task)))
        (task,) = bar.tasks

        def show(update: ProgressUpdate) -> None:
            task.total = update.total  # `bar.update` takes None for "unchanged"
            speed = task.fields["speed"].after(update)
            bar.update(task_id, description=update.task, completed=update.done, speed=speed)

        yield show


class _TimeColumn(ProgressColumn):
    """The time left, or the time elapsed while the former is unknown, as `h:mm:ss`."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        speed: Speed = task.fields["speed"]
        now = time.monotonic()
        left = speed.time_left(now)
        return Text(str(timedelta(seconds=int(now - speed.start))) if left is None else f"{left} left")


class _LineDisplay:
    """Writes a line when a task starts, every ten seconds, and when it is done."""

    def __init__(self, log: TextIO, task: str) -> None:
        self._log = log
        self._speed = Speed(ProgressUpdate(task))
        self._announced = ""
        self._written_at = 0.0

    def __call__(self, update: ProgressUpdate) -> None:
        """Write a line if one is due."""
        now = time.monotonic()
        if update.task != self._announced:
            self._announced = update.task
            self._write(update.task, now)
        if update == self._speed.update:  # a listener may repeat the last update
            return
        self._speed = self._speed.after(update)
        if update.done and (update.is_done or now - self._written_at >= LINE_SECONDS):
            self._write(self._line(now), now)

    def _line(self, now: float) -> str:
        left = self._speed.time_left(now)
        elapsed = timedelta(seconds=round(self._speed.seconds))
        time_text = f"{left} left" if left is not None else f"{elapsed} elapsed"
        parts = (self._speed.update.detail, self._speed.text, time_text)
        return f"{self._speed.update.task}: {', '.join(part for part in parts if part)}"

    def _write(self, line: str, now: float) -> None:
        self._written_at = now
        click.echo(line, file=self._log)
