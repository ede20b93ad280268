"""The asset `incidents`: the open incidents, with the check `no_open_incidents`, which is red while one is open.

`incident_scan_sensor` reports both at its first tick and whenever something has changed. No run does, unless someone
materializes the asset in the UI. A check's result is shown for the materialization that comes with it.
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` at run time.
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg

from snapshot_pipeline.alerts.incidents import CAUSE_SEPARATOR, FAILED_CHECK
from snapshot_pipeline.orchestration.day_metadata import table
from snapshot_pipeline.orchestration.names import DATABASES, GRAIN_TAG, MONITORING_GROUP
from snapshot_pipeline.orchestration.partitioned_checks import description
from snapshot_pipeline.orchestration.steps import step_installation
from snapshot_pipeline.orchestration.table_metadata import store_table_metadata
from snapshot_pipeline.pipeline.installation import Installation
from snapshot_pipeline.pipeline.periods import due_days
from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.settings import Settings
from snapshot_pipeline.store.failures import OpenFailures, failed_days, failures_by_reason
from snapshot_pipeline.store.incidents import Incident, open_incidents

NAME = "incidents"
KEY = dg.AssetKey(NAME)
NO_OPEN_INCIDENTS = dg.AssetCheckKey(KEY, "no_open_incidents")

_NAMED_INCIDENTS = 3
"""How many incidents the check's description names; the table has all."""

_INCIDENT_COLUMNS = {
    "incident": "int",
    "since": "text",
    "what": "text",
    "cause": "text",
    "days": "text",
    "command": "text",
}
_FAILURE_COLUMNS = {"reason": "text", "student_days": "int", "first_seen": "text", "attempts": "int"}


@dataclass(frozen=True)
class OpenState:
    """What is open.

    Attributes:
        incidents: The open incidents, by number.
        failures: The open failures of the last SNAPSHOT_CATCH_UP_DAYS days, by reason.
        failed_days: The days of these failures, ascending.
    """

    incidents: Sequence[Incident]
    failures: Sequence[OpenFailures]
    failed_days: Sequence[date]

    @property
    def digest(self) -> str:
        """A short text that differs between states that read differently."""
        incidents = [(i.id, i.title, i.detail, i.command, sorted(i.partitions.items())) for i in self.incidents]
        failures = [(failure.reason, failure.student_days) for failure in self.failures]
        return hashlib.sha256(repr((incidents, failures, self.failed_days)).encode()).hexdigest()[:16]


def read_open_state(installation: Installation, now: datetime) -> OpenState:
    incidents = installation.transaction(open_incidents)
    days = due_days(installation.settings, now)
    if not days:
        return OpenState(incidents, [], [])
    period = days[0], days[-1]
    failures = installation.transaction(failures_by_reason, *period)
    return OpenState(incidents, failures, installation.transaction(failed_days, *period) if failures else [])


def build_incidents(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        name=NAME,
        description=(
            "The open incidents: failing checks, failed and slow runs, missing days and weeks. `incident_scan_sensor` "
            "reports them whenever one begins, changes or ends."
        ),
        group_name=MONITORING_GROUP,
        owners=settings.owners,
        required_resource_keys=DATABASES,
        kinds={"postgres"},
        tags={GRAIN_TAG: "now"},
        metadata=store_table_metadata(NAME, settings),
        check_specs=[
            dg.AssetCheckSpec(
                NO_OPEN_INCIDENTS.name,
                asset=KEY,
                description="No incident is open; open failures of students alone are a warning.",
            )
        ],
    )
    def incidents(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        now = datetime.now(timezone.utc)  # decides which days are due; no figure depends on it
        with step_installation(context, settings) as installation:
            state = read_open_state(installation, now)
        metadata = incidents_metadata(state, settings.zone)
        context.log.info(
            f"open: {count_noun(len(state.incidents), 'incident')}, "
            f"{count_noun(metadata['open_failures'], 'failed student-day')}"
        )
        yield dg.MaterializeResult(metadata=metadata)
        yield check_no_open_incidents(state, settings.zone)

    return incidents


def incident_events(state: OpenState, zone: ZoneInfo) -> list[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """Return the materialization of the asset and the evaluation of its check, for a sensor to report."""
    result = check_no_open_incidents(state, zone)
    return [
        dg.AssetMaterialization(KEY, metadata=incidents_metadata(state, zone)),
        dg.AssetCheckEvaluation(
            asset_key=KEY,
            check_name=NO_OPEN_INCIDENTS.name,
            passed=result.passed,
            severity=result.severity,
            description=result.description,
            metadata=result.metadata,
        ),
    ]


def incidents_metadata(state: OpenState, zone: ZoneInfo) -> dict[str, Any]:
    """Return the tables of open incidents and failures, if there are any, and their numbers."""
    incidents = {"incidents": _incident_table(state.incidents, zone)} if state.incidents else {}
    failures = {"failures": _failure_table(state.failures, zone)} if state.failures else {}
    student_days = sum(failure.student_days for failure in state.failures)
    return {**incidents, **failures, "open_incidents": len(state.incidents), "open_failures": student_days}


def check_no_open_incidents(state: OpenState, zone: ZoneInfo) -> dg.AssetCheckResult:
    """Check that no incident is open; open failures alone are a warning."""
    metadata = incidents_metadata(state, zone)
    if not state.incidents and not state.failures:
        return dg.AssetCheckResult(
            check_name=NO_OPEN_INCIDENTS.name, passed=True, description="No incident is open.", metadata=metadata
        )
    paragraphs = [_incident_sentence(incident, zone) for incident in state.incidents[:_NAMED_INCIDENTS]]
    more = len(state.incidents) - len(paragraphs)
    if more:
        paragraphs.append(f"And {more:,} more; the table lists all of them.")
    if state.incidents:
        verb = "is" if len(state.incidents) == 1 else "are"
        paragraphs.insert(0, f"{count_noun(len(state.incidents), 'incident')} {verb} open.")
    if state.failures:
        paragraphs.append(_failures_sentence(state))
    return dg.AssetCheckResult(
        check_name=NO_OPEN_INCIDENTS.name,
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR if state.incidents else dg.AssetCheckSeverity.WARN,
        description=description(paragraphs),
        metadata=metadata,
    )


def _incident_sentence(incident: Incident, zone: ZoneInfo) -> str:
    command = f" Command: `{incident.command}`" if incident.command else ""
    return f"Incident {incident.id}, since {_time(incident.opened_at, zone)}: {incident.title}.{command}"


def _failures_sentence(state: OpenState) -> str:
    reasons = ", ".join(f"{failure.student_days:,} {failure.reason}" for failure in state.failures)
    first, last = state.failed_days[0], state.failed_days[-1]
    return (
        f"Student-days that could not be computed: {reasons}. `snapshot_failures` has the errors; once their cause is "
        f"fixed, run: `snapshot-pipeline retry-failed --from {first} --to {last}`"
    )


def _incident_table(incidents: Sequence[Incident], zone: ZoneInfo) -> dg.TableMetadataValue:
    return table(
        [
            {
                "incident": incident.id,
                "since": _time(incident.opened_at, zone),
                "what": incident.title,
                "cause": _cause(incident),
                "days": ", ".join(incident.partitions),
                "command": incident.command,
            }
            for incident in incidents
        ],
        _INCIDENT_COLUMNS,
    )


def _cause(incident: Incident) -> str:
    cause = incident.subject.partition(CAUSE_SEPARATOR)[2] if incident.kind == FAILED_CHECK else ""
    return cause or incident.detail


def _failure_table(failures: Sequence[OpenFailures], zone: ZoneInfo) -> dg.TableMetadataValue:
    return table(
        [
            {
                "reason": failure.reason,
                "student_days": failure.student_days,
                "first_seen": _time(failure.first_seen, zone),
                "attempts": failure.attempts,
            }
            for failure in failures
        ],
        _FAILURE_COLUMNS,
    )


def _time(moment: datetime, zone: ZoneInfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M %Z}"
