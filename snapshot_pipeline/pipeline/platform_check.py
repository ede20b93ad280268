"""The check of the platform with an installation's settings, and how large and how new its tables are."""

from __future__ import annotations

from sqlalchemy import Engine

from snapshot_pipeline.platform.contract import Finding, RowRules, TableState, check_platform, read_table_states
from snapshot_pipeline.platform.contract.sessions import session_findings
from snapshot_pipeline.postgres.errors import readable_database_errors
from snapshot_pipeline.settings import Settings


def row_rules(settings: Settings, *, full: bool) -> RowRules:
    """Return how the rows are read; unless `full`, those of the last SNAPSHOT_LATE_WINDOW_DAYS are checked."""
    recent_days = None if full else settings.late_window_days
    return RowRules(settings.naive_zone, settings.student_roles, settings.score_maximum, recent_days)


def find_platform_findings(settings: Settings, source: Engine, *, full: bool = False) -> list[Finding]:
    """Check the database of the platform's tables; see `check_platform`."""
    return check_platform(source, settings.platform_schema, rules=row_rules(settings, full=full))


def find_session_findings(engine: Engine) -> list[Finding]:
    """Check the sessions of a database that the platform is not read from: encoding, time limits, pooling."""
    with readable_database_errors(engine.url), engine.connect() as connection:
        return list(session_findings(connection))


def find_table_states(settings: Settings, source: Engine) -> dict[str, TableState]:
    """Return how large and how new each existing table of the platform is."""
    return read_table_states(source, settings.platform_schema, row_rules(settings, full=False))
