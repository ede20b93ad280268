"""What `dagster.yaml` names, so that one file serves a laptop with nothing set and a production server.

Put here: Dagster's storage, artifacts and logs, with places that follow from our settings.
Do not put here: the launcher (`launcher`), or anything that an asset needs.
See https://docs.dagster.io/deployment/oss/dagster-yaml.
"""

from __future__ import annotations

from typing import Any

from dagster import Field, IntSource
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._serdes import ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from snapshot_pipeline.database import dagster_url
from snapshot_pipeline.orchestration import pools
from snapshot_pipeline.settings import load_settings


class SnapshotStorage(DagsterPostgresStorage):
    """Dagster's records in SNAPSHOT_DAGSTER_DATABASE_URL, or in the embedded server, which is started if need be."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """How many runs may write snapshots at the same time; the settings say the rest."""
        limit = "How many runs may write snapshots at the same time; unset, one, unless it was set in the UI."
        return {"runs_writing_snapshots": Field(IntSource, is_required=False, description=limit)}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> SnapshotStorage:
        """Open the storage."""
        url = dagster_url(load_settings()).render_as_string(hide_password=False)
        storage = cls(postgres_url=url, should_autocreate_tables=True, inst_data=inst_data)
        # A default limit alone lets the first two runs of a new pool overlap; one that is stored does not.
        known = storage.event_log_storage.get_concurrency_keys()
        for pool in sorted(set(pools.ALL) - known):
            storage.event_log_storage.set_concurrency_slots(pool, 1)
        if runs := config_value.get("runs_writing_snapshots"):
            _limit(storage, pools.SNAPSHOTS, runs)
        return storage


def _limit(storage: SnapshotStorage, pool: str, runs: int) -> None:
    stored = {limit.name: limit.limit for limit in storage.event_log_storage.get_pool_limits()}
    if stored.get(pool) != runs:
        storage.event_log_storage.set_concurrency_slots(pool, runs)


class SnapshotArtifacts(LocalArtifactStorage):
    """Run artifacts below SNAPSHOT_HOME."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing to configure: the settings say it."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> SnapshotArtifacts:
        """Name the folder."""
        return cls(base_dir=str(load_settings().home / "artifacts"), inst_data=inst_data)


class SnapshotComputeLogs(LocalComputeLogManager):
    """The output of runs below SNAPSHOT_HOME."""

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing to configure: the settings say it."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> SnapshotComputeLogs:
        """Name the folder."""
        return cls(base_dir=str(load_settings().home / "logs"), inst_data=inst_data)
