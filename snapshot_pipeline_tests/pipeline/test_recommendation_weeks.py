"""Runs of consecutive weeks: active recommendations, dismissals, and errors about missing days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import URL, select, text, update

from snapshot_pipeline.metrics.days import start_of_day
from snapshot_pipeline.pipeline.at_risk import run_at_risk
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.recommendations import MissingSundayError, missing_days, run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.pipeline.withdrawal import withdraw_week
from snapshot_pipeline.recommendations import WeekFacts, recommend
from snapshot_pipeline.store.locks import LockedError, exclusive_recommendations
from snapshot_pipeline.store.recommendations import computed_weeks
from snapshot_pipeline_tests.pipeline.installations import (
    MONDAY,
    SUNDAY,
    ZONE,
    differences,
    execute,
    installation_on,
    new_database,
    recommended,
)

WEEK = timedelta(days=7)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def with_days(server_url: URL, sample_template: URL) -> Iterator[URL]:
    """The sample with the snapshots of its last fortnight, of the Sunday before it and of two Sundays after it."""
    with new_database(server_url, sample_template) as url:
        with installation_on(url) as installation:
            run_days(installation, MONDAY - WEEK - DAY, SUNDAY, "days")
            for weeks in (1, 2):
                run_days(installation, SUNDAY + weeks * WEEK, SUNDAY + weeks * WEEK, "days")
        yield url


@pytest.fixture
def installation(server_url: URL, with_days: URL) -> Iterator[Installation]:
    """An installation on a copy of the database, for one test."""
    with new_database(server_url, with_days) as url, installation_on(url) as opened:
        yield opened


def active_weeks(installation: Installation) -> dict[int, dict[str, date]]:
    """Return the active recommendations: the week of each type, by student."""
    table = installation.store.adaptive_recommendations
    query = select(table.c.user_id, table.c.recommendation_type, table.c.week_start).where(table.c.is_active)
    weeks: dict[int, dict[str, date]] = {}
    with installation.engine.connect() as connection:
        for user_id, kind, week_start in connection.execute(query):
            weeks.setdefault(user_id, {})[kind] = week_start
    return weeks


def dismiss(installation: Installation, user_id: int, kind: str, at: datetime) -> None:
    table = installation.store.adaptive_recommendations
    with installation.engine.begin() as connection:
        connection.execute(
            update(table)
            .where(table.c.user_id == user_id, table.c.recommendation_type == kind, table.c.is_active)
            .values(dismissed_at=at, is_active=False)
        )


def test_only_the_newest_week_is_active_for_every_student(installation: Installation):
    run_week(installation, MONDAY - WEEK, "one")
    report = run_week(installation, MONDAY, "two")
    students = active_weeks(installation)
    assert {week for kinds in students.values() for week in kinds.values()} == {MONDAY}
    assert len(students) == report.with_recommendation
    assert report.is_newest
    assert report.coverage == report.with_recommendation / report.recipients


def test_older_week_computed_later_is_stored_but_not_active(installation: Installation):
    run_week(installation, MONDAY, "newest")
    before = active_weeks(installation)
    report = run_week(installation, MONDAY - WEEK, "older")
    assert active_weeks(installation) == before
    assert not report.is_newest
    weeks = recommended(installation)["adaptive_recommendations"]["week_start"].to_pylist()
    assert weeks.count(MONDAY - WEEK) == report.types.total() > 0


def test_order_of_two_weeks_does_not_change_the_table(installation: Installation, server_url: URL, with_days: URL):
    for week in (MONDAY - WEEK, MONDAY):
        run_week(installation, week, "forwards")
    with new_database(server_url, with_days) as url, installation_on(url) as other:
        for week in (MONDAY, MONDAY - WEEK):
            run_week(other, week, "backwards")
        assert differences(recommended(other), recommended(installation)) == []


def test_recommendations_of_a_student_who_left_are_deactivated(installation: Installation):
    run_week(installation, MONDAY - WEEK, "one")
    leaver = min(active_weeks(installation))
    execute(installation.engine.url, f"UPDATE users SET is_active = false WHERE id = {leaver}")  # noqa: S608
    run_week(installation, MONDAY, "two")
    assert leaver not in active_weeks(installation)


def test_withdrawing_the_newest_week_shows_the_one_before_as_it_was(installation: Installation):
    """Also a student's dismissal stays, and what a second computation of that week no longer gave."""
    run_week(installation, MONDAY - WEEK, "one")
    user_id, kind = _student_with(installation, "CONTINUE_LEARNING")
    dismiss(installation, user_id, kind, start_of_day(MONDAY, ZONE))
    leaver = max(active_weeks(installation))
    execute(installation.engine.url, f"DELETE FROM user_lesson_progress WHERE user_id = {leaver}")  # noqa: S608
    run_week(installation, MONDAY - WEEK, "one again")
    shown = active_weeks(installation)
    assert kind not in shown.get(user_id, {})
    run_week(installation, MONDAY, "two")
    assert active_weeks(installation) != shown
    withdrawn = withdraw_week(installation, MONDAY)
    assert withdrawn.recommendations > 0
    assert withdrawn.newest == MONDAY - WEEK
    assert active_weeks(installation) == shown
    run_week(installation, MONDAY, "two again")
    assert {week for kinds in active_weeks(installation).values() for week in kinds.values()} == {MONDAY}


def test_withdrawing_an_older_week_changes_nothing_that_is_shown(installation: Installation):
    run_week(installation, MONDAY - WEEK, "one")
    run_week(installation, MONDAY, "two")
    shown = active_weeks(installation)
    assert withdraw_week(installation, MONDAY - WEEK).newest == MONDAY
    assert active_weeks(installation) == shown
    assert recorded_weeks(installation) == {MONDAY}
    assert withdraw_week(installation, MONDAY).newest is None
    assert active_weeks(installation) == {}


def recorded_weeks(installation: Installation) -> set[date]:
    with installation.engine.connect() as connection:
        return set(connection.execute(select(installation.store.recommendation_weeks.c.week_start)).scalars())


def test_a_week_is_computed_with_its_recommendations_and_students_at_risk_even_without_any(installation: Installation):
    execute(installation.engine.url, "UPDATE users SET is_active = false")
    report = run_week(installation, MONDAY, "nobody")
    assert report.types.total() == 0
    assert installation.transaction(computed_weeks, MONDAY, MONDAY) == {}
    assert run_at_risk(installation, MONDAY, "nobody").rows == 0
    assert installation.transaction(computed_weeks, MONDAY, MONDAY).keys() == {MONDAY}
    withdraw_week(installation, MONDAY)
    with installation.engine.connect() as connection:
        assert connection.execute(select(installation.store.at_risk_weeks)).all() == []


def test_students_who_left_have_no_active_recommendation_whatever_their_ids(installation: Installation):
    """The first and the last one are outside of every batch's range of ids in the second run."""
    run_week(installation, MONDAY, "one")
    students = sorted(active_weeks(installation))
    leavers = [students[0], students[len(students) // 2], students[-1]]
    execute(
        installation.engine.url,
        f"UPDATE users SET is_active = false WHERE id IN ({', '.join(map(str, leavers))})",  # noqa: S608
    )
    run_week(installation, MONDAY, "two")
    assert sorted(active_weeks(installation)) == sorted(set(students) - set(leavers))


def test_student_who_fails_keeps_the_earlier_recommendations(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    run_week(installation, MONDAY - WEEK, "one")
    before = active_weeks(installation)
    student = sorted(before)[len(before) // 2]

    def raising_for_student(facts: WeekFacts) -> pd.DataFrame:
        if student in facts.students["user_id"].to_numpy():
            raise ValueError("injected")
        return recommend(facts)

    with monkeypatch.context() as patch:
        patch.setattr("snapshot_pipeline.pipeline.recommendations.recommend", raising_for_student)
        report = run_week(installation, MONDAY, "two")
    assert report.failed == {student: "ValueError: injected"}
    students = active_weeks(installation)
    assert students[student] == before[student]
    assert {week for user_id in students.keys() - {student} for week in students[user_id].values()} == {MONDAY}
    run_week(installation, MONDAY, "fixed")
    assert MONDAY - WEEK not in active_weeks(installation).get(student, {}).values()


def test_dismissal_on_monday_before_the_run_is_respected(installation: Installation):
    run_week(installation, MONDAY - WEEK, "one")
    user_id, kind = _student_with(installation, "CONTINUE_LEARNING")
    monday_at_three = start_of_day(MONDAY + WEEK, ZONE) + timedelta(hours=3)
    dismiss(installation, user_id, kind, monday_at_three)
    run_week(installation, MONDAY, "two")
    assert kind not in active_weeks(installation).get(user_id, {})
    run_week(installation, MONDAY, "two again")
    assert kind not in active_weeks(installation).get(user_id, {})


def test_dismissed_type_is_recommended_again_after_14_days(installation: Installation):
    """Dismissed on a Monday at 09:00: the run of the second Monday after it, at 06:00, is a few hours too early."""
    run_week(installation, MONDAY - WEEK, "one")
    user_id, kind = _never_started(installation), "START_LEARNING"
    dismiss(installation, user_id, kind, start_of_day(MONDAY, ZONE) + timedelta(hours=9))
    is_active = []
    for weeks in (0, 1, 2):
        run_week(installation, MONDAY + weeks * WEEK, "later")
        is_active.append(kind in active_weeks(installation).get(user_id, {}))
    assert is_active == [False, False, True]


def _student_with(installation: Installation, kind: str) -> tuple[int, str]:
    return min(user_id for user_id, kinds in active_weeks(installation).items() if kind in kinds), kind


def _never_started(installation: Installation) -> int:
    """Return the lowest id of a student who has START_LEARNING and no lesson, in this week or later."""
    engine = installation.engine
    with engine.connect() as connection:
        started = set(connection.execute(text("SELECT DISTINCT user_id FROM user_lesson_progress")).scalars())
    weeks = active_weeks(installation)
    return min(user_id for user_id, kinds in weeks.items() if "START_LEARNING" in kinds and user_id not in started)


def test_week_without_its_sunday_names_the_recovery_command(installation: Installation):
    week = MONDAY + 3 * WEEK
    with pytest.raises(MissingSundayError) as caught:
        run_week(installation, week, "early")
    sunday = week + 6 * DAY
    assert f"the week of {week} has no snapshots for its Sunday, {sunday}" in str(caught.value)
    assert f"`snapshot-pipeline materialize --from {sunday} --to {sunday}`" in str(caught.value)
    assert f"`snapshot-pipeline recommend --week {week}`" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert active_weeks(installation) == {}


def test_other_missing_days_are_reported_and_do_not_stop_the_week(installation: Installation):
    report = run_week(installation, MONDAY + WEEK, "with gaps")
    assert report.missing_days == [MONDAY + WEEK + n * DAY for n in range(6)]
    assert report.with_recommendation > 0


def test_days_before_the_first_partition_are_not_missing(installation: Installation):
    with installation_on(installation.engine.url, start_date=SUNDAY + WEEK - DAY) as late:
        assert missing_days(late, MONDAY + WEEK) == [SUNDAY + WEEK - DAY]


def test_week_locked_by_another_run_is_waited_for_then_given_up(installation: Installation):
    with (
        installation_on(installation.engine.url, run_lock_seconds=0.2) as waiting,
        exclusive_recommendations(installation.engine, "public", "another run", 1),
        pytest.raises(LockedError, match="another run"),
    ):
        run_week(waiting, MONDAY, "late")


def test_a_student_without_a_snapshot_is_treated_as_one_without_a_score(installation: Installation):
    """The recommendations depend on no other figure of the snapshots."""
    run_week(installation, MONDAY, "with")
    execute(installation.engine.url, "UPDATE performance_snapshots SET engagement_score = NULL")
    run_week(installation, MONDAY, "without a score")
    before = recommended(installation)
    user_id = min(user_id for user_id, kinds in active_weeks(installation).items() if "RESUME_LEARNING" in kinds)
    execute(installation.engine.url, f"DELETE FROM performance_snapshots WHERE user_id = {user_id}")  # noqa: S608
    run_week(installation, MONDAY, "without a snapshot")
    assert differences(recommended(installation), before) == []
