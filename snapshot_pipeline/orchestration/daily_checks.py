"""The checks of every morning: what is broken now, and whether a day drawn by lot is what the platform's rows give.

Put here: both checks, each as a plain function of what was found, with a thin step around it. They belong to no
partition: they look at many days, and can be run at any time.
Do not put here: the checks of a day or a week that come with its run (`checks`), or the look itself (`pipeline`).
See https://docs.dagster.io/guides/test/asset-checks.
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` as it stands.
from collections.abc import Sequence
from datetime import date, datetime, timezone

import dagster as dg

from snapshot_pipeline.metrics.days import contiguous_ranges
from snapshot_pipeline.orchestration.assets import adaptive_recommendations, performance_snapshots
from snapshot_pipeline.orchestration.checks import OBSERVED, THRESHOLD, rate_sentence
from snapshot_pipeline.orchestration.descriptions import described
from snapshot_pipeline.orchestration.steps import step_installation
from snapshot_pipeline.orchestration.tags import SEED
from snapshot_pipeline.pipeline.open_problems import OpenProblems, due_days, due_weeks, find_open_problems
from snapshot_pipeline.pipeline.recompute import Recomputation, random_computed_day, recompute_day
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.failures import OpenFailures

NO_OPEN_INCIDENTS = dg.AssetCheckKey(performance_snapshots.KEY, "no_open_incidents")
RECOMPUTE_MATCHES = dg.AssetCheckKey(performance_snapshots.KEY, "recompute_matches")

_ERROR, _WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def build_no_open_incidents(settings: Settings) -> dg.AssetChecksDefinition:
    """The check of what is broken now."""

    @dg.asset_check(
        asset=NO_OPEN_INCIDENTS.asset_key,
        name=NO_OPEN_INCIDENTS.name,
        description=described(
            f"What is broken over the last {settings.catch_up_days} days: days that are missing, days on which too "
            "many students failed, failures that are open, weeks without recommendations.",
            reads="`snapshot_days`, `snapshot_failures`, and which weeks Dagster knows as materialized.",
            runs="every morning at 03:00, and at any time by the job `daily_checks_job` or *Execute*.",
            remediation="the result says by which command each thing is mended; amber: only failures are open.",
        ),
    )
    def no_open_incidents(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        now = datetime.now(timezone.utc)  # what is broken now; no figure follows from it
        days = due_days(settings, now)
        if not days:
            return dg.AssetCheckResult(passed=True, description="no day is due yet")
        recommended = context.instance.get_materialized_partitions(adaptive_recommendations.KEY)
        missing_weeks = [week for week in due_weeks(settings, now) if week.isoformat() not in recommended]
        with step_installation(context, settings) as installation:
            return check_no_open_incidents(
                find_open_problems(installation, days, missing_weeks), settings.min_success_rate, now
            )

    return no_open_incidents


def check_no_open_incidents(standing: OpenProblems, minimum: float, now: datetime) -> dg.AssetCheckResult:
    """Nothing is broken; with a day or a week missing, or a day below `minimum`, an error, else a warning."""
    sentences = [
        *_missing_sentences(standing.missing),
        *(rate_sentence(one, minimum) for one in standing.below),
        *_failure_sentences(standing),
        *(
            f"the week of {week} has no recommendations: `snapshot-pipeline recommend --week {week}`"
            for week in standing.missing_weeks
        ),
    ]
    over = f"over the days {standing.first} to {standing.last}"
    is_severe = bool(standing.missing or standing.below or standing.missing_weeks)
    return dg.AssetCheckResult(
        check_name=NO_OPEN_INCIDENTS.name,
        passed=not sentences,
        severity=_ERROR if is_severe else _WARN,
        description=f"broken {over}: {'; '.join(sentences)}" if sentences else f"nothing is broken {over}",
        metadata={
            OBSERVED: dg.MetadataValue.int(len(sentences)),
            THRESHOLD: dg.MetadataValue.int(0),
            "missing_days": dg.MetadataValue.int(len(standing.missing)),
            "days_below_rate": dg.MetadataValue.int(len(standing.below)),
            "open_failures": dg.MetadataValue.int(sum(one.student_days for one in standing.failures)),
            "missing_weeks": dg.MetadataValue.int(len(standing.missing_weeks)),
            "failures_by_reason": _failures_table(standing.failures, now),
        },
    )


def _missing_sentences(missing: Sequence[date]) -> list[str]:
    return [
        f"{'1 day is' if first == last else f'{(last - first).days + 1} days are'} missing: "
        f"`snapshot-pipeline materialize --from {first} --to {last}`"
        for first, last in contiguous_ranges(missing)
    ]


def _failure_sentences(standing: OpenProblems) -> list[str]:
    if not standing.failures:
        return []
    reasons = ", ".join(f"{one.student_days:,} {one.reason}" for one in standing.failures)
    first, last = standing.failed_days[0], standing.failed_days[-1]
    return [
        f"students' days that could not be computed ({reasons}): mend the rows in the platform, which "
        f"`snapshot_failures` names, then `snapshot-pipeline retry-failed --from {first} --to {last}`"
    ]


def _failures_table(failures: Sequence[OpenFailures], now: datetime) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "reason": one.reason,
                    "student_days": one.student_days,
                    "first_seen": f"{one.first_seen.astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC",
                    "age_days": (now - one.first_seen).days,
                    "attempts": one.attempts,
                }
            )
            for one in failures
        ],
        schema=dg.TableSchema(
            [
                dg.TableColumn("reason"),
                dg.TableColumn("student_days", "int"),
                dg.TableColumn("first_seen"),
                dg.TableColumn("age_days", "int"),
                dg.TableColumn("attempts", "int"),
            ]
        ),
    )


def build_recompute_matches(settings: Settings) -> dg.AssetChecksDefinition:
    """The check of a day drawn by lot."""

    @dg.asset_check(
        asset=RECOMPUTE_MATCHES.asset_key,
        name=RECOMPUTE_MATCHES.name,
        description=described(
            "A day drawn by lot among all that were computed, computed again from the platform's rows without being "
            "published, is what is stored.",
            reads="the platform, as a run does, and the day's `performance_snapshots`.",
            runs="every morning at 03:00, and at any time by the job `daily_checks_job` or *Execute*.",
            remediation=(
                "somebody or something else than a run has written to our tables, or the formula has changed; the "
                "result names the figures and the command that computes the day again. Amber: rows came late, and the "
                "day waits for its next computation."
            ),
        ),
    )
    def recompute_matches(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        seed = context.run.tags.get(SEED, context.run.run_id)
        with step_installation(context, settings) as installation:
            day = random_computed_day(installation, seed)
            if day is None:
                return dg.AssetCheckResult(passed=True, description="no day has been computed yet")
            return check_recompute_matches(recompute_day(installation, day, context.run.run_id), seed)

    return recompute_matches


def check_recompute_matches(found: Recomputation, seed: str) -> dg.AssetCheckResult:
    """What is stored of a day is what comes out now; a difference that late rows explain is a warning."""
    late = bool(found.changed_days)
    is_severe = not late and bool(found.columns.total() or found.rows_missing)
    return dg.AssetCheckResult(
        check_name=RECOMPUTE_MATCHES.name,
        passed=not found.differs,
        severity=_ERROR if is_severe else _WARN,
        description=_recompute_sentence(found),
        metadata={
            OBSERVED: dg.MetadataValue.int(found.columns.total() + found.rows_missing + found.unpublished),
            THRESHOLD: dg.MetadataValue.int(0),
            "day": dg.MetadataValue.text(found.day.isoformat()),
            "seed": dg.MetadataValue.text(seed),
            "students": dg.MetadataValue.int(found.students),
            "differences": dg.MetadataValue.int(found.columns.total()),
            "differences_by_column": dg.MetadataValue.json(dict(found.columns.most_common())),
            "students_without_a_row": dg.MetadataValue.int(found.unpublished),
            "rows_missing": dg.MetadataValue.int(found.rows_missing),
            "changed_days": dg.MetadataValue.json([day.isoformat() for day in found.changed_days]),
            "first_differences": _differences_table(found),
        },
    )


def _recompute_sentence(found: Recomputation) -> str:
    if not found.differs:
        return f"{found.day}: what is stored of {found.students:,} students is what comes out now"
    again = f"`snapshot-pipeline materialize --from {found.day} --to {found.day}`"
    columns = ", ".join(f"{count:,} of {name}" for name, count in found.columns.most_common())
    parts = [
        f"{found.columns.total():,} figures differ ({columns})" if columns else "",
        f"{found.rows_missing:,} rows are missing that were published" if found.rows_missing else "",
        f"{found.unpublished:,} students would have a row and have none" if found.unpublished else "",
    ]
    what = f"{found.day}: {', '.join(part for part in parts if part)}"
    if found.changed_days:
        return (
            f"{what}; rows of {found.changed_days[0]} have changed since they were computed, so the day waits for the "
            "next look for late data, which computes it again"
        )
    if not found.columns and not found.rows_missing:
        return f"{what}; they have become active since the day was computed, which {again} makes up for"
    return (
        f"{what}; no restatement and no late row explains it, so something else than a run wrote to our tables, or the "
        f"formula has changed: find out what, then {again}; the old values are kept in `snapshot_restatements`"
    )


def _differences_table(found: Recomputation) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {
                    "user_id": one.user_id,
                    "column": one.column,
                    "stored": "" if one.stored is None else one.stored,
                    "rebuilt": "" if one.recomputed is None else one.recomputed,
                }
            )
            for one in found.examples
        ],
        schema=dg.TableSchema(
            [
                dg.TableColumn("user_id", "int"),
                dg.TableColumn("column"),
                dg.TableColumn("stored"),
                dg.TableColumn("rebuilt"),
            ]
        ),
    )
