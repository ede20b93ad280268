"""The engagement score: how results, presence, timeliness and recency rank among the cohort's active students.

Not published yet, so docs/metrics.md does not describe it. Pure functions of one cohort and one day. The weights and
thresholds are constants, because changing one changes the meaning of every score.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.metrics.events import Events
from snapshot_pipeline.metrics.grid import Flags, Floats, Ints, round_half_away, window_sums

RESULTS, PRESENCE, TIMELINESS, RECENCY = "results", "presence", "timeliness", "recency"

WEIGHTS = {RESULTS: 50, PRESENCE: 20, TIMELINESS: 20, RECENCY: 10}
"""The components and their weights in percent."""

PEER_DAYS = 28
"""A member with fewer days since the last activity is a peer."""

MIN_PEERS = 10
"""With fewer peers all members are peers; with fewer members there is no score."""

MIN_PRESENCE_DAYS, MAX_PRESENCE_DAYS = 7, 28
"""Limits of the days in which active days are counted."""

MAX_PACED_SPREAD = 21
"""A quiz is paced if the middle half of the members' first attempts lies within this many days."""

RAW_DECIMALS = 9
"""Raw values are rounded before they are ranked; otherwise the order of a float sum would decide what ties."""


def members_of(events: Events, days: LocalDays) -> pd.DataFrame:
    """Return the students due on the last computed day, with what their engagement is computed from.

    Args:
        events: The events of students of any cohorts.

    Returns:
        `user_id`, `days_since_activity`, `tenure` (days from the first start to the day, both included; at least 30 if
        the first start is before the grid), `active_days` (in the last `presence_days(tenure)` days): int64.
    """
    due = events.due[:, -1]
    tenure = events.shape[1] - events.first_start[due]
    lengths = presence_days(tenure)
    active_days = window_sums(events.active[due], lengths[:, None])[:, 0]
    last_activity = events.last_activity_dates(days)[due, -1].astype("datetime64[D]")
    since = (days.dates[-1].astype("datetime64[D]") - last_activity).astype(np.int64)
    return pd.DataFrame(
        {
            "user_id": events.user_ids[due],
            "days_since_activity": since,
            "tenure": tenure,
            "active_days": active_days.astype(np.int64),
        }
    )


def presence_days(tenure: Ints) -> Ints:
    """Number of days in which active days are counted."""
    days: Ints = tenure.clip(MIN_PRESENCE_DAYS, MAX_PRESENCE_DAYS)
    return days


def quiz_records(attempts: pd.DataFrame) -> pd.DataFrame:
    """Summarize the attempts of each student at each quiz, up to the day.

    Args:
        attempts: `user_id`, `quiz_id`, `attempt_id`, `completed_at`, `day` (local, as a number of days), `score` (in
            percent, NaN if not graded).

    Returns:
        One row per `user_id` and `quiz_id`: `first_day` of any attempt, and `score`, the latest graded one (NaN: none).
    """
    key = ["user_id", "quiz_id"]
    ordered = attempts.sort_values(["completed_at", "attempt_id"])
    # `last` skips NaN: the latest graded score.
    return ordered.groupby(key, as_index=False).agg(first_day=("day", "min"), score=("score", "last"))


def engagement(members: pd.DataFrame, records: pd.DataFrame) -> pd.DataFrame:
    """Rank the members of one cohort on one day.

    Args:
        members: See `members_of`.
        records: See `quiz_records`; of the members, and of the quizzes that are counted for the cohort.

    Returns:
        One row per member, in the same order: `user_id`, `days_since_activity`, the components `results`, `presence`,
        `timeliness`, `recency` (unrounded percentiles, 0 to 1; NaN without a value), and `engagement_score` (0 to 100,
        two decimals; NaN if there are too few peers).
    """
    since = members["days_since_activity"].to_numpy(np.int64)
    peers = peers_of(since)
    quizzes = QuizTable(members["user_id"].to_numpy(np.int64), records, peers)
    lengths = presence_days(members["tenure"].to_numpy(np.int64))
    raw = {
        RESULTS: quizzes.results(),
        PRESENCE: members["active_days"].to_numpy(np.float64) / lengths,
        TIMELINESS: quizzes.timeliness(),
        RECENCY: -since.astype(np.float64),
    }
    percentiles = {name: percentile_ranks(values, values[peers]) for name, values in raw.items()}
    scores = np.zeros(len(members))
    for name, weight in WEIGHTS.items():
        scores += weight * np.nan_to_num(percentiles[name], nan=0.5)
    return pd.DataFrame(
        {
            "user_id": members["user_id"].to_numpy(np.int64),
            "days_since_activity": since,
            **percentiles,
            "engagement_score": round_half_away(scores) if peers.sum() >= MIN_PEERS else np.nan,
        }
    )


def peers_of(days_since_activity: Ints) -> Flags:
    """Which members are peers, with whom all members are compared; shape (members,)."""
    recent: Flags = days_since_activity < PEER_DAYS
    return recent if recent.sum() >= MIN_PEERS else np.ones_like(recent)


def percentile_ranks(values: Floats, peers: Floats) -> Floats:
    """For each value the share of the peers' values that are lower, equal ones counting half.

    NaN is not a value: such a peer does not count, and such a value, or any value without a peer, has no rank (NaN).
    """
    known = np.sort(peers[~np.isnan(peers)])
    if not len(known):
        return np.full(values.shape, np.nan)
    positions = np.searchsorted(known, values, side="left") + np.searchsorted(known, values, side="right")
    return np.where(np.isnan(values), np.nan, positions / (2 * len(known)))


class QuizTable:
    """The quizzes of a cohort: for each the members who attempted it, their first days and their latest scores.

    Attributes:
        ids: The quizzes, ascending, shape (quizzes,).
        quizzes: For each of them the positions of the members who attempted it, the day of their first attempt, and
            their latest graded score (NaN: none).
    """

    def __init__(self, user_ids: Ints, records: pd.DataFrame, peers: Flags) -> None:
        self._peers = peers
        ordered = records.sort_values("quiz_id", kind="stable")
        self.ids, starts = np.unique(ordered["quiz_id"].to_numpy(np.int64), return_index=True)
        rows = pd.Index(user_ids).get_indexer(pd.Index(ordered["user_id"]))
        columns = (rows, ordered["first_day"].to_numpy(np.float64), ordered["score"].to_numpy(np.float64))
        self.quizzes = (
            list(zip(*(np.split(column, starts[1:]) for column in columns), strict=True)) if len(rows) else []
        )

    def results(self) -> Floats:
        """The mean of the latest scores and of their ranks, each quiz weighted by the share of peers who took it."""
        mean = _WeightedMean(len(self._peers))
        for rows, _, scores in self.quizzes:
            graded = ~np.isnan(scores)
            peers = graded & self._peers[rows]
            whole = np.floor(scores + 0.5 + 1e-9)
            ranks = np.nan_to_num(percentile_ranks(whole, whole[peers]), nan=0.5)
            mean.add(
                self.share(rows, scores), rows[graded], ((scores / 100 + ranks) / 2)[graded], without=rows[~graded]
            )
        return mean.values()

    def timeliness(self) -> Floats:
        """How early the first attempts were at the paced quizzes, weighted likewise."""
        mean = _WeightedMean(len(self._peers))
        for rows, first_days, scores in self.quizzes:
            if is_paced(first_days):
                peers = self._peers[rows]
                earliness = 1 - percentile_ranks(first_days, first_days[peers])
                mean.add(self.share(rows, scores), rows, np.nan_to_num(earliness, nan=0.5))
        return mean.values()

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


class _WeightedMean:
    """A weighted mean for each member; a member without a value counts as 0, unless left out."""

    def __init__(self, members: int) -> None:
        self._sums, self._weights = np.zeros(members), np.zeros(members)

    def add(self, weight: float, rows: Ints, values: Floats, without: Ints | None = None) -> None:
        """Add the values of some members; those `without` are left out."""
        self._sums[rows] += weight * values
        weights = np.full(len(self._weights), weight)
        if without is not None:
            weights[without] = 0
        self._weights += weights

    def values(self) -> Floats:
        """The means, rounded before they are ranked; NaN where the weights are 0."""
        with np.errstate(invalid="ignore"):
            means: Floats = np.round(self._sums / self._weights, RAW_DECIMALS)
        return means
