"""What a run tells to the outside when it ends: its errors to Sentry, its numbers by OpenTelemetry.

Put here: from Dagster's context and our reports to `telemetry`. Do not put here: how anything is sent (`telemetry`).
Nothing here fails a run: what cannot be sent is one warning in the run's log.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.orchestration.failures import StepContext
from snapshot_pipeline.pipeline.recommendations import WeekReport
from snapshot_pipeline.pipeline.snapshots import SnapshotRun
from snapshot_pipeline.telemetry.otel import Metrics, send_metrics
from snapshot_pipeline.telemetry.sentry import send_error


@contextmanager
def reported_errors(context: StepContext) -> Iterator[None]:
    """Send what a step raises to Sentry, when SENTRY_DSN is set; it goes on as it was.

    To be put around `readable_failures`: of a `dagster.Failure` the error that it stands for is sent. One after which
    the step is tried again is no error of the run yet.
    """
    try:
        yield
    except dg.RetryRequested:
        raise
    except Exception as error:
        original = error.__context__ if isinstance(error, dg.Failure) and error.__context__ else error
        tags = {"run_id": context.run.run_id, "job": context.run.job_name, "partitions": _partitions(context)}
        with _best_effort(context):
            send_error(original, tags)
        raise


def report_days(context: StepContext, asset: str, run: SnapshotRun) -> None:
    """Send the numbers of a run over days of an asset, when an endpoint is set."""
    seconds = max(run.seconds, 1e-9)
    rows = sum(report.published for report in run.reports)
    numbers = [
        Metrics(
            {"asset": asset, "day": report.day.isoformat()},
            {
                "published": (report.count.published, "{student}"),
                "failed": (report.count.failed, "{student}"),
                **({} if report.count.success_rate is None else {"success_rate": (report.count.success_rate, "1")}),
            },
        )
        for report in run.reports
    ]
    speed = {"run.duration": (run.seconds, "s"), "run.rows_per_second": (rows / seconds, "{row}/s")}
    with _best_effort(context):
        send_metrics([*numbers, Metrics({"asset": asset}, speed)])


def report_week(context: dg.AssetExecutionContext, report: WeekReport) -> None:
    """Send the numbers of a run over a week, when an endpoint is set."""
    asset, failed = context.asset_key.to_user_string(), len(report.failed)
    values: dict[str, tuple[float, str]] = {
        "published": (report.with_recommendation, "{student}"),
        "failed": (failed, "{student}"),
        "receivers": (report.recipients, "{student}"),
    }
    if report.recipients:
        values["success_rate"] = (1 - failed / report.recipients, "1")
    rate = report.types.total() / max(report.seconds, 1e-9)
    speed = {"run.duration": (report.seconds, "s"), "run.rows_per_second": (rate, "{row}/s")}
    with _best_effort(context):
        send_metrics(
            [Metrics({"asset": asset, "week": report.week_start.isoformat()}, values), Metrics({"asset": asset}, speed)]
        )


def _partitions(context: StepContext) -> str:
    if not context.has_partition_key and not context.has_partition_key_range:
        return "none"
    keys = context.partition_keys
    return keys[0] if len(keys) == 1 else f"{keys[0]}..{keys[-1]}"


@contextmanager
def _best_effort(context: StepContext) -> Iterator[None]:
    try:
        yield
    except SnapshotPipelineError as error:
        context.log.warning(str(error))
    except Exception as error:  # noqa: BLE001  # telemetry is not what the run is for
        context.log.warning(f"telemetry could not be sent: {type(error).__name__}")
