"""A platform whose figures have changed since they were published, and what one process makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline_tests.integration.dask.clusters import Cluster, cluster
from snapshot_pipeline_tests.integration.dask.runs import FIRST, left_by, restated_url
from snapshot_pipeline_tests.pipeline.installations import MONDAY, SUNDAY, Tables, installation_on, new_database


@pytest.fixture(scope="session")
def changed_template(server_url: URL, computed_template: URL) -> Iterator[URL]:
    """Days that were computed, and then the platform changed: a run restates figures of each batch."""
    with new_database(server_url, computed_template) as url:
        restated_url(url)
        yield url


@pytest.fixture
def url(server_url: URL, changed_template: URL) -> Iterator[URL]:
    """A copy of one's own."""
    with new_database(server_url, changed_template) as copy:
        yield copy


@pytest.fixture(scope="session")
def expected(server_url: URL, changed_template: URL) -> Iterator[Tables]:
    """What a run of one process leaves, and the week after it."""
    with new_database(server_url, changed_template) as copy, installation_on(copy) as installation:
        run_days(installation, FIRST, SUNDAY, "one process")
        run_week(installation, MONDAY, "one process")
        tables = left_by(installation)
        assert tables["snapshot_restatements"].num_rows > 100
        yield tables


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers, which the tests of a file share: none of them kills one."""
    with cluster(tmp_path_factory.mktemp("cluster"), "one", "two") as found:
        yield found


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """For a cluster of one's own."""
    return tmp_path
