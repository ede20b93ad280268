"""`snapshot-pipeline check`: check that a platform's database has what the pipeline needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict

import click

from snapshot_pipeline.cli.terminal import json_option, print_json
from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.orchestration.instance.database import check_dagster_database
from snapshot_pipeline.pipeline.database_checks import (
    find_platform_findings,
    find_session_findings,
    find_store_findings,
)
from snapshot_pipeline.platform.contract import Finding, Severity, sort_findings
from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.postgres.engines import create_platform_engine, create_source_engine, start_existing_server
from snapshot_pipeline.settings import Settings, load_settings

ADVICE_STATUS = 3
"""Exit status if there is advice but no error; 2 is click's for a wrong option."""

_COLORS = {"error": "red", "advice": "yellow", "note": "cyan"}


@click.command(epilog="Example: snapshot-pipeline check || [ $? -eq 3 ]")
@click.option("--full", is_flag=True, help="Check all rows, not only those of the last SNAPSHOT_LATE_WINDOW_DAYS.")
@json_option
def check(full: bool, as_json: bool) -> None:
    """Check that a platform's database has what the pipeline needs. Nothing is written.

    Each finding is one line that says what was found and what to do; if SQL fixes it, the statement is on the next
    line. With an error the pipeline cannot run, or would publish meaningless figures. Advice can wait. A note is about
    rows that are corrected or ignored.

    \b
    Exit status:
      0  no findings, or notes only
      1  at least one error
      3  advice, no error

    \b
    The JSON document:
      can_run                   whether the pipeline can run
      errors, advice, notes     how many of each
      schema, database          what was checked
      findings                  severity (error, advice, note), table or null,
                                message, statement or null,
                                detail (an example) or null
    """  # noqa: D301  # click keeps the line breaks of a paragraph that starts with a backspace
    settings = load_settings()
    start_existing_server(settings)
    engine = create_platform_engine(settings)
    source = create_source_engine(settings) or engine
    try:
        findings = [*find_store_findings(engine, settings.store_schema), *_dagster_findings(settings)]
        if source is not engine:
            findings += find_session_findings(engine)
        findings = sort_findings([*findings, *find_platform_findings(settings, source, full=full)])
    finally:
        engine.dispose()
        source.dispose()
    count = Counter(finding.severity for finding in findings)
    schema, database = settings.platform_schema, source.url.database
    if as_json:
        rows = [asdict(finding) for finding in findings]
        counts = {"errors": count["error"], "advice": count["advice"], "notes": count["note"]}
        checked = {"schema": schema, "database": database}
        print_json({"can_run": not count["error"], **counts, **checked, "findings": rows})
    else:
        for finding in findings:
            _print_finding(finding)
        click.echo(f"schema {schema} of database {database}: {_summary(count)}")
    if count["error"] or count["advice"]:
        raise click.exceptions.Exit(1 if count["error"] else ADVICE_STATUS)


def _dagster_findings(settings: Settings) -> Iterator[Finding]:
    try:
        check_dagster_database(settings)
    except SnapshotPipelineError as error:
        yield Finding("error", None, f"Dagster's database: {error}")


def _print_finding(finding: Finding) -> None:
    subject = f"{finding.table}: " if finding.table else ""
    detail = f" ({finding.detail})" if finding.detail else ""
    severity = click.style(f"{finding.severity:<6}", fg=_COLORS[finding.severity])
    click.echo(f"{severity}  {subject}{finding.message}{detail}")
    if finding.statement:
        click.echo(finding.statement)


def _summary(count: Mapping[Severity, int]) -> str:
    if not any(count.values()):
        return "no problems found"
    if not count["error"] and not count["advice"]:
        return f"{count_noun(count['note'], 'note')}; the pipeline can run"
    notes = f", {count_noun(count['note'], 'note')}" if count["note"] else ""
    counts = f"{count_noun(count['error'], 'error')}, {count_noun(count['advice'], 'piece')} of advice{notes}"
    return f"{counts}; {'fix the errors, then check again' if count['error'] else 'the pipeline can run'}"
