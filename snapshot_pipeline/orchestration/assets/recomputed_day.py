"""The asset `recomputed_day`: a randomly chosen day, recomputed and compared with its stored snapshots each night.

A check's result is shown for the materialization that comes with it, so `recompute_matches` belongs to this asset and
not to `performance_snapshots`, which the nightly run materializes.
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` at run time.
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timezone
from typing import Any

import dagster as dg

from snapshot_pipeline.orchestration.assets import performance_snapshots
from snapshot_pipeline.orchestration.day_metadata import table
from snapshot_pipeline.orchestration.names import DATABASES, GRAIN_TAG, MONITORING_GROUP, SEED_TAG
from snapshot_pipeline.orchestration.partitioned_checks import description
from snapshot_pipeline.orchestration.partitions import daily_checks_freshness
from snapshot_pipeline.orchestration.steps import step_installation
from snapshot_pipeline.pipeline.periods import due_days
from snapshot_pipeline.pipeline.recompute import Recomputation, random_computed_day, recompute_day
from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.settings import Settings

NAME = "recomputed_day"
KEY = dg.AssetKey(NAME)
RECOMPUTE_MATCHES = dg.AssetCheckKey(KEY, "recompute_matches")

_ERROR, _WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def build_recomputed_day(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        name=NAME,
        description=(
            "A randomly chosen day, recomputed from the platform's rows and compared with its stored snapshots every "
            "night. Nothing is written."
        ),
        group_name=MONITORING_GROUP,
        owners=settings.owners,
        required_resource_keys=DATABASES,
        kinds={"postgres", "pandas"},
        tags={GRAIN_TAG: "now"},
        freshness_policy=daily_checks_freshness(settings),
        deps=[performance_snapshots.KEY],
        check_specs=[
            dg.AssetCheckSpec(
                RECOMPUTE_MATCHES.name,
                asset=KEY,
                description=(
                    "The stored snapshots of a random day equal the recomputed ones. Differences that late rows "
                    "explain are a warning, and so are days that were computed with another version of the formula or "
                    "other settings."
                ),
            )
        ],
    )
    def recomputed_day(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        seed = context.run.tags.get(SEED_TAG, context.run.run_id)
        with step_installation(context, settings) as installation:
            day = random_computed_day(installation, seed)
            if day is None:
                yield dg.MaterializeResult()
                yield dg.AssetCheckResult(
                    check_name=RECOMPUTE_MATCHES.name, passed=True, description="No day has been computed yet."
                )
                return
            recomputed = recompute_day(installation, day, context.run.run_id)
        context.log.info(
            f"{day}: {count_noun(recomputed.students, 'student')} recomputed, "
            f"{count_noun(recomputed.columns.total(), 'difference')}, "
            f"{count_noun(recomputed.rows_missing, 'row')} missing"
        )
        searched = due_days(settings, datetime.now(timezone.utc))[-settings.late_window_days :]
        yield dg.MaterializeResult(metadata=recomputation_metadata(recomputed, seed))
        yield check_recompute_matches(recomputed, seed, searched)

    return recomputed_day


def recomputation_metadata(recomputed: Recomputation, seed: str) -> dict[str, Any]:
    """Return the numbers of a comparison, and the first differences if there are any."""
    differences = {"first_differences": _differences_table(recomputed)} if recomputed.examples else {}
    by_column = {"differences_by_column": dict(recomputed.columns.most_common())} if recomputed.columns else {}
    changed = ", ".join(day.isoformat() for day in recomputed.changed_days)
    return {
        **differences,
        **by_column,
        "day": recomputed.day.isoformat(),
        "students": recomputed.students,
        "differences": recomputed.columns.total(),
        "students_without_a_row": recomputed.unpublished,
        "rows_missing": recomputed.rows_missing,
        **({"changed_days": changed} if changed else {}),
        "seed": seed,
    }


def check_recompute_matches(recomputed: Recomputation, seed: str, searched: Sequence[date]) -> dg.AssetCheckResult:
    """Check that the stored snapshots of a day equal the recomputed ones; late or added rows are a warning.

    Days that were computed with another formula or other settings are a warning, too, whether they differ or not.

    Args:
        recomputed: The comparison.
        seed: The seed of the random choice of the day.
        searched: The days that `late_data_sensor` searches, ascending.
    """
    is_explained = recomputed.is_outdated or bool(recomputed.changed_days) or _is_regraded_before(recomputed)
    is_severe = not is_explained and bool(recomputed.columns or recomputed.rows_missing)
    paragraphs = [*_recompute_paragraphs(recomputed, searched), *map(str, recomputed.outdated)]
    return dg.AssetCheckResult(
        check_name=RECOMPUTE_MATCHES.name,
        passed=not recomputed.differs and not recomputed.outdated,
        severity=_ERROR if is_severe else _WARN,
        description=description(paragraphs),
        metadata=recomputation_metadata(recomputed, seed),
    )


def _is_regraded_before(recomputed: Recomputation) -> bool:
    """Return whether regraded attempts of before the first computed day, which leave no trace, explain everything."""
    return (
        bool(recomputed.columns) and not recomputed.rows_missing and recomputed.regraded_before >= recomputed.differing
    )


def _recompute_paragraphs(recomputed: Recomputation, searched: Sequence[date]) -> list[str]:
    """Return what was found, and what explains it or what to do."""
    day, columns = recomputed.day, recomputed.columns
    if not recomputed.differs:
        return [
            f"{day}: the stored snapshots of {count_noun(recomputed.students, 'student')} equal the recomputed ones."
        ]
    by_column = ", ".join(f"{count:,} of {name}" for name, count in columns.most_common())
    parts = [
        f"{count_noun(columns.total(), 'difference')} ({by_column})" if columns else "",
        f"{count_noun(recomputed.rows_missing, 'published row')} missing" if recomputed.rows_missing else "",
        f"{count_noun(recomputed.unpublished, 'student')} without a row" if recomputed.unpublished else "",
    ]
    found = f"{day}: {', '.join(part for part in parts if part)}."
    return [found] if recomputed.is_outdated else [found, *_explanation(recomputed, searched)]


def _explanation(recomputed: Recomputation, searched: Sequence[date]) -> list[str]:
    """Return what explains the differences, and the command that updates the days, as paragraphs."""
    day = recomputed.day
    last = searched[-1] if searched else day
    if recomputed.changed_days:
        changed = recomputed.changed_days[0]
        if changed in searched:
            return [
                f"Rows of {changed} have changed since that day was computed; late_data_sensor will request it again."
            ]
        return [
            f"Rows of {changed} have changed since that day was computed. late_data_sensor does not search days that "
            "old; update that day and all later ones with:",
            _materialize(changed, last),
        ]
    if _is_regraded_before(recomputed):
        return [
            f"The quiz averages of these students depend on attempts made before {recomputed.first_computed}, "
            "the first computed day. Changes to those leave no trace; one was probably regraded. Update the day and "
            "all later ones with:",
            _materialize(day, last),
        ]
    if not recomputed.columns and not recomputed.rows_missing:
        return ["They became active after the day was computed. Add them with:", _materialize(day, day)]
    return [
        "Neither a restatement nor a late row explains this: something other than a run has written to the pipeline's "
        "tables, or the formula has changed. Find out what; then replace the stored figures, which "
        "`snapshot_restatements` keeps, with:",
        _materialize(day, day),
    ]


def _materialize(first: date, last: date) -> str:
    return f"`snapshot-pipeline materialize --from {first} --to {last}`"


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
