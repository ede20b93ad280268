"""The replay position of a read replica of the platform, and waiting until it is up to date.

A replica that lags behind the end of a day would give wrong figures unnoticed. It is up to date when it has replayed a
transaction that was committed after the end of the day; or, as nothing may be committed for hours at night, when it has
replayed everything that its primary had written at some time after the end.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime

import adbc_driver_postgresql.dbapi as adbc
from sqlalchemy import URL, Engine, RowMapping, TextClause, bindparam, text

from snapshot_pipeline.errors import SnapshotPipelineError
from snapshot_pipeline.postgres import bulk
from snapshot_pipeline.postgres.errors import retry_transient
from snapshot_pipeline.postgres.urls import masked_url

PAUSE_SECONDS = 1.0
"""Pause between two queries of a replica that lags."""

_LOG = logging.getLogger(__name__)

_SERVER = """
    (SELECT system_identifier FROM pg_control_system()) AS system_identifier,
    pg_postmaster_start_time() AS started_at, pg_is_in_recovery() AS is_standby
"""
_SOURCE = text(
    f"""
    SELECT {_SERVER},
        pg_last_xact_replay_timestamp() AS replayed_until,
        pg_last_xact_replay_timestamp() >= CAST(:until AS timestamptz) AS is_past,
        pg_last_wal_replay_lsn() >= CAST(:target AS pg_lsn) AS has_target,
        pg_wal_lsn_diff(CAST(:target AS pg_lsn), pg_last_wal_replay_lsn())::bigint AS missing_bytes,
        CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END AS is_paused,
        current_setting('recovery_min_apply_delay') AS delay
    """  # composed of constants
)
_PRIMARY = text(
    f"""
    SELECT {_SERVER},
        CASE WHEN NOT pg_is_in_recovery() AND clock_timestamp() >= CAST(:until AS timestamptz)
             THEN pg_current_wal_lsn()::text END AS written
    """  # composed of constants
)
_POSITION = text("SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()::text END AS position")
_HAS_REPLAYED = text(
    "SELECT NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= CAST(:position AS pg_lsn) AS has_replayed"
)


class ReplicaBehindError(SnapshotPipelineError):
    """A read replica lags behind the data to be read."""

    transient = True


class NoReplicaError(SnapshotPipelineError):
    """A former read replica no longer follows its primary."""


def await_replay(source: Engine, primary: Engine, until: datetime, seconds: float) -> str | None:
    """Wait until everything that was committed before an instant in the past can be read.

    Args:
        source: The database that the platform is read from, which may be a replica.
        primary: The database of the pipeline's own tables.

    Returns:
        The replayed WAL position; `None` if the source is not a standby.

    Raises:
        ReplicaBehindError: The replica still lags after the wait; the message says by how much.
        NoReplicaError: The source has been promoted and receives nothing any more.
    """
    deadline = time.monotonic() + seconds
    target: str | None = None
    while True:
        written = retry_transient(_fetch_row, primary, _PRIMARY, until=until)
        replica = retry_transient(_fetch_row, source, _SOURCE, until=until, target=target)
        is_related = replica["system_identifier"] == written["system_identifier"]
        if not replica["is_standby"]:
            if not is_related:
                _LOG.warning(
                    "%s is not a streaming replica of the server of SNAPSHOT_DATABASE_URL, nor a standby of another "
                    "server: its lag is unknown and is not checked",
                    masked_url(source.url),
                )
            elif replica["started_at"] != written["started_at"]:
                raise NoReplicaError(
                    f"{masked_url(source.url)} is no longer a replica of {masked_url(primary.url)}: it has been "
                    "promoted and receives nothing; set SNAPSHOT_SOURCE_DATABASE_URL to a replica that follows the "
                    "primary, or unset it"
                )
            return None
        if replica["is_past"] or replica["has_target"]:
            # Queried last: the position can only have advanced since the checks.
            reached: str | None = retry_transient(_fetch_row, source, _POSITION)["position"]
            return reached
        if target is None and is_related and written["written"] is not None:
            target = written["written"]
            continue
        if time.monotonic() >= deadline:
            raise ReplicaBehindError(_sentence(replica, source.url, until, seconds))
        time.sleep(PAUSE_SECONDS)


def _fetch_row(engine: Engine, query: TextClause, **parameters: datetime | str | None) -> RowMapping:
    with engine.connect() as connection:
        return connection.execute(query, parameters).mappings().one()


def position(connection: adbc.Connection) -> str | None:
    """Return the replayed WAL position of a session's server; `None` on a primary."""
    replayed: str | None = bulk.fetch(connection, _POSITION)["position"][0].as_py()
    return replayed


def require_replayed(connection: adbc.Connection, position: str) -> None:
    """Check that a session's server has replayed a WAL position; a host name may resolve to several replicas.

    Raises:
        ReplicaBehindError: The server has not replayed it yet.
    """
    query = _HAS_REPLAYED.bindparams(bindparam("position", position))
    if not bulk.fetch(connection, query)["has_replayed"][0].as_py():
        raise ReplicaBehindError(
            f"a replica of SNAPSHOT_SOURCE_DATABASE_URL has not replayed {position} yet, although another replica or "
            "the same one before had; try again when it has caught up, or set the URL to a single replica"
        )


def _sentence(replica: RowMapping, url: URL, until: datetime, seconds: float) -> str:
    replayed = replica["replayed_until"]
    if isinstance(replayed, datetime):
        behind = f"has replayed what was committed until {replayed:%Y-%m-%d %H:%M:%S %Z}, {until - replayed} before it"
    else:
        behind = "has replayed no transaction since it was started"
    if replica["missing_bytes"] is not None:
        behind += f", and lacks {replica['missing_bytes']} bytes that its primary had written"
    if replica["is_paused"]:
        remediation = "its replay is paused: SELECT pg_wal_replay_resume()"
    elif replica["delay"] not in ("0", None):
        remediation = f"it is delayed on purpose by recovery_min_apply_delay = {replica['delay']}"
    else:
        remediation = "check whether it still receives anything (SELECT * FROM pg_stat_wal_receiver), and its log"
    return (
        f"the replica {masked_url(url)} is behind the end of the last day to be read, {until:%Y-%m-%d %H:%M:%S %Z}: it "
        f"{behind}; this run waited {seconds:g} s (SNAPSHOT_REPLICA_WAIT_SECONDS); {remediation}; then try again, or "
        "unset SNAPSHOT_SOURCE_DATABASE_URL to read from the primary"
    )
