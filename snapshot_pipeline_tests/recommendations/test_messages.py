"""The texts of the recommendations: templates, singular and plural, and quoted lesson titles."""

from __future__ import annotations

import string

import pytest

from snapshot_pipeline.metrics.week import ACTIVITY_DAYS, BREAK_DAYS
from snapshot_pipeline.recommendations import rules
from snapshot_pipeline.recommendations.messages import MAX_LESSON_TITLE, TEMPLATES, message_of, title_of

EXAMPLES = {
    "TAKE_BREAK": {"total_minutes": 655},
    "RESUME_LEARNING": {"days_inactive": 15, "lesson_id": 10, "lesson_title": "Fractions"},
    "REVIEW_LESSON": {"lesson_ids": [7, 8], "scores": [40.0, 55.0]},
    "START_LEARNING": {},
    "PRACTICE_MORE": {"lessons_done": 6, "exercises_done": 0},
    "CONTINUE_LEARNING": {"lesson_id": 10, "lesson_title": "Fractions"},
}


def next_lesson(title: str) -> str:
    return message_of("CONTINUE_LEARNING", {"lesson_id": 10, "lesson_title": title})


def test_every_recommendation_type_has_a_template_and_no_others_exist():
    assert set(TEMPLATES) == {recommendation_type.name for recommendation_type in rules.RECOMMENDATION_TYPES}


@pytest.mark.parametrize("name", TEMPLATES)
def test_texts_are_short_sentences_without_markup_or_placeholders(name):
    title, message = title_of(name), message_of(name, EXAMPLES[name])
    assert 0 < len(title) <= 40
    assert 0 < len(message) <= 140
    assert message.endswith(".")
    assert not set("{}<>&*_`\n") & set(title + message)


@pytest.mark.parametrize("name", TEMPLATES)
def test_placeholders_are_named_so_that_a_translation_can_reorder_them(name):
    template = TEMPLATES[name]
    assert "{" not in template.title
    for text in filter(None, [template.message, template.message_for_one, template.message_without_lesson]):
        assert all(field is None or field.isidentifier() for _, field, _, _ in string.Formatter().parse(text))


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_with_a_number_of_lessons_have_singular_and_plural(name):
    template = TEMPLATES[name]
    assert ("{lesson_count}" in template.message) == (template.message_for_one is not None)
    assert "{lesson_count}" in (template.message_for_one or "{lesson_count}")


def test_message_of_take_break():
    assert message_of("TAKE_BREAK", EXAMPLES["TAKE_BREAK"]) == (
        "You studied 655 minutes in three days. A pause now will help you keep going."
    )


def test_start_learning_names_the_first_lesson_if_there_is_one():
    named = message_of("START_LEARNING", {"lesson_id": 10, "lesson_title": "Fractions"})
    assert named == "“Fractions” is the first lesson in your course."
    assert "“" not in message_of("START_LEARNING", {})


def test_one_lesson_is_singular_and_two_are_plural():
    singular = message_of("REVIEW_LESSON", {"lesson_ids": [7], "scores": [40.0]})
    plural = message_of("REVIEW_LESSON", {"lesson_ids": [7, 8], "scores": [40.0, 41.0]})
    assert "1 lesson " in singular
    assert "2 lessons " in plural


def test_numbers_in_texts_equal_the_thresholds_of_the_rules():
    assert (BREAK_DAYS, "three days" in TEMPLATES["TAKE_BREAK"].message) == (3, True)
    assert (ACTIVITY_DAYS, "two weeks" in TEMPLATES["PRACTICE_MORE"].message) == (14, True)


@pytest.mark.parametrize(
    "title", ["{lesson_id}", "{0}", "{", "}}{{", "%s %(lesson_id)d", "{lesson_id.__class__}", "$lesson_id"]
)
def test_a_lesson_title_is_never_formatted_as_a_template(title):
    assert next_lesson(title) == f"“{title}” is the next lesson in your course."


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Loops\nand\tlists\r\n", "Loops and lists"),
        ("  Loops   and lists ", "Loops and lists"),
        ("Loops\x00and\x1b[31mlists\x7f", "Loops and [31mlists"),
        ("Loops\u2028and\u2029lists\x85", "Loops and lists"),
        ("\u202eLoops\u2066 and lists", "Loops and lists"),
        ("حلقه‌ها و فهرست‌ها", "حلقه‌ها و فهرست‌ها"),  # noqa: RUF001 - Persian needs these joiners
    ],
)
def test_a_lesson_title_has_one_line_and_no_control_characters(title, shown):
    assert next_lesson(title).startswith(f"“{shown}”")


def test_only_a_lesson_title_over_the_limit_is_cut_with_an_ellipsis():
    fits = "x" * MAX_LESSON_TITLE
    assert f"“{fits}”" in next_lesson(fits)
    assert f"“{fits[:-1]}…”" in next_lesson(fits + "x")


@pytest.mark.parametrize("title", ["", " \n"])
def test_a_lesson_without_a_title_is_shown_with_its_id(title):
    assert next_lesson(title).startswith("“Lesson 10”")


def test_an_unknown_type_is_named_in_the_error():
    with pytest.raises(KeyError, match="NO_SUCH_TYPE"):
        message_of("NO_SUCH_TYPE", {})
