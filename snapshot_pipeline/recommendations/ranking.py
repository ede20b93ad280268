"""From the rules to rows: what was dismissed is left out, the five best per student are kept and get their texts.

Put here: what holds for every recommendation alike. Do not put here: a rule (`rules`), a text (`messages`), or what
becomes of a published recommendation (`store`).
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd

from snapshot_pipeline.recommendations.facts import WeekFacts
from snapshot_pipeline.recommendations.messages import message_of, title_of
from snapshot_pipeline.recommendations.rules import RECOMMENDATION_TYPES, RecommendationType

RECOMMENDATIONS_PER_STUDENT = 5

_TYPES_BY_RANK = sorted(RECOMMENDATION_TYPES, key=attrgetter("priority"), reverse=True)


def recommend(facts: WeekFacts) -> pd.DataFrame:
    """The recommendations of one batch of students for one week, as `metrics.md` defines them.

    Args:
        facts: What is known of the students.

    Returns:
        One row per recommendation, sorted by `user_id`, then `priority` from high to low, the index counting from 0:
        `user_id` (int64), `recommendation_type` (str), `priority` (int64), `title` (str), `message` (str), `metadata`
        (object: a dict per row, plain Python values that JSON knows, `{}` for none).
    """
    found = [_receivers(recommendation_type, facts) for recommendation_type in _TYPES_BY_RANK]
    best = _best_per_student(found)
    rank = best["rank"].to_numpy()
    title, message, metadata = (np.empty(len(best), dtype=object) for _ in range(3))
    for number, recommendation_type in enumerate(_TYPES_BY_RANK):
        of_type = np.flatnonzero(rank == number)
        records = _metadata_of(found[number].iloc[best["row"].to_numpy()[of_type]])
        metadata[of_type] = records
        message[of_type] = [message_of(recommendation_type.name, record) for record in records]
        title[of_type] = title_of(recommendation_type.name)
    names = np.array([recommendation_type.name for recommendation_type in _TYPES_BY_RANK], dtype=object)
    priorities = np.array([recommendation_type.priority for recommendation_type in _TYPES_BY_RANK])
    return pd.DataFrame(
        {
            "user_id": best["user_id"],
            "recommendation_type": pd.Series(names[rank], dtype="str"),
            "priority": priorities[rank],
            "title": pd.Series(title, dtype="str"),
            "message": pd.Series(message, dtype="str"),
            "metadata": metadata,
        }
    )


def _receivers(recommendation_type: RecommendationType, facts: WeekFacts) -> pd.DataFrame:
    """What the rule finds, for students of the batch who have not dismissed it."""
    found = recommendation_type.find(facts)
    dismissals = facts.dismissals
    dismissed = dismissals.loc[dismissals["recommendation_type"] == recommendation_type.name, "user_id"]
    return found[found["user_id"].isin(facts.students["user_id"]) & ~found["user_id"].isin(dismissed)]


def _best_per_student(found: list[pd.DataFrame]) -> pd.DataFrame:
    """The recommendations of the highest priority, at most five per student.

    Args:
        found: What the rule of each type found, in the order of their ranks.

    Returns:
        `user_id`, `rank` (of the type, from 0), `row` (position in that type's frame): int64, sorted by the first two.
    """
    candidates = pd.concat(
        [
            pd.DataFrame({"user_id": frame["user_id"].to_numpy(dtype=np.int64), "rank": rank, "row": range(len(frame))})
            for rank, frame in enumerate(found)
        ],
        ignore_index=True,
    )
    candidates = candidates.sort_values(["user_id", "rank"], ignore_index=True)
    best = candidates.groupby("user_id", sort=False).cumcount() < RECOMMENDATIONS_PER_STUDENT
    return candidates[best].reset_index(drop=True)


def _metadata_of(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """One dict of plain Python values per row: every column but `user_id`."""
    keys = [column for column in rows.columns if column != "user_id"]
    if not keys:
        return [{} for _ in range(len(rows))]
    # `tolist` turns NumPy's numbers into Python's, which JSON can write.
    return [dict(zip(keys, values, strict=True)) for values in zip(*(rows[key].tolist() for key in keys), strict=True)]
