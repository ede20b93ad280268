"""Dates, numbers and names as text, for plots and reports; without Matplotlib."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import date

# Not `%b` and `%A`, which depend on the locale of the machine.
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

NEXT_STEP = "CONTINUE_LEARNING"
"""The recommendation that is only the default next step, and not counted as advice."""

RECOMMENDATION_TYPES = (
    "TAKE_BREAK",
    "RESUME_LEARNING",
    "REVIEW_LESSON",
    "START_LEARNING",
    "PRACTICE_MORE",
    NEXT_STEP,
)
"""The most urgent first."""

_TYPE_NAMES = {NEXT_STEP: "Next lesson (default)"}

_MAX_NAME = 28

# Control characters and line ends, marks that change the text direction, and characters that XML does not allow.
_NOT_TEXT = "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"


def short_date(day: date) -> str:
    """`9 Mar`."""
    return f"{day.day} {MONTHS[day.month - 1]}"


def long_date(day: date) -> str:
    """`9 Mar 2026`."""
    return f"{short_date(day)} {day.year}"


def period(first: date, last: date) -> str:
    """`2 Mar to 8 Mar 2026`, both included."""
    if first == last:
        return long_date(last)
    return f"{short_date(first) if first.year == last.year else long_date(first)} to {long_date(last)}"


def count_noun(number: float, noun: str) -> str:
    """`1 student`, `1,204 students`."""
    return f"{number:,.0f} {noun}{'' if f'{number:.0f}' == '1' else 's'}"


def percentage(share: float) -> float:
    """Return a share in percent, rounded down to a tenth: a share below a minimum must not look equal to it."""
    # 1e-9, because a share such as 0.29 is a little less than 29 hundredths in binary.
    return math.floor(share * 1000 + 1e-9) / 10


def percentage_up(share: float) -> float:
    """Return a share in percent, rounded up to a tenth: a share above a maximum must not look equal to it."""
    return math.ceil(share * 1000 - 1e-9) / 10


def percent(share: float) -> str:
    """Return `percentage` as text: `98.7 %`."""
    return f"{percentage(share):g} %"


def percent_up(share: float) -> str:
    """Return `percentage_up` as text."""
    return f"{percentage_up(share):g} %"


def display_name(name: str) -> str:
    """`RESUME_LEARNING` as `Resume learning`."""
    return plain(name.replace("_", " ").capitalize())


def ordered_types(weeks: Iterable[Mapping[str, int]]) -> list[str]:
    """`RECOMMENDATION_TYPES`, then other types that one of the weeks has, by name."""
    return [*RECOMMENDATION_TYPES, *sorted({kind for week in weeks for kind in week} - set(RECOMMENDATION_TYPES))]


def type_name(kind: str) -> str:
    """A type of recommendation as `display_name`; the default next step is called so."""
    return _TYPE_NAMES.get(kind) or display_name(kind)


def plain(text: str, max_length: int = _MAX_NAME) -> str:
    """A text from the database in one line, without control characters, truncated to `max_length` characters."""
    line = " ".join(re.sub(_NOT_TEXT, " ", text).split())
    return line if len(line) <= max_length else line[: max_length - 1].rstrip() + "…"
