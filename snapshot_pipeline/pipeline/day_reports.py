"""How a day went, over all students: what is counted of each batch, and how the counts of batches go together.

Put here: the counts, and how they are made of computed rows. Do not put here: who computes the rows (`snapshots`,
`retry`), or whom they are shown to (`orchestration`, `cli`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.metrics.score_counts import ScoreCounts
from snapshot_pipeline.metrics.snapshot import SnapshotBatch
from snapshot_pipeline.store.days import DayCount
from snapshot_pipeline.store.failures import FailedStudent
from snapshot_pipeline.store.snapshots import Publication

EXAMPLES = 10
"""How many failed students a day's report names."""


@dataclass
class DayReport:
    """How one day went, over all students.

    Attributes:
        day: The day.
        published: Students published.
        failures: Students failed, by reason.
        examples: The first ten failed students, by id.
        first_failed: The first student, by id, that failed for each reason.
        active: Students published who did something on that day.
        lessons: Lessons completed.
        minutes: Minutes spent.
        paces: The pace scores published, counted.
        quizzers: Students published who have a quiz average.
        quiz_total: The sum of their quiz averages.
        restated: Figures published earlier that are others now.
    """

    day: date
    published: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    examples: list[FailedStudent] = field(default_factory=list)
    first_failed: dict[str, int] = field(default_factory=dict)
    active: int = 0
    lessons: int = 0
    minutes: int = 0
    paces: ScoreCounts = field(default_factory=ScoreCounts.none)
    quizzers: int = 0
    quiz_total: float = 0.0
    restated: int = 0

    @property
    def count(self) -> DayCount:
        """Published and failed, as the store keeps them."""
        return DayCount(self.day, self.published, self.failures.total())

    @property
    def mean_quiz_average(self) -> float | None:
        """The mean quiz average of those who have one; None where nobody has."""
        return self.quiz_total / self.quizzers if self.quizzers else None

    def add(self, other: DayReport) -> None:
        """Count another batch's report of the same day in."""
        self.published += other.published
        self.failures += other.failures
        self.examples = sorted(self.examples + other.examples, key=lambda student: student.user_id)[:EXAMPLES]
        for reason, user_id in other.first_failed.items():
            self.first_failed[reason] = min(user_id, self.first_failed.get(reason, user_id))
        self.active += other.active
        self.lessons += other.lessons
        self.minutes += other.minutes
        self.paces += other.paces
        self.quizzers += other.quizzers
        self.quiz_total += other.quiz_total
        self.restated += other.restated


def reports_of(snapshots: SnapshotBatch, publication: Publication, days: LocalDays) -> Iterable[DayReport]:
    """The report of each of the days of one batch."""
    published, failures = snapshots.published, snapshots.failures
    day = _day_numbers(published, days)
    did_something = (published["last_activity_date"] == published["snapshot_date"]).to_numpy()
    averages = published["quiz_average"].to_numpy(np.float64)
    has_average = ~np.isnan(averages)
    totals = {
        "published": np.bincount(day, minlength=days.count),
        "active": np.bincount(day, did_something, days.count),
        "lessons": np.bincount(day, published["lessons_completed_count"], days.count),
        "minutes": np.bincount(day, published["time_spent_minutes_today"], days.count),
        "quizzers": np.bincount(day, has_average, days.count),
        "quiz_total": np.bincount(day, np.where(has_average, averages, 0), days.count),
    }
    paces = ScoreCounts.by_day(published["pace_score"].to_numpy(np.float64), day, days.count)
    failed_day = _day_numbers(failures, days)
    for number in range(days.count):
        failed = failures[failed_day == number]
        first_failed = failed.head(EXAMPLES)
        yield DayReport(
            day=days.first + timedelta(days=number),
            published=int(totals["published"][number]),
            failures=Counter(failed["reason"].tolist()),
            examples=[
                FailedStudent(int(user_id), reason, detail)
                for user_id, reason, detail in zip(
                    first_failed["user_id"], first_failed["reason"], first_failed["detail"], strict=True
                )
            ],
            first_failed={
                reason: int(user_ids.min()) for reason, user_ids in failed.groupby("reason", sort=False)["user_id"]
            }
            if len(failed)
            else {},
            active=int(totals["active"][number]),
            lessons=int(totals["lessons"][number]),
            minutes=int(totals["minutes"][number]),
            paces=paces[number],
            quizzers=int(totals["quizzers"][number]),
            quiz_total=float(totals["quiz_total"][number]),
            restated=int(publication.restated[number]),
        )


def _day_numbers(frame: pd.DataFrame, days: LocalDays) -> NDArray[np.int64]:
    """Which of the days computed each row belongs to, from 0."""
    dates = frame["snapshot_date"].to_numpy().astype("datetime64[D]")
    return (dates - np.datetime64(days.first, "D")).astype(np.int64)
