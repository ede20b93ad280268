"""What every step runs in: an open installation, readable and reported errors, retries, progress and telemetry.

There is no `dg.RetryPolicy`: with one, Dagster 1.13 retries everything that is not a `Failure`, including programming
errors and runs that a user has terminated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import date, datetime, timedelta, timezone

import dagster as dg
import sqlalchemy.exc

from snapshot_pipeline.errors import SnapshotPipelineError, text_to_send
from snapshot_pipeline.orchestration.instance.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
)
from snapshot_pipeline.orchestration.names import ALLOW_STUDENT_DROP_TAG, LEARNING_PLATFORM, REASON_TAG, STORE
from snapshot_pipeline.pipeline.batches import Progress, ProgressListener, one_line
from snapshot_pipeline.pipeline.installation import Installation, open_installation
from snapshot_pipeline.pipeline.periods import PeriodError, require_closed_days, require_closed_week
from snapshot_pipeline.pipeline.reasons import BACKFILL, BY_HAND
from snapshot_pipeline.pipeline.recommendations import WeekReport
from snapshot_pipeline.pipeline.snapshots import SnapshotRun
from snapshot_pipeline.postgres.errors import is_transient
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.telemetry.otel import Metrics, send_metrics
from snapshot_pipeline.telemetry.sentry import send_error

StepContext = dg.OpExecutionContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext
"""The context that Dagster passes to a step."""

MAX_RETRIES = 3
"""How often a step is retried after a transient error; with the default pauses after 1, 2 and 4 minutes."""

TEXT_TO_SEND = "text_to_send"
"""Metadata key of a failure: the text that may leave the installation. Its description may quote students' rows."""

REJECTED_INPUT = "rejected_input"
"""Metadata key of a failure: the run was launched with days or a week that cannot be computed; not an incident."""

_AHEAD = timedelta(minutes=1)
"""How far the clock of the daemon, which launches a day at 00:00, may be ahead of that of the run's machine."""

_LISTENER: ContextVar[ProgressListener | None] = ContextVar("progress_listener", default=None)


@contextmanager
def step_installation(context: StepContext, settings: Settings) -> Iterator[Installation]:
    """Open the installation for the body of one step, which requires the resources `names.DATABASES`.

    Raises:
        dagster.Failure: An error that the operator can fix, in one line.
        dagster.RetryRequested: A transient error; Dagster retries the step later.
    """
    retry_seconds = seconds_before_retry(context, settings)
    platform, store = (getattr(context.resources, name) for name in (LEARNING_PLATFORM, STORE))
    context.log.debug(f"the platform's tables: {platform}; the pipeline's tables: {store}")
    with report_errors(context), readable_failures(retry_seconds), open_installation(settings) as installation:
        try:
            yield installation
        except dg.DagsterExecutionInterruptedError:
            if _LISTENER.get() is not None:
                # The user at the command line has pressed Ctrl-C: the run was canceled and has not failed.
                context.instance.report_run_canceling(context.run, "Interrupted at the command line.")
            raise


@contextmanager
def readable_failures(retry_seconds: float | None = None) -> Iterator[None]:
    """Turn an error that the operator can fix into a failure of the step, with the error's line as its description.

    After a transient error, such as a restart of the database, the step is retried up to `MAX_RETRIES` times, once the
    retries within the step (`postgres.errors.retry_transient`) are used up. Other errors fail the step at once.

    Args:
        retry_seconds: Pause before the next try, see `seconds_before_retry`; None for a step that is not retried.
    """
    try:
        yield
    except SnapshotPipelineError as error:
        metadata: dict[str, bool | str] = {TEXT_TO_SEND: text_to_send(error)}
        if isinstance(error, PeriodError):
            metadata[REJECTED_INPUT] = True
        failure = dg.Failure(description=str(error), metadata=metadata, allow_retries=False)
        if retry_seconds is None or not is_transient(error):
            raise failure from None
        failure.__suppress_context__ = True  # one line, without a traceback below it
        raise dg.RetryRequested(MAX_RETRIES, retry_seconds) from failure


def requested_days(context: StepContext, settings: Settings) -> tuple[date, date]:
    """Return the first and the last day of the run's partitions; Dagster's API launches a run for any day.

    Raises:
        dagster.Failure: One of them has not ended or is before the start date.
    """
    with readable_failures():
        first, last = map(date.fromisoformat, _requested_partitions(context))
        now = datetime.now(timezone.utc) + _AHEAD  # decides which days there are; no figure depends on it
        require_closed_days(settings, first, last, ("the partition", "the partition"), now)
        return first, last


def requested_week(context: StepContext, settings: Settings) -> date:
    """Return the Monday of the run's partition.

    Raises:
        dagster.Failure: It is not a Monday, or its week has not ended or begins before the start date.
    """
    with readable_failures():
        first, last = map(date.fromisoformat, _requested_partitions(context))
        if first != last:
            raise PeriodError(f"the run has the weeks {first} to {last}; expected one week, so launch a run for each")
        require_closed_week(settings, first, "the partition", datetime.now(timezone.utc) + _AHEAD)
        return first


def _requested_partitions(context: StepContext) -> tuple[str, str]:
    tags = context.run.tags
    if PARTITION_NAME_TAG in tags:
        return tags[PARTITION_NAME_TAG], tags[PARTITION_NAME_TAG]
    return tags[ASSET_PARTITION_RANGE_START_TAG], tags[ASSET_PARTITION_RANGE_END_TAG]


def seconds_before_retry(context: StepContext, settings: Settings) -> float | None:
    """Return SNAPSHOT_RETRY_SECONDS, doubled with each retry of the step; None after the last one."""
    if context.retry_number >= MAX_RETRIES:
        return None
    return settings.retry_seconds * float(2**context.retry_number)


@contextmanager
def best_effort(context: StepContext, what: str, describe: Callable[[Exception], str] = one_line) -> Iterator[None]:
    """Log a warning instead of failing a run whose rows are published already.

    Args:
        what: Subject of the warning's sentence, e.g. `the calendar of success rates`.
        describe: What the warning says of an unexpected error.
    """
    try:
        yield
    except sqlalchemy.exc.SQLAlchemyError as error:
        # Not its message, which may repeat a statement with the data in it.
        context.log.warning(f"{what} is left out: {type(error).__name__}")
    except SnapshotPipelineError as error:
        context.log.warning(f"{what} is left out: {text_to_send(error)}")
    except Exception as error:  # noqa: BLE001  # whatever Matplotlib or an SDK raises: the rows are published
        context.log.warning(f"{what} is left out: {describe(error)}; nothing else is affected, please report it")


def run_reason(context: StepContext) -> str:
    """Return why the run computes its days: its reason tag, else whether it belongs to a backfill."""
    tags = context.run.tags
    return tags.get(REASON_TAG) or (BACKFILL if BACKFILL_ID_TAG in tags else BY_HAND)


def allows_student_drop(context: StepContext) -> bool:
    """Return whether the run may remove more published rows than SNAPSHOT_MAX_STUDENT_DROP."""
    return context.run.tags.get(ALLOW_STUDENT_DROP_TAG) == "true"


@contextmanager
def progress_listener(listener: ProgressListener) -> Iterator[None]:
    """Also report the progress of the runs that this thread executes to this listener."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def log_progress(context: StepContext) -> ProgressListener:
    """Return a listener that logs after each batch how many are done, how fast, and the time left."""
    listener = _LISTENER.get()
    began = time.monotonic()

    def log(progress: Progress) -> None:
        seconds = max(time.monotonic() - began, 0.001)
        context.log.info(_progress_sentence(progress, seconds))
        if listener is not None:
            listener(progress)

    return log


def _progress_sentence(progress: Progress, seconds: float) -> str:
    sentence = f"{progress.done:,} of {progress.total:,} {progress.parts} are done"
    if not progress.rows:
        return sentence
    rate = progress.rows / seconds
    seconds_left = (progress.total_rows - progress.rows) / rate
    left = f", {seconds_left:.0f} s to go" if progress.done < progress.total else ""
    return f"{sentence}, {rate:,.0f} rows a second{left}"


@contextmanager
def report_errors(context: StepContext) -> Iterator[None]:
    """Send an error of the step to Sentry when SENTRY_DSN is set, and raise it again.

    Use it outside `readable_failures`: instead of a `dagster.Failure` it sends the original error. An error after which
    the step is retried is not sent.
    """
    try:
        yield
    except dg.RetryRequested:
        raise
    except Exception as error:
        original = error.__context__ if isinstance(error, dg.Failure) and error.__context__ else error
        tags = {"run_id": context.run.run_id, "job": context.run.job_name, "partitions": _partitions(context)}
        with best_effort(context, "the report to Sentry", text_to_send):
            send_error(original, tags)
        raise


def report_days(context: StepContext, asset: str, run: SnapshotRun) -> None:
    """Send the counts of each day, and the run's duration, by OpenTelemetry when an endpoint is set."""
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
    _send(context, [*numbers, _speed(asset, rows, run.seconds)])


def report_week(context: dg.AssetExecutionContext, report: WeekReport) -> None:
    """Send the counts of a week, and the run's duration, by OpenTelemetry when an endpoint is set."""
    asset, failed = context.asset_key.to_user_string(), len(report.failed)
    values: dict[str, tuple[float, str]] = {
        "published": (report.with_recommendation, "{student}"),
        "failed": (failed, "{student}"),
        "recipients": (report.recipients, "{student}"),
    }
    if report.success_rate is not None:
        values["success_rate"] = (report.success_rate, "1")
    week = Metrics({"asset": asset, "week": report.week_start.isoformat()}, values)
    _send(context, [week, _speed(asset, report.types.total(), report.seconds)])


def _speed(asset: str, rows: int, seconds: float) -> Metrics:
    rate = rows / max(seconds, 1e-9)
    return Metrics({"asset": asset}, {"run.duration": (seconds, "s"), "run.rows_per_second": (rate, "{row}/s")})


def _send(context: StepContext, numbers: list[Metrics]) -> None:
    with best_effort(context, "the report by OpenTelemetry", text_to_send):
        send_metrics(numbers)


def _partitions(context: StepContext) -> str:
    if not context.has_partition_key and not context.has_partition_key_range:
        return "none"
    keys = context.partition_keys
    return keys[0] if len(keys) == 1 else f"{keys[0]}..{keys[-1]}"
