"""Which students of a cohort need a person, and why. Source: docs/metrics.md, "Students at risk".

Pure functions of a cohort and a Sunday. Thresholds are constants, because changing one changes the meaning of the list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

LISTED, DORMANT, NOT_STARTED = STATES = ("listed", "dormant", "not_started")

REASON_CODES = (
    "DORMANT",
    "INACTIVE",
    "MISSED_QUIZZES",
    "LOW_RESULTS",
    "FEW_ACTIVE_DAYS",
    "BEHIND_PEERS",
    "NOT_STARTED",
)

DORMANT_DAYS = 28
MIN_TENURE = 7
ENTER_BELOW, LEAVE_AT = 20, 30
"""A student is listed below the first score, and then until the score reaches the second."""

EARLIER_SUNDAYS = 4
MAX_REASONS = 3
MAX_TITLES = 3

INACTIVE_DAYS = 14
MAX_LATE_PERCENTILE = 0.25
MAX_PRESENCE_PERCENTILE = 0.20
MIN_DAYS_BEHIND = 3


@dataclass(frozen=True)
class Reason:
    """Why a student is on the list.

    Attributes:
        code: One of `REASON_CODES`.
        text: A sentence for a teacher.
        numbers: The values in the text.
    """

    code: str
    text: str
    numbers: Mapping[str, Any] = field(default_factory=dict)


def states(
    days_since_activity: NDArray[np.int64], tenure: NDArray[np.int64], scores: Floats, earlier_scores: Floats
) -> NDArray[np.object_]:
    """Return `listed`, `dormant` or None of each student who has started.

    Args:
        tenure: Days from the first start to the Sunday, both included.
        scores: The Sunday's engagement scores as published, shape (students,); NaN: none.
        earlier_scores: Those of the Sundays one to four weeks before, newest first, shape (students, 4); NaN: none.
    """
    # From the newest Sunday back: whether a score below the limit was found before one that ends the listing.
    with np.errstate(invalid="ignore"):
        entered, left = earlier_scores < ENTER_BELOW, earlier_scores >= LEAVE_AT
        stays = (entered & ~np.logical_or.accumulate(left, axis=1)).any(axis=1)
        is_listed = (tenure >= MIN_TENURE) & ((scores < ENTER_BELOW) | ((scores < LEAVE_AT) & stays))
    state = np.full(len(scores), None, dtype=object)
    state[is_listed] = LISTED
    state[days_since_activity >= DORMANT_DAYS] = DORMANT
    return state


def dormant_reason(days_since_activity: int) -> Reason:
    """The reason of a student without activity for four weeks or more."""
    return Reason("DORMANT", f"No activity for {days(days_since_activity)}.", {"days": days_since_activity})


def not_started_reason() -> Reason:
    """The reason of a student whose cohort has begun."""
    return Reason("NOT_STARTED", "Has not started a lesson.")


def reasons(
    facts: Mapping[str, Any],
    percentiles: Mapping[str, float],
    points_lost: Mapping[str, float],
    quiz_titles: Mapping[int, str],
) -> list[Reason]:
    """Return the reasons of a listed or dormant student with enough peers, the most important first.

    Args:
        facts: A row of `metrics.peer_comparison`.
        percentiles: Of each component, as published; NaN: none.
        points_lost: By each component, of 100.
        quiz_titles: The titles of the cohort's quizzes by id.
    """
    since = int(facts["days_since_activity"])
    if since >= DORMANT_DAYS:
        first = [dormant_reason(since)]
    else:
        first = [reason for reason in [_inactive(facts, percentiles)] if reason is not None]
    others = [
        (points_lost[component], reason)
        for component, reason in (
            ("results", _missed_quizzes(facts, quiz_titles)),
            ("results", _low_results(facts)),
            ("presence", _few_active_days(facts, percentiles)),
            ("timeliness", _behind_peers(facts, percentiles)),
        )
        if reason is not None
    ]
    # The sort is stable: equal points leave the order of the table.
    others.sort(key=lambda pair: -pair[0])
    return [*first, *(reason for _, reason in others)][:MAX_REASONS]


def _inactive(facts: Mapping[str, Any], percentiles: Mapping[str, float]) -> Reason | None:
    since, within = int(facts["days_since_activity"]), int(facts["peers_active_within"])
    if since < INACTIVE_DAYS or not percentiles["recency"] <= MAX_LATE_PERCENTILE:
        return None
    last = "on the last day" if within == 1 else f"in the last {days(within)}"
    text = f"No activity for {days(since)}; half of the peers were active {last}."
    return Reason("INACTIVE", text, {"days": since, "peers_active_within": within})


def _missed_quizzes(facts: Mapping[str, Any], quiz_titles: Mapping[int, str]) -> Reason | None:
    missed: Sequence[int] = facts["missed_quizzes"]
    if not missed:
        return None
    common = int(facts["common_quizzes"])
    titles = [quiz_titles[quiz_id] for quiz_id in missed]
    more = len(titles) - MAX_TITLES
    shown = ", ".join(titles[:MAX_TITLES]) + (f" and {more} more" if more > 0 else "")
    quizzes = "quiz" if common == 1 else "quizzes"
    is_missing = "is" if len(missed) == 1 else "are"
    text = (
        f"{len(missed)} of {common} {quizzes} that at least half of the peers have taken {is_missing} missing: {shown}."
    )
    return Reason("MISSED_QUIZZES", text, {"missed": len(missed), "quizzes": common, "titles": titles})


def _low_results(facts: Mapping[str, Any]) -> Reason | None:
    if not facts["mean_score_rank"] <= MAX_LATE_PERCENTILE:
        return None
    mean, low = float(facts["mean_score"]), float(facts["low_mean_score"])
    text = f"Mean quiz score {mean:.2f}; a quarter of the peers have {low:.2f} or less."
    return Reason("LOW_RESULTS", text, {"mean_score": mean, "low_mean_score": low})


def _few_active_days(facts: Mapping[str, Any], percentiles: Mapping[str, float]) -> Reason | None:
    if not percentiles["presence"] <= MAX_PRESENCE_PERCENTILE:
        return None
    active, length, median = int(facts["active_days"]), int(facts["presence_days"]), int(facts["peers_active_days"])
    text = f"Active on {active} of the last {days(length)}; half of the peers on {median} or more."
    return Reason("FEW_ACTIVE_DAYS", text, {"active_days": active, "days": length, "peers_active_days": median})


def _behind_peers(facts: Mapping[str, Any], percentiles: Mapping[str, float]) -> Reason | None:
    behind = facts["days_behind"]
    if not (behind >= MIN_DAYS_BEHIND and percentiles["timeliness"] <= MAX_LATE_PERCENTILE):
        return None
    number = int(np.floor(behind + 0.5))
    return Reason("BEHIND_PEERS", f"Takes quizzes {days(number)} later than most.", {"days_behind": number})


def days(number: int) -> str:
    """The number of days in words: "1 day", "2 days"."""
    return "1 day" if number == 1 else f"{number:,} days"
