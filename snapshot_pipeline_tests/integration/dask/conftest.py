"""Fixtures: a platform that has changed since its days were published, and the rows of a run in one process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from snapshot_pipeline.pipeline.recommendations import run_week
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline_tests.integration.dask.clusters import Cluster, cluster
from snapshot_pipeline_tests.integration.dask.runs import FIRST, change_platform, comparable_rows
from snapshot_pipeline_tests.pipeline.installations import MONDAY, SUNDAY, Tables, installation_on, new_database


@pytest.fixture(scope="session")
def changed_template(server_url: URL, computed_template: URL) -> Iterator[URL]:
    """Computed days on a platform that has changed since, so that a run restates figures of each batch."""
    with new_database(server_url, computed_template) as url:
        change_platform(url)
        yield url


@pytest.fixture
def url(server_url: URL, changed_template: URL) -> Iterator[URL]:
    """A copy of the template for one test."""
    with new_database(server_url, changed_template) as copy:
        yield copy


@pytest.fixture(scope="session")
def expected(server_url: URL, changed_template: URL) -> Iterator[Tables]:
    """The rows of a run and a week in one process."""
    with new_database(server_url, changed_template) as copy, installation_on(copy) as installation:
        run_days(installation, FIRST, SUNDAY, "one process")
        run_week(installation, MONDAY, "one process")
        tables = comparable_rows(installation)
        assert tables["snapshot_restatements"].num_rows > 100
        yield tables


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two workers, shared by the tests of a file, which must not kill them."""
    with cluster(tmp_path_factory.mktemp("cluster"), "one", "two") as started:
        yield started


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory for a cluster of one test."""
    return tmp_path
