"""How well each figure ranks the students who will fail: `python -m benchmarks.signals DIR`.

DIR has the six tables of the platform as CSV files, and `outcomes.csv` (or `.csv.gz`): `user_id`, `specialization`,
`day0`, `registered_on`, `left_on` (empty: never), `outcome` (pass, distinction, fail, withdrawn). The outcomes are
labels for the evaluation, never an input of a figure. The pure functions of `metrics/` are called directly; nothing is
published. Time zone: UTC. Protocol:

- On day t of a course, `day0` + t, its students are those who registered up to that day and have not left by it.
- The students with a start are the members of their cohort; the others rank lowest.
- One AUC over all courses: the probability that a student who fails or withdraws ranks below one who passes, ties half.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path
from zoneinfo import ZoneInfo

import click
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.command_line import run_command
from benchmarks.plots import plot_signals
from benchmarks.results import RESULTS
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.metrics.corrections import correct_attempts, correct_exercises, correct_progress
from snapshot_pipeline.metrics.days import LocalDays
from snapshot_pipeline.metrics.engagement import WEIGHTS, CohortRanking, Engagement, Members, Participation, QuizBlock
from snapshot_pipeline.metrics.events import Events, StudentHistory
from snapshot_pipeline.metrics.snapshot import compute_snapshots
from snapshot_pipeline.platform.csv_files import find_csv_files
from snapshot_pipeline.recommendations.at_risk import LISTED, states

DAYS = (28, 60, 90, 120, 180)
SIGNALS = ("pace_score", "engagement_score", *WEIGHTS)
RISK_LEVELS = {"high": (-np.inf, 20.0), "medium": (20.0, 35.0), "low": (35.0, np.inf)}
NEVER_STARTED = -1.0
UTC = ZoneInfo("UTC")
COHORT = ["specialization", "level"]


@dataclass(frozen=True)
class Platform:
    """The corrected rows of a directory, and the outcomes."""

    users: pd.DataFrame
    quizzes: pd.DataFrame
    progress: pd.DataFrame
    attempts: pd.DataFrame
    exercises: pd.DataFrame
    outcomes: pd.DataFrame

    @cached_property
    def first_starts(self) -> pd.Series:
        """The first start of each student who has one."""
        return self.progress.groupby("user_id")["start"].min()

    @cached_property
    def counted_attempts(self) -> pd.DataFrame:
        """The attempts that count for the engagement in the student's cohort."""
        users = self.users.rename(columns={"id": "user_id"})[["user_id", *COHORT]]
        rows = self.attempts.merge(users, on="user_id").merge(self.quizzes, on="quiz_id", suffixes=("", "_of_lesson"))
        is_own = rows["is_published"].eq(True)
        for name in COHORT:
            is_own &= rows[name] == rows[f"{name}_of_lesson"]
        return rows[is_own | rows["lesson_id"].isna()]

    def history(self, user_ids: NDArray[np.int64]) -> StudentHistory:
        """All rows of some students."""

        def selected(rows: pd.DataFrame) -> pd.DataFrame:
            return rows[rows["user_id"].isin(user_ids)]

        students = pd.DataFrame({"user_id": user_ids})
        students["first_started_at"] = self.first_starts.reindex(user_ids).to_numpy()
        students["first_started_at"] = pd.to_datetime(students["first_started_at"], utc=True)
        students["last_activity_before"] = pd.DatetimeIndex([pd.NaT] * len(students)).tz_localize("UTC")
        return StudentHistory(students, selected(self.progress), selected(self.attempts), selected(self.exercises))


def read_platform(directory: Path) -> Platform:
    """Read and correct the tables; every time of the files has passed."""
    moment = datetime.now(timezone.utc)
    paths = {file.table_name: file.path for file in find_csv_files(directory)}
    outcomes = next(
        (path for path in (directory / "outcomes.csv", directory / "outcomes.csv.gz") if path.exists()), None
    )
    if outcomes is None:
        raise SnapshotPipelineError(
            f"{directory} has no outcomes.csv or outcomes.csv.gz; see the start of this program"
        )
    paths["outcomes"] = outcomes

    def table(name: str, *times: str) -> pd.DataFrame:
        rows = pd.read_csv(paths[name])
        for column in times:
            rows[column] = pd.to_datetime(rows[column], utc=True, format="ISO8601").dt.as_unit("us")
        return rows

    users = table("users").rename(columns={"current_specialization": "specialization", "current_level": "level"})
    progress = table("user_lesson_progress", "started_at", "completed_at").assign(copies=1)
    progress["time_spent_minutes"] = progress["time_spent_minutes"].fillna(0).astype(np.int64)
    attempts = table("quiz_attempts", "completed_at").rename(columns={"id": "attempt_id"})
    lessons = table("lessons").rename(columns={"id": "lesson_id", "specialization_id": "specialization"})
    quizzes = table("quizzes").rename(columns={"id": "quiz_id"})[["quiz_id", "lesson_id"]]
    quizzes = quizzes.merge(lessons.rename(columns={"level_id": "level"}), on="lesson_id", how="left")
    labels = table("outcomes", "day0", "registered_on", "left_on")
    return Platform(
        users=users.assign(**{name: users[name].astype(str) for name in COHORT}),
        quizzes=quizzes.assign(**{name: quizzes[name].astype(str) for name in COHORT}),
        progress=correct_progress(progress, moment),
        attempts=correct_attempts(attempts, moment, 100),
        exercises=correct_exercises(table("exercise_submissions", "created_at"), moment),
        outcomes=labels.assign(is_at_risk=labels["outcome"].isin(["fail", "withdrawn"])),
    )


def participation(
    platform: Platform, user_ids: NDArray[np.int64], days: LocalDays
) -> tuple[Participation, StudentHistory]:
    """What some students contribute to their cohorts, and their rows."""
    history = platform.history(user_ids)
    users = platform.users.rename(columns={"id": "user_id"})[["user_id", *COHORT]]
    attempts = platform.counted_attempts
    is_early = attempts["completed_at"] < days.end
    return Participation.of(Events.of(history, days), days, users, attempts[is_early]), history


def ranked(part: Participation, days: LocalDays) -> Engagement:
    """Rank students who are all members of their cohorts."""
    members = Members([part])
    ranking = CohortRanking(members, [QuizBlock.of([part.records], members)], days.first)
    for number in range(days.count):
        ranking.rank_day(number)
    return ranking.engagement


def signals_on(platform: Platform, enrolled: pd.DataFrame, day: date) -> pd.DataFrame:
    """Return `SIGNALS` of the enrolled students on a day; `NEVER_STARTED` for those without a start.

    Args:
        enrolled: `user_id` and other columns, which are kept.
    """
    days = LocalDays(day, day, UTC)
    part, history = participation(platform, np.sort(enrolled["user_id"].to_numpy(np.int64)), days)
    pace = compute_snapshots(history, days).published[["user_id", "pace_score"]]
    rows = np.arange(len(part.user_ids))
    figures = ranked(part, days).columns(rows, np.zeros(len(rows), np.int64))
    found_ranks = pd.DataFrame({"user_id": part.user_ids, **figures}).rename(
        columns={f"engagement_{name}": name for name in WEIGHTS}
    )
    found = enrolled.merge(pace, on="user_id", how="left").merge(found_ranks, on="user_id", how="left")
    never = found["pace_score"].isna()
    values = found.reindex(columns=SIGNALS).fillna(0.5)
    return found.assign(**values.where(~never, NEVER_STARTED))


def auc(scores: pd.Series, is_at_risk: pd.Series) -> float:
    """The probability that a student at risk has a lower score than another; equal scores count half."""
    ranks = scores.rank()
    lower, others = int(is_at_risk.sum()), int((~is_at_risk).sum())
    below = float(ranks[~is_at_risk].sum()) - others * (others + 1) / 2
    return below / (lower * others) if lower and others else float("nan")


def evaluate(platform: Platform) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield for each of `DAYS` the signals of all courses' students, with `is_at_risk`."""
    courses = platform.users[["id", "specialization"]].rename(columns={"id": "user_id"})
    rows = platform.outcomes.merge(courses, on=["user_id", "specialization"])
    for since in DAYS:
        days = rows["day0"] + timedelta(days=since)
        left_later = rows["left_on"].isna() | (rows["left_on"] > days)
        enrolled = rows[(rows["registered_on"] <= days) & left_later]
        yield since, pd.concat([signals_on(platform, part, day.date()) for day, part in enrolled.groupby(days)])


def weeks_and_days(platform: Platform) -> dict[str, float]:
    """How steady the risk levels and the list are, from day 0 to the last of `DAYS` of each course.

    Returns:
        `changes of risk level per student and day`, `passers ever listed`, `precision of the weekly list`.
    """
    courses = platform.users[["id", "specialization"]].rename(columns={"id": "user_id"})
    rows = platform.outcomes.merge(courses, on=["user_id", "specialization"]).dropna(subset=["registered_on"])
    changes = student_days = 0
    listed = []
    for _, course in rows.groupby(["specialization", "day0"]):
        course = course.sort_values("user_id").reset_index(drop=True)
        first = course["day0"].iloc[0].date()
        days = LocalDays(first, first + timedelta(days=DAYS[-1]), UTC)
        part, _ = participation(platform, course["user_id"].to_numpy(np.int64), days)
        dates = days.dates[None, :]
        times = (course[name].dt.tz_localize(None).to_numpy() for name in ("registered_on", "left_on"))
        registered, left = (values.astype("datetime64[D]")[:, None] for values in times)
        is_enrolled = (registered <= dates) & (np.isnat(left) | (left > dates))
        since = np.where(is_enrolled, part.days_since_activity, -1).astype(np.int16)
        scores = ranked(replace(part, days_since_activity=since), days).score / 100.0
        scores = np.where(scores < 0, np.nan, scores)
        level = np.digitize(scores, [high for _, high in RISK_LEVELS.values()])
        both = ~np.isnan(scores[:, 1:]) & ~np.isnan(scores[:, :-1])
        changes += int((both & (level[:, 1:] != level[:, :-1])).sum())
        student_days += int(both.sum())
        listed.append(_listed_on_sundays(part, since, scores, days).assign(is_at_risk=course["is_at_risk"]))
    students = pd.concat(listed)
    passers = students[~students["is_at_risk"]]
    weeks = students["weeks"].sum()
    return {
        "changes of risk level per student and day": changes / student_days,
        "passers ever listed": float((passers["weeks"] > 0).mean()),
        "precision of the weekly list": float(students.loc[students["is_at_risk"], "weeks"].sum() / weeks),
    }


def _listed_on_sundays(
    part: Participation, since: NDArray[np.int16], scores: NDArray[np.float64], days: LocalDays
) -> pd.DataFrame:
    """`weeks`: on how many Sundays each student is listed."""
    weeks = np.zeros(len(part.user_ids), dtype=np.int64)
    first_day = (since >= 0).argmax(axis=1)  # the first start, or the first day of the course
    for number in range((6 - days.first.weekday()) % 7, days.count, 7):
        earlier = [scores[:, number - 7 * n] if number >= 7 * n else np.full(len(weeks), np.nan) for n in range(1, 5)]
        tenure = np.where(since[:, number] >= 0, number - first_day + 1, 0)
        state = states(since[:, number].astype(np.int64), tenure, scores[:, number], np.stack(earlier, axis=1))
        weeks += (state == LISTED) & (since[:, number] >= 0)
    return pd.DataFrame({"weeks": weeks})


def summary(found: pd.DataFrame) -> dict[str, float]:
    """The figures of one day."""
    at_risk, score = found["is_at_risk"], found["engagement_score"]
    lowest = score.nsmallest(max(1, len(found) // 10)).index
    figures = {f"AUC of {name}": auc(found[name], at_risk) for name in SIGNALS}
    figures["precision of the lowest tenth"] = float(at_risk[lowest].mean())
    for level, (low, high) in RISK_LEVELS.items():
        is_level = (score >= low) & (score < high)
        figures[f"share at risk level {level}"] = float(is_level.mean())
        figures[f"rate at risk level {level}"] = float(at_risk[is_level].mean())
    return figures


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, show_default=True, help="Where to save.")
def command(directory: Path, results: Path) -> None:
    """Print how well each figure ranks the students who will fail; save the table and a plot."""
    figures, students = {}, {}
    platform = read_platform(directory)
    for since, found in evaluate(platform):
        found = found.reset_index(drop=True)
        figures[since], students[since] = summary(found), len(found)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for since in DAYS:
        table.add_column(f"day {since}", justify="right")
    table.add_row("students", *(f"{students[since]:,}" for since in DAYS))
    for name in figures[DAYS[0]]:
        table.add_row(name, *(f"{figures[since][name]:.3f}" for since in DAYS))
    Console().print(table)
    steadiness = weeks_and_days(platform)
    for name, value in steadiness.items():
        click.echo(f"{name}: {value:.3f}")
    results.mkdir(parents=True, exist_ok=True)
    path = results / f"signals-{directory.resolve().name}.json"
    path.write_text(
        json.dumps({"students": students, "figures": figures, "steadiness": steadiness}, indent=1) + "\n",
        encoding="utf-8",
    )
    plot = path.with_suffix(".png")
    plot_signals({name: [figures[since][f"AUC of {name}"] for since in DAYS] for name in SIGNALS}, DAYS, plot)
    click.echo(f"saved in {path} and {plot}")


if __name__ == "__main__":
    run_command(command)
