"""A worker with another version or other code computes nothing, whether it joined before the run or during it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import URL

from snapshot_pipeline.pipeline.dask_cluster.cluster import ClusterError, versions_here
from snapshot_pipeline_tests.installation import PROJECT
from snapshot_pipeline_tests.integration.dask.clusters import TIMEOUT_SECONDS, cluster, start_dask
from snapshot_pipeline_tests.integration.dask.runs import busy_worker, locked_table, run, running, small_batches

__all__ = ["small_batches"]

pytestmark = pytest.mark.usefixtures("small_batches")


@pytest.fixture
def next_release(tmp_path: Path) -> Path:
    """A copy of our package with another version and other code, as on a worker that was upgraded first."""
    directory = tmp_path / "next release"
    shutil.copytree(PROJECT / "snapshot_pipeline", directory / "snapshot_pipeline")
    with (directory / "snapshot_pipeline" / "metrics" / "pace.py").open("a") as module:
        module.write("\n# a better formula\n")
    dist_info = directory / "snapshot_pipeline-9.9.9.dist-info"
    dist_info.mkdir()
    (dist_info / "METADATA").write_text("Metadata-Version: 2.1\nName: snapshot_pipeline\nVersion: 9.9.9\n")
    return directory


def test_worker_of_another_version_is_refused_at_start_and_when_joining(url: URL, tmp_path: Path, next_release: Path):
    with cluster(tmp_path, "one", start_process=start_dask) as dask:
        with locked_table(url, "snapshot_failures", 1) as wait_for_batches, running(url, dask.address) as future:
            wait_for_batches()
            dask.start_worker("upgraded", next_release)
            busy_worker(dask, "upgraded")
            with pytest.raises(ClusterError) as joined:
                future.result(TIMEOUT_SECONDS)
        with pytest.raises(ClusterError) as before:
            run(url, dask.address, lambda *_: pytest.fail("something was computed"))
    for caught in (joined, before):
        message = str(caught.value)
        assert message.startswith("the Dask worker tcp://127.0.0.1:")
        assert "snapshot_pipeline 9.9.9 (code " in message
        assert f"instead of {versions_here()['snapshot_pipeline']}; figures could differ" in message
        assert "pandas" not in message
        assert "\n" not in message
