"""The sensors: `incident_scan_sensor`, `alert_delivery_sensor` and `late_data_sensor`.

Scanning and delivery are separate sensors, so that an unreachable channel never delays a scan. While the database is
down or read-only there is neither a table of incidents nor an outbox: then `incident_scan_sensor` sends a message to
the channels directly. See https://docs.dagster.io/guides/automate/sensors.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta, timezone

import dagster as dg

from snapshot_pipeline.alerts.channels import Channel, read_all_channels, read_channels
from snapshot_pipeline.alerts.delivery import deliver, send_immediately
from snapshot_pipeline.alerts.incidents import Observation
from snapshot_pipeline.alerts.messages import MessageFormat, monitoring_down, monitoring_restored
from snapshot_pipeline.alerts.recording import IncidentChanges, record_scan
from snapshot_pipeline.errors import SnapshotPipelineError, text_to_send
from snapshot_pipeline.orchestration.assets import performance_snapshots
from snapshot_pipeline.orchestration.assets.incidents import incident_events, read_open_state
from snapshot_pipeline.orchestration.incident_scan import Scan, find_observations
from snapshot_pipeline.orchestration.manual_jobs import late_data_run_config
from snapshot_pipeline.orchestration.names import DAYS_TAG, LATE_DATA_JOB, LATE_DATA_PRIORITY, PRIORITY_TAG, REASON_TAG
from snapshot_pipeline.orchestration.partitions import daily_partitions, in_progress
from snapshot_pipeline.orchestration.schedules import default_status
from snapshot_pipeline.pipeline.installation import Installation, open_installation
from snapshot_pipeline.pipeline.late_data import LateDataScan, scan_for_late_data
from snapshot_pipeline.pipeline.periods import days_between, days_text
from snapshot_pipeline.pipeline.reasons import LATE_DATA
from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.incidents import Incident, first_opened_at, open_incidents

LATE_DATA_SECONDS = 20.0
"""After how long a tick of `late_data_sensor` begins no further slice of days: Dagster gives a sensor one minute. On a
large platform the next tick continues, from the newest to the oldest day."""

_LOST_CURSOR = timedelta(days=7)
"""How far back a scan reaches if the cursor was lost although there have been incidents."""

_FAILED_SCANS = 4
"""How many scans in a row must fail before a message is sent: a restart of the database is not worth one."""

_REMINDER = timedelta(days=1)

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True)
class ScanCursor:
    """What `incident_scan_sensor` keeps between its ticks.

    Attributes:
        watching_since: Start of monitoring; earlier failures are ignored.
        last_scan: Time of the last successful scan.
        down_since: Time of the first scan that failed, if all scans have failed since; else None.
        notified_at: Time of the last message about failing scans.
        reported: Digest of the open incidents and failures that the asset `incidents` shows; empty at first.
    """

    watching_since: datetime
    last_scan: datetime
    down_since: datetime | None = None
    notified_at: datetime | None = None
    reported: str = ""

    def serialize(self) -> str:
        """Return the cursor as Dagster stores it."""
        return json.dumps(
            {
                name: value.isoformat() if isinstance(value, datetime) else value
                for name, value in asdict(self).items()
                if value
            }
        )

    @classmethod
    def deserialize(cls, cursor: str | None) -> ScanCursor | None:
        """Read a cursor that Dagster has stored; an unreadable one counts as lost."""
        try:
            values = json.loads(cursor or "")
            reported = values.pop("reported", "")
            return cls(**{name: datetime.fromisoformat(time) for name, time in values.items()}, reported=reported)
        except (ValueError, TypeError, AttributeError):
            return None

    @classmethod
    def initial(cls, now: datetime, still_open: list[Incident], first_opened: datetime | None) -> ScanCursor:
        """Return the cursor to begin with.

        A new installation begins now. If there have been incidents, the cursor was lost, and the scan reaches back far
        enough to see how the open ones continue.
        """
        if first_opened is None:
            return cls(now, now)
        events = [incident.last_event_at for incident in still_open if incident.last_event_at]
        since = min([max(now - _LOST_CURSOR, first_opened), *events])
        return cls(since, since)


def build_incident_scan_sensor(settings: Settings) -> dg.SensorDefinition:
    """Build the sensor that finds incidents and queues messages about them."""

    @dg.sensor(
        minimum_interval_seconds=settings.watch_seconds,
        default_status=default_status(dg.DefaultSensorStatus, settings),
        description=(
            "Finds failing checks, failed runs, slow runs, missing days and missed weeks, and records each as one "
            "incident, which the asset incidents shows. Queues one message to each channel of SNAPSHOT_ALERT_URLS "
            "when an incident begins, once a day while it lasts, and when it ends."
        ),
    )
    def incident_scan_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if context.repository_def is None:
            raise dg.DagsterInvariantViolationError("incident_scan_sensor needs the definitions of its repository")
        now = datetime.now(timezone.utc)
        channels = read_channels(settings)
        for problem in channels.problems:
            context.log.error(problem)
        ids = [channel.id for channel in channels.channels]
        stored = ScanCursor.deserialize(context.cursor)
        try:
            with open_installation(settings) as installation:
                cursor = stored or _initial_cursor(installation, now)
                changes = scan_and_record(installation, context.instance, context.repository_def, cursor, ids, now)
                state = read_open_state(installation, now)
        except Exception as error:  # noqa: BLE001  # whatever it is, nobody would hear of any incident
            cursor = _notify_monitoring_down(settings, channels.channels, stored or ScanCursor(now, now), error, now)
            context.update_cursor(cursor.serialize())
            context.log.error(_monitoring_error(error))
            return dg.SkipReason(f"incidents can be neither found nor recorded: {text_to_send(error)}")
        if cursor.notified_at and cursor.down_since:
            send_immediately(channels.channels, monitoring_restored(cursor.down_since, now))
        for line in _log_lines(changes, bool(ids)):
            context.log.warning(line)
        return dg.SensorResult(
            skip_reason=_changes_sentence(changes),
            cursor=ScanCursor(cursor.watching_since, now, reported=state.digest).serialize(),
            asset_events=[] if state.digest == cursor.reported else incident_events(state, settings.zone),
        )

    return incident_scan_sensor


def build_alert_delivery_sensor(settings: Settings) -> dg.SensorDefinition:
    """Build the sensor that sends the queued messages."""

    @dg.sensor(
        minimum_interval_seconds=settings.watch_seconds,
        default_status=default_status(dg.DefaultSensorStatus, settings),
        description=(
            "Sends the messages of incident_scan_sensor and weekly_report to each channel. An unreachable channel is "
            "retried with increasing delays of at most an hour. Test the channels with: snapshot-pipeline alerts test."
        ),
    )
    def alert_delivery_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        channel_list = read_all_channels(settings)
        for problem in channel_list.problems:
            context.log.error(problem)
        if not channel_list.channels:
            return dg.SkipReason(
                "SNAPSHOT_ALERT_URLS and SNAPSHOT_REPORT_RECIPIENTS name no channel; see incidents with: "
                "snapshot-pipeline status"
            )
        with open_installation(settings) as installation:
            now = datetime.now(timezone.utc)
            reports = deliver(installation.engine, installation.store, channel_list.channels, now)
        for report in reports:
            if report.error:
                context.log.warning(f"{report.name}: {report.error}")
            elif not report.is_finished:
                context.log.warning(f"{report.name} has not answered yet")
        sent = sum(report.sent for report in reports)
        return dg.SkipReason(f"{count_noun(sent, 'message')} sent" if sent else "no message to send")

    return alert_delivery_sensor


def scan_and_record(
    installation: Installation,
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition,
    cursor: ScanCursor,
    channels: list[str],
    now: datetime,
) -> IncidentChanges:
    """Scan once, and record the incidents that begin, last and end; `channels` are the ids of those to notify."""

    def observe(still_open: Sequence[Incident]) -> list[Observation]:
        scan = Scan(instance, repository, installation, now, cursor.watching_since, cursor.last_scan, still_open)
        return find_observations(scan)

    return record_scan(
        installation.engine, installation.store, observe, channels, _message_format(installation.settings), now
    )


def _initial_cursor(installation: Installation, now: datetime) -> ScanCursor:
    with installation.engine.connect() as connection:
        still_open = open_incidents(connection, installation.store)
        return ScanCursor.initial(now, still_open, first_opened_at(connection, installation.store))


def _notify_monitoring_down(
    settings: Settings, channels: Sequence[Channel], cursor: ScanCursor, error: Exception, now: datetime
) -> ScanCursor:
    """Send a message after `_FAILED_SCANS` failed scans, and once a day from then on, without the outbox."""
    down_since = cursor.down_since or now
    cursor = replace(cursor, down_since=down_since)
    if now - down_since < timedelta(seconds=_FAILED_SCANS * settings.watch_seconds):
        return cursor
    if cursor.notified_at and now - cursor.notified_at < _REMINDER:
        return cursor
    is_expected = isinstance(error, SnapshotPipelineError)
    message = monitoring_down(text_to_send(error), is_expected, down_since, _message_format(settings))
    send_immediately(channels, message)
    return replace(cursor, notified_at=now)


def _monitoring_error(error: Exception) -> str:
    """Return what the sensor's log says: one line for an error of ours, the stack trace of any other."""
    if isinstance(error, SnapshotPipelineError):
        return str(error)
    return f"the scan for incidents has failed; please report this:\n{''.join(traceback.format_exception(error))}"


def _message_format(settings: Settings) -> MessageFormat:
    return MessageFormat(settings.ui_url.rstrip("/"), settings.zone)


def _changes_sentence(changes: IncidentChanges) -> str:
    if not changes.opened and not changes.closed:
        return "no incident has begun or ended"
    return f"{count_noun(len(changes.opened), 'incident')} begun, {len(changes.closed)} ended"


def _log_lines(changes: IncidentChanges, has_channels: bool) -> list[str]:
    hint = "" if has_channels else "; no message is sent, because SNAPSHOT_ALERT_URLS is not set"
    begun = [f"incident {incident.id} has begun: {incident.text}{hint}" for incident in changes.opened]
    return begun + [f"incident {incident.id} has ended: {incident.title}" for incident in changes.closed]


def build_late_data_sensor(settings: Settings) -> dg.SensorDefinition:
    """Build the sensor that requests a run for changed rows of the platform."""
    days = daily_partitions(settings)

    @dg.sensor(
        job_name=LATE_DATA_JOB,
        minimum_interval_seconds=settings.late_check_minutes * 60,
        default_status=default_status(dg.DefaultSensorStatus, settings),
        description=(
            f"Finds days of the last {settings.late_window_days} whose rows in the platform were added, changed or "
            "deleted since they were computed, and launches late_data_job, which recomputes the students concerned "
            "from the earliest of these days on. Only differences are written."
        ),
    )
    def late_data_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        # A sensor has no scheduled time: it requests what has changed by now.
        window = [date.fromisoformat(day) for day in days.get_partition_keys()[-settings.late_window_days :]]
        if not window:
            return dg.SkipReason("no day has ended yet")
        with open_installation(settings) as installation:
            scan = scan_for_late_data(installation, remaining_window(window, context.cursor), LATE_DATA_SECONDS)
        is_complete = scan.scanned_from == window[0]
        context.update_cursor("" if is_complete else scan.scanned_from.isoformat())
        return request_late_data(context.instance, settings, scan, window[-1])

    return late_data_sensor


def remaining_window(window: Sequence[date], cursor: str | None) -> Sequence[date]:
    """Return the days before the one where the last tick stopped; the whole window if it was complete."""
    return [day for day in window if cursor and day.isoformat() < cursor] or window


def request_late_data(
    instance: dg.DagsterInstance, settings: Settings, scan: LateDataScan, last: date
) -> dg.RunRequest | dg.SkipReason:
    """Request a run from the earliest changed day on, unless these days are being computed.

    The request has no run key: once a change is computed it is no longer found, while it is being computed the run is
    unfinished, from the moment it is created, and after a failed run it must be requested again.
    """
    changed = scan.changed
    if not changed:
        return dg.SkipReason(f"no row from {scan.scanned_from} on has changed since its day was computed")
    reason = f"rows of {', '.join(map(str, changed))} have changed"
    if instance.get_run_records(dg.RunsFilter(job_name=LATE_DATA_JOB, statuses=_UNFINISHED), limit=1):
        return dg.SkipReason(f"{reason}; a run of {LATE_DATA_JOB} is not finished, so the next tick decides")
    keys = [day.isoformat() for day in days_between(changed[0], last)]
    running = in_progress(instance, performance_snapshots.KEY, keys, daily_partitions(settings))
    if running:
        return dg.SkipReason(f"{reason}; {min(running)} is being computed, so the next tick decides")
    tags = {DAYS_TAG: days_text(changed[0], last), REASON_TAG: LATE_DATA, PRIORITY_TAG: LATE_DATA_PRIORITY}
    return dg.RunRequest(run_config=late_data_run_config(changed[0]), tags=tags)
