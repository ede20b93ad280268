"""Fixtures: the expected rows of a run without faults, and a server that a test may stop."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from snapshot_pipeline.embedded import EmbeddedServer
from snapshot_pipeline.pipeline.snapshots import run_days
from snapshot_pipeline.platform.sample import load_sample
from snapshot_pipeline_tests.integration.database_faults.faults import FIRST
from snapshot_pipeline_tests.pipeline.installations import (
    SAMPLE,
    SUNDAY,
    Tables,
    installation_on,
    new_database,
    published,
)


@pytest.fixture(scope="session")
def faultless(server_url: URL, sample_template: URL) -> Iterator[Tables]:
    """The published rows of a run without faults."""
    with new_database(server_url, sample_template) as url, installation_on(url) as installation:
        run_days(installation, FIRST, SUNDAY, "faultless")
        yield published(installation)


@pytest.fixture(scope="module")
def own_server() -> Iterator[EmbeddedServer]:
    """A server that a test may stop, with the sample in its database `platform`."""
    with tempfile.TemporaryDirectory(prefix="snapshot_pipeline-test-") as home:
        server = EmbeddedServer(Path(home))
        server.start()
        load_sample(SAMPLE, server.url("platform"), "public")
        yield server
        server.delete()
