"""Every text that a student reads in a recommendation, in one place, so that it can be translated.

Titles and messages are plain text: markup is escaped where they are shown. Each is a complete sentence with named
placeholders, and has both forms where a number decides the form, as for `gettext.ngettext`. A text depends on the
metadata of its recommendation only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

MAX_LESSON_TITLE = 80
"""Characters of a lesson's title to quote in a message, including the ellipsis."""

UNTITLED_LESSON = "Lesson {lesson_id}"


@dataclass(frozen=True)
class MessageTemplate:
    """The texts of one recommendation type, as `str.format` templates with named placeholders.

    Attributes:
        title: The heading, without placeholders.
        message: One or two sentences. The placeholders are the keys of the metadata, and `lesson_count`.
        message_for_one: The form for one lesson, if the message has their number.
        message_without_lesson: The form for metadata without a lesson, if there need not be one.
    """

    title: str
    message: str
    message_for_one: str | None = None
    message_without_lesson: str | None = None


TEMPLATES: Mapping[str, MessageTemplate] = {
    "TAKE_BREAK": MessageTemplate(
        title="Time for a break",
        message="You studied {total_minutes} minutes in three days. A pause now will help you keep going.",
    ),
    "RESUME_LEARNING": MessageTemplate(
        title="Welcome back",
        message="Your last activity was {days_inactive} days ago: go on with “{lesson_title}”.",
    ),
    "REVIEW_LESSON": MessageTemplate(
        title="Worth another look",
        message="Revisiting {lesson_count} lessons will help you: your latest quiz score there was low.",
        message_for_one="Revisiting {lesson_count} lesson will help you: your latest quiz score there was low.",
    ),
    "START_LEARNING": MessageTemplate(
        title="Ready for your first lesson?",
        message="“{lesson_title}” is the first lesson in your course.",
        message_without_lesson="You have not started a lesson yet: pick one that looks interesting.",
    ),
    "PRACTICE_MORE": MessageTemplate(
        title="Put it into practice",
        message="You completed {lessons_done} lessons in two weeks, well done! An exercise will make them stick.",
    ),
    "CONTINUE_LEARNING": MessageTemplate(
        title="Your next lesson",
        message="“{lesson_title}” is the next lesson in your course.",
    ),
}
"""One entry per recommendation type. Numbers without a singular form are never one, by their rules."""


def title_of(recommendation_type: str) -> str:
    """The heading of a recommendation.

    Raises:
        KeyError: The type has no entry in `TEMPLATES`.
    """
    return TEMPLATES[recommendation_type].title


def message_of(recommendation_type: str, metadata: Mapping[str, Any]) -> str:
    """The message of a recommendation, made from its metadata.

    Raises:
        KeyError: The type has no entry in `TEMPLATES`, or its message has a placeholder that is not in the metadata.
    """
    template = TEMPLATES[recommendation_type]
    values = _values_in_text(metadata)
    if template.message_without_lesson is not None and "lesson_id" not in values:
        return template.message_without_lesson
    if template.message_for_one is not None and values["lesson_count"] == 1:
        return template.message_for_one.format_map(values)
    return template.message.format_map(values)


def _values_in_text(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the placeholders: the metadata, with the number of lessons and the title in one line."""
    values = dict(metadata)
    if "lesson_ids" in values:
        values["lesson_count"] = len(values["lesson_ids"])
    if "lesson_title" in values:
        values["lesson_title"] = _title_in_text(values["lesson_title"]) or UNTITLED_LESSON.format_map(values)
    return values


# A few thousand lessons are recommended to all students.
@lru_cache(maxsize=10_000)
def _title_in_text(title: str) -> str:
    """A title in one line, without control characters, with at most `MAX_LESSON_TITLE` characters."""
    # Marks that change the text direction would affect the sentence around the title.
    without_direction = re.sub("[\u202a-\u202e\u2066-\u2069]", "", title)
    line = " ".join(re.sub("[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", without_direction).split())
    if len(line) <= MAX_LESSON_TITLE:
        return line
    return line[: MAX_LESSON_TITLE - 1].rstrip() + "…"
