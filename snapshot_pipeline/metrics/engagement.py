"""The engagement score: how results, presence, timeliness and recency rank among the cohort's active students.

A cohort spans batches, so there are two steps: `Participation` is what a batch of students contributes, and
`CohortRanking` ranks the students of all batches on a day. Source: docs/metrics.md, "Engagement score". The weights and
thresholds are constants, because changing one changes the meaning of every score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from snapshot_pipeline.metrics.corrections import local_dates
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

RANK_DECIMALS = 4
"""Decimals of the published components."""

_NOT_DUE = -1
_NO_COHORT = -1
_NO_RANK = -1
_SCORES = 101
"""Whole scores: 0 to 100."""

Cohort = tuple[str, str]
"""A specialization and a level."""


def members_of(events: Events, days: LocalDays) -> pd.DataFrame:
    """Return the students due on the last computed day, with what their engagement is computed from.

    Args:
        events: The events of students of any cohorts.

    Returns:
        `user_id`, `days_since_activity`, `tenure` (days from the first start to the day, both included; at least 30 if
        the first start is before the grid), `active_days` (in the last `presence_days(tenure)` days): int64.
    """
    due = events.due[:, -1]
    last_activity = events.last_activity_dates(days)
    return pd.DataFrame(
        {
            "user_id": events.user_ids[due],
            "days_since_activity": _days_since(last_activity, days)[due, -1].astype(np.int64),
            "tenure": (events.shape[1] - events.first_start[due]).astype(np.int64),
            "active_days": _active_days(events)[due, -1].astype(np.int64),
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


@dataclass(frozen=True)
class QuizAttempts:
    """The attempts that count, of a batch of students.

    A *record* is a student and a quiz that the student attempted. Records are sorted by cohort and quiz, then by day.

    Attributes:
        quizzes: The cohort (a position) and the id of each quiz of the batch, int64, shape (quizzes, 2), ascending.
        students: Row of each record's student, int32, shape (records,).
        of_quiz: Position in `quizzes` of each record, int32.
        first_days: Local day of the first attempt, in days since 1970, int32.
        starts: Position of each record's first graded attempt in the following two, int64, shape (records + 1,).
        graded_days: Local days of the graded attempts, by record, oldest first, int32, shape (graded attempts,).
        scores: Their scores in percent, float64.
    """

    quizzes: Ints
    students: NDArray[np.int32]
    of_quiz: NDArray[np.int32]
    first_days: NDArray[np.int32]
    starts: Ints
    graded_days: NDArray[np.int32]
    scores: Floats

    @classmethod
    def of(cls, attempts: pd.DataFrame, user_ids: Ints, cohort: Ints, days: LocalDays) -> QuizAttempts:
        """Index the attempts of some students.

        Args:
            attempts: `user_id`, `quiz_id`, `attempt_id`, `completed_at` (`datetime64[us, UTC]`), `score` (float64, in
                percent), `is_scored`. Those of other students, or of students without a cohort, are left out.
            user_ids: int64, ascending, shape (students,).
            cohort: Position of each student's cohort; -1: none.
        """
        rows = pd.Index(user_ids).get_indexer(pd.Index(attempts["user_id"]))
        attempts, rows = (part[(rows >= 0) & (cohort[rows] != _NO_COHORT)] for part in (attempts, rows))
        day = local_dates(attempts["completed_at"], days.zone).astype("datetime64[D]").astype(np.int64)
        instants = attempts["completed_at"].to_numpy(dtype="datetime64[us]").view(np.int64)
        quiz_ids, ids = attempts["quiz_id"].to_numpy(np.int64), attempts["attempt_id"].to_numpy(np.int64)
        order = np.lexsort((ids, instants, rows, quiz_ids, cohort[rows]))
        rows, quiz_ids, day = rows[order], quiz_ids[order], day[order]
        cohorts = cohort[rows]
        is_new_quiz = _changes(cohorts) | _changes(quiz_ids)
        record = np.cumsum(is_new_quiz | _changes(rows)) - 1
        firsts = np.flatnonzero(_changes(record))
        quiz = (np.cumsum(is_new_quiz) - 1)[firsts]
        # From here on by quiz and day of the first attempt.
        by_day = np.lexsort((day[firsts], quiz))
        renumbered = np.empty_like(by_day)
        renumbered[by_day] = np.arange(len(by_day))
        graded = np.flatnonzero(attempts["is_scored"].to_numpy(bool)[order])
        graded = graded[np.argsort(renumbered[record[graded]], kind="stable")]
        records, graded_days = renumbered[record[graded]], day[graded]
        # Of the attempts up to the first day only the latest is ever asked for.
        first_day = days.dates[0].astype(np.int64)
        is_followed = np.append((records[1:] == records[:-1]) & (graded_days[1:] <= first_day), False)[: len(records)]
        graded, records, graded_days = graded[~is_followed], records[~is_followed], graded_days[~is_followed]
        return cls(
            quizzes=np.stack([cohorts[is_new_quiz], quiz_ids[is_new_quiz]], axis=1),
            students=rows[firsts][by_day].astype(np.int32),
            of_quiz=quiz[by_day].astype(np.int32),
            first_days=day[firsts][by_day].astype(np.int32),
            starts=np.searchsorted(records, np.arange(len(firsts) + 1)),
            graded_days=graded_days.astype(np.int32),
            scores=attempts["score"].to_numpy(np.float64)[order][graded],
        )

    def latest_scores(self, day: int) -> Floats:
        """The latest score of each record up to a day (in days since 1970); NaN: none; shape (records,)."""
        until = np.zeros(len(self.graded_days) + 1, dtype=np.int64)
        np.cumsum(self.graded_days <= day, out=until[1:])
        counts = until[self.starts[1:]] - until[self.starts[:-1]]
        return np.where(counts > 0, np.append(self.scores, np.nan)[self.starts[:-1] + counts - 1], np.nan)


@dataclass(frozen=True)
class Participation:
    """What a batch of students contributes to the ranking of their cohorts on some days.

    Attributes:
        user_ids: int64, ascending, shape (students,).
        cohorts: The cohorts of these students.
        cohort: Position of each student's cohort; -1: none; int64, shape (students,).
        days_since_activity: int16, shape (students, days); -1 on a day on which no snapshot is due.
        active_days: In the last `tenure` days, at least 7 and at most 28; int8, shape (students, days).
        presence_days: Their number; int8, shape (students, days).
    """

    user_ids: Ints
    cohorts: list[Cohort]
    cohort: Ints
    days_since_activity: NDArray[np.int16]
    active_days: NDArray[np.int8]
    presence_days: NDArray[np.int8]
    attempts: QuizAttempts

    @classmethod
    def of(cls, events: Events, days: LocalDays, users: pd.DataFrame, attempts: pd.DataFrame) -> Participation:
        """Collect the participation of the students of `events`.

        Args:
            users: `user_id`, `specialization`, `level` (text, empty or missing) of at least these students.
            attempts: See `QuizAttempts.of`.
        """
        cohorts, cohort = _cohorts(users.set_index("user_id").loc[events.user_ids])
        return cls(
            user_ids=events.user_ids,
            cohorts=cohorts,
            cohort=cohort,
            days_since_activity=np.where(
                events.due, _days_since(events.last_activity_dates(days), days), _NOT_DUE
            ).astype(np.int16),
            active_days=_active_days(events).astype(np.int8),
            presence_days=_presence_days(events).astype(np.int8),
            attempts=QuizAttempts.of(attempts, events.user_ids, cohort, days),
        )


@dataclass(frozen=True)
class Engagement:
    """The published engagement of some students on some days, compact.

    Attributes:
        score: In hundredths, int16, shape (students, days); -1: none.
        components: By name in `WEIGHTS`, percentiles in ten-thousandths, int16, shape (students, days); -1: none.
    """

    score: NDArray[np.int16]
    components: dict[str, NDArray[np.int16]]

    @classmethod
    def none(cls, students: int, days: int) -> Engagement:
        """Nobody has been ranked."""
        empty = np.full((1 + len(WEIGHTS), students, days), _NO_RANK, dtype=np.int16)
        return cls(empty[0], dict(zip(WEIGHTS, empty[1:], strict=True)))

    def of_students(self, rows: slice | Ints) -> Engagement:
        """The engagement of some of the students."""
        return Engagement(self.score[rows], {name: values[rows] for name, values in self.components.items()})

    def columns(self, rows: Ints, days: Ints) -> dict[str, Floats]:
        """The figures of some student-days by column of `performance_snapshots`; NaN: none."""
        columns = {"engagement_score": (self.score, 10**2)}
        columns |= {f"engagement_{name}": (values, 10**RANK_DECIMALS) for name, values in self.components.items()}
        return {name: _decimal(values[rows, days], scale) for name, (values, scale) in columns.items()}


class CohortRanking:
    """Ranks the students of all batches within their cohorts, one day at a time; no more than one batch in memory.

    Args:
        batches: Read once now, and twice for each day.
        first: The first of the days of the batches.
        days: Number of these days.
    """

    def __init__(self, batches: Iterable[Participation], first: date, days: int) -> None:
        self._batches = batches
        self._first = first
        self._days = days
        numbers: dict[Cohort, int] = {}
        self._cohort: list[Ints] = []
        members: dict[int, Ints] = {}
        recent: dict[int, Ints] = {}
        quizzes = [_NO_QUIZZES]
        for batch in batches:
            of_batch = np.array([numbers.setdefault(name, len(numbers)) for name in batch.cohorts], dtype=np.int64)
            self._cohort.append(np.append(of_batch, _NO_COHORT)[batch.cohort])
            for position, number in enumerate(of_batch.tolist()):
                since = batch.days_since_activity[batch.cohort == position]
                members[number] = members.get(number, 0) + (since != _NOT_DUE).sum(axis=0)
                recent[number] = recent.get(number, 0) + ((since != _NOT_DUE) & (since < PEER_DAYS)).sum(axis=0)
            quizzes.append(_quizzes_of(batch.attempts, of_batch))
        shape = (len(numbers), days)
        counts = (np.array([part[n] for n in range(len(numbers))]).reshape(shape) for part in (members, recent))
        of_members, of_recent = counts
        self._everyone = of_recent < MIN_PEERS
        self._peers = np.where(self._everyone, of_members, of_recent)
        self._quizzes = _Quizzes.of(pd.concat(quizzes))
        self._quiz_numbers = [self._quizzes.numbers_of(part) for part in quizzes[1:]]

    def rank_days(self, day_done: Callable[[], None] = lambda: None) -> Engagement:
        """The engagement of the students of all batches, one after the other, on all days.

        Students without a cohort, and those without a snapshot, have none.

        Args:
            day_done: Called after each day.
        """
        found = Engagement.none(sum(map(len, self._cohort)), self._days)
        if self._cohort:
            for number in range(self._days):
                self._rank_day(number, found)
                day_done()
        return found

    def _rank_day(self, number: int, found: Engagement) -> None:
        day = int(np.datetime64(self._first + timedelta(days=number), "D").astype(np.int64))
        everyone = np.append(self._everyone[:, number], False)
        statistics = _QuizStatistics(self._quizzes)
        peers, since = [], []
        for position, batch in enumerate(self._batches):
            since.append(batch.days_since_activity[:, number].astype(np.int64))
            recent = since[-1] < PEER_DAYS
            is_member = (since[-1] != _NOT_DUE) & (batch.cohort != _NO_COHORT)
            peers.append(is_member & (recent | everyone[self._cohort[position]]))
            records = _Records.on(batch.attempts, day, is_member, self._quiz_numbers[position])
            statistics.add(records, peers[-1])
        statistics.finish()
        raw: dict[str, list[Floats]] = {name: [] for name in WEIGHTS}
        for position, batch in enumerate(self._batches):
            is_member = (since[position] != _NOT_DUE) & (batch.cohort != _NO_COHORT)
            records = _Records.on(batch.attempts, day, is_member, self._quiz_numbers[position])
            cohort = self._cohort[position]
            raw[RESULTS].append(statistics.results(records, cohort))
            raw[TIMELINESS].append(statistics.timeliness(records, cohort))
            raw[PRESENCE].append(batch.active_days[:, number] / batch.presence_days[:, number])
            raw[RECENCY].append(-since[position].astype(np.float64))
        values = {name: np.concatenate(parts) for name, parts in raw.items()}
        is_due = np.concatenate(since) != _NOT_DUE
        cohort, is_peer = np.where(is_due, np.concatenate(self._cohort), _NO_COHORT), np.concatenate(peers)
        order = np.argsort(cohort, kind="stable")
        bounds = np.searchsorted(cohort[order], np.arange(len(self._peers) + 1))
        for number_of_cohort, peer_count in enumerate(self._peers[:, number].tolist()):
            rows = order[bounds[number_of_cohort] : bounds[number_of_cohort + 1]]
            scores = np.zeros(len(rows))
            for name, weight in WEIGHTS.items():
                of_cohort = values[name][rows]
                ranks = percentile_ranks(of_cohort, of_cohort[is_peer[rows]])
                found.components[name][rows, number] = _whole(round_half_away(ranks, RANK_DECIMALS), 10**RANK_DECIMALS)
                scores += weight * np.nan_to_num(ranks, nan=0.5)
            if peer_count >= MIN_PEERS:
                found.score[rows, number] = _whole(round_half_away(scores), 10**2)


@dataclass(frozen=True)
class _Records:
    """The records of the members of a batch on a day.

    Attributes:
        students: Rows of the members, shape (records,).
        quizzes: Numbers of the quizzes.
        scores: The latest scores; NaN: none.
    """

    students: Ints
    quizzes: Ints
    first_days: Ints
    scores: Floats

    @classmethod
    def on(cls, attempts: QuizAttempts, day: int, is_member: Flags, numbers: Ints) -> _Records:
        kept = np.flatnonzero((attempts.first_days <= day) & is_member[attempts.students])
        return cls(
            attempts.students[kept].astype(np.int64),
            numbers[attempts.of_quiz[kept]],
            attempts.first_days[kept].astype(np.int64),
            attempts.latest_scores(day)[kept],
        )


@dataclass(frozen=True)
class _Quizzes:
    """The quizzes of all cohorts; one that several cohorts count is several quizzes.

    Attributes:
        cohort, quiz_id: Ascending, shape (quizzes,).
        first_days: The first day of any attempt.
        offsets: Position of each quiz's first day among the days of all quizzes, shape (quizzes + 1,).
    """

    cohort: Ints
    quiz_id: Ints
    first_days: Ints
    offsets: Ints

    @classmethod
    def of(cls, parts: pd.DataFrame) -> _Quizzes:
        """Join the quizzes of the batches, see `_quizzes_of`."""
        merged = parts.groupby(["cohort", "quiz_id"], as_index=False).agg({"first": "min", "last": "max"})
        lengths = (merged["last"] - merged["first"] + 1).to_numpy(np.int64)
        cohort, quiz_id, first = (merged[name].to_numpy(np.int64) for name in ("cohort", "quiz_id", "first"))
        return cls(cohort, quiz_id, first, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))

    def numbers_of(self, part: pd.DataFrame) -> Ints:
        """The numbers of the quizzes of a batch, see `_quizzes_of`."""
        keys = pd.MultiIndex.from_arrays([self.cohort, self.quiz_id])
        numbers: Ints = keys.get_indexer(pd.MultiIndex.from_frame(part[["cohort", "quiz_id"]]))
        return numbers


def _quizzes_of(attempts: QuizAttempts, cohorts: Ints) -> pd.DataFrame:
    """`cohort`, `quiz_id`, `first`, `last` (day of a first attempt) of a batch's quizzes."""
    starts = np.flatnonzero(_changes(attempts.of_quiz))
    ends = np.append(starts[1:], len(attempts.of_quiz))[: len(starts)] - 1
    return pd.DataFrame(
        {
            "cohort": cohorts[attempts.quizzes[:, 0]],
            "quiz_id": attempts.quizzes[:, 1],
            "first": attempts.first_days[starts].astype(np.int64),
            "last": attempts.first_days[ends].astype(np.int64),
        }
    )


_NO_QUIZZES = pd.DataFrame({name: np.zeros(0, np.int64) for name in ("cohort", "quiz_id", "first", "last")})


class _QuizStatistics:
    """Of each quiz: how many peers have which latest score, and the days of the first attempts."""

    def __init__(self, quizzes: _Quizzes) -> None:
        self._quizzes = quizzes
        count = len(quizzes.quiz_id)
        self._scores = np.zeros((count, _SCORES), dtype=np.int64)
        self._members = np.zeros(quizzes.offsets[-1], dtype=np.int64)
        self._peers = np.zeros(quizzes.offsets[-1], dtype=np.int64)

    def add(self, records: _Records, is_peer: Flags) -> None:
        """Add the records of a batch."""
        of_peer = is_peer[records.students]
        days = self._positions(records)
        self._members += np.bincount(days, minlength=len(self._members))
        self._peers += np.bincount(days[of_peer], minlength=len(self._peers))
        graded = of_peer & ~np.isnan(records.scores)
        cells = records.quizzes[graded] * _SCORES + _whole_scores(records.scores[graded])
        self._scores += np.bincount(cells, minlength=self._scores.size).reshape(self._scores.shape)

    def finish(self) -> None:
        """Derive what the raw values need, once all records have been added."""
        cohorts = int(self._quizzes.cohort.max(initial=-1)) + 1
        self._taken = self._scores.sum(axis=1)
        # The cohort's peers divide all shares alike, so the numbers of those with a score serve as the shares.
        self._all_taken = np.append(_sums(self._quizzes.cohort, self._taken, cohorts), 0)
        self._score_ranks = _mid_ranks(np.cumsum(self._scores, axis=1), self._scores)
        self._is_paced = self._find_paced()
        self._paced_taken = np.append(_sums(self._quizzes.cohort, self._taken * self._is_paced, cohorts), 0)
        until = np.cumsum(self._peers)
        before = np.concatenate([np.zeros(1, np.int64), until])[self._quizzes.offsets]
        attempted = np.diff(before)
        lengths = np.diff(self._quizzes.offsets)
        in_quiz = until - np.repeat(before[:-1], lengths)
        with np.errstate(invalid="ignore"):
            self._earliness = 1 - (2 * in_quiz - self._peers) / (2 * np.repeat(attempted, lengths))

    def results(self, records: _Records, cohort: Ints) -> Floats:
        """The mean of the latest scores and of their ranks, each quiz weighted by the peers who have a score.

        Args:
            cohort: Number of each student's cohort, shape (students,).
        """
        graded = ~np.isnan(records.scores)
        quizzes, scores = records.quizzes[graded], records.scores[graded]
        ranks = self._score_ranks[quizzes, _whole_scores(scores)]
        values = (scores / 100 + ranks) / 2
        taken = self._taken[quizzes]
        sums = np.bincount(records.students[graded], np.where(taken, taken * values, 0), len(cohort)).astype(np.float64)
        ungraded = _sums(records.students[~graded], self._taken[records.quizzes[~graded]], len(cohort))
        return _mean(sums, self._weights(self._all_taken, cohort) - ungraded)

    def timeliness(self, records: _Records, cohort: Ints) -> Floats:
        """How early the first attempts were at the paced quizzes, weighted likewise."""
        paced = self._is_paced[records.quizzes]
        weights = self._taken[records.quizzes[paced]]
        earliness = np.nan_to_num(self._earliness[self._positions(records)[paced]], nan=0.5)
        sums = np.bincount(records.students[paced], weights * earliness, len(cohort)).astype(np.float64)
        return _mean(sums, self._weights(self._paced_taken, cohort))

    def _weights(self, by_cohort: Ints, cohort: Ints) -> Ints:
        """The sum of each student's cohort; 0 without quizzes."""
        known = np.where(cohort < len(by_cohort) - 1, cohort, -1)
        weights: Ints = by_cohort[known]
        return weights

    def _positions(self, records: _Records) -> Ints:
        """Position of each record's first day among the days of all quizzes."""
        quizzes = self._quizzes
        positions: Ints = quizzes.offsets[records.quizzes] + records.first_days - quizzes.first_days[records.quizzes]
        return positions

    def _find_paced(self) -> Flags:
        """Which quizzes most members take at about the same time."""
        until = np.cumsum(self._members)
        before = np.concatenate([np.zeros(1, np.int64), until])[self._quizzes.offsets]
        attempted = np.diff(before)
        last = np.maximum(attempted - 1, 0)
        # The day of the k-th first attempt is where the running total passes k.
        days = (np.searchsorted(until, before[:-1] + k, side="right") for k in (-(-3 * last // 4), last // 4))
        upper, lower = days
        is_paced: Flags = (attempted >= MIN_PEERS) & (upper - lower <= MAX_PACED_SPREAD)
        return is_paced


def _cohorts(users: pd.DataFrame) -> tuple[list[Cohort], Ints]:
    """The cohorts of users, and the position of each user's; -1: none."""
    specialization, level = (users[name].astype(object).fillna("") for name in ("specialization", "level"))
    has_cohort = ((specialization != "") & (level != "")).to_numpy()
    keys = pd.MultiIndex.from_arrays([specialization[has_cohort], level[has_cohort]])
    codes, names = keys.factorize()
    cohort = np.full(len(users), _NO_COHORT, dtype=np.int64)
    cohort[has_cohort] = codes
    return list(names), cohort


def _days_since(last_activity: NDArray[np.datetime64], days: LocalDays) -> Ints:
    """Days since the last activity, shape (students, computed days); meaningless without any."""
    since: Ints = (days.dates[None, :] - last_activity.astype("datetime64[D]")).astype(np.int64)
    return since


def _presence_days(events: Events) -> Ints:
    return presence_days(events.computed_days[None, :] - events.first_start[:, None] + 1)


def _active_days(events: Events) -> NDArray[np.int32]:
    return window_sums(events.active, _presence_days(events))


def _changes(values: NDArray[np.integer]) -> Flags:
    """Whether a value differs from the one before; true for the first."""
    flags = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=flags[1:])
    return flags


def _sums(groups: Ints, values: Ints, count: int) -> Ints:
    """Sums of integers by group; exact as floats up to 2 ** 53."""
    return np.bincount(groups, values, count).astype(np.int64)


def _mid_ranks(until: Ints, counts: Ints) -> Floats:
    """For each column the share of the row's counts before it, its own counting half; 1/2 for a row of zeros."""
    totals = until[:, -1:]
    return np.where(totals > 0, (2 * until - counts) / np.maximum(2 * totals, 1), 0.5)


def _mean(sums: Floats, weights: Ints) -> Floats:
    """The means, rounded before they are ranked; NaN where the weights are 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weights > 0, np.round(sums / weights, RAW_DECIMALS), np.nan)


def _whole_scores(scores: Floats) -> Ints:
    return np.floor(scores + 0.5 + 1e-9).astype(np.int64)


def _whole(values: Floats, scale: int) -> NDArray[np.int16]:
    return np.where(np.isnan(values), _NO_RANK, np.rint(values * scale)).astype(np.int16)


def _decimal(values: NDArray[np.int16], scale: int) -> Floats:
    return np.where(values == _NO_RANK, np.nan, values / scale)
