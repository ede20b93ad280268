"""Property tests of corrections and `compute_snapshots`: they equal the slow reference, for any days and row order.

`SNAPSHOT_TEST_EXAMPLES=2000 pytest …` tests more examples, and different ones each time.
"""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.metrics.events import StudentHistory
from snapshot_pipeline.metrics.snapshot import SnapshotBatch, compute_snapshots
from snapshot_pipeline_tests.reference.history_frames import (
    full_history,
    only_students,
    shuffled,
    trimmed_history,
    without_redundant_last_activity,
)
from snapshot_pipeline_tests.reference.rows import Attempt, Issue, PlatformRows, Progress, User
from snapshot_pipeline_tests.reference.snapshots import (
    Snapshot,
    exact_pace_score,
    last_ten_scores,
    quiz_average,
    reference_day,
    window_of,
)
from snapshot_pipeline_tests.reference.strategies import FLAWS, RARELY_FLAWED, Scenario, property_settings, scenarios

COLUMNS = list(Snapshot.__dataclass_fields__)


def computed(scenario: Scenario, history: StudentHistory) -> SnapshotBatch:
    return compute_snapshots(history, LocalDays(scenario.first, scenario.last, scenario.zone))


def as_snapshots(published: pd.DataFrame) -> list[Snapshot]:
    return [
        Snapshot(
            user_id=int(row.user_id),
            snapshot_date=row.snapshot_date.date(),
            pace_score=float(row.pace_score),
            learning_pace=str(row.learning_pace),
            quiz_average=None if np.isnan(row.quiz_average) else float(row.quiz_average),
            lessons_completed_count=int(row.lessons_completed_count),
            time_spent_minutes_today=int(row.time_spent_minutes_today),
            quizzes_completed_count=int(row.quizzes_completed_count),
            exercises_submitted_count=int(row.exercises_submitted_count),
            last_activity_date=row.last_activity_date.date(),
            days_since_activity=int(row.days_since_activity),
        )
        for row in published[COLUMNS].itertuples(index=False)
    ]


def as_issues(issues: pd.DataFrame) -> list[Issue]:
    return [
        Issue(row.source_table, row.source_key, row.issue, int(row.user_id), pd.Timestamp(row.day).date(), row.detail)
        for row in issues.itertuples(index=False)
    ]


def expected(scenario: Scenario) -> list[Snapshot]:
    days = [reference_day(scenario.rows, day, scenario.zone) for day in scenario.days]
    return sorted((row for day in days for row in day.published), key=lambda row: (row.user_id, row.snapshot_date))


def expected_issues(scenario: Scenario) -> list[Issue]:
    return [issue for student in scenario.rows.active_students(scenario.zone) for issue in student.issues]


def key(issue: Issue) -> tuple[str, str, str]:
    return issue.source_table, issue.source_key, issue.issue


def assert_same_bits(left: pd.DataFrame, right: pd.DataFrame) -> None:
    """Assert equal columns, dtypes and rows; floats by their bits, so even the sign of a zero must match."""
    left, right = with_plain_texts(left), with_plain_texts(right)
    pd.testing.assert_frame_equal(left, right, check_exact=True)
    for name in left.select_dtypes("float64"):
        assert left[name].to_numpy().view(np.int64).tolist() == right[name].to_numpy().view(np.int64).tolist(), name


def with_plain_texts(frame: pd.DataFrame) -> pd.DataFrame:
    # Whether pandas stores text as `str` or `object` depends on its version and on whether there are rows.
    texts = [name for name in ("learning_pace", "reason", "detail") if name in frame]
    return frame.astype(dict.fromkeys(texts, object)).reset_index(drop=True)


def assert_same_batch(left: SnapshotBatch, right: SnapshotBatch) -> None:
    assert_same_bits(left.published, right.published)
    assert left.failures.empty
    assert right.failures.empty


@property_settings(100)
@given(scenarios())
def test_every_figure_equals_the_reference(scenario):
    batch = computed(scenario, full_history(scenario.rows, scenario.zone))
    assert as_snapshots(batch.published) == expected(scenario)
    assert batch.failures.empty


@property_settings(120)
@given(scenarios(longest=8, flaws=FLAWS))
def test_every_figure_of_invalid_rows_equals_the_reference_and_each_is_listed_once(scenario):
    batch = computed(scenario, full_history(scenario.rows, scenario.zone))
    assert as_snapshots(batch.published) == expected(scenario)
    assert batch.failures.empty
    listed, wanted = as_issues(batch.issues), expected_issues(scenario)
    assert sorted(listed, key=key) == sorted(wanted, key=key)
    details = {key(issue): issue.value for issue in listed}
    assert [issue for issue in wanted if issue.value not in details[key(issue)]] == []


@property_settings(30)
@given(scenarios(flaws=[*RARELY_FLAWED, *FLAWS]))
def test_rows_outside_every_window_change_no_figure(scenario):
    full = computed(scenario, full_history(scenario.rows, scenario.zone))
    trimmed = trimmed_history(scenario.rows, scenario.first, scenario.last, scenario.zone)
    assert_same_batch(computed(scenario, trimmed), full)
    minimal = without_redundant_last_activity(trimmed, scenario.first, scenario.zone)
    assert_same_batch(computed(scenario, minimal), full)
    found = {issue for issue in as_issues(trimmed.issues) if issue.day in scenario.days}
    assert found == {issue for issue in expected_issues(scenario) if issue.day in scenario.days}


@property_settings(30)
@given(scenarios(longest=31), st.data())
def test_a_day_computed_alone_equals_the_day_in_a_range_bit_by_bit(scenario, data):
    in_range = computed(scenario, full_history(scenario.rows, scenario.zone))
    for day in {scenario.first, scenario.last, data.draw(st.sampled_from(scenario.days))}:
        trimmed = trimmed_history(scenario.rows, day, day, scenario.zone)
        alone = compute_snapshots(trimmed, LocalDays(day, day, scenario.zone))
        assert_same_bits(alone.published, _of_day(in_range.published, day))


def _of_day(frame: pd.DataFrame, day: date) -> pd.DataFrame:
    return frame[frame["snapshot_date"] == pd.Timestamp(day)]


@property_settings(20)
@given(scenarios(longest=8, flaws=[*RARELY_FLAWED, *FLAWS]), st.integers(0, 2**16))
def test_row_order_does_not_change_the_result(scenario, seed):
    in_order = computed(scenario, full_history(scenario.rows, scenario.zone))
    in_disorder = computed(scenario, full_history(shuffled(scenario.rows, seed), scenario.zone))
    assert_same_batch(in_disorder, in_order)
    assert set(as_issues(in_disorder.issues)) == set(as_issues(in_order.issues))


@property_settings(20)
@given(scenarios(longest=8), st.integers(0, 4))
def test_splitting_students_into_batches_does_not_change_the_result(scenario, cut):
    history = full_history(scenario.rows, scenario.zone)
    ids = sorted(history.students["user_id"])
    parts = [computed(scenario, only_students(history, part)) for part in (ids[:cut], ids[cut:])]
    whole = computed(scenario, history)
    assert_same_bits(_joined([part.published for part in parts]), whole.published)
    assert sorted(issue for part in parts for issue in map(key, as_issues(part.issues))) == sorted(
        map(key, as_issues(whole.issues))
    )


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([with_plain_texts(frame) for frame in frames])


def test_rounding_ties_and_label_thresholds_equal_the_reference():
    """Single scores in steps of 0.05 and around the thresholds of the labels, then averages of several scores.

    15 lessons on 10 of 30 days are 35 points, 30 lessons on 20 days are 70.
    """
    zone, day = ZoneInfo("UTC"), date(2026, 5, 4)
    noon = pd.Timestamp("2026-05-04T12:00Z").to_pydatetime()
    generator = random.Random(1)  # noqa: S311
    edges = [cents for middle in (1_666, 3_333, 8_333) for cents in range(middle - 3, middle + 4)]
    scores = [[cents / 100] for cents in [*edges, *edges, *range(0, 10_001, 5)]]
    scores += [[generator.randint(0, 10_000) / 100 for _ in range(5 + n % 7)] for n in range(1_000)]
    rows = PlatformRows(users=[User(id_, "student", True, None, None) for id_ in range(len(scores))])
    for id_, scores_of_student in enumerate(scores):
        rows.user_lesson_progress.append(Progress(id_, 100, noon - timedelta(days=40), None, 0))
        days = 10 if id_ < len(edges) or id_ % 4 else 20
        for n in range(days * 3 // 2):
            completed_at = noon - timedelta(days=n % days)
            rows.user_lesson_progress.append(Progress(id_, n, completed_at, completed_at, 1))
        rows.quiz_attempts.extend(
            Attempt(20 * id_ + n, id_, 1, score, noon) for n, score in enumerate(scores_of_student)
        )
    published = compute_snapshots(full_history(rows, zone), LocalDays(day, day, zone)).published
    assert as_snapshots(published) == reference_day(rows, day, zone).published


@property_settings(60)
@given(st.lists(st.floats(0, 100, allow_subnormal=False), min_size=1, max_size=11), st.integers(0, 20))
def test_scores_with_many_decimals_are_rounded_to_two_decimals(scores, lessons):
    """Such scores are sums of floats, so a tie may be rounded either way; every other value has one correct result."""
    zone, day = ZoneInfo("UTC"), date(2026, 5, 4)
    noon = pd.Timestamp("2026-05-04T12:00Z").to_pydatetime()
    started = [Progress(1, 0, noon - timedelta(days=20), None, 0)]
    started += [Progress(1, 1 + n, noon - timedelta(days=n), noon - timedelta(days=n), 1) for n in range(lessons)]
    rows = PlatformRows(
        users=[User(1, "student", True, None, None)],
        user_lesson_progress=started,
        quiz_attempts=[Attempt(n, 1, 1, score, noon) for n, score in enumerate(scores)],
    )
    row = compute_snapshots(full_history(rows, zone), LocalDays(day, day, zone)).published.iloc[0]
    student = rows.active_students(zone)[0]
    average = quiz_average(last_ten_scores(student, day))
    assert average is not None
    pace_score = exact_pace_score(student, window_of(day - timedelta(days=20), day), average)
    assert _is_nearest_cent(row.quiz_average, average)
    assert _is_nearest_cent(row.pace_score, pace_score)


def _is_nearest_cent(published: float, exact_value: Fraction) -> bool:
    cents = Fraction(Decimal(repr(float(published)))) * 100
    return cents.denominator == 1 and abs(cents - exact_value * 100) <= Fraction(1, 2) + Fraction(1, 10**9)


def test_no_students_and_no_events_give_empty_frames_of_equal_dtypes():
    zone, day = ZoneInfo("Europe/Budapest"), date(2026, 3, 29)
    no_students = compute_snapshots(full_history(PlatformRows(), zone), LocalDays(day, day, zone))
    idle = PlatformRows(users=[User(1, "student", True, None, None)])
    nothing_started = compute_snapshots(full_history(idle, zone), LocalDays(day, day, zone))
    begun = PlatformRows(
        users=idle.users,
        user_lesson_progress=[Progress(1, 1, pd.Timestamp("2026-03-28T12:00Z").to_pydatetime(), None, 1)],
    )
    one_started = compute_snapshots(full_history(begun, zone), LocalDays(day, day, zone))
    assert [len(batch.published) for batch in (no_students, nothing_started, one_started)] == [0, 0, 1]
    for batch in (no_students, nothing_started):
        assert_same_bits(batch.published, one_started.published.iloc[:0])
        assert batch.failures.empty
