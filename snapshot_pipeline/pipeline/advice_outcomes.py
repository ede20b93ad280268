"""What became of a week's recommendations: how many were dismissed, and how many followed."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pandas as pd

from snapshot_pipeline.metrics.days import end_of_day, start_of_day
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.source import open_source
from snapshot_pipeline.platform.reads import PlatformReader
from snapshot_pipeline.plots.text import NEXT_STEP
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.report.figures import AdviceOutcome
from snapshot_pipeline.store.recommendations import counts_by_week, dismissed_counts, read_named_lessons

LESSONS_PER_READ = 50_000
"""Lessons that one statement looks up."""


def read_outcomes(installation: Installation, given_for: date) -> dict[str, AdviceOutcome]:
    """The outcome of the recommendations of a week by type, without the default next step; empty if there are none.

    They are published on the Monday after the week, and shown until the Sunday of that next week, which has ended.
    """
    counts = installation.transaction(counts_by_week, given_for, given_for).get(given_for, {})
    given = {kind: count for kind, count in counts.items() if kind != NEXT_STEP}
    if not given:
        return {}
    zone, monday = installation.settings.zone, given_for + timedelta(weeks=1)
    start, end = start_of_day(monday, zone), end_of_day(monday + timedelta(days=6), zone)
    dismissed = installation.transaction(dismissed_counts, given_for, end)
    with bulk.transaction(installation.uri) as connection:
        named = read_named_lessons(connection, installation.store, given_for, list(given))
    with open_source(installation, end).session() as reader:
        completed_at = _completed_at(reader, named)
    # What was completed before the week, as lessons to review are, cannot be completed in it.
    to_complete = named.assign(is_completed=completed_at < end)[~(completed_at < start).to_numpy()]
    followed = to_complete.groupby(["recommendation_type", "user_id"])["is_completed"].any()
    naming_counts = followed.groupby(level="recommendation_type").size()
    followed_counts = followed.groupby(level="recommendation_type").sum()
    return {
        kind: AdviceOutcome(
            count, dismissed.get(kind, 0), int(naming_counts.get(kind, 0)), int(followed_counts.get(kind, 0))
        )
        for kind, count in given.items()
    }


def _completed_at(reader: PlatformReader, lessons: pd.DataFrame) -> pd.Series[Any]:
    """When each lesson, of rows with `user_id` and `lesson_id`, was first completed; NaT: never."""
    key = ["user_id", "lesson_id"]
    parts = [
        reader.progress_of(part["user_id"].tolist(), part["lesson_id"].tolist())[[*key, "completed_at"]]
        for part in (lessons[first : first + LESSONS_PER_READ] for first in range(0, len(lessons), LESSONS_PER_READ))
    ]
    if not parts:
        return pd.Series([], dtype="datetime64[us, UTC]")
    first_completed = pd.concat(parts).groupby(key)["completed_at"].min()
    return lessons[key].join(first_completed, on=key)["completed_at"]
