"""The replay position of a read replica of the platform, and waiting until it is up to date.

A replica that lags behind the end of a day would give wrong figures unnoticed. It is up to date when it has replayed a
transaction that was committed after the end of the day; or, as nothing may be committed for hours at night, when it has
replayed everything that its primary had written at some time after the end.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import adbc_driver_postgresql.dbapi as adbc
from sqlalchemy import URL, Engine, bindparam, text

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


@dataclass(frozen=True)
class Replica:
    """The database that the platform is read from, which may be a replica of the one that is written to.

    Attributes:
        source: The database of reads.
        primary: The database of the pipeline's own tables.
    """

    source: Engine
    primary: Engine

    def await_replay(self, until: datetime, seconds: float) -> str | None:
        """Wait until everything that was committed before an instant in the past can be read.

        Returns:
            The replayed WAL position; `None` if the source is not a standby.

        Raises:
            ReplicaBehindError: The replica still lags after the wait; the message says by how much.
            NoReplicaError: The source has been promoted and receives nothing any more.
        """
        deadline = time.monotonic() + seconds
        target: str | None = None
        while True:
            primary = retry_transient(partial(self._primary, until))
            replica = retry_transient(partial(self._source, until, target))
            if not replica["is_standby"]:
                self._check_promotion(replica, primary)
                return None
            if replica["is_past"] or replica["has_target"]:
                return retry_transient(self._position)
            if target is None and replica["system_identifier"] == primary["system_identifier"]:
                target = primary["written"]
                if target is not None:
                    continue
            if time.monotonic() >= deadline:
                raise ReplicaBehindError(_sentence(replica, self.source.url, until, seconds))
            time.sleep(PAUSE_SECONDS)

    def _source(self, until: datetime, target: str | None) -> dict[str, object]:
        with self.source.connect() as connection:
            return dict(connection.execute(_SOURCE, {"until": until, "target": target}).mappings().one())

    def _primary(self, until: datetime) -> dict[str, str | None]:
        with self.primary.connect() as connection:
            return dict(connection.execute(_PRIMARY, {"until": until}).mappings().one())

    def _position(self) -> str | None:
        # Queried last: the position can only have advanced since the checks.
        with self.source.connect() as connection:
            position: str | None = connection.execute(_POSITION).scalar()
            return position

    def _check_promotion(self, source: dict[str, object], primary: dict[str, str | None]) -> None:
        if source["system_identifier"] != primary["system_identifier"]:
            _LOG.warning(
                "%s is not a streaming replica of the server of SNAPSHOT_DATABASE_URL, nor a standby of another "
                "server: its lag is unknown and is not checked",
                masked_url(self.source.url),
            )
        elif source["started_at"] != primary["started_at"]:
            raise NoReplicaError(
                f"{masked_url(self.source.url)} is no longer a replica of {masked_url(self.primary.url)}: it has "
                "been promoted and receives nothing; set SNAPSHOT_SOURCE_DATABASE_URL to a replica that follows the "
                "primary, or unset it"
            )


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


def _sentence(replica: dict[str, object], url: URL, until: datetime, seconds: float) -> str:
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
        f"{behind}; waited {seconds:g} s (SNAPSHOT_REPLICA_WAIT_SECONDS); {remediation}; then try again, or unset "
        "SNAPSHOT_SOURCE_DATABASE_URL to read from the primary"
    )
