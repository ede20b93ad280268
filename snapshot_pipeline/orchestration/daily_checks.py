"""The daily checks: `no_open_incidents`, and `recompute_matches`, which recomputes a randomly chosen day.

They examine many days, so they have no partition, and can be run at any time. Each is a plain function of its findings
with a thin step around it. The checks of one day or week are in `checks`.
See https://docs.dagster.io/guides/test/asset-checks.
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` at run time.
from collections.abc import Sequence
from datetime import date, datetime, timezone

import dagster as dg

from snapshot_pipeline.metrics.days import contiguous_ranges
from snapshot_pipeline.orchestration.assets import performance_snapshots
from snapshot_pipeline.orchestration.checks import OBSERVED, THRESHOLD, rate_sentence
from snapshot_pipeline.orchestration.day_metadata import table
from snapshot_pipeline.orchestration.names import SEED_TAG
from snapshot_pipeline.orchestration.steps import step_installation
from snapshot_pipeline.pipeline.open_problems import OpenProblems, due_days, due_weeks, find_open_problems
from snapshot_pipeline.pipeline.recompute import Recomputation, random_computed_day, recompute_day
from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.failures import OpenFailures

NO_OPEN_INCIDENTS = dg.AssetCheckKey(performance_snapshots.KEY, "no_open_incidents")
RECOMPUTE_MATCHES = dg.AssetCheckKey(performance_snapshots.KEY, "recompute_matches")

_ERROR, _WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def build_no_open_incidents(settings: Settings) -> dg.AssetChecksDefinition:
    """Build the check for open problems."""

    @dg.asset_check(
        asset=NO_OPEN_INCIDENTS.asset_key,
        name=NO_OPEN_INCIDENTS.name,
        description=(
            f"In the last {count_noun(settings.catch_up_days, 'day')} no day is missing or below the success rate, no "
            "failure is open, and no week lacks recommendations. The result names the command that fixes each; open "
            "failures alone are a warning."
        ),
    )
    def no_open_incidents(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        now = datetime.now(timezone.utc)  # decides which days are due; no figure depends on it
        days = due_days(settings, now)
        if not days:
            return dg.AssetCheckResult(passed=True, description="no day is due yet")
        with step_installation(context, settings) as installation:
            problems = find_open_problems(installation, days, due_weeks(settings, now))
        return check_no_open_incidents(problems, settings.min_success_rate, now)

    return no_open_incidents


def check_no_open_incidents(problems: OpenProblems, minimum: float, now: datetime) -> dg.AssetCheckResult:
    """Check that nothing needs fixing; open failures alone are a warning, anything else is an error."""
    sentences = [
        *_missing_sentences(problems.missing),
        *(rate_sentence(count, minimum) for count in problems.below),
        *_failure_sentences(problems),
        *(
            f"the week of {week} has no recommendations: `snapshot-pipeline recommend --week {week}`"
            for week in problems.missing_weeks
        ),
    ]
    period = f"{problems.first} to {problems.last}"
    is_severe = bool(problems.missing or problems.below or problems.missing_weeks)
    return dg.AssetCheckResult(
        check_name=NO_OPEN_INCIDENTS.name,
        passed=not sentences,
        severity=_ERROR if is_severe else _WARN,
        description=f"problems, {period}: {'; '.join(sentences)}" if sentences else f"no problems, {period}",
        metadata={
            OBSERVED: len(sentences),
            THRESHOLD: 0,
            "missing_days": len(problems.missing),
            "days_below_rate": len(problems.below),
            "open_failures": sum(failures.student_days for failures in problems.failures),
            "missing_weeks": len(problems.missing_weeks),
            "failures_by_reason": _failures_table(problems.failures, now),
        },
    )


def _missing_sentences(missing: Sequence[date]) -> list[str]:
    return [
        f"{count_noun((last - first).days + 1, 'day')} missing: "
        f"`snapshot-pipeline materialize --from {first} --to {last}`"
        for first, last in contiguous_ranges(missing)
    ]


def _failure_sentences(problems: OpenProblems) -> list[str]:
    if not problems.failures:
        return []
    reasons = ", ".join(f"{failures.student_days:,} {failures.reason}" for failures in problems.failures)
    first, last = problems.failed_days[0], problems.failed_days[-1]
    return [
        f"open failures ({reasons}): `snapshot_failures` has the errors; once their cause is fixed, "
        f"`snapshot-pipeline retry-failed --from {first} --to {last}`"
    ]


def _failures_table(open_failures: Sequence[OpenFailures], now: datetime) -> dg.TableMetadataValue:
    return table(
        [
            {
                "reason": failures.reason,
                "student_days": failures.student_days,
                "first_seen": f"{failures.first_seen.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC",
                "age_days": (now - failures.first_seen).days,
                "attempts": failures.attempts,
            }
            for failures in open_failures
        ],
        {"reason": "string", "student_days": "int", "first_seen": "string", "age_days": "int", "attempts": "int"},
    )


def build_recompute_matches(settings: Settings) -> dg.AssetChecksDefinition:
    """Build the check of a randomly chosen day."""

    @dg.asset_check(
        asset=RECOMPUTE_MATCHES.asset_key,
        name=RECOMPUTE_MATCHES.name,
        description=(
            "A randomly chosen day, recomputed from the platform's rows, equals its stored snapshots; nothing is "
            "written. Differences that late rows explain are a warning, and so are days that were computed with "
            "another version of the formula or other settings."
        ),
    )
    def recompute_matches(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        seed = context.run.tags.get(SEED_TAG, context.run.run_id)
        with step_installation(context, settings) as installation:
            day = random_computed_day(installation, seed)
            if day is None:
                return dg.AssetCheckResult(passed=True, description="no day has been computed yet")
            recomputed = recompute_day(installation, day, context.run.run_id)
            searched = due_days(settings, datetime.now(timezone.utc))[-settings.late_window_days :]
            return check_recompute_matches(recomputed, seed, searched)

    return recompute_matches


def check_recompute_matches(recomputed: Recomputation, seed: str, searched: Sequence[date]) -> dg.AssetCheckResult:
    """Check that the stored snapshots of a day equal the recomputed ones; late or added rows are a warning.

    Days that were computed with another formula or other settings are a warning, too, whether they differ or not.

    Args:
        recomputed: The comparison.
        seed: The seed of the random choice of the day.
        searched: The days that `late_data_sensor` searches, ascending.
    """
    differences = recomputed.columns.total()
    is_explained = recomputed.is_outdated or bool(recomputed.changed_days) or _is_regraded_before(recomputed)
    is_severe = not is_explained and bool(differences or recomputed.rows_missing)
    return dg.AssetCheckResult(
        check_name=RECOMPUTE_MATCHES.name,
        passed=not recomputed.differs and not recomputed.outdated,
        severity=_ERROR if is_severe else _WARN,
        description="; ".join([_recompute_sentence(recomputed, searched), *map(str, recomputed.outdated)]),
        metadata={
            OBSERVED: differences + recomputed.rows_missing + recomputed.unpublished,
            THRESHOLD: 0,
            "day": recomputed.day.isoformat(),
            "seed": seed,
            "students": recomputed.students,
            "differences": differences,
            "differences_by_column": dict(recomputed.columns.most_common()),
            "students_without_a_row": recomputed.unpublished,
            "rows_missing": recomputed.rows_missing,
            "changed_days": [day.isoformat() for day in recomputed.changed_days],
            "first_differences": _differences_table(recomputed),
        },
    )


def _is_regraded_before(recomputed: Recomputation) -> bool:
    """Return whether regraded attempts of before the first computed day, which leave no trace, explain everything."""
    return (
        bool(recomputed.columns) and not recomputed.rows_missing and recomputed.regraded_before >= recomputed.differing
    )


def _recompute_sentence(recomputed: Recomputation, searched: Sequence[date]) -> str:
    day, columns = recomputed.day, recomputed.columns
    if not recomputed.differs:
        return f"{day}: the stored snapshots of {count_noun(recomputed.students, 'student')} equal the recomputed ones"
    again = f"`snapshot-pipeline materialize --from {day} --to {day}`"
    by_column = ", ".join(f"{count:,} of {name}" for name, count in columns.most_common())
    parts = [
        f"{count_noun(columns.total(), 'difference')} ({by_column})" if columns else "",
        f"{count_noun(recomputed.rows_missing, 'published row')} missing" if recomputed.rows_missing else "",
        f"{count_noun(recomputed.unpublished, 'student')} without a row" if recomputed.unpublished else "",
    ]
    what = f"{day}: {', '.join(part for part in parts if part)}"
    if recomputed.is_outdated:
        return what
    if recomputed.changed_days:
        changed = recomputed.changed_days[0]
        if changed in searched:
            remedy = "so late_data_sensor will request the day again"
        else:
            remedy = (
                "which is before the days that late_data_sensor searches; to update that day and all later ones: "
                f"`snapshot-pipeline materialize --from {changed} --to {searched[-1] if searched else day}`"
            )
        return f"{what}; rows of {changed} have changed since they were computed, {remedy}"
    if _is_regraded_before(recomputed):
        return (
            f"{what}; the quiz averages of these students depend on attempts from before {recomputed.first_computed}, "
            "the first computed day, whose changes leave no trace: one was probably regraded. To update the day and "
            f"all later ones: `snapshot-pipeline materialize --from {day} --to {searched[-1] if searched else day}`"
        )
    if not columns and not recomputed.rows_missing:
        return f"{what}, because they became active after the day was computed; to add them: {again}"
    return (
        f"{what}; no restatement and no late row explains this: something other than a run has written to our tables, "
        f"or the formula has changed. Find out what, then run {again}; it keeps the old values in "
        "`snapshot_restatements`"
    )


def _differences_table(recomputed: Recomputation) -> dg.TableMetadataValue:
    return table(
        [
            {
                "user_id": difference.user_id,
                "column": difference.column,
                "stored": "" if difference.stored is None else difference.stored,
                "recomputed": "" if difference.recomputed is None else difference.recomputed,
            }
            for difference in recomputed.examples
        ],
        {"user_id": "int", "column": "string", "stored": "string", "recomputed": "string"},
    )
