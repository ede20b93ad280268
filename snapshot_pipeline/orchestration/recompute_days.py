"""The job that computes the days again that are named in the launchpad, as one run that shows each day.

Put here: what can be asked for, and the events of each day: a materialization and the results of its checks.
Do not put here: the computation (`pipeline.snapshots`), or what is shown of a day (`assets.performance_snapshots`).

A backfill does the same by a dialog; this is for who knows the two days, and for a link with them in it.
"""

# No `from __future__ import annotations` here: Dagster reads the annotations of `context` and `config` as they stand.
from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg
from pydantic import Field

from snapshot_pipeline.orchestration import pools
from snapshot_pipeline.orchestration.assets import performance_snapshots
from snapshot_pipeline.orchestration.assets.cohort_summary import summarized_again
from snapshot_pipeline.orchestration.assets.performance_snapshots import compute_days
from snapshot_pipeline.orchestration.descriptions import described
from snapshot_pipeline.orchestration.failures import readable_failures
from snapshot_pipeline.orchestration.partitioned_checks import partition_events
from snapshot_pipeline.orchestration.partitions import daily_partitions, ranges
from snapshot_pipeline.orchestration.run_config_days import (
    RunConfigDaysError,
    days_to_compute,
    parse_day,
    require_in_order,
)
from snapshot_pipeline.orchestration.steps import step_installation
from snapshot_pipeline.orchestration.tags import reason_of
from snapshot_pipeline.settings import Settings

NAME = "recompute_days_job"
STEP = "recompute_days_op"


class RecomputeConfig(dg.Config):
    """What is asked for in the launchpad."""

    first_day: str = Field(description="The first day to compute again, as 2026-11-01.")
    last_day: str = Field(
        default="", description="The last day, included, as 2026-11-22. Empty: the first day and no other."
    )


def run_config(first: str = "", last: str = "") -> dict[str, Any]:
    """The configuration of a run for some days; as the launchpad shows it, there is still nothing in it."""
    return {"ops": {STEP: {"config": {"first_day": first, "last_day": last}}}}


def build_recompute_days(settings: Settings) -> dg.JobDefinition:
    """The job of one installation."""

    @dg.op(name=STEP, pool=pools.SNAPSHOTS, description="Computes the days, a month at a time.")
    def recompute_days_op(context: dg.OpExecutionContext, config: RecomputeConfig) -> Iterator[Any]:
        with readable_failures():
            days = _days(config, settings)
        for first, last in ranges(days, settings):
            context.log.info(f"computing {first} to {last}; in all {days[0]} to {days[-1]}")
            with step_installation(context, settings) as installation:
                computed = compute_days(context, installation, first, last, reason_of(context.run.tags))
            yield from partition_events(context.instance, performance_snapshots.KEY, computed.metadata, computed.checks)
            yield from summarized_again(context, settings, list(computed.metadata))
        yield dg.Output(None)

    @dg.job(
        name=NAME,
        description=described(
            "Computes the days again that are named in the launchpad, `first_day` to `last_day`. What comes out the "
            "same is not written; each figure that changes is noted in `snapshot_restatements`.",
            reads="the platform's users, progress, quiz attempts and exercises.",
            runs="when you launch it: *Launchpad*, fill in the two days, *Launch run*. Never by itself.",
            remediation="its one line says what is wrong with the days, or what to do; then launch it again.",
        ),
        config=run_config(),
    )
    def recompute_days_job() -> None:
        recompute_days_op()

    return recompute_days_job


def _days(config: RecomputeConfig, settings: Settings) -> list[date]:
    first, last = parse_day("first_day", config.first_day), parse_day("last_day", config.last_day)
    if first is None:
        raise RunConfigDaysError(
            "first_day: nothing is given; expected the first day to compute again, such as 2026-11-22"
        )
    require_in_order(("first_day", "last_day"), first, last)
    ended = daily_partitions(settings).get_last_partition_key()
    newest = date.fromisoformat(ended) if ended else None
    return days_to_compute(first, last or first, settings.start_date, newest)
