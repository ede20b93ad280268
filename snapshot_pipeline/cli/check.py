"""`snapshot-pipeline check`: hold a platform's database against what the pipeline needs.

Put here: how findings are printed, and the exit status. Do not put here: what is looked at (`platform.contract`).
"""

from __future__ import annotations

import click

from snapshot_pipeline.cli.documents import json_option, print_document
from snapshot_pipeline.platform.contract import Finding, check_platform
from snapshot_pipeline.postgres.engines import create_platform_engine, create_source_engine
from snapshot_pipeline.settings import load_settings
from snapshot_pipeline.store.migrate import VERSION_TABLE
from snapshot_pipeline.store.tables import StoreTables

_KEYS = ("severity", "table", "message", "statement")
"""Of a finding in the document of `--json`."""

ADVICE_ONLY = 3
"""The exit status when there is advice but no error; 2 is click's for a wrong option."""


@click.command(name="check", epilog="Example: snapshot-pipeline check || [ $? -eq 3 ]")
@json_option
def command(as_json: bool) -> None:
    """Hold a platform's database against what the pipeline needs; nothing is written.

    One line per finding: what was found and what to do, with the SQL that mends it on the next line where there is
    such. Without the error findings being mended the pipeline cannot run, or would publish wrong figures; advice may
    wait.

    \b
    Exit status:
      0  nothing found
      1  at least one error
      3  advice only

    \b
    The JSON document:
      can_run, errors, advice   whether the pipeline can run; how many of each
      schema, database          what was looked at
      findings                  severity (error, advice), table or null,
                                message, statement or null
    """  # noqa: D301  # the backspace tells click to keep the lines that follow
    settings = load_settings()
    engine = create_platform_engine(settings)
    source = create_source_engine(settings) or engine
    try:
        findings = check_platform(
            engine, settings.platform_schema, settings.store_schema, _store_rights(), source=source
        )
    finally:
        engine.dispose()
        source.dispose()
    errors = sum(finding.severity == "error" for finding in findings)
    schema, database = settings.platform_schema, source.url.database
    if as_json:
        found = {"can_run": not errors, "errors": errors, "advice": len(findings) - errors}
        listed = [{name: getattr(one, name) for name in _KEYS} for one in findings]
        print_document({**found, "schema": schema, "database": database, "findings": listed})
    else:
        for finding in findings:
            _print(finding)
        click.echo(_summary(errors, len(findings) - errors, f"schema {schema} of database {database}"))
    if findings:
        raise click.exceptions.Exit(1 if errors else ADVICE_ONLY)


def _store_rights() -> dict[str, tuple[str, ...]]:
    """What a night does with the tables that we own; their owner may do it, but a first run may have had another."""
    tables = StoreTables.of("public").metadata.tables.values()
    return {**{table.name: ("SELECT", "INSERT", "UPDATE", "DELETE") for table in tables}, VERSION_TABLE: ("SELECT",)}


def _print(finding: Finding) -> None:
    color = "red" if finding.severity == "error" else "yellow"
    subject = f"{finding.table}: " if finding.table else ""
    click.echo(f"{click.style(f'{finding.severity:<6}', fg=color)}  {subject}{finding.message}")
    if finding.statement:
        click.echo(finding.statement)


def _summary(errors: int, advice: int, where: str) -> str:
    if not errors and not advice:
        return f"{where}: has all that the pipeline needs"
    counts = f"{errors} error{'' if errors == 1 else 's'}, {advice} piece{'' if advice == 1 else 's'} of advice"
    verdict = "mend the errors, then check again" if errors else "the pipeline can run"
    return f"{where}: {counts}; {verdict}"
