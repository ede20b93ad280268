"""The summaries of a day, one student after the other and in fractions: a slow, independent reading of `metrics.md`.

Put here: the figures of a group of students. Do not put here: which rows a test gives them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

from snapshot_pipeline_tests.reference.snapshots import exact, rounded

FIGURES = (
    "students",
    "failed",
    "active_students",
    "pace_mean",
    "pace_p25",
    "pace_median",
    "pace_p75",
    "slow_students",
    "medium_students",
    "fast_students",
    "accelerated_students",
    "quiz_average_mean",
    "minutes_spent",
    "lessons_completed",
    "inactive_7_days",
    "inactive_14_days",
)


@dataclass(frozen=True)
class Published:
    """What of a snapshot is summarized."""

    pace_score: float
    learning_pace: str
    quiz_average: float | None
    lessons: int
    minutes: int
    last_activity_date: date


def reference_summary(day: date, published: Sequence[Published], failed: int) -> dict[str, float | int | None]:
    """The figures of one group of students on `day`."""
    paces = sorted(exact(one.pace_score) for one in published)
    quizzes = [exact(one.quiz_average) for one in published if one.quiz_average is not None]
    inactive = [(day + timedelta(days=1) - one.last_activity_date).days for one in published]
    labels = [one.learning_pace for one in published]
    return {
        "students": len(published),
        "failed": failed,
        "active_students": sum(one.last_activity_date == day for one in published),
        "pace_mean": _mean(paces),
        "pace_p25": _percentile(paces, Fraction(1, 4)),
        "pace_median": _percentile(paces, Fraction(1, 2)),
        "pace_p75": _percentile(paces, Fraction(3, 4)),
        "slow_students": labels.count("SLOW"),
        "medium_students": labels.count("MEDIUM"),
        "fast_students": labels.count("FAST"),
        "accelerated_students": labels.count("ACCELERATED"),
        "quiz_average_mean": _mean(quizzes),
        "minutes_spent": sum(one.minutes for one in published),
        "lessons_completed": sum(one.lessons for one in published),
        "inactive_7_days": sum(days >= 7 for days in inactive),
        "inactive_14_days": sum(days >= 14 for days in inactive),
    }


def _mean(values: Sequence[Fraction]) -> float | None:
    return float(rounded(sum(values, Fraction(0)) / len(values))) if values else None


def _percentile(ascending: Sequence[Fraction], share: Fraction) -> float | None:
    """By the definition of `percentile_cont`: the value at the place `share * (n - 1)`, counted from 0."""
    if not ascending:
        return None
    place = share * (len(ascending) - 1)
    below = int(place)
    above = min(below + 1, len(ascending) - 1)
    return float(rounded(ascending[below] + (place - below) * (ascending[above] - ascending[below])))
