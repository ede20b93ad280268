"""An explanation of one student's pace score of one day, with the numbers of its own computation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np

from snapshot_pipeline.metrics.days import LEAD_DAYS, LocalDays
from snapshot_pipeline.metrics.events import Events, StudentHistory
from snapshot_pipeline.metrics.grid import round_half_away
from snapshot_pipeline.metrics.pace import CONSISTENCY_WEIGHT, QUIZ_WEIGHT, VELOCITY_WEIGHT, learning_paces
from snapshot_pipeline.metrics.quiz_average import ATTEMPTS, WEIGHTS
from snapshot_pipeline.metrics.snapshot import lessons_by_day, pace_terms, quiz_averages


@dataclass(frozen=True)
class Term:
    """One of the three terms of a score.

    Attributes:
        value: 0 to 100, unrounded.
        weight: Its share of the score, 0 to 1.
    """

    value: float
    weight: float

    @property
    def points(self) -> float:
        """Its contribution to the score."""
        return self.weight * self.value


@dataclass(frozen=True)
class CountedAttempt:
    """A scored attempt of the quiz average.

    Attributes:
        completed_at: In UTC.
        score: In percent.
        weight: In hundredths.
    """

    attempt_id: int
    completed_at: datetime
    score: float
    weight: int


@dataclass(frozen=True)
class StudentIssue:
    """An invalid row; see the columns of `data_issues`."""

    day: date
    source_table: str
    source_key: str
    issue: str
    detail: str


@dataclass(frozen=True)
class PaceExplanation:
    """The terms of a pace score and what they are computed from.

    Attributes:
        first: The first day of the window.
        last: The day itself.
        lessons: Completed lessons by day, ascending, without days that have none.
        attempts: The attempts of the quiz average, newest first.
        unrounded: The sum of the three terms.
        pace_score: The rounded score, as published.
        issues: Invalid rows among those that were read; they were corrected or ignored.
    """

    first: date
    last: date
    lessons: dict[date, int]
    attempts: list[CountedAttempt]
    velocity: Term
    consistency: Term
    quiz: Term
    unrounded: float
    pace_score: float
    learning_pace: str
    issues: list[StudentIssue]

    @property
    def days(self) -> int:
        """Days in the window, `n`."""
        return (self.last - self.first).days + 1

    @property
    def quiz_average(self) -> float | None:
        """Unrounded; None without a scored attempt."""
        return self.quiz.value if self.attempts else None


def explain_pace(history: StudentHistory, days: LocalDays) -> PaceExplanation | None:
    """Explain the pace score of the one student of a history on the one day of `days`; None if none is due."""
    events = Events.of(history, days)
    if not events.due.any():
        return None
    lessons = lessons_by_day(events)
    terms = pace_terms(events, lessons, quiz_averages(events))
    scores = round_half_away(terms.scores)
    length = int(terms.lengths[0, 0])
    first = days.last - timedelta(days=length - 1)
    counts = lessons[0, LEAD_DAYS + 1 - length :].tolist()
    return PaceExplanation(
        first=first,
        last=days.last,
        lessons={first + timedelta(days=n): count for n, count in enumerate(counts) if count},
        attempts=_attempts(events),
        velocity=Term(float(terms.velocity[0, 0]), VELOCITY_WEIGHT),
        consistency=Term(float(terms.consistency[0, 0]), CONSISTENCY_WEIGHT),
        quiz=Term(float(terms.quiz[0, 0]), QUIZ_WEIGHT),
        unrounded=float(terms.scores[0, 0]),
        pace_score=float(scores[0, 0]),
        learning_pace=str(learning_paces(scores)[0, 0]),
        issues=[
            StudentIssue(day.date(), table, key, issue, detail)
            for day, table, key, issue, detail in zip(
                *(history.issues[name] for name in ("day", "source_table", "source_key", "issue", "detail")),
                strict=True,
            )
        ],
    )


def _attempts(events: Events) -> list[CountedAttempt]:
    newest = int(events.newest_score[0, 0])
    if newest < 0:
        return []
    used = np.arange(newest, newest - min(int(events.attempt_rank[newest]) + 1, ATTEMPTS), -1)
    rows = events.scored.iloc[used]
    return [
        CountedAttempt(int(attempt_id), completed_at.to_pydatetime(), float(score), weight)
        for attempt_id, completed_at, score, weight in zip(
            rows["attempt_id"], rows["completed_at"], rows["score"], WEIGHTS[: len(used)], strict=True
        )
    ]
