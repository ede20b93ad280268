"""The generated platform: the same for a seed, consistent, realistic, with exactly the requested invalid rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import URL, create_engine, text

from snapshot_pipeline.metrics.corrections import (
    COMPLETED_BEFORE_STARTED,
    NEGATIVE_SCORE,
    attempt_issues,
    correct_attempts,
    correct_exercises,
    correct_progress,
    issue_frame,
    progress_issues,
)
from snapshot_pipeline.metrics.days import LocalDays, start_of_day
from snapshot_pipeline.metrics.events import StudentHistory
from snapshot_pipeline.metrics.snapshot import SnapshotBatch, compute_snapshots
from snapshot_pipeline.platform.ownership import PlatformNotOursError, arrow_schema
from snapshot_pipeline.platform.sample import (
    AFFECTED_DAYS,
    CHUNK_STUDENT_DAYS,
    KINDS,
    SampleError,
    SampleOptions,
    SamplePlatform,
    generate,
    load_sample,
)
from snapshot_pipeline.platform.sample.story import SWAPPED_DAYS_AGO
from snapshot_pipeline.platform.tables import TABLE_NAMES, platform_metadata

ZONE = ZoneInfo("Europe/Budapest")
SUNDAY = date(2025, 11, 23)
OPTIONS = SampleOptions(3_000, 60, 1, SUNDAY + timedelta(days=1), 0.05, ZONE)  # the clocks change on October 26


@pytest.fixture(scope="module")
def platform() -> SamplePlatform:
    return generate(OPTIONS)


@pytest.fixture(scope="module")
def fortnight(platform: SamplePlatform) -> SnapshotBatch:
    return snapshots(platform, LocalDays(SUNDAY - timedelta(days=13), SUNDAY, ZONE))


def snapshots(platform: SamplePlatform, days: LocalDays) -> SnapshotBatch:
    """Compute the snapshots of all active students of the sample, on the morning after the last day."""
    users = platform.users.to_pandas()
    active = users.loc[users["is_active"] & (users["role"].str.upper() == "STUDENT"), "id"]
    progress_rows = platform.user_lesson_progress.to_pandas().assign(copies=1)
    attempt_rows = platform.quiz_attempts.to_pandas().rename(columns={"id": "attempt_id"})
    attempt_rows["is_scored"] = platform.quiz_attempts["score"].is_valid().to_numpy()
    progress_rows, attempt_rows, exercise_rows = (
        frame.loc[frame["user_id"].isin(active)].reset_index(drop=True)
        for frame in (progress_rows, attempt_rows, platform.exercise_submissions.to_pandas())
    )
    moment = days.end + timedelta(hours=2)
    progress = correct_progress(progress_rows, moment)
    first_started = progress.groupby("user_id")["start"].min()
    students = pd.DataFrame(
        {
            "user_id": active,
            "first_started_at": active.map(first_started),
            "last_activity_before": pd.Series(pd.NaT, active.index, dtype="datetime64[us, UTC]"),
        }
    )
    issues = [*progress_issues(progress_rows, moment, days.zone), *attempt_issues(attempt_rows, moment, days.zone)]
    history = StudentHistory(
        students,
        progress,
        correct_attempts(attempt_rows, moment, 100),
        correct_exercises(exercise_rows, moment),
        issue_frame(issues),
    )
    return compute_snapshots(history, days)


def days_before_end(count: int, options: SampleOptions) -> LocalDays:
    return LocalDays(options.until - timedelta(days=count), options.until - timedelta(days=1), options.zone)


def local(instants: pd.Series) -> pd.Series:
    return instants.dt.tz_convert(ZONE)


# Reproducible


def test_the_same_options_give_the_same_tables(platform):
    again = generate(OPTIONS)
    for name in TABLE_NAMES:
        # NaN, an invalid score, is not equal to itself; pandas compares it as equal.
        pd.testing.assert_frame_equal(again.tables()[name].to_pandas(), platform.tables()[name].to_pandas())
    pd.testing.assert_frame_equal(again.invalid_rows, platform.invalid_rows)


def test_another_seed_gives_other_students(platform):
    other = generate(replace(OPTIONS, seed=2))
    assert not other.user_lesson_progress.equals(platform.user_lesson_progress)
    assert other.lessons["title"].equals(platform.lessons["title"])


def test_several_chunks_are_one_platform_with_unique_ids():
    long = replace(OPTIONS, students=CHUNK_STUDENT_DAYS // 3_650 + 10, days=3_650)
    whole = generate(long)
    for name in ("users", "lessons", "quizzes", "quiz_attempts", "exercise_submissions"):
        assert whole.tables()[name].to_pandas()["id"].is_unique
    assert students(whole) == long.students
    assert_exactly_the_invalid_rows_are_listed(whole, long)


def students(platform: SamplePlatform) -> int:
    return int((platform.users.to_pandas()["role"].str.upper() == "STUDENT").sum())


# Consistent


def test_every_table_has_the_columns_and_types_of_the_platform(platform):
    for table in platform_metadata("public").tables.values():
        assert platform.tables()[table.name].schema.equals(arrow_schema(table))


def test_a_student_has_one_progress_row_a_lesson(platform):
    assert not platform.user_lesson_progress.to_pandas().duplicated(["user_id", "lesson_id"]).any()


def test_no_valid_row_is_outside_the_days_asked_for(platform):
    begin = start_of_day(OPTIONS.until - timedelta(days=OPTIONS.days), ZONE)
    end = start_of_day(OPTIONS.until, ZONE)
    for name in ("user_lesson_progress", "quiz_attempts", "exercise_submissions"):
        for column in platform.tables()[name].to_pandas().select_dtypes("datetimetz"):
            rows = platform.tables()[name].to_pandas()
            instants = rows.loc[~rows["user_id"].isin(platform.invalid_rows["user_id"]), column].dropna()
            assert instants.min() >= begin, (name, column)
            assert instants.max() < end, (name, column)


def test_every_foreign_key_refers_to_an_existing_row(platform):
    frames = {name: table.to_pandas() for name, table in platform.tables().items()}
    users, lessons, quizzes = (set(frames[name]["id"]) for name in ("users", "lessons", "quizzes"))
    for name in ("user_lesson_progress", "quiz_attempts", "exercise_submissions"):
        assert set(frames[name]["user_id"]) <= users
    assert set(frames["user_lesson_progress"]["lesson_id"]) <= lessons
    assert set(frames["quiz_attempts"]["quiz_id"]) <= quizzes
    assert set(frames["quizzes"]["lesson_id"].dropna()) <= lessons


def test_students_study_their_own_specialization_and_level(platform):
    progress = platform.user_lesson_progress.to_pandas().merge(
        platform.users.to_pandas(), "left", None, "user_id", "id"
    )
    rows = progress.merge(platform.lessons.to_pandas(), "left", left_on="lesson_id", right_on="id")
    assert (rows["specialization_id"] == rows["current_specialization"]).all()
    assert (rows["level_id"] == rows["current_level"]).all()
    assert rows["is_published"].all()


def test_lesson_titles_and_orders_are_unique_within_a_track(platform):
    lessons = platform.lessons.to_pandas()
    assert "Joins and keys" in set(lessons["title"])
    assert not lessons.duplicated(["specialization_id", "level_id", "title"]).any()
    assert not lessons.duplicated(["specialization_id", "level_id", "display_order"]).any()
    assert 0.01 < (~lessons["is_published"]).mean() < 0.08
    assert (lessons.groupby(["specialization_id", "level_id"]).size() >= 12).sum() == 9


# Realistic


def test_the_users_are_not_all_active_students(platform):
    users = platform.users.to_pandas()
    assert students(platform) == OPTIONS.students
    assert 0.015 < (users["role"].str.upper() != "STUDENT").mean() < 0.025
    assert {"student", "STUDENT", "teacher"} <= set(users["role"])
    assert 0.02 < (~users["is_active"]).mean() < 0.04
    assert users["id"].is_monotonic_increasing
    assert users["id"].iloc[-1] - users["id"].iloc[0] > 2 * len(users)


def test_the_number_of_rows_per_student_is_realistic(platform):
    rows = {name: table.num_rows for name, table in platform.tables().items()}
    assert 20 < rows["user_lesson_progress"] / OPTIONS.students < 40
    assert 0.3 < rows["quiz_attempts"] / rows["user_lesson_progress"] < 0.5
    assert 0.1 < rows["exercise_submissions"] / rows["user_lesson_progress"] < 0.3


def test_weekends_are_quieter_and_evenings_busier(platform):
    started = local(platform.user_lesson_progress.to_pandas()["started_at"])
    by_weekday = started.dt.day_of_week.value_counts(normalize=True).sort_index()
    assert by_weekday.loc[5:].mean() < 0.85 * by_weekday.loc[:4].mean()
    assert by_weekday.min() > 0.05
    assert started.dt.hour.between(14, 22).mean() > 0.75
    assert 0.01 < started.dt.hour.isin([23, 0]).mean() < 0.15  # around midnight, where a day's edge can go wrong


def test_students_enroll_over_the_whole_period(platform):
    first = local(platform.user_lesson_progress.to_pandas().groupby("user_id")["started_at"].min())
    day = (first.dt.tz_localize(None) - pd.Timestamp(OPTIONS.until - timedelta(days=OPTIONS.days))).dt.days
    assert 0.08 < (day == 0).mean() < 0.2
    assert 0.85 < (day < OPTIONS.days / 2).mean() < 0.97
    assert day.max() > 0.9 * OPTIONS.days


def test_some_lessons_stay_open_and_some_take_days(platform):
    progress = platform.user_lesson_progress.to_pandas()
    assert 0.05 < progress["completed_at"].isna().mean() < 0.25
    finished = progress.dropna(subset="completed_at")
    assert 0.1 < (finished["completed_at"] - finished["started_at"] > pd.Timedelta(days=1)).mean() < 0.4


def test_attempts_are_repeated_with_better_scores_and_some_are_ungraded(platform):
    attempts = platform.quiz_attempts.to_pandas()
    assert 0.03 < platform.quiz_attempts["score"].null_count / len(attempts) < 0.07
    usual = attempts.loc[~attempts["user_id"].isin(platform.invalid_rows["user_id"])].dropna(subset="score")
    assert usual["score"].between(0, 100).all()
    attempts_by_quiz = usual.groupby(["user_id", "quiz_id"])["score"].agg(["first", "last", "size"])
    repeated = attempts_by_quiz.loc[attempts_by_quiz["size"] > 1]
    assert len(repeated) > 0.05 * len(attempts_by_quiz)
    assert (repeated["last"] >= repeated["first"]).all()


def test_a_week_has_students_for_every_recommendation(platform, fortnight):
    """Otherwise the demo's week would show only some of the six types."""
    published = fortnight.published.set_index("user_id")
    last_days = published.loc[published["snapshot_date"] > pd.Timestamp(SUNDAY - timedelta(days=3))]
    today = published.loc[published["snapshot_date"] == pd.Timestamp(SUNDAY)]
    sums = published[["lessons_completed_count", "exercises_submitted_count"]].groupby(level=0).sum()
    users = platform.users.to_pandas()
    idle = pd.Timestamp(SUNDAY) - today["last_activity_date"]
    shares = {
        "TAKE_BREAK": (last_days.groupby(level=0)["time_spent_minutes_today"].sum() >= 600).mean(),
        "RESUME_LEARNING": (idle >= pd.Timedelta(days=14)).mean(),
        "REVIEW_LESSON": (platform.quiz_attempts.to_pandas()["score"] < 60).mean(),
        "START_LEARNING": (~users["id"].isin(platform.user_lesson_progress["user_id"].to_pandas())).mean(),
        "PRACTICE_MORE": ((sums.iloc[:, 0] >= 5) & (sums.iloc[:, 1] < 2)).mean(),
    }
    bounds = {
        "TAKE_BREAK": (0.003, 0.1),
        "RESUME_LEARNING": (0.05, 0.4),
        "REVIEW_LESSON": (0.05, 0.4),
        "START_LEARNING": (0.01, 0.06),
        "PRACTICE_MORE": (0.1, 0.6),
    }
    for name, (low, high) in bounds.items():
        assert low < shares[name] < high, (name, shares)


def test_all_four_learning_paces_occur(fortnight):
    assert fortnight.published["learning_pace"].value_counts(normalize=True).min() > 0.01
    assert fortnight.published["learning_pace"].nunique() == 4


def test_some_students_stop_and_some_return_after_weeks(platform):
    progress = platform.user_lesson_progress.to_pandas().sort_values(["user_id", "started_at"])
    pause = progress.groupby("user_id")["started_at"].diff().dt.days
    came_back = (pause >= 14).groupby(progress["user_id"]).any()
    assert 0.05 < came_back.mean() < 0.35
    last = progress.groupby("user_id")["started_at"].max()
    silent = start_of_day(OPTIONS.until, ZONE) - last > pd.Timedelta(days=14)
    assert 0.03 < silent.mean() < 0.3


def test_steady_students_never_run_out_of_lessons_in_three_years():
    long = SampleOptions(200, 1_000, 3, OPTIONS.until, 0.0, ZONE)
    progress = generate(long).user_lesson_progress.to_pandas()
    last_month = progress["started_at"] > pd.Timestamp(start_of_day(long.until - timedelta(days=30), ZONE))
    assert progress.loc[last_month, "user_id"].nunique() > 0.6 * long.students


# The story of the demo


def test_story_deserts_a_cohort_and_spoils_two_days():
    options = replace(OPTIONS, students=1_500, days=80, bad_rate=0.01, story=True)
    with_story, plain = generate(options), generate(replace(options, story=False))
    assert with_story.users.equals(plain.users)
    batch = snapshots(with_story, days_before_end(AFFECTED_DAYS, options))
    days = batch.published.assign(day=batch.published["snapshot_date"].dt.date).set_index("day")
    swapped, last = SUNDAY - timedelta(days=SWAPPED_DAYS_AGO), SUNDAY
    counts = batch.issues.groupby(["day", "issue"])["user_id"].nunique()
    for day, issue in ((swapped, COMPLETED_BEFORE_STARTED), (last, NEGATIVE_SCORE)):
        assert counts[pd.Timestamp(day), issue] > 0.12 * len(days.loc[day])
    assert batch.issues["user_id"].nunique() < 0.5 * len(days.loc[last])
    tracks = with_story.users.to_pandas().set_index("id")[["current_specialization", "current_level"]]
    sunday = days.loc[last].join(tracks, on="user_id")
    inactive = pd.Timestamp(SUNDAY) - sunday["last_activity_date"] >= pd.Timedelta(days=14)
    shares = inactive.groupby([sunday["current_specialization"], sunday["current_level"]]).mean()
    assert shares.idxmax() == ("web", "1")
    assert shares.max() > 1.5 * shares.drop(index=("web", "1")).max()


# Invalid rows


def assert_exactly_the_invalid_rows_are_listed(platform: SamplePlatform, options: SampleOptions) -> None:
    """Every student due is published, the share asked for has an invalid row, and no other row is an issue."""
    batch = snapshots(platform, days_before_end(AFFECTED_DAYS, options))
    yesterday = pd.Timestamp(options.until - timedelta(days=1))
    published = batch.published.loc[batch.published["snapshot_date"] == yesterday, "user_id"]
    assert batch.failures.empty
    assert len(platform.invalid_rows) == round(options.bad_rate * len(published))
    assert platform.invalid_rows["user_id"].is_unique
    assert platform.invalid_rows["user_id"].isin(published).all()
    listed = platform.invalid_rows.dropna(subset="issue")
    found = batch.issues.set_index("user_id")
    assert found.index.is_unique
    assert found["issue"].to_dict() == listed.set_index("user_id")["issue"].to_dict()


@pytest.mark.parametrize("bad_rate", [0.05, 0.15, 1.0, 0.0])
@pytest.mark.parametrize("days", [60, 5])
def test_exactly_the_share_asked_for_has_an_invalid_row(bad_rate, days):
    options = replace(OPTIONS, students=900, days=days, bad_rate=bad_rate)
    assert_exactly_the_invalid_rows_are_listed(generate(options), options)


def test_half_of_the_invalid_rows_are_of_the_last_day():
    options = replace(OPTIONS, bad_rate=0.5)
    batch = snapshots(generate(options), days_before_end(AFFECTED_DAYS, options))
    days_before_end_of = (pd.Timestamp(options.until) - batch.issues["day"]).dt.days
    assert days_before_end_of.min() == 1
    assert days_before_end_of.max() == AFFECTED_DAYS + 3  # completed three days before it was opened again
    assert 0.4 < (days_before_end_of == 1).mean() < 0.55
    assert set(range(1, AFFECTED_DAYS + 1)) <= set(days_before_end_of)


def test_without_invalid_rows_no_issue_is_found_on_any_day():
    options = replace(OPTIONS, students=500, bad_rate=0.0)
    platform = generate(options)
    assert platform.invalid_rows.empty
    assert snapshots(platform, days_before_end(options.days, options)).issues.empty


def test_the_students_chosen_get_the_kinds_in_turn(platform):
    counts = platform.invalid_rows["kind"].value_counts()
    assert set(counts.index) == {kind.name for kind in KINDS}
    assert counts.max() - counts.min() <= 1
    first = platform.invalid_rows["kind"].head(len(KINDS)).tolist()
    assert first == [kind.name for kind in KINDS]


def students_of(platform: SamplePlatform, kind: str) -> pd.Series:
    return platform.invalid_rows.loc[platform.invalid_rows["kind"] == kind, "user_id"]


@pytest.mark.parametrize(
    ("kind", "is_invalid"),
    [
        ("extra_credit", lambda scores: scores == 110),
        ("float_noise", lambda scores: scores.between(100, 100.0001, inclusive="neither")),
        ("negative_score", lambda scores: scores < 0),
    ],
)
def test_an_invalid_score_is_in_the_data(platform, kind, is_invalid):
    chosen = students_of(platform, kind)
    attempts = platform.quiz_attempts.to_pandas()
    invalid = attempts[attempts["user_id"].isin(chosen) & is_invalid(attempts["score"])]
    assert sorted(invalid["user_id"]) == sorted(chosen)


def test_nan_is_not_the_null_of_an_ungraded_attempt(platform):
    assert sum(map(is_nan, platform.quiz_attempts["score"].to_pylist())) == len(students_of(platform, "nan_score"))


@pytest.mark.parametrize(
    ("kind", "is_invalid"),
    [
        ("skew_of_a_second", lambda rows: rows["started_at"] - rows["completed_at"] == pd.Timedelta(seconds=1)),
        ("completed_before_start", lambda rows: rows["started_at"] - rows["completed_at"] >= pd.Timedelta(minutes=10)),
        ("opened_again", lambda rows: rows["started_at"] - rows["completed_at"] == pd.Timedelta(days=3)),
        ("completed_without_start", lambda rows: rows["started_at"].isna()),
        ("negative_minutes", lambda rows: rows["time_spent_minutes"] < 0),
        ("more_minutes_than_passed", lambda rows: rows["time_spent_minutes"].between(1_440, 10_080)),
        ("implausible_minutes", lambda rows: rows["time_spent_minutes"] > 10_080),
        ("epoch_for_never", lambda rows: rows["completed_at"] == pd.Timestamp(0, tz="UTC")),
        ("future_completion", lambda rows: rows["completed_at"] >= pd.Timestamp("2200-01-01", tz="UTC")),
    ],
)
def test_invalid_progress_is_in_the_data(platform, kind, is_invalid):
    chosen = students_of(platform, kind)
    progress = platform.user_lesson_progress.to_pandas()
    invalid = progress[progress["user_id"].isin(chosen) & is_invalid(progress)]
    assert sorted(invalid["user_id"]) == sorted(chosen)


def test_minutes_over_midnight_are_more_than_the_rest_of_the_day(platform):
    rows = platform.user_lesson_progress.to_pandas()
    rows = rows[rows["user_id"].isin(students_of(platform, "minutes_over_midnight"))]
    started = local(rows["started_at"])
    rest = started.dt.normalize() + pd.DateOffset(days=1) - started
    over = rows[rest < pd.to_timedelta(rows["time_spent_minutes"], "min")]
    assert set(over["user_id"]) == set(students_of(platform, "minutes_over_midnight"))


def test_a_low_score_at_the_quiz_of_an_unpublished_lesson(platform):
    attempts = platform.quiz_attempts.to_pandas().merge(
        platform.quizzes.to_pandas()[["id", "lesson_id"]], "left", left_on="quiz_id", right_on="id"
    )
    lessons = platform.lessons.to_pandas()
    unpublished = attempts[attempts["lesson_id"].isin(lessons.loc[~lessons["is_published"], "id"])]
    assert sorted(unpublished["user_id"]) == sorted(students_of(platform, "unpublished_lesson"))
    assert (unpublished["score"] == 40).all()


def test_a_finished_student_has_completed_every_published_lesson(platform):
    users = platform.users.to_pandas().set_index("id")
    lessons = platform.lessons.to_pandas()
    completed = platform.user_lesson_progress.to_pandas().dropna(subset="completed_at")
    for user_id in students_of(platform, "finished_student"):
        user = users.loc[user_id]
        of_track = (lessons["specialization_id"] == user["current_specialization"]) & (
            lessons["level_id"] == user["current_level"]
        )
        done = set(completed.loc[completed["user_id"] == user_id, "lesson_id"])
        assert set(lessons.loc[of_track & lessons["is_published"], "id"]) <= done


def test_only_the_course_without_exercises_has_none(platform):
    users = platform.users.to_pandas()
    of_cohort = users.groupby(["current_specialization", "current_level"])["id"].agg(set)
    submitted = set(platform.exercise_submissions["user_id"].to_pylist())
    assert [cohort for cohort, user_ids in of_cohort.items() if not user_ids & submitted] == [("design", "3")]


# Bounds, and writing to a database


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"students": 0}, "students=0"),
        ({"days": 0}, "days=0"),
        ({"days": 4_000}, "days=4000"),
        ({"seed": -1}, "seed=-1"),
        ({"bad_rate": 1.5}, "bad rate=1.5"),
        ({"bad_rate": float("nan")}, "bad rate=nan"),
        ({"until": date(1900, 1, 1)}, "until=1900-01-01"),
    ],
)
def test_an_option_out_of_bounds_is_refused_in_one_line(wrong, named):
    with pytest.raises(SampleError, match=named) as caught:
        replace(OPTIONS, **wrong)
    assert "\n" not in str(caught.value)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_few_students_on_a_single_day_are_a_sample(count):
    tiny = generate(SampleOptions(count, 1, 5, OPTIONS.until, 0.5, ZoneInfo("America/Santiago")))
    assert students(tiny) == count


def test_the_database_holds_every_row_of_the_sample(database_url: URL):
    options = replace(OPTIONS, students=400)
    progress_calls: list[int] = []
    rows = load_sample(options, database_url, "learning", progress_calls.append)
    expected = generate(options)
    assert rows == {name: table.num_rows for name, table in expected.tables().items()}
    assert progress_calls == [400]
    engine = create_engine(database_url)
    progress = pd.read_sql(text("SELECT * FROM learning.user_lesson_progress"), engine)
    scores = pd.read_sql(text("SELECT count(*) FILTER (WHERE score = 'NaN') FROM learning.quiz_attempts"), engine)
    engine.dispose()
    keys = ["user_id", "lesson_id"]
    pd.testing.assert_frame_equal(
        progress.sort_values(keys, ignore_index=True).convert_dtypes(),
        expected.user_lesson_progress.to_pandas().sort_values(keys, ignore_index=True).convert_dtypes(),
        check_dtype=False,
    )
    assert scores.iloc[0, 0] == sum(map(is_nan, expected.quiz_attempts["score"].to_pylist()))


def is_nan(score: float | None) -> bool:
    return score is not None and bool(np.isnan(score))


def test_a_second_sample_replaces_the_first(database_url: URL):
    load_sample(replace(OPTIONS, students=50), database_url, "public")
    rows = load_sample(replace(OPTIONS, students=30, seed=9), database_url, "public")
    assert rows["users"] == 31


def test_the_tables_of_a_real_platform_are_never_replaced(database_url: URL):
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE users (id bigint PRIMARY KEY)"))
        connection.execute(text("INSERT INTO users VALUES (7)"))
    with pytest.raises(PlatformNotOursError, match="users"):
        load_sample(replace(OPTIONS, students=30), database_url, "public")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM users")).scalars().all() == [7]
    engine.dispose()
