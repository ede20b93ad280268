"""What a person wants to see of a computed day besides its counts: who moved, who is missing, how it was before.

Put here: which questions are asked of the published rows. Do not put here: the questions (`store`), or how the answers
are shown (`orchestration.day_metadata`, `orchestration.pictured`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from snapshot_pipeline.metrics.score_counts import ScoreCounts
from snapshot_pipeline.pipeline.day_reports import EXAMPLES
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.store.days import day_counts
from snapshot_pipeline.store.snapshot_queries import (
    PaceChange,
    WithoutData,
    largest_pace_changes,
    pace_counts,
    students_without_data,
)

COMPARED_WITH = timedelta(weeks=4)
"""How long before a day the one lies that its paces are compared with: the same weekday."""

CALENDAR = timedelta(weeks=13)
"""How far back the calendar of success rates reaches."""

FIRST_STUDENTS = 5
"""How many students without data are named."""


@dataclass(frozen=True)
class DayReview:
    """A computed day, as its published rows show it.

    Attributes:
        day: The day.
        movers: The ten students whose pace score changed most since the day before.
        students_without_data: The students of whom there is little to say.
        earlier_day: The day four weeks before.
        earlier_paces: The pace scores of that day; of nobody where it was not computed.
    """

    day: date
    movers: list[PaceChange]
    students_without_data: WithoutData
    earlier_day: date
    earlier_paces: ScoreCounts


def review_day(installation: Installation, day: date) -> DayReview:
    """Ask of a published day what a person wants to see, once: nothing depends on the answer."""
    earlier = day - COMPARED_WITH
    with installation.engine.connect() as connection:
        return DayReview(
            day=day,
            movers=largest_pace_changes(connection, installation.store, day, EXAMPLES),
            students_without_data=students_without_data(connection, installation.store, day, FIRST_STUDENTS),
            earlier_day=earlier,
            earlier_paces=pace_counts(connection, installation.store, earlier),
        )


def success_rates(installation: Installation, last: date) -> Mapping[date, float | None]:
    """The success rate of each computed day of the calendar that ends with `last`; None on a day without students."""
    with installation.engine.connect() as connection:
        counts = day_counts(connection, installation.store, last - CALENDAR + timedelta(days=1), last)
    return {count.day: count.success_rate for count in counts}
