"""The students at risk of a week, from the platform's rows and the published scores to the table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone

import pytest
from sqlalchemy import URL, select, text, update

from snapshot_pipeline.pipeline.at_risk import AtRiskReport, run_at_risk
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.recommendations import MissingSundayError
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline_tests.pipeline.installations import (
    MONDAY,
    SUNDAY,
    ZONE,
    execute,
    installation_on,
    new_database,
)
from snapshot_pipeline_tests.reference.at_risk import AtRisk, Scores, reference_at_risk
from snapshot_pipeline_tests.reference.reading import read_rows

WEEK = timedelta(weeks=1)
SUNDAYS = [SUNDAY - weeks * WEEK for weeks in range(6)]


@pytest.fixture(scope="module")
def with_scores(server_url: URL, sample_template: URL) -> Iterator[URL]:
    """The sample, some of it without a cohort or in a small one; snapshots of six Sundays."""
    with new_database(server_url, sample_template) as url:
        execute(
            url,
            "UPDATE users SET current_specialization = NULL WHERE id % 7 = 1",
            "UPDATE users SET current_level = 'small' WHERE id % 60 = 2",
        )
        with installation_on(url) as installation:
            for sunday in SUNDAYS:
                run_days(installation, sunday, sunday, "sunday")
        yield url


@pytest.fixture
def installation(server_url: URL, with_scores: URL) -> Iterator[Installation]:
    with new_database(server_url, with_scores) as url, installation_on(url, batch_rows=1_000) as opened:
        yield opened


def scores_of(installation: Installation) -> Scores:
    snapshots = installation.store.performance_snapshots
    query = select(snapshots.c.user_id, snapshots.c.snapshot_date, snapshots.c.engagement_score)
    with installation.engine.connect() as connection:
        rows = connection.execute(query.where(snapshots.c.engagement_score.is_not(None))).all()
    return {(user_id, day): score for user_id, day, score in rows}


def published(installation: Installation, week: date = MONDAY) -> dict[int, AtRisk]:
    table = installation.store.at_risk_students
    query = select(table.c.user_id, table.c.state, table.c.reasons, table.c.peers).where(table.c.week_start == week)
    with installation.engine.connect() as connection:
        return {
            user_id: AtRisk(state, tuple((reason["code"], reason["text"]) for reason in reasons), peers)
            for user_id, state, reasons, peers in connection.execute(query)
        }


def assert_equals_reference(installation: Installation, report: AtRiskReport) -> None:
    rows, scores = read_rows(installation.engine, "public"), scores_of(installation)
    expected = reference_at_risk(rows, SUNDAY, ZONE, scores)
    assert published(installation) == expected
    states = [row.state for row in expected.values()]
    assert (report.rows, report.listed) == (len(expected), states.count("listed"))
    assert report.with_score == sum(day == SUNDAY for _, day in scores)


def test_states_reasons_and_peers_of_a_week_equal_the_reference(installation: Installation) -> None:
    report = run_at_risk(installation, MONDAY, "week")
    assert_equals_reference(installation, report)
    found = published(installation).values()
    assert {row.state for row in found} == {"listed", "dormant", "not_started"}
    assert {code for row in found for code, _ in row.reasons} > {"DORMANT", "MISSED_QUIZZES", "LOW_RESULTS"}
    assert any(row.peers is None for row in found if row.state == "dormant")


def test_earlier_sundays_and_completed_courses_decide_who_is_listed(installation: Installation) -> None:
    """A score below 30 keeps a student who was below 20 on the list, for four weeks."""
    run_at_risk(installation, MONDAY, "as computed")
    neither = [user_id for user_id, day in scores_of(installation) if day == SUNDAY]
    students = sorted(set(neither) - published(installation).keys())[:5]
    listed, left, forgotten, new, done = students
    courses = {
        listed: (29.99, None, None, None, 19.99, 50),
        left: (25, 30, 10, 10, 10, 10),
        forgotten: (25, 25, 25, 25, 25, 10),
        new: (19.99, 80, 80, 80, 80, 80),
        done: (1, 1, 1, 1, 1, 1),
    }
    for user_id, scores in courses.items():
        for day, score in zip(SUNDAYS, scores, strict=True):
            set_score(installation, user_id, day, score)
    execute(
        installation.engine.url,
        f"DELETE FROM user_lesson_progress WHERE user_id = {done} AND lesson_id IN (SELECT id FROM lessons)",  # noqa: S608
        f"""INSERT INTO user_lesson_progress (user_id, lesson_id, started_at, completed_at, time_spent_minutes)
            SELECT {done}, id, '2025-09-20 08:00+00', '2025-10-28 08:00+00', 5 FROM lessons""",  # noqa: S608
    )
    (small, *_) = in_small_cohort = students_where(installation, "current_level = 'small'")
    assert len(in_small_cohort) < 10
    set_score(installation, small, SUNDAY, 5)  # scores need ten students, so the check of the table finds this one
    report = run_at_risk(installation, MONDAY, "changed")
    assert_equals_reference(installation, report)
    assert report.listed_with_few_peers == 1
    found = published(installation)
    assert {user_id for user_id in students if user_id in found and found[user_id].state == "listed"} == {listed, new}


def students_where(installation: Installation, condition: str) -> list[int]:
    """Return the students with a snapshot of the Sunday who are active in it, by a condition on `users`."""
    query = text(
        f"SELECT id FROM users JOIN performance_snapshots ON user_id = id WHERE snapshot_date = :day "  # noqa: S608
        f"AND days_since_activity < 28 AND {condition} ORDER BY id"
    )
    with installation.engine.connect() as connection:
        return list(connection.execute(query, {"day": SUNDAY}).scalars())


def set_score(installation: Installation, user_id: int, day: date, score: float | None) -> None:
    snapshots = installation.store.performance_snapshots
    is_row = (snapshots.c.user_id == user_id) & (snapshots.c.snapshot_date == day)
    with installation.engine.begin() as connection:
        assert connection.execute(update(snapshots).where(is_row).values(engagement_score=score)).rowcount == 1


def test_a_student_who_failed_on_the_sunday_is_nobodys_peer_and_has_no_comparison(installation: Installation) -> None:
    run_at_risk(installation, MONDAY, "all")
    table = installation.store.at_risk_students
    query = select(table).where(table.c.peers >= 10).order_by(table.c.user_id)
    with installation.engine.connect() as connection:
        rows = connection.execute(query).all()
    failed, other = next(
        (failed, other)
        for failed in rows
        for other in rows
        if (failed.specialization, failed.level) == (other.specialization, other.level)
        and failed.state == "listed"
        and other.user_id != failed.user_id
    )
    with installation.engine.begin() as connection:
        at = datetime(2025, 11, 3, tzinfo=timezone.utc)
        seen = {"computed_at": at, "first_seen_at": at, "last_seen_at": at, "attempts": 1}
        why = {"reason": "unexpected_error", "detail": "ValueError"}
        failure = {"user_id": failed.user_id, "snapshot_date": SUNDAY, **why, **seen}
        connection.execute(installation.store.snapshot_failures.insert().values(failure))
    run_at_risk(installation, MONDAY, "one failed")
    found = published(installation)
    assert found[other.user_id].peers == other.peers - 1
    assert found[other.user_id].reasons
    assert found[failed.user_id].reasons == ()


def test_a_week_without_its_sunday_is_refused(installation: Installation) -> None:
    execute(installation.engine.url, "DELETE FROM snapshot_days")
    with pytest.raises(MissingSundayError, match="no snapshots for its Sunday"):
        run_at_risk(installation, MONDAY, "week")
