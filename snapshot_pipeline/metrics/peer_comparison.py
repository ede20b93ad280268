"""How a student compares with the peers in the terms that a teacher understands: days, quizzes and scores.

For the reasons of students at risk (docs/metrics.md). Pure functions of one cohort and one day.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from snapshot_pipeline.metrics.engagement import (
    MAX_PACED_SPREAD,
    MAX_PRESENCE_DAYS,
    MIN_PEERS,
    MIN_PRESENCE_DAYS,
    RAW_DECIMALS,
    peers_of,
    percentile_ranks,
    presence_days,
)
from snapshot_pipeline.metrics.grid import Flags, Floats, Ints, round_half_away

COMMON_SHARE = 0.5
"""A quiz is common if at least this share of the peers has a graded attempt."""


def compare_with_peers(members: pd.DataFrame, active: Flags, records: pd.DataFrame) -> pd.DataFrame:
    """Compare the members of one cohort with their peers.

    Args:
        members: See `engagement.members_of`.
        active: Whether each member was active on the last `MAX_PRESENCE_DAYS` days, the newest last; shape
            (members, days).
        records: See `engagement.quiz_records`; of the quizzes that are counted for the cohort.

    Returns:
        One row per member, in the same order: `user_id`, `days_since_activity`, `tenure`; `peers_active_within` (half
        of the peers were active within this many days), `common_quizzes` (their number), `missed_quizzes` (tuple of the
        ids of those not attempted, ascending), `mean_score` (of the latest scores; NaN: none), `mean_score_rank` (of
        the unrounded mean), `low_mean_score` (a quarter of the peers have this mean or less; NaN: none), `active_days`,
        `presence_days`,
        `peers_active_days` (half of the peers have so many or more in the same days), `days_behind` (mean over the
        paced quizzes attempted; NaN: none).
    """
    since = members["days_since_activity"].to_numpy(np.int64)
    peers = peers_of(since)
    user_ids = members["user_id"].to_numpy(np.int64)
    quizzes = QuizTable(user_ids, records, peers)
    lengths = presence_days(members["tenure"].to_numpy(np.int64))
    means = _mean_scores(quizzes, len(members))
    peer_means = round_half_away(np.sort(means[peers & ~np.isnan(means)]))
    common, missed = _missed_quizzes(quizzes, len(members))
    return pd.DataFrame(
        {
            "user_id": user_ids,
            "days_since_activity": since,
            "tenure": members["tenure"].to_numpy(np.int64),
            "peers_active_within": np.sort(since[peers])[(peers.sum() - 1) // 2] + 1 if len(since) else 0,
            "common_quizzes": common,
            "missed_quizzes": missed,
            "mean_score": round_half_away(means),
            "mean_score_rank": percentile_ranks(means, means[peers]),
            "low_mean_score": peer_means[-(-len(peer_means) // 4) - 1] if len(peer_means) else np.nan,
            "active_days": members["active_days"].to_numpy(np.int64),
            "presence_days": lengths,
            "peers_active_days": _median_active_days(active[peers])[lengths - MIN_PRESENCE_DAYS],
            "days_behind": _days_behind(quizzes, peers),
        }
    )


class QuizTable:
    """The quizzes of a cohort: for each the members who attempted it, their first days and their latest scores.

    Attributes:
        ids: The quizzes, ascending, shape (quizzes,).
        quizzes: For each of them the positions of the members who attempted it, the day of their first attempt, and
            their latest graded score (NaN: none).
    """

    def __init__(self, user_ids: Ints, records: pd.DataFrame, peers: Flags) -> None:
        self._peers = peers
        quiz_ids = records["quiz_id"].to_numpy(np.int64)
        order = np.argsort(quiz_ids, kind="stable")
        self.ids, starts = np.unique(quiz_ids[order], return_index=True)
        # Narrow numbers, because a cohort may be the whole platform.
        rows = pd.Index(user_ids).get_indexer(pd.Index(records["user_id"])).astype(np.int32)[order]
        first_days = records["first_day"].to_numpy(np.int32)[order]
        columns = (rows, first_days, records["score"].to_numpy(np.float64)[order])
        self.quizzes = (
            list(zip(*(np.split(column, starts[1:]) for column in columns), strict=True)) if len(rows) else []
        )

    def share(self, rows: Ints, scores: Floats) -> float:
        """The share of the peers with a graded attempt at a quiz."""
        return float((self._peers[rows] & ~np.isnan(scores)).sum() / max(1, self._peers.sum()))


def is_paced(first_days: Floats) -> bool:
    """Whether most members take a quiz at about the same time; `first_days` of all members who attempted it."""
    last = len(first_days) - 1
    if len(first_days) < MIN_PEERS:
        return False
    ordered = np.sort(first_days)
    return bool(ordered[-(-3 * last // 4)] - ordered[last // 4] <= MAX_PACED_SPREAD)


def _mean_scores(quizzes: QuizTable, members: int) -> Floats:
    sums, counts = np.zeros(members), np.zeros(members)
    for rows, _, scores in quizzes.quizzes:
        graded = ~np.isnan(scores)
        sums[rows[graded]] += scores[graded]
        counts[rows[graded]] += 1
    with np.errstate(invalid="ignore"):
        means: Floats = np.round(sums / counts, RAW_DECIMALS)
    return means


def _missed_quizzes(quizzes: QuizTable, members: int) -> tuple[int, list[tuple[int, ...]]]:
    """The number of common quizzes, and for each member the ids of those not attempted."""
    common = [
        (int(quiz_id), rows)
        for quiz_id, (rows, _, scores) in zip(quizzes.ids, quizzes.quizzes, strict=True)
        if quizzes.share(rows, scores) >= COMMON_SHARE
    ]
    attempted = np.zeros((members, len(common)), dtype=bool)
    for column, (_, rows) in enumerate(common):
        attempted[rows, column] = True
    ids = np.array([quiz_id for quiz_id, _ in common], dtype=np.int64)
    # Members who have missed the same quizzes share one tuple.
    missed: dict[bytes, tuple[int, ...]] = {}
    keys = [flags.tobytes() for flags in attempted]
    for key, flags in zip(keys, attempted, strict=True):
        if key not in missed:
            missed[key] = tuple(ids[~flags].tolist())
    return len(common), [missed[key] for key in keys]


def _median_active_days(active: Flags) -> Ints:
    """The peers' upper median of active days in the last 7, 8, … 28 days."""
    in_last_days = np.sort(np.cumsum(active[:, ::-1], axis=1, dtype=np.int8), axis=0)[len(active) // 2]
    medians: Ints = in_last_days[MIN_PRESENCE_DAYS - 1 : MAX_PRESENCE_DAYS].astype(np.int64)
    return medians


def _days_behind(quizzes: QuizTable, peers: Flags) -> Floats:
    """The mean distance of a member's first attempts from the peers' lower median, over the paced quizzes."""
    sums, counts = np.zeros(len(peers)), np.zeros(len(peers))
    for rows, first_days, _ in quizzes.quizzes:
        of_peers = np.sort(first_days[peers[rows]])
        if is_paced(first_days) and len(of_peers):
            sums[rows] += first_days - of_peers[(len(of_peers) - 1) // 2]
            counts[rows] += 1
    with np.errstate(invalid="ignore"):
        behind: Floats = sums / counts
    return behind
