"""The engagement score: how results, presence, timeliness and recency rank among the cohort's active students.

A cohort spans batches, so there are two steps: `Participation` is what a batch of students contributes, and
`CohortRanking` ranks the students of all batches. Source: docs/metrics.md, "Engagement score". The weights and
thresholds are constants, because changing one changes the meaning of every score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from typing import Protocol

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

MapBlocks = Callable[[Callable[["BlockSource"], "_Sums"], "Sequence[BlockSource]"], "Iterable[_Sums]"]

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
    groups = attempts.sort_values(["completed_at", "attempt_id"]).groupby(["user_id", "quiz_id"])
    # `last` skips NaN: the latest graded score.
    return pd.DataFrame({"first_day": groups["day"].min(), "score": groups["score"].last()}).reset_index()


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
class QuizRecords:
    """The attempts that count, of some students.

    A *record* is a student and a quiz that the student attempted.

    Attributes:
        students: Row of each record's student, int32, shape (records,).
        quiz_ids: int64, shape (records,).
        first_days: Local day of the first attempt, in days since 1970, int32, shape (records,).
        starts: Position of each record's first graded attempt in the following two, int64, shape (records + 1,).
        graded_days: Local days of the graded attempts, by record, oldest first, int32, shape (graded attempts,).
        scores: Their scores in percent, float64.
    """

    students: NDArray[np.int32]
    quiz_ids: Ints
    first_days: NDArray[np.int32]
    starts: Ints
    graded_days: NDArray[np.int32]
    scores: Floats

    @classmethod
    def of(cls, attempts: pd.DataFrame, user_ids: Ints, has_cohort: Flags, days: LocalDays) -> QuizRecords:
        """Group the attempts of some students.

        Args:
            attempts: `user_id`, `quiz_id`, `attempt_id`, `completed_at` (`datetime64[us, UTC]`), `score` (float64, in
                percent), `is_scored`. Those of other students, or of students without a cohort, are left out.
            user_ids: int64, ascending, shape (students,).
        """
        rows = pd.Index(user_ids).get_indexer(pd.Index(attempts["user_id"]))
        is_ours = (rows >= 0) & has_cohort[rows]
        if not is_ours.all():
            attempts, rows = attempts[is_ours], rows[is_ours]
        day = local_dates(attempts["completed_at"], days.zone).astype("datetime64[D]").astype(np.int64)
        instants = attempts["completed_at"].to_numpy(dtype="datetime64[us]").view(np.int64)
        quiz_ids, ids = attempts["quiz_id"].to_numpy(np.int64), attempts["attempt_id"].to_numpy(np.int64)
        quiz_numbers, quizzes = pd.factorize(quiz_ids)
        order = np.lexsort((ids, instants, rows * max(len(quizzes), 1) + quiz_numbers))
        rows, quiz_ids, day = rows[order], quiz_ids[order], day[order]
        is_first = _changes(rows) | _changes(quiz_ids)
        record = np.cumsum(is_first) - 1
        graded = np.flatnonzero(attempts["is_scored"].to_numpy(bool)[order])
        # Of the attempts up to the first day only the latest is ever asked for.
        following = np.append(graded[1:], -1)[: len(graded)]
        is_superseded = (record[following] == record[graded]) & (following > graded)
        is_superseded &= day[following] <= days.dates[0].astype(np.int64)
        graded = graded[~is_superseded]
        return cls(
            students=rows[is_first].astype(np.int32),
            quiz_ids=quiz_ids[is_first],
            first_days=day[is_first].astype(np.int32),
            starts=np.searchsorted(record[graded], np.arange(is_first.sum() + 1)),
            graded_days=day[graded].astype(np.int32),
            scores=attempts["score"].to_numpy(np.float64)[order][graded],
        )

    def __len__(self) -> int:
        return len(self.students)

    def take(self, records: Ints) -> QuizRecords:
        """Some of the records, in the given order."""
        lengths = np.diff(self.starts)[records]
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        graded = np.arange(starts[-1]) + np.repeat(self.starts[records] - starts[:-1], lengths)
        return QuizRecords(
            self.students[records],
            self.quiz_ids[records],
            self.first_days[records],
            starts,
            self.graded_days[graded],
            self.scores[graded],
        )

    def split(self, parts: int) -> list[QuizRecords]:
        """The records in parts, each with all records of its quizzes."""
        if parts == 1:
            return [self]
        part = self.quiz_ids % parts
        order = np.argsort(part, kind="stable")
        bounds = np.searchsorted(part[order], np.arange(parts + 1))
        return [self.take(order[first:last]) for first, last in pairwise(bounds.tolist())]

    def latest(self, day: int) -> Ints:
        """Position of the latest graded attempt of each record up to a day (in days since 1970); -1: none."""
        until = np.zeros(len(self.graded_days) + 1, dtype=np.int32)
        np.cumsum(self.graded_days <= day, out=until[1:])
        counts = np.diff(until[self.starts])
        return np.where(counts > 0, self.starts[:-1] + counts - 1, -1)


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
        records: The attempts that count.
    """

    user_ids: Ints
    cohorts: list[Cohort]
    cohort: Ints
    days_since_activity: NDArray[np.int16]
    active_days: NDArray[np.int8]
    presence_days: NDArray[np.int8]
    records: QuizRecords

    @classmethod
    def of(cls, events: Events, days: LocalDays, users: pd.DataFrame, attempts: pd.DataFrame) -> Participation:
        """Collect the participation of the students of `events`.

        Args:
            users: `user_id`, `specialization`, `level` (text, empty or missing) of at least these students.
            attempts: See `QuizRecords.of`.
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
            records=QuizRecords.of(attempts, events.user_ids, cohort != _NO_COHORT, days),
        )

    def without_records(self) -> Participation:
        """The same without the attempts, which take most of the memory."""
        return replace(self, records=self.records.take(np.zeros(0, np.int64)))


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
        return Engagement(self.score[rows], {name: values[rows] for name, values in self.components.items()})

    def columns(self, rows: Ints, days: Ints) -> dict[str, Floats]:
        """The figures of some student-days by column of `performance_snapshots`; NaN: none."""
        columns = {"engagement_score": (self.score, 10**2)}
        columns |= {f"engagement_{name}": (values, 10**RANK_DECIMALS) for name, values in self.components.items()}
        return {name: _decimal(values[rows, days], scale) for name, (values, scale) in columns.items()}


class Members:
    """The students of all batches, one after the other.

    Args:
        batches: Their records are not used.

    Attributes:
        cohort: Number of each student's cohort; -1: none; shape (students,).
        days_since_activity, active_days, presence_days: See `Participation`.
    """

    def __init__(self, batches: Iterable[Participation]) -> None:
        numbers: dict[Cohort, int] = {}
        cohort, since, active, presence = ([] for _ in range(4))
        for batch in batches:
            of_batch = [numbers.setdefault(name, len(numbers)) for name in batch.cohorts]
            cohort.append(np.array([*of_batch, _NO_COHORT], dtype=np.int64)[batch.cohort])
            since.append(batch.days_since_activity)
            active.append(batch.active_days)
            presence.append(batch.presence_days)
        self.cohorts = len(numbers)
        self.firsts = np.cumsum([0, *map(len, cohort)])
        self.cohort, self.days_since_activity = np.concatenate(cohort), np.concatenate(since)
        self.active_days, self.presence_days = np.concatenate(active), np.concatenate(presence)


@dataclass(frozen=True)
class QuizBlock:
    """All records of some quizzes, by quiz and day of the first attempt. A quiz that two cohorts count is two quizzes.

    Attributes:
        cohort: The cohort of each quiz, int64, shape (quizzes,).
        of_quiz: Number of each record's quiz in the block, int32, shape (records,).
        records: Their students are rows of `Members`.
        whole_scores: The scores as whole percents, int8, shape (graded attempts,).
    """

    cohort: Ints
    of_quiz: NDArray[np.int32]
    records: QuizRecords
    whole_scores: NDArray[np.int8]

    @classmethod
    def of(cls, parts: Sequence[QuizRecords], members: Members) -> QuizBlock:
        """Join the records of all batches."""
        first_graded = np.cumsum([0, *(len(part.scores) for part in parts)])
        students = [part.students + first for part, first in zip(parts, members.firsts, strict=False)]
        starts = [part.starts[:-1] + first for part, first in zip(parts, first_graded, strict=False)]
        joined = QuizRecords(
            np.concatenate(students).astype(np.int32),
            np.concatenate([part.quiz_ids for part in parts]),
            np.concatenate([part.first_days for part in parts]),
            np.append(np.concatenate(starts), first_graded[-1]),
            np.concatenate([part.graded_days for part in parts]),
            np.concatenate([part.scores for part in parts]),
        )
        cohort = members.cohort[joined.students]
        order = np.lexsort((joined.first_days, joined.quiz_ids, cohort))
        records, cohort = joined.take(order), cohort[order]
        is_first = _changes(records.quiz_ids) | _changes(cohort)
        whole = np.floor(records.scores + 0.5 + 1e-9).astype(np.int8)
        return cls(cohort[is_first], (np.cumsum(is_first) - 1).astype(np.int32), records, whole)

    def load(self) -> QuizBlock:
        """The block itself: a `BlockSource`."""
        return self

    def add(self, day: int, is_member: Flags, is_peer: Flags, sums: _Sums) -> None:
        """Add the results and the timeliness of the members on a day (in days since 1970)."""
        kept = np.flatnonzero((self.records.first_days <= day) & is_member[self.records.students])
        students, quiz = self.records.students[kept], self.of_quiz[kept]
        latest = self.records.latest(day)[kept]
        taken = self._add_results(students, quiz, latest, is_peer, sums)
        self._add_timeliness(students, quiz, self.records.first_days[kept], taken, is_peer, sums)

    def _add_results(
        self, students: NDArray[np.int32], quiz: NDArray[np.int32], latest: Ints, is_peer: Flags, sums: _Sums
    ) -> Ints:
        """Add the results; returns how many peers have a score, by quiz."""
        is_graded = latest >= 0
        graded, graded_quiz, position = students[is_graded], quiz[is_graded], latest[is_graded]
        cells = graded_quiz.astype(np.int64) * _SCORES + self.whole_scores[position]
        shape = (len(self.cohort), _SCORES)
        counts = np.bincount(cells[is_peer[graded]], minlength=shape[0] * shape[1]).reshape(shape)
        until = np.cumsum(counts, axis=1)
        taken = until[:, -1]
        ranks = (2 * until - counts) / np.maximum(2 * taken, 1)[:, None]
        # A quiz without a graded peer has the weight 0.
        values = (self.records.scores[position] / 100 + ranks.ravel()[cells]) / 2
        count = len(sums.results)
        sums.results += np.bincount(graded, taken[graded_quiz] * values, count)
        sums.ungraded += np.bincount(students[~is_graded], taken[quiz[~is_graded]], count).astype(np.int64)
        sums.taken += np.bincount(self.cohort, taken, len(sums.taken)).astype(np.int64)
        return taken

    def _add_timeliness(
        self,
        students: NDArray[np.int32],
        quiz: NDArray[np.int32],
        first_days: NDArray[np.int32],
        taken: Ints,
        is_peer: Flags,
        sums: _Sums,
    ) -> None:
        is_paced = self._find_paced(quiz, first_days)
        sums.paced_taken += np.bincount(self.cohort, taken * is_paced, len(sums.paced_taken)).astype(np.int64)
        selected = np.flatnonzero(is_paced[quiz])
        students, quiz, first_days = students[selected], quiz[selected], first_days[selected]
        peers = np.zeros(len(selected) + 1, dtype=np.int64)
        np.cumsum(is_peer[students], out=peers[1:])
        is_new_quiz = _changes(quiz)
        before_quiz, after_quiz = _bounds_of_groups(peers, is_new_quiz)
        before_tie, after_tie = _bounds_of_groups(peers, is_new_quiz | _changes(first_days))
        attempted = after_quiz - before_quiz
        ranks = (before_tie + after_tie - 2 * before_quiz) / np.maximum(2 * attempted, 1)
        earliness = np.where(attempted > 0, 1 - ranks, 0.5)
        sums.timeliness += np.bincount(students, taken[quiz] * earliness, len(sums.timeliness))

    def _find_paced(self, quiz: NDArray[np.int32], first_days: NDArray[np.int32]) -> Flags:
        """Which quizzes most members take at about the same time."""
        bounds = np.searchsorted(quiz, np.arange(len(self.cohort) + 1))
        last = np.diff(bounds) - 1
        days = np.append(first_days, 0)
        upper, lower = (days[bounds[:-1] + np.maximum(k, 0)] for k in (-(-3 * last // 4), last // 4))
        is_paced: Flags = (last + 1 >= MIN_PEERS) & (upper - lower <= MAX_PACED_SPREAD)
        return is_paced


class _Sums:
    """What the blocks add up to on a day, by student and by cohort.

    The weight of a quiz is the number of peers with a score: the shares have the same denominator for all quizzes.
    """

    def __init__(self, students: int, cohorts: int) -> None:
        self.results, self.timeliness = np.zeros(students), np.zeros(students)
        self.ungraded = np.zeros(students, dtype=np.int64)
        self.taken, self.paced_taken = np.zeros(cohorts, dtype=np.int64), np.zeros(cohorts, dtype=np.int64)

    def add(self, other: _Sums) -> None:
        """Add the sums of another block."""
        for own, values in zip(vars(self).values(), vars(other).values(), strict=True):
            own += values

    def means(self, cohort: Ints) -> dict[str, Floats]:
        """The raw values of results and timeliness; NaN where the weights are 0, or without a cohort."""
        taken, paced_taken = (np.append(part, 0)[cohort] for part in (self.taken, self.paced_taken))
        return {RESULTS: _mean(self.results, taken - self.ungraded), TIMELINESS: _mean(self.timeliness, paced_taken)}


class BlockSource(Protocol):
    """A block of quizzes that may have to be read first."""

    def load(self) -> QuizBlock:
        """Return the block; may be called several times, by any thread."""


class CohortRanking:
    """Ranks students within their cohorts, day by day; a day depends on no other, so several can be ranked at once.

    Args:
        blocks: The records of the members; each is loaded once for each day.
        first: The first of the days of the members.
    """

    def __init__(self, members: Members, blocks: Sequence[BlockSource], first: date) -> None:
        self._members, self._blocks = members, blocks
        self._first_day = int(np.datetime64(first, "D").astype(np.int64))
        self.days = members.days_since_activity.shape[1]
        self.engagement = Engagement.none(len(members.cohort), self.days)

    def rank_day(self, number: int, map_blocks: MapBlocks = map) -> None:
        """Write one of the days to `engagement`.

        Students without a cohort, and those without a snapshot, have none.

        Args:
            map_blocks: Calls a function with each block, in parallel or not, and returns the results in their order.
        """
        members = self._members
        since = members.days_since_activity[:, number].astype(np.int64)
        is_member = (since != _NOT_DUE) & (members.cohort != _NO_COHORT)
        cohort = np.where(is_member, members.cohort, _NO_COHORT)
        order = np.argsort(cohort, kind="stable")
        bounds = np.searchsorted(cohort[order], np.arange(members.cohorts + 1))
        rows_of_cohorts = [order[first:last] for first, last in pairwise(bounds.tolist())]
        is_peer = np.zeros(len(since), dtype=bool)
        for rows in rows_of_cohorts:
            is_peer[rows] = peers_of(since[rows])

        def sums_of(block: BlockSource) -> _Sums:
            sums = _Sums(len(since), members.cohorts)
            block.load().add(self._first_day + number, is_member, is_peer, sums)
            return sums

        sums = _Sums(len(since), members.cohorts)
        for of_block in map_blocks(sums_of, self._blocks):
            sums.add(of_block)
        raw = {
            **sums.means(cohort),
            PRESENCE: members.active_days[:, number] / members.presence_days[:, number],
            RECENCY: -since.astype(np.float64),
        }
        for rows in rows_of_cohorts:
            scores = np.zeros(len(rows))
            for name, weight in WEIGHTS.items():
                values = raw[name][rows]
                ranks = percentile_ranks(values, values[is_peer[rows]])
                shown = _whole(round_half_away(ranks, RANK_DECIMALS), 10**RANK_DECIMALS)
                self.engagement.components[name][rows, number] = shown
                scores += weight * np.nan_to_num(ranks, nan=0.5)
            if is_peer[rows].sum() >= MIN_PEERS:
                self.engagement.score[rows, number] = _whole(round_half_away(scores), 10**2)


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


def _bounds_of_groups(totals: Ints, is_first: Flags) -> tuple[Ints, Ints]:
    """For each row a running total before and after its group of consecutive rows.

    Args:
        totals: Before each row and after the last, shape (rows + 1,).
        is_first: Whether a row begins a group, shape (rows,).
    """
    starts = np.flatnonzero(is_first)
    group = np.cumsum(is_first) - 1
    ends = np.append(starts[1:], len(is_first))[: len(starts)]
    return totals[starts][group], totals[ends][group]


def _mean(sums: Floats, weights: Ints) -> Floats:
    """The means, rounded before they are ranked; NaN where the weights are 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weights > 0, np.round(sums / weights, RAW_DECIMALS), np.nan)


def _whole(values: Floats, scale: int) -> NDArray[np.int16]:
    return np.where(np.isnan(values), _NO_RANK, np.rint(values * scale)).astype(np.int16)


def _decimal(values: NDArray[np.int16], scale: int) -> Floats:
    return np.where(values == _NO_RANK, np.nan, values / scale)
