"""The sections of the report as text: cohorts, reasons, recommendations, and the week in figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from snapshot_pipeline.plots.text import NEXT_STEP, display_name, ordered_types, type_name
from snapshot_pipeline.report.changes import WORSE, Change, compare
from snapshot_pipeline.report.figures import Cohort, GroupFigures, ReportFigures, cohort_name
from snapshot_pipeline.report.numbers import UNKNOWN, hours, percent, points, signed, whole

REASON_NAMES = {
    "DORMANT": "No activity for 28 days or more",
    "INACTIVE": "No activity for 14 to 27 days",
    "MISSED_QUIZZES": "Missed quizzes that half of the peers have taken",
    "LOW_RESULTS": "Low quiz scores",
    "FEW_ACTIVE_DAYS": "Few active days",
    "BEHIND_PEERS": "Takes quizzes later than most",
    "NOT_STARTED": "Has not started a lesson",
}

_MAX_TICKS = 4


@dataclass(frozen=True)
class CohortRow:
    """A cohort on the week's Sunday.

    Attributes:
        share: Of its students, inactive for 14 days or more.
        change: Of that share since the Sunday before, in percentage points.
        position: Of the share on the axis, in percent of its length.
        position_before: Of the share on the Sunday before; None if unknown.
    """

    name: str
    students: str
    inactive: str
    share: str
    change: Change
    pace: str
    position: float
    position_before: float | None


@dataclass(frozen=True)
class CohortTable:
    """All cohorts, the worst first.

    Attributes:
        ticks: Position and label of the marks on the axis of the shares.
    """

    rows: Sequence[CohortRow]
    ticks: Sequence[tuple[float, str]]


@dataclass(frozen=True)
class ReasonRow:
    """A reason for which students are at risk; `width` is that of its bar in percent of the longest."""

    name: str
    students: str
    change: Change
    width: float


@dataclass(frozen=True)
class AdviceRow:
    """A type of recommendation: how many for the coming week, and what became of last week's."""

    name: str
    now: str
    before: str
    dismissed: str
    followed: str


@dataclass(frozen=True)
class WeekRow:
    """A figure of the week and of the week before."""

    name: str
    now: str
    before: str
    change: str


def cohort_table(figures: ReportFigures) -> CohortTable:
    """All cohorts by the share inactive for 14 days, the highest first; ties by median pace, the lowest first."""
    before = figures.before.cohorts
    ranked = sorted(figures.week.cohorts.items(), key=_worst_first)
    now_and_before = [(cohort, group, before.get(cohort)) for cohort, group in ranked]
    shares = [
        share
        for _, *groups in now_and_before
        for group in groups
        if group and (share := group.share(group.inactive_14_days)) is not None
    ]
    axis = Axis.around(shares)
    rows = [_cohort_row(cohort, now, earlier, axis) for cohort, now, earlier in now_and_before]
    return CohortTable(rows, axis.ticks())


def _worst_first(entry: tuple[Cohort, GroupFigures]) -> tuple[float, float, Cohort]:
    cohort, group = entry
    return (
        -(group.share(group.inactive_14_days) or 0),
        math.inf if group.pace_median is None else group.pace_median,
        cohort,
    )


def _cohort_row(cohort: Cohort, now: GroupFigures, before: GroupFigures | None, axis: Axis) -> CohortRow:
    share = now.share(now.inactive_14_days) or 0.0
    share_before = before.share(before.inactive_14_days) if before else None
    return CohortRow(
        name=cohort_name(cohort),
        students=whole(now.students),
        inactive=whole(now.inactive_14_days),
        share=percent(share),
        change=compare(share * 100, None if share_before is None else share_before * 100, WORSE, 1),
        pace=points(now.pace_median),
        position=axis.position(share),
        position_before=None if share_before is None else axis.position(share_before),
    )


@dataclass(frozen=True)
class Axis:
    """The part of 0 to 100 percent in which the data lie; `first`, `last` and `step` are percentages."""

    first: float
    last: float
    step: float

    @classmethod
    def around(cls, shares: Sequence[float]) -> Axis:
        """The shortest axis with round ends around some shares, 0 to 1."""
        lowest, highest = (100 * min(shares), 100 * max(shares)) if shares else (0.0, 100.0)
        step = next(
            size for size in (1, 2, 5, 10, 20, 25, 50) if _ticks(lowest, highest, size) <= _MAX_TICKS or size == 50
        )
        first, last = math.floor(lowest / step) * step, math.ceil(highest / step) * step
        if first == last:
            first, last = (first - step, last) if last >= 100 else (first, last + step)
        return cls(first, last, step)

    def position(self, share: float) -> float:
        """Where a share lies, in percent of the axis."""
        return round((100 * share - self.first) / (self.last - self.first) * 100, 2)

    def ticks(self) -> list[tuple[float, str]]:
        """Positions and labels."""
        count = round((self.last - self.first) / self.step)
        values = [self.first + self.step * number for number in range(count + 1)]
        return [(self.position(value / 100), f"{value:g}\N{NO-BREAK SPACE}%") for value in values]


def _ticks(lowest: float, highest: float, step: int) -> int:
    return math.ceil(highest / step) - math.floor(lowest / step) + 1


def reason_rows(figures: ReportFigures) -> list[ReasonRow]:
    """The reasons of the students at risk, the most frequent first."""
    now, before = figures.week.at_risk, figures.before.at_risk
    if now is None:
        return []
    order = list(REASON_NAMES)
    codes = sorted(
        {*now.reasons, *(before.reasons if before else ())},
        key=lambda code: (-now.reasons.get(code, 0), order.index(code) if code in order else len(order), code),
    )
    most = max(now.reasons.values(), default=0)
    return [
        ReasonRow(
            name=REASON_NAMES.get(code) or display_name(code),
            students=whole(now.reasons.get(code, 0)),
            change=compare(now.reasons.get(code, 0), before.reasons.get(code, 0) if before else None, WORSE),
            width=round(100 * now.reasons.get(code, 0) / most, 1) if most else 0,
        )
        for code in codes
    ]


def advice_rows(figures: ReportFigures) -> list[AdviceRow]:
    """The types that one of the two weeks has; the default next step comes last, and is not advice."""
    now = figures.recommendations.get(figures.week.start)
    before = figures.recommendations.get(figures.before.start)
    rows = []
    for kind in ordered_types([now or {}, before or {}]):
        if not (now or {}).get(kind) and not (before or {}).get(kind):
            continue
        outcome = None if kind == NEXT_STEP else figures.outcomes.get(kind)
        rows.append(
            AdviceRow(
                name=type_name(kind),
                now=whole(now.get(kind, 0) if now else None),
                before=whole(before.get(kind, 0) if before else None),
                dismissed=whole(outcome.dismissed) if outcome else UNKNOWN,
                followed=whole(outcome.followed) if outcome and outcome.naming else UNKNOWN,
            )
        )
    return sorted(rows, key=lambda row: row.name == type_name(NEXT_STEP))


def week_rows(figures: ReportFigures) -> list[WeekRow]:
    """The week compared with the week before."""
    now, before = figures.week, figures.before
    return [
        _compare_sundays(figures, "Students with a snapshot", "students"),
        _compare("Active in the week", now.active, before.active),
        _compare_sundays(figures, "Inactive for 7 days or more", "inactive_7_days"),
        _compare_sundays(figures, "Inactive for 14 days or more", "inactive_14_days"),
        _compare("Lessons completed", now.lessons, before.lessons),
        _compare("Hours spent", hours(now.minutes), hours(before.minutes)),
        _compare_sundays(figures, "Median pace score, points", "pace_median", 1),
        _compare_sundays(figures, "Mean quiz average, %", "quiz_average_mean", 1),
    ]


def _compare_sundays(figures: ReportFigures, name: str, column: str, decimals: int = 0) -> WeekRow:
    now, before = (getattr(week.end, column) if week.end else None for week in (figures.week, figures.before))
    return _compare(name, now, before, decimals)


def _compare(name: str, now: float | None, before: float | None, decimals: int = 0) -> WeekRow:
    as_text = points if decimals else whole
    return WeekRow(name, as_text(now), as_text(before), signed(now, before, decimals))
