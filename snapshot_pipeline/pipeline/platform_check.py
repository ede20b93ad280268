"""The check of the platform with an installation's settings, and how large and how new its tables are."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Engine

from snapshot_pipeline.platform.contract import Finding, RowRules, TableState, check_platform, read_table_states
from snapshot_pipeline.settings import Settings


def row_rules(settings: Settings, *, full: bool) -> RowRules:
    """Return how the rows are read; unless `full`, those of the last SNAPSHOT_LATE_WINDOW_DAYS are checked."""
    recent_days = None if full else settings.late_window_days
    return RowRules(settings.naive_zone, settings.student_roles, settings.score_maximum, recent_days)


def find_platform_findings(
    settings: Settings,
    engine: Engine,
    source: Engine,
    store_rights: Mapping[str, Collection[str]],
    *,
    full: bool = False,
) -> list[Finding]:
    """Check the platform's database; see `check_platform`.

    Args:
        engine: The database of our tables.
        source: The database of the platform's tables.
    """
    return check_platform(
        engine,
        settings.platform_schema,
        settings.store_schema,
        store_rights,
        source=source,
        rules=row_rules(settings, full=full),
    )


def find_table_states(settings: Settings, source: Engine) -> dict[str, TableState]:
    """Return how large and how new each existing table of the platform is."""
    return read_table_states(source, settings.platform_schema, row_rules(settings, full=False))
