"""The check `contract` of each table of the platform, and the daily report of how large and how new the table is.

The tables are external assets. A check is shown for the materialization of the same run, so this run reports one for
each existing table. See https://docs.dagster.io/guides/build/assets/external-assets.
"""

# No `from __future__ import annotations` here: Dagster reads the annotation of `context` at run time.
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from snapshot_pipeline.orchestration.day_metadata import table as metadata_table
from snapshot_pipeline.orchestration.names import DATABASES
from snapshot_pipeline.orchestration.partitioned_checks import description
from snapshot_pipeline.orchestration.steps import step_installation
from snapshot_pipeline.orchestration.table_metadata import table_key
from snapshot_pipeline.pipeline.database_checks import find_platform_findings, find_table_states
from snapshot_pipeline.platform.contract import Finding, TableState
from snapshot_pipeline.platform.tables import TABLE_NAMES
from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.settings import Settings

CONTRACT = "contract"
CONTRACT_CHECKS = tuple(dg.AssetCheckKey(table_key(name), CONTRACT) for name in TABLE_NAMES)

_ERROR, _WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
_COLUMNS = {"severity": "string", "finding": "string", "detail": "string", "statement": "string"}
_NOT_CHECKED = Finding(
    "advice", None, f"not checked, because the schema cannot be read; see the check of {TABLE_NAMES[0]}"
)
"""What concerns the database as a whole is one incident, that of the first table."""

_NEWEST_UNREAD = "not read, because without an index on its time column the whole table would be scanned"

_WHAT_TO_DO = "Each finding says what to do; the command prints its SQL:"


def build_platform_contract(settings: Settings) -> dg.AssetChecksDefinition:
    """Build the checks of all tables of the platform; one step evaluates them together."""

    @dg.multi_asset_check(
        name="platform_contract",
        required_resource_keys=DATABASES,
        specs=[
            dg.AssetCheckSpec(
                CONTRACT,
                asset=key.asset_key,
                description=(
                    "The table has the columns, types, permissions and indexes that the pipeline needs, and the values "
                    f"of the last {count_noun(settings.late_window_days, 'day')} look plausible. Rows that are "
                    "corrected or ignored are notes, and pass."
                ),
            )
            for key in CONTRACT_CHECKS
        ],
    )
    def platform_contract(context: dg.AssetCheckExecutionContext) -> Iterator[Any]:
        with step_installation(context, settings) as installation:
            source = installation.source_engine
            findings = find_platform_findings(settings, source)
            states = find_table_states(settings, source)
        for name, state in states.items():
            yield dg.AssetMaterialization(table_key(name), metadata=state_metadata(state))
        problems = sum(finding.severity != "note" for finding in findings)
        context.log.info(
            f"{count_noun(len(states), 'table')} of the platform checked: {count_noun(problems, 'problem')}, "
            f"{count_noun(len(findings) - problems, 'note')}"
        )
        general = [finding for finding in findings if finding.table is None]
        for name in TABLE_NAMES:
            of_table = [finding for finding in findings if finding.table == name]
            if name == TABLE_NAMES[0]:
                of_table = [*general, *of_table]
            elif general and not of_table:
                of_table = [_NOT_CHECKED]
            yield check_contract(name, of_table, exists=name in states)

    return platform_contract


def state_metadata(state: TableState) -> dict[str, Any]:
    estimate = {} if state.row_estimate is None else {"row_estimate": state.row_estimate}
    if state.is_newest_unread:
        return {**estimate, "newest_row": _NEWEST_UNREAD}
    newest = {} if state.newest is None else {"newest_row": dg.MetadataValue.timestamp(state.newest)}
    return {**estimate, **newest}


def check_contract(table: str, findings: Sequence[Finding], *, exists: bool) -> dg.AssetCheckResult:
    """Check that a table has no errors and no advice; notes pass.

    The description is sent to others, so the examples are in the metadata only.

    Args:
        findings: Those of the table, errors first.
        exists: Whether the table is there; an optional one may be missing.
    """
    problems = [finding for finding in findings if finding.severity != "note"]
    nothing = "no findings" if exists else "the platform has no such table"
    messages = [f"{finding.severity}: {finding.message}" for finding in findings]
    found = f"{'; '.join(messages) or nothing}."
    metadata: dict[str, Any] = {}
    if findings:
        metadata["findings"] = metadata_table(
            [
                {
                    "severity": finding.severity,
                    "finding": finding.message,
                    "detail": finding.detail or "",
                    "statement": finding.statement or "",
                }
                for finding in findings
            ],
            _COLUMNS,
        )
    metadata |= {"problems": len(problems), "notes": len(findings) - len(problems)}
    return dg.AssetCheckResult(
        asset_key=table_key(table),
        check_name=CONTRACT,
        passed=not problems,
        severity=_ERROR if any(finding.severity == "error" for finding in findings) else _WARN,
        description=_problem_description(messages) if problems else found,
        metadata=metadata,
    )


def _problem_description(messages: Sequence[str]) -> str:
    """Return the worst finding, which is the title of an incident, then the others, then what to do."""
    others = messages[1:]
    more = f", and {count_noun(len(others), 'more finding')}" if others else ""
    listed = [f"{'; '.join(others)}."] if others else []
    return description([f"{messages[0]}{more}.", *listed, _WHAT_TO_DO], "snapshot-pipeline check")
