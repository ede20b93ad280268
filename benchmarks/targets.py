"""The performance targets, on two cores with the embedded server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.contenders.ours import UNRANKED
from benchmarks.results import Result


@dataclass(frozen=True)
class Target:
    """One target.

    Attributes:
        goal: The target as text.
        measured: Finds the figure among the results; None if it was not measured.
        shown: Formats the figure.
        is_met: Whether a figure meets the target.
    """

    name: str
    goal: str
    measured: Callable[[Sequence[Result]], float | None]
    shown: Callable[[float], str]
    is_met: Callable[[float], bool]


def seconds_text(seconds: float) -> str:
    """Seconds with three significant digits, and all digits before the decimal point."""
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.3g}"


def _times(value: float) -> str:
    return f"{value:.3g}×"


def _seconds(value: float) -> str:
    return f"{seconds_text(value)} s"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:,.0f} MB"


def _at_most(limit: float) -> Callable[[float], bool]:
    return lambda value: value <= limit


def _at_least(limit: float) -> Callable[[float], bool]:
    return lambda value: value >= limit


def _days(results: Sequence[Result], students: int, computed_days: int, days: int = 390) -> Result | None:
    return _first(results, "days", students, computed_days, days)


def _first(results: Sequence[Result], kind: str, students: int, computed_days: int, days: int) -> Result | None:
    wanted = (kind, students, computed_days, days)
    found = (one for one in results if (one.kind, one.students, one.computed_days, one.days) == wanted)
    return next(found, None)


def _ratio(result: Result | None, one: str, other: str) -> float | None:
    """How many times longer one contender takes than another."""
    first, second = (result.of(one), result.of(other)) if result else (None, None)
    return first.ratio_to(second) if first and second else None


def _comparable(result: Result | None) -> str:
    """The contender of ours that computes what the others do: the one without the engagement score, if it was timed."""
    return UNRANKED if result and result.of(UNRANKED) else "ours"


def _seconds_of(result: Result | None, contender: str = "ours") -> float | None:
    timed = result.of(contender) if result else None
    return timed.seconds if timed else None


def _memory_of(result: Result | None) -> float | None:
    timed = result.of("ours") if result else None
    return timed.peak_bytes if timed else None


def _largest_range(results: Sequence[Result]) -> Result | None:
    ranges = [one for one in results if one.kind == "days" and one.computed_days == 300]
    return max(ranges, key=lambda one: one.students, default=None)


def _history(results: Sequence[Result]) -> float | None:
    result = next((one for one in results if one.kind == "history"), None)
    return _ratio(result, "ours, 3 of 3 years", "ours, 1 of 3 years")


def _share_written(results: Sequence[Result]) -> float | None:
    """Rows touched by computing a day again, as a share of the day's rows."""
    result = next((one for one in results if one.kind == "unchanged"), None)
    if result is None:
        return None
    touched = sum(result.figures[name] for name in ("rows_inserted", "rows_updated", "rows_deleted"))
    return touched / result.timed[0].rows


TARGETS = (
    Target(
        "one day, 50,000 students with 10 million progress rows, against one SQL statement by hand",
        "1.5×",
        lambda results: _ratio(_days(results, 50_000, 1), "ours", "sql"),
        _times,
        _at_most(1.5),
    ),
    Target(
        "300 days in one range without the engagement score, rows/s, against a bare bulk load of the same rows",
        "at least 0.5×",
        lambda results: _ratio(_largest_range(results), "floor: load", _comparable(_largest_range(results))),
        _times,
        _at_least(0.5),
    ),
    Target(
        "300 days in one range without the engagement score, against one SQL statement by hand",
        "1×",
        lambda results: _ratio(_largest_range(results), _comparable(_largest_range(results)), "sql"),
        _times,
        _at_most(1.0),
    ),
    Target(
        "… memory of the run's process",
        "1 GB",
        lambda results: _memory_of(_largest_range(results)),
        _megabytes,
        _at_most(1e9),
    ),
    Target(
        "one day, 10,000 students, how many times faster than the loop",
        "at least 200×",
        lambda results: _ratio(_days(results, 10_000, 1), "loop", "ours"),
        _times,
        _at_least(200),
    ),
    Target(
        "300 days of 10,000 students, against the same without the engagement score",
        "1.8×",
        lambda results: _ratio(_days(results, 10_000, 300), "ours", UNRANKED),
        _times,
        _at_most(1.8),
    ),
    Target(
        "one day, a million students, against the same without the engagement score",
        "1.7×",
        lambda results: _ratio(_days(results, 1_000_000, 1, 120), "ours", UNRANKED),
        _times,
        _at_most(1.7),
    ),
    Target("a night with three years of history, against one year", "1.15×", _history, _times, _at_most(1.15)),
    Target(
        "one day, a million students with 60 million progress rows",
        "60 s",
        lambda results: _seconds_of(_days(results, 1_000_000, 1, 120)),
        _seconds,
        _at_most(60),
    ),
    Target(
        "… memory of the run's process",
        "1 GB",
        lambda results: _memory_of(_days(results, 1_000_000, 1, 120)),
        _megabytes,
        _at_most(1e9),
    ),
    Target(
        "recommendations of a week, a million students",
        "120 s",
        lambda results: _seconds_of(_first(results, "week", 1_000_000, 0, 120)),
        _seconds,
        _at_most(120),
    ),
    Target(
        "… memory of the run's process",
        "1 GB",
        lambda results: _memory_of(_first(results, "week", 1_000_000, 0, 120)),
        _megabytes,
        _at_most(1e9),
    ),
    Target(
        "one day of the sample data through Dagster, the whole command",
        "6 s",
        lambda results: _seconds_of(_days(results, 5_000, 1, 60), "ours through Dagster"),
        _seconds,
        _at_most(6),
    ),
    Target(
        "a day computed again with nothing changed: rows written, as a share of the day's",
        "1 %",
        _share_written,
        lambda value: f"{100 * value:.3g} %",
        _at_most(0.01),
    ),
)
