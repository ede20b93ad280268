"""From the rules to rows: what was dismissed is left out, the five best per student are kept and get their texts.

Put here: what holds for every recommendation alike. Do not put here: a rule (`rules`), a text (`messages`), or what
becomes of a published recommendation (`store`).
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
        (object: a dict per row, plain Python values that JSON knows, `{}` for none; rows that say the same share one).
    """
    found = [_receivers(recommendation_type, facts) for recommendation_type in _TYPES_BY_RANK]
    best = _best_per_student(found)
    rank = best["rank"].to_numpy()
    title, message, metadata = (np.empty(len(best), dtype=object) for _ in range(3))
    for number, recommendation_type in enumerate(_TYPES_BY_RANK):
        of_type = np.flatnonzero(rank == number)
        which, records = _distinct_metadata(found[number].iloc[best["row"].to_numpy()[of_type]])
        messages = _objects(message_of(recommendation_type.name, record) for record in records)
        metadata[of_type] = records[which]
        message[of_type] = messages[which]
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


def _distinct_metadata(rows: pd.DataFrame) -> tuple[NDArray[np.integer[Any]], NDArray[np.object_]]:
    """What a rule says of its students, each thing once: a few thousand things are said to a million students.

    Args:
        rows: What the rule found: `user_id`, and a column for each key of the metadata.

    Returns:
        For each row, the position of its metadata in the second; and the metadata, a dict of plain Python values each.
    """
    keys = [column for column in rows.columns if column != "user_id"]
    if not keys:
        return np.zeros(len(rows), dtype=np.intp), _objects([{}])
    which: NDArray[np.integer[Any]]
    if any(isinstance(value, list) for key in keys for value in rows[key].iloc[:1]):
        # pandas cannot compare lists, and those of two students are hardly ever the same.
        which = np.arange(len(rows))
    else:
        which = rows.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
        rows = rows.drop_duplicates(keys)
    # `tolist` turns NumPy's numbers into Python's, which JSON can write.
    values = zip(*(rows[key].tolist() for key in keys), strict=True)
    return which, _objects(dict(zip(keys, of_row, strict=True)) for of_row in values)


def _objects(values: Iterable[object]) -> NDArray[np.object_]:
    """An array of one dimension, whatever its elements are."""
    elements = list(values)
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array
