"""`summarize`: the figures of a day and of its cohorts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from snapshot_pipeline.metrics.cohorts import Cohorts, Summaries, summarize
from snapshot_pipeline.metrics.pace import learning_paces
from snapshot_pipeline_tests.reference.summaries import FIGURES, Published, reference_summary

DAY = date(2026, 11, 22)

Member = tuple[int, date, Published]
Failed = tuple[int, date]


def users(*rows: tuple[int, str | None, str | None]) -> pd.DataFrame:
    ids, specializations, levels = ([row[n] for row in rows] for n in range(3))
    return pd.DataFrame(
        {
            "user_id": np.array(ids, dtype=np.int64),
            "specialization": pd.Series(specializations, dtype="category"),
            "level": pd.Series(levels, dtype="category"),
        }
    )


def published(pace: float, quiz: float | None, last_activity: date, lessons: int = 0, minutes: int = 0) -> Published:
    label = learning_paces(np.array([pace]))[0]
    return Published(pace, label, quiz, lessons, minutes, last_activity)


def summarized(
    members: Sequence[Member], failed: Sequence[Failed], cohorts: Cohorts, first: date, last: date
) -> Summaries:
    snapshots = pd.DataFrame(
        {
            "user_id": np.array([user for user, _, _ in members], dtype=np.int64),
            "snapshot_date": np.array([day for _, day, _ in members], dtype="datetime64[s]"),
            "pace_score": np.array([snapshot.pace_score for _, _, snapshot in members], dtype=np.float64),
            "quiz_average": np.array([snapshot.quiz_average for _, _, snapshot in members], dtype=np.float64),
            "lessons_completed_count": np.array([snapshot.lessons for _, _, snapshot in members], dtype=np.int32),
            "time_spent_minutes_today": np.array([snapshot.minutes for _, _, snapshot in members], dtype=np.int64),
            "last_activity_date": np.array(
                [snapshot.last_activity_date for _, _, snapshot in members], dtype="datetime64[s]"
            ),
        }
    )
    failures = pd.DataFrame(
        {
            "user_id": np.array([user for user, _ in failed], dtype=np.int64),
            "snapshot_date": np.array([day for _, day in failed], dtype="datetime64[s]"),
        }
    )
    return summarize(snapshots, failures, cohorts, first, last)


def figures(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{name: None if pd.isna(row[name]) else row[name] for name in FIGURES} for row in frame.to_dict("records")]


EXAMPLE = [
    (1, DAY, published(20.0, 80.0, DAY, lessons=2, minutes=40)),
    (2, DAY, published(47.86, None, date(2026, 11, 16))),
    (3, DAY, published(68.67, 67.06, date(2026, 11, 15))),
    (4, DAY, published(90.0, 90.0, date(2026, 11, 8))),
]


def test_figures_of_the_worked_example():
    cohorts = Cohorts.of(users(*((user, "Law", "1") for user in range(1, 6))))
    result = summarized(EXAMPLE, [(5, DAY)], cohorts, DAY, DAY)
    (cohort,) = figures(result.cohorts)
    assert cohort == {
        "students": 4,
        "failed": 1,
        "active_students": 1,
        "pace_mean": 56.63,
        "pace_p25": 40.9,
        "pace_median": 58.27,
        "pace_p75": 74.0,
        "slow_students": 1,
        "medium_students": 1,
        "fast_students": 1,
        "accelerated_students": 1,
        "quiz_average_mean": 79.02,
        "minutes_spent": 40,
        "lessons_completed": 2,
        "inactive_7_days": 2,
        "inactive_14_days": 1,
    }
    assert figures(result.days) == [cohort]
    assert result.cohorts[["specialization", "level"]].to_numpy().tolist() == [["Law", "1"]]


def test_missing_specialization_level_or_account_is_a_separate_cohort():
    cohorts = Cohorts.of(users((4, None, None), (1, "Law", None), (2, None, "1"), (9, "Law", "1")))
    result = summarized(EXAMPLE, [(9, DAY)], cohorts, DAY, DAY)
    rows = result.cohorts[["specialization", "level", "students", "failed"]].to_numpy().tolist()
    assert rows == [["", "", 2, 0], ["", "1", 1, 0], ["Law", "", 1, 0], ["Law", "1", 0, 1]]
    assert result.cohorts["pace_median"].tolist()[0] == 79.34  # halfway between 68.67 and 90
    assert np.isnan(result.cohorts["pace_median"].tolist()[3])  # all its students have failed
    assert result.days["students"].tolist() == [4]


def test_an_empty_specialization_equals_a_missing_one():
    cohorts = Cohorts.of(users((1, "", ""), (2, None, ""), (3, "", None), (4, None, None)))
    assert summarized(EXAMPLE, [], cohorts, DAY, DAY).cohorts["students"].tolist() == [4]


def test_a_day_without_students_is_a_row_of_zeros_and_has_no_cohort():
    without_students = summarized([], [], Cohorts.of(users()), DAY - timedelta(days=1), DAY)
    assert without_students.cohorts.empty
    zeros = {name: None if name.startswith(("pace", "quiz")) else 0 for name in FIGURES}
    assert figures(without_students.days) == [zeros, zeros]


DAYS = [DAY + timedelta(days=n) for n in range(3)]
SCORES = st.one_of(st.integers(0, 10_000), st.sampled_from([0, 3_999, 4_000, 5_999, 6_000, 8_000, 10_000]))
MEMBERS = st.lists(
    st.tuples(
        st.integers(1, 12),
        st.sampled_from(DAYS),
        st.builds(
            lambda pace, quiz, ago, lessons, minutes: (pace / 100, quiz, ago, lessons, minutes),
            SCORES,
            st.none() | SCORES.map(lambda hundredths: hundredths / 100),
            st.sampled_from([0, 1, 5, 6, 7, 12, 13, 14, 400]),
            st.integers(0, 9),
            st.sampled_from([0, 25, 2**40]),
        ),
    ),
    max_size=25,
    unique_by=lambda member: member[:2],
)
FAILED = st.lists(st.tuples(st.integers(1, 12), st.sampled_from(DAYS)), max_size=5, unique=True)
COHORTS = st.dictionaries(
    st.integers(1, 12), st.tuples(st.sampled_from([None, "Law", "law"]), st.sampled_from([None, "1", "2"]))
)


@given(MEMBERS, FAILED, COHORTS)
def test_cohort_figures_equal_the_reference_for_single_days_and_ranges(generated, failed, known):
    members = [
        (user, day, published(pace, quiz, day - timedelta(days=ago), lessons, minutes))
        for user, day, (pace, quiz, ago, lessons, minutes) in generated
    ]
    cohorts = Cohorts.of(users(*((user, *names) for user, names in known.items())))
    result = summarized(members, failed, cohorts, DAYS[0], DAYS[-1])

    def cohort_of(user: int) -> tuple[str, str]:
        specialization, level = known.get(user, (None, None))
        return specialization or "", level or ""

    expected_days, expected_cohorts = [], []
    for day in DAYS:
        of_day = [(user, snapshot) for user, on, snapshot in members if on == day]
        failing = [user for user, on in failed if on == day]
        expected_days.append(reference_summary(day, [snapshot for _, snapshot in of_day], len(failing)))
        for name in sorted({cohort_of(user) for user in [*(user for user, _ in of_day), *failing]}):
            expected_cohorts.append(
                reference_summary(
                    day,
                    [snapshot for user, snapshot in of_day if cohort_of(user) == name],
                    sum(cohort_of(user) == name for user in failing),
                )
            )
    assert figures(result.days) == expected_days
    assert figures(result.cohorts) == expected_cohorts
    single_days = [
        summarized(
            [member for member in reversed(members) if member[1] == day],
            [failure for failure in failed if failure[1] == day],
            cohorts,
            day,
            day,
        )
        for day in DAYS
    ]
    for name in ("days", "cohorts"):
        parts = [frame for frame in (getattr(summaries, name) for summaries in single_days) if len(frame)]
        if parts:
            pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), getattr(result, name), check_exact=True)
