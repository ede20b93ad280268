"""The tables of a day's summaries: over all students, and by cohort."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Double,
    MetaData,
    Table,
    Text,
)

from snapshot_pipeline.store.tables.published import DESCRIPTION, VALUES


def day_summary(metadata: MetaData) -> Table:
    """Define the table."""
    return Table(
        "day_summary",
        metadata,
        Column("snapshot_date", Date, primary_key=True, doc="The day."),
        *_summary_columns(),
        info={DESCRIPTION: "One row per summarized day, over all its students."},
    )


def cohort_summary(metadata: MetaData) -> Table:
    """Define the table."""
    return Table(
        "cohort_summary",
        metadata,
        Column("snapshot_date", Date, primary_key=True, doc="The day."),
        Column(
            "specialization",
            Text,
            primary_key=True,
            doc="The specialization of the students; empty for those without one.",
        ),
        Column("level", Text, primary_key=True, doc="The level of the students; empty for those without one."),
        *_summary_columns(),
        info={DESCRIPTION: "One row per summarized day, specialization and level."},
    )


def _summary_columns() -> list[Column[Any]]:
    """The columns that both tables have."""
    return [
        _count("students", "Students that have a snapshot of the day."),
        _count("failed", "Students whose day could not be computed."),
        _count("active_students", "Students active on the day."),
        _score("pace_mean", "The mean pace score; null without students."),
        _score("pace_p25", "A quarter of the students have this pace score or less; null without students."),
        _score("pace_median", "Half of the students have this pace score or less; null without students."),
        _score("pace_p75", "Three quarters of the students have this pace score or less; null without students."),
        _count("slow_students", "Students whose label is SLOW."),
        _count("medium_students", "Students whose label is MEDIUM."),
        _count("fast_students", "Students whose label is FAST."),
        _count("accelerated_students", "Students whose label is ACCELERATED."),
        _score("quiz_average_mean", "The mean quiz average of the students who have one, or null."),
        _count("minutes_spent", "Minutes spent on the lessons started on the day."),
        _count("lessons_completed", "Lessons completed on the day."),
        _count("inactive_7_days", "Students without activity for 7 days or more."),
        _count("inactive_14_days", "Students without activity for 14 days or more."),
        Column("computed_at", DateTime(timezone=True), nullable=False, doc="When the row was last written."),
        Column("run_id", Text, nullable=False, doc="The run that wrote it."),
    ]


def _count(name: str, sentence: str) -> Column[Any]:
    return Column(name, BigInteger, nullable=False, doc=sentence, info={VALUES: "0 or more"})


def _score(name: str, sentence: str) -> Column[Any]:
    """Of points or percent; null without students."""
    return Column(name, Double, doc=sentence, info={VALUES: "0 to 100"})
