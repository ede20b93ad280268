"""How far a read replica of the platform has come, and waiting until it has come far enough.

Put here: what is asked of the replica and of its primary, and what an operator is told when it is behind.
Do not put here: which moment is far enough (`pipeline.source`).

A replica that is behind the end of a day would give a wrong day, and nobody would see it. It is far enough when it has
replayed a transaction that was committed after the end; or, as nothing may be committed for hours at night, when it has
replayed all that its primary had written at a moment after the end.
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
"""Between two looks at a replica that is behind."""

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
    """  # put together from constants
)
_PRIMARY = text(
    f"""
    SELECT {_SERVER},
        CASE WHEN NOT pg_is_in_recovery() AND clock_timestamp() >= CAST(:until AS timestamptz)
             THEN pg_current_wal_lsn()::text END AS written
    """  # put together from constants
)
_POSITION = text("SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()::text END AS position")
_HAS_REPLAYED = text(
    "SELECT NOT pg_is_in_recovery() OR pg_last_wal_replay_lsn() >= CAST(:position AS pg_lsn) AS has_replayed"
)


class ReplicaBehindError(SnapshotPipelineError):
    """A read replica does not have yet what is to be read."""

    transient = True


class NoReplicaError(SnapshotPipelineError):
    """What was a read replica does not follow its primary any more."""


@dataclass(frozen=True)
class Replica:
    """A source of reads, and the primary that it may be a replica of.

    Attributes:
        source: Where the platform is read.
        primary: Where our tables are written.
    """

    source: Engine
    primary: Engine

    def await_replay(self, until: datetime, seconds: float) -> str | None:
        """Wait until all that was committed before a moment can be read.

        Args:
            until: The moment; it has passed.
            seconds: How long to wait.

        Returns:
            The place in the write-ahead log that holds it; None where the source is no standby.

        Raises:
            ReplicaBehindError: It could not be read in time; the message says how far the replica is behind.
            NoReplicaError: The source has been promoted, and receives nothing any more.
        """
        deadline = time.monotonic() + seconds
        target: str | None = None
        while True:
            primary = retry_transient(partial(self._primary, until))
            found = retry_transient(partial(self._source, until, target))
            if not found["is_standby"]:
                self._look_closer(found, primary)
                return None
            if found["is_past"] or found["has_target"]:
                return retry_transient(self._position)
            if target is None and found["system_identifier"] == primary["system_identifier"]:
                target = primary["written"]
                if target is not None:
                    continue
            if time.monotonic() >= deadline:
                raise ReplicaBehindError(_sentence(found, self.source.url, until, seconds))
            time.sleep(PAUSE_SECONDS)

    def _source(self, until: datetime, target: str | None) -> dict[str, object]:
        with self.source.connect() as connection:
            return dict(connection.execute(_SOURCE, {"until": until, "target": target}).mappings().one())

    def _primary(self, until: datetime) -> dict[str, str | None]:
        with self.primary.connect() as connection:
            return dict(connection.execute(_PRIMARY, {"until": until}).mappings().one())

    def _position(self) -> str | None:
        # Asked after the other questions: where the replica is now it has all that it had then.
        with self.source.connect() as connection:
            position: str | None = connection.execute(_POSITION).scalar()
            return position

    def _look_closer(self, found: dict[str, object], primary: dict[str, str | None]) -> None:
        if found["system_identifier"] != primary["system_identifier"]:
            _LOG.warning(
                "%s is no streaming replica of the server of SNAPSHOT_DATABASE_URL and no standby of another one: how "
                "far it is behind cannot be asked, and is not checked",
                masked_url(self.source.url),
            )
        elif found["started_at"] != primary["started_at"]:
            raise NoReplicaError(
                f"{masked_url(self.source.url)} was a replica of {masked_url(self.primary.url)} and is none any more: "
                "it has been promoted and receives nothing; let SNAPSHOT_SOURCE_DATABASE_URL name a replica that "
                "follows the primary, or leave it unset"
            )


def position(connection: adbc.Connection) -> str | None:
    """How far the replica has come that a session is connected to; None where it is none."""
    found: str | None = bulk.fetch(connection, _POSITION)["position"][0].as_py()
    return found


def require_replayed(connection: adbc.Connection, place: str) -> None:
    """See that the server of a session has come as far as `place`; one name may stand for several replicas.

    Raises:
        ReplicaBehindError: It has not, yet.
    """
    query = _HAS_REPLAYED.bindparams(bindparam("position", place))
    if not bulk.fetch(connection, query)["has_replayed"][0].as_py():
        raise ReplicaBehindError(
            f"a replica that SNAPSHOT_SOURCE_DATABASE_URL leads to has not replayed {place} yet, which another "
            "one has, or the same one had; start again when it has caught up, or name one replica only"
        )


def _sentence(found: dict[str, object], url: URL, until: datetime, seconds: float) -> str:
    replayed = found["replayed_until"]
    if isinstance(replayed, datetime):
        behind = f"has replayed what was committed until {replayed:%Y-%m-%d %H:%M:%S %Z}, {until - replayed} before it"
    else:
        behind = "has replayed no transaction since it was started"
    if found["missing_bytes"] is not None:
        behind += f", and lacks {found['missing_bytes']} bytes of what its primary had written"
    if found["is_paused"]:
        remediation = "its replay is paused: SELECT pg_wal_replay_resume()"
    elif found["delay"] not in ("0", None):
        remediation = f"it is kept behind on purpose by recovery_min_apply_delay = {found['delay']}"
    else:
        remediation = "see whether it still receives anything (SELECT * FROM pg_stat_wal_receiver), and its log"
    return (
        f"the replica {masked_url(url)} is behind the end of the last day to be read, {until:%Y-%m-%d %H:%M:%S %Z}: it "
        f"{behind}; waited {seconds:g} s (SNAPSHOT_REPLICA_WAIT_SECONDS); {remediation}; then start again, or read "
        "from the primary by leaving SNAPSHOT_SOURCE_DATABASE_URL unset"
    )
