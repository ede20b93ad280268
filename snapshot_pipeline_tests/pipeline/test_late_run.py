"""A run of late data computes the students concerned from the changed day on, and nothing else."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import delete, func, select, text, update

from snapshot_pipeline.pipeline import late_run
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.late_data import changed_days
from snapshot_pipeline.pipeline.late_run import compute_late_data
from snapshot_pipeline.pipeline.reasons import LATE_DATA
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.pipeline.student_drop import StudentDropError
from snapshot_pipeline.store.days import DayCount, day_counts
from snapshot_pipeline_tests.pipeline.comparison import compare_days
from snapshot_pipeline_tests.pipeline.installations import COMPUTED, execute, published, raising_for
from snapshot_pipeline_tests.pipeline.test_late_data import change_a_past_day

FIRST, LAST = COMPUTED[0], COMPUTED[-1]
CHANGED = COMPUTED[3]


def regrade_one(installation: Installation, day: date = CHANGED) -> int:
    """Change the score of one attempt of an active student, at noon of a day; return the student."""
    query = text(
        "SELECT a.id, a.user_id FROM quiz_attempts a JOIN users ON users.id = a.user_id WHERE is_active AND "
        "upper(role) = 'STUDENT' AND score BETWEEN 10 AND 90 AND completed_at BETWEEN :noon AND :end ORDER BY 1 LIMIT 1"
    )
    with installation.engine.begin() as connection:
        times = {"noon": f"{day} 02:00+00", "end": f"{day} 22:00+00"}
        attempt, student = connection.execute(query, times).one()
        connection.execute(text("UPDATE quiz_attempts SET score = 100 - score + 1 WHERE id = :id"), {"id": attempt})
    return int(student)


def counts(installation: Installation) -> list[DayCount]:
    return installation.transaction(day_counts, FIRST, LAST)


def written(installation: Installation) -> set[tuple[int, date]]:
    """The student-days whose rows were written by another run than the first."""
    snapshots = installation.store.performance_snapshots
    first = select(func.min(snapshots.c.computed_at)).scalar_subquery()
    query = select(snapshots.c.user_id, snapshots.c.snapshot_date).where(snapshots.c.computed_at > first)
    with installation.engine.connect() as connection:
        return {(user_id, day) for user_id, day in connection.execute(query)}


def test_one_changed_row_computes_one_student_from_its_day_on(computed: Installation, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(late_run, "START_DAYS", 1)
    before = counts(computed)
    student = regrade_one(computed)
    assert compare_days(computed, [CHANGED]).differences  # the change has an effect
    run = compute_late_data(computed, FIRST, "late")
    assert (run.students, run.student_days) == (1, (LAST - CHANGED).days + 1)
    assert {user_id for user_id, _ in written(computed)} == {student}
    assert {report.day for report in run.reports} == {day for _, day in written(computed)}
    assert min(report.day for report in run.reports) == CHANGED
    assert all(report.restated > 0 for report in run.reports)
    assert compare_days(computed, COMPUTED).differences == []
    assert counts(computed) == before
    assert changed_days(computed, FIRST, LAST) == []
    restatements = computed.store.snapshot_restatements
    with computed.engine.connect() as connection:
        reasons = connection.execute(select(restatements.c.run_id, restatements.c.reason).distinct()).all()
    assert reasons == [("late", LATE_DATA)]
    assert compute_late_data(computed, FIRST, "again").students == 0


def test_changed_row_that_restates_nothing_reports_no_day(computed: Installation):
    """As a lesson that was started long ago and is completed now."""
    of_the_day = f"completed_at BETWEEN '{CHANGED} 02:00+00' AND '{CHANGED} 20:00+00'"
    students = "SELECT id FROM users WHERE is_active AND upper(role) = 'STUDENT'"
    lesson = f"SELECT ctid FROM user_lesson_progress WHERE {of_the_day} AND user_id IN ({students}) LIMIT 1"  # noqa: S608
    later = "completed_at = completed_at + interval '1 microsecond'"
    execute(computed.engine.url, f"UPDATE user_lesson_progress SET {later} WHERE ctid = ({lesson})")  # noqa: S608
    assert CHANGED in changed_days(computed, FIRST, LAST)
    run = compute_late_data(computed, FIRST, "late")
    assert (run.students, run.reports) == (1, [])
    assert written(computed) == set()
    assert changed_days(computed, FIRST, LAST) == []


def test_many_changes_on_several_days_reach_every_figure(computed: Installation):
    change_a_past_day(computed)
    change_a_past_day(computed, COMPUTED[5])
    run = compute_late_data(computed, FIRST, "late")
    assert run.students > 1
    assert compare_days(computed, COMPUTED).differences == []
    assert changed_days(computed, FIRST, LAST) == []


@pytest.mark.parametrize("column", ["source_fingerprint", "source_digests"])
def test_unknown_rows_compute_all_students(computed: Installation, column: str):
    days = computed.store.snapshot_days
    with computed.engine.begin() as connection:
        values = {"source_fingerprint": None, column: None}
        if column == "source_fingerprint":
            values["source_digests"] = None
        connection.execute(update(days).where(days.c.snapshot_date == LAST).values(values))
    active = run_days(computed, FIRST, FIRST, "count").students
    assert compute_late_data(computed, FIRST, "late").students == active
    assert changed_days(computed, FIRST, LAST) == []


def test_day_computed_alone_leaves_later_days_to_the_students_concerned(computed: Installation):
    student = regrade_one(computed)
    run_days(computed, CHANGED, CHANGED, "alone")
    assert changed_days(computed, FIRST, LAST) == [CHANGED + timedelta(days=1)]
    run = compute_late_data(computed, FIRST, "late")
    assert run.students == 1
    assert {user_id for user_id, _ in written(computed)} == {student}
    assert compare_days(computed, COMPUTED).differences == []
    assert changed_days(computed, FIRST, LAST) == []


def test_missing_day_stays_missing(computed: Installation):
    days, snapshots = computed.store.snapshot_days, computed.store.performance_snapshots
    missing = COMPUTED[5]
    with computed.engine.begin() as connection:
        connection.execute(delete(days).where(days.c.snapshot_date == missing))
        connection.execute(delete(snapshots).where(snapshots.c.snapshot_date == missing))
    regrade_one(computed)
    assert compute_late_data(computed, FIRST, "late").students == 1
    assert missing not in published(computed)["performance_snapshots"]["snapshot_date"].to_pylist()
    others = [day for day in COMPUTED if day != missing]
    assert [count.day for count in counts(computed)] == others
    assert compare_days(computed, others).differences == []


def test_counts_move_with_a_student_who_fails(computed: Installation):
    student = regrade_one(computed)
    before = {count.day: count for count in counts(computed)}
    with raising_for([student]):
        run = compute_late_data(computed, CHANGED, "late")
    for count in counts(computed):
        moved = int(count.day >= CHANGED)
        assert (count.published, count.failed) == (before[count.day].published - moved, moved)
    assert {report.day for report in run.reports} == {day for day in COMPUTED if day >= CHANGED}


def test_late_data_that_would_remove_many_rows_are_refused(computed: Installation):
    execute(
        computed.engine.url,
        f"UPDATE user_lesson_progress SET started_at = '{LAST} 10:00+00', completed_at = NULL",  # noqa: S608
    )
    with pytest.raises(StudentDropError):
        compute_late_data(computed, FIRST, "late")
    assert written(computed) == set()


def test_no_computed_day_is_nothing_to_do(installation: Installation):
    assert compute_late_data(installation, FIRST, "late").students == 0
