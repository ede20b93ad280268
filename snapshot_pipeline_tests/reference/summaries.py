"""The summary of a group of students on snapshot day, in exact fractions, as defined in `metrics.md`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from snapshot_pipeline_tests.reference.rows import exact
from snapshot_pipeline_tests.reference.snapshots import rounded

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
    """The columns of a snapshot that are summarized."""

    pace_score: float
    learning_pace: str
    quiz_average: float | None
    lessons: int
    minutes: int
    last_activity_date: date


def reference_summary(day: date, published: Sequence[Published], failed: int) -> dict[str, float | int | None]:
    """Return the figures of snapshot group of students on `day`, by name."""
    paces = sorted(exact(snapshot.pace_score) for snapshot in published)
    quizzes = [exact(snapshot.quiz_average) for snapshot in published if snapshot.quiz_average is not None]
    since_activity = [(day - snapshot.last_activity_date).days for snapshot in published]
    labels = [snapshot.learning_pace for snapshot in published]
    return {
        "students": len(published),
        "failed": failed,
        "active_students": sum(snapshot.last_activity_date == day for snapshot in published),
        "pace_mean": _mean(paces),
        "pace_p25": _percentile(paces, Fraction(1, 4)),
        "pace_median": _percentile(paces, Fraction(1, 2)),
        "pace_p75": _percentile(paces, Fraction(3, 4)),
        "slow_students": labels.count("SLOW"),
        "medium_students": labels.count("MEDIUM"),
        "fast_students": labels.count("FAST"),
        "accelerated_students": labels.count("ACCELERATED"),
        "quiz_average_mean": _mean(quizzes),
        "minutes_spent": sum(snapshot.minutes for snapshot in published),
        "lessons_completed": sum(snapshot.lessons for snapshot in published),
        "inactive_7_days": sum(days >= 7 for days in since_activity),
        "inactive_14_days": sum(days >= 14 for days in since_activity),
    }


def _mean(values: Sequence[Fraction]) -> float | None:
    return float(rounded(sum(values, Fraction(0)) / len(values))) if values else None


def _percentile(ascending: Sequence[Fraction], share: Fraction) -> float | None:
    """Return the value at position `share * (n - 1)`, counted from 0, interpolated as by `percentile_cont`."""
    if not ascending:
        return None
    position = share * (len(ascending) - 1)
    below = int(position)
    above = min(below + 1, len(ascending) - 1)
    return float(rounded(ascending[below] + (position - below) * (ascending[above] - ascending[below])))
