"""Convert plain rows to `WeekFacts`, the input of `recommend`."""

from __future__ import annotations

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pandas as pd

from snapshot_pipeline.metrics.corrections import correct_attempts, correct_exercises, correct_progress
from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.metrics.events import StudentHistory
from snapshot_pipeline.metrics.week import ACTIVITY_DAYS, week_activity
from snapshot_pipeline.recommendations import WeekFacts
from snapshot_pipeline.recommendations.cohorts import mark_cohorts
from snapshot_pipeline_tests.reference.days import end_of_day, start_of_day
from snapshot_pipeline_tests.reference.history_frames import INSTANT, frame_of, whole_minutes
from snapshot_pipeline_tests.reference.recommendations import DEFAULT_RULES, WeekRules
from snapshot_pipeline_tests.reference.rows import PlatformRows

_MOMENT = pd.Timestamp("2200-01-01", tz="UTC").to_pydatetime()
_COURSE = {"specialization": "object", "level": "object"}


def week_facts(rows: PlatformRows, week_start: date, zone: ZoneInfo, rules: WeekRules = DEFAULT_RULES) -> WeekFacts:
    """Return the arguments of `reference_week` as the input of `recommend`, in the order of the rows."""
    sunday = week_start + timedelta(days=6)
    end, review_start = (pd.Timestamp(at) for at in (end_of_day(sunday, zone), _days_before(sunday, 29, zone)))
    users = [user for user in rows.users if user.is_active and user.role.strip().upper() == "STUDENT"]
    students = frame_of(
        [(user.id, user.current_specialization, user.current_level) for user in users], {"user_id": "int64", **_COURSE}
    )
    progress, attempts, exercises = _corrected(rows, students["user_id"], rules)
    first_start = progress.groupby("user_id")["start"].min()
    students = students.assign(first_started_at=first_start.reindex(students["user_id"]).array)
    students = students.assign(has_started=students["first_started_at"] < end)
    recent = exercises[exercises["created_at"].between(_days_before(sunday, 27, zone), end, inclusive="left")]
    cohorts = _cohorts(students.assign(has_exercises=students["user_id"].isin(recent["user_id"])))
    long_begun = end_of_day(sunday - timedelta(days=28), zone)
    days = LocalDays(sunday - timedelta(days=ACTIVITY_DAYS - 1), sunday, zone)
    history = StudentHistory(
        students.assign(last_activity_before=pd.Series(index=students.index, dtype=INSTANT)),
        progress,
        attempts,
        exercises,
    )
    in_review = attempts["completed_at"].between(review_start, end, inclusive="left") & attempts["lesson_id"].notna()
    return WeekFacts(
        week_start=week_start,
        students=mark_cohorts(students, cohorts, long_begun).assign(
            engagement_score=students["user_id"].map(dict(rules.engagement_scores)).astype("float64")
        ),
        activity=week_activity(history, days),
        attempts=attempts[in_review].astype({"lesson_id": "int64"}),
        completions=progress.loc[progress["completed_at"] < end, ["user_id", "lesson_id"]],
        lessons=frame_of(
            [
                (lesson.id, lesson.title, lesson.specialization_id, lesson.level_id, lesson.display_order)
                for lesson in rows.lessons
                if lesson.is_published
            ],
            {"lesson_id": "int64", "title": "object", **_COURSE, "display_order": "Int64"},
        ),
        dismissals=frame_of(list(rules.dismissals), {"user_id": "int64", "recommendation_type": "object"}),
        dismissed_lessons=frame_of(list(rules.dismissed_lessons), {"user_id": "int64", "lesson_id": "int64"}),
        review_below_score=rules.review_below,
    )


def _corrected(
    rows: PlatformRows, user_ids: pd.Series, rules: WeekRules
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The students' lessons, attempts (with their quiz and lesson) and exercises, corrected."""
    ids, moment = set(user_ids.tolist()), min(rules.moment, _MOMENT)
    lesson_of_quiz = {quiz.id: quiz.lesson_id for quiz in rows.quizzes}
    progress = frame_of(
        [
            (row.user_id, row.lesson_id, row.started_at, row.completed_at, whole_minutes(row))
            for row in rows.user_lesson_progress
            if row.user_id in ids
        ],
        {
            "user_id": "int64",
            "lesson_id": "int64",
            "started_at": INSTANT,
            "completed_at": INSTANT,
            "time_spent_minutes": "int64",
        },
    )
    has_time = progress["started_at"].notna() | progress["completed_at"].notna()
    copies = has_time.groupby([progress["user_id"], progress["lesson_id"]]).transform("sum")
    attempts = frame_of(
        [
            (row.user_id, row.id, row.quiz_id, lesson_of_quiz[row.quiz_id], row.completed_at, row.score)
            for row in rows.quiz_attempts
            if row.user_id in ids
        ],
        {
            "user_id": "int64",
            "attempt_id": "int64",
            "quiz_id": "int64",
            "lesson_id": "Int64",
            "completed_at": INSTANT,
            "score": "float64",
        },
    )
    exercises = frame_of(
        [(row.user_id, row.created_at) for row in rows.exercise_submissions if row.user_id in ids],
        {"user_id": "int64", "created_at": INSTANT},
    )
    return (
        correct_progress(progress.assign(copies=copies.astype("int64")), moment),
        correct_attempts(attempts, moment, rules.score_maximum),
        correct_exercises(exercises, moment),
    )


def _cohorts(students: pd.DataFrame) -> pd.DataFrame:
    """The cohorts as `PlatformReader.cohort_starts` returns them, those without a name included."""
    started = students["first_started_at"].where(students["has_started"])
    groups = students.assign(first_started_at=started).groupby(list(_COURSE), dropna=False)
    return groups.agg(
        students=("user_id", "size"),
        started=("has_started", "sum"),
        first_started_at=("first_started_at", "min"),
        has_exercises=("has_exercises", "any"),
    ).reset_index()


def _days_before(sunday: date, days: int, zone: ZoneInfo) -> pd.Timestamp:
    return pd.Timestamp(start_of_day(sunday - timedelta(days=days), zone))
