"""A figure of the week beside that of the week before: the change, and whether it is better or worse."""

from __future__ import annotations

from dataclasses import dataclass

from snapshot_pipeline.report.figures import ReportFigures, WeekFigures
from snapshot_pipeline.report.numbers import MINUS, UNKNOWN, enumerate_names, percent, signed, whole

BETTER, WORSE = "better", "worse"


@dataclass(frozen=True)
class Change:
    """A difference as text, such as `+12`, and its judgment in a word; both are None if nothing is compared.

    The judgment is also None for a figure that has not changed.
    """

    text: str | None = None
    judgment: str | None = None

    def __str__(self) -> str:
        return ", ".join(part for part in (self.text, self.judgment) if part)


def compare(now: float | None, before: float | None, more_is: str, decimals: int = 0) -> Change:
    """The change of a figure, of which more is `BETTER` or `WORSE`."""
    text = signed(now, before, decimals)
    if text == UNKNOWN:
        return Change()
    if not text.startswith(("+", MINUS)):
        return Change("as last week")
    less_is = BETTER if more_is == WORSE else WORSE
    return Change(text, more_is if text.startswith("+") else less_is)


@dataclass(frozen=True)
class Tile:
    """A figure at the top of the report.

    Attributes:
        value: As text.
        detail: What it consists of, or its share; empty if there is nothing to say.
    """

    name: str
    value: str
    change: Change
    detail: str = ""

    def __str__(self) -> str:
        change = f" ({self.change})" if self.change.text else ""
        return f"{self.name}: {self.value}{change}{f'; {self.detail}' if self.detail else ''}"


def tiles(figures: ReportFigures) -> list[Tile]:
    """At risk, new, left, inactive for 14 days, active."""
    now, before = figures.week, figures.before
    return [
        Tile("At risk", *_risk(now, before, "students", WORSE), _states(now)),
        Tile("New this week", *_risk(now, before, "new", WORSE)),
        Tile("Left the list", *_risk(now, before, "left", BETTER)),
        _student_tile("Inactive for 14 days", now, _inactive(now), _inactive(before), WORSE),
        _student_tile("Active in the week", now, now.active, before.active, BETTER),
    ]


def _risk(now: WeekFigures, before: WeekFigures, name: str, more_is: str) -> tuple[str, Change]:
    count, count_before = (getattr(week.at_risk, name) if week.at_risk else None for week in (now, before))
    return whole(count), compare(count, count_before, more_is)


def _student_tile(name: str, week: WeekFigures, now: int | None, before: int | None, more_is: str) -> Tile:
    share = week.end.share(now) if week.end and now is not None else None
    detail = "" if share is None else f"{percent(share)} of the students"
    return Tile(name, whole(now), compare(now, before, more_is), detail)


def _inactive(week: WeekFigures) -> int | None:
    return week.end.inactive_14_days if week.end else None


def _states(week: WeekFigures) -> str:
    if week.at_risk is None:
        return "not computed for this week"
    names = {"listed": "with a low score", "dormant": "silent for 28 days", "not_started": "not started"}
    states = week.at_risk.states
    parts = [f"{whole(states[state])} {name}" for state, name in names.items() if states.get(state)]
    return enumerate_names(parts) if parts else ""
