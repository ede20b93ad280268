"""The two sensors of the alerts: one looks for what is wrong, one sends what there is to say about it.

Put here: their ticks. Do not put here: what they look at or send (`observations`, `alerts`).

They are apart so that a channel that does not answer never keeps anybody from looking. While the database is away or
cannot be written, there is neither a table of incidents nor an outbox: that is told past both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

import dagster as dg

from snapshot_pipeline.alerts.channels import Channel, read_channels
from snapshot_pipeline.alerts.delivery import deliver, send_immediately
from snapshot_pipeline.alerts.incidents import Observation
from snapshot_pipeline.alerts.messages import Message, MessageFormat, monitoring_down, monitoring_restored
from snapshot_pipeline.alerts.recording import IncidentChanges, record_scan
from snapshot_pipeline.errors import SnapshotPipelineError, text_to_send
from snapshot_pipeline.orchestration.descriptions import described_plainly
from snapshot_pipeline.orchestration.incident_scan import Scan, observe
from snapshot_pipeline.pipeline.installation import Installation, open_installation
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.incidents import Incident, first_opened_at, open_incidents

_LOST_CURSOR = timedelta(days=7)
"""How far back a look reaches when the cursor was lost although there have been incidents."""

_BLIND_LOOKS = 4
"""How many looks in a row must fail before somebody is told: a restart of the database is no news."""

_REMINDER = timedelta(days=1)


@dataclass(frozen=True)
class Watch:
    """What is kept from look to scan.

    Attributes:
        since: When watching began.
        last_scan: When the last look was made that was recorded.
        down_since: When the first of the looks failed that have failed in a row since; None while they succeed.
        notified_at: When somebody was last told of that.
    """

    since: datetime
    last_scan: datetime
    down_since: datetime | None = None
    notified_at: datetime | None = None

    def as_cursor(self) -> str:
        """As Dagster keeps it."""
        return json.dumps({name: moment.isoformat() for name, moment in vars(self).items() if moment})

    @classmethod
    def from_cursor(cls, cursor: str) -> Watch:
        """As Dagster has kept it."""
        return cls(**{name: datetime.fromisoformat(moment) for name, moment in json.loads(cursor).items()})

    @classmethod
    def begun(cls, now: datetime, still_open: list[Incident], first_opened: datetime | None) -> Watch:
        """Without a cursor: a new installation begins now; one whose cursor was lost where no incident is missed."""
        if first_opened is None:
            return cls(now, now)
        events = [incident.last_event_at for incident in still_open if incident.last_event_at]
        since = min([max(now - _LOST_CURSOR, first_opened), *events])
        return cls(since, since)


def build_incident_scan_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor that looks."""

    @dg.sensor(
        name="incident_scan_sensor",
        minimum_interval_seconds=settings.watch_seconds,
        default_status=_default_status(settings),
        description=described_plainly(
            "Looks for failing checks, failed runs, runs over their time, missing days and missed weeks. Each becomes "
            "one incident, and one message to each channel of SNAPSHOT_ALERT_URLS when it begins, once a day while it "
            "lasts, and when it is over.",
            reads="Dagster's records of runs, checks and partitions, and the table `incidents`.",
            runs=f"every {settings.watch_seconds} seconds while it is switched on; else nobody is told.",
            remediation="its database is away or cannot be written: the tick's error says which, and what to do.",
        ),
    )
    def incident_scan_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        if context.repository_def is None:
            raise dg.DagsterInvariantViolationError(
                "incident_scan_sensor needs its repository, to know what is defined"
            )
        now = datetime.now(timezone.utc)
        channels = read_channels(settings)
        for problem in channels.problems:
            context.log.error(problem)
        ids = [channel.id for channel in channels.channels]
        try:
            with open_installation(settings) as installation:
                watch = _watch(installation, context.cursor, now)
                changes = look(installation, context.instance, context.repository_def, watch, ids, now)
        except SnapshotPipelineError as error:
            watch = Watch.from_cursor(context.cursor) if context.cursor else Watch(now, now)
            context.update_cursor(_told_of_blindness(settings, channels.channels, watch, error, now).as_cursor())
            context.log.error(str(error))
            return dg.SkipReason(f"incidents can neither be found nor recorded: {error}")
        if watch.notified_at and watch.down_since:
            _tell(channels.channels, monitoring_restored(watch.down_since, now))
        for line in _lines(changes, bool(ids)):
            context.log.warning(line)
        context.update_cursor(Watch(watch.since, now).as_cursor())
        return dg.SkipReason(
            f"{len(changes.opened)} incidents have begun, {len(changes.closed)} are over"
            if changes.opened or changes.closed
            else "nothing has changed"
        )

    return incident_scan_sensor


def build_alert_delivery_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor that sends."""

    @dg.sensor(
        name="alert_delivery_sensor",
        minimum_interval_seconds=settings.watch_seconds,
        default_status=_default_status(settings),
        description=described_plainly(
            "Sends the messages of `incident_scan_sensor`, each once to each channel. A channel that is down "
            "is tried again after growing pauses, an hour at the most.",
            reads="the table `alert_messages`.",
            runs=f"every {settings.watch_seconds} seconds, while it is switched on.",
            remediation="see the tick's error, then try the channels: `snapshot-pipeline alerts test`.",
        ),
    )
    def alert_delivery_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        channels = read_channels(settings).channels
        if not channels:
            return dg.SkipReason(
                "SNAPSHOT_ALERT_URLS names nobody to tell; incidents are in `snapshot-pipeline status`"
            )
        with open_installation(settings) as installation:
            reports = deliver(installation.engine, installation.store, channels, datetime.now(timezone.utc))
        for report in reports:
            if report.error:
                context.log.warning(f"{report.name}: {report.error}")
            elif not report.is_finished:
                context.log.warning(f"{report.name} has not answered yet")
        sent = sum(report.sent for report in reports)
        return dg.SkipReason(f"{sent} messages were sent" if sent else "nothing was to be sent")

    return alert_delivery_sensor


def look(
    installation: Installation,
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition,
    watch: Watch,
    channels: list[str],
    now: datetime,
) -> IncidentChanges:
    """Scan once, and record what was found.

    Args:
        installation: Where incidents are kept.
        instance: Where Dagster keeps its records.
        repository: What is looked at.
        watch: Since when.
        channels: The ids of the channels that are told.
        now: The time of the scan.
    """
    settings = installation.settings

    def found(still_open: Sequence[Incident]) -> list[Observation]:
        return observe(Scan(instance, repository, settings, now, watch.since, watch.last_scan, still_open))

    return record_scan(installation.engine, installation.store, found, channels, _message_format(settings), now)


def _watch(installation: Installation, cursor: str | None, now: datetime) -> Watch:
    if cursor:
        return Watch.from_cursor(cursor)
    with installation.engine.connect() as connection:
        still_open = open_incidents(connection, installation.store)
        return Watch.begun(now, still_open, first_opened_at(connection, installation.store))


def _told_of_blindness(
    settings: Settings, channels: Sequence[Channel], watch: Watch, error: SnapshotPipelineError, now: datetime
) -> Watch:
    """Tell somebody when looking has failed for long enough, and once a day from then on; past the outbox."""
    watch = replace(watch, down_since=watch.down_since or now)
    patience = timedelta(seconds=_BLIND_LOOKS * settings.watch_seconds)
    if watch.down_since is None or now - watch.down_since < patience:
        return watch
    if watch.notified_at and now - watch.notified_at < _REMINDER:
        return watch
    _tell(channels, monitoring_down(text_to_send(error), watch.down_since, _message_format(settings)))
    return replace(watch, notified_at=now)


def _tell(channels: Sequence[Channel], message: Message) -> None:
    send_immediately(channels, message.title, message.body, message.severity)


def _message_format(settings: Settings) -> MessageFormat:
    return MessageFormat(settings.ui_url.rstrip("/"), settings.zone)


def _lines(changes: IncidentChanges, is_anybody_told: bool) -> list[str]:
    told = "" if is_anybody_told else "; nobody is told, since SNAPSHOT_ALERT_URLS is not set"
    begun = [f"incident {one.id} has begun: {one.title}; {one.detail}{told}" for one in changes.opened]
    return begun + [f"incident {one.id} is over: {one.title}" for one in changes.closed]


def _default_status(settings: Settings) -> dg.DefaultSensorStatus:
    return dg.DefaultSensorStatus.RUNNING if settings.schedules else dg.DefaultSensorStatus.STOPPED
