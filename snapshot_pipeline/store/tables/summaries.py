"""The tables of what a day comes to over all its students, and over those of a cohort.

Put here: these tables, with their sentences. Do not put here: what is published of one student (`published`).
"""

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

from snapshot_pipeline.store.tables.explained import SENTENCE, VALUES


def day_summary(metadata: MetaData) -> Table:
    """The table of this name."""
    return Table(
        "day_summary",
        metadata,
        Column("snapshot_date", Date, primary_key=True, doc="The day."),
        *_summary_columns(),
        info={SENTENCE: "One row per summarized day, over all its students."},
    )


def cohort_summary(metadata: MetaData) -> Table:
    """The table of this name."""
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
        info={SENTENCE: "One row per summarized day, specialization and level."},
    )


def _summary_columns() -> list[Column[Any]]:
    """What is said of all students of a day, and of each cohort."""
    return [
        Column(
            "students",
            BigInteger,
            nullable=False,
            doc="Students that have a snapshot of the day.",
            info={VALUES: "0 or more"},
        ),
        Column(
            "failed",
            BigInteger,
            nullable=False,
            doc="Students whose day could not be computed.",
            info={VALUES: "0 or more"},
        ),
        Column(
            "active_students",
            BigInteger,
            nullable=False,
            doc="Students that did something on the day.",
            info={VALUES: "0 or more"},
        ),
        Column("pace_mean", Double, doc="The mean pace score; null of nobody.", info={VALUES: "0 to 100"}),
        Column(
            "pace_p25",
            Double,
            doc="A quarter of the students have this pace score or less; null of nobody.",
            info={VALUES: "0 to 100"},
        ),
        Column(
            "pace_median",
            Double,
            doc="Half of the students have this pace score or less; null of nobody.",
            info={VALUES: "0 to 100"},
        ),
        Column(
            "pace_p75",
            Double,
            doc="Three quarters of the students have this pace score or less; null of nobody.",
            info={VALUES: "0 to 100"},
        ),
        Column(
            "slow_students", BigInteger, nullable=False, doc="Students whose label is SLOW.", info={VALUES: "0 or more"}
        ),
        Column(
            "medium_students",
            BigInteger,
            nullable=False,
            doc="Students whose label is MEDIUM.",
            info={VALUES: "0 or more"},
        ),
        Column(
            "fast_students", BigInteger, nullable=False, doc="Students whose label is FAST.", info={VALUES: "0 or more"}
        ),
        Column(
            "accelerated_students",
            BigInteger,
            nullable=False,
            doc="Students whose label is ACCELERATED.",
            info={VALUES: "0 or more"},
        ),
        Column(
            "quiz_average_mean",
            Double,
            doc="The mean quiz average of those who have one; null where nobody has.",
            info={VALUES: "0 to 100"},
        ),
        Column(
            "minutes_spent",
            BigInteger,
            nullable=False,
            doc="Minutes spent on the lessons started on the day.",
            info={VALUES: "0 or more"},
        ),
        Column(
            "lessons_completed",
            BigInteger,
            nullable=False,
            doc="Lessons completed on the day.",
            info={VALUES: "0 or more"},
        ),
        Column(
            "inactive_7_days",
            BigInteger,
            nullable=False,
            doc="Students that have done nothing for 7 days or more.",
            info={VALUES: "0 or more"},
        ),
        Column(
            "inactive_14_days",
            BigInteger,
            nullable=False,
            doc="Students that have done nothing for 14 days or more.",
            info={VALUES: "0 or more"},
        ),
        Column("computed_at", DateTime(timezone=True), nullable=False, doc="When the row was last written."),
        Column("run_id", Text, nullable=False, doc="The run that wrote it."),
    ]
