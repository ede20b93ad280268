"""Findings about the sessions that the pipeline gets: encoding, time limits, and a pooler in between."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from snapshot_pipeline.platform.contract.findings import Finding
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.sessions import (
    ENCODING,
    POOLING_ADVICE,
    encoding_advice,
    is_transaction_pooled,
    server_encoding,
    session_settings,
    settings_not_in_force,
)
from snapshot_pipeline.postgres.urls import adbc_uri, masked_url


def session_findings(connection: Connection) -> Iterator[Finding]:
    """Yield findings about a session in which no transaction is open."""
    database = masked_url(connection.engine.url)
    if (encoding := server_encoding(connection)) != ENCODING:
        yield Finding("error", None, f"{database}: {encoding_advice(encoding)}")
    if is_transaction_pooled(connection):
        yield Finding("error", None, f"{database}: {POOLING_ADVICE}")
        return
    differing = settings_not_in_force(connection)
    for name, (in_force, expected) in (differing or _settings_of_bulk_reads(connection)).items():
        yield Finding(
            "error",
            None,
            f"{database}: the pipeline's session has {name} = {in_force}, expected {expected}, although the pipeline "
            "has set it; find out which pooler or login trigger resets it",
        )


def _settings_of_bulk_reads(connection: Connection) -> dict[str, tuple[str, str]]:
    """Return the settings that the other driver's sessions lack: name, value in force, value expected."""
    uri = adbc_uri(connection.engine.url)
    names = sorted(session_settings(uri))
    query = select(*(func.current_setting(name).label(name) for name in names))
    expected = connection.execute(query).one()
    with bulk.transaction(uri) as bulk_connection:
        (in_force,) = bulk.fetch(bulk_connection, query).to_pylist()
    values = zip(names, expected, strict=True)
    return {name: (in_force[name], value) for name, value in values if in_force[name] != value}
