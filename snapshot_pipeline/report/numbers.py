"""How a number of the page is written.

Put here: thousands, decimals, signs, units. Do not put here: the sentences around them.
"""

from __future__ import annotations

from datetime import date

NOT_KNOWN = "\N{EN DASH}"
"""What stands where a number is not known."""

MINUS = "\N{MINUS SIGN}"

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def whole(number: float | None) -> str:
    """`1,204`."""
    return NOT_KNOWN if number is None else f"{number:,.0f}"


def points(number: float | None) -> str:
    """A score: `48.7`."""
    return NOT_KNOWN if number is None else f"{number:.1f}"


def percent(share: float | None) -> str:
    """A share: `8.1 %`."""
    return NOT_KNOWN if share is None else f"{share * 100:.1f}\N{NO-BREAK SPACE}%"


def hours(minutes: float | None) -> float | None:
    """Minutes as hours."""
    return None if minutes is None else minutes / 60


def counted(number: float, thing: str) -> str:
    """`1 student`, `1,204 students`."""
    return f"{number:,.0f} {thing}{'' if f'{number:.0f}' == '1' else 's'}"


def signed(now: float | None, before: float | None, decimals: int = 0) -> str:
    """What changed, with its sign: `+1,204`; nothing where it is not known, `0` where nothing did."""
    if now is None or before is None:
        return NOT_KNOWN
    # What is shown must come out of what is shown: the difference of the rounded numbers.
    difference = round(round(now, decimals) - round(before, decimals), decimals)
    if not difference:
        return f"{0:.{decimals}f}"
    return f"{'+' if difference > 0 else MINUS}{abs(difference):,.{decimals}f}"


def day_name(day: date) -> str:
    """`Thursday, 26 Feb 2026`."""
    return f"{_WEEKDAYS[day.weekday()]}, {day_of_year(day)}"


def day_of_year(day: date) -> str:
    """`26 Feb 2026`."""
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def day_of_week(day: date) -> str:
    """`Thu 26 Feb`."""
    return f"{_WEEKDAYS[day.weekday()][:3]} {day.day} {_MONTHS[day.month - 1]}"


def listed(things: list[str]) -> str:
    """`a, b and c`."""
    return things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"
