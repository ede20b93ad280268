"""Numbers and dates of the report as text."""

from __future__ import annotations

from datetime import date

from snapshot_pipeline.plots.text import WEEKDAYS, long_date

UNKNOWN = "\N{EN DASH}"
"""Shown instead of an unknown number."""

MINUS = "\N{MINUS SIGN}"


def whole(number: float | None) -> str:
    """`1,204`."""
    return UNKNOWN if number is None else f"{number:,.0f}"


def points(number: float | None) -> str:
    """A score: `48.7`."""
    return UNKNOWN if number is None else f"{number:.1f}"


def percent(share: float | None) -> str:
    """A share: `8.1 %`."""
    return UNKNOWN if share is None else f"{share * 100:.1f}\N{NO-BREAK SPACE}%"


def hours(minutes: float | None) -> float | None:
    """Minutes in hours."""
    return None if minutes is None else minutes / 60


def signed(now: float | None, before: float | None, decimals: int = 0) -> str:
    """A difference with its sign: `+1,204`; `0` if there is none."""
    if now is None or before is None:
        return UNKNOWN
    # The difference of the rounded numbers, which are shown beside it.
    difference = round(round(now, decimals) - round(before, decimals), decimals)
    if not difference:
        return f"{0:.{decimals}f}"
    return f"{'+' if difference > 0 else MINUS}{abs(difference):,.{decimals}f}"


def weekday_and_date(day: date) -> str:
    """`Thursday, 26 Feb 2026`."""
    return f"{WEEKDAYS[day.weekday()]}, {long_date(day)}"


def enumerate_names(names: list[str]) -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
