"""The sentences, notices and tables of the report, with complete and incomplete weeks."""

from __future__ import annotations

from dataclasses import replace

from snapshot_pipeline.report.tables import build_tables
from snapshot_pipeline.report.words import notices, sentences, small_print
from snapshot_pipeline_tests.report.example_figures import (
    FAST,
    MONDAY,
    MONDAY_BEFORE,
    SUNDAY,
    SUNDAY_BEFORE,
    first_week,
    group,
    no_students,
    two_weeks,
    without,
)

NBSP = "\N{NO-BREAK SPACE}"


def test_a_week_is_compared_with_the_week_before():
    assert sentences(two_weeks()) == [
        "100 students of 204 were active, 23 fewer than the week before.",
        f"770 lessons were completed (10{NBSP}% more), in 63 hours of study (10{NBSP}% less).",
        "The mean pace score on Sunday was 46.0, 1.0 points higher than a week before; half of the students were "
        "between 30.0 and 60.0.",
        f"61 students (29.9{NBSP}%) learn at a fast or an accelerated pace, 1 more than a week before.",
        f"28 students (13.7{NBSP}%) have been inactive for 7 days or more, 2 fewer than a week before; 10 for 14 days "
        "or more.",
        "By cohort, the median pace rose most in Data science · Beginner (up 3.1 to 47.1, 81 students) and fell most "
        "in Backend · Advanced (down 2.0 to 42.0, 60 students).",
        "4 recommendations were made, 1 fewer than the week before; most often “take break” (4). 100 students are "
        "shown the next lesson, the default.",
    ]
    assert small_print(two_weeks()) == [
        "3 student days not computed (data errors), most often because of “score out of range” (2)."
    ]
    assert notices(two_weeks()) == []


def test_the_first_week_has_no_comparison():
    actual = sentences(first_week())
    assert actual[0] == "100 students of 204 were active."
    assert actual[1] == "770 lessons were completed, in 63 hours of study."
    assert not [sentence for sentence in actual if "before" in sentence or "By cohort" in sentence]
    assert notices(first_week()) == []


def test_a_week_without_students_is_one_sentence():
    assert sentences(no_students()) == ["No student had a snapshot on the Sunday of this week."]
    assert [len(table.rows) for table in build_tables(no_students())] == [11, 7, 0]


def test_singular_forms_and_unchanged_figures():
    one = group(
        students=1, fast_students=1, accelerated_students=0, inactive_7_days=1, lessons_completed=0, minutes_spent=0
    )
    week = two_weeks()
    days = {day: one for day in week.days}
    days[SUNDAY] = replace(one, lessons_completed=1, minutes_spent=60)
    figures = replace(
        week, days=days, active={MONDAY: 1, MONDAY_BEFORE: 1}, recommendations={MONDAY: {"TAKE_BREAK": 1}}, failures={}
    )
    actual = sentences(figures)
    assert actual[0] == "1 student of 1 was active, as many as the week before."
    assert actual[1] == "1 lesson was completed, in 1 hour of study."
    assert actual[2].startswith("The mean pace score on Sunday was 45.0, as a week before;")
    assert actual[3] == f"1 student (100.0{NBSP}%) learns at a fast or an accelerated pace, as many as a week before."
    assert actual[4].startswith(f"1 student (100.0{NBSP}%) has been inactive")
    assert actual[-1] == "1 recommendation was made; most often “take break” (1)."
    assert small_print(figures) == ["Every student was computed on every day."]


def test_a_missing_day_is_named_and_sums_of_the_week_are_left_out():
    thursday = MONDAY.replace(day=26)
    figures = without(two_weeks(), thursday)
    assert notices(figures) == ["Thursday, 26 Feb 2026 is missing, so sums of the week are unknown."]
    assert not [sentence for sentence in sentences(figures) if "lessons" in sentence]
    week, days, _ = build_tables(figures)
    assert ("Lessons completed", ("–", "700", "–")) in week.rows  # noqa: RUF001
    assert ("Thu 26 Feb, missing", ("–",) * 6) in days.rows  # noqa: RUF001


def test_a_missing_sunday_leaves_out_figures_of_that_day():
    figures = without(two_weeks(), SUNDAY)
    assert notices(figures) == [
        "Sunday, 1 Mar 2026 is missing, so sums of the week are unknown, and so are the figures of its Sunday."
    ]
    assert [sentence.split()[0] for sentence in sentences(figures)] == ["4"]


def test_student_days_not_computed_are_in_small_print():
    week = two_weeks()
    failing = replace(week, days={**week.days, SUNDAY: group(failed=7), SUNDAY_BEFORE: group(failed=1)})
    tables = build_tables(failing)
    assert all("failed" not in column for table in tables for column in table.columns)
    assert tables[0].note == "Student days not computed (data errors): this week 7, week before 1."
    assert tables[1].note == "Student days not computed (data errors): Sun 1 Mar 7."


def test_only_the_default_next_step_is_no_advice():
    figures = replace(two_weeks(), recommendations={MONDAY: {"CONTINUE_LEARNING": 1}})
    assert sentences(figures)[-1] == "0 recommendations were made. 1 student is shown the next lesson, the default."


def test_an_incomplete_week_before_is_not_compared():
    figures = without(two_weeks(), SUNDAY_BEFORE)
    assert notices(figures) == ["Of the week before, Sunday, 22 Feb 2026 is missing."]
    actual = sentences(figures)
    assert actual[0] == "100 students of 204 were active."
    assert actual[1] == "770 lessons were completed, in 63 hours of study."


def test_a_change_is_the_difference_of_the_rounded_figures():
    """45.04 and 45.96 are shown as 45.0 and 46.0; a change of 0.9 beside them would look like a mistake."""
    rows = dict(build_tables(two_weeks())[0].rows)
    assert rows["Mean pace score, points"] == ("46.0", "45.0", "+1.0")
    assert rows["Active in the week"] == ("100", "123", "−23")  # noqa: RUF001
    assert rows["Students"] == ("204", "200", "+4")


def test_the_largest_cohorts_are_shown_and_the_others_counted():
    week = two_weeks()
    many = {(f"Topic {number:02}", ""): group(students=10 + number) for number in range(20)}
    table = build_tables(replace(week, cohorts={SUNDAY: many | {FAST: group(students=500)}}))[2]
    assert len(table.rows) == 15
    assert table.rows[0][0] == "Data science · Beginner"
    assert table.note == "6 smaller cohorts with 75 students not shown."
