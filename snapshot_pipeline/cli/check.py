"""`snapshot-pipeline check`: check that a platform's database has what the pipeline needs."""

from __future__ import annotations

from dataclasses import asdict

import click

from snapshot_pipeline.cli.terminal import json_option, print_json
from snapshot_pipeline.platform.contract import Finding, check_platform
from snapshot_pipeline.plots.text import count_noun
from snapshot_pipeline.postgres.engines import create_platform_engine, create_source_engine
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline.store.migrate import VERSION_TABLE
from snapshot_pipeline.store.tables import StoreTables

ADVICE_STATUS = 3
"""Exit status if there is advice but no error; 2 is click's for a wrong option."""


@click.command(epilog="Example: snapshot-pipeline check || [ $? -eq 3 ]")
@json_option
def check(as_json: bool) -> None:
    """Check that a platform's database has what the pipeline needs. Nothing is written.

    Each finding is one line that says what was found and what to do; if SQL fixes it, the statement is on the next
    line. With an error the pipeline cannot run, or would publish wrong figures. Advice can wait.

    \b
    Exit status:
      0  no findings
      1  at least one error
      3  advice only

    \b
    The JSON document:
      can_run, errors, advice   whether the pipeline can run; how many of each
      schema, database          what was checked
      findings                  severity (error, advice), table or null,
                                message, statement or null
    """  # noqa: D301  # click keeps the line breaks of a paragraph that starts with a backspace
    settings = load_settings()
    engine = create_platform_engine(settings)
    source = create_source_engine(settings) or engine
    try:
        findings = check_platform(
            engine, settings.platform_schema, settings.store_schema, _store_permissions(), source=source
        )
    finally:
        engine.dispose()
        source.dispose()
    errors = sum(finding.severity == "error" for finding in findings)
    advice = len(findings) - errors
    schema, database = settings.platform_schema, source.url.database
    if as_json:
        rows = [asdict(finding) for finding in findings]
        counts = {"can_run": not errors, "errors": errors, "advice": advice}
        print_json({**counts, "schema": schema, "database": database, "findings": rows})
    else:
        for finding in findings:
            _print_finding(finding)
        click.echo(f"schema {schema} of database {database}: {_summary(errors, advice)}")
    if findings:
        raise click.exceptions.Exit(1 if errors else ADVICE_STATUS)


def _store_permissions() -> dict[str, tuple[str, ...]]:
    """Return the permissions that a nightly run needs on our tables, which another role may own."""
    tables = StoreTables.of("public").metadata.tables.values()
    return {**{table.name: ("SELECT", "INSERT", "UPDATE", "DELETE") for table in tables}, VERSION_TABLE: ("SELECT",)}


def _print_finding(finding: Finding) -> None:
    color = "red" if finding.severity == "error" else "yellow"
    subject = f"{finding.table}: " if finding.table else ""
    click.echo(f"{click.style(f'{finding.severity:<6}', fg=color)}  {subject}{finding.message}")
    if finding.statement:
        click.echo(finding.statement)


def _summary(errors: int, advice: int) -> str:
    if not errors and not advice:
        return "no problems found"
    counts = f"{count_noun(errors, 'error')}, {count_noun(advice, 'piece')} of advice"
    return f"{counts}; {'fix the errors, then check again' if errors else 'the pipeline can run'}"
