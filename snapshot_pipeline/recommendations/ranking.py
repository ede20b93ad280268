"""Rank recommendations: leave out dismissed and removed ones, select the three best per student, add their texts."""

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

RECOMMENDATIONS_PER_STUDENT = 3

_TYPES_BY_RANK = sorted(RECOMMENDATION_TYPES, key=attrgetter("priority"), reverse=True)


def recommend(facts: WeekFacts) -> pd.DataFrame:
    """The recommendations of a batch of students for one week, as docs/metrics.md defines them.

    Returns:
        One row per recommendation, sorted by `user_id`, then descending `priority`, with a default index: `user_id`
        (int64), `recommendation_type` (str), `priority` (int64), `title` (str), `message` (str), `metadata` (object: a
        dict of JSON values; rows with equal metadata share one object).
    """
    candidates = _drop_removed([_find_recipients(recommendation_type, facts) for recommendation_type in _TYPES_BY_RANK])
    best = _best_per_student(candidates)
    rank = best["rank"].to_numpy()
    title, message, metadata = (np.empty(len(best), dtype=object) for _ in range(3))
    for number, recommendation_type in enumerate(_TYPES_BY_RANK):
        of_type = np.flatnonzero(rank == number)
        which, records = _distinct_metadata(candidates[number].iloc[best["row"].to_numpy()[of_type]])
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


def _find_recipients(recommendation_type: RecommendationType, facts: WeekFacts) -> pd.DataFrame:
    """The result of the rule, for students of the batch who have not dismissed it."""
    rows = recommendation_type.find(facts)
    dismissals = facts.dismissals
    dismissed = dismissals.loc[dismissals["recommendation_type"] == recommendation_type.name, "user_id"]
    return rows[rows["user_id"].isin(facts.students["user_id"]) & ~rows["user_id"].isin(dismissed)]


def _drop_removed(candidates: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """The recipients of each type, in the order of their ranks, without those who get a type that removes it."""
    left: list[pd.DataFrame] = []
    for recommendation_type, rows in zip(_TYPES_BY_RANK, candidates, strict=True):
        removing = [
            frame["user_id"]
            for other, frame in zip(_TYPES_BY_RANK, left, strict=False)
            if recommendation_type.name in other.removes
        ]
        left.append(rows[~rows["user_id"].isin(pd.concat(removing))] if removing else rows)
    return left


def _best_per_student(candidates: list[pd.DataFrame]) -> pd.DataFrame:
    """The recommendations of the highest priority, at most three per student.

    Args:
        candidates: The recipients of each type, in the order of their ranks.

    Returns:
        `user_id`, `rank` (of the type, from 0), `row` (position in that type's frame): int64, sorted by the first two.
    """
    ranked = pd.concat(
        [
            pd.DataFrame({"user_id": frame["user_id"].to_numpy(dtype=np.int64), "rank": rank, "row": range(len(frame))})
            for rank, frame in enumerate(candidates)
        ],
        ignore_index=True,
    )
    ranked = ranked.sort_values(["user_id", "rank"], ignore_index=True)
    best = ranked.groupby("user_id", sort=False).cumcount() < RECOMMENDATIONS_PER_STUDENT
    return ranked[best].reset_index(drop=True)


def _distinct_metadata(rows: pd.DataFrame) -> tuple[NDArray[np.integer[Any]], NDArray[np.object_]]:
    """The distinct metadata of a rule's rows: a million students have a few thousand of them.

    Args:
        rows: `user_id`, and a column for each key of the metadata.

    Returns:
        For each row, the position of its metadata in the second array; and the distinct metadata, dicts of JSON values
        without None.
    """
    keys = [column for column in rows.columns if column != "user_id"]
    if not keys:
        return np.zeros(len(rows), dtype=np.intp), _objects([{}])
    which: NDArray[np.integer[Any]]
    if any(isinstance(value, list) for key in keys for value in rows[key].iloc[:1]):
        # pandas cannot group by lists, which hardly ever repeat anyway.
        which = np.arange(len(rows))
    else:
        which = rows.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
        rows = rows.drop_duplicates(keys)
    # `tolist` converts NumPy numbers to Python numbers, for JSON.
    values = zip(*(rows[key].tolist() for key in keys), strict=True)
    return which, _objects(
        {key: value for key, value in zip(keys, of_row, strict=True) if value is not None} for of_row in values
    )


def _objects(values: Iterable[object]) -> NDArray[np.object_]:
    """A one-dimensional object array, even if the elements are sequences."""
    elements = list(values)
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array
