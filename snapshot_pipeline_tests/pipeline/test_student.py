"""The report of one student: the terms of the score add up to the published figures."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.student import NoSuchStudentError, read_student_report
from snapshot_pipeline_tests.pipeline.installations import SUNDAY, ZONE, execute
from snapshot_pipeline_tests.reference.reading import read_rows
from snapshot_pipeline_tests.reference.snapshots import window_of


def test_terms_equal_the_reference_and_sum_to_the_published_score(computed: Installation):
    students = {student.user.id: student for student in read_rows(computed.engine, "public").active_students(ZONE)}
    snapshots = computed.store.performance_snapshots
    with computed.engine.connect() as connection:
        published = connection.execute(
            select(snapshots.c.user_id, snapshots.c.pace_score, snapshots.c.learning_pace)
            .where(snapshots.c.snapshot_date == SUNDAY)
            .order_by(snapshots.c.pace_score)
        ).all()
    for user_id, pace_score, label in published[::9]:
        report = read_student_report(computed, user_id, SUNDAY)
        pace, student = report.pace, students[user_id]
        assert pace is not None
        assert student.first_started_on is not None
        window = window_of(student.first_started_on, SUNDAY)
        completed = [row.completed_on for row in student.progress if window.contains(row.completed_on)]
        assert (pace.first, pace.last, pace.days) == (window.first, window.last, window.n)
        assert pace.lessons == {day: completed.count(day) for day in set(completed)}
        assert [attempt.attempt_id for attempt in pace.attempts] == [
            attempt.row.id
            for attempt in student.attempts
            if attempt.score is not None and attempt.completed_on <= SUNDAY
        ][:10]
        assert pace.velocity.points + pace.consistency.points + pace.quiz.points == pytest.approx(
            pace.unrounded, abs=1e-12
        )
        assert pace.unrounded == pytest.approx(pace.pace_score, abs=0.005 + 1e-9)
        assert (pace.pace_score, pace.learning_pace) == (pace_score, label)
        assert (report.last.state, report.differences, report.remediation) == ("published", [], None)


def test_late_rows_are_reported_with_both_figures_and_the_command(computed: Installation):
    with computed.engine.connect() as connection:
        snapshots = computed.store.performance_snapshots
        best = connection.execute(
            select(snapshots.c.user_id)
            .where(snapshots.c.snapshot_date == SUNDAY)
            .order_by(snapshots.c.pace_score.desc())
            .limit(1)
        ).scalar_one()
    execute(computed.engine.url, f"DELETE FROM quiz_attempts WHERE user_id = {int(best)}")  # noqa: S608
    report = read_student_report(computed, best, SUNDAY)
    changed = {difference.column: difference for difference in report.differences}
    assert {"pace_score", "quiz_average"} <= changed.keys()
    assert report.pace is not None
    assert changed["pace_score"].now == report.pace.pace_score < changed["pace_score"].published
    assert changed["quiz_average"].now is None
    assert report.remediation is not None
    assert report.remediation.command == f"snapshot-pipeline materialize --from {SUNDAY} --to {SUNDAY}"


def test_invalid_rows_of_a_student_are_shown_until_they_are_corrected(computed: Installation):
    issues = computed.store.data_issues
    with computed.engine.connect() as connection:
        user_id, detail = connection.execute(
            select(issues.c.user_id, issues.c.detail).where(issues.c.issue == "negative_minutes").limit(1)
        ).one()
    report = read_student_report(computed, user_id, SUNDAY)
    assert (report.last.state, report.remediation) == ("published", None)
    assert report.pace is not None
    assert ("negative_minutes", detail) in [(issue.issue, issue.detail) for issue in report.pace.issues]
    corrected = f"UPDATE user_lesson_progress SET time_spent_minutes = 0 WHERE user_id = {int(user_id)}"  # noqa: S608
    execute(computed.engine.url, f"{corrected} AND time_spent_minutes < 0")
    after = read_student_report(computed, user_id, SUNDAY)
    assert after.pace is not None
    assert after.pace.issues == []


def test_a_failed_day_names_the_command_that_computes_it_again(failed: Installation):
    failures = failed.store.snapshot_failures
    with failed.engine.connect() as connection:
        user_id = (
            connection.execute(select(failures.c.user_id).where(failures.c.snapshot_date == SUNDAY)).scalars().first()
        )
    assert user_id is not None
    report = read_student_report(failed, user_id, SUNDAY)
    assert report.last.state == "failed"
    assert report.last.failure is not None
    assert report.last.failure.detail == f"ValueError: cannot compute {user_id}"
    assert report.remediation is not None
    assert report.remediation.command == f"snapshot-pipeline retry-failed --from {SUNDAY} --to {SUNDAY}"


def test_uncomputed_day_differs_from_day_before_the_first_lesson(computed: Installation):
    student = next(
        candidate
        for candidate in read_rows(computed.engine, "public").active_students(ZONE)
        if candidate.first_started_on is not None and candidate.first_started_on < SUNDAY - timedelta(days=20)
    )
    report = read_student_report(computed, student.user.id, SUNDAY - timedelta(days=8))
    assert {day.state for day in report.days} == {"missing"}
    assert report.remediation is not None
    assert "never computed" in report.remediation.why
    execute(
        computed.engine.url,
        "INSERT INTO users (id, role, is_active) VALUES (900001, 'student', true), (900002, 'student', false), "
        "(900003, 'teacher', true)",
    )
    not_started = read_student_report(computed, 900_001, SUNDAY)
    assert (not_started.last.state, not_started.pace, not_started.remediation) == ("not due", None, None)
    for user_id, message in (
        (900_002, "student 900002 is not active"),
        (900_003, "user 900003 of public.users is not a student"),
        (900_004, "public.users has no user 900004"),
    ):
        with pytest.raises(NoSuchStudentError, match=message):
            read_student_report(computed, user_id, SUNDAY)
