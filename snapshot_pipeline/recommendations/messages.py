"""Every word that a student reads in a recommendation, in one place, so that it can be translated.

Put here: titles and messages: plain text (no markup: whoever shows them on a page escapes them), short, kind and
concrete. Each is a complete sentence with named placeholders; where a number decides the form, both forms are written
out, as `gettext.ngettext` takes them. A text is made of its recommendation's metadata alone.
Do not put here: when a recommendation is made (`rules`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

LONGEST_LESSON_TITLE = 80
"""Characters of a lesson's title that are quoted in a message, the ellipsis included."""

UNTITLED_LESSON = "Lesson {lesson_id}"


@dataclass(frozen=True)
class Wording:
    """The texts of one recommendation type, as templates of `str.format` with named placeholders.

    Attributes:
        title: The heading, without placeholders.
        message: One or two sentences. The placeholders are the keys of the metadata, and `lesson_count`.
        message_for_one: The same for the number one, where the message has a number that can be one.
        number: The placeholder that decides between the two.
    """

    title: str
    message: str
    message_for_one: str | None = None
    number: str | None = None


WORDINGS: Mapping[str, Wording] = {
    "TAKE_BREAK": Wording(
        title="Time for a break",
        message="You studied {total_minutes} minutes in three days. A pause now will help you keep going.",
    ),
    "RESUME_LEARNING": Wording(
        title="Welcome back",
        message="Your last activity was {days_inactive} days ago. One short lesson is a good way back in.",
    ),
    "REVIEW_LESSON": Wording(
        title="Worth another look",
        message="Revisiting {lesson_count} lessons will help you: your latest quiz score there was below 70.",
        message_for_one="Revisiting {lesson_count} lesson will help you: your latest quiz score there was below 70.",
        number="lesson_count",
    ),
    "START_LEARNING": Wording(
        title="Ready for your first lesson?",
        message="You have not started a lesson yet. Pick one that looks interesting and see how far you get.",
    ),
    "PRACTICE_MORE": Wording(
        title="Put it into practice",
        message="You completed {lessons_done} lessons in two weeks, well done! An exercise will make them stick.",
    ),
    "CONTINUE_LEARNING": Wording(
        title="Your next lesson",
        message="“{lesson_title}” is the next lesson in your course.",
    ),
}
"""One entry per recommendation type. The numbers without a second form are never one: their rules ask for more."""


def title_of(recommendation_type: str) -> str:
    """The heading of a recommendation.

    Raises:
        KeyError: The type has no entry in `WORDINGS`.
    """
    return WORDINGS[recommendation_type].title


def message_of(recommendation_type: str, metadata: Mapping[str, Any]) -> str:
    """The message of a recommendation, made from its metadata.

    Raises:
        KeyError: The type has no entry in `WORDINGS`, or its message asks for something that is not in the metadata.
    """
    wording = WORDINGS[recommendation_type]
    values = _values_in_text(metadata)
    if wording.message_for_one is not None and wording.number is not None and values[wording.number] == 1:
        return wording.message_for_one.format_map(values)
    return wording.message.format_map(values)


def _values_in_text(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What the placeholders stand for: the metadata, with the lessons counted and the title made fit for a sentence."""
    values = dict(metadata)
    if "lesson_ids" in values:
        values["lesson_count"] = len(values["lesson_ids"])
    if "lesson_title" in values:
        values["lesson_title"] = _title_in_text(values["lesson_title"]) or UNTITLED_LESSON.format_map(values)
    return values


# The same few thousand lessons are recommended to all students.
@lru_cache(maxsize=10_000)
def _title_in_text(title: str) -> str:
    """A lesson's title on one line: no control characters, single spaces, at most `LONGEST_LESSON_TITLE` characters."""
    # Marks that reverse the direction of writing would reach beyond the title into the sentence around it.
    without_direction = re.sub("[\u202a-\u202e\u2066-\u2069]", "", title)
    line = " ".join(re.sub("[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", without_direction).split())
    if len(line) <= LONGEST_LESSON_TITLE:
        return line
    return line[: LONGEST_LESSON_TITLE - 1].rstrip() + "…"
